"""An exported file is used only with the weights that it was made from, and carries its own metadata."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frame_vit.backends.exported_files import (
    check_whole,
    embedded_metadata,
    merged_metadata,
    recorded_weights,
    usable_files,
    variant_of,
    weights_fingerprint,
)
from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.thresholds import Claim, OperatingPoint, ThresholdsBasis
from frame_vit.errors import DamagedModelError, ModelError
from frame_vit.export.graph import metadata_texts
from frame_vit.labels import LabelSpace
from frame_vit.model.saving import save
from tests.backends.models import METADATA, NAMES, vit

POINT = OperatingPoint(0.1, 0.9, Claim(0.01, 0.95, 300, 0, 0.0099, 299), ThresholdsBasis("val"))
EMBEDDINGS = np.array([[1, 2], [3, 4]], np.float32)
NOVELTY = NoveltyReference(2, {"distance": (0.0, 0.5)}, ("RGB",), "review", EMBEDDINGS)


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported model that a test may change."""
    return shutil.copytree(exported / "runs/tiny-001/model", tmp_path / "model")


def test_files_of_the_weights_beside_them_are_usable(model: Path) -> None:
    assert usable_files(model)["fp32"] == model / "model.onnx"
    assert variant_of(model / "model.onnx") == "fp32"
    assert usable_files(model.parent) == {}


def test_an_export_of_other_weights_is_left_out_with_a_warning(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # the last byte of the last tensor: of small tensors every byte is sampled
    (model / "model.safetensors").write_bytes(weights)
    assert usable_files(model) == {}
    assert "was made from other weights than those beside it" in caplog.text
    assert "Export the model again" in caplog.text


def test_a_file_that_no_proof_describes_is_not_used(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    (model / "model.onnx").write_bytes((model / "model.onnx").read_bytes() + b"\n")
    assert "fp32" not in usable_files(model)
    (model / "export.json").unlink()
    assert usable_files(model) == {}
    assert caplog.text.count("is not the file that export.json describes") >= 2


def flip(path: Path, at: int) -> None:
    """Changes one bit of a file, which keeps its size."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_single_changed_bit_of_a_file_is_refused(model: Path, share: float) -> None:
    path = model / "model.onnx"
    check_whole(path)
    flip(path, int(share * path.stat().st_size))
    with pytest.raises(DamagedModelError, match="its sha256 is not the one"):
        check_whole(path)


def test_a_file_of_another_size_is_refused(model: Path) -> None:
    path = model / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedModelError, match=r"bytes, but export\.json beside it says"):
        check_whole(path)
    (model / "export.json").unlink()
    check_whole(path)  # nothing describes it


def test_an_export_of_0_5_0_without_a_sha256_stays_usable(model: Path) -> None:
    facts = json.loads((model / "export.json").read_text())
    for entry in facts["files"].values():
        del entry["sha256"], entry["weights_sha256"]
    (model / "export.json").write_text(json.dumps(facts))
    check_whole(model / "model.onnx")
    assert usable_files(model)["fp32"] == model / "model.onnx"


def test_a_damaged_sha256_is_no_missing_one(model: Path) -> None:
    facts = json.loads((model / "export.json").read_text())
    facts["files"]["model.onnx"]["sha256"] = "none"
    (model / "export.json").write_text(json.dumps(facts))
    assert "fp32" not in usable_files(model)


def test_weights_that_differ_between_the_samples_make_an_export_stale(model: Path) -> None:
    sampled = weights_fingerprint(model)
    path = model / "model.safetensors"
    header_size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + header_size])
    spans = [value["data_offsets"] for key, value in header.items() if key != "__metadata__"]
    start, end = max(spans, key=lambda span: span[1] - span[0])  # most of its bytes are in no sample
    flip(path, 8 + header_size + start + (end - start) // 4)
    assert weights_fingerprint(model) == sampled
    assert usable_files(model) == {}


def test_a_file_named_by_itself_has_no_known_variant_elsewhere(model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model.onnx", tmp_path / "anything.onnx")
    assert variant_of(tmp_path / "anything.onnx") is None


def test_a_change_of_any_tensor_changes_the_fingerprint(tmp_path: Path) -> None:
    classifier = vit()
    save(classifier, tmp_path)
    fingerprints = {weights_fingerprint(tmp_path)}
    for parameter in classifier.module.parameters():
        with torch.no_grad():
            parameter *= 1.5
            parameter += 0.1
        save(classifier, tmp_path)
        fingerprints.add(weights_fingerprint(tmp_path))
    assert len(fingerprints) == 1 + sum(1 for _ in classifier.module.parameters())


@pytest.mark.parametrize("damage", [b"", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0[]"])
def test_damaged_weights_are_those_of_no_export(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(damage)
    assert weights_fingerprint(tmp_path) == ""


def test_without_weights_those_of_the_export_are_known(model: Path) -> None:
    fingerprint = weights_fingerprint(model)
    (model / "model.safetensors").unlink()
    assert weights_fingerprint(model) is None
    assert recorded_weights(model) == fingerprint
    assert set(usable_files(model)) >= {"fp32"}, "a line PC has no weights"


def test_metadata_survives_its_way_through_the_file() -> None:
    metadata = replace(METADATA, operating_point=POINT, novelty=NOVELTY, temperature=1.5)
    found = embedded_metadata(metadata_texts(metadata, "fp32"), Path("m.onnx"))
    assert found == metadata
    assert found.novelty is not None
    assert np.array_equal(found.novelty.embeddings, EMBEDDINGS)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no framevit metadata"):
        embedded_metadata({"producer": "another"}, Path("m.onnx"))
    with pytest.raises(DamagedModelError, match=r"m\.onnx: damaged"):
        embedded_metadata(metadata_texts(metadata, "fp32") | {"embeddings": "!"}, Path("m.onnx"))


def test_thresholds_and_novelty_beside_the_file_are_newer() -> None:
    embedded = replace(METADATA, novelty=NOVELTY)
    beside = replace(METADATA, operating_point=POINT, novelty=replace(NOVELTY, action="note", embeddings=None))
    beside = replace(beside, settling_limit=0.01)
    merged = merged_metadata(embedded, beside, Path("m.onnx"))
    assert merged.settling_limit == 0.01
    assert merged.operating_point == POINT
    assert merged.novelty is not None
    assert merged.novelty.action == "note"
    assert merged.novelty.embeddings is EMBEDDINGS, "those inside the file stand in for the missing ones"
    assert merged_metadata(embedded, None, Path("m.onnx")) is embedded


@pytest.mark.parametrize(
    "beside", [replace(METADATA, temperature=7.0), replace(METADATA, labels=LabelSpace.build(NAMES[::-1], ["passed"]))]
)
def test_metadata_of_another_model_beside_the_file_is_refused(beside: object) -> None:
    with pytest.raises(ModelError, match="of different models") as error:
        merged_metadata(METADATA, beside, Path("m.onnx"))  # type: ignore[arg-type]
    assert error.value.hint


def test_export_json_of_this_version_and_of_0_5_0_reads_alike(model: Path) -> None:
    """The keys are those of 0.5.0: what is recorded of the weights is found under the same names."""
    entry = json.loads((model / "export.json").read_text())["files"]["model.onnx"]
    assert entry["weights"] == weights_fingerprint(model)
    assert entry["bytes"] == (model / "model.onnx").stat().st_size
