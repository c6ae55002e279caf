"""The page of a monitored line: the verdict, the alarms in words, a figure for each chart, and all numbers.

It is filled from the JSON of the result (`line.monitor`), so it shows nothing that monitor.json does not hold. The
texts are in `report/templates/monitor.html`; here the figures are drawn. They must be readable with five subgroups and
with hundreds, and printed in black and white: an alarm differs in its shape, too, and has its date beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frame_vit import __version__
from frame_vit.report.pages import COLOURS, data_uri, page, png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_DATES = 6
"""Alarms that have their dates in one panel of a figure; a table has all."""
MOST_ALARMS = 100
"""Alarms in the table of the page."""
WORDS = {"day": "day", "shift": "shift"}


def monitor_page(values: dict[str, Any]) -> str:
    """The HTML of the page, from the JSON of a result."""
    word = WORDS.get(str(values["by"]), "subgroup")
    charts = [
        chart | {"png": data_uri(_figure(chart, values), "png"), "words": _rules(chart, word)}
        for chart in values["charts"]
    ]
    begin: dict[str, list[str]] = {}
    titles = {chart["name"]: chart["title"] for chart in charts}
    for alarm in values["alarms"]:
        known = begin.setdefault(alarm["subgroup"], [])
        if titles[alarm["chart"]] not in known:
            known.append(titles[alarm["chart"]])
    judged = [group["name"] for group in values["subgroups"] if group["role"] == "judged"]
    more = {"word": word, "charts": charts, "begin": begin, "judged": judged, "most": MOST_ALARMS}
    return page("monitor.html", values | more | {"version": __version__, "digits": _digits})


def _digits(value: float | None, unit: str = "") -> str:
    """A value of the table of subgroups; a rate as a percentage."""
    if value is None:
        return "-"
    if unit == "%":
        return f"{100 * value:.1f}"
    return f"{value:.1f}" if value >= 10 else f"{value:#.3g}"


def _rules(chart: dict[str, Any], word: str) -> list[tuple[str, float]]:
    """The rules of a chart in words, each with after how many subgroups it gives a false alarm."""
    texts = {
        "one": f"one {word} beyond its limits",
        "five": f"the last five {word}s together beyond their limits",
        "ewma": "the moving average beyond its limits",
        "run": "{length} {word}s in a row on one side of the baseline's median",
    }
    return [
        (texts[rule["name"]].format(length=rule["length"], word=word), 1 / rule["false_alarm_rate"])
        for rule in chart["rules"]
    ]


class _Marks(NamedTuple):
    """What a panel marks: subgroups with an alarm, those at which one begins, and those not judged, by index."""

    alarms: list[int]
    begins: list[int]
    unjudged: list[int]


def _figure(chart: dict[str, Any], values: dict[str, Any]) -> bytes:
    """A chart: above, the subgroups by themselves with their limits; below, the moving average or sum with its own."""
    names = [group["name"] for group in values["subgroups"]]
    smoothed = chart["rules"][1]["name"]
    figure = Figure(figsize=(8.6, 4.6))
    figure.subplots_adjust(left=0.09, right=0.985, top=0.94, bottom=0.07, hspace=0.22)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    unit = f", {chart['unit']}" if chart["unit"] else ""
    above.set_title(f"{chart['title']}{unit}", fontsize=11, loc="left")
    below.set_title("moving average (EWMA)" if smoothed == "ewma" else "last five together", fontsize=10, loc="left")
    scale = 100 if chart["unit"] == "%" else 1
    for axes, keys, rules in (
        (above, ("values", "lower", "upper"), ("one", "run")),
        (below, (smoothed, f"{smoothed}_lower", f"{smoothed}_upper"), (smoothed,)),
    ):
        lines = [scale * np.array([np.nan if each is None else each for each in chart[key]], float) for key in keys]
        alarms = [each for each in values["alarms"] if each["chart"] == chart["name"] and each["rule"] in rules]
        ends = [(names.index(each["subgroup"]), names.index(each["last"])) for each in alarms]
        marked = sorted({index for first, last in ends for index in range(first, last + 1)})
        unjudged = [index for index, group in enumerate(values["subgroups"]) if group["role"] == "incomplete"]
        _panel(axes, lines, scale * chart["centre"], _Marks(marked, sorted({first for first, _ in ends}), unjudged))
        if chart["unit"] == "%":  # the room above may reach beyond 100 %
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value <= 100 else "")
        _context(axes, values, names)
        _name_alarms(axes, lines[0], sorted({first for first, _ in ends}), names)
    _name_subgroups(below, names)
    return png(figure)


def _panel(axes: Axes, lines: Sequence[Floats], centre: float, marks: _Marks) -> None:
    """Values with their limits, (M,) each, the centre, and the marks."""
    value, low, high = lines
    places = np.arange(len(value))
    size = 4 if len(value) <= 60 else 2 if len(value) <= 150 else 0
    for limit in (low, high):  # dashes of limits that change with every subgroup would be unreadable
        axes.step(places, limit, where="mid", color="black", linewidth=0.8, linestyle=(0, (4, 2)) if size else "-")
    axes.axhline(centre, color="grey", linewidth=0.8)
    axes.plot(places, value, color=COLOURS[2], linewidth=1, marker="o", markersize=size)
    axes.plot(marks.unjudged, value[marks.unjudged], "o", color="white", markeredgecolor="black", markersize=5)
    axes.plot(
        marks.alarms,
        value[marks.alarms],
        "s",
        color="#d01010",
        markeredgecolor="black",
        markeredgewidth=0.6 if size else 0,
        markersize=6 if size else 4,
    )
    finite = np.concatenate([each[np.isfinite(each)] for each in lines])
    bottom, top = float(finite.min()), float(finite.max())
    room = (top - bottom) or abs(top) or 1.0
    axes.set_ylim(bottom - 0.08 * room, top + 0.25 * room)  # above there is room for dates
    axes.set_xlim(-0.6, len(value) - 0.4)
    axes.grid(axis="y", alpha=0.3)
    axes.tick_params(labelsize=9)


def _context(axes: Axes, values: dict[str, Any], names: Sequence[str]) -> None:
    """The baseline's shade, and a line where the model or its settings change."""
    count = values["baseline"]["subgroups"]
    axes.axvspan(-0.6, count - 0.5, color="#e3e6ea", zorder=0)
    axes.text(-0.4, 0.98, "baseline", transform=axes.get_xaxis_transform(), va="top", fontsize=8, color="#444444")
    for change in values["changes"]:
        axes.axvline(names.index(change["subgroup"]) - 0.5, color=COLOURS[3], linestyle=":", linewidth=1.2)


def _name_alarms(axes: Axes, value: Floats, begins: Sequence[int], names: Sequence[str]) -> None:
    """The names of the subgroups at which alarms begin, as far as they do not overlap."""
    span = len(names)
    width = 0.0125 * max(map(len, names)) * span  # of a text at this size, in subgroups
    last, named = -np.inf, 0
    for index in begins:
        place = min(max(index, width / 2 - 0.5), span - 0.5 - width / 2)
        if place - last < width or named == MOST_DATES or not np.isfinite(value[index]):
            continue
        axes.annotate(
            names[index],
            (index, value[index]),
            (place, 0.97),
            textcoords=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=8,
            color="#a00000",
            arrowprops={"arrowstyle": "-", "color": "#a00000", "linewidth": 0.6},
        )
        last, named = place, named + 1


def _name_subgroups(axes: Axes, names: Sequence[str]) -> None:
    """Names below the axis, only so many that they do not overlap, and none that would be cut off at the right."""
    width = max(map(len, names))
    step = -(-len(names) // max(2, 72 // width))
    places = [place for place in range(0, len(names), step) if len(names) - place > 0.005 * width * len(names)]
    axes.set_xticks(places, [names[place] for place in places], fontsize=9)
