"""Pictures -> answers, verdicts and predictions: the one way in which framevit uses a model.

`predict`, `evaluate`, `compare`, `calibrate` and `export` all go through a `Predictor`, so that what is evaluated is
what later runs. Logits come from a `Backend` (torch, ONNX Runtime, OpenVINO ...); this module does not know torch.

Test-time augmentation: where the labels declare symmetries, the answers are averaged over every view of the group, or
over as many as a picture needs (`answers`).
Predictions come in the order of the inputs, one for each; a file that cannot be read becomes a row with an error.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frame_vit.backends.backend import Backend
from frame_vit.decision.judged import Judged, JudgedPictures
from frame_vit.decision.novelty import PictureFeatures, PictureFlags, distances, novelty_flags
from frame_vit.decision.rates import Logits, softmax
from frame_vit.decision.settling import as_asked, views_asked
from frame_vit.decision.thresholds import Mask, OperatingPoint
from frame_vit.decision.verdicts import Verdict, Verdicts, decide, scores
from frame_vit.errors import ModelError, RowError
from frame_vit.images.decoders import Decoders, decode_here, decoding_threads
from frame_vit.images.formats import misnamed
from frame_vit.images.measures import Measures, measure, measured
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import Picture, Preprocessing, padded_areas
from frame_vit.labels import LabelSpace
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.answers import Answers, ask, joined
from frame_vit.prediction.inputs import Input
from frame_vit.runs.folder import ModelPlace
from frame_vit.system.progress import Once, Tick, log, silent, speed
from frame_vit.system.texts import printable

if TYPE_CHECKING:
    from frame_vit.data.examples import Example, Split
    from frame_vit.images.pixel_array import PixelArray

    Source = Picture | Example


@dataclass(frozen=True)
class Prediction:
    """The answer for one input. `decision` and `score` are None where the model has no good class.

    `score` is the probability of being bad; `flags` are the short names of what makes the picture out of distribution.
    `features` are the numbers behind the flags, None where the model has no novelty reference; `picture` is the sha256
    of the file, None where it could not be read. `challenge` is the state of a challenge by master parts, if any.
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
    features: dict[str, float | str] | None = None
    picture: str | None = None
    challenge: dict[str, str] | None = None


