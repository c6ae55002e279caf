"""Files and folders that are written whole or not at all, one process at a time, with room for them."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from frame_vit.errors import FrameVitError, UsageError
from frame_vit.system.files import (
    check_plain,
    check_room,
    check_writable,
    existing_parent,
    filling,
    full_disk_explained,
    locked,
    machine_error,
    make_folder,
    read_facts,
    read_plain_text,
    remove_folder,
    replacing,
    replacing_folder,
    size,
    write_json,
    write_text,
)

PACKAGE = Path(__file__).parents[2] / "frame_vit"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("old")
    with replacing(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert names(tmp_path) == ["rows.csv"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert names(tmp_path) == ["rows.csv"]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": "ä"})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "ä"\n}\n'


_WRITER = """
import sys
from pathlib import Path
from frame_vit.system.files import write_text
letters = "ab"
print("ready", flush=True)
while True:
    write_text(Path(sys.argv[1]), letters[0] * 300_000)
    letters = letters[::-1]
"""


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    write_text(file, "a" * 300_000)
    for wait in (0.01, 0.03, 0.05, 0.08):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        text = file.read_text()
        assert len(text) == 300_000
        assert len(set(text)) == 1


def test_a_folder_that_cannot_be_made_is_a_mistake_with_the_option_to_change(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a/b") == make_folder(tmp_path / "a/b")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UsageError, match=f"cannot make the folder {folder}") as caught:
            make_folder(folder, "--explain")
        assert caught.value.hint == "Name another folder with --explain"
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a", fresh=True)


def test_a_folder_takes_its_name_and_the_place_of_an_earlier_one_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    for number in (1, 2):
        with replacing_folder(folder) as part:
            (part / f"{number}.txt").touch()
    assert names(folder) == ["2.txt"]
    assert names(tmp_path) == ["step"]


def test_an_error_leaves_the_old_folder_and_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    (tmp_path / ".step.part").mkdir()
    (tmp_path / ".step.part" / "half").touch()
    with replacing_folder(folder) as part:
        assert names(part) == []
    with pytest.raises(OSError, match="disk"), replacing_folder(folder) as part:
        (part / "half").touch()
        raise OSError("the disk is gone")
    assert names(folder) == []
    assert names(tmp_path) == ["step"]


def test_a_folder_is_removed_even_where_a_removal_was_interrupted_before(tmp_path: Path) -> None:
    for name in ("step", ".step.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_folder(tmp_path / "step")
    assert names(tmp_path) == []


def test_files_that_belong_together_come_into_a_folder_together_and_spare_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    (folder / "b.txt").write_text("old")
    with filling(folder, last="a.json") as part:
        (part / "a.json").write_text("new")
        (part / "b.txt").write_text("new")
        assert (folder / "b.txt").read_text() == "old"
        assert not (folder / "a.json").exists()
    assert names(folder) == ["a.json", "b.txt", "mine.txt"]
    assert (folder / "b.txt").read_text() == "new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_after_an_error_none_of_them_comes_and_a_folder_that_was_made_is_gone(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises((FrameVitError, OSError), match=os.strerror(number)),
        filling(tmp_path / "new" / "report", last="a.json") as part,
    ):
        (part / "b.txt").write_text("half")
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


def test_what_a_killed_process_left_of_a_folder_is_cleared(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    (tmp_path / f".{done.stdout.strip()}.part").mkdir()
    with filling(tmp_path, last="a.json") as part:
        (part / "a.json").touch()
    assert names(tmp_path) == ["a.json"]


def test_a_folder_that_cannot_be_written_is_a_mistake_that_can_be_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write into .*file: Not a directory"), filling(tmp_path / "file", "a"):
        raise AssertionError("there is no such folder")
    with pytest.raises(UsageError, match=r"no results can be written to .*file/a: .*file is not a folder"):
        check_writable(tmp_path / "file" / "a")
    check_writable(tmp_path / "new" / "folder")
    check_writable(None)
    assert names(tmp_path) == ["file"]


def test_only_plain_files_are_read_and_only_as_much_as_was_agreed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/zero"), Path("/dev/full")):
        with pytest.raises(UsageError, match="is not a plain file but a"):
            read_plain_text(place)
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert read_plain_text(tmp_path / "a.txt", 6) == "a\r\n"
    with pytest.raises(UsageError, match="has 6 B; at most 5 B are read"):
        check_plain(tmp_path / "a.txt", 5)
    with pytest.raises(UsageError, match="has more than 10 B"):
        read_plain_text(Path("/proc/self/status"), 10)  # such a file has no size
    with pytest.raises(FileNotFoundError):
        read_plain_text(tmp_path / "gone")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError):
        read_plain_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "no room to write the output"),
        (RuntimeError("writing failed: No space left on device (os error 28)"), 1, "no room to write the output"),
        (OSError(errno.EACCES, "Permission denied", "x"), 2, "x: Permission denied"),
        (OSError(errno.EIO, "Input/output error", "x"), 1, "x: Input/output error"),
        (OSError("libx.so: cannot open shared object file"), 1, "a library cannot be loaded: libx.so"),
        (ImportError("DLL load failed", name="onnxruntime"), 1, "onnxruntime cannot be loaded: DLL load failed"),
        (MemoryError(), 1, "out of memory"),
    ],
)
def test_what_the_machine_refuses_has_its_words_and_code(error: Exception, code: int, said: str) -> None:
    known = machine_error(error)
    assert known is not None
    assert said in known.message
    assert known.exit_code == code


@pytest.mark.parametrize("error", [OSError(5, "oops"), FileNotFoundError(2, "gone", "x"), KeyError("x")])
def test_what_only_a_bug_explains_is_not_explained_away(error: Exception) -> None:
    assert machine_error(error) is None


_HOLDER = """
import sys, time
from pathlib import Path
from frame_vit.system.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it_however_it_ends(tmp_path: Path) -> None:
    lock, busy = tmp_path / ".lock", UsageError("busy")
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(lock)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(UsageError, match="busy"), locked(lock, busy):
            raise AssertionError("two processes hold the lock")
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    with locked(lock, busy):
        pass


