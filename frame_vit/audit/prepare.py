"""The commands as plain functions: each takes what the command line parsed and returns a value; none prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.audit.audit import audit
from frame_vit.audit.report import write_audit
from frame_vit.config.schema import Config
from frame_vit.data.dataset import prepare
from frame_vit.errors import UsageError
from frame_vit.model.processor import load_processor, preprocessing_of
from frame_vit.report.figures import draw_samples
from frame_vit.runs.folder import check_apart, located
from frame_vit.system.files import write_json
from frame_vit.system.progress import Tick, silent


@dataclass(frozen=True)
class Audited:
    """What audit.json says, and the files that were written, by what they are to people."""

    facts: dict[str, Any]
    files: dict[str, Path]

    def passes(self, strict: bool) -> bool:
        """Whether training would take the data and nothing grave was found; if strict, nothing but notes."""
        found = self.facts["found"]
        return self.facts["divided"] and not found["error"] and not (strict and found["warning"])


def prepare_data(config: Config, output: Path, tick: Tick = silent) -> Audited:
    """Reads, checks and splits the data, and audits it: audit.json, audit.html and pictures in `output`.

    Rows to leave out are proposed in exclude.csv. manifest.json, the division, is written last, and only where
    training would accept all rows. What an earlier preparation left there and this one does not write is removed.
    """
    check_apart(output, config.data.train, config.data.test)
    preprocessing = preprocessing_of(load_processor(located(config).model), config.data.bit_depth, config.data.roi)
    prepared = prepare(config, preprocessing, tick, tolerant=True)
    found = audit(prepared, config.data, preprocessing, tick)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {output}: {error.strerror}") from None
    in_use = {Path(name).expanduser().resolve() for name in (config.data.exclude, config.data.splits) if name}
    for name in ("displacement.png", "exclude.csv", "exclude-more.csv", "manifest.json"):
        if (output / name).resolve() not in in_use:
            (output / name).unlink(missing_ok=True)
    draw_samples(output / "samples.png", prepared.splits["train"], prepared.labels, preprocessing)
    facts = write_audit(output, found, preprocessing, config.data.exclude)
    files = {"report": output / "audit.html", "pictures": output / "samples.png"}
    if "exclude" in facts:
        files["to leave out"] = output / facts["exclude"]
    if found.divided:
        files["division"] = output / "manifest.json"
        write_json(files["division"], prepared.manifest())
    return Audited(facts, files)
