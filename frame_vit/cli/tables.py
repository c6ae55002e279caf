"""The results of commands as tables and lines for a person, on stdout.

Names from data are printed as they are: no markup is read from them, and control characters are shown, not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from frame_vit.cli.console import plain, screen

if TYPE_CHECKING:
    from frame_vit.audit.audit import Audit
    from frame_vit.decision.rates import Rate
    from frame_vit.evaluation.compare import Comparison
    from frame_vit.evaluation.metrics import Metrics
    from frame_vit.explanation.inside_boxes import Explanation
    from frame_vit.export.export import ExportResult
    from frame_vit.line.monitor import Monitored
    from frame_vit.line.verify import Verified
    from frame_vit.prediction.predictor import Prediction

out = screen()
SHOWN_CHANGES = 20
SHOWN_PROBLEMS = 20
SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def show_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Pictures per class and split, with totals."""
    table = Table(title="Pictures", title_justify="left")
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    for name in next(iter(counts.values())):
        table.add_row(Text(plain(name)), *(str(split[name]) for split in counts.values()))
    table.add_section()
    table.add_row("all", *(str(sum(split.values())) for split in counts.values()))
    out.print(table)


def show_audit(audit: Audit, files: Mapping[str, Path]) -> None:
    """Pictures per class and split, the findings, whether a training would accept the data, and the files."""
    dataset = audit.dataset
    show_counts(dataset.counts())
    if audit.findings:
        table = Table(title="Findings", title_justify="left")
        for heading in ("", "code", "rows", "finding"):
            table.add_column(heading, justify="right" if heading == "rows" else "left", overflow="fold")
        for finding in audit.findings:
            words = Text.assemble((finding.kind.title, "bold"), "; ", plain(finding.sentence))
            severity = Text(finding.severity, style=SEVERITY_STYLES[finding.severity])
            table.add_row(severity, finding.kind.code, str(finding.count), words)
        out.print(table)
    else:
        out.print("no findings")
    roi = dataset.proposed_roi()
    if roi:
        out.print(f"all boxes of train lie well inside data.roi: {roi}", soft_wrap=True)
        out.print(
            "cropping to it would show the model more detail; the frame that displacement is measured against must "
            "lie inside it, too",
            soft_wrap=True,
        )
    if audit.refusal:
        message = f"training would refuse the data, so manifest.json was not written: {audit.refusal}"
        out.print(plain(message), soft_wrap=True)
    out.print()
    show_files(files)


