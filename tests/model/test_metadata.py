"""framevit.json: what is written comes back; damaged, newer and older files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frame_vit.decision.novelty import NoveltyReference
from frame_vit.errors import ModelError
from frame_vit.model.metadata import ModelMetadata, misses_embeddings, parse_metadata, read_metadata, write_metadata
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
    assert {path.name for path in tmp_path.iterdir()} == {"framevit.json"}


def test_the_keys_of_the_file_stay(metadata: ModelMetadata) -> None:
    keys = ["format", "framevit", "labels", "pixels", "temperature", "decision", "usual"]
    assert list(metadata.to_json()) == keys
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
