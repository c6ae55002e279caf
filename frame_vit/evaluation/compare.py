"""`framevit compare`: two models on the same pictures, where they differ, and whether that could be chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frame_vit.decision.rates import Ids, Logits, rate
from frame_vit.decision.thresholds import ACCEPT, REJECT, REVIEW, VERDICTS, Verdicts
from frame_vit.errors import DataError, UsageError
from frame_vit.images.measures import measure
from frame_vit.labels import LabelSpace
from frame_vit.prediction.predictor import Predictor
from frame_vit.runs.data import DataRequest, recorded_fingerprint, select_split
from frame_vit.system.progress import Tick, log, silent

LEVEL = 0.05


def mcnemar(one_right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> dict[str, float | int]:
    """The exact test (McNemar 1947, binomial): on how many only one of the two is right, and how likely by chance."""
    from scipy.stats import binomtest

    only_one, only_other = int((one_right & ~other_right).sum()), int((~one_right & other_right).sum())
    p = float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0
    return {"only_a": only_one, "only_b": only_other, "p": p}


def compare_arrays(
    labels: Ids, logits: tuple[Logits, Logits], judged: tuple[Verdicts | None, Verdicts | None], space: LabelSpace
) -> dict[str, Any]:
    """Classes, escapes and overkill of models A and B on the same parts, and which decisions differ (by row)."""
    right = [each.argmax(axis=1) == labels for each in logits]
    good = np.isin(labels, space.ok_ids)
    found: dict[str, Any] = {
        "n": len(labels),
        "accuracy": {"a": rate(int(right[0].sum()), len(labels)), "b": rate(int(right[1].sum()), len(labels))}
        | mcnemar(*right),
    }
    if judged[0] is not None and judged[1] is not None:
        everything = np.ones(len(labels), bool)
        kinds = (("escape_rate", ACCEPT, ~good), ("overkill_rate", REJECT, good), ("review_rate", REVIEW, everything))
        for name, verdict, parts in kinds:
            fine = [(each[parts] != verdict) for each in judged if each is not None]
            rates = {key: rate(int((~there).sum()), int(parts.sum())) for key, there in zip("ab", fine, strict=True)}
            found[name] = rates | mcnemar(*fine)
        found["changed"] = [
            {"row": int(i), "a": VERDICTS[judged[0][i]], "b": VERDICTS[judged[1][i]]}
            for i in np.flatnonzero(judged[0] != judged[1])
        ]
    found["verdict"] = verdict_on(found)
    return found


def verdict_on(found: dict[str, Any]) -> str:
    """One sentence: who is better at what, or that no difference can be shown."""
    words = {"accuracy": "names the class more often rightly", "escape_rate": "lets fewer bad parts escape"}
    words |= {"overkill_rate": "rejects fewer good parts", "review_rate": "sends fewer parts to review"}
    asked = [key for key in words if key in found]
    said = []
    for key, better in words.items():
        # So many questions are asked of the same parts (Bonferroni).
        if key in found and found[key]["p"] * len(asked) < LEVEL:
            there = found[key]
            winner = "A" if there["only_a"] > there["only_b"] else "B"
            high, low = sorted((there["only_a"], there["only_b"]), reverse=True)
            said.append(f"{winner} {better} ({high} against {low}, p = {there['p']:.2g})")
    if said:
        return "; ".join(said) + "."
    unlike = found["accuracy"]["only_a"] + found["accuracy"]["only_b"]
    return (
        f"No difference can be shown on these {found['n']} pictures: only one of the two is right on {unlike} of them "
        f"(p = {found['accuracy']['p']:.2g})."
    )


def compare(one: Predictor, other: Predictor, request: DataRequest, tick: Tick = silent) -> dict[str, Any]:
    """Two models on the same pictures: a split of the first one's run, or all of another data set.

    Raises `UsageError` where the two know different classes.
    """
    if {*one.labels.names} != {*other.labels.names} or one.labels.ok != other.labels.ok:
        raise UsageError(
            "the two models know different classes, or call others fine: "
            f"{', '.join(one.labels.names)} against {', '.join(other.labels.names)}"
        )
    config = request.config
    config = config.model_copy(update={"data": config.data.model_copy(update={"slice_by": None, "part_by": None})})
    request = replace(request, config=config)
    answers, judged, asked = [], [], []
    for predictor in (one, other):
        selected = select_split(predictor.metadata, one.run, request, tick)
        there = selected.split
        asked.append(there.examples)
        found = predictor.split_answers(there.pixels, tick)
        logits = found.logits.mean(axis=1)
        odd = predictor.odd(there.examples, found, measure([there.pixels]))
        judged.append(predictor.judged(logits, odd))
        answers.append(logits[:, [predictor.labels.names.index(name) for name in one.labels.names]])
    if [e.digest for e in asked[0]] != [e.digest for e in asked[1]]:
        raise DataError("the two models cannot use the same pictures of this data: their bit depth or region differ")
    name = selected.name
    own_data = request.source is None and other.run is not None
    if own_data and recorded_fingerprint(other.run, name) != selected.dataset.split_fingerprint(name):
        log.warning("%s divided its data otherwise: it may have been trained on pictures of this %s", other.run, name)
    labels = np.array([example.label for example in asked[0]], np.int64)
    result = compare_arrays(labels, (answers[0], answers[1]), (judged[0], judged[1]), one.labels)
    for row in result.get("changed", []):
        example = asked[0][row.pop("row")]
        row |= {"file": example.key, "true": one.labels.names[example.label]}
    return {"split": name} | result