def show_metrics(metrics: Metrics) -> None:
    """Confusion matrix, the scores of each class, and the rates that matter."""
    scores, tta, answered_by = metrics.scores, metrics.tta, metrics.answered_by
    out.print(_confusion(metrics))
    table = Table()
    for heading in ("class", "precision", "recall", "F1", "support"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, row in scores.per_class.items():
        f1 = "-" if row.f1 is None else f"{row.f1:.3f}"
        table.add_row(Text(plain(name)), _short(row.precision_rate), _short(row.recall_rate), f1, str(row.support))
    out.print(table)
    out.print()
    lines = {
        "answered by": f"{answered_by.backend} on {metrics.device}, {answered_by.precision}",
        "accuracy": _rate(scores.accuracy_interval),
        "macro-F1": _rate(metrics.agreement.macro_f1_interval),
        "kappa": _kappa(metrics.agreement.kappa),
        "escape rate": _rate(scores.escape_rate, "bad parts accepted"),
        "worst class": _worst(scores.escape_by_class),
        "overkill rate": _rate(scores.overkill_rate, "good parts rejected"),
        "review rate": _rate(scores.review_rate, "shown to a person"),
    }
    if tta.used:
        needed = "" if tta.views_per_picture == len(tta.views) else f" ({tta.views_per_picture:.2f} a picture)"
        alone = f"the picture alone: accuracy {tta.without_tta.accuracy:.4f}"
        lines["averaged over"] = f"{', '.join(tta.views)}{needed}; {alone}"
    for what, value in lines.items():
        if value:
            out.print(f"{what:<14} {value}", soft_wrap=True)
    out.print()


def show_comparison(comparison: Comparison, names: tuple[str, str]) -> None:
    """The rates of both models and their paired tests, the decisions that differ, and the conclusion."""
    a, b = map(plain, names)
    title = f"{comparison.split}: {comparison.n} pictures; A is {a}, B is {b}"
    table = Table(title=title)
    for heading in ("", "A", "B", "only A right", "only B right", "p"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in comparison.rates.items():
        rates = ("-" if rate.value is None else f"{rate.value:.4f}" for rate in (row.a, row.b))
        table.add_row(name.replace("_", " "), *rates, str(row.only_a), str(row.only_b), f"{row.p:.2g}")
    out.print(table)
    if comparison.changed:
        rows = Table(title=f"Decisions that differ: {len(comparison.changed)}", title_justify="left")
        for heading in ("file", "true", "A", "B"):
            rows.add_column(heading, overflow="fold")
        for changed in comparison.changed[:SHOWN_CHANGES]:
            rows.add_row(*(Text(plain(text)) for text in (changed.file, changed.true, changed.a, changed.b)))
        out.print(rows)
        if len(comparison.changed) > SHOWN_CHANGES:
            out.print(f"... and {len(comparison.changed) - SHOWN_CHANGES} more; --json has all")
    out.print(comparison.conclusion, soft_wrap=True)


def show_files(places: Mapping[str, Path | str]) -> None:
    """Where everything lies."""
    for what, place in places.items():
        out.print(f"{what:<14} {plain(place)}", soft_wrap=True)


def show_predictions(rows: Iterable[Prediction]) -> None:
    """The rows as a table for people; the other formats also have every class's probability."""
    table = Table()
    table.add_column("file", overflow="fold")
    for heading in ("class", "confidence", "decision", "reason"):
        table.add_column(heading, justify="right" if heading == "confidence" else "left", overflow="fold")
    for row in rows:
        file = Text(plain(row.file))
        if row.status == "error":
            table.add_row(file, Text("error", style="red"), "", "", Text(plain(row.error), style="red"))
            continue
        style = {"accept": "green", "review": "yellow", "reject": "red"}.get(row.decision or "", "")
        decision, reason = Text(row.decision or "-", style=style), Text(plain(row.reason or ""), style="dim")
        table.add_row(file, Text(plain(row.label)), f"{row.confidence:.4f}", decision, reason)
    out.print(table)


def show_export(result: ExportResult, folder: Path) -> None:
    """The files that were written, how their answers agree with torch's, and what became of int8."""
    for name, record in result.files.items():
        out.print(
            f"{name}: {record.bytes / 1e6:.1f} MB, compared on {record.pictures} pictures of {plain(record.data)}:"
        )
        for batch, difference in record.batches.items():
            out.print(
                f"  {batch} at once: a logit differs by at most {difference.max_logit_difference:.2g} "
                f"({plain(difference.worst)}), an embedding's distance by {difference.max_distance_difference:.2g}; "
                f"{difference.changed_classes} classes change, and {difference.changed_decisions} decisions, "
                f"{difference.newly_accepted} of them to accept",
                soft_wrap=True,
            )
    for trial in result.int8 or ():
        out.print(f"int8, {trial.way}: {plain(trial.summary)}", soft_wrap=True)
    out.print()
    show_files({"written to": folder, "next": f"framevit predict --model {folder} PICTURE"})


def show_explanation(explanation: Explanation) -> None:
    """By class, how much of the maps lies inside the boxes; then the right answers whose map lies elsewhere."""
    rows, columns = explanation.grid
    width, height = explanation.cell
    everything = explanation.all
    out.print(
        f"maps of {columns} x {rows} cells, each {width:g} x {height:g} pixels of what the model sees", soft_wrap=True
    )
    table = Table(title=f"{explanation.split}: {everything.n} pictures with a box", title_justify="left")
    table.add_column("class")
    headings = ("n", "map in the box", "box, of picture", "times", "right", "right, but looked elsewhere")
    for heading in (*headings, "right though box hidden"):
        table.add_column(heading, justify="right")
    for name, figures in [*explanation.per_class.items(), ("all", everything)]:
        shares = f"{figures.inside:.1%}", f"{figures.box:.1%}", f"{figures.lift:.2f}"
        counts = figures.right, figures.right_but_elsewhere, figures.right_though_hidden
        table.add_row(Text(plain(name)), str(figures.n), *shares, *map(str, counts))
    out.print(table)
    out.print(
        f"with the box painted over, {everything.right_though_hidden} of {everything.right} right answers stay; "
        f"by chance {everything.by_chance:.0%} would",
        soft_wrap=True,
    )
    for answer in explanation.elsewhere[:SHOWN_CHANGES]:
        x, y = answer.peak
        out.print(
            f"{plain(answer.file)}: {plain(answer.label)} is right, but only {answer.inside:.1%} of the map is inside "
            f"the box ({answer.box:.1%} of the picture); the peak is {x:.0%} from the left, {y:.0%} from the top; "
            f"with the box painted over the answer is {plain(answer.hidden)}",
            soft_wrap=True,
        )
    if len(explanation.elsewhere) > SHOWN_CHANGES:
        out.print(f"... and {len(explanation.elsewhere) - SHOWN_CHANGES} more; attention.json lists all of them")
    out.print()


def _confusion(metrics: Metrics) -> Table:
    names = [plain(name) for name in metrics.labels]
    title = f"{metrics.split}: {metrics.n} pictures (rows true, columns predicted)"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(Text(name), justify="right")
    for i, (name, row) in enumerate(zip(names, metrics.scores.confusion_matrix, strict=True)):
        styles = ["bold green" if i == j and n else "red" if n else "dim" for j, n in enumerate(row)]
        table.add_row(Text(name), *(Text(str(n), style=s) for n, s in zip(row, styles, strict=True)))
    return table


def _short(rate: Rate) -> Text:
    """A rate for a narrow column, with its interval; a dash where it is not defined."""
    if rate.value is None:
        return Text("-")
    return Text.assemble(f"{rate.value:.3f}", (f" ({rate.low:.3f} to {rate.high:.3f})", "dim"))


def _worst(escapes: Mapping[str, Rate]) -> str:
    """The class of which most parts could escape, by the upper end; empty unless several classes have parts."""
    known = {name: rate for name, rate in escapes.items() if rate.value is not None}
    if len(known) < 2:
        return ""
    name = max(known, key=lambda name: known[name].high)
    return f"{plain(name)}, {_rate(known[name], 'of its parts accepted')}"


def _kappa(kappa: Rate) -> str:
    if kappa.value is None:
        return "not defined: all parts have one class, and are called that"
    return _rate(kappa, "agreement beyond chance")


def _rate(rate: Rate, meaning: str = "") -> str:
    """A rate with its interval, and what it counts; the reason instead where it is not defined."""
    if rate.value is None:
        return "not defined: there is no such part, or labels.ok names no class"
    return f"{rate.value:.4f} (95 %: {rate.low:.4f} to {rate.high:.4f}, n = {rate.n})  {meaning}".rstrip()


def show_verified(verified: Verified) -> None:
    """What was checked of a file of rows, and the first of its problems."""
    found, problems = verified.integrity, verified.problems
    if problems:
        table = Table(title="Problems", title_justify="left")
        for heading in ("row", "file", "kind", "what is wrong"):
            table.add_column(heading, justify="right" if heading == "row" else "left", overflow="fold")
        for problem in problems[:SHOWN_PROBLEMS]:
            table.add_row(str(problem.row), Text(plain(problem.file or "")), problem.kind, Text(plain(problem.message)))
        out.print(table)
        if len(problems) > SHOWN_PROBLEMS:
            out.print(f"and {len(problems) - SHOWN_PROBLEMS:,} more; --json lists all")
    period = (
        f", written {found.first:%Y-%m-%d %H:%M} to {found.last:%Y-%m-%d %H:%M}" if found.first and found.last else ""
    )
    out.print(f"{found.rows:,} rows{period}; {'a chain' if found.chained else 'not chained'}", soft_wrap=True)
    if len(found.models) > 1:
        out.print(f"{len(found.models)} models decided; --json lists them", soft_wrap=True)
    if verified.pictures is not None:
        out.print(f"{verified.pictures:,} pictures compared by sha256", soft_wrap=True)
    if verified.predicted is not None:
        out.print(f"{verified.predicted:,} pictures predicted again", soft_wrap=True)
    out.print(f"digest of the last row: {found.last_digest or 'none, because that row is damaged'}", soft_wrap=True)
    rows = len({problem.row for problem in problems})
    have = "has a problem" if rows == 1 else "have problems"
    said = f"{rows:,} of {found.rows:,} rows {have}" if problems else "no problems"
    out.print(Text(said, style="bold red" if problems else "green"), soft_wrap=True)


def show_monitored(monitored: Monitored) -> None:
    """The alarms in words, what they were judged against, and where the page is."""
    alarms, facts = monitored.alarms, monitored.baseline
    for alarm in alarms[:SHOWN_PROBLEMS]:
        out.print(Text("alarm ", style="bold red") + Text(plain(alarm.sentence)), soft_wrap=True)
    if len(alarms) > SHOWN_PROBLEMS:
        out.print(f"and {len(alarms) - SHOWN_PROBLEMS:,} more; --json lists all")
    judged = sum(group.role == "judged" for group in monitored.subgroups)
    names = (facts.first, facts.last)
    if isinstance(monitored.by, int):  # "1 to 50" and "951 to 1000"
        names = (facts.first.partition(" ")[0], facts.last.rpartition(" ")[2])
    period = f"{' to '.join(names)}, {facts.rows:,} rows"
    out.print(f"{judged:,} judged against a baseline of {facts.subgroups} ({period})", soft_wrap=True)
    said = f"{len(alarms)} alarm{'s' if len(alarms) != 1 else ''}" if alarms else "no alarm"
    rate = (
        f"; if nothing has changed, a false alarm begins at most once in {1 / monitored.false_alarm_rate:,.0f} judged"
    )
    out.print(Text(said, style="bold red" if alarms else "green") + Text(rate), soft_wrap=True)
    show_files(monitored.files)
