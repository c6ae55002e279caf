"""export.json: how each exported file of a model folder was proven, and which weights it was made from.

`export` writes it, and the choice of a backend reads it. A damaged or missing file means that nothing was proven; keys
that an older framevit did not write get defaults. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frame_vit.system.files import read_facts
from frame_vit.system.machine import Machine

EXPORT_FILE = "export.json"


@dataclass(frozen=True)
class Difference:
    """How much the answers of a backend differ from those of torch in fp32, over the pictures of a proof.

    `worst` is the picture with the largest difference of a logit. The `changed_` fields count pictures;
    `newly_accepted` are those among the changed decisions that became accept. The distance is the embedding's, 0 to 2.
    """

    max_logit_difference: float
    worst: str
    changed_decisions: int
    newly_accepted: int
    changed_classes: int
    max_distance_difference: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Difference:
        return cls(
            float(values.get("max_logit_difference", 0)),
            str(values.get("worst", "")),
            int(values.get("changed_decisions", 0)),
            int(values.get("newly_accepted", 0)),
            int(values.get("changed_classes", 0)),
            float(values.get("max_distance_difference", 0)),
        )


@dataclass(frozen=True)
class Agreement:
    """Whether a further backend agrees with torch for the same file, in the precision that it takes by default."""

    precision: str
    agrees: bool
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        return {"precision": self.precision, "agrees": self.agrees} | self.difference.to_json()


@dataclass(frozen=True)
class FileRecord:
    """One exported file's entry in export.json.

    `weights` is the fingerprint of the weights that it was made from (None: not known), `machine` where it was proven
    (None: not recorded). `difference` is the worst over all batch sizes. `opset` and `agreements` (backend -> None
    where it is not installed) are recorded for the fp32 file, `way` (static or dynamic) and `speed_up` over fp32 for
    the int8 file. `sha256` is that of the whole file, `weights_sha256` that of the whole weights; framevit 0.5.0
    recorded neither (None).
    """

    machine: Machine | None
    pictures: int
    data: str
    weights: str | None
    bytes: int
    batches: dict[str, Difference]
    difference: Difference
    opset: int | None = None
    agreements: dict[str, Agreement | None] = field(default_factory=dict)
    way: str | None = None
    speed_up: float | None = None
    sha256: str | None = None
    weights_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "machine": self.machine.to_json() if self.machine else {},
            "pictures": self.pictures,
            "data": self.data,
            "weights": self.weights,
            "bytes": self.bytes,
            "batches": {size: difference.to_json() for size, difference in self.batches.items()},
        } | self.difference.to_json()
        if self.opset is not None:
            values["opset"] = self.opset
        values |= {name: agreement.to_json() if agreement else {} for name, agreement in self.agreements.items()}
        if self.way is not None:
            values |= {"way": self.way, "speed_up": self.speed_up}
        digests = {"sha256": self.sha256, "weights_sha256": self.weights_sha256}
        return values | {key: digest for key, digest in digests.items() if digest is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FileRecord:
        machine = values.get("machine")
        return cls(
            Machine.from_json(machine) if machine else None,
            int(values.get("pictures", 0)),
            str(values.get("data", "")),
            values.get("weights"),
            int(values.get("bytes", -1)),
            {size: Difference.from_json(difference) for size, difference in values.get("batches", {}).items()},
            Difference.from_json(values),
            values.get("opset"),
            _agreements(values),
            values.get("way"),
            values.get("speed_up"),
            _digest(values, "sha256"),
            _digest(values, "weights_sha256"),
        )


def _digest(values: Mapping[str, Any], key: str) -> str | None:
    """A recorded sha256; None where there is none. Raises `ValueError` for anything else, which may be damage."""
    digest = values.get(key)
    if digest is not None and not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise ValueError(f"{key} is no sha256")
    return digest


def _agreements(values: Mapping[str, Any]) -> dict[str, Agreement | None]:
    """The entries of further backends: objects under the backend's name, empty where it was not installed."""
    entries = {key: value for key, value in values.items() if isinstance(value, dict)}
    return {
        name: Agreement(str(value.get("precision", "")), bool(value["agrees"]), Difference.from_json(value))
        if "agrees" in value
        else None
        for name, value in entries.items()
        if name not in ("machine", "batches")
    }


def read_export(folder: Path) -> dict[str, FileRecord]:
    """The entries of a model folder's export.json by file name, without damaged ones; empty where there is none."""
    entries = read_facts(folder / EXPORT_FILE).get("files")
    records = {}
    for name, values in entries.items() if isinstance(entries, dict) else ():
        try:
            records[name] = FileRecord.from_json(values)
        except (TypeError, ValueError, AttributeError):
            continue
    return records
