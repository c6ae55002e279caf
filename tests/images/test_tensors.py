"""Views, shifts and normalisation of tensors, against their numpy counterparts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frame_vit.images.geometry import GENERATORS
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.images.preprocessing import normalise as normalise_numpy
from frame_vit.images.tensors import in_view, normalise, normalise_, shifted


def pictures(count: int) -> torch.Tensor:
    """(N, 3, 8, 10) uint8 of random values."""
    values = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 10), dtype=np.uint8)
    return torch.from_numpy(values)


def test_a_shift_repeats_the_edge() -> None:
    picture = torch.arange(6).reshape(1, 1, 2, 3)
    assert shifted(picture, torch.tensor([[1, 0]]))[0, 0].tolist() == [[0, 0, 1], [3, 3, 4]]
    assert shifted(picture, torch.tensor([[0, -1]]))[0, 0].tolist() == [[3, 4, 5], [3, 4, 5]]


@pytest.mark.parametrize("key", sorted(GENERATORS))
def test_views_of_tensors_are_those_of_arrays(key: str) -> None:
    view, picture = GENERATORS[key], np.arange(12).reshape(3, 4)
    expected = np.rot90(picture, view.turns)
    expected = expected[:, ::-1] if view.mirror else expected
    assert np.array_equal(in_view(torch.from_numpy(picture), view).numpy(), expected)


def test_normalises_as_the_numpy_version_does() -> None:
    pixels = pictures(4)
    preprocessing = Preprocessing(8, 10, (0.5, 0.4, 0.3), (0.5, 0.3, 0.2))
    ours = normalise_numpy(pixels.permute(0, 2, 3, 1).numpy(), preprocessing)
    assert np.allclose(normalise(pixels, preprocessing).numpy(), ours, atol=1e-5)


def test_in_place_the_given_tensor_is_the_result_and_otherwise_it_is_untouched() -> None:
    preprocessing = Preprocessing(8, 10, (0.5, 0.4, 0.3), (0.5, 0.3, 0.2))
    pixels = pictures(2).float()
    before = pixels.clone()
    expected = normalise(pixels, preprocessing)
    assert torch.equal(pixels, before)
    assert normalise_(pixels, preprocessing).data_ptr() == pixels.data_ptr()
    assert torch.equal(pixels, expected)


def test_every_picture_of_a_batch_has_its_own_shift() -> None:
    pixels = pictures(3)
    moved = shifted(pixels, torch.tensor([[0, 0], [2, 0], [0, -3]]))
    assert torch.equal(moved[0], pixels[0])
    assert torch.equal(moved[1, :, :, 2:], pixels[1, :, :, :-2])
    assert torch.equal(moved[2, :, :-3], pixels[2, :, 3:])
