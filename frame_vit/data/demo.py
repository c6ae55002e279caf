"""Synthetic frames for the demo and the tests: a terminal in a frame, with varying light, blur and noise. No network.

`draw` is exact under mirroring: the frame with mirrored parameters is the mirrored picture, pixel for pixel. That
holds because every coordinate is measured from the middle (so mirroring negates it exactly), distances are absolute
values, blurs add symmetric pairs, and a mirrored frame reads its noise mirrored. x grows to the right and y downwards,
as in boxes; `Xplus` is a terminal displaced to the right, `Yplus` one displaced downwards.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frame_vit.images.geometry import Box, View
from frame_vit.images.pixel_array import UInt8

DEMO_VERSION = 1
"""Raise it with every change of what is drawn or how it is encoded: caches of demo frames are keyed by it."""
WIDTH, HEIGHT = 160, 120
"""Size of a frame in pixels."""
NAMES = ("passed", "Xplus", "Xminus", "Yplus", "Yminus")
SYMMETRIES = {"hflip": {"Xplus": "Xminus", "Xminus": "Xplus"}, "vflip": {"Yplus": "Yminus", "Yminus": "Yplus"}}
TOLERANCE = 0.25
"""A terminal is `passed` if it is off the middle by less than this share of its free play, along both axes."""
Float = NDArray[np.float64]


class Pair(NamedTuple):
    """A value along x and one along y."""

    x: float
    y: float


@dataclass(frozen=True)
class Frame:
    """The parameters of one frame. Lengths are in pixels, positions from the middle of the picture, x before y."""

    centre: Pair
    """of the frame"""
    half: Pair
    """half the inner width and height of the frame"""
    wall: float
    terminal_half: Pair
    """half the width and height of the terminal"""
    offset: Pair
    """the displacement of the terminal from the centre of the frame"""
    light: float
    slope: Pair
    """how much the light changes across the picture"""
    contrast: float
    blur: int
    noise: float
    noise_seed: int
    mirrored: tuple[bool, bool] = (False, False)
    """whether the noise is mirrored along x and y"""

    @property
    def label(self) -> str:
        """The class: `passed`, or the axis along which the terminal is further off, with its sign."""
        (x, y), (free_x, free_y) = self.offset, self.free_play
        if max(abs(x) / free_x, abs(y) / free_y) < TOLERANCE:
            return "passed"
        if abs(x) / free_x > abs(y) / free_y:
            return "Xplus" if x > 0 else "Xminus"
        return "Yplus" if y > 0 else "Yminus"

    @property
    def free_play(self) -> Pair:
        """How far the terminal can move within the frame, to each side."""
        return Pair(self.half.x - self.terminal_half.x, self.half.y - self.terminal_half.y)

    @property
    def box(self) -> Box:
        """The terminal's box in pixels of the picture."""
        x, y = WIDTH / 2 + self.centre.x + self.offset.x, HEIGHT / 2 + self.centre.y + self.offset.y
        half = self.terminal_half
        return x - half.x, y - half.y, x + half.x, y + half.y

    def seen(self, view: View) -> Frame:
        """The frame that a picture in this view shows; the view must keep the picture's shape."""
        assert view.turns % 2 == 0, "a quarter turn does not keep the shape of the picture"
        flip_y = view.turns == 2
        flip_x = view.mirror != flip_y
        mirrored_x, mirrored_y = self.mirrored
        return replace(
            self,
            centre=_negate(self.centre, flip_x, flip_y),
            offset=_negate(self.offset, flip_x, flip_y),
            slope=_negate(self.slope, flip_x, flip_y),
            mirrored=(mirrored_x != flip_x, mirrored_y != flip_y),
        )


def sample(label: str, seed: int) -> Frame:
    """A frame with this label, the same for the same seed. Light, noise, blur, position and sizes vary."""
    random = np.random.default_rng([seed, NAMES.index(label)])
    half = Pair(random.uniform(34, 46), random.uniform(27, 36))
    terminal_half = Pair(random.uniform(14, 19), random.uniform(10, 14))
    frame = Frame(
        centre=Pair(random.uniform(-10, 10), random.uniform(-7, 7)),
        half=half,
        wall=random.uniform(4, 7),
        terminal_half=terminal_half,
        offset=Pair(0.0, 0.0),
        light=random.uniform(0.55, 1.15),
        slope=Pair(random.uniform(-0.25, 0.25), random.uniform(-0.25, 0.25)),
        contrast=random.uniform(0.6, 1.0),
        blur=int(random.integers(0, 3)),
        noise=random.uniform(0.01, 0.05),
        noise_seed=int(random.integers(2**32)),
    )
    return replace(frame, offset=_offset(label, frame.free_play, random))


