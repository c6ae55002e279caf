"""An audit as files: audit.json, audit.html (one file that needs no other), displacement.png and exclude.csv.

This is where the typed audit becomes JSON, HTML and CSV. The page shows thumbnails of the first rows of each finding;
audit.json has all rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.audit.audit import Audit
from frame_vit.data.examples import Example
from frame_vit.data.splits import write_exclusions
from frame_vit.findings import Finding, Row
from frame_vit.images.decode import Decoding
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.report.figures import math_safe
from frame_vit.report.pages import COLOURS, data_uri, page, png, thumbnail
from frame_vit.system.files import replacing, write_json, write_text

CARDS, LISTED, SAMPLES = 12, 300, 4
"""The largest number of cards of a finding, of its rows in a table, and of pictures of a class."""
MARKERS = ("o", "^", "v", "s", "D", "P", "X", "<", ">")
"""One fewer than the colours, so that the same pair of colour and marker returns only after many classes."""
TITLES = {
    "light": "light (mean grey level)",
    "contrast": "contrast (deviation of the levels)",
    "sharpness": "sharpness",
}


class Line(NamedTuple):
    """A row of a finding in the page's table."""

    where: str
    detail: str


@dataclass(frozen=True)
class Card:
    """A row with thumbnails: its own, and that of the other row if it is a duplicate."""

    where: str
    detail: str
    label: str
    pictures: list[str]
    """data URIs; empty if the picture cannot be shown"""

    @property
    def alt(self) -> str:
        return f"{self.label}, {self.where}"


@dataclass(frozen=True)
class FindingView:
    """A finding as the page shows it: its first rows as cards, and a table where the cards do not show everything."""

    finding: Finding
    cards: list[Card]
    listed: list[Line]

    @property
    def few(self) -> bool:
        """Whether the table is short enough to be shown unfolded."""
        return len(self.finding.rows) <= CARDS

    @property
    def message(self) -> str:
        """The message as a sentence; messages begin with a word, not with a name."""
        message = self.finding.message
        return message[:1].upper() + message[1:].rstrip(".")

    @property
    def threshold(self) -> str:
        """The config key that the finding depends on, with its value; empty if none is set."""
        limit = self.finding.limit
        if not self.finding.kind.threshold and not limit:
            return ""
        return self.finding.key + ("" if limit is None else f" = {limit:.4g}")


def write_audit(folder: Path, audit: Audit, preprocessing: Preprocessing, exclude: str = "exclude.csv") -> None:
    """Writes the audit into an existing folder.

    The list of exclusions, under the name `exclude`, is written only if there is more to exclude than what is excluded
    already.
    """
    exclusions = audit.exclusions()
    more = len(exclusions) > len(audit.dataset.excluded)
    if more:
        write_exclusions(folder / exclude, exclusions)
    figures = {"distributions_png": _distributions(audit)}
    if len(audit.displacement.rows):
        scatter = _displacement(audit)
        with replacing(folder / "displacement.png") as part:
            part.write_bytes(scatter)
        figures["displacement_png"] = scatter
    facts = audit.to_json() | {"framevit": __version__} | ({"exclude": exclude} if more else {})
    write_json(folder / "audit.json", facts)
    values = facts | _page_values(audit, preprocessing) | {name: data_uri(f, "png") for name, f in figures.items()}
    write_text(folder / "audit.html", page("audit.html", {"exclude": "", "displacement_png": ""} | values))


def _page_values(audit: Audit, preprocessing: Preprocessing) -> dict[str, Any]:
    """What audit.html shows beside the facts of audit.json."""
    album = _Album(audit, preprocessing.decoding)
    kinds = Counter((e.width, e.height, f"{e.stored.format} {e.stored.mode}") for e in audit.table.examples)
    roi = f", of the region {list(preprocessing.roi)}" if preprocessing.roi else ""
    return {
        "version": __version__,
        "input": f"{preprocessing.width} x {preprocessing.height}{roi}",
        "findings": [album.view(finding) for finding in audit.findings],
        "exclusions": len(audit.exclusions()),
        "samples": {name: album.samples(class_id) for class_id, name in enumerate(audit.dataset.labels.names)},
        "kinds": kinds.most_common(CARDS),
        "more_kinds": max(len(kinds) - CARDS, 0),
    }


