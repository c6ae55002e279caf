"""What computes a model's answers: one protocol; here the peers that run an exported file, without torch.

ONNX Runtime and OpenVINO read the same `model.onnx`, in which the model's settings are embedded. The peer that needs
the weights and torch is in `torch_backend`.
"""

from __future__ import annotations

from typing import Protocol

from frame_vit.decision.rates import Logits
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.model.metadata import ModelMetadata

INPUT, OUTPUTS = "pixel_values", ("logits", "embedding")
METADATA_KEYS = ("framevit", "embeddings", "numbers")
"""What an exported file carries: its settings as JSON, the packed embeddings, and fp32 or int8."""


class Backend(Protocol):
    """Answers for batches. `name`, `device` and `precision` say who answers, where, and in which numbers."""

    name: str
    device: str
    precision: str
    metadata: ModelMetadata

    def run(self, pixels: UInt8) -> tuple[Logits, Float32 | None]:
        """(N, height, width, 3) uint8 -> logits (N, C) float32, and what the head was given (N, D), if known."""
