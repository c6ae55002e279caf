"""export.json keeps the keys of 0.5.0 in both directions, and nothing damaged counts as a proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from frame_vit.backends.export_record import EXPORT_FILE, Difference, FileRecord, read_export
from frame_vit.system.machine import Machine

DIFFERENCE = {
    "max_logit_difference": 0.25,
    "worst": "Yplus/02.png",
    "changed_decisions": 3,
    "newly_accepted": 1,
    "changed_classes": 2,
    "max_distance_difference": 0.5,
}
ENTRY: dict[str, Any] = {
    "machine": {"processor": "one", "cores": 2, "system": "Linux"},
    "pictures": 20,
    "data": "test",
    "weights": "40235b",
    "bytes": 159214,
    "batches": {"1": DIFFERENCE, "8": DIFFERENCE},
    **DIFFERENCE,
    "opset": 20,
    "openvino": {"precision": "bf16", "agrees": False, **DIFFERENCE},
}
"""A file's entry as framevit 0.5.0 wrote it."""


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        ENTRY | {"openvino": {}, "weights": None},
        {key: value for key, value in ENTRY.items() if key not in ("opset", "openvino")}
        | {"way": "static", "speed_up": 2.5},
    ],
)
def test_an_entry_of_0_5_0_is_read_and_written_without_loss(tmp_path: Path, entry: dict[str, Any]) -> None:
    (tmp_path / EXPORT_FILE).write_text(json.dumps({"framevit": "0.5.0", "files": {"model.onnx": entry}}))
    written = read_export(tmp_path)["model.onnx"].to_json()
    assert written == entry
    assert list(written) == list(entry), "in the same order"


def test_what_the_entry_says_has_types() -> None:
    record = FileRecord.from_json(ENTRY)
    assert (record.bytes, record.weights) == (159214, "40235b")
    assert record.machine == Machine("one", 2, "Linux")
    assert FileRecord.from_json(ENTRY | {"machine": {}}).machine is None
    assert record.difference == record.batches["8"] == Difference(0.25, "Yplus/02.png", 3, 1, 2, 0.5)
    agreement = record.agreements["openvino"]
    assert agreement is not None
    assert (agreement.precision, agreement.agrees) == ("bf16", False)
    assert FileRecord.from_json(ENTRY | {"openvino": {}}).agreements == {"openvino": None}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": []}', '{"files": {"model.onnx": []}}', '{"files": {"m": 1}}']
)
def test_a_damaged_file_proves_nothing(tmp_path: Path, text: str) -> None:
    assert read_export(tmp_path) == {}
    (tmp_path / EXPORT_FILE).write_text(text)
    assert read_export(tmp_path) == {}


def test_one_damaged_entry_does_not_take_the_others_along(tmp_path: Path) -> None:
    files = {"model.onnx": ENTRY, "model-int8.onnx": ENTRY | {"bytes": "many"}}
    (tmp_path / EXPORT_FILE).write_text(json.dumps({"files": files}))
    assert set(read_export(tmp_path)) == {"model.onnx"}
