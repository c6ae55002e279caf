"""A trained model's temperature and thresholds: chosen on a split, through the predictor, and stored with the model."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from frame_vit.calibration import fit_temperature
from frame_vit.data.cache import Rows
from frame_vit.data.examples import Split
from frame_vit.data.measures import measure
from frame_vit.decision import Operating, operating_point, scores
from frame_vit.model import Classifier
from frame_vit.predictor import Predictor, looks
from frame_vit.progress import Tick, log, silent
from frame_vit.saved import divide_logits, load_trained, save
from frame_vit.schema import Config, Decision
from frame_vit.settings import write_settings
from frame_vit.torch_backend import Torch
from frame_vit.unlike import Usual, distances, some, usual


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
    save(replace(classifier, temperature=temperature), folder)
    log.info("temperature %.3f, chosen on %d pictures of %s", temperature, len(split), split.name)
    # Asked once more: in half precision, divided weights do not give exactly the divided answers.
    backend = Torch(load_trained(str(folder)), settings.device, settings.precision)
    was = usual_of(Predictor(backend), splits, split, config.decision.unlike, tick)
    backend.settings = replace(backend.settings, usual=was)
    write_settings(backend.settings, folder)
    point = choose_thresholds(Predictor(backend), folder, split, config.decision, tick)
    if point is None and classifier.labels.ok:
        log.warning("%s has no good or no bad parts: no thresholds are chosen, the class decides", split.name)
    elif point is not None:
        log.log(logging.INFO if point.claim.met else logging.WARNING, "%s", promise(point))


def usual_of(predictor: Predictor, splits: dict[str, Split], apart: Split, mode: str, tick: Tick = silent) -> Usual:
    """What the pictures that a model was made with are like: all but those of the test.

    Embeddings are those of up to 512 training pictures; `apart` is the split that says how far from them others lie.
    """
    parts = [split for name, split in splits.items() if name != "test"]
    examples = [example for part in parts for example in part.examples]
    found = measure([part.pixels for part in parts], tick)
    train = splits["train"].pixels
    kept = predictor.embeddings(Rows(train, np.array(some(len(train)), np.int64)))
    return usual(looks(examples, found), distances(predictor.embeddings(apart.pixels), kept), kept, mode)


def pictures(split: Split) -> str:
    """A fingerprint of which pictures these are, to know them again."""
    return hashlib.sha256("".join(sorted(example.digest for example in split.examples)).encode()).hexdigest()


def calibration_split(splits: dict[str, Split]) -> Split:
    """What temperature and thresholds are chosen on."""
    if "calibration" in splits:
        return splits["calibration"]
    log.warning(
        "there is no calibration split: thresholds are chosen on val, which also chose the model, so what they promise "
        "is somewhat too good (data.calibration_fraction keeps one)"
    )
    return splits["val"]


def choose_thresholds(
    predictor: Predictor, folder: Path, split: Split, settings: Decision, tick: Tick, mode: str | None = None
) -> Operating | None:
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
    was = predictor.usual
    if mode is not None and was is not None:
        was = replace(was, mode=mode)
    elif mode is not None:
        log.warning("this model does not know what its pictures were like: it was trained by an earlier framevit")
    write_settings(replace(predictor.settings, point=point, usual=was), folder)
    return point


def promise(point: Operating) -> str:
    """What can be claimed, and what it would take to claim the target."""
    claim, overkill = point.claim, point.facts.get("overkill")
    said = (
        f"with {claim.confidence:.0%} confidence at most {claim.bound:.3%} of bad parts are accepted "
        f"({claim.escapes} of {claim.n} bad parts of {point.chosen_on})"
    )
    if not claim.met:
        said += (
            f"; that does not show the target of {claim.target:.3%}, which takes at least {claim.needed:,} bad parts"
        )
    if overkill:
        said += f"; at most {overkill['bound']:.3%} of good parts are rejected ({overkill['rejected']})"
        if overkill["bound"] > overkill["target"]:
            said += (
                f", where the target of {overkill['target']:.3%} needs at least {overkill['needed']:,}, none rejected"
            )
    return said
