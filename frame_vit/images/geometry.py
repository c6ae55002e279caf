"""The eight ways to lay a picture: turned by quarter turns, then mirrored or not. Standard library only.

A `View` is an element of the dihedral group D4, in the normal form *turn, then mirror*. Everything that moves pixels
in framevit is such a view (or a shift of the whole picture), so that labels and boxes can be moved along exactly.
This module knows nothing of labels; `labels` joins a view to what it does to the classes.
"""

from __future__ import annotations

from typing import NamedTuple

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture; x grows to the right, y grows downwards."""


class View(NamedTuple):
    """Turn the picture by `turns` quarter turns counter-clockwise (as `numpy.rot90`), then left-right if `mirror`."""

    turns: int
    mirror: bool

    @property
    def name(self) -> str:
        """The field's name for it, as Pillow's `Transpose` has them."""
        return _NAMES[self]

    def after(self, first: View) -> View:
        """The view that equals `first` followed by this one."""
        # Mirroring reverses the sense of a turn: R^k M = M R^-k.
        turns = (first.turns + (-self.turns if first.mirror else self.turns)) % 4
        return View(turns, self.mirror != first.mirror)

    def box(self, box: Box, width: float, height: float) -> Box:
        """Where `box` of a picture of `width` x `height` pixels lies after the view."""
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
"""What a configuration may declare, by name: left-right, top-bottom, half turn, quarter turn counter-clockwise."""
_NAMES = {
    IDENTITY: "identity",
    View(3, False): "rot270",
    View(3, True): "transpose",
    View(1, True): "transverse",
    **{view: name for name, view in GENERATORS.items()},
}
