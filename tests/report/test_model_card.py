"""The model card says what the model is and how good it was on its test."""

from __future__ import annotations

import pytest
import yaml

from frame_vit.data import demo
from frame_vit.decision.rates import UNDEFINED, rate
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.labels import LabelSpace
from frame_vit.report.model_card import CardScores, model_card, percent

SPACE = LabelSpace.build(demo.NAMES, ["passed"], demo.SYMMETRIES)
PLAIN = Preprocessing(8, 8)
SCORES = CardScores("test", 20, 0.75, 0.5, rate(1, 16), UNDEFINED)


def test_hubs_can_read_the_front_matter() -> None:
    _, front, body = model_card(SPACE, PLAIN, "scratch", SCORES).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "image-classification",
        "tags": ["framevit"],
    }
    assert body.startswith("# An image classifier trained with framevit")


def test_the_scores_stand_with_their_split_and_intervals() -> None:
    card = model_card(SPACE, PLAIN, "scratch", SCORES)
    assert "On the 20 pictures of the test split: accuracy 0.7500, macro-F1 0.5000, escape rate 6.25%" in card
    assert "overkill rate not defined" in card


def test_classes_good_classes_and_symmetries_are_listed() -> None:
    card = model_card(SPACE, PLAIN, "google/vit-base-patch16-224", SCORES)
    assert "Started from google/vit-base-patch16-224." in card
    assert ", ".join(f"`{name}`" for name in SPACE.names) in card
    assert "Good classes: `passed`." in card
    assert "hflip: Xplus becomes Xminus, Xminus becomes Xplus; vflip: Yplus becomes Yminus" in card


def test_what_is_not_declared_is_said() -> None:
    card = model_card(LabelSpace.build(["a", "b"], symmetries={"hflip": {}}), PLAIN, "scratch", SCORES)
    assert "Good classes: none declared." in card
    assert "mirrored or turned: hflip: no class changes." in card
    bare = model_card(LabelSpace.build(["a", "b"]), PLAIN, "scratch", SCORES)
    assert "mirrored or turned: nothing is declared." in bare


def test_a_region_of_interest_is_named_only_where_there_is_one() -> None:
    assert "region" not in model_card(SPACE, PLAIN, "scratch", SCORES)
    cut = model_card(SPACE, Preprocessing(8, 8, roi=(0.2, 0.0, 0.8, 1.0)), "scratch", SCORES)
    assert "the region [0.2, 0.0, 0.8, 1.0] (xyxy)" in cut


@pytest.mark.parametrize("hits", [0, 3, 30])
def test_a_rate_in_words_has_its_interval_and_number(hits: int) -> None:
    share = rate(hits, 30)
    said = percent(share)
    assert said.startswith(f"{hits / 30:.2%} (95 % interval {share.low:.2%} to {share.high:.2%}")
    assert said.endswith("n = 30)")
