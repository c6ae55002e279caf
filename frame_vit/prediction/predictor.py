"""Pictures -> predictions: the one way in which framevit lets a model speak, in `predict` and `evaluate` alike.

A model that declares symmetries is asked once per view of the group, the logits are put back in the order of the
classes as they were before the view, and averaged. Rows come in the order of the inputs, one each; a bad file is a row.
Whatever computes the answers is a `Backend`; no torch here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frame_vit.backends.backend import Backend
from frame_vit.decision.novelty import NoveltyReference, PictureFeatures, distances, unlike
from frame_vit.decision.rates import Logits, softmax
from frame_vit.decision.thresholds import REVIEW, VERDICTS, Flags, OperatingPoint, Verdicts, decide, scores
from frame_vit.errors import ModelError, RowError
from frame_vit.images.decode import read_bytes
from frame_vit.images.measures import Measures, measured
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Picture, Preprocessing, laid, read_picture
from frame_vit.labels import LabelSpace
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.inputs import Input
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.machine import cores
from frame_vit.system.progress import Tick, log, silent, speed
from frame_vit.system.texts import printable

if TYPE_CHECKING:
    from frame_vit.data.examples import Example
    from frame_vit.images.pixel_array import PixelArray

    Seen = Picture | Example


ON_A_CARD, ON_A_CPU = 32, 8
"""Pictures that are asked about at once: larger batches leave a processor's caches."""


class Answers(NamedTuple):
    """Of N pictures: logits (N, views, classes), the untouched picture's view first, and its embedding (N, D)."""

    logits: Logits
    embedding: Float32 | None


@dataclass(frozen=True)
class Prediction:
    """One row of the answer. `decision` is None where the model does not say which classes are fine.

    `score` is the probability of being bad; `flags` say in what the picture is unlike those of the training.
    """

    file: str
    label: str | None = None
    confidence: float | None = None
    probabilities: dict[str, float] | None = None
    decision: str | None = None
    status: str = "ok"
    error: str | None = None
    score: float | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()


class Predictor:
    """A model ready to be asked, by way of a backend."""

    def __init__(
        self, backend: Backend, tta: bool = True, batch_size: int | None = None, place: ModelPlace | None = None
    ) -> None:
        self.backend, self.place = backend, place
        self.batch_size = batch_size or (ON_A_CPU if backend.device == "cpu" else ON_A_CARD)
        self._told_of_several = False
        self.group = self.labels.group()
        if self.preprocessing.height != self.preprocessing.width and any(view.turns % 2 for view, _ in self.group):
            raise ModelError(
                "the model declares quarter turns, but its pictures are not square",
                "Leave rot90 out of labels.symmetries",
            )
        self.views = self.group if tta else self.group[:1]
        self.as_chosen = self._as_chosen()
        if not self.as_chosen:
            log.warning("the thresholds were chosen on answers averaged over other views: their promise does not hold")

    @property
    def run(self) -> Path | None:
        """The run that the model belongs to."""
        return self.place.run if self.place else None

    @property
    def metadata(self) -> ModelMetadata:
        return self.backend.metadata

    @property
    def labels(self) -> LabelSpace:
        return self.backend.metadata.labels

    @property
    def preprocessing(self) -> Preprocessing:
        return self.backend.metadata.preprocessing

    @property
    def device(self) -> str:
        return self.backend.device

    @property
    def precision(self) -> str:
        return self.backend.precision

    def ask(self, pixels: UInt8) -> Answers:
        """Asks about pictures (N, height, width, 3) uint8 in every view."""
        logits: list[Logits] = []
        embedding = None
        for view, classes in self.views:
            seen, given = self.backend.run(laid(pixels, view))
            # A picture of class i shows classes[i] in this view, so that is where the view's answer for i stands.
            logits.append(seen[:, list(classes)])
            embedding = given if len(logits) == 1 else embedding
        found = np.stack(logits, axis=1)
        if not np.isfinite(found).all():
            # The largest of NaNs is the first class, mostly the fine one: every part would be accepted.
            raise ModelError(
                f"the model answers with numbers that are none, in {self.precision}",
                "Try --precision fp32; if it stays so, the weights are broken",
            )
        return Answers(found, embedding)

    def logits(self, pixels: UInt8) -> Logits:
        """(N, height, width, 3) uint8 -> (N, views, classes) float32, the untouched picture's view first."""
        return self.ask(pixels).logits

    def _as_chosen(self) -> bool:
        """Whether the answers are averaged as they were when the thresholds were chosen."""
        names = [view.name for view, _ in self.views]
        return self.metadata.operating_point is None or self.metadata.operating_point.facts.get("views", names) == names

    def split_answers(self, pixels: PixelArray, tick: Tick = silent, stage: str = "testing") -> Answers:
        """The answers for a whole split, in batches."""
        parts = []
        for start in range(0, len(pixels), self.batch_size):
            parts.append(self.ask(pixels[start : start + self.batch_size]))
            tick(stage, min(start + self.batch_size, len(pixels)), len(pixels), "")
        given = [part.embedding for part in parts if part.embedding is not None]
        return Answers(np.concatenate([part.logits for part in parts]), np.concatenate(given) if given else None)

    def embeddings(self, pixels: PixelArray) -> Float32 | None:
        """What the head is given for the untouched pictures, (N, D); None where the backend does not say."""
        starts = range(0, len(pixels), self.batch_size)
        given = [self.backend.run(pixels[start : start + self.batch_size])[1] for start in starts]
        found = [part for part in given if part is not None]
        return np.concatenate(found) if found else None

    def review(self, odd: Sequence[dict[str, str]]) -> Flags:
        """Which pictures go to review, whatever their class, by what is unlike the training pictures, (N,)."""
        reviewed = self.metadata.novelty is not None and self.metadata.novelty.reviewed
        return np.array([reviewed and bool(of) for of in odd], bool)

    def judged(self, logits: Logits, odd: Sequence[dict[str, str]]) -> Verdicts | None:
        """The decisions on (N, C) averaged logits, where `odd` says what is unlike the training pictures."""
        return decide(logits, self.labels, self.metadata.operating_point, self.review(odd))

    def odd(self, pictures: Sequence[Seen], answers: Answers, measures: Measures) -> list[dict[str, str]]:
        """For each picture in what it is unlike those of the training."""
        return unlike(looks(pictures, measures, self.distances(answers)), self.metadata.novelty)

    def split_logits(self, pixels: PixelArray, tick: Tick = silent) -> Logits:
        """The logits of a whole split, in batches."""
        return self.split_answers(pixels, tick).logits

    def predict(self, inputs: Iterable[Input], tick: Tick = silent, total: int = 0) -> Iterator[Prediction]:
        """One prediction an input, in order. Decoding runs on all cores, at most two batches ahead of the answers."""
        rest, done, start = iter(inputs), 0, time.monotonic()
        with ThreadPoolExecutor(cores()) as pool:
            pending: deque[tuple[Input, Future[Picture | str]]] = deque()

            def ahead(count: int) -> None:
                pending.extend((given, pool.submit(self.read, given)) for given in islice(rest, count))

            ahead(2 * self.batch_size)
            while pending:
                batch = [pending.popleft() for _ in range(min(self.batch_size, len(pending)))]
                found = [(given, future.result()) for given, future in batch]
                ahead(len(batch))
                yield from self.rows(found)
                done += len(batch)
                if total != 1:  # of a single picture nothing needs to be said
                    tick("predicting", done, total, speed(done / max(time.monotonic() - start, 1e-9)))

    def rows(self, found: list[tuple[Input, Picture | str]]) -> Iterator[Prediction]:
        """The rows of decoded pictures, or of what was wrong with them."""
        good = [picture for _, picture in found if isinstance(picture, Picture)]
        if not self._told_of_several and any(picture.stored.several for picture in good):
            self._told_of_several = True
            log.warning("there are files with several pictures: the first of each is predicted")
        answers: Iterator[tuple[Logits, dict[str, str]]] = iter(())
        if good:
            pixels = np.stack([picture.pixels for picture in good])
            asked = self.ask(pixels)
            odd_ones = self.odd(good, asked, measured(pixels)) if self.metadata.novelty else [{} for _ in good]
            answers = zip(asked.logits.mean(axis=1), odd_ones, strict=True)
        for given, picture in found:
            if isinstance(picture, str):
                yield Prediction(printable(given.name), status="error", error=picture)
            else:
                logits, odd = next(answers)
                yield judge(given.name, logits, self.labels, self.metadata.operating_point, odd, self.metadata.novelty)

    def read(self, given: Input) -> Picture | str:
        """A picture at the model's size, or what is wrong with it."""
        try:
            return read_picture(read_bytes(given.source), self.preprocessing)
        except RowError as error:
            return error.message

    def distances(self, asked: Answers) -> Float32 | None:
        """How far the embeddings lie from those of training pictures, (N,)."""
        return distances(asked.embedding, self.metadata.novelty.embeddings if self.metadata.novelty else None)


