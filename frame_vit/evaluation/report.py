"""The files of an evaluation: metrics.json, predictions.csv, confusion_matrix.png, and report.html.

report.html is one file without scripts that opens anywhere. Its texts are in `report/templates/report.html`; here the
figures are drawn and the cards of pictures are collected.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.decision.judged import Judged
from frame_vit.decision.temperature import Calibration
from frame_vit.decision.thresholds import Mask, OperatingPoint, Scores, curve, part_weights
from frame_vit.evaluation.results import Evaluation, sample_size
from frame_vit.evaluation.robustness import CorruptedScores
from frame_vit.images.decode import Decoding
from frame_vit.prediction.predictor import Predictor
from frame_vit.prediction.rows import write_predictions
from frame_vit.report.figures import draw_confusion
from frame_vit.report.pages import COLOURS, data_uri, page, png, thumbnail
from frame_vit.runs.environment import RunFacts
from frame_vit.system.files import filling, write_json, write_text

IN_A_CELL, RIGHT_IN_A_CELL, IN_A_GALLERY = 24, 8, 12
"""How many pictures the page shows of a cell with mistakes, of a cell with right answers, and in a gallery."""
SMALL = 180
"""Longest side of a card's picture in pixels."""


def write_evaluation(evaluation: Evaluation, predictor: Predictor, folder: Path, facts: RunFacts) -> None:
    """Writes all files or none, metrics.json last; `facts` say on the page where the numbers come from."""
    metrics = evaluation.metrics
    title = f"{metrics.split}: {metrics.n} pictures, accuracy {metrics.scores.accuracy:.3f}"
    with filling(folder, last="metrics.json") as part:
        draw_confusion(part / "confusion_matrix.png", metrics.scores.confusion_matrix, metrics.labels, title)
        write_predictions(part / "predictions.csv", evaluation.rows, predictor.labels)
        write_text(part / "report.html", _page(evaluation, predictor, facts))
        write_json(part / "metrics.json", metrics.to_json())


def _page(evaluation: Evaluation, predictor: Predictor, facts: RunFacts) -> str:
    metrics = evaluation.metrics
    album = _Album(evaluation, predictor.preprocessing.decoding)
    curves = _curves(evaluation.judged, predictor.metadata.operating_point)
    return page(
        "report.html",
        {"robustness": None}
        | metrics.to_json()
        | {
            "reliability_png": data_uri(_reliability(metrics.calibration), "png"),
            "curve_png": data_uri(curves, "png") if curves else "",
            "robustness_png": data_uri(_robustness(metrics.robustness.rows), "png") if metrics.robustness else "",
            "ok": sorted(predictor.labels.ok),
            "cells": album.cells(),
            "galleries": album.galleries(),
            "directed": any(metrics.directions.axes.values()),
            "summary": sample_size(metrics),
            "about": {"framevit": __version__, "command": shlex.join(["framevit", *sys.argv[1:]])} | facts.to_json(),
        },
    )


@dataclass(frozen=True)
class PictureCard:
    """A picture with what the page says of it: a thumbnail (empty: the file is gone), its classes and its decision."""

    picture: str
    key: str
    true: str
    predicted: str
    confidence: float | None
    decision: str


@dataclass(frozen=True)
class MatrixCell:
    """A cell of the confusion matrix: its id on the page, how many pictures it counts, and the cards of some."""

    id: str
    count: int
    cards: list[PictureCard]
    true: str
    predicted: str


@dataclass(frozen=True)
class Gallery:
    """Pictures of one kind: a title, how many there are (0: not shown), and the cards of some."""

    title: str
    count: int
    cards: list[PictureCard]


class _Album:
    """The cards of an evaluation's pictures, each made once."""

    def __init__(self, evaluation: Evaluation, decoding: Decoding) -> None:
        self.evaluation, self.decoding = evaluation, decoding
        self.made: dict[int, PictureCard] = {}

    def cards(self, rows: Iterable[int]) -> list[PictureCard]:
        return [self._card(row) for row in rows]

    def cells(self) -> list[MatrixCell]:
        """Every cell of the confusion matrix that has pictures, with the least confident answers first."""
        metrics, judged = self.evaluation.metrics, self.evaluation.judged
        predicted, order = judged.predicted, self.evaluation.inspect.unsure
        cells = []
        for true, row in enumerate(metrics.scores.confusion_matrix):
            for column, count in enumerate(row):
                if count:
                    inside = [i for i in order if judged.labels[i] == true and predicted[i] == column]
                    shown = inside[: RIGHT_IN_A_CELL if true == column else IN_A_CELL]
                    names = metrics.labels[true], metrics.labels[column]
                    cells.append(MatrixCell(f"cell-{true}-{column}", count, self.cards(shown), *names))
        return cells

    def galleries(self) -> list[Gallery]:
        """The rows to inspect, each kind with its title."""
        inspect = self.evaluation.inspect
        kinds: list[tuple[str, list[int] | None]] = [
            ("Bad parts that are accepted", inspect.escaped),
            ("Good parts that are rejected", inspect.scrapped),
            ("Wrong classes, the most confident first", inspect.mistakes),
            ("The least certain answers, by the lead of the first class", inspect.unsure),
            ("Rows that look mislabelled", inspect.suspects),
        ]
        return [
            Gallery(title, 0 if rows is inspect.unsure else len(rows), self.cards(rows[:IN_A_GALLERY]))
            for title, rows in kinds
            if rows is not None
        ]

    def _card(self, row: int) -> PictureCard:
        if row not in self.made:
            tested, example = self.evaluation.rows[row], self.evaluation.split.examples[row]
            prediction = tested.prediction
            self.made[row] = PictureCard(
                picture=thumbnail(example, self.decoding, SMALL),
                key=example.key,
                true=tested.true,
                predicted=prediction.label or "",
                confidence=prediction.confidence,
                decision=prediction.decision or "",
            )
        return self.made[row]


