"""`framevit explain` for labelled pictures: where a model looks in a split, measured against the boxes and reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frame_vit.explanation.inside_boxes import Explanation, look_inside_boxes
from frame_vit.explanation.report import write_explanation
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.environment import RunFacts
from frame_vit.system.files import check_writable
from frame_vit.system.progress import Tick, silent


@dataclass(frozen=True)
class Explained:
    """Where a model looks, and the folder of the report (None: the model has no run, and no folder was named)."""

    explanation: Explanation
    folder: Path | None


def explain(
    predictor: Predictor, request: DataRequest, limit: int = 200, output: Path | None = None, tick: Tick = silent
) -> Explained:
    """Measures where a model looks in at most `limit` of the requested pictures, and writes explanation.html.

    The folder is `output` or, for a model of a run, RUN/explanation/SPLIT. Raises `UsageError` if no picture has a box,
    or `output` cannot be written.
    """
    run = predictor.run
    check_writable(output)
    selected = select_split(predictor.metadata, run, tested_request(run, request), tick)
    explanation = look_inside_boxes(predictor, selected.split, limit, tick)
    folder = output or (run / "explanation" / selected.name if run else None)
    if folder:
        facts = RunFacts.of(str(run or "given"), selected.dataset, selected.name)
        write_explanation(explanation, predictor, folder, facts)
    return Explained(explanation, folder)
