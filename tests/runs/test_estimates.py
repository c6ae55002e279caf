"""What a training will take: bytes that a forward pass keeps, counted on modules whose bytes are known; times."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from frame_vit.runs.estimates import (
    TEMPORARIES,
    MemoryEstimate,
    Work,
    duration,
    estimate_memory,
    free_bytes,
    in_words,
)
from tests.small import tiny_classifier

CPU = torch.device("cpu")
WIDTH, HIDDEN = 4, 8


class TwoLayers(nn.Module):
    """For the backward pass it keeps its input and the output of the ReLU; its weights are kept anyway."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(HIDDEN, 2, bias=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        found: Tensor = self.second(torch.relu(self.first(pixel_values)))
        return found


PICTURES = torch.rand(2, WIDTH)
NUMBERS = WIDTH * HIDDEN + HIDDEN * 2


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_batch_takes_what_the_forward_pass_keeps(batch_size: int) -> None:
    found = estimate_memory(TwoLayers(), PICTURES, batch_size, "fp32")
    assert found.batch == round(TEMPORARIES * 4 * (WIDTH + HIDDEN) * batch_size)


def test_a_weight_takes_itself_its_gradient_and_two_moments() -> None:
    module = TwoLayers()
    assert estimate_memory(module, PICTURES, 8, "fp32").weights == 4 * 4 * NUMBERS
    assert estimate_memory(module, PICTURES, 8, "fp32", has_average=True).weights == 5 * 4 * NUMBERS
    module.first.weight.requires_grad = False  # a frozen weight takes itself only
    assert estimate_memory(module, PICTURES, 8, "fp32").weights == 4 * (NUMBERS + 3 * HIDDEN * 2)


def test_a_model_is_as_it_was_after_it_was_measured() -> None:
    module = tiny_classifier().module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    estimate = estimate_memory(module, torch.rand(2, 3, 32, 32), 16, "fp32")
    assert estimate.total > estimate.weights > 4 * sum(p.nbytes for p in module.parameters()) - 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_it_is_one_line_for_a_person() -> None:
    words = in_words(MemoryEstimate(353_000_000, 1_100_000_000), 16, "bf16")
    assert words == (
        "memory: about 1.45 GB, 353 MB for weights, gradients and optimizer and 1.1 GB for a batch of 16 in bf16"
    )


def test_the_memory_that_is_free_is_known_on_linux() -> None:
    free = free_bytes(CPU)
    assert free is None or free > 1_000_000


def test_a_validation_takes_a_third_of_a_training_step_for_each_picture() -> None:
    work = Work(of_step=16, of_validation=60, of_frozen=900)
    assert work.seconds(10, 2, rate=20) == pytest.approx((160 + 120 / 3) / 20)
    assert work.frozen_seconds(rate=20) == pytest.approx(900 / 3 / 20)
    assert Work(16, 60).frozen_seconds(20) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")]
)
def test_a_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
