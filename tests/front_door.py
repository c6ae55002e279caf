"""The picture in the README: one test frame of each class, what the model decides, and where it looked.

    python tests/front_door.py runs/demo-001 frame_vit/help/frames.png

Made from a real run: the frames are the first of each class in its test split, predicted in fp32 as `framevit predict`
does. The upper row has the frames with the boxes of the data, the lower row what mattered for the answer. For runs
without a region of interest: the maps are laid over the whole frame.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from frame_vit.api import load_predictor
from frame_vit.explanation.attention import maps
from frame_vit.images.decode import open_rgb
from frame_vit.images.preprocessing import seen
from frame_vit.prediction.inputs import Input
from frame_vit.runs.data import DataRequest, evaluation_config, select_split
from frame_vit.system.progress import silent

COLOURS = {"accept": "#2e7d32", "review": "#b26a00", "reject": "#b00020"}
LARGEST = 300_000
"""bytes: the README is opened over slow lines, too"""


def main(run: Path, target: Path) -> None:
    """Draws the picture of a run. Raises `SystemExit` where it would be larger than `LARGEST`."""
    predictor = load_predictor(run, backend="torch", precision="fp32")
    request = DataRequest(evaluation_config(run, None, []), split="test")
    test = select_split(predictor.metadata, run, request, silent).split
    names = predictor.labels.names
    examples = [next(each for each in test.examples if each.label == label) for label in range(len(names))]
    rows = list(predictor.predict(Input(each.key, each.read) for each in examples))

    figure = Figure(figsize=(2.1 * len(names), 4.1), layout="constrained")
    panels = figure.subplots(2, len(names))
    for example, row, (above, below) in zip(examples, rows, panels.T, strict=True):
        image = open_rgb(example.read(), *predictor.preprocessing.decoding)
        label = np.array([names.index(row.label or "")])
        relevance = maps(predictor, np.array(seen(image, predictor.preprocessing))[None], label).relevance[0]
        above.imshow(image)
        below.imshow(image.convert("L"), cmap="gray")
        extent = (0, image.width, image.height, 0)
        below.imshow(relevance, cmap="inferno", alpha=0.6, extent=extent, interpolation="nearest", vmin=0)
        for x1, y1, x2, y2 in example.boxes:
            for axes in (above, below):
                axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="#00c853", linewidth=1.5))
        above.set_title(f"labelled {names[example.label]}", fontsize=12)
        decision = row.decision or ""
        below.set_title(f"{row.label} {row.confidence:.3f}\n{decision}", fontsize=12, color=COLOURS.get(decision))
        for axes in (above, below):
            axes.axis("off")
            axes.set(xlim=(0, image.width), ylim=(image.height, 0))

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    buffer.seek(0)
    Image.open(buffer).convert("RGB").quantize(128).save(target, optimize=True)
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes, more than {LARGEST}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
