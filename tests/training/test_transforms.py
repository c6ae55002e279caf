"""Augmentation: one draw moves pixels, labels and boxes; draws are a pure function of seed, step and row."""

from __future__ import annotations

import numpy as np
import torch

from frame_vit.data import demo
from frame_vit.labels import LabelSpace
from frame_vit.training.transforms import Augmentation, uniform

QUARTER = {"Xplus": "Yminus", "Yminus": "Xminus", "Xminus": "Yplus", "Yplus": "Xplus"}
SPACE = LabelSpace.build(demo.NAMES, ["passed"], {**demo.SYMMETRIES, "rot90": QUARTER})
ROWS = torch.arange(64)


def frames(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, H, W) uint8 drawn frames, cut square, and their labels."""
    drawn = [demo.sample(demo.NAMES[i % 5], i) for i in range(count)]
    cut = (demo.WIDTH - demo.HEIGHT) // 2
    pixels = np.stack([demo.draw(frame)[:, cut:-cut] for frame in drawn])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor([SPACE.id(frame.label) for frame in drawn])


def marked(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Black pictures with a white rectangle where the box is."""
    pictures = torch.zeros(len(boxes), 3, side, side, dtype=torch.uint8)
    for picture, (x1, y1, x2, y2) in zip(pictures, boxes.int().tolist(), strict=True):
        picture[:, y1:y2, x1:x2] = 255
    return pictures


def test_pixels_labels_and_boxes_move_by_the_same_draw() -> None:
    side = 40
    boxes = torch.tensor([[12.0, 14.0, 20.0, 17.0]]).repeat(64, 1)
    augment = Augmentation(SPACE.group(), shift=0.2, seed=3)
    draws = augment.draw(ROWS, 5, side)
    pictures = augment.pixels(marked(boxes, side), draws)
    assert torch.equal(pictures, marked(augment.boxes(boxes, draws, side, side), side).float())
    assert len({tuple(box) for box in augment.boxes(boxes, draws, side, side).tolist()}) > 20
    labels = augment.labels(torch.full((64,), SPACE.id("Xplus")), draws)
    for view, label in zip(draws.view.tolist(), labels.tolist(), strict=True):
        assert label == augment.views[view].classes[SPACE.id("Xplus")]


def test_a_flipped_drawn_frame_gets_the_label_of_the_frame_it_shows() -> None:
    augment = Augmentation(SPACE.group(["hflip", "vflip"]), seed=1)
    drawn = [demo.sample(demo.NAMES[i % 5], i) for i in range(64)]
    pixels = torch.from_numpy(np.stack([demo.draw(frame) for frame in drawn])).permute(0, 3, 1, 2)
    draws = augment.draw(ROWS, 0, demo.WIDTH)
    labels = augment.labels(torch.tensor([SPACE.id(frame.label) for frame in drawn]), draws)
    moved = augment.pixels(pixels, draws).byte().permute(0, 2, 3, 1).numpy()
    for frame, view, picture, label in zip(drawn, draws.view.tolist(), moved, labels.tolist(), strict=True):
        seen = frame.seen(augment.views[view].view)
        assert np.array_equal(picture, demo.draw(seen))
        assert SPACE.names[label] == seen.label


def test_without_declared_symmetries_nothing_is_moved() -> None:
    pixels, labels = frames(10)
    augment = Augmentation(LabelSpace.build(demo.NAMES).group(), seed=1)
    draws = augment.draw(ROWS[:10], 1, 120)
    assert torch.equal(augment.pixels(pixels, draws), pixels.float())
    assert torch.equal(augment.labels(labels, draws), labels)


def test_every_view_is_drawn_about_equally_often() -> None:
    augment = Augmentation(SPACE.group())
    views = torch.cat([augment.draw(torch.arange(500), step, 32).view for step in range(8)])
    assert torch.bincount(views, minlength=8).div(4000).sub(1 / 8).abs().max() < 0.02  # 4 standard deviations


def test_draws_depend_on_seed_step_and_row_and_on_nothing_else() -> None:
    whole = uniform(7, 11, ROWS, 5)
    assert torch.equal(torch.cat([uniform(7, 11, rows, 5) for rows in torch.split(ROWS, 5)]), whole)
    assert torch.equal(uniform(7, 11, ROWS.flip(0), 5).flip(0), whole)
    for other in (uniform(8, 11, ROWS, 5), uniform(7, 12, ROWS, 5), uniform(7, 11, ROWS + 64, 5)):
        assert not torch.isclose(other, whole).any(dim=1).all()


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = torch.cat([uniform(0, step, torch.arange(1000), 4) for step in range(20)])
    assert draws.min() >= 0
    assert draws.max() < 1
    deciles = torch.histc(draws, 10, 0, 1) / draws.numel()
    assert deciles.sub(0.1).abs().max() < 0.005
    between = torch.corrcoef(torch.stack([*draws.T, draws[:, 0].roll(1), draws[:, 0].roll(1000)]))
    assert between.fill_diagonal_(0).abs().max() < 0.03


def test_splitmix64_gives_its_published_numbers() -> None:
    """The first outputs of the reference implementation for seed 1234567 (Vigna, splitmix64.c)."""
    from frame_vit.training.transforms import _mix

    state, golden = 1234567, -0x61C8864680B583EB
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for index, value in enumerate(expected):
        start = torch.tensor(state) + torch.tensor(golden) * index
        assert int(_mix(start)) % 2**64 == value


def test_light_changes_stay_mild_and_in_range() -> None:
    pixels, _ = frames(20)
    augment = Augmentation(SPACE.group([]), brightness=0.1, contrast=0.1, seed=2)
    changed = augment.pixels(pixels, augment.draw(ROWS[:20], 3, 120))
    assert changed.min() >= 0
    assert changed.max() <= 255
    difference = (changed - pixels).abs().amax(dim=(1, 2, 3))
    assert difference.min() > 0
    assert difference.max() <= 255 * 0.1 + 255 * 0.1
