"""A trained model's temperature and thresholds: chosen on a split, through the predictor, and stored with it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config, DecisionConfig
from frame_vit.data.examples import Split
from frame_vit.decision.novelty import NoveltyReference, distances, some, usual
from frame_vit.decision.temperature import fit_temperature
from frame_vit.decision.thresholds import OperatingPoint, operating_point, promise, scores
from frame_vit.errors import DataError, UsageError
from frame_vit.images.measures import measure
from frame_vit.images.pixel_array import PixelArray
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import METADATA_FILE, write_metadata
from frame_vit.model.saving import divide_logits, load_trained, save
from frame_vit.prediction.predictor import Predictor, looks
from frame_vit.runs.data import DataRequest, calibration_split, pictures, select_split
from frame_vit.system.progress import Tick, log, silent


def choose_point(classifier: Classifier, folder: Path, splits: dict[str, Split], config: Config, tick: Tick) -> None:
    """Saves the model into the folder, its logits divided by the fitted temperature, with its thresholds.

    They are chosen on the calibration split or, where there is none, on the validation split, which has then been used
    twice: that is said.
    """
    split = calibration_split(splits)
    save(classifier, folder)
    settings = config.training
    # What is asked is what lies on the disk, as `predict` will ask it.
    predictor = Predictor(Torch(load_trained(str(folder)), settings.device, settings.precision))
    logits = predictor.split_logits(split.pixels, tick).mean(axis=1)
    temperature = fit_temperature(split.labels, logits)
    divide_logits(classifier.module, temperature)
    save(replace(classifier, metadata=replace(classifier.metadata, temperature=temperature)), folder)
    log.info("temperature %.3f, chosen on %d pictures of %s", temperature, len(split), split.name)
    # Asked once more: in half precision, divided weights do not give exactly the divided answers.
    backend = Torch(load_trained(str(folder)), settings.device, settings.precision)
    was = usual_of(Predictor(backend), splits, split, config.decision.unlike, tick)
    backend.metadata = replace(backend.metadata, novelty=was)
    write_metadata(backend.metadata, folder)
    point = choose_thresholds(Predictor(backend), folder, split, config.decision, tick)
    if point is None and classifier.labels.ok:
        log.warning("%s has no good or no bad parts: no thresholds are chosen, the class decides", split.name)
    elif point is not None:
        log.log(logging.INFO if point.claim.met else logging.WARNING, "%s", promise(point))


def usual_of(
    predictor: Predictor, splits: dict[str, Split], apart: Split, mode: str, tick: Tick = silent
) -> NoveltyReference:
    """What the pictures that a model was made with are like: all but those of the test.

    Embeddings are those of up to 512 training pictures; `apart` is the split that says how far from them others lie.
    """
    parts = [split for name, split in splits.items() if name != "test"]
    examples = [example for part in parts for example in part.examples]
    found = measure([part.pixels for part in parts], tick)
    train = splits["train"].pixels
    kept = predictor.embeddings(PixelArray(train, np.array(some(len(train)), np.int64)))
    return usual(looks(examples, found), distances(predictor.embeddings(apart.pixels), kept), kept, mode)


def choose_thresholds(
    predictor: Predictor, folder: Path, split: Split, settings: DecisionConfig, tick: Tick, mode: str | None = None
) -> OperatingPoint | None:
    """Chooses thresholds for the model in the folder on this split, and stores them there; its weights stay.

    None where no class is fine, or the split has no good or no bad parts; then nothing is stored. With
    `mode`, what becomes of pictures unlike the training's is changed, too.
    """
    space = predictor.labels
    if not space.ok:
        return None
    found = scores(predictor.split_logits(split.pixels, tick).mean(axis=1), space)
    point = operating_point(split.labels, found, space, settings)
    if point is None:
        return None
    facts = point.facts | {
        "pictures": pictures(split),
        "views": [view.name for view, _ in predictor.views],
        "backend": predictor.backend.name,
        "precision": predictor.precision,
    }
    point = replace(point, chosen_on=split.name, facts=facts)
    was = predictor.metadata.novelty
    if mode is not None and was is not None:
        was = replace(was, mode=mode)
    elif mode is not None:
        log.warning("this model does not know what its pictures were like: it was trained by an earlier framevit")
    write_metadata(replace(predictor.metadata, operating_point=point, novelty=was), folder)
    return point


def calibrate(
    predictor: Predictor, request: DataRequest, tick: Tick = silent, mode: str | None = None
) -> OperatingPoint:
    """Chooses a model's thresholds anew, by the `decision` keys of the config, and stores them in its folder.

    `mode` is what shall become of pictures unlike the training's (None: as before).

    On all of `data`, or on the calibration split of its run, else its validation split. Raises `UsageError` where the
    model has no folder here or no class that is fine, `DataError` where there are no good or no bad parts.
    """
    assert predictor.place is not None
    folder = predictor.place.path
    if not (folder / METADATA_FILE).is_file():
        raise UsageError(f"{folder} is no folder with a {METADATA_FILE}, so there is no place to store thresholds in")
    if not predictor.labels.ok:
        raise UsageError("this model calls no class fine (labels.ok), so nothing can be accepted")
    selected = select_split(predictor.metadata, predictor.run, request, tick)
    if any(folder.glob("*.onnx")):
        log.warning(
            "exported files keep the thresholds that they had; beside the weights they obey the new ones, for other "
            "places export again"
        )
    point = choose_thresholds(predictor, folder, selected.split, request.config.decision, tick, mode)
    if point is None:
        raise DataError(f"{selected.name} has no good or no bad parts to choose thresholds by")
    return point
