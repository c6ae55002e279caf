"""The exported files of a model folder: which may be used, whether they fit the weights, what metadata they carry.

    model.onnx, model-int8.onnx   the model, with its framevit.json embedded
    export.json                   the proof of each file, its sha256, and that of the weights that it was made from

The choice of a backend depends on this module, so it does not import torch.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from frame_vit.backends.backend import FP32, INT8
from frame_vit.backends.export_record import EXPORT_FILE, FileRecord, read_export
from frame_vit.decision.novelty import unpacked
from frame_vit.errors import DamagedModelError, ModelError
from frame_vit.model.digests import file_digest, weights_digest
from frame_vit.model.metadata import METADATA_FILE, ModelMetadata, damaged, parse_metadata
from frame_vit.system.progress import log

FILES = {FP32: "model.onnx", INT8: "model-int8.onnx"}
"""The name of each variant's file."""
SAMPLED = 256
"""Bytes at the beginning, in the middle and at the end of every tensor that the fingerprint reads."""


def usable_files(folder: Path) -> dict[str, Path]:
    """The exported files of a model folder that may be used, by variant (fp32, int8).

    A file that was made from other weights, or that export.json does not describe, is left out with a warning.
    """
    files = {}
    for variant, path in ((variant, folder / name) for variant, name in FILES.items()):
        if not path.is_file():
            continue
        mismatch = _mismatch(path)
        if mismatch:
            log.warning("%s %s, so it is not used. Export the model again", path, mismatch)
        else:
            files[variant] = path
    return files


def variant_of(path: Path) -> str | None:
    """The variant of an exported file that was named by itself; None if the folder's export.json does not describe it.

    Such a file is used with the metadata inside it alone. A warning says so if there are weights beside it.
    """
    mismatch = _mismatch(path)
    if mismatch and weights_fingerprint(path.parent) is not None:
        log.warning("%s %s", path, mismatch)
    return None if mismatch else next((variant for variant, name in FILES.items() if name == path.name), None)


def _mismatch(path: Path) -> str:
    """Why an exported file does not belong to its folder; empty if it does."""
    record = read_export(path.parent).get(path.name)
    if record is None or record.bytes != path.stat().st_size:
        return f"is not the file that {EXPORT_FILE} describes"
    return "was made from other weights than those beside it" if _is_stale(record, path.parent) else ""


def _is_stale(record: FileRecord, folder: Path) -> bool:
    """Whether the weights in the folder, if any, are not those that an exported file was made from.

    The fingerprint of samples is asked first, because it takes no time; framevit 0.5.0 recorded nothing else.
    """
    fingerprint = weights_fingerprint(folder)
    if fingerprint is None or record.weights != fingerprint or record.weights_sha256 is None:
        return fingerprint is not None and record.weights != fingerprint
    return weights_digest(folder) != record.weights_sha256


def check_whole(path: Path) -> None:
    """Raises `DamagedModelError` for an exported file whose bytes are not those that export.json describes.

    A file that export.json does not name, or that framevit 0.5.0 exported, has no sha256 to compare with.
    """
    record = read_export(path.parent).get(path.name)
    if record is None:
        return
    size = path.stat().st_size
    if size != record.bytes:
        reason = f"it has {size} bytes, but {EXPORT_FILE} beside it says {record.bytes}"
    elif record.sha256 is not None and file_digest(path) != record.sha256:
        reason = f"its sha256 is not the one in {EXPORT_FILE} beside it"
    else:
        return
    raise DamagedModelError(
        f"{path} is not the file that was exported: {reason}",
        "Copy the model folder again, or export the model again; move a file of another export to a folder of its own",
    )


def weights_fingerprint(folder: Path) -> str | None:
    """sha256 over the names, shapes and some bytes of all tensors of a folder; None if it holds no weights.

    Training changes every tensor that it touches all over, so samples show weights of another training at once.
    """
    files = sorted(folder.glob("*.safetensors"))
    try:
        samples = [_sample(path, *_size_and_time(path)) for path in files]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""  # no exported file was made from damaged weights
    return hashlib.sha256("".join(samples).encode()).hexdigest() if files else None


def _size_and_time(path: Path) -> tuple[int, int]:
    return path.stat().st_size, path.stat().st_mtime_ns


@functools.cache
def _sample(path: Path, length: int, _changed: int) -> str:
    """sha256 of a safetensors file's header and of SAMPLED bytes at three places of each tensor."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > length:
            raise ValueError("the header is longer than the file")
        header = file.read(header_size)
        digest.update(header)
        tensors = [value for key, value in json.loads(header).items() if key != "__metadata__"]
        for start, end in sorted(tensor["data_offsets"] for tensor in tensors):
            for offset in sorted({start, max(start, (start + end - SAMPLED) // 2), max(start, end - SAMPLED)}):
                file.seek(8 + header_size + offset)
                digest.update(file.read(min(SAMPLED, end - offset)))
    return digest.hexdigest()


def recorded_weights(folder: Path) -> str | None:
    """The fingerprint of a model folder's weights or, without them, of those that its exported file was made from."""
    fingerprint = weights_fingerprint(folder)
    if fingerprint is not None:
        return fingerprint
    return next((record.weights for record in read_export(folder).values()), None)


def embedded_metadata(texts: Mapping[str, str], path: Path) -> ModelMetadata:
    """The model's metadata from the texts that an exported file carries.

    Raises `ModelError` for a file without them: framevit did not write it.
    """
    if "framevit" not in texts:
        raise ModelError(
            f"{path}: this file holds no framevit metadata, so the meaning of its classes is not known",
            "Export the model with `framevit export`",
        )
    try:
        embeddings = unpacked(texts["embeddings"]) if texts.get("embeddings") else None
    except ValueError as error:
        raise damaged(str(path), error) from None
    return parse_metadata(texts["framevit"], str(path), embeddings)


def merged_metadata(embedded: ModelMetadata, beside: ModelMetadata | None, path: Path) -> ModelMetadata:
    """The metadata inside a file, with thresholds and novelty from the framevit.json beside it, which may be newer.

    Raises `DamagedModelError` if the two are of different models.
    """
    if beside is None:
        return embedded
    same_model = (embedded.labels, embedded.preprocessing, embedded.temperature) == (
        beside.labels,
        beside.preprocessing,
        beside.temperature,
    )
    if not same_model:
        raise DamagedModelError(
            f"{path} and the {METADATA_FILE} beside it are of different models: "
            "their classes, preprocessing or temperature differ",
            "Copy both from the same model folder, or move the exported file to a folder of its own",
        )
    novelty = beside.novelty
    if novelty is not None and novelty.embeddings is None and embedded.novelty is not None:
        novelty = replace(novelty, embeddings=embedded.novelty.embeddings)
    return replace(
        embedded, operating_point=beside.operating_point, novelty=novelty, settling_limit=beside.settling_limit
    )