class Predictor:
    """A model that is ready to answer, in one backend.

    With `tta`, the answers are averaged over the declared symmetries. `place` is where the model was loaded from,
    `decoders` is the pool of processes that decodes files; without one they are decoded in this process.
    Raises `ModelError` where the symmetries contain quarter turns but the pictures are not square.
    """

    def __init__(
        self,
        backend: Backend,
        tta: bool = True,
        batch_size: int | None = None,
        place: ModelPlace | None = None,
        decoders: Decoders | None = None,
    ) -> None:
        self.backend, self.place, self.decoders, self._warn = backend, place, decoders, Once()
        self.batch_size = batch_size or backend.batch_size
        self.group = self.labels.group()
        if self.preprocessing.height != self.preprocessing.width and any(view.turns % 2 for view, _ in self.group):
            raise ModelError(
                "the model declares quarter turns, but its pictures are not square",
                "Leave rot90 out of labels.symmetries",
            )
        self.views = self.group if tta else self.group[:1]
        self._asked = np.zeros(2, np.int64)  # pictures, and views of them
        self.as_chosen = self._averages_as_when_chosen()
        if not self.as_chosen:
            log.warning(
                "the thresholds were chosen on answers averaged over other views, so their promise does not hold"
            )

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

    @property
    def settling_limit(self) -> float | None:
        """The doubt below which a picture is asked in no other view; None where all are asked in all views."""
        return self.metadata.settling_limit if len(self.views) > 1 else None

    def answer(self, pixels: UInt8, all_views: bool = False) -> Answers:
        """The answers for one batch of pictures (N, height, width, 3) uint8, in the views that each of them needs.

        Raises `ModelError` where a logit is not a finite number.
        """
        limit = None if all_views else self.settling_limit
        answers = ask(self.backend, pixels, self.views, limit, self.batch_size)
        self._asked += np.array([len(pixels), views_asked(answers.single, limit, len(self.views)).sum()])
        return answers

    def logits(self, pixels: UInt8) -> Logits:
        """(N, height, width, 3) uint8 -> (N, views, C) float32, the untouched picture's view first."""
        return self.answer(pixels).logits

    def answer_all(
        self, pixels: PixelArray, tick: Tick = silent, stage: str = "testing", all_views: bool = False
    ) -> Answers:
        """The answers for all pictures of a split, in batches."""
        batches = []
        for start in range(0, len(pixels), self.batch_size):
            batches.append(self.answer(pixels[start : start + self.batch_size], all_views))
            tick(stage, min(start + self.batch_size, len(pixels)), len(pixels), "")
        return joined(batches)

    def as_asked(self, answers: Answers) -> Answers:
        """Answers in all views as they are where settled pictures are asked in one view only."""
        return answers._replace(logits=as_asked(answers.logits, self.settling_limit))

    def views_asked(self, single: Logits) -> float:
        """In how many views the pictures with these (N, C) logits of their untouched view are asked, on average."""
        return float(views_asked(single, self.settling_limit, len(self.views)).mean())

    def embeddings(self, pixels: PixelArray) -> Float32 | None:
        """The embeddings of the untouched pictures, (N, D); None where the backend does not give them."""
        starts = range(0, len(pixels), self.batch_size)
        answers = [self.backend.run(pixels[start : start + self.batch_size]) for start in starts]
        vectors = [answer.embedding for answer in answers if answer.embedding is not None]
        return np.concatenate(vectors) if vectors else None

    def distances(self, answers: Answers) -> Float32 | None:
        """The distance of each embedding to the nearest of the training pictures', (N,)."""
        return distances(answers.embedding, self.metadata.novelty.embeddings if self.metadata.novelty else None)

    def novelty_flags(self, pictures: Sequence[Source], answers: Answers, measures: Measures) -> list[PictureFlags]:
        """In what each picture is out of distribution; nothing where the model has no reference."""
        features = picture_features(pictures, measures, self.distances(answers))
        return novelty_flags(features, self.metadata.novelty)

    def needs_review(self, flags: Sequence[PictureFlags]) -> Mask:
        """Which pictures go to review because of their novelty flags, whatever their class, (N,)."""
        reviewed = self.metadata.novelty is not None and self.metadata.novelty.reviewed
        return np.array([reviewed and bool(names) for names in flags], bool)

    def verdicts(self, logits: Logits, flags: Sequence[PictureFlags]) -> Verdicts | None:
        """The verdicts on averaged logits (N, C) of pictures with these novelty flags; None without a good class."""
        return decide(logits, self.labels, self.metadata.operating_point, self.needs_review(flags))

    def verdicts_by_answers(self, answers: Answers) -> Verdicts | None:
        """The verdicts as far as they depend on the answers, to compare backends by: None without a good class.

        Of the novelty flags only that of the embedding's distance is counted. The others come from the picture, so they
        are the same for every backend.
        """
        return self.verdicts(answers.averaged, self._far_flags(self.distances(answers), len(answers.logits)))

    def _far_flags(self, distances: Float32 | None, count: int) -> list[PictureFlags]:
        """The novelty flags of N pictures by their embeddings' distances (N,)."""
        novelty = self.metadata.novelty
        if distances is None or novelty is None or "distance" not in novelty.ranges:
            return [{} for _ in range(count)]
        _, limit = novelty.ranges["distance"]
        return [{"distance": "far"} if distance > limit else {} for distance in distances]

    def judge(self, answers: Answers, flags: list[PictureFlags]) -> JudgedPictures:
        """What the averaged answers decide."""
        logits = answers.averaged
        bad = scores(logits, self.labels) if self.labels.ok else None
        return JudgedPictures(logits, bad, self.verdicts(logits, flags), flags)

    def judge_split(self, split: Split, tick: Tick = silent) -> Judged:
        """Answers and judges a labelled split, once for everything that is computed from it."""
        return self.judge_examples(split.examples, split.pixels, tick)

    def judge_examples(self, examples: Sequence[Example], pixels: PixelArray, tick: Tick = silent) -> Judged:
        """The same for labelled examples and their pixels (N, height, width, 3) uint8."""
        answers = self.answer_all(pixels, tick)
        measures = measure([pixels], silent, padded_areas(examples, self.preprocessing))
        judged = self.judge(answers, self.novelty_flags(examples, answers, measures))
        return Judged(
            judged.logits,
            judged.scores,
            judged.verdicts,
            judged.flags,
            space=self.labels,
            labels=np.array([example.label for example in examples], np.int64),
            single_logits=answers.single,
            single_verdicts=self.verdicts(answers.single, judged.flags),
            light=measures.light,
        )

    def predict(self, inputs: Iterable[Input], tick: Tick = silent, total: int = 0) -> Iterator[Prediction]:
        """One prediction for each input, in order. All cores decode, at most two batches ahead of the model."""
        rest, done, start, asked = iter(inputs), 0, time.monotonic(), self._asked.copy()
        with decoding_threads(self.decoders) as pool:
            pending: deque[tuple[Input, Future[Picture | str]]] = deque()

            def decode_ahead(count: int) -> None:
                pending.extend((each, pool.submit(self.read, each)) for each in islice(rest, count))

            decode_ahead(2 * self.batch_size)
            while pending:
                batch = [pending.popleft() for _ in range(min(self.batch_size, len(pending)))]
                decoded = [(each, future.result()) for each, future in batch]
                decode_ahead(len(batch))
                yield from self.rows(decoded)
                done += len(batch)
                if total != 1:  # a single picture needs no progress
                    tick("predicting", done, total, speed(done / max(time.monotonic() - start, 1e-9)))
        pictures, views = self._asked - asked
        if self.settling_limit is not None and pictures > 1:
            log.info("test-time augmentation: %.2f of %d views a picture on average", views / pictures, len(self.views))

    def rows(self, decoded: list[tuple[Input, Picture | str]]) -> Iterator[Prediction]:
        """One prediction for each decoded picture, or for the reason why it could not be decoded."""
        readable = [(each.name, picture) for each, picture in decoded if isinstance(picture, Picture)]
        if any(picture.stored.several for _, picture in readable):
            self._warn("some files contain several pictures: only the first of each is predicted")
        if any(misnamed(name, picture.stored.format) for name, picture in readable):
            self._warn("some files have the extension of another format: they are read by their content")
        predictions = iter(self._predictions(readable) if readable else ())
        for each, picture in decoded:
            if isinstance(picture, str):
                yield Prediction(printable(each.name), status="error", error=picture)
            else:
                yield next(predictions)

    def _predictions(self, named: list[tuple[str, Picture]]) -> list[Prediction]:
        found = [picture for _, picture in named]
        pixels = np.stack([picture.pixels for picture in found])
        answers, flags, features = self.answer(pixels), [PictureFlags() for _ in named], None
        if self.metadata.novelty:
            measures = measured(pixels, padded_areas(found, self.preprocessing))
            features = picture_features(found, measures, self.distances(answers))
            flags = novelty_flags(features, self.metadata.novelty)
        rows = self.predictions([name for name, _ in named], self.judge(answers, flags))
        return [
            replace(row, picture=picture.sha256, features=features.of(number) if features else None)
            for number, (row, picture) in enumerate(zip(rows, found, strict=True))
        ]

    def predictions(self, names: Sequence[str], judged: JudgedPictures) -> list[Prediction]:
        """The rows of judged pictures with these file names."""
        return [predict_row(name, judged, row, self.metadata) for row, name in enumerate(names)]

    def read(self, source: Input) -> Picture | str:
        """A picture at the model's size, or the reason why it cannot be read."""
        try:
            encoded = source.source if isinstance(source.source, Path) else source.source()
            if self.decoders is None:
                return decode_here(encoded, self.preprocessing)
            return self.decoders.decode(encoded, self.preprocessing)
        except RowError as error:
            return error.message

    def _averages_as_when_chosen(self) -> bool:
        """Whether the answers are averaged over the views of the answers that the thresholds were chosen on."""
        point = self.metadata.operating_point
        if point is None or point.basis.views is None:
            return True
        return point.basis.views == tuple(view.name for view, _ in self.views)


