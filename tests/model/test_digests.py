"""sha256 of whole files: right, remembered for settled large files only, computed anew after any change."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from frame_vit.model import digests
from frame_vit.model.digests import file_digest, weights_digest


def old(path: Path, content: bytes) -> Path:
    """A file that was last changed long ago, as far as its time of modification says."""
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    return path


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Files of ten bytes count as large, and as settled at once; gives the cache's folder of digests."""
    monkeypatch.setattr(digests, "LARGE", 10)
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    monkeypatch.setattr(digests, "_remembered", {})
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests"


def test_the_digest_is_that_of_all_bytes(tmp_path: Path) -> None:
    path = old(tmp_path / "file", b"x" * 100_000)
    assert file_digest(path) == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_any_change_at_the_same_size_is_seen_also_with_the_old_time(small_is_large: Path, tmp_path: Path) -> None:
    path = old(tmp_path / "file", b"a" * 20)
    before = file_digest(path)
    assert file_digest(old(path, b"b" * 20)) != before, "the inode's time of change cannot be set back"


def test_the_digest_of_a_large_file_is_kept_on_the_disk(
    small_is_large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old(tmp_path / "file", b"a" * 20)
    digest = file_digest(path)
    (entry,) = small_is_large.glob("*/digest.json")
    monkeypatch.setattr(digests, "_remembered", {})
    entry.write_text(entry.read_text().replace(digest, "0" * 64))
    assert file_digest(path) == "0" * 64, "read from there"
    entry.write_text("damaged")
    monkeypatch.setattr(digests, "_remembered", {})
    assert file_digest(path) == digest


def test_small_files_and_those_just_written_leave_nothing_behind(
    small_is_large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_digest(old(tmp_path / "small", b"a" * 9))
    monkeypatch.setattr(digests, "SETTLED_NS", 10**12)
    file_digest(old(tmp_path / "new", b"a" * 20))
    assert not small_is_large.exists()


def test_a_cache_that_cannot_be_written_only_costs_time(
    small_is_large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "no folder"))
    content = b"a" * 20
    assert file_digest(old(tmp_path / "file", content)) == hashlib.sha256(content).hexdigest()


def test_weights_in_several_files_have_one_digest(tmp_path: Path) -> None:
    assert weights_digest(tmp_path) is None
    for number in range(2):
        (tmp_path / f"model-{number}.safetensors").write_bytes(bytes([number]))
    both = weights_digest(tmp_path)
    (tmp_path / "model-1.safetensors").write_bytes(b"\2")
    assert weights_digest(tmp_path) != both
