"""Frozen blocks computed once: what reaches the border of the trained part, for every view, stored in half precision.

The symmetry group is finite, so nothing of it is lost: a training of many epochs needs as many passes through the
frozen part as there are views. Where a model can be cut is found by running it, and proven: the cut model must give
the whole model's logits on a probe. Knows nothing of the Trainer.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from frame_vit.data.cache import decoder_version
from frame_vit.data.examples import Split
from frame_vit.errors import ModelError, UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.tensors import VIEWS_VERSION, normalise, viewed
from frame_vit.labels import LabelledView
from frame_vit.model.classifier import Classifier, blocks, head_module
from frame_vit.system.caches import building, new_entry
from frame_vit.system.devices import autocast
from frame_vit.system.files import check_room, size
from frame_vit.system.progress import Tick, log, silent, speed

FEATURES, SEAL = "features.f16", "features.json"
Features = np.memmap[Any, np.dtype[np.float16]]


@dataclass(frozen=True)
class Cut:
    """A model cut at a border: `front(pixel_values)` reaches it, `tail(pixel_values=front)["logits"]` goes on."""

    module: Any
    border: nn.Module
    tail: nn.Module

    def front(self, pixel_values: Tensor) -> Tensor:
        """(N, 3, H, W) -> what arrives at the border, (N, ...)."""

        def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise _Reached(arguments[0])

        handle = self.border.register_forward_pre_hook(stop)
        try:
            self.module(pixel_values=pixel_values)
        except _Reached as reached:
            return reached.value
        finally:
            handle.remove()
        raise AssertionError("the border was not reached")


class _Reached(Exception):  # noqa: N818  (a way out of a forward pass)
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def cut(classifier: Classifier, freeze: int | str) -> Cut:
    """Cuts before the head (`backbone`) or after the first `freeze` blocks; the trained part shares its weights.

    Raises `UsageError` where there are not so many blocks, `ModelError` where the model can't be cut there.
    """
    module = classifier.module
    if freeze == "backbone":
        border = head_module(module)
        found = Cut(module, border, _Head(border))
    else:
        path, layers = blocks(module)
        if not 1 <= int(freeze) < len(layers):
            raise UsageError(f"training.freeze: {freeze} of {len(layers)} blocks", "Fewer, or backbone")
        found = Cut(module, layers[int(freeze)], _tail(module, path, int(freeze)))
    _prove(found, classifier.preprocessing)
    return found


class _Head(nn.Module):
    """The head alone, with the interface of a whole model."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(pixel_values)}


class _Given(nn.Module):
    """Stands where the embeddings stood: what is given as pixels is already what comes out of the frozen blocks."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        # Models look up the type of their patch weights; not a submodule, or the weights would count as trained.
        object.__setattr__(self, "patch_embeddings", getattr(embeddings, "patch_embeddings", None))

    def forward(self, pixel_values: Tensor, **_: Any) -> Tensor:
        return pixel_values


def _tail(module: Any, path: str, first: int) -> nn.Module:
    """A copy of the model's frame, sharing all weights, without the embeddings and the first blocks."""
    base = module.base_model_prefix
    twin = _shallow(module)
    places: dict[str, nn.Module] = {path: nn.ModuleList(list(module.get_submodule(path))[first:])}
    places[f"{base}.embeddings"] = _Given(module.get_submodule(f"{base}.embeddings"))
    for place, replacement in places.items():
        *parents, last = place.split(".")
        node = twin
        for parent in parents:
            if node._modules[parent] is module.get_submodule(".".join(parents[: parents.index(parent) + 1])):
                node._modules[parent] = _shallow(node._modules[parent])
            node = node._modules[parent]
        node._modules[last] = replacement
    assert isinstance(twin, nn.Module)
    return twin


