"""Train, validation and test from what the sources give: their own splits as they are, the rest divided by a seed."""

from __future__ import annotations

import math
from collections import Counter

from frame_vit.data.examples import Split
from frame_vit.errors import DataError
from frame_vit.labels import LabelSpace


def hold_out(split: Split, fraction: float, seed: int, name: str, space: LabelSpace) -> tuple[Split, Split]:
    """Divides a split: (what stays, the held-out share called `name`), every class in its proportion.

    Raises `DataError` with the number needed where a class is too small to have a picture on both sides.
    """
    from sklearn.model_selection import train_test_split

    needed = math.ceil(1 / min(fraction, 1 - fraction) - 1e-9)
    small = {space.names[c]: n for c, n in sorted(Counter(split.labels.tolist()).items()) if n < needed}
    if small or not len(split):
        found = ", ".join(f"{label!r} has {n}" for label, n in small.items()) or "there are none"
        raise DataError(
            f"too few pictures to hold out {fraction:.0%} of {split.name} as {name}: "
            f"every class needs {needed}; {found}",
            f"Add pictures, leave the class out, or {'raise' if fraction < 0.5 else 'lower'} data.{name}_fraction",
        )
    rows = list(range(len(split)))
    kept, held = train_test_split(rows, test_size=fraction, random_state=seed, stratify=split.labels)
    return split.select(sorted(kept), split.name), split.select(sorted(held), name)
