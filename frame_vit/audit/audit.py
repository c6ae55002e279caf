"""The audit of prepared data: all checks in order, how grave what they found is, and which rows to leave out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from frame_vit.audit import checks
from frame_vit.audit.checks import Found, Table
from frame_vit.audit.displacement import Displacement, displacement
from frame_vit.audit.near_duplicates import Limit, NearDuplicates, find_near_duplicates, learn_limit
from frame_vit.config.schema import AuditConfig, DataConfig
from frame_vit.data.dataset import Dataset
from frame_vit.data.exclusions import Exclusion
from frame_vit.findings import KINDS, SEVERITIES, Finding, Severity
from frame_vit.images.measures import Measures, measure
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.system.progress import Tick, log, silent


@dataclass(frozen=True)
class Audit:
    """What was found, the gravest first, and what it was found by."""

    prepared: Dataset
    findings: list[Finding]
    table: Table
    measures: Measures
    displacement: Displacement
    limit: Limit
    twins: NearDuplicates
    divided: bool
    """whether training would take the data as it was divided here, without the rows that cannot be used"""

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == severity]

    def exclusions(self) -> list[Exclusion]:
        """Rows that were left out already, and those that the findings propose to leave out, each once."""
        proposed = [
            Exclusion(row.source, row.key, finding.kind.code, row.detail)
            for finding in self.findings
            if finding.kind.excludes
            for row in finding.rows
        ]
        return list({(e.source, e.key): e for e in reversed([*self.prepared.excluded, *proposed])}.values())[::-1]

    def to_json(self) -> dict[str, Any]:
        """audit.json: everything that audit.html shows, with all rows."""
        return {
            **self.prepared.summary(),
            "divided": self.divided,
            "obstacle": self.prepared.obstacle,
            "rows": {"used": len(self.table.examples), "rejected": len(self.prepared.rejects)},
            "excluded": [exclusion._asdict() for exclusion in self.prepared.excluded],
            "findings": [finding.to_json() for finding in self.findings],
            "found": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "near_duplicates": self.limit.to_json()
            | {"pairs_within_splits": self.twins.within, "crowded": self.twins.crowded},
            "displacement": self.displacement.to_json(self.table.examples, self.prepared.labels),
            "measures": {name: _quartiles(getattr(self.measures, name)) for name in ("light", "contrast", "sharpness")},
        }


def audit(prepared: Dataset, data: DataConfig, preprocessing: Preprocessing, tick: Tick = silent) -> Audit:
    """Every check over all splits; one pass over the decoded pictures, and each against all others."""
    limits = data.audit
    table, space = Table.of(prepared), prepared.labels
    measures = measure([split.pixels for split in prepared.splits.values()], tick)
    limit, twins = _near(table, prepared, measures, limits, preprocessing, tick)
    places = displacement(table.examples, space, limits.max_contradiction, limits.min_separation)
    found = chain(
        quick_checks(prepared, table, limits),
        checks.check_near(table, twins, limit),
        checks.check_files(table, preprocessing, limits),
        checks.check_light(table, measures, limits),
        checks.check_boxes(table, prepared, places, limits),
        checks.check_region(table, preprocessing),
    )
    divided = not prepared.obstacle and (data.on_bad_row == "skip" or not prepared.rejects)
    return Audit(prepared, judged(found, limits), table, measures, places, limit, twins, divided)


def quick_checks(prepared: Dataset, table: Table, limits: AuditConfig) -> Iterable[Found]:
    """The checks that need no look at the pixels."""
    return chain(
        checks.check_rejects(prepared),
        checks.check_answers(table, limits),
        checks.check_same(table, prepared.labels.names),
        checks.check_parts(table),
        checks.check_counts(prepared, limits),
    )


def judged(found: Iterable[Found], limits: AuditConfig) -> list[Finding]:
    """Findings of what was found, with their severity by the config; the gravest first."""
    findings = []
    for code, rows, message, number, limit in found:
        kind, count = KINDS[code], len(rows) or number
        severity = limits.severity.get(code, kind.severity)
        if not count or severity == "off":
            continue
        allowed = limits.allow.get(code, 0)
        if count <= allowed:
            severity = "note"
        known = limit if kind.threshold else allowed
        findings.append(Finding(kind, severity, message, count, rows, known))
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.kind.code))


def warn_of_errors(prepared: Dataset, limits: AuditConfig) -> None:
    """Says, before a training, what `prepare` would call an error, as far as no look at the pixels is needed."""
    found = judged(quick_checks(prepared, Table.of(prepared), limits), limits)
    for finding in found:
        if finding.severity == "error":
            log.warning("%s %s (%d): %s", finding.kind.code, finding.kind.title, finding.count, finding.sentence)
    if any(finding.severity == "error" for finding in found):
        log.warning("framevit prepare shows the rows")


def _near(
    table: Table, prepared: Dataset, measures: Measures, limits: AuditConfig, preprocessing: Preprocessing, tick: Tick
) -> tuple[Limit, NearDuplicates]:
    if limits.near_duplicate == 0:
        return Limit(None), NearDuplicates()
    # A flat picture is like every other flat one; that is a finding of its own.
    measures.prints[measures.contrast < limits.min_contrast] = 0
    limit = learn_limit(table.examples, measures.prints, preprocessing, limits.near_duplicate)
    if limit.value is None:
        return limit, NearDuplicates()
    ranks = [checks.rank(name) for name in table.splits]
    return limit, find_near_duplicates(
        table.examples, ranks, measures.prints, prepared.labels.group(), limit.value, tick
    )


def _quartiles(values: Float32) -> dict[str, float]:
    shares = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
    return {name: round(float(np.quantile(values, share)), 4) for name, share in shares.items()}
