"""The real hub clients against a hub on the loopback: the notebook's data sets and models, by their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from frame_vit.data import demo
from frame_vit.errors import UsageError
from frame_vit.system.hub import TIMEOUT_S, hub_state, hub_timeout, is_hub_name
from tests.hub import Hub
from tests.processes import run_framevit, run_many

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL: list[str | Path] = ["--epochs", "1", "--batch-size", "8", "--device", "cpu"]
ONLINE = {"HF_HUB_OFFLINE": ""}


def write_data_set(folder: Path, count: int, seed: int) -> None:
    """One parquet file in the notebook's schema: image, prompt, response."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = demo.frames(count, seed)
    pictures = [{"bytes": demo.jpeg(frame), "path": f"{i}.jpg"} for i, frame in enumerate(frames)]
    features = {"image": {"_type": "Image"}, "prompt": _text(), "response": _text()}
    table = pa.table({"image": pictures, "prompt": ["<OD>"] * count, "response": [demo.response(f) for f in frames]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (folder / "data").mkdir(parents=True)
    pq.write_table(table, folder / "data" / "train-00000-of-00001.parquet")


def _text() -> dict[str, str]:
    return {"dtype": "string", "_type": "Value"}


def write_model(folder: Path, side: int, names: dict[int, str]) -> ViTForImageClassification:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(len(names))
    config = ViTConfig(
        image_size=side, patch_size=16, id2label=names, label2id={n: i for i, n in names.items()}, **sizes
    )
    model = ViTForImageClassification(config)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    owner = root / "datasets" / "YxBxRyXJx"
    write_data_set(owner / "FRAMEimages_train_1028", 40, 1)
    write_data_set(owner / "FRAMEimages_test_1028", 10, 2)
    thousand = {i: f"thing {i}" for i in range(1000)}
    write_model(root / "models" / "google" / "vit-large-patch16-224", 32, thousand)
    write_model(root / "models" / "google" / "vit-large-patch32-384", 48, thousand)
    order = ("Yminus", "Yplus", "Xminus", "Xplus", "passed")
    write_model(root / "models" / "YxBxRyXJx" / "tanshi-models", 32, dict(enumerate(order)))
    pickled = root / "models" / "google" / "pickled"
    model = write_model(pickled, 32, thousand)
    (pickled / "model.safetensors").unlink()
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    with Hub(root) as hub:
        yield hub


HEADS = {
    "vit-large-patch16-224": "a new head for 5 classes (the old one has 1000)",
    "vit-large-patch32-384": "a new head for 5 classes (the old one has 1000)",
    "tanshi-models": "its head is kept, re-ordered by name",
}


def begin(config: str) -> list[str | Path]:
    return ["train", "--config", CONFIGS / f"{config}.yaml", *SMALL]


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> tuple[Path, dict[str, str]]:
    """One training by each config that names the hub: their folder, and what each said."""
    folder = tmp_path_factory.mktemp("online")
    done = run_many(folder, [begin(config) for config in HEADS], HF_ENDPOINT=hub.endpoint, **ONLINE)
    for found in done:
        assert found.returncode == 0, found.stderr
    return folder, {config: found.stderr for config, found in zip(HEADS, done, strict=True)}


@pytest.mark.parametrize("config", HEADS)
def test_the_notebooks_names_train_and_test(online: tuple[Path, dict[str, str]], hub: Hub, config: str) -> None:
    folder, said = online
    assert HEADS[config] in said[config]
    run = folder / "runs" / f"{config}-001"
    facts = json.loads((run / "environment.json").read_text())
    commit = hub.snapshot("datasets", "YxBxRyXJx/FRAMEimages_train_1028").commit
    assert facts["data"]["sources"]["train"]["revision"] == commit
    assert facts["model_revision"]
    metrics = json.loads((run / "evaluation" / "test" / "metrics.json").read_text())
    assert (metrics["n"], metrics["labels"]) == (10, list(demo.NAMES))


def test_what_was_fetched_once_trains_again_without_the_hub(online: tuple[Path, dict[str, str]], hub: Hub) -> None:
    asked, runs = len(hub.requests), online[0] / "runs"
    again = run_framevit(online[0], *begin("tanshi-models"), HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(hub.requests) == asked
    first, second = (runs / f"tanshi-models-{n}" / "evaluation" / "test" / "metrics.json" for n in ("001", "002"))
    assert first.read_text() == second.read_text()


def test_predict_with_a_hub_model(tmp_path: Path, hub: Hub) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(demo.jpeg(demo.sample("Xplus", 1)))
    model: list[str | Path] = ["predict", "--model", "YxBxRyXJx/tanshi-models"]
    done, of_data = run_many(
        tmp_path,
        [[*model, picture, "--format", "json"], [*model, "--data", "YxBxRyXJx/FRAMEimages_test_1028"]],
        HF_ENDPOINT=hub.endpoint,
        **ONLINE,
    )
    assert done.returncode == of_data.returncode == 0, done.stderr + of_data.stderr
    (row,) = json.loads(done.stdout)
    names = [json.loads(line)["file"] for line in of_data.stdout.splitlines()]
    assert names == [f"YxBxRyXJx/FRAMEimages_test_1028/train[{i}]" for i in range(10)]
    assert set(row["probabilities"]) == set(demo.NAMES)
    assert row["decision"] is None
    assert "which classes are good parts" in done.stderr


def test_a_framevit_model_on_the_hub_keeps_what_it_knows(tmp_path: Path, hub: Hub, trained: Path) -> None:
    shutil.copytree(trained / "runs" / "tiny-001" / "model", hub.root / "models" / "me" / "terminals")
    picture = tmp_path / "a.jpg"
    picture.write_bytes(demo.jpeg(demo.sample("Xplus", 1)))
    command: list[str | Path] = ["predict", "--model", "me/terminals", picture, "--format", "json"]
    done = run_framevit(tmp_path, *command, HF_ENDPOINT=hub.endpoint, **ONLINE)
    assert done.returncode == 0, done.stderr
    local = run_framevit(trained, "predict", picture, "--format", "json")
    assert json.loads(done.stdout) == json.loads(local.stdout)


def test_names_the_hub_does_not_have_are_one_clear_error(tmp_path: Path, hub: Hub) -> None:
    expected = {
        ("--data", "nobody/nothing"): (2, "data set nobody/nothing is neither a local folder nor on the hub"),
        ("--model", "nobody/nothing"): (2, "model nobody/nothing is neither a local folder nor on the hub"),
        ("--model", "google/pickled"): (1, "model google/pickled has no safetensors weights"),
    }
    answers = run_many(
        tmp_path, [[*begin("vit-large-patch16-224"), *words] for words in expected], HF_ENDPOINT=hub.endpoint, **ONLINE
    )
    for answer, (code, said) in zip(answers, expected.values(), strict=True):
        flat = " ".join(answer.stderr.replace("│", " ").split())
        assert said in flat, answer.stderr
        assert answer.returncode == code
        assert "Traceback" not in answer.stderr
    assert not (tmp_path / "runs").exists()


def test_a_hub_that_does_not_answer_is_said_without_long_retries(tmp_path: Path) -> None:
    done = run_framevit(
        tmp_path,
        "train",
        "-c",
        CONFIGS / "vit-large-patch16-224.yaml",
        HF_ENDPOINT="http://127.0.0.1:9",
        **ONLINE,
    )
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Retrying" not in done.stderr


@pytest.mark.parametrize("name", ["gpt2", "owner/name", "owner/name.v1-2_x", "owner/name@main", "o/n@refs/pr/1"])
def test_names_on_the_hub_are_known_by_their_form(name: str) -> None:
    assert is_hub_name(name)


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "../up", "./here", "a..b/c", "owner/", "/root", "a b", "owner/name@", "."]
)
def test_paths_and_texts_are_no_names_on_the_hub(name: str) -> None:
    assert not is_hub_name(name)


def test_the_limit_comes_from_a_variable_and_must_be_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEVIT_HUB_TIMEOUT", raising=False)
    assert hub_timeout() == TIMEOUT_S
    monkeypatch.setenv("FRAMEVIT_HUB_TIMEOUT", "2.5")
    assert hub_timeout() == 2.5
    for text in ("soon", "-1", "0", "nan", "inf"):
        monkeypatch.setenv("FRAMEVIT_HUB_TIMEOUT", text)
        with pytest.raises(UsageError, match=f"FRAMEVIT_HUB_TIMEOUT={text} is no number of seconds"):
            hub_timeout()


@pytest.fixture
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_direct")
class TestState:
    def test_a_hub_that_accepts_a_connection_answers_and_gets_no_request(
        self, monkeypatch: pytest.MonkeyPatch, hub: Hub
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        requests = len(hub.requests)
        state = hub_state()
        assert (state.url, state.answers) == (hub.endpoint, True)
        assert len(hub.requests) == requests

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:port", "http://"])
    def test_one_that_cannot_be_reached_does_not_answer_and_why_is_said(
        self, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", url)
        state = hub_state(timeout=1.0)
        assert state.answers is False
        assert state.reason

    def test_offline_nothing_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert hub_state().answers is None
        assert "HF_HUB_OFFLINE" in hub_state().reason

    def test_behind_a_proxy_no_direct_connection_is_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert hub_state().answers is None
        assert "proxy" in hub_state().reason
