"""Image processors of common models, and preprocessing that does what they do."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import BitImageProcessor, ConvNextImageProcessor, DeiTImageProcessor, ViTImageProcessor

from frame_vit.config.schema import DataConfig, ModelConfig
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


WIDE = {"shortest_edge": 40}


def saved(processor: object, folder: Path) -> ModelConfig:
    """The config of a model whose processor this is."""
    processor.save_pretrained(folder)  # type: ignore[attr-defined]
    (folder / "config.json").write_text('{"model_type": "vit"}')
    return ModelConfig(name=str(folder))


def test_a_processor_that_would_crop_is_given_the_whole_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = saved(BitImageProcessor(size=WIDE, crop_size={"height": 32, "width": 32}), tmp_path)
    with caplog.at_level(logging.INFO, "framevit"):
        preprocessing = preprocessing_of(load_processor(model))
    assert (preprocessing.height, preprocessing.width, preprocessing.resize, preprocessing.pad) == (32, 32, None, False)
    assert preprocessing.resample == Image.Resampling.BICUBIC
    assert "it is given the whole frame instead (data.fit)" in caplog.text
    assert preprocessing_of(load_processor(model, "processor")).resize == 40


@pytest.mark.parametrize("fit", ["squash", "pad", "processor"])
@pytest.mark.parametrize("side", [None, 48])
@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessor(size={"height": 32, "width": 32}),
        BitImageProcessor(size=WIDE, crop_size={"height": 32, "width": 32}),
        DeiTImageProcessor(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}),
        ConvNextImageProcessor(size={"shortest_edge": 32}),
    ],
    ids=lambda p: type(p).__name__,
)
def test_every_fit_and_size_is_what_the_saved_processor_does(
    tmp_path: Path, processor: object, side: int | None, fit: str
) -> None:
    """`preprocessing_of` compares the two on pictures; both are read back as a model folder has them."""
    model = saved(processor, tmp_path / "base").model_copy(update={"image_size": side})
    made = load_processor(model, fit)
    preprocessing = preprocessing_of(made)
    assert (preprocessing.height, preprocessing.width) == (side or 32, side or 32)
    assert preprocessing.pad == (fit == "pad")
    assert (preprocessing.resize is not None) == (fit == "processor" and not isinstance(processor, ViTImageProcessor))
    again = saved(made, tmp_path / "again")
    assert preprocessing_of(load_processor(again, "processor")) == preprocessing


class Swapped(ViTImageProcessor):  # type: ignore[misc]
    """Gives the channels in another order, as MobileViT's does, which its size and means do not say."""

    def rescale_and_normalize(self, images: object, *args: object, **options: object) -> object:
        return super().rescale_and_normalize(images, *args, **options).flip(-3)


@pytest.mark.parametrize("model", [{"image_size": 48}, {}])
def test_what_a_processor_does_to_colours_is_not_dropped_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, int]
) -> None:
    base = saved(ViTImageProcessor(), tmp_path / "base")
    monkeypatch.setattr("frame_vit.model.processor.own_processor", lambda place: Swapped())
    with pytest.raises(ModelError, match="does not reproduce"):
        load_processor(ModelConfig.model_validate({"name": base.name, **model}), "pad")


def test_a_model_that_was_trained_with_padding_keeps_it(tmp_path: Path) -> None:
    model = saved(load_processor(saved(ViTImageProcessor(), tmp_path / "base"), "pad"), tmp_path / "padded")
    assert preprocessing_of(load_processor(model)).pad
    assert not preprocessing_of(load_processor(model, "squash")).pad