def test_without_an_error_to_raise_a_lock_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "framevit")
    order = []

    def second() -> None:
        with locked(tmp_path / ".lock"):
            order.append("second")

    with locked(tmp_path / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting for another process" not in caplog.text and thread.is_alive():
            time.sleep(0.01)
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|Not a directory"), locked(tmp_path / "file" / ".lock"):
        raise AssertionError("there is no such folder")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    with (
        pytest.raises(FrameVitError, match=r"no room to write .*rows\.csv: No space left") as error,
        full_disk_explained(tmp_path / "rows.csv", lambda: "Make room"),
        open("/dev/full", "w") as file,  # noqa: PTH123
    ):
        file.write("x" * 100_000)
    assert error.value.hint == "Make room"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_other_errors_of_a_disk_pass(number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)), full_disk_explained(Path("x"), lambda: "no"):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"), (3.7e9, "3.7 GB"), (4e13, "4e+04 GB")]
)
def test_sizes_are_in_decimal_units(count: float, text: str) -> None:
    assert size(count) == text


def test_room_is_asked_of_the_disk_under_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert existing_parent(folder) == tmp_path
    check_room(folder, 1000, "the pictures", "")
    with pytest.raises(UsageError, match=r"the pictures would take 1e\+09 GB in .*b, but only .* are free") as error:
        check_room(folder, 10**18, "the pictures", "Make room")
    assert error.value.hint == "Make room"
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '"x"'])
def test_facts_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "facts.json").write_text(text)
    assert read_facts(tmp_path / "facts.json") == {}
    assert read_facts(tmp_path / "gone.json") == {}
    write_json(tmp_path / "facts.json", {"a": 1})
    assert read_facts(tmp_path / "facts.json") == {"a": 1}


def test_this_is_the_only_place_that_locks_and_that_knows_a_full_disk() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "system" / "files.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        assert not imported & {"filelock", "errno"}, f"{path}: use locked and full_disk_explained"
