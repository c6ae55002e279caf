"""An evaluation as files: metrics.json, predictions.csv, pictures, and report.html, one file that opens anywhere."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.decision.thresholds import OperatingPoint, curve, part_weights, scores
from frame_vit.evaluation.results import Evaluation, sample_size
from frame_vit.prediction.predictor import Predictor
from frame_vit.prediction.rows import write_predictions
from frame_vit.report.figures import draw_confusion
from frame_vit.report.pages import COLOURS, data_uri, page, png, thumbnail
from frame_vit.system.files import write_json, write_text

IN_A_CELL, SHOWN, SMALL = 24, 12, 180
RIGHT_IN_A_CELL = 8
"""Pictures that a page shows of a cell, of a gallery, and of a cell of right answers; and their longest side."""


def write_evaluation(evaluation: Evaluation, predictor: Predictor, folder: Path, facts: dict[str, Any]) -> None:
    """confusion_matrix.png, predictions.csv, report.html with the `facts` of the run and, last, metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_confusion(folder / "confusion_matrix.png", evaluation.metrics)
    write_predictions(folder / "predictions.csv", evaluation.rows, predictor.labels)
    write_text(folder / "report.html", _page(evaluation, predictor, facts))
    write_json(folder / "metrics.json", evaluation.metrics)


def _page(evaluation: Evaluation, predictor: Predictor, facts: dict[str, Any]) -> str:
    metrics = evaluation.metrics
    album = _Album(evaluation, predictor.preprocessing.bit_depth)
    figures = {"reliability_png": _reliability(metrics["calibration"])}
    if evaluation.judged is not None:
        drawn = _curve(evaluation, predictor)
        figures |= {"curve_png": drawn} if drawn else {}
    if metrics.get("robustness"):
        figures["robustness_png"] = _robustness(metrics["robustness"]["rows"])
    look = evaluation.look
    titles = {
        "escaped": "Bad parts that are accepted",
        "scrapped": "Good parts that are rejected",
        "mistakes": "Wrong classes, the surest first",
        "unsure": "The least sure answers, by the lead of the first class",
        "suspects": "Rows that look mislabelled",
    }
    return page(
        "report.html",
        metrics
        | {"curve_png": "", "robustness_png": "", "robustness": metrics.get("robustness")}
        | {name: data_uri(drawn, "png") for name, drawn in figures.items()}
        | {
            "ok": sorted(predictor.labels.ok),
            "cells": album.cells(),
            "galleries": [
                {
                    "title": title,
                    "count": 0 if key == "unsure" else len(look[key]),
                    "cards": album.cards(look[key][:SHOWN]),
                }
                for key, title in titles.items()
                if key in look
            ],
            "skipped": metrics.get("skipped", 0),
            "directed": any(metrics["directions"]["axes"].values()),
            "verdict": sample_size(metrics),
            "facts": {"framevit": __version__, "command": shlex.join(["framevit", *sys.argv[1:]])} | facts,
        },
    )


