"""A trained model as one ONNX file for a PC without torch, proven against torch on real pictures before it is kept.

torch's own exporter draws the graph; settings, embeddings and what the numbers are go into the file's metadata. int8 is
ONNX Runtime's quantisation: static, calibrated on training pictures, where that answers alike, else dynamic.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from frame_vit.backends.backend import INPUT, METADATA_KEYS, OUTPUTS
from frame_vit.backends.torch_backend import Given, written_out
from frame_vit.decision.novelty import packed
from frame_vit.errors import ModelError
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.system.progress import Tick, log, silent

MOST_BYTES = 1_900_000_000
"""A protobuf file cannot be larger than 2 GB, and weights in files of their own are not written."""


def write_onnx(classifier: Classifier, path: Path, tick: Tick = silent) -> int:
    """The graph with its metadata as one file; the opset it is written in."""
    size = sum(p.numel() * p.element_size() for p in classifier.module.parameters())
    if size > MOST_BYTES:
        raise ModelError(
            f"the weights have {size / 1e9:.1f} GB, and a single ONNX file cannot have more than 2 GB",
            "Models up to ViT-L (1.2 GB) can be exported",
        )
    preprocessing = classifier.metadata.preprocessing
    graph = _Graph(classifier.module).eval()
    example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    names = list(OUTPUTS[: 2 if graph.embeds(example) else 1])
    log.info("drawing the graph")
    # Written out, attention has no tests for rows that are masked whole: a tenth of the time in int8.
    with warnings.catch_warnings(), written_out(classifier.module):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            what = " ".join(str(error).split())[:300]
            raise ModelError(f"{type(classifier.module).__name__} cannot be exported by torch: {what}") from None
    assert program is not None
    program.model.metadata_props.update(metadata_texts(classifier.metadata, "fp32"))
    program.save(path, external_data=False)
    return int(program.model.opset_imports[""])


class _Graph(torch.nn.Module):
    """What is exported: logits and, where the head is given one vector a picture, that."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.given = Given(module)

    def embeds(self, example: torch.Tensor) -> bool:
        with torch.inference_mode():
            return len(self(example)) > 1

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = self.module(pixel_values=pixel_values).logits
        embedding, self.given.last = self.given.last, None
        return (logits,) if embedding is None else (logits, embedding)


def metadata_texts(metadata: ModelMetadata, numbers: str) -> dict[str, str]:
    embeddings = metadata.novelty.embeddings if metadata.novelty else None
    texts = json.dumps(metadata.to_json()), packed(embeddings) if embeddings is not None else "", numbers
    return dict(zip(METADATA_KEYS, texts, strict=True))
