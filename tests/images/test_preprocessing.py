"""Preprocessing: what the model's own processor does, on the region of interest, stored and read back."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers import ViTImageProcessor

from frame_vit.data import demo
from frame_vit.errors import RowError
from frame_vit.images.geometry import GENERATORS, IDENTITY, View
from frame_vit.images.pixel_array import UInt8
from frame_vit.images.preprocessing import (
    Preprocessing,
    in_view,
    normalise,
    placed,
    read_picture,
    region,
    resize,
    resized_size,
    turns_distort,
)

SMALL = Preprocessing(8, 8)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(1280, 960), (160, 120), (20, 31), (64, 64)])
def test_agrees_with_the_vit_processor_to_one_grey_level(size: tuple[int, int]) -> None:
    processor = ViTImageProcessor(size={"height": 64, "width": 64})
    image, pixels = noise(*size), Preprocessing(64, 64)
    theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
    ours = normalise(resize(image, pixels)[None], pixels)[0]
    assert np.abs(theirs - ours).max() <= 1.01 * pixels.scale / 0.5


def test_the_size_of_the_upright_picture_is_kept() -> None:
    picture = read_picture(encoded(noise(30, 10)), SMALL)
    assert (picture.width, picture.height, picture.pixels.shape) == (30, 10, (8, 8, 3))


def test_settings_survive_json() -> None:
    preprocessing = Preprocessing(4, 6, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), 0.5, 3, (8, 9), 12)
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_normalise_is_scale_minus_mean_over_std() -> None:
    preprocessing = Preprocessing(1, 1, (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    batch: UInt8 = np.array([[[[255, 0, 51]]]], np.uint8)
    assert np.allclose(normalise(batch, preprocessing).ravel(), [1.0, -0.5, 0.1])


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        ((0.25, 0.5, 0.75, 1.0), (3, 4, 9, 8)),
        ((3, 4, 9, 8), (3, 4, 9, 8)),
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 12, 8)),
        ((0.3, 0.3, 0.9, 0.9), (4, 2, 11, 7)),
    ],
)
def test_a_region_is_in_shares_or_in_pixels(
    roi: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert region(roi, (12, 8)) == expected


@pytest.mark.parametrize("roi", [(3, 4, 13, 8), (0, 0, 5, 9), (0.0, 0.0, 0.01, 1.0)])
def test_a_region_outside_or_without_a_pixel_is_refused(roi: tuple[float, float, float, float]) -> None:
    with pytest.raises(RowError, match=r"the region of interest .* 12 x 8 picture"):
        region(roi, (12, 8))


def test_only_the_region_is_seen_and_it_is_cut_from_the_upright_picture() -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    upright, file = Image.fromarray(values), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: the file holds the picture lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    picture = read_picture(file.getvalue(), Preprocessing(4, 6, roi=(3, 4, 9, 8)))
    assert np.array_equal(picture.pixels, values[4:8, 3:9])
    assert (picture.width, picture.height) == (12, 8)


def test_settings_with_a_region_come_back() -> None:
    preprocessing = Preprocessing(4, 6, roi=(0.1, 0.2, 0.8, 0.9))
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing
    assert Preprocessing.from_json({"height": 4, "width": 6}).roi is None, "models of version 0.1.0 have none"


def _as_a_careful_user_opens_it(data: bytes) -> Image.Image:
    """Upright, transparency on white, 16-bit values scaled: the RGB picture that is given to a model's processor."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        return Image.fromarray(np.round(np.asarray(image) * (255 / 4095)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white.convert("RGB")
    return image.convert("RGB")


def _encoded(mode: str) -> bytes:
    random = np.random.default_rng(3)
    smooth = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    picture = smooth.resize((320, 240), Image.Resampling.BICUBIC)
    options: dict[str, Any] = {"format": "JPEG" if mode == "CMYK" or mode.startswith("EXIF") else "PNG"}
    if mode.startswith("EXIF"):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(mode[4:])
    elif mode == "I;16":
        picture = Image.fromarray((np.asarray(picture.convert("L")).astype(np.uint16) * 16).astype(np.uint16))
    elif mode in ("RGBA", "LA"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture = picture.convert(mode)
    elif mode == "P with a clear colour":
        picture = picture.quantize(32)
        options["transparency"] = 3
    else:
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, **options)
    return buffer.getvalue()


MODES = ["L", "1", "I;16", "P", "P with a clear colour", "RGBA", "LA", "CMYK", *(f"EXIF{i}" for i in range(1, 9))]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_picture_agrees_with_the_models_own_processor(mode: str) -> None:
    """What predict feeds an exported model, against what transformers feeds the model, to one grey level."""
    data, settings = _encoded(mode), Preprocessing(224, 224, bit_depth=12)
    ours = normalise(read_picture(data, settings).pixels[None], settings)[0]
    processor = ViTImageProcessor(size={"height": 224, "width": 224})
    theirs = np.asarray(processor(_as_a_careful_user_opens_it(data), return_tensors="pt")["pixel_values"][0])
    assert np.abs(ours - theirs).max() < 1.01 * 2 / 255
    assert ours.std() > 0.2


@pytest.mark.parametrize(
    ("resize_to", "expected"), [(None, (6, 4)), ((10, 12), (12, 10)), (5, (8, 5)), (7, (11, 7))], ids=str
)
def test_a_picture_is_resized_whole_or_by_its_shorter_side(resize_to: Any, expected: tuple[int, int]) -> None:
    assert resized_size((160, 100), Preprocessing(4, 6, resize=resize_to)) == expected


