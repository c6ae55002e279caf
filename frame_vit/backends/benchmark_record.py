"""benchmark.json: how fast each backend answered for a model on one machine.

`framevit benchmark` writes it, and `--backend auto` reads it. Measurements of another machine or of other weights do
not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_vit.backends.backend import WEIGHTS
from frame_vit.backends.exported_files import recorded_weights
from frame_vit.decision.json_values import checked_number
from frame_vit.system.files import read_facts
from frame_vit.system.machine import machine

BENCHMARK_FILE = "benchmark.json"


@dataclass(frozen=True)
class BenchmarkRow:
    """One backend with one variant of the model in one precision.

    Times are in seconds and milliseconds, memory in MB (None: not known). Differences are those from the reference, in
    pictures; `agrees` says that few enough pictures change for `--backend auto` to take it.
    """

    backend: str
    variant: str
    precision: str
    device: str
    start_s: float
    pictures_per_s: float
    p50_ms: float
    p99_ms: float
    memory_mb: float | None
    max_logit_difference: float
    changed_classes: int
    changed_decisions: int
    agrees: bool

    def seconds(self, count: int) -> float:
        """How long so many pictures take, with the start."""
        return self.start_s + count / self.pictures_per_s

    def to_json(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "numbers": self.variant,
            "precision": self.precision,
            "device": self.device,
            "start_s": self.start_s,
            "pictures_per_s": self.pictures_per_s,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "memory_mb": self.memory_mb,
            "max_logit_difference": self.max_logit_difference,
            "changed_classes": self.changed_classes,
            "changed_decisions": self.changed_decisions,
            "agrees": self.agrees,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BenchmarkRow:
        """Raises `KeyError`, `TypeError` or `ValueError` for a row that a choice cannot be made by."""
        return cls(
            str(values["backend"]),
            str(values.get("numbers", WEIGHTS)),
            str(values["precision"]),
            str(values["device"]),
            checked_number(values["start_s"], "start_s", 0, 1e9),
            checked_number(values["pictures_per_s"], "pictures_per_s", 1e-9, 1e12),
            checked_number(values["p50_ms"], "p50_ms", 0, 1e12),
            checked_number(values.get("p99_ms", values["p50_ms"]), "p99_ms", 0, 1e12),
            values.get("memory_mb"),
            float(values.get("max_logit_difference", 0)),
            int(values.get("changed_classes", 0)),
            int(values.get("changed_decisions", 0)),
            bool(values["agrees"]),
        )


def read_benchmark(folder: Path) -> list[BenchmarkRow]:
    """What `framevit benchmark` measured of these weights on this machine; empty where it did not."""
    facts = read_facts(folder / BENCHMARK_FILE)
    if facts.get("machine") != machine().to_json() or facts.get("weights") != recorded_weights(folder):
        return []
    try:
        return [BenchmarkRow.from_json(row) for row in facts.get("rows", [])]
    except (KeyError, TypeError, ValueError):
        return []
