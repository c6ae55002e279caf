"""What a recipe of fine-tuning is worth: the same backbone and pictures, the same number of steps, several seeds.

    python tests/benchmarks/recipes.py --model FOLDER [--boards TRAIN TEST] [--csv recipes.csv] [--picture recipes.png]

notebook       the notebook that framevit grew out of: random crops, unlabelled mirroring, 2e-4 falling to 0, the
               checkpoint with the lowest loss on validation pictures that are cropped and mirrored, too
usual script   the same crops and mirroring in training, whole pictures in validation, 5e-5 with a warmup
plain          framevit's training with its defaults, without any augmentation
flips          framevit's training with its defaults: a mirrored picture is trained under its mirrored label
flips, views   the same models; the answers to all declared views of a picture are averaged
head, views    only the head is fitted, on the stored activations of all views; no steps, so no epochs

Every seed draws its own pictures to train on, and a quarter as many to choose the checkpoint by. The test pictures are
the same for all, whole, and choose nothing. Rows go to a CSV file as they are measured; a study that is started again
goes on where it stopped. `--boards` adds DeepPCB's crops, two data sets with the columns image and response. Not part
of the tests.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import DatasetDict, disable_progress_bars
from recipes_figure import USUAL_EPOCHS, USUAL_PICTURES, Row, draw, show  # type: ignore[import-not-found]
from study import (  # type: ignore[import-not-found]
    BATCH,
    BOARDS,
    FRAMES,
    Place,
    append,
    balanced,
    begin,
    frames,
    rows_in,
    settings,
    table_of,
)
from torchvision.transforms import (  # type: ignore[import-untyped]
    Compose,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config
from frame_vit.data.examples import Split
from frame_vit.evaluation.metrics import score
from frame_vit.model.classifier import Classifier
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.devices import resolve_device, resolve_precision
from frame_vit.training import loop

PICTURES, EPOCHS = (100, 300, 1000, 2000), (2, 5, 10, 15)
TESTED = 400
SCRIPTS: dict[str, dict[str, Any]] = {
    "notebook": {"learning_rate": 2e-4, "eval_strategy": "steps", "eval_steps": 20, "save_steps": 100},
    "usual script": {"learning_rate": 5e-5, "warmup_steps": 0.1, "eval_strategy": "epoch", "save_strategy": "epoch"},
}
NO_AUGMENTATION = {"hflip": False, "vflip": False, "rot90": False, "brightness": 0.0, "contrast": 0.0}
TRAINED = ("notebook", "usual script", "plain", "flips", "head, views")


class Run(NamedTuple):
    """One training. `recipe` is one of `TRAINED`; the head is fitted without epochs (0)."""

    data: str
    recipe: str
    pictures: int
    epochs: int
    seed: int


def runs(names: Sequence[str], pictures: Sequence[int], epochs: Sequence[int], seeds: int) -> list[Run]:
    """Every training of the study: cheap ones first, and all recipes of a seed before the next seed."""
    grid = {(USUAL_PICTURES, each) for each in epochs} | {(each, USUAL_EPOCHS) for each in pictures}
    trained = [
        Run(data, recipe, count, rounds, seed)
        for data, recipe, seed, (count, rounds) in itertools.product(names, TRAINED, range(seeds), sorted(grid))
        if recipe != "head, views"
    ]
    heads = [Run(d, "head, views", n, 0, s) for d, n, s in itertools.product(names, pictures, range(seeds))]
    return sorted(trained + heads, key=lambda run: (run.pictures > 1000, names.index(run.data), run.seed, run[2:4]))


def measure(run: Run, place: Place) -> list[Row]:
    """Trains as the recipe says and tests: one row, or two where the answers are averaged as well."""
    torch.set_num_threads(place.threads)
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        classifier, dataset = begin(config := config_of(run, place, Path(folder)))
        began = time.perf_counter()
        if run.recipe in SCRIPTS:
            train_by_script(classifier, run, place)
        else:
            loop.train(classifier, dataset.splits, config, Path(folder) / "run")
        seconds = time.perf_counter() - began
        return tested(classifier, dataset.splits["test"], run, place, seconds)


def config_of(run: Run, place: Place, folder: Path) -> Config:
    (folder / "run").mkdir()
    training: dict[str, Any] = {"epochs": run.epochs or 1, "batch_size": BATCH, "seed": run.seed}
    training |= {"device": place.device, "precision": place.precision, "save_total_limit": 1}
    training |= {"freeze": "backbone" if run.recipe == "head, views" else "none"}
    return Config.model_validate(
        settings(run.data, table_of(run, place.tables), folder)
        | {
            "model": {"name": place.model, "image_size": place.image_size},
            "augment": NO_AUGMENTATION if run.recipe == "plain" else {},
            "training": training,
        }
    )


def tested(classifier: Classifier, split: Split, run: Run, place: Place, seconds: float) -> list[Row]:
    averaged = run.recipe in ("flips", "head, views")
    answers = Predictor(Torch(classifier, place.device, place.precision), averaged).answer_all(split.pixels)
    both = {run.recipe: answers.single}
    if run.recipe == "flips":
        both["flips, views"] = answers.averaged
    elif averaged:
        both[run.recipe] = answers.averaged
    return [row(run._replace(recipe=name), split, logits, classifier, seconds) for name, logits in both.items()]


def row(run: Run, split: Split, logits: Any, classifier: Classifier, seconds: float) -> Row:
    found = score(split.labels, logits, classifier.labels)
    escape, overkill = found.escape_rate.value, found.overkill_rate.value
    assert escape is not None and overkill is not None
    return Row(*run, found.accuracy, found.macro_f1, escape, overkill, len(split), round(seconds, 1))


def train_by_script(classifier: Classifier, run: Run, place: Place) -> None:
    """A Trainer over a table with a PIL pipeline for every picture, as in the notebook and in the usual guides."""
    names, shape = classifier.labels.names, classifier.preprocessing
    normalised = [ToTensor(), Normalize(list(shape.mean), list(shape.std))]
    spoiling = Compose([RandomResizedCrop(place.image_size), RandomHorizontalFlip(), *normalised])
    whole = Compose([Resize((place.image_size, place.image_size)), *normalised])
    tables = DatasetDict.load_from_disk(str(table_of(run, place.tables)))

    def seen_by(transform: Any) -> Any:
        return lambda rows: {
            "pixel_values": [transform(image.convert("RGB")) for image in rows["image"]],
            "labels": [names.index(ast.literal_eval(text)["labels"][0]) for text in rows["response"]],
        }

    train = tables["train"].with_transform(seen_by(spoiling))
    val = tables["validation"].with_transform(seen_by(spoiling if run.recipe == "notebook" else whole))
    options = TrainingArguments(
        output_dir="script",
        per_device_train_batch_size=BATCH,
        num_train_epochs=run.epochs,
        seed=run.seed,
        bf16=place.precision == "bf16",
        fp16=place.precision == "fp16",
        use_cpu=place.device == "cpu",
        save_total_limit=2,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="loss" if run.recipe == "notebook" else "accuracy",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=place.device != "cpu",
        **SCRIPTS[run.recipe],
    )
    trainer = Trainer(
        classifier.module, options, train_dataset=train, eval_dataset=val, compute_metrics=accuracy, data_collator=stack
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(axis=1) == found.label_ids).mean())}


def stack(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.stack([each["pixel_values"] for each in rows]),
        "labels": torch.tensor([each["labels"] for each in rows]),
    }


def save_table(run: Run, boards: Sequence[str], folder: Path) -> None:
    """The pictures of a data set, a number and a seed, divided, for all recipes alike."""
    place = table_of(run, folder)
    if place.exists():
        return
    held_out = run.pictures // 4
    if run.data == FRAMES:
        drawn = frames(run.pictures + held_out, 1000 + run.seed)
        test = frames(TESTED, 1)
    else:
        drawn = balanced(boards[0], run.pictures + held_out, 1000 + run.seed)
        test = balanced(boards[1], TESTED, 1)
    order = np.random.default_rng(run.seed).permutation(len(drawn))
    train, validation = drawn.select(order[: run.pictures]), drawn.select(order[run.pictures :])
    DatasetDict({"train": train, "validation": validation, "test": test}).save_to_disk(str(place))


def measured(planned: Sequence[Run], place: Place, workers: int) -> Iterator[list[Row]]:
    """The rows of each run, as soon as it is done."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for done in as_completed([pool.submit(measure, run, place) for run in planned]):
            yield done.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a pretrained image classifier")
    parser.add_argument("--boards", nargs=2, default=[], metavar=("TRAIN", "TEST"), help="DeepPCB's crops as parquet")
    parser.add_argument("--image-size", type=int, default=98, help="side of the model's input, a multiple of its patch")
    parser.add_argument("--pictures", type=int, nargs="+", default=PICTURES)
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", nargs="+", choices=TRAINED, default=TRAINED)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trainings side by side; a card: 1")
    parser.add_argument("--csv", type=Path, default=Path("recipes.csv"))
    parser.add_argument("--picture", type=Path, default=Path("recipes.png"))
    given = parser.parse_args()
    names = [FRAMES, BOARDS] if given.boards else [FRAMES]
    before = {(r.data, r.recipe, r.pictures, r.epochs, r.seed) for r in rows_in(given.csv, Row)}
    every = runs(names, given.pictures, given.epochs, given.seeds)
    planned = [run for run in every if run.recipe in given.recipes and tuple(run) not in before]
    device = resolve_device(given.device)
    threads = max(1, (os.cpu_count() or 1) // given.workers)
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(given.model).resolve())
        precision = resolve_precision("auto", device)
        place = Place(model, given.image_size, Path(folder), str(device), precision, threads)
        for run in planned:
            save_table(run, given.boards, place.tables)
        print(f"{len(planned)} trainings to do, {len(before)} rows are there, {precision} on {device}", flush=True)
        for number, rows in enumerate(measured(planned, place, given.workers), start=1):
            append(given.csv, rows)
            for each in rows:
                print(f"{number} of {len(planned)}: {each}", flush=True)
    show(rows_in(given.csv, Row))
    draw(rows_in(given.csv, Row), given.picture)


if __name__ == "__main__":
    main()
