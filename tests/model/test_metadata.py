"""framevit.json: what is written comes back; damaged, newer and older files."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frame_vit.decision.novelty import NoveltyReference
from frame_vit.decision.thresholds import Claim, OperatingPoint, OverkillClaim, ThresholdsBasis
from frame_vit.errors import DamagedModelError, ModelError
from frame_vit.model.metadata import (
    ModelMetadata,
    check_embeddings,
    misses_embeddings,
    parse_metadata,
    read_metadata,
    write_metadata,
)
from frame_vit.model.saving import save
from tests.small import tiny_classifier


@pytest.fixture
def metadata() -> ModelMetadata:
    return tiny_classifier().metadata


def with_novelty(metadata: ModelMetadata, mode: str = "review") -> ModelMetadata:
    """Four unit embeddings (4, 3) float32, which are exact in float16."""
    embeddings = np.eye(4, 3, dtype=np.float32)
    values = {"n": 4, "ranges": {"distance": [0.0, 0.5]}, "modes": ["RGB"], "mode": mode}
    novelty = NoveltyReference.from_json(values, embeddings)
    return replace(metadata, temperature=1.5, novelty=novelty)


def test_what_is_written_comes_back(metadata: ModelMetadata, tmp_path: Path) -> None:
    write_metadata(metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata
    write_metadata(replace(metadata, settling_limit=0.01), tmp_path)
    assert read_metadata(tmp_path).settling_limit == 0.01
    assert {path.name for path in tmp_path.iterdir()} == {"framevit.json"}


def test_the_keys_of_the_file_stay(metadata: ModelMetadata) -> None:
    keys = ["format", "framevit", "labels", "pixels", "temperature", "decision", "usual", "weights"]
    assert list(metadata.to_json()) == keys
    assert list(replace(metadata, settling_limit=0.01).to_json()) == [*keys, "settling_limit"]
    assert metadata.to_json()["format"] == 1


def test_embeddings_lie_beside_the_file(metadata: ModelMetadata, tmp_path: Path) -> None:
    written = with_novelty(metadata)
    write_metadata(written, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"framevit.json", "embeddings.npy"}
    back = read_metadata(tmp_path)
    assert back.temperature == 1.5
    assert back.novelty is not None
    assert back.novelty.embeddings is not None
    assert back.novelty.embeddings.dtype == np.float32
    assert np.array_equal(back.novelty.embeddings, np.eye(4, 3))
    assert not misses_embeddings(back)


def test_embeddings_that_no_longer_belong_to_the_model_are_deleted(metadata: ModelMetadata, tmp_path: Path) -> None:
    write_metadata(with_novelty(metadata), tmp_path)
    write_metadata(metadata, tmp_path)
    assert not (tmp_path / "embeddings.npy").exists()


@pytest.mark.parametrize(("mode", "missed"), [("review", True), ("off", False)])
def test_missing_embeddings_are_noticed_where_they_are_needed(
    metadata: ModelMetadata, tmp_path: Path, mode: str, missed: bool
) -> None:
    write_metadata(with_novelty(metadata, mode), tmp_path)
    (tmp_path / "embeddings.npy").unlink()
    assert misses_embeddings(read_metadata(tmp_path)) is missed
    assert not misses_embeddings(metadata)


def test_damaged_embeddings_are_an_error(metadata: ModelMetadata, tmp_path: Path) -> None:
    write_metadata(with_novelty(metadata), tmp_path)
    (tmp_path / "embeddings.npy").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        read_metadata(tmp_path)


def test_a_file_of_an_early_version_has_no_temperature_and_no_thresholds(metadata: ModelMetadata) -> None:
    values: dict[str, Any] = metadata.to_json()
    early = {key: values[key] for key in ("format", "framevit", "labels", "pixels")}
    assert parse_metadata(json.dumps(early), "early") == metadata


def test_a_newer_file_asks_for_an_update() -> None:
    with pytest.raises(ModelError, match=r"somewhere: written by framevit 9\.9, which is newer") as error:
        parse_metadata('{"format": 99, "framevit": "9.9"}', "somewhere")
    assert error.value.hint == "Update framevit"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 1, "labels": {"nemas": []}, "pixels": {}}',
        '{"format": 99, "framevit": "9.9"}',
    ],
)
def test_damaged_or_newer_files_are_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "framevit.json").write_text(content)
    with pytest.raises(ModelError, match=r"framevit\.json"):
        read_metadata(tmp_path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_metadata(tmp_path)


def stored(metadata: ModelMetadata) -> dict[str, Any]:
    """A whole framevit.json, with thresholds and novelty."""
    claim = Claim(0.005, 0.95, 598, 0, 0.0049971, 598)
    basis = ThresholdsBasis(
        "val", 40, 598, 0.02, OverkillClaim(0.1, 1, 0.113, 29), "ab", ("identity",), "torch", "fp32"
    )
    ranges = {"width": (48.0, 48.0), "height": (36.0, 36.0), "aspect": (1.33, 1.34), "distance": (0.0, 0.5)}
    novelty = NoveltyReference(40, ranges, ("RGB",))
    return replace(metadata, operating_point=OperatingPoint(0.1, 0.9, claim, basis), novelty=novelty).to_json()


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The values with another one at a dotted key; `...` deletes it."""
    whole = copy.deepcopy(values)
    *parents, last = key.split(".")
    inner = whole
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return whole


