"""`framevit prepare` as a plain function: read and audit the data, write the findings and the division.

It reads the data as a training with this config would, at the same preprocessing, but tolerantly, so that one call
shows everything that is wrong. No model is loaded; only the image processor of the configured one is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frame_vit.audit.audit import Audit, audit
from frame_vit.audit.report import write_audit
from frame_vit.config.schema import Config
from frame_vit.data.dataset import read_dataset
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.report.figures import draw_samples
from frame_vit.runs.folder import check_apart, located
from frame_vit.system.files import check_writable, filling, write_json
from frame_vit.system.progress import Tick, silent

FILES = {
    "audit.html": "report",
    "samples.png": "samples",
    "exclude.csv": "exclusions",
    "exclude-more.csv": "exclusions",
    "manifest.json": "division",
}
"""The files that a person opens, and what each is."""
STALE = ("displacement.png", "exclude.csv", "exclude-more.csv", "manifest.json")
"""Files that not every preparation writes; those of an earlier one are removed."""


@dataclass(frozen=True)
class Preparation:
    """The audit, and the files that were written, by a short description."""

    audit: Audit
    files: dict[str, Path]

    def passes(self, strict: bool) -> bool:
        """Whether a training would accept the data and the audit has no error; if strict, no warning either."""
        audit = self.audit
        return audit.divided and not audit.of("error") and not (strict and audit.of("warning"))


def prepare(config: Config, output: Path, tick: Tick = silent) -> Preparation:
    """Reads, checks and divides the data, and writes audit.json, audit.html and pictures into the folder `output`.

    All files appear together, or none of them. exclude.csv lists the rows that could be left out; a person may have
    edited the one that the config uses, so the new list is then exclude-more.csv. manifest.json, the division, is
    written only if a training would accept the data. Files of an earlier preparation that this one does not write are
    removed, unless the config uses them.

    Raises `UsageError` if the folder cannot be written or holds the data itself, `DataError` if no row can be used, and
    `FrameVitError` for a full disk.
    """
    check_apart(output, config.data.train, config.data.test)
    check_writable(output)
    preprocessing = preprocessing_of(load_processor(located(config).model, config.data.fit), config.data)
    dataset = read_dataset(config, preprocessing, tick, tolerant=True)
    result = audit(dataset, config.data, preprocessing, tick)
    in_use = {Path(name).expanduser().resolve() for name in (config.data.exclude, config.data.splits) if name}
    stale = [output / name for name in STALE if (output / name).resolve() not in in_use]
    with filling(output, "manifest.json", stale) as part:
        draw_samples(part / "samples.png", dataset.splits["train"], dataset.labels, preprocessing)
        exclude = "exclude-more.csv" if (output / "exclude.csv").resolve() in in_use else "exclude.csv"
        write_audit(part, result, preprocessing, exclude)
        if result.divided:
            write_json(part / "manifest.json", dataset.manifest())
        written = {file.name for file in part.iterdir()}
    return Preparation(result, {what: output / name for name, what in FILES.items() if name in written})
