"""`framevit export`: a trained model as one ONNX file that needs no torch, proven on real pictures before it is kept.

The file is written aside and replaces an older one only when its answers agree with those of torch. export.json, the
proof, is written last. With int8, a quantised file is made from it and kept under limits of its own.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frame_vit import __version__
from frame_vit.backends.backend import FP32, INT8
from frame_vit.backends.export_record import EXPORT_FILE, FileRecord, read_export
from frame_vit.backends.exported_files import FILES, weights_fingerprint
from frame_vit.config.schema import ExportConfig
from frame_vit.data.dataset import read_dataset
from frame_vit.data.examples import Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.export.graph import write_onnx
from frame_vit.export.int8 import Int8Failure, Int8Trial, quantise
from frame_vit.export.proof import BatchDifferences, Proof
from frame_vit.model.classifier import Classifier
from frame_vit.model.digests import file_digest, weights_digest
from frame_vit.model.metadata import EMBEDDINGS, write_metadata
from frame_vit.model.saving import load_trained
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.files import check_writable, filling, write_json
from frame_vit.system.machine import machine
from frame_vit.system.progress import Tick, log, silent

NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class ExportJob:
    """A model to export, where to, and what to prove it with.

    `source` is the folder of its weights (None: they came from the hub). The answers are compared on `test`, and static
    quantisation is calibrated on `train` (None: there are no training pictures, so only dynamic quantisation is tried).
    """

    classifier: Classifier
    source: Path | None
    folder: Path
    test: Split
    limits: ExportConfig
    int8: bool = False
    train: Split | None = None


@dataclass(frozen=True)
class ExportResult:
    """export.json: the files, and the ways of quantising that were tried (None: int8 was not requested)."""

    files: dict[str, FileRecord]
    int8: list[Int8Trial | Int8Failure] | None = None

    def to_json(self) -> dict[str, Any]:
        files = {name: record.to_json() for name, record in self.files.items()}
        values: dict[str, Any] = {"framevit": __version__, "files": files}
        return values if self.int8 is None else values | {"int8": [trial.to_json() for trial in self.int8]}


def export(
    place: ModelPlace, request: DataRequest, output: Path | None = None, int8: bool = False, tick: Tick = silent
) -> ExportResult:
    """Exports a model into its own folder, or into `output`, proven on the requested pictures.

    Raises `UsageError` if there is nothing to export or no place for it, and `ModelError` if the answers differ.
    """
    check_installed()
    if output is None and not place.path.is_dir():
        raise UsageError(
            f"{place.name} is not a folder on this machine, so there is no place to write to",
            "Name one with -o/--output",
        )
    if place.path.exists() and not any(place.path.glob("*.safetensors")):
        raise UsageError(f"{place.name} holds no weights to export", "Name a run, or the model folder of one")
    check_writable(output)
    classifier, config = load_trained(place.name), request.config
    test = select_split(classifier.metadata, place.run, tested_request(place.run, request), tick).split
    train = None
    if int8 and request.source is None and place.run is not None:
        train = read_dataset(config, classifier.preprocessing, tick).splits["train"]
    elif int8:
        log.warning("the run's own training pictures are not used here, so only dynamic quantisation is tried")
    source = place.path if place.path.is_dir() else None
    return write_export(ExportJob(classifier, source, output or place.path, test, config.export, int8, train), tick)


def write_export(job: ExportJob, tick: Tick = silent) -> ExportResult:
    """Writes model.onnx (and model-int8.onnx) with framevit.json and export.json into the job's folder.

    Raises `ModelError` if the exported model's answers differ from torch's; then the folder is as it was. An int8 model
    that does not agree, or is slower on this machine, is not kept, and the result says so.
    """
    _check_folder(job)
    with filling(job.folder, last=EXPORT_FILE) as folder:
        result = _write(job, folder, tick)
    if FILES[INT8] not in result.files and (earlier := job.folder / FILES[INT8]).is_file():
        earlier.unlink()
        log.warning("%s, from an earlier export, is removed", earlier)
    novelty = job.classifier.metadata.novelty
    if novelty is None or novelty.embeddings is None:
        (job.folder / EMBEDDINGS).unlink(missing_ok=True)  # of another model
    return result


def _write(job: ExportJob, folder: Path, tick: Tick) -> ExportResult:
    """Writes all files of the export into an empty folder; what stays of an earlier export is only looked at."""
    classifier = job.classifier
    proof = Proof(classifier, job.test, job.limits, tick)
    fp32 = folder / FILES[FP32]
    opset = write_onnx(classifier, fp32, tick)
    differences = proof.differences(fp32, "fp32")
    _check_tolerance(differences, job.limits)
    agreements = proof.agreements(fp32)
    quantised = quantise(fp32, folder / FILES[INT8], job.train, proof) if job.int8 else None
    weights = weights_fingerprint(job.source) if job.source else None
    record = _record(proof, folder / FILES[FP32], differences, job.source)
    files = {FILES[FP32]: replace(record, opset=opset, agreements=agreements)}
    if quantised and quantised.kept:
        trial, differences = quantised.kept
        record = _record(proof, folder / FILES[INT8], differences, job.source)
        files[FILES[INT8]] = replace(record, way=trial.way, speed_up=trial.speed_up)
    elif earlier := _earlier_int8(job, weights):
        files[FILES[INT8]] = earlier
    write_metadata(classifier.metadata, folder)
    result = ExportResult(files, quantised.trials if quantised else None)
    write_json(folder / EXPORT_FILE, result.to_json())
    return result


def _record(proof: Proof, path: Path, differences: BatchDifferences, source: Path | None) -> FileRecord:
    """The entry of a file; `source` is the folder of its weights."""
    return FileRecord(
        machine=machine(),
        pictures=len(proof.pixels),
        data=proof.source,
        weights=weights_fingerprint(source) if source else None,
        bytes=path.stat().st_size,
        batches=differences.batches,
        difference=differences.worst,
        sha256=file_digest(path),
        weights_sha256=weights_digest(source) if source else None,
    )


def _check_tolerance(differences: BatchDifferences, limits: ExportConfig) -> None:
    worst = differences.worst
    if worst.max_logit_difference > limits.tolerance:
        raise ModelError(
            "the exported model's answers differ from torch's: a logit differs by "
            f"{worst.max_logit_difference:.2g} in {worst.worst}. Nothing was written",
            f"The limit is export.tolerance, {limits.tolerance:g}; --set export.tolerance=... changes it",
        )


def _check_folder(job: ExportJob) -> None:
    """Raises `UsageError` if the folder holds the weights of another model."""
    own = job.source is not None and job.folder.resolve() == job.source.resolve()
    if not own and any(job.folder.glob("*.safetensors")):
        raise UsageError(f"{job.folder} holds the weights of another model", "Name another folder with -o/--output")


def check_installed() -> None:
    """Raises `UsageError` if the extra `export` is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs {', '.join(missing)}", "pip install 'framevit[export]'")


def _earlier_int8(job: ExportJob, weights: str | None) -> FileRecord | None:
    """The record of an int8 file of an earlier export, if it stays.

    It stays if it was made from the same weights and no new one was requested.
    """
    name = FILES[INT8]
    path = job.folder / name
    if not path.is_file():
        return None
    record = read_export(job.folder).get(name)
    if record is not None and record.weights == weights and not job.int8:
        log.info("%s, from an earlier export of the same weights, is kept", path)
        return record
    return None
