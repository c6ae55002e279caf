"""Frozen blocks, computed once: their activations for every view of every picture, stored in half precision.

There are at most eight views, so nothing is lost: a training of many epochs needs as many passes through the frozen
part as there are views. Where a model can be cut is found by running it, and the cut is tested: both parts together
must give the whole model's logits on a probe. Knows nothing of the Trainer.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
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
from frame_vit.images.tensors import VIEWS_VERSION, in_view, normalise
from frame_vit.labels import LabelledView
from frame_vit.model.classifier import Classifier, blocks, head_module
from frame_vit.system.caches import ACTIVATIONS, building, new_entry
from frame_vit.system.devices import autocast
from frame_vit.system.files import check_room, size
from frame_vit.system.progress import Tick, log, silent, speed

ACTIVATIONS_VERSION = 1
"""Raise it with every change of which activations are stored, their order or their form: the cache is keyed by it."""
FEATURES, SEAL = "features.f16", "features.json"
Features = np.memmap[Any, np.dtype[np.float16]]


@dataclass(frozen=True)
class CutModel:
    """A model in two parts: the frozen `front`, up to the input of the module `border`, and the trained `tail`.

    `tail(pixel_values=front(pictures))["logits"]` are the whole model's logits; the tail shares its weights.
    """

    module: Any
    border: nn.Module
    tail: nn.Module

    def front(self, pixel_values: Tensor) -> Tensor:
        """(N, 3, H, W) -> activations at the border, (N, ...)."""

        def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            raise _BorderReached(arguments[0])

        handle = self.border.register_forward_pre_hook(stop)
        try:
            self.module(pixel_values=pixel_values)
        except _BorderReached as reached:
            return reached.activations
        finally:
            handle.remove()
        raise AssertionError("the border was not reached")


class _BorderReached(Exception):  # noqa: N818  (leaves a forward pass early)
    def __init__(self, activations: Tensor) -> None:
        super().__init__()
        self.activations = activations


def cut_model(classifier: Classifier, freeze: int | str) -> CutModel:
    """Cuts a model before its head (`backbone`) or after its first `freeze` blocks.

    Raises `UsageError` where it has too few blocks, `ModelError` where it cannot be cut there.
    """
    module = classifier.module
    if freeze == "backbone":
        border = head_module(module)
        parts = CutModel(module, border, _Head(border))
    else:
        path, layers = blocks(module)
        if not 1 <= int(freeze) < len(layers):
            raise UsageError(
                f"training.freeze: {freeze} of {len(layers)} blocks", "Freeze fewer blocks, or set it to backbone"
            )
        parts = CutModel(module, layers[int(freeze)], _tail(module, path, int(freeze)))
    _check_equivalence(parts, classifier.preprocessing)
    return parts


class _Head(nn.Module):
    """The head alone, called like a whole model."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(pixel_values)}


class _PassThrough(nn.Module):
    """Takes the place of what comes before the blocks: the tail's input already is the output of the frozen ones."""

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        # Models look up the type of their patch weights; not a submodule, or the weights would count as trained.
        object.__setattr__(self, "patch_embeddings", getattr(replaced, "patch_embeddings", None))

    def forward(self, pixel_values: Tensor, *_: Any, **__: Any) -> Tensor:
        return pixel_values


def _tail(module: Any, path: str, first: int) -> nn.Module:
    """A copy of the model that shares all weights, without what comes before the blocks and without the first ones."""
    tail = node = _shallow_copy(module)
    *parents, last = path.split(".")
    for parent in parents:
        _skip_before(node, parent)
        node._modules[parent] = _shallow_copy(node._modules[parent])
        node = node._modules[parent]
    _skip_before(node, last)
    kept = list(module.get_submodule(path))[first:]
    node._modules[last] = (
        nn.Sequential(*kept) if isinstance(node._modules[last], nn.Sequential) else nn.ModuleList(kept)
    )
    assert isinstance(tail, nn.Module)
    return tail


def _skip_before(node: Any, name: str) -> None:
    """Modules are registered in the order of computation: those before `name` have done their work already."""
    for earlier in itertools.takewhile(lambda other: other != name, list(node._modules)):
        node._modules[earlier] = _PassThrough(node._modules[earlier])


def _shallow_copy(module: Any) -> Any:
    """The same module with its own table of submodules, so that one can be replaced."""
    duplicate = copy.copy(module)
    duplicate._modules = dict(module._modules)
    return duplicate


