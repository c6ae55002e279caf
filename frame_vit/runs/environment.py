"""environment.json: the versions, device, precision, data and commit that a run was made with.

It lets a person repeat a run, and `runs.data` know whether a split is still that of the training. Reports carry a short
form of it (`run_facts`). The keys are read by older and newer versions of framevit, so they only grow.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

from frame_vit import __version__
from frame_vit.config.schema import TrainingConfig
from frame_vit.data.dataset import Dataset
from frame_vit.system.devices import describe, resolve_device, resolve_precision


def run_facts(model: str, prepared: Dataset, split: str) -> dict[str, str]:
    """Where a report's numbers come from: model, package versions, data source, fingerprint of the split."""
    facts = {
        "data": prepared.source_of(split),
        "fingerprint of the split": prepared.split_fingerprint(split),
    }
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "numpy"))
    return {"model": model, "packages": packages} | facts


def environment_facts(prepared: Dataset, training: TrainingConfig, revision: str, processes: int) -> dict[str, Any]:
    """The content of environment.json. `revision` is the hub's commit of the model, `processes` how many train it."""
    packages = ("torch", "transformers", "datasets", "accelerate", "torchvision", "numpy", "pillow")
    device = resolve_device(training.device)
    return {
        "framevit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "device": describe(device),
        "precision": resolve_precision(training.precision, device),
        "processes": processes,
        "model_revision": revision,
        "data": {
            "fingerprint": prepared.fingerprint,
            "splits": {name: prepared.split_fingerprint(name) for name in prepared.splits},
            "sources": {role: origin.to_json() for role, origin in prepared.sources.items()},
            "skipped": len(prepared.rejects),
        },
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
