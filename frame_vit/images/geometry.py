"""The eight views of a picture: turned by quarter turns, then mirrored or not. Standard library only.

A `View` is an element of the dihedral group D4, in the normal form "turn, then mirror". Everything that moves pixels in
framevit is such a view or a shift of the whole picture, so labels and boxes can be moved along exactly. This module
knows no labels; `labels` says what a view does to the classes.
"""

from __future__ import annotations

from typing import NamedTuple

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture; x grows to the right, y grows downwards."""


class Area(NamedTuple):
    """A part of a picture: rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class View(NamedTuple):
    """`turns` quarter turns counter-clockwise, as `numpy.rot90`; then, if `mirror`, a left-right flip."""

    turns: int
    mirror: bool

    @property
    def name(self) -> str:
        """Its usual name, as in Pillow's `Transpose`."""
        return _NAMES[self]

    def after(self, first: View) -> View:
        """The view that does the same as `first`, then this one."""
        # A mirror reverses the direction of a turn: R^k M = M R^-k.
        turns = (first.turns + (-self.turns if first.mirror else self.turns)) % 4
        return View(turns, self.mirror != first.mirror)

    def box(self, box: Box, width: float, height: float) -> Box:
        """A box of a picture of `width` x `height` pixels, moved along with the picture."""
        x1, y1, x2, y2 = box
        for _ in range(self.turns):
            x1, y1, x2, y2 = y1, width - x2, y2, width - x1
            width, height = height, width
        if self.mirror:
            x1, x2 = width - x2, width - x1
        return x1, y1, x2, y2


IDENTITY = View(0, False)
GENERATORS: dict[str, View] = {
    "hflip": View(0, True),
    "vflip": View(2, True),
    "rot180": View(2, False),
    "rot90": View(1, False),
}
"""The symmetries that a config can declare: left-right, top-bottom, half turn, quarter turn counter-clockwise."""
MIRRORS = {"x": GENERATORS["hflip"], "y": GENERATORS["vflip"]}
"""The two axes of a picture, and the mirror that reverses each."""
_NAMES = {
    IDENTITY: "identity",
    View(3, False): "rot270",
    View(3, True): "transpose",
    View(1, True): "transverse",
    **{view: name for name, view in GENERATORS.items()},
}
