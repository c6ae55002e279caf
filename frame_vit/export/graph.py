"""A classifier's graph as one ONNX file, drawn by torch's exporter, with the model's metadata inside.

The outputs are the logits and, if the head's input is one vector a picture, that embedding. The batch size is free.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from frame_vit.backends.backend import FP32, INPUT, METADATA_KEYS, OUTPUTS
from frame_vit.backends.torch_backend import HeadInput, eager_attention
from frame_vit.decision.novelty import packed
from frame_vit.errors import ModelError
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.system.progress import Tick, log, silent

MOST_BYTES = 1_900_000_000
"""A protobuf file holds at most 2 GB, and framevit writes no weights beside the ONNX file."""


def write_onnx(classifier: Classifier, path: Path, tick: Tick = silent) -> int:
    """Writes the graph with its metadata as one file, and returns the ONNX opset that it uses.

    Raises `ModelError` for a model that is too large, or that torch cannot export.
    """
    size = sum(p.numel() * p.element_size() for p in classifier.module.parameters())
    if size > MOST_BYTES:
        raise ModelError(
            f"the weights have {size / 1e9:.1f} GB, and a single ONNX file cannot have more than 2 GB",
            "Models up to ViT-L (1.2 GB) can be exported",
        )
    preprocessing = classifier.metadata.preprocessing
    graph = _Graph(classifier.module).eval()
    example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    output_names = list(OUTPUTS[: 2 if graph.has_embedding(example) else 1])
    log.info("drawing the graph")
    # Eager attention has no branch for rows that are masked entirely, which takes a tenth of the time in int8.
    with warnings.catch_warnings(), eager_attention(classifier.module):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=output_names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"torch cannot export {type(classifier.module).__name__}: {reason}") from None
    assert program is not None
    _make_names_unique(program.model.graph)
    _forget_origin(program.model.graph)
    program.model.metadata_props.update(metadata_texts(classifier.metadata, FP32))
    program.save(path, external_data=False)
    return int(program.model.opset_imports[""])


def _make_names_unique(graph: Any) -> None:
    """Renames values inside a graph (of onnx_ir) that have the name of another one.

    torch's exporter gives the outputs the names that it is asked for, even where a value inside has one of them: what
    CLIP and SigLIP look up in their table of positions is a constant that is called `embedding`.
    """
    interface = [*graph.inputs, *graph.outputs]
    taken = {value.name for value in interface}
    kept = {id(value) for value in interface}
    inside = [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in [value for value in inside if id(value) not in kept]:
        name, number = value.name, 0
        while value.name in taken:
            number += 1
            value.name = f"{name}_{number}"
        taken.add(value.name)


def _forget_origin(graph: Any) -> None:
    """Removes the traces of source files from a graph: they name folders of this machine, and the file travels."""
    for node in graph:
        for part in (node, *node.outputs):
            part.metadata_props.clear()
            part.doc_string = None


class _Graph(torch.nn.Module):
    """The exported function: (N, 3, H, W) float32 -> logits (N, classes) and, if there is one, embedding (N, D)."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.head_input = HeadInput(module)

    def has_embedding(self, example: torch.Tensor) -> bool:
        with torch.inference_mode():
            return len(self(example)) > 1

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = self.module(pixel_values=pixel_values).logits
        embedding, self.head_input.last = self.head_input.last, None
        return (logits,) if embedding is None else (logits, embedding)


def metadata_texts(metadata: ModelMetadata, variant: str) -> dict[str, str]:
    """The texts that an exported file of this variant (fp32, int8) carries."""
    embeddings = metadata.novelty.embeddings if metadata.novelty else None
    texts = json.dumps(metadata.to_json()), packed(embeddings) if embeddings is not None else "", variant
    return dict(zip(METADATA_KEYS, texts, strict=True))