def _curves(judged: Judged, point: OperatingPoint | None) -> bytes | None:
    """Escape against overkill at every threshold, and overkill against the size of the review band.

    The chosen thresholds are marked. None without verdicts, and where there is no good or no bad part.
    """
    good, scores = judged.good, judged.scores
    if scores is None or good.all() or not good.any():
        return None
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = curve(judged.labels, scores, judged.space)
    left.step(100 * shares.overkill, 100 * shares.escape, color=COLOURS[2], where="pre")
    left.set(title="One threshold: everything is accepted or rejected", xlabel="overkill, % of good parts rejected")
    left.set(ylabel="escape, % of bad parts accepted")
    if point is not None:
        chosen_overkill = 100 * float((scores[good] >= point.accept_below).mean())
        chosen_escape = 100 * float((scores[~good] < point.accept_below).mean())
        left.plot(chosen_overkill, chosen_escape, "o", color=COLOURS[1], label="the chosen threshold")
        target = 100 * point.claim.target
        left.axhline(target, color="grey", linestyle=":", label=f"target {target:g} %")
        left.legend(fontsize=9)
        _review(right, scores, good, point)
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_xlim(-0.05, 110)
        axes.set_ylim(-0.05, 110)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    right.set_visible(point is not None)
    return png(figure)


def _review(axes: Axes, scores: Scores, good: Mask, point: OperatingPoint) -> None:
    """Overkill against the share of parts in review, as the second threshold rises from the first."""
    ends = np.unique(np.append(scores[scores >= point.accept_below], point.reject_from))
    order = np.argsort(scores, kind="stable")
    filled = np.append(0.0, np.cumsum(part_weights(good, point.basis.bad_share)[order]))
    start = np.searchsorted(scores[order], point.accept_below)
    inside = 100 * (filled[np.searchsorted(scores[order], ends)] - filled[start])
    overkill = 100 * (1 - np.searchsorted(np.sort(scores[good]), ends) / good.sum())
    axes.step(inside, overkill, color=COLOURS[2], where="post")
    chosen = int(np.searchsorted(ends, point.reject_from))
    axes.plot(inside[chosen], overkill[chosen], "o", color=COLOURS[1], label="the chosen band")
    axes.set(title="A review band above the threshold", xlabel="review, % of all parts", ylabel="overkill, %")
    axes.legend(fontsize=9)


def _reliability(calibration: Calibration) -> bytes:
    """A reliability diagram: accuracy against confidence, before and after temperature scaling."""
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfectly calibrated")
    styles = (("before", calibration.before, COLOURS[1], "s"), ("after", calibration.after, COLOURS[2], "o"))
    for name, error, colour, mark in styles:
        label = f"{name}: calibration error {error.ece:.3f}"
        points = [row.confidence for row in error.bins], [row.accuracy for row in error.bins]
        axes.plot(*points, color=colour, marker=mark, markersize=4, alpha=0.8, label=label)
    axes.set(xlabel="confidence (mean of the bin)", ylabel="accuracy", title="Reliability diagram")
    axes.legend(fontsize=9)
    axes.grid(alpha=0.3)
    return png(figure)


def _robustness(rows: list[CorruptedScores]) -> bytes:
    """One panel for each kind of corruption: accuracy, unchanged classes and escapes over the severity."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    for axes, kind in zip(figure.subplots(2, 3).ravel(), kinds, strict=False):
        panel = [row for row in rows if row.kind == kind]
        levels = [row.level for row in panel]
        axes.plot(levels, [100 * row.accuracy for row in panel], color=COLOURS[2], marker="o", label="accuracy")
        axes.plot(levels, [100 * row.unchanged for row in panel], color=COLOURS[0], marker="^", label="unchanged")
        escapes = [100 * row.escape_rate for row in panel if row.escape_rate is not None]
        if escapes:
            axes.plot(levels, escapes, color=COLOURS[1], marker="s", label="escape")
        axes.set(title=kind, xlabel=panel[0].unit, ylim=(-4, 104))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.supylabel("%")
    return png(figure)
