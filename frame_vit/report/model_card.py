"""The model card: README.md of a model folder, with the front matter that model hubs read.

It says what the model was started from, what its classes are, how mirrored pictures change them, and how good it was on
its test. It is text made from typed values; nothing is computed or written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from frame_vit.decision.rates import Rate
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace


@dataclass(frozen=True)
class CardScores:
    """What the card reports of the evaluation on the `n` pictures of a split."""

    split: str
    n: int
    accuracy: float
    macro_f1: float
    escape_rate: Rate
    overkill_rate: Rate


def model_card(labels: LabelSpace, preprocessing: Preprocessing, base: str, scores: CardScores) -> str:
    """The text of README.md; `base` is the model that the training started from."""
    return f"""---
library_name: transformers
pipeline_tag: image-classification
tags: [framevit]
---
# An image classifier trained with framevit

Started from {base}. Classes, in the order of their ids: {_listed(labels.names)}.
Good classes: {_listed(name for name in labels.names if name in labels.ok)}.

What becomes of a class when the picture is mirrored or turned: {_symmetries(labels)}.

On the {scores.n} pictures of the {scores.split} split: accuracy {scores.accuracy:.4f}, macro-F1 \
{scores.macro_f1:.4f}, escape rate {percent(scores.escape_rate)}, overkill rate {percent(scores.overkill_rate)}.
{_region(preprocessing)}
`framevit.json` holds the label space, the preprocessing and the thresholds. To use the model:
`framevit predict --model FOLDER PICTURE`.
"""


def percent(rate: Rate) -> str:
    """A rate in words: value, 95 % interval, and of how many."""
    if rate.value is None:
        return "not defined"
    return f"{rate.value:.2%} (95 % interval {rate.low:.2%} to {rate.high:.2%}, n = {rate.n})"


def _symmetries(labels: LabelSpace) -> str:
    changes = {
        key: ", ".join(f"{a} becomes {b}" for a, b in mapping.items() if a != b) or "no class changes"
        for key, mapping in labels.symmetries.items()
    }
    return "; ".join(f"{key}: {change}" for key, change in changes.items()) or "nothing is declared"


def _region(preprocessing: Preprocessing) -> str:
    """A paragraph about the region of interest; empty without one."""
    if not preprocessing.roi:
        return ""
    return (
        f"\nThe model sees only the region {list(preprocessing.roi)} (xyxy) of a picture. framevit cuts it out; other "
        "programs must be given the region, not the whole picture.\n"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none declared"