def looks(pictures: Sequence[Seen], found: Measures, distance: Float32 | None = None) -> PictureFeatures:
    """What can be seen of pictures without knowing what they show."""
    sizes = [p.width for p in pictures], [p.height for p in pictures], [p.stored.mode for p in pictures]
    return PictureFeatures(*sizes, found.light, found.contrast, found.sharpness, distance)


def judge(
    file: str,
    logits: Logits,
    labels: LabelSpace,
    point: OperatingPoint | None = None,
    odd: dict[str, str] | None = None,
    usual: NoveltyReference | None = None,
) -> Prediction:
    """The prediction that the logits (C,) of one picture make, decided by the operating point or else by the class.

    `odd` says what is unlike the training pictures (`unlike`): such a picture goes to review, if `usual` says so.
    """
    probabilities, odd = softmax(logits), odd or {}
    best = int(probabilities.argmax())
    named = {name: float(p) for name, p in zip(labels.names, probabilities, strict=True)}
    answer = Prediction(printable(file), labels.names[best], float(probabilities[best]), named, flags=tuple(odd))
    verdicts = decide(logits[None], labels, point)
    doubt = "unlike the training pictures: " + "; ".join(odd.values()) if odd else ""
    if verdicts is None:
        return replace(answer, reason=doubt or None)
    score = float(scores(logits[None], labels)[0])
    if odd and usual is not None and usual.reviewed:
        return replace(answer, decision=VERDICTS[REVIEW], score=score, reason=doubt)
    why = _why(score, int(verdicts[0]), labels.names[best], point)
    return replace(answer, decision=VERDICTS[verdicts[0]], score=score, reason=f"{why}; {doubt}" if odd else why)


def _why(score: float, verdict: int, label: str, point: OperatingPoint | None) -> str:
    """The reason for a decision, in a line."""
    if point is None:
        return f"no thresholds: {label} is {'a fine class' if verdict == 0 else 'no fine class'}"
    low, high = f"{point.accept_below:.3g}", f"{point.reject_from:.3g}"
    bad = f"p(bad) {min(score, 0.9999):.4g}"  # never 1: no answer is that sure
    return (f"{bad} < {low}", f"{low} <= {bad} < {high}", f"{bad} >= {high}")[verdict]
