"""Results as pictures, and the model card. Nothing is computed here but where things are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace


def model_card(labels: LabelSpace, preprocessing: Preprocessing, base: str, metrics: Mapping[str, Any]) -> str:
    """README.md of a model folder, with the front matter that model hubs read."""
    region_of = (
        f"\nOnly the region {list(preprocessing.roi)} (xyxy) of a picture is looked at. framevit cuts it out; other "
        "programs must be given the region, not the whole picture.\n"
        if preprocessing.roi
        else ""
    )
    moved = {
        key: ", ".join(f"{a} becomes {b}" for a, b in mapping.items() if a != b) or "no class changes"
        for key, mapping in labels.symmetries.items()
    }
    return f"""---
library_name: transformers
pipeline_tag: image-classification
tags: [framevit]
---
# An image classifier trained with framevit

Started from {base}. Classes, in order: {_listed(labels.names)}.
Fine: {_listed(name for name in labels.names if name in labels.ok)}.

What a mirrored or turned picture shows: {"; ".join(f"{k}: {v}" for k, v in moved.items()) or "nothing is declared"}.

On {metrics["n"]} pictures of the {metrics["split"]} split: accuracy {metrics["accuracy"]:.4f}, macro-F1 \
{metrics["macro_f1"]:.4f}, escape rate {percent(metrics["escape_rate"])}, overkill rate \
{percent(metrics["overkill_rate"])}.
{region_of}
`framevit.json` holds the label space and the pixel settings: `framevit predict --model FOLDER PICTURE`.
"""


def percent(rate: Mapping[str, Any]) -> str:
    """A rate in words: value, 95 % interval, and of how many."""
    if rate["value"] is None:
        return "not defined"
    return f"{rate['value']:.2%} (95 % interval {rate['low']:.2%} to {rate['high']:.2%}, n = {rate['n']})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none declared"