def _shallow(module: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


@torch.inference_mode()
def _prove(found: Cut, preprocessing: Preprocessing) -> None:
    """The parts together must answer as the whole does."""
    found.module.eval()
    found.tail.eval()
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand(2, 3, preprocessing.height, preprocessing.width, generator=generator)
    with contextlib.suppress(AttributeError, TypeError, RuntimeError, ValueError, IndexError, AssertionError):
        whole = found.module(pixel_values=probe).logits
        parts = found.tail(pixel_values=found.front(probe))["logits"]
        if torch.allclose(whole, parts, rtol=1e-4, atol=1e-4 * float(whole.abs().max())):
            return
    raise ModelError(
        f"training.freeze: {type(found.module).__name__} can't be cut there",
        "Use training.freeze backbone, or none",
    )


@dataclass(frozen=True)
class FrozenFeatures:
    """The frozen part of a cut model at work: on a device, in a precision, with a place to keep its answers."""

    cut: Cut
    preprocessing: Preprocessing
    device: torch.device
    precision: str
    cache: Path

    def features(self, split: Split, views: Sequence[LabelledView], tick: Tick = silent) -> Features:
        """What arrives at the border, (views, N, ...) float16 memory-mapped; computed once and kept in the cache."""
        place = self.cache / "activations" / self._key(split, views) / "whole"
        with building(place.parent):
            shape = _sealed(place)
            if shape is None:
                shape = self._keep(split, views, place, tick)
            else:
                log.info("%s: what the frozen blocks answer is taken from %s", split.name, place)
        return np.memmap(place / FEATURES, np.float16, "r", shape=shape)

    def _keep(self, split: Split, views: Sequence[LabelledView], place: Path, tick: Tick) -> tuple[int, ...]:
        digest, shape = hashlib.sha256(), (0,)
        with new_entry(place) as part:
            with (part / FEATURES).open("wb") as file:
                for answer in self._answers(split, views, tick):
                    if shape == (0,):
                        shape = (len(views), len(split), *answer.shape[1:])
                        _check_room(shape, place)
                    content = _half(answer)
                    digest.update(content)
                    file.write(content)
            seal = {"shape": shape, "sha256": digest.hexdigest()}
            (part / SEAL).write_text(json.dumps(seal), encoding="utf-8")
        log.info("%s: what the frozen blocks answer is kept in %s", split.name, place)
        return shape

    def _answers(self, split: Split, views: Sequence[LabelledView], tick: Tick) -> Iterator[Tensor]:
        self.cut.module.to(self.device).eval()
        step, total, began = 32, len(views) * len(split), time.perf_counter()
        for number, (view, _) in enumerate(views):
            for start in range(0, len(split), step):
                batch = torch.from_numpy(split.pixels[start : start + step]).to(self.device).permute(0, 3, 1, 2)
                with torch.inference_mode(), autocast(self.device, self.precision):
                    yield self.cut.front(viewed(normalise(batch, self.preprocessing), view))
                done = number * len(split) + min(start + step, len(split))
                rate = done / (time.perf_counter() - began)
                tick(f"frozen blocks, {split.name}", done, total, f"view {view.name}, {speed(rate)}")

    def _key(self, split: Split, views: Sequence[LabelledView]) -> str:
        module = self.cut.module
        trained = {id(tensor) for tensor in self.cut.tail.state_dict(keep_vars=True).values()}
        digest = hashlib.sha256()
        for name, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in trained:
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().reshape(-1).numpy().data)
        for text in (
            f"{type(module).__name__} {type(self.cut.border).__name__} {module.config.to_json_string()}",
            json.dumps(self.preprocessing.to_json()),
            " ".join(view.name for view, _ in views),
            " ".join(example.digest for example in split.examples),
            f"{self.device.type} {self.precision} {torch.__version__} {transformers.__version__}",
            f"{decoder_version()} views {VIEWS_VERSION}",
        ):
            digest.update(text.encode())
        return digest.hexdigest()[:24]


def _half(answer: Tensor) -> bytes:
    half = answer.half()
    if not torch.isfinite(half).all():
        raise ModelError("what the frozen blocks answer does not fit half precision", "Use training.freeze none")
    return half.cpu().contiguous().numpy().tobytes()


def _check_room(shape: tuple[int, ...], place: Path) -> None:
    needed = 2 * int(np.prod(shape, dtype=np.int64))
    log.info("the frozen blocks' answers take %s", size(needed))
    check_room(
        place, needed, "what the frozen blocks answer", "Freeze backbone: its answers are small; or set data.cache"
    )


def _sealed(place: Path) -> tuple[int, ...] | None:
    """The shape of features that are as they were written; None where they are not."""
    try:
        seal = json.loads((place / SEAL).read_text(encoding="utf-8"))
        with (place / FEATURES).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == seal["sha256"]
        return tuple(seal["shape"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
