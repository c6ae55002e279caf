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
from typing import NamedTuple

import numpy as np

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config, DecisionConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import NoveltyReference, distances, novelty_reference, sample_rows
from frame_vit.decision.settling import changes, settling_limit
from frame_vit.decision.temperature import fit_temperature
from frame_vit.decision.thresholds import OperatingPoint, operating_point, promise
from frame_vit.decision.verdicts import scores
from frame_vit.errors import DataError, UsageError
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import PixelArray
from frame_vit.images.preprocessing import padded_areas
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import METADATA_FILE, ModelMetadata, write_metadata
from frame_vit.model.saving import divide_logits, load_trained, save
from frame_vit.prediction.answers import Answers
from frame_vit.prediction.predictor import Predictor, picture_features
from frame_vit.runs.data import DataRequest, calibration_split, pictures_fingerprint, select_split
from frame_vit.system.progress import Tick, log, silent

NOT_PROVEN = (
    "decision.tta: auto is chosen on val, as the thresholds are, so their promise is not proven for it "
    "(data.calibration_fraction reserves pictures for the thresholds)"
)


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
    predictor = Predictor(backend)
    answers = predictor.answer_all(split.pixels, tick)
    reference = reference_of(predictor, splits, answers, config.decision.unlike, tick)
    backend.metadata = replace(backend.metadata, novelty=reference)
    limit = None
    if config.decision.tta == "auto":
        val = splits["val"]
        on_val = answers if split is val else predictor.answer_all(val.pixels, tick)
        limit = choose_settling(predictor, val, on_val, config.decision)
        if split is val:
            log.warning("%s", NOT_PROVEN)
    backend.metadata = replace(backend.metadata, settling_limit=limit)
    chosen = with_thresholds(predictor, split, answers, config.decision)
    if chosen is None and classifier.labels.ok:
        log.warning("%s has no good or no bad parts: no thresholds are chosen, the class decides", split.name)
    elif chosen is not None and (point := chosen.operating_point) is not None:
        log.log(logging.INFO if point.claim.met else logging.WARNING, "%s", promise(point))
    write_metadata(chosen or backend.metadata, folder)


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


def choose_settling(predictor: Predictor, split: Split, answers: Answers, config: DecisionConfig) -> float | None:
    """The doubt below which the untouched view of a picture answers for all, from a split's answers in all views.

    None for a model without symmetries, of which there is only one view.
    """
    if len(predictor.views) == 1:
        return None
    return settling_limit(split.labels, answers.logits, predictor.labels, config, config.tta_changed)


def with_thresholds(
    predictor: Predictor, split: Split, answers: Answers, config: DecisionConfig, action: str | None = None
) -> ModelMetadata | None:
    """The model's metadata with thresholds chosen on this split, whose `answers` are those in all views.

    None where no class is good, or the split has no good or no bad parts. With `action`, what happens to pictures that
    are out of distribution changes as well.
    """
    space, limit = predictor.labels, predictor.settling_limit
    if limit is not None:
        differ = int(changes(split.labels, answers.logits, limit, space, config).sum())
        log.info(
            "test-time augmentation: %.2f of %d views a picture on average; on %s, %d of %d classes or decisions are "
            "others than with all views",
            *(predictor.views_asked(answers.single), len(predictor.views), split.name, differ, len(split)),
        )
    averaged = predictor.as_asked(answers).averaged
    point = operating_point(split.labels, scores(averaged, space), space, config) if space.ok else None
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
    reference = predictor.metadata.novelty
    if action is not None and reference is not None:
        reference = replace(reference, action=action)
    elif action is not None:
        log.warning("this model has no novelty reference, because it was trained by an earlier framevit")
    return replace(predictor.metadata, operating_point=replace(point, basis=basis), novelty=reference)


