"""Records of decisions: what they hold, that one changed byte shows, and that a chain goes on after an interruption."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.prediction.inputs import expand
from frame_vit.prediction.output import Output
from frame_vit.prediction.predict import predict_to
from frame_vit.prediction.predictor import Prediction
from frame_vit.prediction.record import Recorder, RecordOptions, digest_of, last_record, settings_digest, split_digest
from tests.line.chains import predictor, rows_of, write_chain


def test_a_record_says_which_picture_model_and_limits_led_to_the_decision(
    exported: Path, pictures: Path, tmp_path: Path
) -> None:
    model = predictor(exported)
    rows = write_chain(model, pictures, tmp_path / "rows.jsonl", r"(\w+)\.jpg$")
    file = exported / "runs/tiny-001/model/model.onnx"
    point = model.metadata.operating_point
    assert point is not None
    for row in rows:
        record = row["record"]
        assert record["picture"] == hashlib.sha256(Path(row["file"]).read_bytes()).hexdigest()
        assert record["model"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert record["thresholds"] == {"accept_below": point.accept_below, "reject_from": point.reject_from}
        assert (record["backend"], record["precision"], record["device"]) == ("onnxruntime", "fp32", "cpu")
        assert record["part"] == Path(row["file"]).stem
        assert {"width", "height", "mode", "light", "contrast", "sharpness"} <= record["features"].keys()
        written = datetime.fromisoformat(record["time"])
        assert written.utcoffset() is not None
        assert abs(datetime.now().astimezone() - written) < timedelta(minutes=5)
    assert len({row["record"]["id"] for row in rows}) == len(rows)
    assert len({row["record"]["settings"] for row in rows}) == 1


def test_the_keys_of_a_plain_row_stay_as_they_are(exported: Path, pictures: Path, tmp_path: Path) -> None:
    model = predictor(exported)
    recorded = write_chain(model, pictures, tmp_path / "rows.jsonl")
    predict_to(model, expand([str(pictures)]), Output(tmp_path / "plain.jsonl", "jsonl"))
    assert [{k: v for k, v in row.items() if k != "record"} for row in recorded] == rows_of(tmp_path / "plain.jsonl")
    assert [*recorded[0]][-1] == "record"


def test_the_settings_change_with_the_thresholds_and_not_with_the_folder(exported: Path) -> None:
    metadata = predictor(exported).metadata
    assert metadata.operating_point is not None
    other = replace(metadata, operating_point=replace(metadata.operating_point, accept_below=0.0))
    assert settings_digest(other) != settings_digest(metadata)
    assert settings_digest(replace(metadata, weights=None)) == settings_digest(metadata)


def test_a_picture_that_cannot_be_read_has_a_record_without_its_sha256(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (row,) = write_chain(predictor(exported), tmp_path / "pictures", tmp_path / "rows.jsonl")
    assert (row["status"], row["record"]["picture"], row["record"]["features"]) == ("error", None, None)


def test_one_changed_byte_no_longer_fits_the_digest(exported: Path) -> None:
    line = Recorder(predictor(exported), RecordOptions()).line(Prediction('a"}}, "digest": "\U0001f600.jpg')).encode()
    text, digest = split_digest(line) or (b"", "")
    assert digest_of(text) == digest == json.loads(line)["record"]["digest"]
    for at in range(0, len(line), 7):
        changed = bytearray(line)
        changed[at] ^= 1
        parts = split_digest(bytes(changed))
        assert parts is None or digest_of(parts[0]) != parts[1], at


def test_a_chain_goes_on_by_itself_after_an_interruption(exported: Path, pictures: Path, tmp_path: Path) -> None:
    model, path = predictor(exported), tmp_path / "rows.jsonl"
    write_chain(model, pictures, path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + b'{"file": "half a r')
    predict_to(model, expand([str(pictures)]), Output(path, "jsonl", resume=True, record=RecordOptions()))
    rows = rows_of(path)
    assert len(rows) == len(whole.splitlines())
    links = [(row["record"]["previous"], row["record"]["digest"]) for row in rows]
    assert [previous for previous, _ in links] == [None, *(digest for _, digest in links[:-1])]
    assert (last_record(path, path.stat().st_size) or {})["digest"] == links[-1][1]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (RecordOptions(), RecordOptions(chain=True), "not chained"),
        (RecordOptions(chain=True), None, "plain rows would break"),
    ],
)
def test_a_chain_is_neither_broken_nor_begun_in_the_middle(
    exported: Path,
    pictures: Path,
    tmp_path: Path,
    before: RecordOptions,
    after: RecordOptions | None,
    said: str,
) -> None:
    model, path = predictor(exported), tmp_path / "rows.jsonl"
    predict_to(model, expand([str(pictures / "Xplus.jpg")]), Output(path, "jsonl", record=before))
    whole = path.read_bytes()
    with pytest.raises(UsageError, match=said):
        predict_to(model, expand([str(pictures)]), Output(path, "jsonl", resume=True, record=after))
    assert path.read_bytes() == whole


def test_a_part_that_is_no_expression_is_refused(exported: Path) -> None:
    with pytest.raises(UsageError, match="not a regular expression"):
        Recorder(predictor(exported), RecordOptions("part("))
