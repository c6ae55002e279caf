"""Temperature and thresholds of a trained model: chosen on a split, through the predictor, and stored with the model.

`choose_point` is the last step of a training: it saves the model with its temperature, its novelty reference and its
thresholds. `calibrate` is `framevit calibrate`: it chooses only the thresholds again, for another target or on other
pictures; the weights stay.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config, DecisionConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import NoveltyReference, distances, novelty_reference, sample_rows
from frame_vit.decision.settling import as_asked, changes, settling_limit
from frame_vit.decision.temperature import fit_temperature
from frame_vit.decision.thresholds import OperatingPoint, operating_point, promise
from frame_vit.decision.verdicts import scores
from frame_vit.errors import DataError, UsageError
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import padded_areas
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import METADATA_FILE, write_metadata
from frame_vit.model.saving import divide_logits, load_trained, save
from frame_vit.prediction.answers import Answers
from frame_vit.prediction.predictor import Predictor, picture_features
from frame_vit.runs.data import DataRequest, SelectedSplit, calibration_split, pictures_fingerprint, select_split
from frame_vit.system.progress import Tick, log, silent


def choose_point(classifier: Classifier, folder: Path, splits: dict[str, Split], config: Config, tick: Tick) -> None:
    """Saves the model in the folder: logits divided by the fitted temperature, novelty reference, thresholds.

    They are chosen on the calibration split or, where there is none, on the validation split. The latter has then been
    used twice, and a warning says so.
    """
    split = calibration_split(splits)
    save(classifier, folder)
    training = config.training
    # The saved model answers, because that is the one that `predict` will load.
    predictor = Predictor(Torch(load_trained(str(folder)), training.device, training.precision))
    temperature = fit_temperature(split.labels, predictor.answer_all(split.pixels, tick).averaged)
    divide_logits(classifier.module, temperature)
    save(replace(classifier, metadata=replace(classifier.metadata, temperature=temperature)), folder)
    log.info("temperature %.3f, chosen on %d pictures of %s", temperature, len(split), split.name)
    # It answers once more: in half precision, divided weights do not give exactly the divided logits.
    backend = Torch(load_trained(str(folder)), training.device, training.precision)
    answers = Predictor(backend).answer_all(split.pixels, tick)
    reference = reference_of(Predictor(backend), splits, answers, config.decision.unlike, tick)
    limit = choose_settling(Predictor(backend), splits["val"], config, tick)
    backend.metadata = replace(backend.metadata, novelty=reference, settling_limit=limit)
    write_metadata(backend.metadata, folder)
    point = choose_thresholds(Predictor(backend), folder, split, answers, config.decision)
    if point is None and classifier.labels.ok:
        log.warning("%s has no good or no bad parts: no thresholds are chosen, the class decides", split.name)
    elif point is not None:
        log.log(logging.INFO if point.claim.met else logging.WARNING, "%s", promise(point))


def reference_of(
    predictor: Predictor, splits: dict[str, Split], held_out: Answers, action: str, tick: Tick = silent
) -> NoveltyReference:
    """The novelty reference from the features of all splits but the test.

    The embeddings are those of up to 512 training pictures; `held_out` are the answers for pictures that the model was
    not trained on, which therefore set the limit for the distance to them.
    """
    known = [split for name, split in splits.items() if name != "test"]
    examples = [example for split in known for example in split.examples]
    measures = measure([split.pixels for split in known], tick, padded_areas(examples, predictor.preprocessing))
    train = splits["train"].pixels
    embeddings = predictor.embeddings(PixelArray(train, np.array(sample_rows(len(train)), np.int64)))
    held_out_distances = distances(held_out.embedding, embeddings)
    return novelty_reference(picture_features(examples, measures), held_out_distances, embeddings, action)


def choose_settling(predictor: Predictor, split: Split, config: Config, tick: Tick) -> float | None:
    """For `decision.tta: auto`, the doubt below which the untouched view of a picture answers for all.

    It is chosen on the validation split: with pictures that thresholds are chosen on, their promise would not hold.
    None where every picture is to be asked in all views.
    """
    if config.decision.tta == "all" or len(predictor.views) == 1:
        return None
    answers = predictor.answer_all(split.pixels, tick, all_views=True)
    most = config.export.int8_changed
    return settling_limit(split.labels, answers.logits, predictor.labels, config.decision, most)


def choose_thresholds(
    predictor: Predictor,
    folder: Path,
    split: Split,
    answers: Answers,
    config: DecisionConfig,
    action: str | None = None,
) -> OperatingPoint | None:
    """Chooses thresholds for the model in the folder on this split, and stores them there; its weights stay.

    `answers` are those in all views. None where no class is good, or the split has no good or no bad parts; then
    nothing is stored. With `action`, what happens to pictures that are out of distribution changes as well.
    """
    space, limit = predictor.labels, predictor.settling_limit
    asked = answers._replace(logits=as_asked(answers.logits, limit))
    point = operating_point(split.labels, scores(asked.averaged, space), space, config) if space.ok else None
    if limit is not None:
        differ = int(changes(split.labels, answers.logits, limit, space, config).sum())
        log.info(
            "test-time augmentation: %.2f of %d views a picture on average; on %s, %d of %d classes or decisions are "
            "others than with all views",
            *(predictor.views_asked(answers.single), len(predictor.views), split.name, differ, len(split)),
        )
    if point is None:
        return None
    basis = replace(
        point.basis,
        split=split.name,
        pictures_fingerprint=pictures_fingerprint(split),
        views=tuple(view.name for view, _ in predictor.views),
        backend=predictor.backend.name,
        precision=predictor.precision,
    )
    point = replace(point, basis=basis)
    reference = predictor.metadata.novelty
    if action is not None and reference is not None:
        reference = replace(reference, action=action)
    elif action is not None:
        log.warning("this model has no novelty reference, because it was trained by an earlier framevit")
    write_metadata(replace(predictor.metadata, operating_point=point, novelty=reference), folder)
    return point


def novelty_action(config: Config, overrides: Sequence[str]) -> str | None:
    """What becomes of pictures that are out of distribution, if an override says so; None: as it is stored."""
    overridden = any(text.partition("=")[0].strip() == "decision.unlike" for text in overrides)
    return config.decision.unlike if overridden else None


def calibrate(
    predictor: Predictor, request: DataRequest, tick: Tick = silent, action: str | None = None
) -> OperatingPoint:
    """Chooses a model's thresholds again, by the `decision` section of the config, and stores them in its folder.

    On a whole other data set, or on the calibration split of its run, else on its validation split. With `action`, what
    happens to pictures that are out of distribution changes as well. Raises `UsageError` where the model has no folder
    here or no good class, `DataError` where there are no good or no bad parts.
    """
    assert predictor.place is not None
    folder = predictor.place.path
    if not (folder / METADATA_FILE).is_file():
        raise UsageError(f"{folder} is no folder with a {METADATA_FILE}, so there is no place to store thresholds in")
    if not predictor.labels.ok:
        raise UsageError("this model calls no class good (labels.ok), so nothing can be accepted")
    request = replace(request, usual=("calibration", "val"))
    selected = select_split(predictor.metadata, predictor.run, request, tick)
    if any(folder.glob("*.onnx")):
        log.warning(
            "exported files keep the thresholds that they had. In this folder the new ones apply to them, too; for use "
            "elsewhere, export again"
        )
    limit = _settling_again(predictor, request, selected, tick)
    predictor.backend.metadata = replace(predictor.metadata, settling_limit=limit)
    answers = predictor.answer_all(selected.split.pixels, tick, all_views=True)
    point = choose_thresholds(predictor, folder, selected.split, answers, request.config.decision, action)
    if point is None:
        raise DataError(f"{selected.name} has no good or no bad parts to choose thresholds by")
    return point


def _settling_again(predictor: Predictor, request: DataRequest, selected: SelectedSplit, tick: Tick) -> float | None:
    """The settling limit chosen again on the run's validation split; on another data set the model's own is kept.

    Raises `UsageError` where there is none to keep.
    """
    if request.config.decision.tta == "all":
        return None
    if request.source is None:
        return choose_settling(predictor, selected.dataset.splits["val"], request.config, tick)
    if predictor.metadata.settling_limit is None:
        raise UsageError(
            "decision.tta: auto is chosen on the validation split of the run, not on another data set",
            "Leave out --data",
        )
    return predictor.metadata.settling_limit
