"""An audit as files: audit.json, audit.html (one file that needs nothing else), displacement.png, exclude.csv."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from frame_vit import __version__
from frame_vit.data.audit import Audit
from frame_vit.data.examples import Example
from frame_vit.data.exclusions import write_exclusions
from frame_vit.data.findings import Finding, Row
from frame_vit.errors import RowError
from frame_vit.images import Pixels, open_rgb
from frame_vit.report import math_safe
from frame_vit.runs import write_json, write_text

SHOWN, LISTED, OF_A_CLASS = 12, 300, 4
THUMBNAIL = 240
"""Longest side of a thumbnail in pixels: twice what it is shown at, for screens with fine pixels."""
COLOURS = ("#1b6e3c", "#c2410c", "#1d4ed8", "#a21caf", "#0e7490", "#854d0e", "#be123c", "#4d7c0f", "#334155", "#6d28d9")
MARKS = ("o", "^", "v", "s", "D", "P", "X", "<", ">")
"""One fewer than the colours, so that the two together are not soon the same again."""


def write_audit(folder: Path, audit: Audit, pixels: Pixels, excluded_by: str | None = None) -> dict[str, Any]:
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
    write_text(folder / "audit.html", _page(audit, facts, figures, pixels))
    return facts


def _page(audit: Audit, facts: dict[str, Any], figures: dict[str, bytes], pixels: Pixels) -> str:
    examples = {(s, e.key): e for s, e in zip(audit.table.splits, audit.table.examples, strict=True)}
    names = audit.prepared.labels.names
    album = _Album(examples, names, pixels.bit_depth)
    kinds = Counter((e.width, e.height, f"{e.stored.format} {e.stored.mode}") for e in audit.table.examples)
    environment = Environment(
        loader=PackageLoader("frame_vit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("audit.html").render(
        facts
        | {
            "version": __version__,
            "input": f"{pixels.width} x {pixels.height}"
            + (f", of the region {list(pixels.roi)}" if pixels.roi else ""),
            "findings": [_shown(finding, album) for finding in audit.findings],
            "exclusions": len(audit.exclusions()),
            "displacement_png": "",
            "exclude": facts.get("exclude", ""),
            "samples": {name: album.class_samples(audit, index) for index, name in enumerate(names)},
            "kinds": kinds.most_common(SHOWN),
            "more_kinds": max(len(kinds) - SHOWN, 0),
        }
        | {name: _data_uri(drawn, "png") for name, drawn in figures.items()}
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
        pictures = [picture for picture in map(self._thumbnail, known) if picture]
        label = self.names[known[0].label] if known else ""
        return {
            "pictures": pictures,
            "label": label,
            "where": _where(row),
            "detail": row.detail,
            "alt": f"{label}, {_where(row)}",
        }

    def _thumbnail(self, example: Example) -> str:
        try:
            picture = open_rgb(example.read(), self.bit_depth)
        except (RowError, OSError):  # gone since it was read
            return ""
        small = picture.copy()
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        scale = np.array([small.width / picture.width, small.height / picture.height] * 2)
        draw = ImageDraw.Draw(small)
        for box in example.boxes:
            x1, y1, x2, y2 = np.clip(np.array(box) * scale, -9, 2 * THUMBNAIL).tolist()
            draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline="#00c853", width=2)
        return _data_uri(_encoded(small), "jpeg")


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
    return _png(figure)


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
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