class _Album:
    """Makes cards of rows: thumbnails with the boxes drawn in."""

    def __init__(self, audit: Audit, decoding: Decoding) -> None:
        self.names, self.decoding = audit.dataset.labels.names, decoding
        self.train = audit.dataset.splits["train"].examples
        rows = zip(audit.table.splits, audit.table.examples, strict=True)
        self.examples = {(split, example.key): example for split, example in rows}

    def view(self, finding: Finding) -> FindingView:
        cards = [self.card(row) for row in finding.rows[:CARDS]]
        complete = len(finding.rows) <= CARDS and all(card.pictures for card in cards)
        listed = [Line(_where(row), row.detail) for row in finding.rows[: 0 if complete else LISTED]]
        return FindingView(finding, [card for card in cards if card.pictures], listed)

    def samples(self, class_id: int) -> list[Card]:
        """Pictures of a class, evenly from the first to the last of train."""
        examples = [example for example in self.train if example.label == class_id]
        chosen = sorted({round(i) for i in np.linspace(0, len(examples) - 1, min(SAMPLES, len(examples)))})
        rows = [Row("train", examples[i].key) for i in chosen]
        return [Card(_where(row), "", "", self.card(row).pictures) for row in rows]

    def card(self, row: Row) -> Card:
        places = [(row.split, row.key), *([row.duplicate_of] if row.duplicate_of else [])]
        examples = [self.examples[place] for place in places if place in self.examples]
        label = self.names[examples[0].label] if examples else ""
        return Card(_where(row), row.detail, label, self._thumbnails(examples))

    def _thumbnails(self, examples: Sequence[Example]) -> list[str]:
        return [uri for uri in (thumbnail(example, self.decoding) for example in examples) if uri]


def _where(row: Row) -> str:
    return f"{row.split or row.source}, {row.key}"


def _displacement(audit: Audit) -> bytes:
    """PNG: scatter plot of the middles of the boxes, a colour and a marker for each class; contradictions ringed."""
    displacement, names = audit.displacement, audit.dataset.labels.names
    class_ids = np.array([audit.table.examples[row].label for row in displacement.rows])
    figure = Figure(figsize=(8.6, 6), layout="constrained")
    axes = figure.subplots()
    percent = 100 * displacement.shares  # (N, 2)
    for class_id in sorted(set(class_ids.tolist())):
        points = percent[class_ids == class_id]
        style: dict[str, Any] = {"color": COLOURS[class_id % len(COLOURS)], "marker": MARKERS[class_id % len(MARKERS)]}
        label = f" {math_safe(names[class_id])} ({len(points)})"
        axes.scatter(points[:, 0], points[:, 1], s=14, alpha=0.35, linewidths=0, label=label, **style)
        x, y = np.median(points, axis=0)
        axes.scatter(x, y, s=150, edgecolors="white", linewidths=1.6, zorder=3, **style)
    wrong = {item.row for item in displacement.contradictions}
    ringed = percent[[i for i, row in enumerate(displacement.rows.tolist()) if row in wrong]]
    if len(ringed):
        label = f"contradicts its label ({len(ringed)})"
        axes.scatter(
            ringed[:, 0], ringed[:, 1], s=90, facecolors="none", edgecolors="#b3261e", linewidths=1.5, label=label
        )
    axes.axhline(0, color="grey", linewidth=0.7)
    axes.axvline(0, color="grey", linewidth=0.7)
    axes.set(xlabel="x, % of the picture's width (right of its middle)", ylabel="y, % of its height (below its middle)")
    axes.invert_yaxis()
    legend = figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=9, frameon=False)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return png(figure)


def _distributions(audit: Audit) -> bytes:
    """PNG: histograms of light, contrast and sharpness, a line for each split."""
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    splits = np.array(audit.table.splits)
    for axes, (measure, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
        values = getattr(audit.measures, measure)
        edges = np.histogram_bin_edges(values, 30)
        for index, name in enumerate(audit.dataset.splits):
            chosen = values[splits == name]
            weights = np.full(len(chosen), 100 / max(len(chosen), 1))
            colour = COLOURS[index % len(COLOURS)]
            axes.hist(chosen, edges, weights=weights, histtype="step", color=colour, linewidth=1.4, label=name)
        axes.set(title=title, ylabel="% of the split")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return png(figure)
