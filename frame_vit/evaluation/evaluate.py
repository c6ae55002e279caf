"""`framevit evaluate` as a function: tests a model on labelled pictures and writes the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from frame_vit.evaluation.directions import check_costs
from frame_vit.evaluation.report import write_evaluation
from frame_vit.evaluation.results import Evaluation, evaluate_split
from frame_vit.evaluation.robustness import robustness
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, select_split
from frame_vit.runs.environment import RunFacts
from frame_vit.system.files import check_writable
from frame_vit.system.progress import Tick, silent


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, the folder it was written to (None: nowhere), and how many rows could not be used."""

    evaluation: Evaluation
    folder: Path | None
    skipped: int


def evaluate(
    predictor: Predictor,
    request: DataRequest,
    output: Path | None = None,
    corrupt: bool = False,
    tick: Tick = silent,
) -> Evaluated:
    """Tests a model on a split of its run's own data, or on a whole other data set.

    With `corrupt`, the robustness against corrupted pictures is measured, too. The report goes to `output`, else into
    the run; without either it is not written. Raises `UsageError` if `output` cannot be written, and what `check_costs`
    and `select_split` raise.
    """
    costs, run = request.config.decision.costs, predictor.run
    check_costs(predictor.labels, costs)
    check_writable(output)
    selected = select_split(predictor.metadata, run, request, tick)
    split, skipped = selected.split, len(selected.dataset.rejects)
    evaluation = evaluate_split(predictor, split, costs, tick)
    measured = robustness(predictor, split, evaluation.judged, tick) if corrupt else None
    evaluation = evaluation.completed(skipped, measured)
    folder = output or (run / "evaluation" / selected.name if run else None)
    if folder:
        facts = RunFacts.of(str(run or "given"), selected.dataset, selected.name)
        write_evaluation(evaluation, predictor, folder, facts)
    return Evaluated(evaluation, folder, skipped)
