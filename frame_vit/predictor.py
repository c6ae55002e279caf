"""Pictures -> predictions: the one way in which framevit lets a model speak, in `predict` and `evaluate` alike.

A model that declares symmetries is asked once per view of the group, the logits are put back in the order of the
classes as they were before the view, and averaged. Rows come in the order of the inputs, one each; a bad file is a row.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frame_vit.decision import VERDICTS, Operating, decide
from frame_vit.devices import autocast, resolve_device, resolve_precision
from frame_vit.errors import ModelError, RowError, UsageError
from frame_vit.images import SUFFIXES, UInt8, normalise, read_picture
from frame_vit.labels import LabelSpace
from frame_vit.model import Classifier
from frame_vit.progress import Tick, log, silent
from frame_vit.rates import Logits, softmax
from frame_vit.runs import find_model
from frame_vit.saved import load_trained
from frame_vit.texts import printable
from frame_vit.transforms import check_square, viewed

if TYPE_CHECKING:
    from frame_vit.data.cache import Rows


@dataclass(frozen=True)
class Prediction:
    """One row of the answer. `decision` is None where the model does not say which classes are fine."""

    file: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    decision: str | None = None
    status: str = "ok"
    error: str | None = None


def load_predictor(place: str | None, **options: Any) -> tuple[Predictor, Path | None]:
    """The predictor of a run, a model folder, a hub name, or (None) the latest run; and the run folder, if any."""
    found, run = find_model(place)
    log.info("model: %s", found)
    return Predictor(load_trained(found), **options), run


class Predictor:
    """A classifier on a device, ready to be asked."""

    def __init__(
        self, model: Classifier, device: str = "auto", precision: str = "auto", tta: bool = True, batch_size: int = 32
    ) -> None:
        self.classifier, self.labels = model, model.labels
        self.point, self.temperature = model.point, model.temperature
        self.pixels = model.pixels
        self.batch_size = batch_size
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.group = model.labels.group()
        if not check_square(self.group, model.pixels):
            raise ModelError(
                "the model declares quarter turns, but its pictures are not square",
                "Leave rot90 out of labels.symmetries",
            )
        self.views = self.group if tta else self.group[:1]
        self.as_chosen = self._as_chosen()
        if not self.as_chosen:
            log.warning("the thresholds were chosen on answers averaged over other views: their promise does not hold")
        self._module = model.module.to(self.device).eval()

    @torch.inference_mode()
    def logits(self, pixels: UInt8) -> Logits:
        """(N, height, width, 3) uint8 -> (N, views, classes) float32, the untouched picture's view first."""
        batch = torch.from_numpy(normalise(pixels, self.pixels)).to(self.device)
        answers = []
        with autocast(self.device, self.precision):
            for view, classes in self.views:
                seen = self._module(pixel_values=viewed(batch, view)).logits
                # A picture of class i shows classes[i] in this view, so that is where the view's answer for i stands.
                answers.append(seen[:, list(classes)].float())
        logits = np.asarray(torch.stack(answers, dim=1).cpu().numpy())
        if not np.isfinite(logits).all():
            # The largest of NaNs is the first class, mostly the fine one: every part would be accepted.
            raise ModelError(
                f"the model answers with numbers that are none, in {self.precision}",
                "Try --precision fp32; if it stays so, the weights are broken",
            )
        return logits

    def _as_chosen(self) -> bool:
        """Whether the answers are averaged as they were when the thresholds were chosen."""
        names = [view.name for view, _ in self.views]
        return self.point is None or self.point.facts.get("views", names) == names

    def split_logits(self, pixels: Rows, tick: Tick = silent) -> Logits:
        """The logits of a whole split, in batches."""
        parts = []
        for start in range(0, len(pixels), self.batch_size):
            parts.append(self.logits(pixels[start : start + self.batch_size]))
            tick("testing", min(start + self.batch_size, len(pixels)), len(pixels), "")
        return np.concatenate(parts)

    def files(self, paths: Iterable[Path], tick: Tick = silent, total: int = 0) -> Iterator[Prediction]:
        """One prediction a path, in order; decoding runs on all cores, one batch ahead."""

        def read(path: Path) -> UInt8 | str:
            try:
                return read_picture(path, self.pixels).pixels
            except RowError as error:
                return error.message

        rest, done = iter(paths), 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            batch = list(islice(rest, self.batch_size))
            reading = pool.map(read, batch)
            while batch:
                following, found = list(islice(rest, self.batch_size)), list(reading)
                reading = pool.map(read, following)
                yield from self._rows(batch, found)
                done += len(batch)
                tick("predicting", done, total, "")
                batch = following

    def _rows(self, paths: list[Path], found: list[UInt8 | str]) -> Iterator[Prediction]:
        good = [picture for picture in found if not isinstance(picture, str)]
        answers = iter(self.logits(np.stack(good)).mean(axis=1) if good else ())
        for path, picture in zip(paths, found, strict=True):
            if isinstance(picture, str):
                yield Prediction(printable(str(path)), status="error", error=picture)
            else:
                yield judge(str(path), next(answers), self.labels, self.point)


def judge(file: str, logits: Logits, labels: LabelSpace, point: Operating | None = None) -> Prediction:
    """The prediction that the logits (C,) of one picture make, decided by the operating point or else by the class."""
    probabilities = softmax(logits)
    best = int(probabilities.argmax())
    verdicts = decide(logits[None], labels, point)
    decision = None if verdicts is None else VERDICTS[verdicts[0]]
    named = {name: float(p) for name, p in zip(labels.names, probabilities, strict=True)}
    return Prediction(printable(file), labels.names[best], float(probabilities[best]), named, decision)


def expand(inputs: Iterable[str]) -> list[Path]:
    """Files as given, the pictures in folders (and below, by name), what globs match; in order, none left out.

    Raises `UsageError` for a folder without pictures or a glob that matches nothing. A file that is not there is
    kept: it becomes a row with an error.
    """
    paths: list[Path] = []
    for given in inputs:
        path = Path(given)
        if os.path.isdir(given):  # noqa: PTH112  (False, not an error, for names that no file can have)
            paths += _pictures(path)
        elif glob.has_magic(given) and not os.path.exists(given):  # noqa: PTH110
            matches = sorted(Path(match) for match in glob.glob(given, recursive=True))  # noqa: PTH207  (a pattern may be absolute)
            if not matches:
                raise UsageError(f"nothing matches {given}")
            paths += [file for match in matches for file in (_pictures(match) if match.is_dir() else [match])]
        else:
            paths.append(path)
    return paths


def _pictures(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not pictures:
        raise UsageError(f"no pictures in {folder}", f"Looked for files ending in {', '.join(SUFFIXES)}")
    if len(pictures) < len(files):
        log.warning(
            "%s: %d files are not pictures by their names and were not read", folder, len(files) - len(pictures)
        )
    return pictures