class Overridden(NamedTuple):
    """What overrides change of what is stored with a model beside its thresholds; None: it stays as it is.

    `action` is what becomes of pictures that are out of distribution, `tta` whether they are asked in all views,
    `per_class` whether the target is for every defect class.
    """

    action: str | None = None
    tta: str | None = None
    per_class: bool | None = None


NOTHING = Overridden()


def overridden(config: Config, overrides: Sequence[str]) -> Overridden:
    """What the overrides, which are part of the config, change."""
    keys = {text.partition("=")[0].strip() for text in overrides}
    decision = config.decision
    return Overridden(
        decision.unlike if "decision.unlike" in keys else None,
        decision.tta if "decision.tta" in keys else None,
        decision.per_class if "decision.per_class" in keys else None,
    )


def calibrate(
    predictor: Predictor, request: DataRequest, tick: Tick = silent, change: Overridden = NOTHING
) -> OperatingPoint:
    """Chooses a model's thresholds again, by the `decision` section of the config, and stores them in its folder.

    On a whole other data set, or on the calibration split of its run, else on its validation split. What is to `change`
    beside them is stored, too. Raises `UsageError` where the model has no folder here or no good class, `DataError`
    where there are no good or no bad parts.
    """
    assert predictor.place is not None
    folder = predictor.place.path
    if not (folder / METADATA_FILE).is_file():
        raise UsageError(f"{folder} is no folder with a {METADATA_FILE}, so there is no place to store thresholds in")
    if not predictor.labels.ok:
        raise UsageError("this model calls no class good (labels.ok), so nothing can be accepted")
    request = replace(_as_stored(request, predictor, change), usual=("calibration", "val"))
    selected = select_split(predictor.metadata, predictor.run, request, tick)
    if any(folder.glob("*.onnx")):
        log.warning(
            "exported files keep the thresholds that they had. In this folder the new ones apply to them, too; for use "
            "elsewhere, export again"
        )
    before, limit = predictor.metadata, _settling_again(predictor, request, selected.name, change.tta, tick)
    answers = predictor.answer_all(selected.split.pixels, tick, all_views=True)
    predictor.backend.metadata = replace(before, settling_limit=limit)
    chosen = with_thresholds(predictor, selected.split, answers, request.config.decision, change.action)
    predictor.backend.metadata = chosen or before
    if chosen is None or chosen.operating_point is None:
        raise DataError(f"{selected.name} has no good or no bad parts to choose thresholds by")
    write_metadata(chosen, folder)
    return chosen.operating_point


def _as_stored(request: DataRequest, predictor: Predictor, change: Overridden) -> DataRequest:
    """The request with `decision.per_class` as the model's thresholds were chosen, unless that is to change."""
    stored = predictor.metadata.operating_point
    if stored is None or change.per_class is not None:
        return request
    decision = request.config.decision.model_copy(update={"per_class": stored.basis.per_class is not None})
    return replace(request, config=request.config.model_copy(update={"decision": decision}))


def _settling_again(
    predictor: Predictor, request: DataRequest, selected: str, tta: str | None, tick: Tick
) -> float | None:
    """The settling limit, chosen again on the run's validation split; on another data set the model's own is kept.

    `selected` is the name of the split that thresholds are chosen on. Raises `UsageError` where there is none to keep.
    """
    stored = predictor.metadata.settling_limit
    if (tta or ("all" if stored is None else "auto")) == "all" or len(predictor.views) == 1:
        return None
    if request.source is None:
        # Read on its own, so that its pictures are compared with those of the training.
        val = select_split(predictor.metadata, predictor.run, replace(request, split="val"), tick).split
        if selected == "val":
            log.warning("%s", NOT_PROVEN)
        answers = predictor.answer_all(val.pixels, tick, all_views=True)
        return choose_settling(predictor, val, answers, request.config.decision)
    if stored is None:
        raise UsageError(
            "decision.tta: auto is chosen on the validation split of the run, not on another data set",
            "Leave out --data",
        )
    return stored
