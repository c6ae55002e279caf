"""Attention maps: shares of a whole, for the requested class, turned back with each view of test-time augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import ConvNextConfig, ConvNextForImageClassification

from frame_vit.backends.torch_backend import Torch
from frame_vit.errors import ModelError
from frame_vit.explanation.attention import _accumulated, _back_from_view, _patch_shares, cover, maps
from frame_vit.images.preprocessing import Preprocessing, in_view, placed
from frame_vit.labels import LabelSpace
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import ModelMetadata
from frame_vit.prediction.predictor import Predictor
from tests.explanation.frames import NAMES, PLAIN, SIDE, SPACE, noise, predictor


def test_a_map_is_shares_of_the_whole_and_leaves_the_model_as_it_was() -> None:
    model = predictor(PLAIN)
    before = model.logits(noise(3))
    found = maps(model, noise(3), np.array([0, 1, 2]))
    for values in found:
        assert values.shape == (3, 4, 4)
        assert values.min() >= 0
        assert values.sum(axis=(1, 2)) == pytest.approx(1, abs=1e-5)
    assert np.abs(found.rollout - found.relevance).max() > 1e-3
    assert np.array_equal(model.logits(noise(3)), before)


def test_the_map_speaks_of_the_class_that_is_asked_for() -> None:
    one, other = (maps(predictor(PLAIN), noise(1), np.array([c])) for c in (0, 1))
    assert np.array_equal(one.rollout, other.rollout)
    assert np.abs(one.relevance - other.relevance).max() > 1e-3


def test_the_map_of_a_mirrored_picture_for_the_mirrored_class_is_the_mirrored_map() -> None:
    """Were a view not turned back, or the class not moved along, the two would differ."""
    model = predictor(SPACE)
    straight = maps(model, noise(2), np.array([1, 0]))
    mirrored = maps(model, noise(2)[:, :, ::-1], np.array([2, 0]))
    for one, other in zip(straight, mirrored, strict=True):
        assert one == pytest.approx(other[:, :, ::-1], abs=1e-6)
    alone = maps(predictor(SPACE, tta=False), noise(2), np.array([1, 0]))
    assert np.abs(alone.relevance - straight.relevance).max() > 1e-4


def test_a_model_without_a_class_token_is_refused() -> None:
    module = ConvNextForImageClassification(
        ConvNextConfig(num_stages=2, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
    )
    model = Predictor(Torch(Classifier(module, ModelMetadata(PLAIN, Preprocessing(SIDE, SIDE))), "cpu", "fp32"))
    with pytest.raises(ModelError, match=r"ConvNext"):
        maps(model, noise(1), np.array([0]))


corners = st.tuples(*[st.floats(-5, 70, width=32)] * 4)


@given(corners, st.sampled_from([(4, 4), (2, 8), (7, 3)]))
def test_the_cover_of_all_cells_is_the_area_of_the_box(found: tuple[float, ...], grid: tuple[int, int]) -> None:
    (x1, x2), (y1, y2) = sorted(found[:2]), sorted(found[2:])
    covered = cover((x1, y1, x2, y2), (64, 64), Preprocessing(SIDE, SIDE), grid)
    inside = [max(0.0, min(64, b) - max(0, a)) for a, b in ((x1, x2), (y1, y2))]
    assert covered.mean() == pytest.approx(inside[0] * inside[1] / 64**2, abs=1e-5)
    assert covered.max() <= 1 + 1e-6


def test_a_map_is_turned_back_from_every_view() -> None:
    """`in_view` then `_back_from_view` is nothing, for all eight views."""
    quarter = {"passed": "passed"}
    space = LabelSpace.build(NAMES, [], {"hflip": {}, "rot90": quarter})
    values = np.random.default_rng(0).random((2, 4, 4)).astype(np.float32)
    seen = []
    for view, _ in space.group():
        moved = in_view(values[..., None], view)[..., 0]
        seen.append(moved.tobytes())
        assert np.array_equal(_back_from_view(moved, view), values)
    assert len(set(seen)) == 8


def test_rollout_of_one_block_is_half_attention_half_residual() -> None:
    """By hand, for a class token and one patch: heads averaged, the identity added, rows scaled to 1."""
    attention = torch.tensor([[[[0.2, 0.8], [0.5, 0.5]], [[0.6, 0.4], [0.1, 0.9]]]])  # (1, 2 heads, 2, 2)
    gradient = torch.tensor([[[[1.0, -2.0], [0.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]]])
    rollout, relevance = _accumulated([attention], [gradient])
    assert rollout[0].numpy() == pytest.approx(np.array([[0.7, 0.3], [0.15, 0.85]]))
    weighted = (abs(0.8 * -2) + 0.4 * 3) / 2
    assert relevance[0].numpy() == pytest.approx(np.array([[1 + 0.1, weighted], [0, 1]]))


def test_two_blocks_are_multiplied_in_their_order() -> None:
    """The class token takes from the patch in the second block only, what the patch took from it in the first."""
    first = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    second = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    rollout, _ = _accumulated([first, second], [first, second])
    assert rollout[0, 0].tolist() == pytest.approx([0.75, 0.25])
    rollout, _ = _accumulated([second, first], [second, first])
    assert rollout[0, 0].tolist() == pytest.approx([0.5, 0.5])


def test_patches_follow_the_class_token_and_further_tokens() -> None:
    tokens = torch.zeros(2, 8, 8)  # class token, one register token, 2 x 3 patches
    tokens[0, 0] = torch.tensor([9.0, 9.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0])
    reads = torch.zeros(2, 8, 5)
    reads[:, 0] = 1  # the head reads the class token
    shares = _patch_shares(tokens, reads, (2, 3))
    assert shares[0].tolist() == [[0.0, 0.25, 0.0], [0.0, 0.0, 0.75]]
    assert shares[1] == pytest.approx(np.full((2, 3), 1 / 6)), "even where nothing matters"


def test_the_tokens_that_the_head_reads_count_as_much_as_it_reads_them() -> None:
    tokens = torch.eye(5)[None]  # class token, 2 x 2 patches; each token has taken from itself only
    reads = torch.zeros(1, 5, 2)
    reads[0, 2], reads[0, 4] = torch.tensor([3.0, 4.0]), torch.tensor([0.0, -15.0])
    assert _patch_shares(tokens, reads, (2, 2))[0].tolist() == [[0.0, 0.25], [0.0, 0.75]]


def test_a_box_is_placed_through_region_and_cut() -> None:
    assert placed((10, 20, 30, 40), (100, 80), Preprocessing(40, 50)) == (5, 10, 15, 20)
    region = Preprocessing(40, 40, roi=(0.5, 0.0, 1.0, 1.0))
    assert placed((60, 20, 90, 40), (100, 80), region) == (8, 10, 32, 20)
    cut = Preprocessing(32, 32, resize=(40, 40))
    assert placed((0, 0, 100, 80), (100, 80), cut) == (-4, -4, 36, 36)
