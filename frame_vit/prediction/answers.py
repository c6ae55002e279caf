"""A model's answers for pictures, in every view of the declared symmetries or in as many as a picture needs.

The logits of a view are put back into the order that the classes have in the untouched picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from frame_vit.backends.backend import Backend
from frame_vit.decision.rates import Logits
from frame_vit.decision.settling import settled
from frame_vit.errors import ModelError
from frame_vit.images.geometry import View
from frame_vit.images.pixel_array import Float32, UInt8
from frame_vit.images.preprocessing import in_view

Views: TypeAlias = Sequence[tuple[View, tuple[int, ...]]]
"""Views, the untouched picture first, and for each class the one that a picture of it shows in that view."""


class Answers(NamedTuple):
    """The answers for N pictures: logits (N, views, C) float32, the untouched picture's view first; embeddings (N, D).

    Of a picture that its untouched view settled, all views have the logits of that one, so that their mean is the same.
    The embeddings are those of the untouched pictures; None where the backend does not give them.
    """

    logits: Logits
    embedding: Float32 | None

    @property
    def averaged(self) -> Logits:
        """(N, C): the mean over the views."""
        return np.asarray(self.logits.mean(axis=1))

    @property
    def single(self) -> Logits:
        """(N, C): of the untouched pictures alone."""
        return self.logits[:, 0]


def ask(backend: Backend, pixels: UInt8, views: Views, limit: float | None, batch_size: int) -> Answers:
    """The answers for one batch of pictures (N, height, width, 3) uint8.

    All are asked in their untouched view, and those with less doubt than the `limit` in no other one.
    Raises `ModelError` where a logit is not a finite number.
    """
    first, embedding = backend.run(pixels)
    logits = np.repeat(first[:, None, list(views[0][1])], len(views), axis=1)
    _check(backend, logits)
    rest = np.flatnonzero(~settled(logits[:, 0], limit))
    if limit is None:
        for number, (view, classes) in enumerate(views[1:], start=1):
            # A picture of class i shows classes[i] in this view, so that column holds the view's logit for class i.
            logits[:, number] = backend.run(in_view(pixels, view)).logits[:, list(classes)]
    elif len(rest):
        # Few are left of a batch: their views together fill another one.
        turned = np.concatenate([in_view(pixels[rest], view) for view, _ in views[1:]])
        found = [backend.run(turned[at : at + batch_size]).logits for at in range(0, len(turned), batch_size)]
        by_view = np.concatenate(found).reshape(len(views) - 1, len(rest), -1)
        for number, (_, classes) in enumerate(views[1:], start=1):
            logits[rest, number] = by_view[number - 1][:, list(classes)]
    _check(backend, logits)
    return Answers(logits, embedding)


def joined(batches: Sequence[Answers]) -> Answers:
    """The answers of several batches as one."""
    vectors = [batch.embedding for batch in batches if batch.embedding is not None]
    return Answers(np.concatenate([batch.logits for batch in batches]), np.concatenate(vectors) if vectors else None)


def _check(backend: Backend, logits: Logits) -> None:
    if not np.isfinite(logits).all():
        # argmax over NaNs gives the first class, which is usually the good one: every part would be accepted.
        raise ModelError(
            f"the model answers with numbers that are not finite, in {backend.precision}",
            "Try --precision fp32; if that does not help, the weights are broken",
        )