def picture_features(
    pictures: Sequence[Source], measures: Measures, distance: Float32 | None = None
) -> PictureFeatures:
    """The features by which novelty is detected, of pictures with these measures and embedding distances (N,)."""
    sizes = [p.width for p in pictures], [p.height for p in pictures], [p.stored.mode for p in pictures]
    return PictureFeatures(*sizes, measures.light, measures.contrast, measures.sharpness, distance)


def predict_row(name: str, judged: JudgedPictures, row: int, metadata: ModelMetadata) -> Prediction:
    """The prediction for one of the judged pictures, with the reason for its verdict."""
    probabilities, labels, flags = softmax(judged.logits[row]), metadata.labels, judged.flags[row]
    best = int(probabilities.argmax())
    by_class = {label: float(p) for label, p in zip(labels.names, probabilities, strict=True)}
    prediction = Prediction(
        printable(name), labels.names[best], float(probabilities[best]), by_class, flags=tuple(flags)
    )
    novelty = "out of distribution: " + "; ".join(flags.values()) if flags else ""
    if judged.verdicts is None or judged.scores is None:
        return replace(prediction, reason=novelty or None)
    score, verdict = float(judged.scores[row]), Verdict(judged.verdicts[row])
    if flags and metadata.novelty is not None and metadata.novelty.reviewed:
        reason = novelty
    else:
        reason = _reason(score, verdict, labels.names[best], metadata.operating_point)
        reason += f"; {novelty}" if novelty else ""
    return replace(prediction, decision=verdict.word, score=score, reason=reason)


def _reason(score: float, verdict: Verdict, label: str, point: OperatingPoint | None) -> str:
    """Why the verdict is what it is, in one line."""
    if point is None:
        return f"no thresholds: {label} is {'a' if verdict == Verdict.ACCEPT else 'not a'} good class"
    low, high = f"{point.accept_below:.3g}", f"{point.reject_from:.3g}"
    bad = f"p(bad) {min(score, 0.9999):.4g}"  # capped: no answer is that sure
    return (f"{bad} < {low}", f"{low} <= {bad} < {high}", f"{bad} >= {high}")[verdict]
