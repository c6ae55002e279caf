"""How fast training is, as ratios to peers that do the same work in the same process, side by side.

    python tests/benchmarks/training.py [--model tiny|small|base|large] [--repeats 3] [--only R1 R3] [--device auto]

R1  step rate / a bare PyTorch loop with the same model, batch and number format, on tensors that lie ready
R2  training from 1280 x 960 JPEGs, everything counted / the notebook's recipe, in its own and in the same format
R3  pictures fed a second / the notebook's pipeline
R4  the head on cached views, by logistic regression / 15 epochs of everything: time
R9  share of the training time in which batches are made

Medians of interleaved repeats, with the smallest and the largest. Not part of the tests: what is measured here is a
machine too. Weights are random; nothing is learned.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from datasets import Dataset as Table
from datasets import Features, Value, disable_progress_bars, load_dataset
from datasets import Image as ImageFeature
from PIL import Image
from torchvision.transforms import (  # type: ignore[import-untyped]
    Compose,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    ToTensor,
)
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.model.classifier import Classifier
from frame_vit.model.pretrained import create
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.system.devices import autocast, describe, resolve_device, resolve_precision
from frame_vit.system.progress import silent
from frame_vit.training import loop as training
from frame_vit.training.batches import PixelBatches
from frame_vit.training.transforms import augmentation

SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""hidden size, layers, heads of a ViT/16 at 224 pixels"""
SIDE, BATCH, PICTURES = 224, 8, 80


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    model: str
    repeats: int
    device: torch.device
    precision: str
    parquet: Path
    folders: Iterator[Path]

    def config(self, cache: Path, **settings: Any) -> Config:
        hidden, layers, heads = SIZES[self.model]
        scratch = {"image_size": SIDE, "patch_size": 16, "hidden_size": hidden, "layers": layers, "heads": heads}
        options = {"batch_size": BATCH, "precision": self.precision, "device": str(self.device), **settings}
        return Config.model_validate(
            {
                "labels": {"names": list(demo.NAMES), "ok": ["passed"], "symmetries": demo.SYMMETRIES},
                "data": {"train": str(self.parquet), "test_fraction": 0.0, "cache": str(cache)},
                "model": {"init": "scratch", "scratch": scratch | {"mlp_ratio": 4}},
                "training": options,
            }
        )

    def prepared(self, config: Config) -> tuple[Classifier, Dataset]:
        processor = load_processor(config.model)
        preprocessing = preprocessing_of(processor)
        found = read_dataset(config, preprocessing)
        torch.manual_seed(0)
        return create(config.model, found.labels, preprocessing, processor), found

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def side_by_side(self, **peers: Callable[[], float]) -> dict[str, list[float]]:
        """Every peer's figure, `repeats` times, one peer after the other in turn."""
        found: dict[str, list[float]] = {name: [] for name in peers}
        for _, (name, peer) in itertools.product(range(self.repeats), peers.items()):
            found[name].append(peer())
        return found


def show(name: str, what: str, ours: list[float], theirs: list[float], unit: str, goal: str) -> None:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    own, other = (f"{statistics.median(v):.3g} ({min(v):.3g} to {max(v):.3g})" for v in (ours, theirs))
    ratio = f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
    print(f"{name} | {what} | {own} | {other} {unit} | {ratio} | {goal}", flush=True)