class _Album:
    """Cards of rows: a thumbnail, what it is, what it was called, how surely. A picture is made once."""

    def __init__(self, evaluation: Evaluation, bit_depth: int) -> None:
        self.evaluation, self.bit_depth = evaluation, bit_depth
        self.made: dict[int, dict[str, Any]] = {}

    def cards(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        return [self._card(row) for row in rows]

    def cells(self) -> list[dict[str, Any]]:
        """Every cell of the confusion matrix that has pictures, the least sure first."""
        names = self.evaluation.metrics["labels"]
        labels, predicted = self.evaluation.split.labels, self.evaluation.logits.argmax(axis=1)
        order = self.evaluation.look["unsure"]
        found = []
        for true, row in enumerate(self.evaluation.metrics["confusion_matrix"]):
            for said, count in enumerate(row):
                if count:
                    there = [i for i in order if labels[i] == true and predicted[i] == said]
                    shown = there[: RIGHT_IN_A_CELL if true == said else IN_A_CELL]
                    cell = {"id": f"cell-{true}-{said}", "true": names[true], "predicted": names[said]}
                    found.append(cell | {"count": count, "cards": self.cards(shown)})
        return found

    def _card(self, row: int) -> dict[str, Any]:
        if row not in self.made:
            prediction, true = self.evaluation.rows[row]
            self.made[row] = {
                "picture": thumbnail(self.evaluation.split.examples[row], self.bit_depth, SMALL),
                "key": self.evaluation.split.examples[row].key,
                "true": true,
                "predicted": prediction.label,
                "confidence": prediction.confidence,
                "decision": prediction.decision or "",
            }
        return self.made[row]


def _curve(evaluation: Evaluation, predictor: Predictor) -> bytes | None:
    """Escape against overkill at every threshold; and what review takes off the overkill, with the chosen points."""
    labels, space, point = evaluation.split.labels, predictor.labels, predictor.metadata.operating_point
    good = np.isin(labels, space.ok_ids)
    if good.all() or not good.any():
        return None
    found = scores(evaluation.logits, space)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = curve(labels, found, space)
    left.step(100 * np.array(shares["overkill"]), 100 * np.array(shares["escape"]), color=COLOURS[2], where="pre")
    left.set(title="One threshold: everything is accepted or rejected", xlabel="overkill, % of good parts rejected")
    left.set(ylabel="escape, % of bad parts accepted")
    if point is not None:
        at = [
            100 * float((found[good] >= point.accept_below).mean()),
            100 * float((found[~good] < point.accept_below).mean()),
        ]
        left.plot(*at, "o", color=COLOURS[1], label="the chosen threshold")
        target = 100 * point.claim.target
        left.axhline(target, color="grey", linestyle=":", label=f"target {target:g} %")
        left.legend(fontsize=9)
        _review(right, found, good, point)
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


def _review(axes: Any, found: Any, good: Any, point: OperatingPoint) -> None:
    """Overkill against the share of parts in review, as the second threshold rises from the first."""
    ends = np.unique(np.append(found[found >= point.accept_below], point.reject_from))
    order = np.argsort(found, kind="stable")
    filled = np.append(0.0, np.cumsum(part_weights(good, point.facts.get("bad_share"))[order]))
    start = np.searchsorted(found[order], point.accept_below)
    inside = 100 * (filled[np.searchsorted(found[order], ends)] - filled[start])
    overkill = 100 * (1 - np.searchsorted(np.sort(found[good]), ends) / good.sum())
    axes.step(inside, overkill, color=COLOURS[2], where="post")
    chosen = int(np.searchsorted(ends, point.reject_from))
    axes.plot(inside[chosen], overkill[chosen], "o", color=COLOURS[1], label="the chosen band")
    axes.set(title="A band for people above the threshold", xlabel="review, % of all parts", ylabel="overkill, %")
    axes.legend(fontsize=9)


def _reliability(calibration: dict[str, Any]) -> bytes:
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="as sure as right")
    for key, colour, mark in (("before", COLOURS[1], "s"), ("after", COLOURS[2], "o")):
        rows = calibration[key]["bins"]
        label = f"{key}: calibration error {calibration[key]['ece']:.3f}"
        points = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
        axes.plot(*points, color=colour, marker=mark, markersize=4, alpha=0.8, label=label)
    axes.set(xlabel="how sure (mean of the bin)", ylabel="how often right", title="Reliability")
    axes.legend(fontsize=9)
    axes.grid(alpha=0.3)
    return png(figure)


def _robustness(rows: list[dict[str, Any]]) -> bytes:
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    for axes, kind in zip(figure.subplots(2, 3).ravel(), kinds, strict=False):
        there = [row for row in rows if row["kind"] == kind]
        levels = [row["level"] for row in there]
        for key, colour, mark in (("accuracy", COLOURS[2], "o"), ("unchanged", COLOURS[0], "^")):
            axes.plot(levels, [100 * row[key] for row in there], color=colour, marker=mark, label=key)
        if there[0]["escape_rate"] is not None:
            axes.plot(levels, [100 * row["escape_rate"] for row in there], color=COLOURS[1], marker="s", label="escape")
        axes.set(title=kind, xlabel=there[0]["unit"], ylim=(-4, 104))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.supylabel("%")
    return png(figure)
