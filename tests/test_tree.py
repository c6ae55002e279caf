"""A folder is walked once, and every entry in it has exactly one kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frame_vit.tree import Tree, is_hidden, some, walk

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def put(root: Path, *names: str, content: bytes = PNG) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def kinds(tree: Tree) -> dict[str, str]:
    return {entry.path.relative_to(tree.root).as_posix(): entry.kind for entry in tree.entries}


def test_pictures_are_known_by_their_ending_or_without_one_by_their_first_bytes(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.JPG", "c.jfif", "d.jpe", "e.JIF", "f.tiff", "shot17", "copy.png.bak", "d/e/f.webp")
    put(tmp_path, "note.txt", "README", "t.csv", "t.parquet", "e.gif", content=b"text")
    heads = {"jpeg": b"\xff\xd8\xff\xe0", "gif": b"GIF89a", "tiff": b"II*\0", "webp": b"RIFF1234WEBP"}
    for name, head in heads.items():
        put(tmp_path, name, content=head + bytes(9))
    assert kinds(walk(tmp_path)) == {
        **dict.fromkeys(("a.png", "b.JPG", "c.jfif", "d.jpe", "e.JIF", "f.tiff", "shot17", "d/e/f.webp"), "picture"),
        **dict.fromkeys(("e.gif", "jpeg", "gif", "tiff", "webp"), "picture"),
        "copy.png.bak": "disguised",
        "note.txt": "other",
        "README": "other",
        "t.csv": "table",
        "t.parquet": "table",
    }


def test_hidden_names_are_passed_over_at_every_depth_and_their_pictures_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/.hidden.png", "a/._a.png", "a/Thumbs.db", "a/@eaDir/a.png/thumb.jpg", "__MACOSX/a/._a.png")
    put(tmp_path, "a/.ipynb_checkpoints/x-checkpoint.png", ".git/objects/12", "a/a.png")
    found = kinds(walk(tmp_path))
    assert found.pop("a/a.png") == "picture"
    assert found == dict.fromkeys(
        (".git/objects", "__MACOSX/a/._a.png", "a/.hidden.png", "a/._a.png", "a/Thumbs.db",
         "a/@eaDir/a.png/thumb.jpg", "a/.ipynb_checkpoints/x-checkpoint.png"),
        "hidden",
    )  # fmt: skip


@pytest.mark.parametrize("name", [".x", "__MACOSX", "THUMBS.DB", "desktop.ini", "@eaDir", "lost+found", "$RECYCLE.BIN"])
def test_names_that_no_person_gives_are_hidden(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(f"x{name}")


def test_links_to_files_and_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "b.png", "sub/c.png")
    put(tmp_path / "here", "a.png")
    (tmp_path / "here" / "linked.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "elsewhere")
    tree = walk(tmp_path / "here")
    assert kinds(tree) == dict.fromkeys(("a.png", "linked.png", "folder/b.png", "folder/sub/c.png"), "picture")


def test_a_link_that_leads_back_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "here/a.png", "here/deep/b.png", "elsewhere/c.png")
    (tmp_path / "here" / "loop").symlink_to(".")
    (tmp_path / "here" / "deep" / "up").symlink_to("../..")
    (tmp_path / "here" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "here")
    assert kinds(walk(tmp_path / "here")) == {
        **dict.fromkeys(("a.png", "deep/b.png", "out/c.png"), "picture"),
        **dict.fromkeys(("loop", "deep/up", "out/back"), "link"),
    }


def test_what_is_no_plain_file_is_broken_if_its_name_is_a_pictures(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert kinds(walk(tmp_path)) == {
        **dict.fromkeys(("gone.jpg", "self.png", "pipe.jpg"), "broken"),
        **dict.fromkeys(("gone", "pipe"), "other"),
    }


def test_a_folder_that_cannot_be_entered_is_an_entry_with_the_reason(tmp_path: Path) -> None:
    (entry,) = walk(tmp_path / "gone").entries
    assert (entry.kind, entry.problem) == ("broken", "a folder that cannot be entered: No such file or directory")
    assert walk(tmp_path / "gone").folders == []


def test_a_tree_gives_its_part_below_a_folder_and_its_children(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "ab/2.png", "a/sub/3.png")
    tree = walk(tmp_path)
    assert tree.children() == [tmp_path / "a", tmp_path / "ab"]
    assert kinds(tree.below(tmp_path / "a")) == {"1.png": "picture", "sub/3.png": "picture"}
    assert tree.below(tmp_path / "a").children() == [tmp_path / "a" / "sub"]
    assert tree.named(tree.entries) == ("a/1.png", "a/sub/3.png", "ab/2.png")


def test_the_first_names_stand_for_many() -> None:
    assert (some("ab"), some("abcd"), some("")) == ("a, b", "a, b, c, ...", "")
