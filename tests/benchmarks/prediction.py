"""How fast predicting is, as ratios to peers that do the same work, whole processes, side by side.

    python tests/benchmarks/prediction.py [--model base] [--repeats 5] [--folder 200] [--only R5 R6 R7 R8 trace records]

R5  a folder of 1280 x 960 JPEGs / transformers' pipeline as a user writes it, pictures a second; to reach: 4
R6  one picture with an exported model: time / the same by pipeline (0.2) and / a bare onnxruntime script (1.5)
R7  `framevit --help`: time / `python -c "import typer, rich"`; to reach: 2
R8  most memory of predict on 10,000 pictures / on 100; to reach: 1.1
records  what records in a chain cost of the pictures a second, and the sha256 of a picture, which every row needs; at
    most 3 %, with the quickest model that there is (`--model-of-r8`)
trace  where the time of R5 goes once the model is loaded: computing, waiting for a decoded picture, the rest

Medians of interleaved repeats, with the smallest and the largest. The model is a ViT with random weights and 5 classes,
exported, with thresholds and all flags, and without symmetries: the pipeline asks about one view, too. R8 takes a
model of one narrow block: whether memory grows does not depend on how long an answer takes (`--model-of-r8` says
otherwise). Not part of the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frame_vit.data import demo
from frame_vit.model.metadata import ModelMetadata

SIZES = {
    "narrow": (64, 1, 2),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""hidden size, layers, heads of a ViT/16 at 224 pixels"""

PIPELINE = """
import sys
from pathlib import Path
from transformers import pipeline
classify = pipeline("image-classification", model=sys.argv[1])
paths = sorted(str(path) for path in Path(sys.argv[2]).iterdir()) if Path(sys.argv[2]).is_dir() else [sys.argv[2]]
for path, found in zip(paths, classify(paths)):
    print(path, found[0]["label"], found[0]["score"])
"""
"""What the documentation of transformers shows: the model's own processor, fp32, one picture at once."""

