"""Image processors of common models, and preprocessing that does what they do."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image
from transformers import BitImageProcessor, ConvNextImageProcessor, DeiTImageProcessor, ViTImageProcessor

from frame_vit.config.schema import DataConfig
from frame_vit.errors import ModelError
from frame_vit.images.preprocessing import normalise, resize
from frame_vit.model.processor import load_processor, preprocessing_of
from tests.small import SCRATCH


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 384, "width": 384}),
        ViTImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]),
        ViTImageProcessor(do_normalize=False),
        ViTImageProcessor(do_rescale=False, do_normalize=False),
        DeiTImageProcessor(),
        BitImageProcessor(size={"shortest_edge": 256}),
        ConvNextImageProcessor(size={"shortest_edge": 224}),
        ConvNextImageProcessor(size={"shortest_edge": 384}),
    ],
    ids=lambda p: type(p).__name__,
)
def test_common_processors_are_reproduced(processor: object) -> None:
    assert preprocessing_of(processor).height >= 224


def test_a_processor_that_does_more_is_refused() -> None:
    class Darker(ViTImageProcessor):  # type: ignore[misc]
        def rescale(self, image: object, scale: float, **options: object) -> object:
            return super().rescale(image, scale * 0.5, **options)

        def rescale_and_normalize(self, images: object, *args: object, **options: object) -> object:
            return super().rescale_and_normalize(images, *args, **options) * 0.5

    with pytest.raises(ModelError, match="does not reproduce"):
        preprocessing_of(Darker())


def test_the_preprocessing_gives_what_the_processor_gives() -> None:
    """On a picture that is not one of the probes."""
    processor = ViTImageProcessor(
        size={"height": 48, "width": 64}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]
    )
    preprocessing = preprocessing_of(processor)
    assert (preprocessing.height, preprocessing.width) == (48, 64)
    assert (preprocessing.mean, preprocessing.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    noise = np.random.default_rng(7).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((200, 150), Image.Resampling.BICUBIC)
    ours = normalise(resize(picture, preprocessing)[None], preprocessing)[0]
    theirs = np.asarray(processor(picture, return_tensors="pt")["pixel_values"][0])
    assert ours.shape == theirs.shape == (3, 48, 64)
    assert np.abs(ours - theirs).max() < 2.01 / 255 / 0.2


def test_a_processor_that_crops_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "framevit"):
        preprocessing = preprocessing_of(BitImageProcessor(size={"shortest_edge": 256}))
    assert (preprocessing.height, preprocessing.width, preprocessing.resize) == (224, 224, 256)
    assert "crops the margins" in caplog.text


def test_bit_depth_and_region_of_interest_are_kept() -> None:
    preprocessing = preprocessing_of(load_processor(SCRATCH), DataConfig(bit_depth=12, roi=[0.1, 0.2, 0.9, 0.8]))
    assert preprocessing.bit_depth == 12
    assert preprocessing.roi == (0.1, 0.2, 0.9, 0.8)


def test_an_untrained_model_has_a_processor_of_its_size() -> None:
    preprocessing = preprocessing_of(load_processor(SCRATCH))
    assert (preprocessing.height, preprocessing.width) == (32, 32)
