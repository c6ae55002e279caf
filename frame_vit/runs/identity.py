"""What makes a run that run: its settings, its data, the weights it began with. A run goes on only as itself."""

from __future__ import annotations

import json
from typing import Any

from frame_vit.config.schema import Config
from frame_vit.errors import UsageError
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
"""Settings that may change between the parts of a run: nothing that is trained depends on them."""
BITS = ("training.batch_size", "training.gradient_accumulation", "processes", "precision", "device", "framevit")
PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pillow")
"""What may differ, as long as a step sees as many pictures; but then the bits do too."""


def identity(config: Config, data: dict[str, str], weights: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Flat, by dotted key: the settings, fingerprints of the splits and of the first weights, and `facts`.

    Among the facts is the number of `processes`.
    """
    settings = {key: value for key, value in _flat(config.model_dump()).items() if not _free(key)}
    step = config.training.batch_size * config.training.gradient_accumulation * facts["processes"]
    pictures = {f"pictures and labels of {name}": value for name, value in data.items()}
    return settings | pictures | {"weights at the start": weights, "pictures a step": step} | facts


def check(before: dict[str, Any], found: dict[str, Any]) -> None:
    """Raises `UsageError` with every difference to what the run was; warns where only the bits will differ."""
    now = json.loads(json.dumps(found))
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    for key in keys:
        if _bits_only(key):
            log.warning("%s: not bit for bit the same run", _difference(key, before, now))
    wrong = [_difference(key, before, now) for key in keys if not _bits_only(key)]
    if not wrong:
        return
    way_out = "Put it back, or start a new run"
    if before.get("processes") != now["processes"]:
        way_out = (
            f"The run was started in {before.get('processes')} processes, now there are {now['processes']}. {way_out}"
        )
    raise UsageError("\n".join(["this is not the run that was interrupted:", *wrong]), way_out)


def _free(key: str) -> bool:
    return key in FREE or key.startswith(FREE_SECTIONS)


def _bits_only(key: str) -> bool:
    return key in BITS or key.startswith("packages.")


def _difference(key: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    return f"{key}: was {_short(before.get(key))}, is {_short(now.get(key))}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:12]}...{text[-1]}"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        # Class names are values, not keys: only the sections of the schema are taken apart.
        found |= _flat(value, name + ".") if isinstance(value, dict) and prefix != "labels." else {name: value}
    return found