BARE = """
import sys
import numpy as np
import onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
picture = Image.open(sys.argv[2]).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
pixels = (np.asarray(picture, np.float32) / 255 - 0.5) / 0.5
logits = session.run(["logits"], {"pixel_values": pixels.transpose(2, 0, 1)[None]})[0][0]
powers = np.exp(logits - logits.max())
print(int(logits.argmax()), float(powers.max() / powers.sum()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SIZES, default="base")
    parser.add_argument("--model-of-r8", choices=SIZES, default="narrow")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=int, default=200, help="pictures of R5")
    parser.add_argument("--many", type=int, default=10_000, help="pictures of R8")
    every = ("R5", "R6", "R7", "R8", "records", "trace")
    parser.add_argument("--only", nargs="*", choices=every, default=every)
    given = parser.parse_args()
    print("| | what | framevit | peer | ratio | to reach |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "R7" in given.only:
            help_time(given.repeats)
        if {"R5", "R6", "trace"} & {*given.only}:
            pictures = draw(folder / "pictures", given.folder)
            model = build(folder / given.model, given.model, pictures, timed_here=True)
            if "R6" in given.only:
                one_picture(model, pictures[0], given.repeats)
            if "R5" in given.only:
                a_folder(model, pictures, given.repeats)
            if "trace" in given.only:
                for backend in ("onnxruntime", "openvino"):
                    trace(model, pictures, backend)
        if "R8" in given.only:
            pictures = draw(folder / "few", 100)
            memory(build(folder / "r8", given.model_of_r8, pictures), pictures, given.many)
        if "records" in given.only:
            pictures = draw(folder / "recorded", 100)
            records(build(folder / "narrow", given.model_of_r8, pictures), pictures, given.many, given.repeats)


def help_time(repeats: int) -> None:
    ours, theirs = side_by_side(
        repeats,
        lambda: timed([*FRAMEVIT, "--help"]),
        lambda: timed([sys.executable, "-c", "import typer, rich"]),
    )
    show("R7", "`--help` / `import typer, rich`", ours, theirs, "s", "at most 2")


def one_picture(model: Path, picture: Path, repeats: int) -> None:
    script, bare = [sys.executable, "-c", PIPELINE, model, picture], [sys.executable, "-c", BARE]
    others_of = {"onnxruntime": "fp32", "openvino": "auto", "torch": "auto"}
    timings = side_by_side(
        repeats,
        lambda: timed(script),
        lambda: timed([*bare, model / "model.onnx", picture]),
        lambda: timed([*bare, model / "model-int8.onnx", picture]),
        lambda: timed([*FRAMEVIT, "predict", "--model", model, picture]),
        *(
            lambda words=words: timed([*FRAMEVIT, "predict", "--model", model, picture, *words])
            for words in (["--backend", name, "--precision", numbers] for name, numbers in others_of.items())
        ),
    )
    pipe, plain, plain8, own, *others = timings
    show("R6", "one picture, `--backend auto` / pipeline", own, pipe, "s", "at most 0.2")
    show("R6", "one picture, ONNX Runtime fp32 / pipeline", others[0], pipe, "s", "at most 0.2")
    show("R6", "one picture, `--backend auto` / bare script, int8", own, plain8, "s", "at most 1.5")
    show("R6", "one picture, ONNX Runtime fp32 / bare script, fp32", others[0], plain, "s", "at most 1.5")
    show("R6", "one picture, OpenVINO / pipeline", others[1], pipe, "s", "")
    show("R6", "one picture, torch / pipeline", others[2], pipe, "s", "")


def a_folder(model: Path, pictures: Sequence[Path], repeats: int) -> None:
    count, folder = len(pictures), pictures[0].parent
    ways = {
        "`--backend auto`": [],
        "ONNX Runtime int8": ["--precision", "int8", "--backend", "onnxruntime"],
        "OpenVINO int8": ["--precision", "int8", "--backend", "openvino"],
        "OpenVINO": ["--backend", "openvino", "--precision", BF16],
        "torch": ["--backend", "torch", "--precision", BF16],
        "ONNX Runtime fp32": ["--backend", "onnxruntime", "--precision", "fp32"],
    }
    pipe, *ours = side_by_side(
        repeats,
        lambda: count / timed([sys.executable, "-c", PIPELINE, model, folder]),
        *(
            lambda w=words: count / timed([*FRAMEVIT, "predict", "--model", model, folder, *w])
            for words in ways.values()
        ),
    )
    for name, found in zip(ways, ours, strict=True):
        goal = "at least 4" if name == "`--backend auto`" else ""
        show("R5", f"{count} pictures, {name} / pipeline", found, pipe, "pictures/s", goal)


def trace(model: Path, pictures: Sequence[Path], backend: str) -> None:
    """How much of the time one thread, which feeds the model, spends on what; all pictures wait to be decoded."""
    from frame_vit.prediction.inputs import Input
    from frame_vit.prediction.load import PredictorOptions, load_predictor

    predictor = load_predictor(str(model), PredictorOptions(backend, precision="int8"), len(pictures))
    spent, inside = {"computing": 0.0, "waiting for a picture": 0.0}, [""]

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*values: Any) -> Any:
            if inside[-1]:  # while it computes, it waits for the answers of its own threads
                return call(*values)
            inside.append(name)
            start = time.perf_counter()
            try:
                return call(*values)
            finally:
                spent[inside.pop()] += time.perf_counter() - start

        return counting

    predictor.backend.run = counted("computing", predictor.backend.run)  # type: ignore[method-assign]
    waiting, start = Future.result, time.perf_counter()
    try:
        Future.result = counted("waiting for a picture", waiting)  # type: ignore[method-assign]
        rows = sum(1 for _ in predictor.predict([Input(str(path), path) for path in pictures]))
    finally:
        Future.result = waiting  # type: ignore[method-assign]
    whole = time.perf_counter() - start
    shares = ", ".join(f"{name} {share / whole:.1%}" for name, share in spent.items())
    print(f"trace of {rows} pictures, {backend} int8, {rows / whole:.1f} pictures/s: {shares}", flush=True)


def memory(model: Path, pictures: Sequence[Path], many: int) -> None:
    """The pictures again and again under other names: what is held of each is what could grow."""
    folder = many_names(pictures, many, "many")
    for backend in ("onnxruntime", "torch"):
        words = [*FRAMEVIT, "predict", "--model", model, "--backend", backend, "--format", "csv"]
        few, lots = (peak([*words, place]) for place in (pictures[0].parent, folder))
        show("R8", f"{many} pictures / {len(pictures)}, {backend}", [lots], [few], "MB", "at most 1.1")


def records(model: Path, pictures: Sequence[Path], many: int, repeats: int) -> None:
    """The same pictures under other names, into plain rows and into a chain of records."""
    folder = many_names(pictures, many, "chained")
    words = [*FRAMEVIT, "predict", "--model", model, "--backend", "onnxruntime", folder, "--overwrite", "-o"]
    plain, chained = side_by_side(
        repeats,
        lambda: many / timed([*words, folder.with_name("plain.jsonl"), "--record", "plain"]),
        lambda: many / timed([*words, folder.with_name("chain.jsonl"), "--chain", "--part", r"(\d+)"]),
    )
    show("records", f"{many} pictures, chained records / plain rows", chained, plain, "pictures/s", "at least 0.97")
    data = pictures[0].read_bytes()
    begin = time.perf_counter()
    for _ in range(many):
        hashlib.sha256(data).hexdigest()
    seconds = time.perf_counter() - begin
    print(f"| records | sha256 of a picture, in both | {1000 * seconds / many:.2f} ms | | | |")


def many_names(pictures: Sequence[Path], many: int, name: str) -> Path:
    """A folder with the pictures again and again, under other names."""
    folder = pictures[0].parent.with_name(name)
    folder.mkdir()
    for number in range(many):
        os.link(pictures[number % len(pictures)], folder / f"{number:06d}.jpg")
    return folder


def draw(folder: Path, count: int) -> list[Path]:
    """Frames of 1280 x 960 with some noise, so that the JPEGs are of the size that a camera writes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    noise = random.integers(0, 25, (960, 1280, 3), dtype=np.uint8)
    paths = []
    for number, frame in enumerate(demo.frames(count, 0)):
        picture = Image.open(io.BytesIO(demo.jpeg(frame))).resize((1280, 960), Image.Resampling.BICUBIC)
        shifted = np.roll(noise, number * 7, axis=1)
        paths.append(folder / f"{number:05d}.jpg")
        Image.fromarray(np.asarray(picture) // 2 + shifted + 60).save(paths[-1], quality=92)
    return paths


def build(folder: Path, size: str, pictures: Sequence[Path], timed_here: bool = False) -> Path:
    """A ViT with random weights and all that a trained model carries, exported in fp32 and int8.

    `timed_here`: by `framevit benchmark`, too, so that `--backend auto` knows this machine.
    """
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    from frame_vit.backends.torch_backend import Torch
    from frame_vit.config.schema import Config, ExportConfig
    from frame_vit.data.dataset import read_other_dataset
    from frame_vit.data.splits import SplitChoice
    from frame_vit.decision.novelty import novelty_reference
    from frame_vit.decision.thresholds import Claim, OperatingPoint, ThresholdsBasis
    from frame_vit.export.export import ExportJob, write_export
    from frame_vit.images.measures import measured
    from frame_vit.images.preprocessing import Preprocessing, read_picture
    from frame_vit.labels import LabelSpace
    from frame_vit.model.classifier import Classifier
    from frame_vit.model.saving import load_trained, save
    from frame_vit.prediction.predictor import Predictor, picture_features

    hidden, layers, heads = SIZES[size]
    space, pixels = LabelSpace.build(demo.NAMES, ["passed"]), Preprocessing(224, 224)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = ViTConfig(**sizes, intermediate_size=4 * hidden, id2label=dict(enumerate(space.names)))
    config.label2id = {name: i for i, name in enumerate(space.names)}
    point = OperatingPoint(0.1, 0.9, Claim(0.01, 0.95, 300, 0, 0.0099, 299), ThresholdsBasis("val"))
    module = ViTForImageClassification(config)
    with torch.no_grad():
        module.classifier.bias[1] += 3  # no near ties: a trained model has few, and int8 would be told apart by them
    classifier = Classifier(module, ModelMetadata(space, pixels, operating_point=point), ViTImageProcessor())
    seen = [read_picture(path, pixels) for path in pictures[:64]]
    batch = np.stack([picture.pixels for picture in seen])
    embeddings = Predictor(Torch(classifier, "cpu", "fp32")).answer(batch).embedding
    was = novelty_reference(picture_features(seen, measured(batch)), np.full(1, 2.0, np.float32), embeddings, "review")
    save(replace(classifier, metadata=replace(classifier.metadata, novelty=was)), folder)
    data = folder.with_name(folder.name + "-data")
    for number, path in enumerate(pictures[:64]):
        there = data / space.names[number % len(space)]
        there.mkdir(parents=True, exist_ok=True)
        os.link(path, there / path.name)
    settings = Config.model_validate({"data": {"cache": str(folder.with_name("cache"))}})
    split = next(iter(read_other_dataset(SplitChoice(str(data)), settings, space, pixels).splits.values()))
    # Random weights: what int8 changes of their answers is not looked at here.
    limits = ExportConfig(pictures=8, int8_changed=0.9)
    write_export(ExportJob(load_trained(str(folder)), folder, folder, split, limits, int8=True, train=split))
    if timed_here:
        words = ["benchmark", folder, "--data", data, "--limit", "32", "--json"]
        subprocess.run([*map(str, [*FRAMEVIT, *words])], check=True, capture_output=True, cwd=folder.parent)
    return folder


FRAMEVIT = [sys.executable, "-m", "frame_vit"]


def half() -> str:
    from frame_vit.system.machine import processor_flags

    return "bf16" if processor_flags() & {"avx512_bf16", "amx_bf16"} else "fp32"


BF16 = half()


def side_by_side(repeats: int, *peers: Callable[[], float]) -> list[list[float]]:
    """Every peer's figure, `repeats` times, one peer after the other in turn; a first turn warms the disk up."""
    found: list[list[float]] = [[] for _ in peers]
    for turn, (of, peer) in itertools.product(range(repeats + 1), zip(found, peers, strict=True)):
        figure = peer()
        if turn:
            of.append(figure)
    return found


def timed(words: Sequence[object]) -> float:
    """Seconds of a whole process that must succeed."""
    start = time.perf_counter()
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return time.perf_counter() - start


def peak(words: Sequence[str | Path]) -> float:
    """The most memory that a process has had, in MB, as Linux counts it; asked for until it ends."""
    most = 0
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            for line in Path(f"/proc/{run.pid}/status").read_text().splitlines():
                most = max(most, int(line.split()[1]) if line.startswith("VmHWM") else 0)
            time.sleep(0.05)
    assert run.returncode == 0
    return most * 1024 / 1e6


def show(name: str, what: str, ours: list[float], theirs: list[float], unit: str, goal: str) -> None:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    own, other, ratio = (
        f"{statistics.median(v):.3g}" + (f" ({min(v):.3g} to {max(v):.3g})" if len(v) > 1 else "")
        for v in (ours, theirs, ratios)
    )
    print(f"| {name} | {what} | {own} {unit} | {other} | {ratio} | {goal} |", flush=True)


if __name__ == "__main__":
    main()
