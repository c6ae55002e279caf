"""An audit as files: audit.json, audit.html (one file that needs nothing else), displacement.png, exclude.csv."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.audit.audit import Audit
from frame_vit.data.examples import Example
from frame_vit.data.exclusions import write_exclusions
from frame_vit.findings import Finding, Row
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.report.figures import math_safe
from frame_vit.report.pages import COLOURS, data_uri, page, png, thumbnail
from frame_vit.system.files import write_json, write_text

SHOWN, LISTED, OF_A_CLASS = 12, 300, 4
MARKS = ("o", "^", "v", "s", "D", "P", "X", "<", ">")
"""One fewer than the colours, so that the two together are not soon the same again."""


def write_audit(
    folder: Path, audit: Audit, preprocessing: Preprocessing, excluded_by: str | None = None
) -> dict[str, Any]:
    """Writes the audit into an existing folder; returns what audit.json says.

    exclude.csv is written only where there is more to leave out than was left out already, and never over the file
    `excluded_by` that said so: a person may have changed it, and it is theirs.
    """
    facts = audit.to_json() | {"framevit": __version__}
    exclusions = audit.exclusions()
    if len(exclusions) > len(audit.prepared.excluded):
        used = excluded_by is not None and Path(excluded_by).expanduser().resolve()
        facts["exclude"] = "exclude.csv" if used != (folder / "exclude.csv").resolve() else "exclude-more.csv"
        write_exclusions(folder / facts["exclude"], exclusions)
    figures = {"distributions_png": _distributions(audit)}
    if len(audit.displacement.rows):
        drawn = _displacement(audit)
        (folder / "displacement.png").write_bytes(drawn)
        figures["displacement_png"] = drawn
    write_json(folder / "audit.json", facts)
    write_text(folder / "audit.html", _page(audit, facts, figures, preprocessing))
    return facts


def _page(audit: Audit, facts: dict[str, Any], figures: dict[str, bytes], preprocessing: Preprocessing) -> str:
    examples = {(s, e.key): e for s, e in zip(audit.table.splits, audit.table.examples, strict=True)}
    names = audit.prepared.labels.names
    album = _Album(examples, names, preprocessing.bit_depth)
    kinds = Counter((e.width, e.height, f"{e.stored.format} {e.stored.mode}") for e in audit.table.examples)
    return page(
        "audit.html",
        facts
        | {
            "version": __version__,
            "input": f"{preprocessing.width} x {preprocessing.height}"
            + (f", of the region {list(preprocessing.roi)}" if preprocessing.roi else ""),
            "findings": [_shown(finding, album) for finding in audit.findings],
            "exclusions": len(audit.exclusions()),
            "displacement_png": "",
            "exclude": facts.get("exclude", ""),
            "samples": {name: album.class_samples(audit, index) for index, name in enumerate(names)},
            "kinds": kinds.most_common(SHOWN),
            "more_kinds": max(len(kinds) - SHOWN, 0),
        }
        | {name: data_uri(drawn, "png") for name, drawn in figures.items()},
    )


class _Album:
    """Thumbnails of rows, with their boxes."""

    def __init__(self, examples: dict[tuple[str, str], Example], names: Sequence[str], bit_depth: int) -> None:
        self.examples, self.names, self.bit_depth = examples, names, bit_depth

    def class_samples(self, audit: Audit, label: int) -> list[dict[str, Any]]:
        """Pictures of a class, evenly from the first to the last of train."""
        rows = [e for e in audit.prepared.splits["train"].examples if e.label == label]
        chosen = sorted({round(i) for i in np.linspace(0, len(rows) - 1, min(OF_A_CLASS, len(rows)))})
        return [self.card(Row("train", rows[i].key)) | {"label": ""} for i in chosen]

    def card(self, row: Row) -> dict[str, Any]:
        """What the page shows of a row; without pictures where there are none to show."""
        beside = [row[:2], *([row.twin] if row.twin else [])]
        known = [self.examples[place] for place in beside if place in self.examples]
        pictures = [picture for picture in (thumbnail(example, self.bit_depth) for example in known) if picture]
        label = self.names[known[0].label] if known else ""
        return {
            "pictures": pictures,
            "label": label,
            "where": _where(row),
            "detail": row.detail,
            "alt": f"{label}, {_where(row)}",
        }


def _shown(finding: Finding, album: _Album) -> dict[str, Any]:
    cards = [album.card(row) for row in finding.rows[:SHOWN]]
    unseen = len(finding.rows) > SHOWN or not all(card["pictures"] for card in cards)
    return finding.to_json() | {
        "said": finding.message,
        "cards": [card for card in cards if card["pictures"]],
        "listed": [{"where": _where(row), "detail": row.detail} for row in finding.rows[: LISTED if unseen else 0]],
        "few": len(finding.rows) <= SHOWN,
    }


def _where(row: Row) -> str:
    return f"{row.split or row.source}, {row.key}"


def _displacement(audit: Audit) -> bytes:
    """Scatter picture of the boxes' middles, a colour and a mark for each class; contradictions ringed."""
    places, names = audit.displacement, audit.prepared.labels.names
    own = np.array([audit.table.examples[row].label for row in places.rows])
    figure = Figure(figsize=(8.6, 6), layout="constrained")
    axes = figure.subplots()
    shares = 100 * places.shares
    for index in sorted(set(own.tolist())):
        there = shares[own == index]
        style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKS[index % len(MARKS)]}
        axes.scatter(
            there[:, 0],
            there[:, 1],
            s=14,
            alpha=0.35,
            linewidths=0,
            label=f" {math_safe(names[index])} ({len(there)})",
            **style,
        )
        x, y = np.median(there, axis=0)
        axes.scatter(x, y, s=150, edgecolors="white", linewidths=1.6, zorder=3, **style)
    wrong = {row for row, _ in places.contradictions}
    ringed = shares[[i for i, row in enumerate(places.rows.tolist()) if row in wrong]]
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
    """Histograms of light, contrast and sharpness, a line for each split."""
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    splits = np.array(audit.table.splits)
    for axes, (key, title) in zip(
        figure.subplots(1, 3),
        {
            "light": "light (mean grey level)",
            "contrast": "contrast (deviation of the levels)",
            "sharpness": "sharpness",
        }.items(),
        strict=True,
    ):
        values = getattr(audit.measures, key)
        edges = np.histogram_bin_edges(values, 30)
        for index, name in enumerate(audit.prepared.splits):
            there = values[splits == name]
            weights = np.full(len(there), 100 / max(len(there), 1))
            colour = COLOURS[index % len(COLOURS)]
            axes.hist(there, edges, weights=weights, histtype="step", color=colour, linewidth=1.4, label=name)
        axes.set(title=title, ylabel="% of the split")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return png(figure)
