"""Predicting on a line: without network and home, several at once, many pictures, and killed in the middle."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from frame_vit.data import demo
from tests.processes import environment, run_many
from tests.small import accept_weights

MANY = 1_500


def start(cwd: Path, *words: str | Path, **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "frame_vit", *map(str, words)],
        cwd=cwd,
        env=environment(cwd, **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below the folder, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_model_folder_needs_no_network_no_home_and_no_cache(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """Row 86: every place outside of the command's own files is one that cannot be made."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "FRAMEVIT_CACHE", "MPLCONFIGDIR"), "/proc/nowhere")
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    model = exported / "runs/tiny-001/model"
    before = contents(model)
    for backend in ("onnxruntime", "torch"):
        words = ("predict", pictures, "--model", model, "--backend", backend, "--format", "jsonl")
        process = start(tmp_path, *words, **nowhere, **proxy)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        assert len(out.splitlines()) == 5
        assert "/proc/nowhere" not in err, "nothing is said of places that are not needed"
    assert contents(model) == before


def test_several_commands_share_a_model_without_writing_to_it(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """Row 89: their rows are the same, and the model folder is as before."""
    run = exported / "runs/tiny-001"
    before = contents(run)
    words = ("predict", pictures, "--model", run, "--format", "jsonl")
    together = [start(tmp_path, *words) for _ in range(3)]
    said = [process.communicate(timeout=200) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1
    assert contents(run) == before


class Harm:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def edited(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Changes the tensors of a model folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(folder.parent / "mark")))


def pickles(folder: Path) -> None:
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt", "pytorch_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Harm(folder.parent / "mark")))


def own_code(folder: Path) -> None:
    edited(folder, "config.json", auto_map={"AutoConfig": "code.C", "AutoModelForImageClassification": "code.M"})
    (folder / "code.py").write_text(f"open({str(folder.parent / 'mark')!r}, 'w')")


def not_a_number(folder: Path) -> None:
    weights(folder, lambda tensors: tensors["classifier.bias"].fill_(math.nan))
    accept_weights(folder)


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


LABELS = {str(i): f"LABEL_{i}" for i in range(5)}


def nameless(folder: Path) -> None:
    (folder / "framevit.json").unlink()
    edited(folder, "config.json", id2label=LABELS, label2id={name: int(key) for key, name in LABELS.items()})


FOLDERS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "pickled": (pickled, 2, "only pickled weights (pytorch_model.bin), which can run code"),
    "pickles": (pickles, 0, "model: "),
    "own code": (own_code, 0, "model: "),
    "header": (lambda at: (at / "model.safetensors").write_bytes(b"\xff" * 1000), 1, "not a usable model folder"),
    "cut": (cut, 1, "not a usable model folder"),
    "nan": (not_a_number, 1, "numbers that are not finite"),
    "other": (lambda at: weights(at, lambda w: w["classifier.bias"].fill_(0.0)), 2, "its sha256 is another"),
    "no head": (lambda at: weights(at, lambda w: w.pop("classifier.weight")), 1, "do not fit the model's config.json"),
    "more": (lambda at: weights(at, lambda w: w.update(x=Tensor([1.0]))), 2, "has no place for the weights x"),
    "shape": (lambda at: weights(at, lambda w: w.update({"classifier.bias": Tensor([1.0])})), 1, "do not fit"),
    "names": (lambda at: edited(at, "config.json", id2label=LABELS | {"1": "LABEL_0"}), 2, "classes"),
    "newer": (lambda at: edited(at, "framevit.json", format=99), 1, "Update framevit"),
    "nameless": (nameless, 0, "has no framevit.json: which classes are good parts"),
}
"""By kind: what is done to a model folder, the exit code of `predict` and what it says."""