def step_rate(bench: Bench) -> None:
    """R1 and R9."""
    steps = 8
    config = bench.config(next(bench.folders), epochs=1, eval_steps=10_000, save_steps=10_000)
    _, found = bench.prepared(config)
    shares: list[float] = []

    def ours() -> float:
        classifier, _ = bench.prepared(config)
        at: dict[int, float] = {}

        def tick(stage: str, done: int, total: int, note: str) -> None:
            if stage == "training" and done in (2, steps):
                at[done] = bench.now()

        outcome = training.train(classifier, found.splits, config, next(bench.folders), tick)
        shares.append(outcome.batching_share)
        return (steps - 2) * BATCH / (at[steps] - at[2])

    def bare() -> float:
        classifier, _ = bench.prepared(config)
        module = classifier.module.to(bench.device).train()
        pictures = torch.randn(BATCH, 3, SIDE, SIDE, device=bench.device)
        labels = torch.randint(0, 5, (BATCH,), device=bench.device)
        optimizer = torch.optim.AdamW(module.parameters(), 2e-4, weight_decay=0.01, fused=True)
        scaler = torch.amp.GradScaler(bench.device.type, enabled=bench.precision == "fp16")
        for step in range(steps):
            if step == 2:
                began = bench.now()
            with autocast(bench.device, bench.precision):
                logits = module(pixel_values=pictures).logits
            scaler.scale(F.cross_entropy(logits.float(), labels)).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return (steps - 2) * BATCH / (bench.now() - began)

    found_rates = bench.side_by_side(ours=ours, bare=bare)
    show(
        "R1",
        "training, against a bare loop",
        found_rates["ours"],
        found_rates["bare"],
        "pictures/s",
        ">= 0.97, GPU 0.95",
    )
    spread = f"{statistics.median(shares):.2%} ({min(shares):.2%} to {max(shares):.2%})"
    print(f"R9 | making batches, of the training time | {spread} | | | < 5 %", flush=True)


def end_to_end(bench: Bench) -> None:
    """R2: from JPEGs on the disk to a trained, validated, saved model; nothing cached at the start."""
    epochs = 3

    def ours() -> float:
        began = bench.now()
        config = bench.config(next(bench.folders), epochs=epochs)
        classifier, found = bench.prepared(config)
        training.train(classifier, found.splits, config, next(bench.folders))
        return bench.now() - began

    def notebook(precision: str) -> float:
        began = bench.now()
        classifier = create(
            bench.config(Path()).model, bench.config(Path()).label_space(demo.NAMES), Preprocessing(SIDE, SIDE), None
        )
        notebook_training(
            classifier.module,
            bench.parquet,
            next(bench.folders),
            SIDE,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            use_cpu=bench.device.type == "cpu",
        )
        return bench.now() - began

    found = bench.side_by_side(ours=ours, same=lambda: notebook(bench.precision), default=lambda: notebook("fp32"))
    rates = {name: [1 / seconds for seconds in values] for name, values in found.items()}
    show("R2", f"end to end, against the notebook in {bench.precision}", rates["ours"], rates["same"], "runs/s", ">= 1")
    show("R2", "end to end, against the notebook in fp32", rates["ours"], rates["default"], "runs/s", ">= 2.5 with AMX")


def feeding(bench: Bench) -> None:
    """R3: (N, 3, 224, 224) float32 batches, augmented and normalised."""
    config = bench.config(next(bench.folders))
    classifier, found = bench.prepared(config)
    split = found.splits["train"]
    augment = augmentation(config, classifier.labels, classifier.preprocessing)
    batches = PixelBatches(split, found.splits["val"], augment, classifier.preprocessing, bench.device)
    pipeline, encoded = picture_pipeline(SIDE), [example.read() for example in split.examples[:32]]

    def ours() -> float:
        began, count = bench.now(), 0
        while bench.now() - began < 2:
            rows = np.arange(count, count + BATCH) % len(split)
            batches.training(rows, count)
            count += BATCH
        return count / (bench.now() - began)

    def notebook() -> float:
        began = bench.now()
        for data in encoded:
            pipeline(Image.open(io.BytesIO(data)).convert("RGB")).to(bench.device)
        return len(encoded) / (bench.now() - began)

    rates = bench.side_by_side(ours=ours, notebook=notebook)
    show("R3", "feeding, against the notebook's pipeline", rates["ours"], rates["notebook"], "pictures/s", ">= 30")


