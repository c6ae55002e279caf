"""The audit of a data set: all checks in order, the severity of what they found, and the rows to exclude.

`audit` runs everything, once over the decoded pixels and once over all pairs of fingerprints. `warn_of_errors` runs
only the checks that need no pixels, at the start of a training. Files and pages are written by `report`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from frame_vit.audit import checks, picture_checks
from frame_vit.audit.displacement import Displacement, displacement
from frame_vit.audit.near_duplicates import Limit, NearDuplicates, find_near_duplicates, learn_limit
from frame_vit.audit.table import CheckResult, Table, rank
from frame_vit.config.schema import AuditConfig, DataConfig
from frame_vit.data.dataset import Dataset
from frame_vit.data.splits import Exclusion
from frame_vit.errors import DataError
from frame_vit.findings import KINDS, SEVERITIES, Finding, Severity
from frame_vit.images.measures import Measures, measure
from frame_vit.images.pixel_array import Float32
from frame_vit.images.preprocessing import Preprocessing, padded_areas
from frame_vit.system.progress import Tick, log, silent


@dataclass(frozen=True)
class Audit:
    """The findings, the most severe first, and the measurements behind them."""

    dataset: Dataset
    findings: list[Finding]
    table: Table
    measures: Measures
    displacement: Displacement
    limit: Limit
    near_duplicates: NearDuplicates
    refusal: str
    """why a training would refuse the data, and what to do; empty if it would accept them as they were divided here"""

    @property
    def divided(self) -> bool:
        """Whether a training would accept the data as they were divided here."""
        return not self.refusal

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of this severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def exclusions(self) -> list[Exclusion]:
        """The rows that are excluded already, then those that the findings propose to exclude; each once."""
        proposed = [
            Exclusion(row.source, row.key, finding.kind.code, row.detail)
            for finding in self.findings
            if finding.kind.excludes
            for row in finding.rows
        ]
        return list({(e.source, e.key): e for e in reversed([*self.dataset.excluded, *proposed])}.values())[::-1]

    def to_json(self) -> dict[str, Any]:
        """audit.json: everything that audit.html shows, with all rows."""
        return {
            **self.dataset.summary(),
            "divided": self.divided,
            "obstacle": self.dataset.obstacle,
            "rows": {"used": len(self.table.examples), "rejected": len(self.dataset.rejects)},
            "excluded": [exclusion._asdict() for exclusion in self.dataset.excluded],
            "findings": [finding.to_json() for finding in self.findings],
            "found": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "near_duplicates": self.limit.to_json()
            | {"pairs_within_splits": self.near_duplicates.within, "crowded": self.near_duplicates.crowded},
            "displacement": self.displacement.to_json(self.table.examples, self.dataset.labels),
            "measures": {name: _quartiles(getattr(self.measures, name)) for name in ("light", "contrast", "sharpness")},
        }


def audit(dataset: Dataset, data: DataConfig, preprocessing: Preprocessing, tick: Tick = silent) -> Audit:
    """Runs every check over all splits of a data set that was read tolerantly."""
    limits = data.audit
    table, space = Table.of(dataset), dataset.labels
    measures = measure(
        [split.pixels for split in dataset.splits.values()], tick, padded_areas(table.examples, preprocessing)
    )
    limit, duplicates = _near_duplicates(table, dataset, measures, limits, preprocessing, tick)
    directions = displacement(table.examples, space, limits.max_contradiction, limits.min_separation)
    results = chain(
        quick_checks(dataset, table, limits),
        checks.check_near(table, duplicates, limit),
        picture_checks.check_files(table, preprocessing, limits),
        picture_checks.check_light(table, measures, limits),
        checks.check_boxes(table, dataset, directions, limits),
        picture_checks.check_region(table, preprocessing),
        picture_checks.check_turns(table, space, preprocessing),
    )
    findings = to_findings(results, limits)
    refusal = _refusal(dataset, data, preprocessing)
    return Audit(dataset, findings, table, measures, directions, limit, duplicates, refusal)


def _refusal(dataset: Dataset, data: DataConfig, preprocessing: Preprocessing) -> str:
    """Why a training would refuse the data, and what to do; empty if it would accept them."""
    if dataset.obstacle:
        return dataset.obstacle
    if dataset.rejects and data.on_bad_row == "error":
        way_out = "correct them, list them in data.exclude, or set data.on_bad_row=skip"
        return f"{len(dataset.rejects)} rows cannot be used: {way_out}"
    try:
        refuse_distorting_turns(dataset, data.audit, preprocessing)
    except DataError as error:
        return f"{error.message}. {error.hint}"
    return ""


def quick_checks(dataset: Dataset, table: Table, limits: AuditConfig) -> Iterable[CheckResult]:
    """The checks that do not look at pixels."""
    return chain(
        checks.check_sources(dataset),
        checks.check_rejects(dataset),
        checks.check_answers(table, limits),
        checks.check_same(table, dataset.labels.names),
        checks.check_parts(table),
        checks.check_counts(dataset, limits),
    )


def to_findings(results: Iterable[CheckResult], limits: AuditConfig) -> list[Finding]:
    """The findings, the most severe first, with the severities and allowances of the config applied."""
    findings = []
    for result in results:
        kind = KINDS[result.code]
        severity = limits.severity.get(result.code, kind.severity)
        if not result.count or severity == "off":
            continue
        allowed = limits.allow.get(result.code, 0)
        if result.count <= allowed:
            severity = "note"
        limit = result.limit if kind.threshold else allowed
        findings.append(Finding(kind, severity, result.message, result.count, result.rows, limit))
    return sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.kind.code))


def warn_of_errors(dataset: Dataset, limits: AuditConfig) -> None:
    """Logs, before a training, the errors that `framevit prepare` would report without looking at pixels."""
    findings = to_findings(quick_checks(dataset, Table.of(dataset), limits), limits)
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in errors:
        log.warning("%s %s (%d): %s", finding.kind.code, finding.kind.title, finding.count, finding.sentence)
    if errors:
        log.warning("framevit prepare shows the rows")


def refuse_distorting_turns(dataset: Dataset, limits: AuditConfig, preprocessing: Preprocessing) -> None:
    """Raises `DataError` where a training would learn from quarter turns that distort the pictures (FV511)."""
    results = picture_checks.check_turns(Table.of(dataset), dataset.labels, preprocessing)
    for finding in to_findings(results, limits):
        if finding.severity == "error":
            raise DataError(
                f"{finding.count} pictures would be distorted by the quarter turns of labels.symmetries.rot90: "
                f"{finding.sentence}",
                finding.kind.advice,
            )


def _near_duplicates(
    table: Table, dataset: Dataset, measures: Measures, limits: AuditConfig, preprocessing: Preprocessing, tick: Tick
) -> tuple[Limit, NearDuplicates]:
    if limits.near_duplicate == 0:
        return Limit(None), NearDuplicates()
    # A flat picture resembles every other flat picture, and FV507 reports it; a fingerprint of 0 is not compared.
    # Set in place: a copy of all fingerprints would be a kilobyte for each picture.
    fingerprints = measures.fingerprints
    fingerprints[measures.contrast < limits.min_contrast] = 0
    limit = learn_limit(table.examples, fingerprints, preprocessing, limits.near_duplicate)
    if limit.value is None:
        return limit, NearDuplicates()
    ranks = [rank(name) for name in table.splits]
    return limit, find_near_duplicates(table.examples, ranks, fingerprints, dataset.labels.group(), limit.value, tick)


def _quartiles(values: Float32) -> dict[str, float]:
    shares = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
    return {name: round(float(np.quantile(values, share)), 4) for name, share in shares.items()}