def draw(frame: Frame) -> UInt8:
    """The picture, (HEIGHT, WIDTH, 3) uint8."""
    x = (np.arange(WIDTH) - (WIDTH - 1) / 2)[None, :]
    y = (np.arange(HEIGHT) - (HEIGHT - 1) / 2)[:, None]
    to_frame = np.abs(x - frame.centre.x), np.abs(y - frame.centre.y)
    to_terminal = tuple(np.abs(d - c - o) for d, c, o in zip((x, y), frame.centre, frame.offset, strict=True))
    outer = _rectangle(to_frame, Pair(frame.half.x + frame.wall, frame.half.y + frame.wall))
    inner = _rectangle(to_frame, frame.half)
    terminal = _rectangle(to_terminal, frame.terminal_half)
    slot = _rectangle(to_terminal, Pair(frame.terminal_half.x * 0.55, frame.terminal_half.y * 0.2))
    grey = 0.42 + 0.35 * frame.contrast * (outer - inner) - 0.3 * frame.contrast * inner
    grey = grey + (0.62 * terminal - 0.35 * slot) * frame.contrast
    grey = grey * (frame.light * (1 + (frame.slope.x * x / WIDTH + frame.slope.y * y / HEIGHT)))
    grey = _blur(grey, frame.blur) + frame.noise * _noise(frame)
    tint = np.array([1.0, 0.97, 0.9])
    levels: UInt8 = np.round(np.clip(grey[:, :, None] * tint, 0, 1) * 255).astype(np.uint8)
    return levels


def jpeg(frame: Frame) -> bytes:
    """The picture as a JPEG file, as a camera would store it."""
    buffer = io.BytesIO()
    Image.fromarray(draw(frame)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def response(frame: Frame) -> str:
    """The `response` text of the frame, in the form of the hub data sets."""
    return repr({"bboxes": [[round(v) for v in frame.box]], "labels": [frame.label]})


def frames(count: int, seed: int) -> list[Frame]:
    """`count` frames; each label in turn."""
    return [sample(NAMES[i % len(NAMES)], seed * 1_000_003 + i) for i in range(count)]


def _offset(label: str, free: Pair, random: np.random.Generator) -> Pair:
    # Offsets near the tolerance are left out: a person could not tell the class either, so labels would be noise.
    inside = Pair(*(random.uniform(-0.6, 0.6) * TOLERANCE * f for f in free))
    if label == "passed":
        return inside
    sign = 1 if label.endswith("plus") else -1
    share = sign * random.uniform(1.4 * TOLERANCE, 0.9)
    return inside._replace(x=share * free.x) if label.startswith("X") else inside._replace(y=share * free.y)


def _negate(pair: Pair, x: bool, y: bool) -> Pair:
    return Pair(-pair.x if x else pair.x, -pair.y if y else pair.y)


def _rectangle(distance: tuple[Float, ...], half: Pair) -> Float:
    """(HEIGHT, WIDTH) coverage, 0 to 1, of an upright rectangle whose edges are one pixel soft."""
    cover_x, cover_y = (np.clip(h - d + 0.5, 0, 1) for d, h in zip(distance, half, strict=True))
    return np.asarray(cover_x * cover_y)


def _blur(grey: Float, radius: int) -> Float:
    """A binomial blur, `radius` times. Opposite neighbours are added to each other first: mirroring changes no bit."""
    for _ in range(radius):
        for axis in (0, 1):
            before = np.take(grey, [0, *range(grey.shape[axis] - 1)], axis)
            behind = np.take(grey, [*range(1, grey.shape[axis]), grey.shape[axis] - 1], axis)
            grey = 0.5 * grey + 0.25 * (before + behind)
    return grey


def _noise(frame: Frame) -> Float:
    noise = np.random.default_rng(frame.noise_seed).standard_normal((HEIGHT, WIDTH))
    along_x, along_y = frame.mirrored
    noise = noise[:, ::-1] if along_x else noise
    return noise[::-1] if along_y else noise