def test_a_model_folder_is_never_run_and_is_whole_or_refused(exported: Path, tmp_path: Path) -> None:
    """Rows 45, 46, 75, 76, 77, 78 and 88: in one panel; where it can answer, it does without what it must not load."""
    (tmp_path / "picture.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", 0)))
    for name, (change, _, _) in FOLDERS.items():
        copy = shutil.copytree(exported / "runs/tiny-001/model", tmp_path / name)
        for file in copy.glob("*.onnx"):
            file.unlink()
        change(copy)
    answers = run_many(tmp_path, [["predict", "picture.jpg", "--model", name] for name in FOLDERS])
    for (name, (_, code, said)), answer in zip(FOLDERS.items(), answers, strict=True):
        words = " ".join(answer.stderr.replace("│", " ").split())
        assert answer.returncode == code, (name, words)
        assert said in words, (name, words)
        assert "Traceback" not in words
        if code:
            assert answer.stdout == "", name
            assert answer.stderr.count("╭") == 1, (name, words)
    assert not (tmp_path / "mark").exists()
    row = json.loads(answers[-1].stdout)
    assert row["label"] in LABELS.values()
    assert row["decision"] is None, "nobody said which classes are good"
    pickle.loads((tmp_path / "pickles/optimizer.pt").read_bytes())
    assert (tmp_path / "mark").exists(), "the pickle was not a harmful one"


def test_an_exported_file_cannot_read_other_files(exported: Path, pictures: Path, tmp_path: Path) -> None:
    """Row 80: tensors that lie in another file, outside of the folder, are not loaded, whatever computes the file."""
    onnx = pytest.importorskip("onnx")
    model = shutil.copytree(exported / "runs/tiny-001/model", tmp_path / "model")
    (model / "export.json").unlink()
    (model / "model.safetensors").unlink()
    graph = onnx.load(model / "model.onnx")
    onnx.save(graph, model / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (model / "w.bin").rename(tmp_path / "secret.bin")
    graph = onnx.load(model / "model.onnx", load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../secret.bin" if entry.key == "location" else entry.value
    (model / "model.onnx").write_bytes(graph.SerializeToString())
    words: list[str | Path] = ["predict", pictures / "passed.jpg", "--model", model / "model.onnx"]
    for answer in run_many(tmp_path, [words, [*words, "--backend", "openvino"], [*words[:3], model]]):
        assert answer.returncode in (1, 2), answer.stderr
        assert answer.stdout == ""
        assert answer.stderr.count("╭") == 1


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs the memory of a child")
def test_many_pictures_take_no_more_memory_and_a_kill_loses_no_row(exported: Path, tmp_path: Path) -> None:
    """Row 90: rows are written as they are made; with --skip-done each input has one row in the end, in order."""
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(demo.jpeg(demo.sample("Xplus", number)))
    names = [f"{number % 3}.jpg" for number in range(MANY)]
    (tmp_path / "many.csv").write_text("\n".join(["file_name,label", *(f"{name},Xplus" for name in names)]))
    (tmp_path / "few.csv").write_text("\n".join(["file_name,label", *(f"{name},Xplus" for name in names[:50])]))
    rows = tmp_path / "rows.jsonl"
    options = ("--model", exported / "runs/tiny-001", "--backend", "onnxruntime")

    process = start(tmp_path, "predict", "many.csv", *options, "-o", rows)
    while not rows.exists() or rows.read_bytes().count(b"\n") < 100:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = rows.read_bytes().count(b"\n")
    assert 100 <= written < MANY

    peaks = {}
    for table, file, skip in (("few.csv", "few.jsonl", ()), ("many.csv", "rows.jsonl", ("--skip-done",))):
        process = start(tmp_path, "predict", table, *options, "-o", tmp_path / file, *skip)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, process.communicate()
        process.communicate()
        peaks[table] = usage.ru_maxrss / 1024
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [Path(row["file"]).name for row in found] == names
    assert {row["status"] for row in found} == {"ok"}
    assert peaks["many.csv"] < peaks["few.csv"] + 60, "megabytes"
