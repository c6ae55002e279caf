"""`framevit explain` over a labelled split, as a function."""

from __future__ import annotations

from pathlib import Path

from frame_vit.explanation.inside_boxes import Looked, look
from frame_vit.explanation.report import write_looked
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, select_split, tested_request
from frame_vit.runs.environment import run_facts
from frame_vit.system.progress import Tick, silent


def explain_split(
    predictor: Predictor, request: DataRequest, limit: int, output: Path | None, tick: Tick = silent
) -> tuple[Looked, Path | None]:
    """Where a model looks in at most `limit` pictures of a labelled split; and the folder that this is written to."""
    run = predictor.run
    selected = select_split(predictor.metadata, run, tested_request(run, request), tick)
    looked = look(predictor, selected.split, limit, tick)
    folder = output or (run / "explanation" / selected.name if run else None)
    if folder:
        write_looked(looked, predictor, folder, run_facts(str(run or "given"), selected.dataset, selected.name))
    return looked, folder