NONSENSE: list[tuple[str, list[Any]]] = [
    ("format", [..., None, 0, -1, 1.0, True, "1"]),
    ("framevit", [5]),
    ("labels", [..., None, [], "names"]),
    ("labels.names", [..., "ab", ["ok"], ["ok", 1], ["ok", ""], ["ok", "Ok"], [["ok"], ["bad"]]]),
    ("labels.ok", ["ok", ["good"], [1], {"ok": True}]),
    ("labels.symmetries", [[], {"hflip": "left"}, {"hflip": {"left": 1}}, {"spin": {}}, {"hflip": {"left": "right"}}]),
    ("labels.aliases", [[], {"x": "nothing"}, {"x": 3}]),
    ("labels.other", [1]),
    ("pixels", [..., None, []]),
    ("pixels.height", [..., 0, -32, 32.0, "32", True, 10**9, None]),
    ("pixels.width", [..., 0, 1e3, [32]]),
    ("pixels.mean", [..., 0.5, [0.5], [0.5] * 4, [0.5, 0.5, None], [0.5, 0.5, True], [0.5, 0.5, 1e300]]),
    ("pixels.std", [..., [0.5, 0.5, 0], [0.5, 0.5, -0.5], [0.5, 0.5]]),
    ("pixels.scale", [..., 0, -1, "1/255"]),
    ("pixels.resample", [..., 99, -1, 2.5, "bilinear"]),
    ("pixels.resize", [0, -1, [32], [32, 0], [32.5, 32], "256"]),
    ("pixels.bit_depth", [7, 17, 12.0]),
    ("pixels.roi", [[0, 0, 1], [0.5, 0, 0.5, 1], [0, 0.9, 1, 0.1], [-0.1, 0, 1, 1], "all"]),
    ("pixels.gamma", [2.2]),
    ("temperature", [0, -1.5, "1", True, [1.0], 10**400]),
    ("temprature", [1.5]),
    ("settling_limit", [-0.1, 1.1, "0.1", True]),
    ("decision", [[], 0, "accept"]),
    ("decision.accept_below", [..., None, 2.0, -0.1, 0.95, "0.1", True]),
    ("decision.reject_from", [..., 0.05, 1.5, 1.0001]),
    ("decision.claim", [..., None, []]),
    ("decision.claim.target", [..., 2, -0.1]),
    ("decision.claim.confidence", [..., 95]),
    ("decision.claim.n", [..., -1, 1.5]),
    ("decision.claim.escapes", [..., 599, -1]),
    ("decision.claim.bound", [..., 1.1]),
    ("decision.claim.needed", [..., -1]),
    ("decision.claim.met", [False, 1]),
    ("decision.claim.more", [1]),
    ("decision.margin", [0.1]),
    ("decision.chosen_on", [1]),
    ("decision.facts", [[], "val"]),
    ("decision.facts.good", [-1, 0.5]),
    ("decision.facts.bad_share", [2]),
    ("decision.facts.overkill", [{}, {"target": 0.1}]),
    ("decision.facts.views", ["identity", [1]]),
    ("decision.facts.backend", [1]),
    ("usual", [[], 1]),
    ("usual.n", [..., 0, 1.5]),
    ("usual.ranges", [..., [], {"warmth": [0, 1]}, {"light": [1, 0]}, {"light": [0]}, {"light": "all"}]),
    ("usual.ranges.width", [..., [48, None], [49.0, 48.0]]),
    ("usual.modes", [..., "RGB", [1]]),
    ("usual.mode", [..., "Review", None]),
    ("usual.more", [1]),
]


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in NONSENSE for value in values], ids=lambda part: f"{part!s:.30}"
)
def test_a_value_that_makes_no_sense_is_refused(metadata: ModelMetadata, key: str, value: Any) -> None:
    whole = stored(metadata)
    assert parse_metadata(json.dumps(whole), "framevit.json").to_json() == whole
    with pytest.raises(DamagedModelError, match=r"^framevit\.json: damaged: ") as error:
        parse_metadata(json.dumps(changed(whole, key, value)), "framevit.json")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["temperature", "accept_below", "scale", "bound", "bad_share"])