def frozen(bench: Bench) -> None:
    """R4, both on pixels that are cached already; the views are computed anew each time."""
    pixels = next(bench.folders)

    def seconds(freeze: str) -> float:
        config = bench.config(pixels, epochs=15, freeze=freeze)
        classifier, found = bench.prepared(config)
        own = config.model_copy(update={"data": config.data.model_copy(update={"cache": str(next(bench.folders))})})
        run = next(bench.folders)
        run.mkdir()
        began = bench.now()
        training.train(classifier, found.splits, own, run, silent)
        return bench.now() - began

    found = bench.side_by_side(head=lambda: seconds("backbone"), full=lambda: seconds("none"))
    show("R4", "the head, against 15 epochs of all", found["head"], found["full"], "s", "<= 0.125")


NOTEBOOK_LABELS = {"passed": 0, "Xplus": 1, "Xminus": 2, "Yplus": 3, "Yminus": 4}


def picture_pipeline(size: int) -> Any:
    """One PIL picture -> (3, size, size) float32."""
    return Compose(
        [RandomResizedCrop(size), RandomHorizontalFlip(), ToTensor(), Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])]
    )


def notebook_training(module: Any, parquet: Path, folder: Path, size: int, **arguments: Any) -> None:
    """The recipe of the notebook that framevit grew out of, as its author would write it for transformers 5.

    A data set with `set_transform`, a PIL pipeline per picture, the Trainer without workers. Its random crop and
    unlabelled flip spoil what the classes mean; here only its speed is looked at.
    """
    halves = load_dataset("parquet", data_files=str(parquet), cache_dir=str(folder))["train"].train_test_split(0.2)
    transform = picture_pipeline(size)

    def apply_transforms(examples: dict[str, Any]) -> dict[str, Any]:
        examples["pixel_values"] = [transform(image.convert("RGB")) for image in examples["image"]]
        return examples

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        pixel_values = torch.stack([example["pixel_values"] for example in examples])
        labels = [NOTEBOOK_LABELS[ast.literal_eval(example["response"])["labels"][0]] for example in examples]
        return {"pixel_values": pixel_values, "labels": torch.tensor(labels)}

    for half in halves.values():
        half.set_transform(apply_transforms)
    options = TrainingArguments(
        output_dir=str(folder),
        learning_rate=2e-4,
        eval_strategy="epoch",
        save_strategy="epoch",
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=torch.cuda.is_available(),
        **arguments,
    )
    trainer = Trainer(
        module, options, train_dataset=halves["train"], eval_dataset=halves["test"], data_collator=collate
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def frames(path: Path) -> None:
    """A data set as the notebook has it: photographs of 1280 x 960, here drawn and grained, as JPEGs in parquet."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {"image": [], "prompt": [], "response": []}
    for frame in demo.frames(PICTURES, 0):
        large = np.asarray(Image.fromarray(demo.draw(frame)).resize((1280, 960), Image.Resampling.BICUBIC))
        grained = np.clip(large + rng.normal(0, 4, large.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(grained).save(file, "JPEG", quality=90)
        rows["image"].append({"bytes": file.getvalue(), "path": None})
        rows["prompt"].append("")
        rows["response"].append(demo.response(frame))
    features = Features({"image": ImageFeature(), "prompt": Value("string"), "response": Value("string")})
    Table.from_dict(rows, features=features).to_parquet(path)


MEASURED = {"R1": step_rate, "R2": end_to_end, "R3": feeding, "R4": frozen}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--only", nargs="*", choices=MEASURED, default=[*MEASURED])
    given = parser.parse_args()
    device = resolve_device(given.device)
    disable_progress_bars()
    logging.getLogger("framevit").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        parquet = Path(place) / "frames.parquet"
        frames(parquet)
        folders = (Path(place) / str(number) for number in itertools.count())
        precision = resolve_precision(given.precision, device)
        bench = Bench(given.model, given.repeats, device, precision, parquet, folders)
        print(
            f"ViT-{given.model}/16 at {SIDE}, batch {BATCH}, {precision}, {describe(device)}, torch {torch.__version__}"
        )
        print("id | what | framevit | peer | ratio | to reach", flush=True)
        for name in given.only:
            MEASURED[name](bench)


if __name__ == "__main__":
    main()