@torch.inference_mode()
def _check_equivalence(parts: CutModel, preprocessing: Preprocessing) -> None:
    """Raises `ModelError` unless both parts together give the whole model's logits on random pictures."""
    parts.module.eval()
    parts.tail.eval()
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand(2, 3, preprocessing.height, preprocessing.width, generator=generator)
    probe = probe.to(next(parts.module.parameters()).device)
    with contextlib.suppress(AttributeError, TypeError, RuntimeError, ValueError, IndexError, AssertionError):
        whole = parts.module(pixel_values=probe).logits
        joined = parts.tail(pixel_values=parts.front(probe))["logits"]
        if torch.allclose(whole, joined, rtol=1e-4, atol=1e-4 * float(whole.abs().max())):
            return
    raise ModelError(
        f"training.freeze: {type(parts.module).__name__} cannot be cut there",
        "Use training.freeze backbone, or none",
    )


@dataclass(frozen=True)
class FrozenFeatures:
    """Computes and stores the activations of a frozen part: on a device, in a precision, under the folder `cache`."""

    parts: CutModel
    preprocessing: Preprocessing
    device: torch.device
    precision: str
    cache: Path

    def features(self, split: Split, views: Sequence[LabelledView], tick: Tick = silent) -> Features:
        """Activations at the border, (views, N, ...) float16, memory-mapped; computed once and kept in the cache."""
        place = self.cache / ACTIVATIONS / self._key(split, views) / "whole"
        with building(place.parent):
            shape = _sealed(place)
            if shape is None:
                shape = self._store(split, views, place, tick)
            else:
                log.info("%s: activations of the frozen blocks are read from %s", split.name, place)
        return np.memmap(place / FEATURES, np.float16, "r", shape=shape)

    def _store(self, split: Split, views: Sequence[LabelledView], place: Path, tick: Tick) -> tuple[int, ...]:
        digest, shape = hashlib.sha256(), (0,)
        with new_entry(place) as part:
            with (part / FEATURES).open("wb") as file:
                for activations in self._activations(split, views, tick):
                    if shape == (0,):
                        shape = (len(views), len(split), *activations.shape[1:])
                        _check_room(shape, place)
                    content = _half_precision(activations)
                    digest.update(content)
                    file.write(content)
            seal = {"shape": shape, "sha256": digest.hexdigest()}
            (part / SEAL).write_text(json.dumps(seal), encoding="utf-8")
        log.info("%s: activations of the frozen blocks are stored in %s", split.name, place)
        return shape

    def _activations(self, split: Split, views: Sequence[LabelledView], tick: Tick) -> Iterator[Tensor]:
        """(32 or fewer, ...) at a time: all pictures in the first view, then all in the next."""
        self.parts.module.to(self.device).eval()
        step, total, began = 32, len(views) * len(split), time.perf_counter()
        for number, (view, _) in enumerate(views):
            for start in range(0, len(split), step):
                batch = torch.from_numpy(split.pixels[start : start + step]).to(self.device).permute(0, 3, 1, 2)
                with torch.inference_mode(), autocast(self.device, self.precision):
                    yield self.parts.front(in_view(normalise(batch, self.preprocessing), view))
                done = number * len(split) + min(start + step, len(split))
                rate = done / (time.perf_counter() - began)
                tick(f"frozen blocks, {split.name}", done, total, f"view {view.name}, {speed(rate)}")

    def _key(self, split: Split, views: Sequence[LabelledView]) -> str:
        """Names everything that the activations depend on; weights above the border are not among them."""
        module = self.parts.module
        trained = {id(tensor) for tensor in self.parts.tail.state_dict(keep_vars=True).values()}
        digest = hashlib.sha256()
        for name, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in trained:
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().reshape(-1).numpy().data)
        for text in (
            f"{type(module).__name__} {type(self.parts.border).__name__} {module.config.to_json_string()}",
            json.dumps(self.preprocessing.to_json()),
            " ".join(view.name for view, _ in views),
            " ".join(example.digest for example in split.examples),
            f"{self.device.type} {self.precision} {torch.__version__} {transformers.__version__}",
            f"{decoder_version()} views {VIEWS_VERSION} activations {ACTIVATIONS_VERSION}",
        ):
            digest.update(text.encode())
        return digest.hexdigest()[:24]


def _half_precision(activations: Tensor) -> bytes:
    half = activations.half()
    if not torch.isfinite(half).all():
        raise ModelError(
            "activations of the frozen blocks are too large for half precision", "Use training.freeze none"
        )
    return half.cpu().contiguous().numpy().tobytes()


def _check_room(shape: tuple[int, ...], place: Path) -> None:
    needed = 2 * int(np.prod(shape, dtype=np.int64))
    log.info("activations of the frozen blocks take %s", size(needed))
    check_room(
        place,
        needed,
        "activations of the frozen blocks",
        "Set training.freeze to backbone, whose activations are small, or data.cache to another disk",
    )


def _sealed(place: Path) -> tuple[int, ...] | None:
    """The shape of stored activations that are intact; None where they are missing or damaged."""
    try:
        seal = json.loads((place / SEAL).read_text(encoding="utf-8"))
        with (place / FEATURES).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == seal["sha256"]
        return tuple(seal["shape"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