def test_no_number_may_be_infinite_or_none(metadata: ModelMetadata, key: str, number: str) -> None:
    text, count = re.subn(rf'"{key}": [\d.e-]+', f'"{key}": {number}', json.dumps(stored(metadata)))
    assert count
    with pytest.raises(DamagedModelError):
        parse_metadata(text, "framevit.json")


@pytest.mark.parametrize("text", ['{"format": 1, "format": 1}', "[" * 100_000, '"format"', "1", "\x00"])
def test_what_is_no_object_of_json_is_refused(text: str) -> None:
    with pytest.raises(DamagedModelError):
        parse_metadata(text, "framevit.json")


def test_thresholds_at_the_ends_are_kept(metadata: ModelMetadata) -> None:
    """Just above 1 nothing is rejected: `decision.thresholds` sets that itself."""
    whole = changed(changed(stored(metadata), "decision.accept_below", 0), "decision.reject_from", 1.0000000000000002)
    point = parse_metadata(json.dumps(whole), "framevit.json").operating_point
    assert point is not None
    assert (point.accept_below, point.reject_from) == (0, 1.0000000000000002)


def test_a_fact_that_a_later_version_adds_is_passed_over(metadata: ModelMetadata) -> None:
    whole = changed(stored(metadata), "decision.facts.camera", "left")
    assert parse_metadata(json.dumps(whole), "framevit.json").to_json() == stored(metadata)


@pytest.mark.parametrize(
    "array",
    [np.zeros(5), np.zeros((5, 3, 1)), np.zeros((0, 3)), np.full((5, 3), np.nan), np.full((5, 3), np.inf),
     np.zeros((5, 3), int), np.zeros((5, 3), complex), np.array(1.0), np.array([["a"]])],
    ids=lambda array: f"{array.dtype} {array.shape}",
)  # fmt: skip
def test_embeddings_that_nothing_can_be_compared_with_are_refused(
    metadata: ModelMetadata, tmp_path: Path, array: Any
) -> None:
    write_metadata(with_novelty(metadata), tmp_path)
    np.save(tmp_path / "embeddings.npy", array)
    with pytest.raises(DamagedModelError, match=r"embeddings\.npy: damaged"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(("size", "fits"), [(3, True), (4, False), (None, False)])
def test_stored_embeddings_must_have_the_size_of_the_models(
    metadata: ModelMetadata, size: int | None, fits: bool
) -> None:
    check_embeddings(metadata, size, "here")  # nothing is stored
    if fits:
        check_embeddings(with_novelty(metadata), size, "here")
    else:
        with pytest.raises(DamagedModelError, match="have 3 dimensions"):
            check_embeddings(with_novelty(metadata), size, "here")


def test_embeddings_too_long_for_half_precision_keep_their_direction(metadata: ModelMetadata, tmp_path: Path) -> None:
    long = replace(with_novelty(metadata))
    assert long.novelty is not None
    novelty = replace(long.novelty, embeddings=np.array([[3e6, 4e6, 0]], np.float32))
    write_metadata(replace(long, novelty=novelty), tmp_path)
    back = read_metadata(tmp_path).novelty
    assert back is not None
    assert back.embeddings == pytest.approx(np.array([[0.6, 0.8, 0]]), abs=1e-3)


def test_beside_weights_the_processor_must_agree(tmp_path: Path) -> None:
    save(tiny_classifier(), tmp_path)
    assert read_metadata(tmp_path).preprocessing == tiny_classifier().preprocessing
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.5, 0.5, 0.4]}))
    with pytest.raises(DamagedModelError, match="different preprocessing"):
        read_metadata(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(DamagedModelError, match="is missing"):
        read_metadata(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    read_metadata(tmp_path)  # a line PC has only the exported file
