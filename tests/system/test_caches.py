"""The caches' folders: where they are, how an entry gets in, how large they are, and what emptying them leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.errors import UsageError
from frame_vit.system import caches
from frame_vit.system.caches import (
    ACTIVATIONS,
    COMPILED,
    DIGESTS,
    PIXELS,
    FolderSize,
    building,
    cache_folder,
    cache_use,
    clear_caches,
    hub_cache_folder,
    hub_cache_size,
    new_entry,
)
from frame_vit.system.files import locked


def entry(cache: Path, name: str, key: str, count: int) -> Path:
    """A finished entry with `count` bytes."""
    home = cache / name / key
    with building(home), new_entry(home / "state") as part:
        (part / "file").write_bytes(bytes(count))
    return home


def test_the_folder_is_the_settings_then_the_environments_then_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FRAMEVIT_CACHE", str(tmp_path / "env"))
    assert cache_folder(str(tmp_path / "setting")) == tmp_path / "setting"
    assert cache_folder(None) == tmp_path / "env"
    monkeypatch.delenv("FRAMEVIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "framevit"


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", ""])
def test_the_hubs_folder_is_the_one_that_the_hubs_client_uses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    import subprocess
    import sys

    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    ask = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    assert str(hub_cache_folder()) == done.stdout.strip()


def test_the_hubs_cache_is_measured_by_its_files_not_its_links_and_only_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert hub_cache_size(tmp_path / "none") == FolderSize(0, True)
    for name, count in (("a", 1500), ("b", 1500)):
        (tmp_path / "blobs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "blobs" / name).write_bytes(bytes(count))
    (tmp_path / "snapshot").symlink_to(tmp_path / "blobs" / "a")
    whole = hub_cache_size(tmp_path)
    assert whole.complete
    assert 3000 <= whole.bytes < 3500
    monkeypatch.setattr(caches, "MOST_FILES", 1)
    part = hub_cache_size(tmp_path)
    assert not part.complete
    assert part.bytes < 3000


def test_a_new_entry_takes_the_place_of_the_others(tmp_path: Path) -> None:
    home = tmp_path / "key"
    with building(home):
        for name in ("one", "two"):
            with new_entry(home / name) as part:
                (part / "file").write_text(name)
        with pytest.raises(UsageError, match="cannot be written: No space left"), new_entry(home / "three"):
            raise OSError(28, "No space left")
    assert sorted(path.name for path in home.iterdir()) == [".lock", "two"]
    assert (home / "two" / "file").read_text() == "two"


def test_what_a_killed_process_left_half_built_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "key" / ".state.part").mkdir(parents=True)
    (tmp_path / "key" / ".state.part" / "file").touch()
    with building(tmp_path / "key"):
        assert not (tmp_path / "key" / ".state.part").exists()


def test_the_use_counts_bytes_and_entries_of_each_cache(tmp_path: Path) -> None:
    assert [(use.name, use.bytes, use.entries) for use in cache_use(tmp_path)] == [
        (name, 0, 0) for name in (PIXELS, ACTIVATIONS, DIGESTS, COMPILED)
    ]
    entry(tmp_path, PIXELS, "a", 100)
    entry(tmp_path, PIXELS, "b", 20)
    entry(tmp_path, ACTIVATIONS, "c", 3)
    pixels, activations, digests, _ = cache_use(tmp_path)
    assert (pixels.bytes, pixels.entries, pixels.path) == (120, 2, tmp_path / PIXELS)
    assert (activations.bytes, activations.entries, activations.path) == (3, 1, tmp_path / ACTIVATIONS)
    assert (digests.bytes, digests.entries) == (0, 0)


def test_clearing_empties_framevits_own_caches_and_nothing_else(tmp_path: Path) -> None:
    entry(tmp_path, PIXELS, "a", 100)
    entry(tmp_path, ACTIVATIONS, "c", 3)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / PIXELS / "a" / "link").symlink_to(tmp_path / "precious", target_is_directory=True)
    entry(tmp_path, DIGESTS, "d", 4)
    entry(tmp_path, COMPILED, "e", 5)
    assert clear_caches(tmp_path) == []
    assert [use.bytes for use in cache_use(tmp_path)] == [0, 0, 0, 0]
    assert (tmp_path / "precious" / "file").is_file()
    assert clear_caches(tmp_path / "not there") == []


def test_an_entry_that_a_process_is_building_is_left_and_named(tmp_path: Path) -> None:
    kept, cleared = entry(tmp_path, PIXELS, "a", 100), entry(tmp_path, PIXELS, "b", 20)
    with locked(kept / ".lock"):
        assert clear_caches(tmp_path) == [kept]
    assert (kept / "state" / "file").is_file()
    assert not (cleared / "state").exists()


def test_a_cleared_entry_can_be_built_again(tmp_path: Path) -> None:
    home = entry(tmp_path, PIXELS, "a", 100)
    clear_caches(tmp_path)
    entry(tmp_path, PIXELS, "a", 50)
    assert (home / "state" / "file").stat().st_size == 50


def test_a_cache_that_cannot_be_written_says_where_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written") as error, building(tmp_path / "file" / "key"):
        raise AssertionError("nothing can be built there")
    assert "FRAMEVIT_CACHE" in error.value.hint
