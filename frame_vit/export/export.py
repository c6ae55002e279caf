"""The commands as plain functions: each takes what the command line parsed and returns a value; none prints.
---
A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; settings, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit import __version__
from frame_vit.backends.exported_files import FILES, PROOF, weights_sample
from frame_vit.config.schema import ExportConfig
from frame_vit.data.dataset import read_dataset
from frame_vit.data.examples import Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.export.graph import write_onnx
from frame_vit.export.int8 import quantised
from frame_vit.export.proof import Proof
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import write_metadata
from frame_vit.model.saving import load_trained
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.files import read_facts, replacing, write_json
from frame_vit.system.machine import machine
from frame_vit.system.progress import Tick, log, silent


def export_model(
    place: ModelPlace, request: DataRequest, output: Path | None, int8: bool = False, tick: Tick = silent
) -> dict[str, Any]:
    """Exports a model into its folder, or into `output`, proven on the pictures that are asked for."""
    check_installed()
    if output is None and not place.path.is_dir():
        raise UsageError(
            f"{place.name} is no folder here, so there is no place to write to", "Name one with -o/--output"
        )
    if place.path.exists() and not any(place.path.glob("*.safetensors")):
        raise UsageError(f"{place.name} holds no weights to export", "Name a run, or the model folder of one")
    classifier, config = load_trained(place.name), request.config
    test = select_split(classifier.metadata, place.run, tested_request(place.run, request), tick).split
    train = None
    if int8 and request.source is None and place.run is not None:
        train = read_dataset(config, classifier.preprocessing, tick).splits["train"]
    elif int8:
        log.warning("without the run's own training pictures only dynamic quantisation is tried")
    source = place.path if place.path.is_dir() else None
    return export(Request(classifier, source, output or place.path, test, config.export, int8, train), tick)


NEEDED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Request:
    """What to export and by what to prove it: the model, the folder of its weights (None: on the hub), where to write.

    `test` is what is compared on, `train` (None: not at hand) what static quantisation is calibrated on.
    """

    classifier: Classifier
    source: Path | None
    folder: Path
    test: Split
    limits: ExportConfig
    int8: bool = False
    train: Split | None = None


def export(asked: Request, tick: Tick = silent) -> dict[str, Any]:
    """Writes model.onnx (and model-int8.onnx) into the folder, and returns what export.json says of them.

    Raises `ModelError` where the exported model answers otherwise than torch; then nothing has changed. An int8 model
    that does not agree, or is slower here, is not kept, and the facts say so.
    """
    _check_place(asked)
    folder, classifier = asked.folder, asked.classifier
    folder.mkdir(parents=True, exist_ok=True)
    proof = Proof(classifier, asked.test, asked.limits, tick)
    with replacing(folder / FILES["fp32"]) as aside:
        opset = write_onnx(classifier, aside, tick)
        found = proof.of(aside, "fp32") | {"opset": opset}
        if found["max_logit_difference"] > asked.limits.tolerance:
            raise ModelError(
                "the exported model answers otherwise than torch: a logit differs by "
                f"{found['max_logit_difference']:.2g} in {found['worst']}; nothing was written",
                f"The limit is export.tolerance, {asked.limits.tolerance:g}; --set export.tolerance=... changes it",
            )
        found["openvino"] = proof.openvino(aside)
        tried, kept = quantised(aside, folder / FILES["int8"], asked.train, proof) if asked.int8 else ([], {})
    sample = weights_sample(asked.source) if asked.source else None
    told = {"machine": machine(), "pictures": len(proof.pixels), "data": proof.source, "weights": sample}
    files = {FILES["fp32"]: told | {"bytes": (folder / FILES["fp32"]).stat().st_size} | found}
    if kept:
        files[FILES["int8"]] = told | {"bytes": (folder / FILES["int8"]).stat().st_size} | kept
    _keep_or_remove(asked, files, sample)
    write_metadata(classifier.metadata, folder)
    facts = {"framevit": __version__, "files": files, **({"int8": tried} if asked.int8 else {})}
    write_json(folder / PROOF, facts)
    return facts


def _check_place(asked: Request) -> None:
    """Raises `UsageError` where the folder holds the weights of another model."""
    here = asked.source is not None and asked.folder.resolve() == asked.source.resolve()
    if not here and any(asked.folder.glob("*.safetensors")):
        raise UsageError(
            f"{asked.folder} holds the weights of another model", "Name a folder of its own with -o/--output"
        )


def check_installed() -> None:
    """Raises `UsageError` where the extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs {', '.join(missing)}", "pip install 'framevit[export]'")


def _keep_or_remove(asked: Request, files: dict[str, Any], sample: str | None) -> None:
    """An int8 model of an earlier export stays if it is of the same weights and none was asked for now."""
    name = FILES["int8"]
    path = asked.folder / name
    if name in files or not path.is_file():
        return
    before = read_facts(asked.folder / PROOF).get("files", {}).get(name)
    if before is not None and before.get("weights") == sample and not asked.int8:
        files[name] = before
        log.info("%s, of an earlier export of the same weights, is kept", path)
    else:
        path.unlink()
        log.warning("%s, of an earlier export, is removed", path)