def test_a_centre_crop_takes_the_middle() -> None:
    image = noise(12, 10)
    cropped = resize(image, Preprocessing(4, 6, resize=(10, 12)))
    assert np.array_equal(cropped, np.asarray(image)[3:7, 3:9])


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(40, 50),
        Preprocessing(40, 50, roi=(0.1, 0.2, 0.9, 1.0)),
        Preprocessing(40, 40, resize=60),
        Preprocessing(40, 40, pad=True),
        Preprocessing(60, 30, pad=True, roi=(0.1, 0.2, 0.9, 1.0)),
    ],
    ids=["whole", "region", "centre crop", "padded", "padded region"],
)
def test_a_box_is_placed_where_its_pixels_are(preprocessing: Preprocessing) -> None:
    pixels = np.zeros((200, 320, 3), np.uint8)
    box = (130, 90, 180, 130)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    seen = read_picture(encoded(Image.fromarray(pixels)), preprocessing).pixels
    rows, columns = np.nonzero(seen[:, :, 0] > 127)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert placed(box, (320, 200), preprocessing) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("key", sorted(GENERATORS))
def test_a_view_of_a_batch_is_a_view_of_each_picture(key: str) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    transposes = {
        "hflip": Image.Transpose.FLIP_LEFT_RIGHT,
        "vflip": Image.Transpose.FLIP_TOP_BOTTOM,
        "rot180": Image.Transpose.ROTATE_180,
        "rot90": Image.Transpose.ROTATE_90,
    }
    for picture, moved in zip(batch, in_view(batch, GENERATORS[key]), strict=True):
        assert np.array_equal(moved, np.asarray(Image.fromarray(picture).transpose(transposes[key])))


@pytest.mark.parametrize(("size", "height"), [((160, 120), 30), ((120, 160), 40), ((50, 50), 40), ((400, 1), 1)])
def test_a_padded_picture_keeps_its_aspect_on_a_black_ground(size: tuple[int, int], height: int) -> None:
    pixels = resize(Image.new("RGB", size, (200, 100, 50)), Preprocessing(40, 40, pad=True))
    lit = pixels[:, 20].sum(axis=1) > 0
    assert pixels.shape == (40, 40, 3)
    assert lit.sum() == height
    assert not pixels[: (40 - height) // 2].any(), "the margins are alike"
    assert {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} <= {(200, 100, 50), (0, 0, 0)}


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("label", demo.NAMES)
def test_a_turned_frame_is_seen_as_the_turned_input(label: str, turns: int) -> None:
    frame, view, preprocessing = demo.sample(label, 3), View(turns, False), Preprocessing(64, 64, pad=True)
    image = Image.fromarray(demo.draw(frame))
    turned = Image.fromarray(np.rot90(np.asarray(image), turns))
    inputs = in_view(resize(image, preprocessing)[None], view)[0]
    assert np.abs(resize(turned, preprocessing).astype(int) - inputs).max() <= 2
    box = view.box(placed(frame.box, image.size, preprocessing), 64, 64)
    of_turned = placed(view.box(frame.box, *image.size), turned.size, preprocessing)
    assert of_turned == pytest.approx(box, abs=1e-6)


@pytest.mark.parametrize("pad", [True, False])
def test_a_displacement_of_a_turned_frame_is_as_long_as_one_that_the_camera_sees(pad: bool) -> None:
    """12 pixels to the right, turned, against 12 pixels upwards in a frame that was not turned."""
    preprocessing, quarter = Preprocessing(64, 64, pad=pad), GENERATORS["rot90"]

    def seen_at(x: int, y: int, view: View) -> tuple[float, float]:
        box = placed((70 + x, 50 + y, 90 + x, 70 + y), (160, 120), preprocessing)
        x1, y1, *_ = view.box(box, 64, 64)
        return x1, y1

    (_, rest), (_, turned) = seen_at(0, 0, quarter), seen_at(12, 0, quarter)
    (_, start), (_, upwards) = seen_at(0, 0, IDENTITY), seen_at(0, -12, IDENTITY)
    ratio = (upwards - start) / (turned - rest)
    assert ratio == pytest.approx(1 if pad else 160 / 120)


@pytest.mark.parametrize(
    ("size", "preprocessing", "distorts"),
    [
        ((160, 120), Preprocessing(64, 64), True),
        ((160, 160), Preprocessing(64, 64), False),
        ((1000, 999), Preprocessing(64, 64), False),
        ((100, 97), Preprocessing(64, 64), True),
        ((160, 120), Preprocessing(64, 64, pad=True), False),
        ((160, 120), Preprocessing(64, 64, resize=80), False),
        ((160, 120), Preprocessing(64, 64, resize=(80, 80)), True),
        ((160, 120), Preprocessing(64, 64, roi=(20, 0, 140, 120)), False),
        ((160, 160), Preprocessing(64, 64, roi=(0, 0, 1, 0.5)), True),
    ],
    ids=str,
)
def test_quarter_turns_distort_where_the_aspect_changes(
    size: tuple[int, int], preprocessing: Preprocessing, distorts: bool
) -> None:
    assert turns_distort(size, preprocessing) == distorts
