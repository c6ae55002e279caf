"""The identity of a run: its settings, its data, its first weights. A run is resumed only if all of them are the same.

environment.json keeps the identity, flat, by dotted key. When a run is resumed it is computed again and compared:
differences that change what is learned are an error, all named at once; those that change only the last bits of the
numbers are a warning.
"""

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
"""Settings that may change when a run is resumed: nothing that is learned depends on them."""
BITS = ("training.batch_size", "training.gradient_accumulation", "processes", "precision", "device", "framevit")
PACKAGES = ("torch", "transformers", "accelerate", "numpy", "pillow")
"""Facts that may differ while a step sees the same number of pictures; the results then differ in the last bits."""


def identity(config: Config, data: dict[str, str], weights: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The identity by dotted key: settings, fingerprints of splits (`data`) and first weights, and `facts`.

    `facts` must hold the number of `processes`.
    """
    settings = {key: value for key, value in _flat(config.model_dump()).items() if not _free(key)}
    step = config.training.batch_size * config.training.gradient_accumulation * facts["processes"]
    pictures = {f"pictures and labels of {name}": value for name, value in data.items()}
    return settings | pictures | {"weights at the start": weights, "pictures a step": step} | facts


def check(before: dict[str, Any], current: dict[str, Any]) -> None:
    """Raises `UsageError` with every difference to the recorded identity; warns where only last bits will differ."""
    now = json.loads(json.dumps(current))
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
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = prefix + key
        # Class names are values, not keys: only the sections of the schema are taken apart.
        flat |= _flat(value, name + ".") if isinstance(value, dict) and prefix != "labels." else {name: value}
    return flat
