"""environment.json: the versions, device, precision, data and commit that a run was made with.

It lets a person repeat a run, and `runs.data` know whether a split is still that of the training. Reports carry a short
form of it (`RunFacts`). The keys are read by older and newer versions of framevit, so they only grow.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from frame_vit import __version__
from frame_vit.config.schema import TrainingConfig
from frame_vit.data.dataset import Dataset, Origin
from frame_vit.system.devices import describe, resolve_device, resolve_precision

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "torchvision", "numpy", "pillow")
"""The packages whose versions environment.json records."""
REPORTED_PACKAGES = ("torch", "transformers", "numpy")
"""Those whose versions stand in a report."""


@dataclass(frozen=True)
class RunFacts:
    """Where a report's numbers come from: model, package versions, data source, fingerprint of the split."""

    model: str
    packages: str
    data: str
    fingerprint: str

    @classmethod
    def of(cls, model: str, dataset: Dataset, split: str) -> RunFacts:
        packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in REPORTED_PACKAGES)
        return cls(model, packages, dataset.source_of(split), dataset.split_fingerprint(split))

    def to_json(self) -> dict[str, str]:
        """The facts as a report names them."""
        return {
            "model": self.model,
            "packages": self.packages,
            "data": self.data,
            "fingerprint of the split": self.fingerprint,
        }


@dataclass(frozen=True)
class DataFacts:
    """The data of a run: fingerprints of the data set and of each split, the sources by role, the skipped rows.

    `trained_on` has the short digest of every picture of train, by which a later evaluation finds them in other data.
    """

    fingerprint: str
    splits: dict[str, str]
    sources: dict[str, Origin]
    skipped: int
    trained_on: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> DataFacts:
        return cls(
            fingerprint=dataset.fingerprint,
            splits={name: dataset.split_fingerprint(name) for name in dataset.splits},
            sources=dataset.sources,
            skipped=len(dataset.rejects),
            trained_on=" ".join(sorted({short_digest(e.digest) for e in dataset.splits["train"].examples})),
        )

    def to_json(self) -> dict[str, Any]:
        sources = {role: origin.to_json() for role, origin in self.sources.items()}
        return {
            "fingerprint": self.fingerprint,
            "splits": self.splits,
            "sources": sources,
            "skipped": self.skipped,
            "trained_on": self.trained_on,
        }


@dataclass(frozen=True)
class Environment:
    """What a run was made with. `processes` train it; `model_revision` is the hub's commit of the pretrained model.

    `packages` maps each of `PACKAGES` to its version. `git_commit` is that of the working folder, None outside of a
    repository; `command` is the command line.
    """

    framevit: str
    python: str
    platform: str
    packages: dict[str, str]
    device: str
    precision: str
    processes: int
    model_revision: str
    data: DataFacts
    git_commit: str | None
    command: list[str]

    @classmethod
    def of(cls, dataset: Dataset, training: TrainingConfig, revision: str, processes: int) -> Environment:
        """The environment of a training on this data that starts now, in this process."""
        device = resolve_device(training.device)
        return cls(
            framevit=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            packages={name: importlib.metadata.version(name) for name in PACKAGES},
            device=describe(device),
            precision=resolve_precision(training.precision, device),
            processes=processes,
            model_revision=revision,
            data=DataFacts.of(dataset),
            git_commit=_git_commit(),
            command=sys.argv,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of environment.json, except for the run's identity."""
        return {
            "framevit": self.framevit,
            "python": self.python,
            "platform": self.platform,
            "packages": self.packages,
            "device": self.device,
            "precision": self.precision,
            "processes": self.processes,
            "model_revision": self.model_revision,
            "data": self.data.to_json(),
            "git_commit": self.git_commit,
            "command": self.command,
        }


def short_digest(digest: str) -> str:
    """The first 64 bits of a sha256: enough to know a picture again among millions."""
    return digest[:16]


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
