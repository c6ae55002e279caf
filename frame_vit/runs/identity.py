"""The identity of a run: its settings, its data, its first weights. A run is resumed only if all of them are the same.

environment.json keeps the identity, flat, by dotted key. When a run is resumed it is computed again and compared:
differences that change what is learned are an error, all named at once; those that change only the last bits of the
numbers are a warning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.runs.environment import Environment
from frame_vit.system.progress import log

FREE = (
    "training.device",
    "training.report_to",
    "training.save_total_limit",
    "data.cache",
    "data.slice_by",
    "data.part_by",
)
FREE_SECTIONS = ("data.audit.", "data.slice_by", "data.part_by", "decision.")
"""Settings that may change when a run is resumed: nothing that is learned depends on them."""
BITS = ("training.batch_size", "training.gradient_accumulation", "processes", "precision", "device", "framevit")
PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pillow")
"""Facts that may differ while a step sees the same number of pictures; the results then differ in the last bits."""


class IdentityDifference(NamedTuple):
    """A fact in which two identities differ, by its dotted key. A value is None where the identity lacks the key."""

    key: str
    before: Any
    now: Any

    @property
    def bits_only(self) -> bool:
        """Whether it changes only the last bits of the numbers."""
        return self.key in BITS or self.key.startswith("packages.")

    def __str__(self) -> str:
        return f"{self.key}: was {_short(self.before)}, is {_short(self.now)}"


@dataclass(frozen=True)
class Identity:
    """What makes a run this run, by dotted key, as JSON values: settings, data, first weights, device and packages."""

    values: Mapping[str, Any]

    @classmethod
    def of(cls, config: Config, weights: str, preprocessing: Preprocessing, environment: Environment) -> Identity:
        """The identity of a training that starts now; `weights` is the fingerprint of the model's first weights."""
        settings = {key: value for key, value in _flat(config.model_dump()).items() if not _free(key)}
        pictures = {f"pictures and labels of {name}": value for name, value in environment.data.splits.items()}
        step = config.training.batch_size * config.training.gradient_accumulation * environment.processes
        values = settings | pictures | {"weights at the start": weights, "pictures a step": step}
        values["preprocessing"] = preprocessing.to_json()
        values |= {
            "device": environment.device,
            "precision": environment.precision,
            "processes": environment.processes,
            "framevit": environment.framevit,
        }
        values |= {f"packages.{name}": environment.packages[name] for name in PACKAGES}
        return cls(json.loads(json.dumps(values)))  # as it is read back: lists instead of tuples

    @classmethod
    def from_json(cls, values: Any) -> Identity:
        """The identity that environment.json records. Raises `TypeError` if that is not an object."""
        if not isinstance(values, dict):
            raise TypeError("an identity is a JSON object")
        return cls(values)

    def to_json(self) -> dict[str, Any]:
        return dict(self.values)

    def completed(self, key: str, value: Any) -> Identity:
        """The same with a fact that framevit did not record when the run was started; a recorded one stays."""
        return Identity({key: json.loads(json.dumps(value)), **self.values})

    @property
    def processes(self) -> int | None:
        """How many processes train the run; None where that is not recorded."""
        return self.values.get("processes")

    def differences(self, current: Identity) -> list[IdentityDifference]:
        """Every fact in which the current identity is another one than this."""
        keys = dict.fromkeys([*self.values, *current.values])
        both = [IdentityDifference(key, self.values.get(key), current.values.get(key)) for key in keys]
        return [difference for difference in both if difference.before != difference.now]


def check(recorded: Identity, current: Identity) -> None:
    """Raises `UsageError` with every difference to the recorded identity; warns where only last bits will differ."""
    differences = recorded.differences(current)
    for difference in differences:
        if difference.bits_only:
            log.warning("%s: not bit for bit the same run", difference)
    wrong = [str(difference) for difference in differences if not difference.bits_only]
    if not wrong:
        return
    way_out = "Put it back, or start a new run"
    if recorded.processes != current.processes:
        way_out = f"The run was started in {recorded.processes} processes, now there are {current.processes}. {way_out}"
    raise UsageError("\n".join(["this is not the run that was interrupted:", *wrong]), way_out)


def _free(key: str) -> bool:
    return key in FREE or key.startswith(FREE_SECTIONS)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:12]}...{text[-1]}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        # Class names are values, not keys: only the sections of the schema are taken apart.
        flat |= _flat(value, name + ".") if isinstance(value, dict) and prefix != "labels." else {name: value}
    return flat
