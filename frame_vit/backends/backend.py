"""What every backend can do (`Backend`), and what each declares about itself (`BackendInfo`).

A backend is a file of this folder with one `BackendInfo` in it, and an entry in `availability.BACKENDS`. The choice of
a backend, the benchmark, the proof of an export, the error messages and the values of `--backend` all follow from these
declarations. The command line reads them for its help, so neither this module nor the file of a backend imports numpy
or a runtime before the backend is opened.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from frame_vit.errors import UsageError

if TYPE_CHECKING:
    from frame_vit.decision.rates import Logits
    from frame_vit.images.pixel_array import Float32, UInt8
    from frame_vit.model.metadata import ModelMetadata

INPUT, OUTPUTS = "pixel_values", ("logits", "embedding")
"""Names of an exported graph's input and outputs; a model without one embedding a picture has only the first output."""
METADATA_KEYS = ("framevit", "embeddings", "numbers")
"""Keys of an exported file's metadata: framevit.json, the packed embeddings of training pictures, fp32 or int8."""
ON_A_CARD, ON_A_CPU = 32, 8
"""Pictures in a batch that all cores of a card or a CPU share: larger ones no longer fit into the caches of a CPU."""
WEIGHTS, FP32, INT8 = "weights", "fp32", "int8"
"""The variants of a model: its weights (*.safetensors), the exported file, the quantised exported file."""


class BackendAnswer(NamedTuple):
    """What a backend computes for N pictures: logits (N, classes) and embeddings (N, D) or None, both float32."""

    logits: Logits
    embedding: Float32 | None


class Backend(Protocol):
    """An opened model. `name`, `device` and `precision` say what computes its answers, where and how exactly.

    `batch_size` is how many pictures it is best given together; `file` is the exported file that it runs, None where it
    has the weights themselves.
    """

    name: str
    device: str
    precision: str
    file: Path | None
    batch_size: int
    metadata: ModelMetadata

    def run(self, pixels: UInt8) -> BackendAnswer:
        """The answer for (N, height, width, 3) uint8; without embedding if the model has none."""


class ModelSource(NamedTuple):
    """What a backend is opened with: the model's name, the exported file if it is to read one, device and precision.

    `metadata` is the framevit.json beside an exported file: its thresholds replace those inside the file. Where
    pictures come `one_by_one`, all cores share a picture, so that it is answered soon; else each core computes its own.
    """

    model: str
    file: Path | None = None
    metadata: ModelMetadata | None = None
    device: str = "auto"
    precision: str = "auto"
    one_by_one: bool = True


class BackendInfo(NamedTuple):
    """What a backend declares about itself.

    `name` is its name on the command line, `title` the one in sentences. `library` is the module that must be
    importable, and `extra` the optional dependency of framevit that installs it (None: framevit itself depends on it).
    `precisions` maps each variant that it reads to the precisions that it computes it in. `devices` are device kinds.

    The ranks order the backends where nothing was measured on this machine, 0 first: `start_rank` by the time to the
    first answer, `cpu_rank` by the answers per second in fp32 on a CPU.
    """

    name: str
    title: str
    library: str
    extra: str | None
    precisions: Mapping[str, tuple[str, ...]]
    devices: tuple[str, ...]
    start_rank: int
    cpu_rank: int
    open: Callable[[ModelSource], Backend]

    @property
    def installed(self) -> bool:
        """Whether its library can be found; it is not imported for that."""
        return importlib.util.find_spec(self.library) is not None

    @property
    def install_command(self) -> str:
        return f"pip install 'framevit[{self.extra}]'" if self.extra else f"pip install {self.library}"

    @property
    def reads_weights(self) -> bool:
        return WEIGHTS in self.precisions

    @property
    def reads_files(self) -> bool:
        """Whether it runs exported files."""
        return any(variant != WEIGHTS for variant in self.precisions)

    def computes(self, precision: str, variant: str | None = None) -> bool:
        """Whether it computes in this precision: a variant that it reads or, for None, any of them."""
        variants = self.precisions if variant is None else [variant]
        return any(precision in ("auto", *self.precisions.get(v, ())) for v in variants)

    def runs_on(self, device: str) -> bool:
        return device == "auto" or device.partition(":")[0] in self.devices


def agreed_precision(requested: str, possible: tuple[str, ...], title: str) -> str:
    """The first possible precision for `auto`, else the requested one. Raises `UsageError` if that is not possible."""
    if requested == "auto":
        return possible[0]
    if requested not in possible:
        raise UsageError(
            f"precision {requested}: {title} computes this file in {' or '.join(possible)} on this machine",
            f"Use --precision auto, which is {possible[0]} here",
        )
    return requested


def one_line(error: Exception) -> str:
    """A runtime's message as one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
