"""Temperature and thresholds: folded into the weights, stored with the model, obeyed by whoever loads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from frame_vit.backends.torch_backend import Torch
from frame_vit.config.schema import Config, DecisionConfig
from frame_vit.decision.settling import as_asked, settling_limit
from frame_vit.decision.thresholds import operating_point, promise
from frame_vit.decision.verdicts import Verdict, decide, scores, verdicts
from frame_vit.evaluation.calibrate import Overridden, choose_point, overridden
from frame_vit.model.classifier import Classifier
from frame_vit.model.metadata import METADATA_FILE, parse_metadata
from frame_vit.model.saving import divide_logits, load_trained, save
from frame_vit.prediction.predictor import Predictor
from frame_vit.system.progress import silent
from tests.small import begin, tiny

SMALL = {"hidden_sizes": [8, 8], "depths": [1, 1], "num_labels": 3}
MODELS = {
    "vit": lambda: ViTForImageClassification(
        ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, num_labels=3
        )
    ),
    "convnext": lambda: ConvNextForImageClassification(ConvNextConfig(num_stages=2, **SMALL)),
    "resnet": lambda: ResNetForImageClassification(ResNetConfig(embedding_size=8, **SMALL)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_temperature_in_the_head_divides_all_logits(name: str) -> None:
    torch.manual_seed(0)
    module: Any = MODELS[name]().eval()
    pictures = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        before = module(pixel_values=pictures).logits
        divide_logits(module, 2.5)
        after = module(pixel_values=pictures).logits
    assert torch.allclose(after * 2.5, before, atol=1e-5)
    assert before.abs().max() > 1e-3


@pytest.mark.parametrize(("fraction", "split"), [(0.2, "calibration"), (0.0, "val")])
def test_the_thresholds_are_chosen_on_the_calibration_split_or_else_on_val_and_said(
    tmp_path: Path, fraction: float, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path, f"data.calibration_fraction={fraction}", "decision.review_budget=0.3")
    classifier, prepared = begin(config)
    with caplog.at_level("INFO", "framevit"):
        choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    loaded = load_trained(str(tmp_path / "model"))
    point = loaded.metadata.operating_point
    assert point is not None
    assert point.basis.split == split
    assert point.basis.views == ("identity", "hflip", "vflip", "rot180")
    assert point.claim.n == sum(prepared.splits[split].counts(5)[1:])
    assert ("thresholds are chosen on val, which also chose" in caplog.text) == (split == "val")
    assert promise(point) in caplog.text
    assert loaded.metadata.temperature != 1
    predictor = Predictor(Torch(loaded, "cpu", "fp32"))
    logits = predictor.answer_all(prepared.splits[split].pixels).averaged
    judged = decide(logits, predictor.labels, predictor.metadata.operating_point)
    assert judged is not None
    assert (judged == verdicts(scores(logits, predictor.labels), point)).all()
    assert 0 < (judged == Verdict.REVIEW).mean() <= 0.3
    assert json.loads((tmp_path / "model" / METADATA_FILE).read_text())["decision"]["claim"]["met"] is False


def test_a_training_can_hold_the_target_in_every_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tiny(tmp_path, "data.calibration_fraction=0.2", "decision.per_class=true")
    classifier, prepared = begin(config)
    with caplog.at_level("INFO", "framevit"):
        choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    point = load_trained(str(tmp_path / "model")).metadata.operating_point
    assert point is not None
    assert point.basis.per_class is not None
    counts = prepared.splits["calibration"].counts(5)[1:]
    assert [claim.n for claim in point.basis.per_class.values()] == list(counts)
    assert point.claim.n == sum(counts)
    said = next(record for record in caplog.records if record.getMessage() == promise(point))
    assert said.levelname == "WARNING", "so few parts prove nothing"


def test_what_overrides_name_is_changed_and_the_rest_kept() -> None:
    config = Config(decision=DecisionConfig(per_class=True, unlike="note"))
    assert overridden(config, []) == Overridden()
    assert overridden(config, ["decision.per_class=true"]) == Overridden(per_class=True)
    assert overridden(config, ["decision.unlike=note", "decision.tta=all"]) == Overridden("note", "all")


def test_auto_asks_for_more_views_only_where_one_leaves_doubt_and_chooses_thresholds_on_those_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny(tmp_path, "data.calibration_fraction=0.2", "decision.tta=auto", "decision.tta_changed=0.5")
    classifier, prepared = begin(config)
    with caplog.at_level("INFO", "framevit"):
        choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    loaded, split = load_trained(str(tmp_path / "model")), prepared.splits["calibration"]
    limit, point = loaded.metadata.settling_limit, loaded.metadata.operating_point
    assert limit is not None
    assert point is not None
    predictor = Predictor(Torch(loaded, "cpu", "fp32"))
    full = predictor.answer_all(split.pixels, all_views=True)
    assert limit == settling_limit(
        prepared.splits["val"].labels,
        predictor.answer_all(prepared.splits["val"].pixels, all_views=True).logits,
        predictor.labels,
        config.decision,
        0.5,
    )
    asked = predictor.answer_all(split.pixels)
    assert asked.logits == pytest.approx(as_asked(full.logits, limit), abs=1e-5)
    assert 1 <= predictor.views_asked(full.single) < 4
    chosen = operating_point(split.labels, scores(asked.averaged, predictor.labels), predictor.labels, config.decision)
    assert chosen is not None
    assert point.accept_below == pytest.approx(chosen.accept_below, abs=1e-6)
    assert point.claim == chosen.claim
    assert f"{predictor.views_asked(full.single):.2f} of 4 views a picture on average; on calibration" in caplog.text
    assert "not proven" not in caplog.text
    alone = Predictor(Torch(loaded, "cpu", "fp32"), tta=False)
    assert alone.settling_limit is None
    assert not alone.as_chosen


def test_auto_without_pictures_of_its_own_for_the_thresholds_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier, prepared = begin(config := tiny(tmp_path, "decision.tta=auto"))
    choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    assert "so their promise is not proven for it" in caplog.text


def test_auto_without_symmetries_is_the_only_view(tmp_path: Path) -> None:
    config = tiny(tmp_path, "decision.tta=auto", "labels.symmetries={}")
    classifier, prepared = begin(config)
    choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    assert load_trained(str(tmp_path / "model")).metadata.settling_limit is None


def test_without_a_fine_class_only_the_temperature_is_chosen(tmp_path: Path) -> None:
    config = tiny(tmp_path, "labels.ok=[]")
    classifier, prepared = begin(config)
    choose_point(classifier, tmp_path / "model", prepared.splits, config, silent)
    loaded = load_trained(str(tmp_path / "model"))
    assert loaded.metadata.operating_point is None
    assert loaded.metadata.temperature != 1


EARLIER = {
    "format": 1,
    "framevit": "0.3.0",
    "labels": {"names": ["passed", "Xplus"], "ok": ["passed"], "symmetries": {}, "aliases": {}},
    "pixels": {
        "height": 32, "width": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "scale": 0.00392156862745098,
        "resample": 2, "resize": None, "bit_depth": 8, "roi": None,
    },
}  # fmt: skip
"""framevit.json as version 0.3 wrote it: no thresholds, no temperature, no novelty reference."""
POINT_04 = {
    "accept_below": 0.25,
    "reject_from": 0.75,
    "claim": {
        "target": 0.005, "confidence": 0.95, "n": 8, "escapes": 0, "bound": 0.31, "needed": 598, "met": False,
    },
    "chosen_on": "val",
    "facts": {"good": 2, "bad": 8, "bad_share": None, "pictures": "ab", "views": ["identity"], "precision": "fp32"},
}  # fmt: skip
"""The thresholds of version 0.4, which did not know of other backends than torch."""


def test_a_model_of_version_0_3_loads_without_thresholds() -> None:
    metadata = parse_metadata(json.dumps(EARLIER), "framevit.json")
    assert (metadata.operating_point, metadata.temperature, metadata.novelty) == (None, 1.0, None)


def test_a_model_of_version_0_4_keeps_its_thresholds() -> None:
    metadata = parse_metadata(json.dumps(EARLIER | {"framevit": "0.4.0", "decision": POINT_04}), "framevit.json")
    point = metadata.operating_point
    assert point is not None
    assert (point.accept_below, point.reject_from, point.basis.split) == (0.25, 0.75, "val")
    assert point.basis.answered_by("bf16") == ("torch", "fp32")
    assert metadata.to_json()["decision"] == POINT_04


def test_a_model_of_an_earlier_version_has_no_thresholds(tmp_path: Path) -> None:
    classifier, _ = begin(tiny(tmp_path))
    save(classifier, tmp_path / "model")
    settings = json.loads((tmp_path / "model" / METADATA_FILE).read_text())
    del settings["decision"], settings["temperature"]
    (tmp_path / "model" / METADATA_FILE).write_text(json.dumps(settings))
    loaded = load_trained(str(tmp_path / "model"))
    assert (loaded.metadata.operating_point, loaded.metadata.temperature) == (None, 1.0)
    assert isinstance(replace(loaded, revision="x"), Classifier)
