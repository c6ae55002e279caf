"""What settings of fine-tuning are worth on a pretrained model: one setting changed at a time, several seeds.

    python tests/benchmarks/defaults.py --model FOLDER [--boards TRAIN TEST] [--csv defaults.csv]

The numbers are those of the validation pictures, which also choose the checkpoint; no test picture is looked at. Rows
go to a CSV file as they are measured; a study that is started again goes on where it stopped. Not part of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import DatasetDict, disable_progress_bars
from study import (  # type: ignore[import-not-found]
    BATCH,
    BOARDS,
    FRAMES,
    HALVED,
    Place,
    append,
    balanced,
    begin,
    frames,
    rows_in,
    settings,
    table_of,
)

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config
from frame_vit.evaluation.metrics import score
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.devices import resolve_device, resolve_precision
from frame_vit.training import loop

HELD_OUT = 200
BASE: dict[str, Any] = {"epochs": 5, "learning_rate": 5e-5, "head": "fitted", "batch_size": BATCH}
RATES = [("fitted", 3e-5), ("fitted", 1e-5), ("random", 3e-5), ("fitted", 6e-5), ("random", 1e-4)]
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "layer decay 0.75": {"layer_decay": 0.75},
    "layer decay 1": {"layer_decay": 1.0},
    "10 epochs": {"epochs": 10},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "weight decay 0.05": {"weight_decay": 0.05},
    "warmup 0.3": {"warmup": 0.3},
    **{f"{side} pixels": {"image_size": side} for side in (70, 98, 154)},
    **{f"{head} head, rate {rate:g}": {"head": head, "learning_rate": rate} for head, rate in RATES},
}


class Run(NamedTuple):
    """One training."""

    data: str
    pictures: int
    variant: str
    seed: int


@dataclass(frozen=True)
class Row:
    """One line of the CSV file: the best checkpoint on the validation pictures, also with the views averaged."""

    data: str
    pictures: int
    variant: str
    seed: int
    accuracy: float
    macro_f1: float
    averaged_accuracy: float
    averaged_macro_f1: float
    best_step: int
    steps: int
    seconds: float


def measure(run: Run, place: Place) -> Row:
    torch.set_num_threads(place.threads)
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        classifier, dataset = begin(config := config_of(run, place, Path(folder)))
        began = time.perf_counter()
        outcome = loop.train(classifier, dataset.splits, config, Path(folder) / "run")
        seconds = round(time.perf_counter() - began, 1)
        val = dataset.splits["val"]
        answers = Predictor(Torch(classifier, place.device, place.precision)).answer_all(val.pixels)
        one, all_views = (score(val.labels, logits, dataset.labels) for logits in (answers.single, answers.averaged))
        scores = (one.accuracy, one.macro_f1, all_views.accuracy, all_views.macro_f1)
        return Row(*run, *scores, outcome.best_step, outcome.steps, seconds)


def config_of(run: Run, place: Place, folder: Path) -> Config:
    (folder / "run").mkdir()
    training = BASE | {"device": place.device, "precision": place.precision} | VARIANTS[run.variant]
    training |= {"seed": run.seed, "save_total_limit": 1}
    model = {"name": place.model, "image_size": training.pop("image_size", place.image_size)}
    return Config.model_validate(
        settings(run.data, table_of(run, place.tables), folder) | {"model": model, "training": training}
    )


def save_table(run: Run, boards: list[str], folder: Path) -> None:
    place = table_of(run, folder)
    if place.exists():
        return
    count, seed = run.pictures + HELD_OUT, 2000 + run.seed
    shares = {FRAMES: 1.0, HALVED: 0.5}
    drawn = balanced(boards[0], count, seed) if run.data == BOARDS else frames(count, seed, shares[run.data])
    train, validation = drawn.select(range(run.pictures)), drawn.select(range(run.pictures, count))
    DatasetDict({"train": train, "validation": validation}).save_to_disk(str(place))


def show(rows: list[Row]) -> None:
    print("| data | pictures | setting | macro-F1 | averaged over the views | time |")
    print("| --- | --- | --- | --- | --- | --- |")
    for data, pictures, variant in sorted({(row.data, row.pictures, row.variant) for row in rows}):
        at = [row for row in rows if (row.data, row.pictures, row.variant) == (data, pictures, variant)]
        single, averaged = [row.macro_f1 for row in at], [row.averaged_macro_f1 for row in at]
        spread = " | ".join(f"{statistics.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in (single, averaged))
        print(f"| {data} | {pictures} | {variant} | {spread} | {statistics.mean(row.seconds for row in at):.0f} s |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a pretrained image classifier")
    parser.add_argument("--boards", nargs=2, default=[], metavar=("TRAIN", "TEST"), help="DeepPCB's crops as parquet")
    parser.add_argument("--halved", action="store_true", help="frames whose terminals are displaced by half as much")
    parser.add_argument("--image-size", type=int, default=98, help="side of the model's input, a multiple of its patch")
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS], metavar="NAME")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trainings side by side; a card: 1")
    parser.add_argument("--csv", type=Path, default=Path("defaults.csv"))
    given = parser.parse_args()
    names = [HALVED] if given.halved else [FRAMES, BOARDS] if given.boards else [FRAMES]
    done = {(row.data, row.pictures, row.variant, row.seed) for row in rows_in(given.csv, Row)}
    every = itertools.product(given.pictures, range(given.seeds), names, given.variants)
    planned = [Run(data, count, variant, seed) for count, seed, data, variant in every]
    planned = [run for run in planned if tuple(run) not in done]
    device = resolve_device(given.device)
    threads = max(1, (os.cpu_count() or 1) // given.workers)
    with tempfile.TemporaryDirectory() as folder:
        model, precision = str(Path(given.model).resolve()), resolve_precision("auto", device)
        place = Place(model, given.image_size, Path(folder), str(device), precision, threads)
        for run in planned:
            save_table(run, given.boards, place.tables)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.workers, context) as pool:
            for job in as_completed([pool.submit(measure, run, place) for run in planned]):
                append(given.csv, [job.result()])
                print(job.result(), flush=True)
    show(rows_in(given.csv, Row))


if __name__ == "__main__":
    main()
