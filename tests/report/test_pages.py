"""Pages: one file, everything escaped, pictures inside."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from PIL import Image

from frame_vit.data import demo
from frame_vit.data.examples import Example
from frame_vit.errors import RowError
from frame_vit.images.decode import Decoding
from frame_vit.report.pages import THUMBNAIL, data_uri, page, png, thumbnail


def opened(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def example(box: tuple[float, float, float, float] | None) -> Example:
    data = demo.jpeg(demo.frames(1, 3)[0])
    boxes = () if box is None else (box,)
    return Example("row", 0, boxes, demo.WIDTH, demo.HEIGHT, "", lambda: data)


def green(image: Image.Image) -> int:
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return int(((pixels[:, :, 1] > 160) & (pixels[:, :, 0] < 90) & (pixels[:, :, 2] < 130)).sum())


def test_a_value_that_is_missing_is_an_error_not_an_empty_place() -> None:
    with pytest.raises(UndefinedError):
        page("report.html", {"split": "test"})


def test_a_thumbnail_is_small_keeps_its_shape_and_shows_the_box() -> None:
    image = opened(thumbnail(example((20, 20, 100, 80)), Decoding(), 80))
    assert max(image.size) == 80
    assert image.width / image.height == pytest.approx(demo.WIDTH / demo.HEIGHT, rel=0.05)
    assert green(image) > 10
    assert green(opened(thumbnail(example(None), Decoding(), 80))) == 0


def test_a_box_far_outside_or_the_wrong_way_round_does_no_harm() -> None:
    for box in ((-1e6, -1e6, 1e6, 1e6), (90.0, 70.0, 10.0, 10.0)):
        assert max(opened(thumbnail(example(box), Decoding())).size) <= THUMBNAIL


@pytest.mark.parametrize("error", [RowError("damaged"), FileNotFoundError("gone")])
def test_a_picture_that_can_no_longer_be_read_leaves_an_empty_place(error: Exception) -> None:
    def read() -> bytes:
        raise error

    assert thumbnail(replace(example(None), read=read), Decoding()) == ""


def test_a_figure_becomes_a_picture_inside_the_page() -> None:
    figure = Figure(figsize=(1, 1))
    data = png(figure)
    assert data.startswith(b"\x89PNG")
    assert data_uri(data, "png") == "data:image/png;base64," + base64.b64encode(data).decode()
