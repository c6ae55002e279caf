"""HTML pages: one file each, with pictures inside, all values escaped, and nothing loaded from elsewhere.

A page must open on a PC without a network, from a USB stick, and show hostile class or file names as plain text. The
templates are in `templates/`; each page is filled from plain values.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import ImageDraw

from frame_vit.data.examples import Example
from frame_vit.errors import RowError
from frame_vit.images.decode import Decoding, open_rgb

THUMBNAIL = 240
"""Longest side of a thumbnail in pixels. It is shown smaller, so that it is sharp on high-resolution screens."""
COLOURS = ("#1b6e3c", "#c2410c", "#1d4ed8", "#a21caf", "#0e7490", "#854d0e", "#be123c", "#4d7c0f", "#334155", "#6d28d9")


def page(template: str, values: dict[str, Any]) -> str:
    """The HTML of a template filled with values. Raises `UndefinedError` where one is missing."""
    loader = PackageLoader("frame_vit.report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(values)


def thumbnail(example: Example, decoding: Decoding, side: int = THUMBNAIL) -> str:
    """The picture of an example, small, with its boxes, as a JPEG data URI; empty where it can no longer be read."""
    try:
        picture = open_rgb(example.read(), *decoding)
    except (RowError, OSError):
        return ""
    small = picture.copy()
    small.thumbnail((side, side))
    scale = np.array([small.width / picture.width, small.height / picture.height] * 2)
    draw = ImageDraw.Draw(small)
    for box in example.boxes:
        x1, y1, x2, y2 = np.clip(np.array(box) * scale, -9, 2 * side).tolist()
        draw.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline="#00c853", width=2)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "jpeg")


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a picture as a data URI; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
