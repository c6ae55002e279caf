"""Which pictures a model is evaluated on: the split of its run as it was, another data set, or an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from frame_vit.config.load import dump_config
from frame_vit.config.schema import Config
from frame_vit.data import demo
from frame_vit.data.dataset import Dataset, read_dataset
from frame_vit.errors import UsageError
from frame_vit.images.preprocessing import Preprocessing
from frame_vit.model.metadata import ModelMetadata
from frame_vit.runs import data
from frame_vit.runs.data import (
    DataRequest,
    calibration_split,
    evaluation_config,
    pictures_fingerprint,
    recorded_fingerprint,
    select_split,
)
from frame_vit.runs.environment import DataFacts
from frame_vit.system.files import write_json
from frame_vit.system.progress import silent
from tests.small import tiny

SEEN = Preprocessing(32, 32)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tiny(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def dataset(config: Config) -> Dataset:
    return read_dataset(config, SEEN)


@pytest.fixture
def metadata(dataset: Dataset) -> ModelMetadata:
    return ModelMetadata(dataset.labels, SEEN)


@pytest.fixture
def run(tmp_path: Path, config: Config, dataset: Dataset) -> Path:
    """A run folder as a training leaves it, as far as its data are concerned."""
    return recorded(tmp_path / "run", config, {name: dataset.split_fingerprint(name) for name in dataset.splits})


def recorded(folder: Path, config: Config, fingerprints: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(config))
    write_json(folder / "environment.json", {"data": {"splits": fingerprints}})
    return folder


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_of_the_run_is_the_one_of_its_training(
    run: Path, config: Config, dataset: Dataset, metadata: ModelMetadata, split: str
) -> None:
    selected = select_split(metadata, run, DataRequest(config, None, split), silent)
    assert selected.name == split
    assert [e.key for e in selected.split.examples] == [e.key for e in dataset.splits[split].examples]


def test_without_a_name_it_is_the_split_that_thresholds_are_chosen_on(
    run: Path, config: Config, metadata: ModelMetadata
) -> None:
    assert select_split(metadata, run, DataRequest(config), silent).name == "val"


def test_a_split_that_has_changed_since_is_refused(run: Path, config: Config, metadata: ModelMetadata) -> None:
    changed = config.model_copy(update={"data": config.data.model_copy(update={"val_fraction": 0.4})})
    with pytest.raises(UsageError, match="val split is not the one of the training any more") as error:
        select_split(metadata, run, DataRequest(changed, None, "val"), silent)
    assert "--data" in error.value.hint


def test_another_data_set_is_read_whole_and_needs_no_run(
    config: Config, metadata: ModelMetadata, pictures: Path, tmp_path: Path
) -> None:
    for picture in list(pictures.iterdir()):
        (pictures / picture.stem).mkdir()
        picture.rename(pictures / picture.stem / picture.name)
    selected = select_split(metadata, None, DataRequest(config, str(pictures)), silent)
    assert len(selected.split.examples) == 5
    assert selected.split.pixels[:].shape == (5, 32, 32, 3)


def written(folder: Path, frames: list[demo.Frame]) -> None:
    for number, frame in enumerate(frames):
        (folder / frame.label).mkdir(parents=True, exist_ok=True)
        (folder / frame.label / f"{number}.jpg").write_bytes(demo.jpeg(frame))


def test_of_another_data_set_with_splits_the_test_is_taken_and_what_was_trained_on_is_counted(
    tmp_path: Path, config: Config, dataset: Dataset, metadata: ModelMetadata, caplog: pytest.LogCaptureFixture
) -> None:
    run = recorded(tmp_path / "run", config, {})
    write_json(run / "environment.json", {"data": DataFacts.of(dataset).to_json()})
    written(tmp_path / "set" / "test", demo.frames(5, 99))
    written(tmp_path / "set" / "train", demo.frames(4, 98))
    for number, example in enumerate(dataset.splits["train"].examples[:3]):
        (tmp_path / "set" / "train" / "Xplus").mkdir(exist_ok=True)
        (tmp_path / "set" / "train" / "Xplus" / f"again{number}.jpg").write_bytes(example.read())
    source = str(tmp_path / "set")
    selected = select_split(metadata, run, DataRequest(config, source), silent)
    assert (len(selected.split), selected.name[-9:]) == (5, "-set-test")
    assert "in the training" not in caplog.text
    whole = select_split(metadata, run, DataRequest(config, source, "all"), silent)
    assert (len(whole.split), whole.name[-8:]) == (12, "-set-all")
    assert f"3 of the 12 pictures of {whole.name} were in the training of {run}" in caplog.text


def test_a_run_that_did_not_record_its_pictures_says_so(
    run: Path, config: Config, metadata: ModelMetadata, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "set", demo.frames(5, 99))
    select_split(metadata, run, DataRequest(config, str(tmp_path / "set")), silent)
    assert "did not record its training pictures" in caplog.text


def test_a_model_without_a_run_has_no_split_of_its_own(config: Config, metadata: ModelMetadata) -> None:
    with pytest.raises(UsageError, match="belongs to no run") as error:
        select_split(metadata, None, DataRequest(config, None, "test"), silent)
    assert "--data" in error.value.hint


def test_a_request_without_a_split_gets_the_one_that_the_run_was_tested_on(tmp_path: Path, config: Config) -> None:
    both = recorded(tmp_path / "both", config, {"val": "a", "test": "b"})
    only_val = recorded(tmp_path / "only val", config, {"val": "a"})
    assert (data.tested_split(both), data.tested_split(only_val), data.tested_split(None)) == ("test", "val", "test")
    assert data.tested_request(only_val, DataRequest(config)).split == "val"
    assert data.tested_request(only_val, DataRequest(config, split="train")).split == "train"
    assert data.tested_request(only_val, DataRequest(config, "demo")).split is None


@pytest.mark.parametrize("text", ["", "{}", '{"data": null}', '{"data": {"splits": []}}'])
def test_a_fingerprint_that_is_not_recorded_is_none(tmp_path: Path, text: str) -> None:
    assert recorded_fingerprint(tmp_path, "val") is None
    (tmp_path / "environment.json").write_text(text)
    assert recorded_fingerprint(tmp_path, "val") is None
    assert recorded_fingerprint(None, "val") is None


def test_the_same_pictures_in_another_order_have_the_same_fingerprint(dataset: Dataset) -> None:
    split = dataset.splits["val"]
    backwards = replace(split, examples=split.examples[::-1])
    fewer = replace(split, examples=split.examples[1:])
    assert pictures_fingerprint(split) == pictures_fingerprint(backwards) != pictures_fingerprint(fewer)


def test_thresholds_are_chosen_on_val_with_a_warning_where_there_is_no_calibration_split(
    dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    splits = dataset.splits
    assert calibration_split(splits) is splits["val"]
    assert "data.calibration_fraction" in caplog.text
    caplog.clear()
    assert calibration_split(splits | {"calibration": splits["test"]}) is splits["test"]
    assert caplog.text == ""


def test_data_are_read_by_the_runs_config_or_another_with_overrides(run: Path, tmp_path: Path) -> None:
    assert evaluation_config(run, None, []).data.demo.train == 50
    assert evaluation_config(run, None, ["data.demo.train=7"]).data.demo.train == 7
    (tmp_path / "other.yaml").write_text("data: {demo: {train: 9}}")
    assert evaluation_config(run, tmp_path / "other.yaml", []).data.demo.train == 9
    assert evaluation_config(None, None, []).data.train == Config().data.train
