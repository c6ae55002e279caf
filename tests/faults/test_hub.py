"""A hub on the loopback that misbehaves: what it does is said within the limit, and what is cached is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub import Hub
from tests.processes import Nursery, environment
from tests.system.test_hub import write_data_set, write_model

MOODS = {
    "silent": "gives",
    "drips": "gives",
    "trickles": "gives",
    "resets": "gives no whole answer",
    "429": "answers 429 Too Many Requests",
    "500": "answers 500 Internal Server Error",
}
Ask = Callable[..., tuple[int, str]]
LIMIT_S = 2
SLOWEST_S = 60
"""A generous bound: without the limit, the hub's own client takes minutes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asking")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    write_data_set(root / "datasets" / "me" / "frames", 20, 1)
    write_model(root / "models" / "me" / "vit", 32, {0: "passed", 1: "Xplus", 2: "Xminus", 3: "Yplus", 4: "Yminus"})
    with Hub(root) as hub:
        yield hub


@pytest.fixture(scope="module")
def nursery(folder: Path, hub: Hub) -> Iterator[Nursery]:
    limits = {"HF_HUB_OFFLINE": "", "HF_ENDPOINT": hub.endpoint, "FRAMEVIT_HUB_TIMEOUT": str(LIMIT_S)}
    with Nursery(folder, **limits) as nursery:
        yield nursery


@pytest.fixture(autouse=True)
def _well_behaved(hub: Hub, folder: Path) -> Iterator[None]:
    hub.mood, hub.retry_after, hub.refused = "", "", {}
    shutil.rmtree(folder / "hf", ignore_errors=True)
    yield
    hub.mood = ""


def of_model(hub: Hub, nursery: Nursery, name: str = "me/vit") -> tuple[int, str]:
    code = nursery.run("predict", "gone.jpg", "--model", name, "--format", "csv", "--device", "cpu")
    return code, flat(nursery.said)


def of_data(hub: Hub, nursery: Nursery, name: str = "me/frames") -> tuple[int, str]:
    code = nursery.run("prepare", "--data", name, "--set", "model.init=scratch", "-o", nursery.folder / "prepared")
    return code, flat(nursery.said)


def flat(said: str) -> str:
    return " ".join("".join(" " if letter in "│╭╮╰╯─" else letter for letter in said).split())


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("ask", [of_model, of_data], ids=["model", "data"])
def test_a_hub_that_gives_nothing_is_given_up_in_one_error(hub: Hub, nursery: Nursery, ask: Ask, mood: str) -> None:
    hub.mood = mood
    begin = time.monotonic()
    code, said = ask(hub, nursery)
    assert time.monotonic() - begin < SLOWEST_S
    assert code == 1, said
    assert f"the hub at {hub.endpoint} {MOODS[mood]}" in said
    assert "is not in the local cache" in said
    assert nursery.said.count("╭") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("mood", ["silent", "resets", "500"])
def test_what_was_fetched_before_is_used_and_said(hub: Hub, nursery: Nursery, mood: str) -> None:
    assert of_model(hub, nursery)[0] == 3, nursery.said  # the picture is gone, the model is there
    assert of_data(hub, nursery)[0] in (0, 3), nursery.said
    hub.mood = mood
    for ask in (of_model, of_data):
        code, said = ask(hub, nursery)
        assert code in (0, 3), said
        assert f"the hub at {hub.endpoint} {MOODS[mood]}" in said
        assert "using the local cache" in said or "what is in the local cache is used" in said


def test_a_hub_that_asks_for_a_long_pause_is_not_waited_for(hub: Hub, nursery: Nursery) -> None:
    hub.mood, hub.retry_after, before = "429", "3600", hub.misbehaved
    code, said = of_data(hub, nursery)
    assert code == 1, said
    assert "answers 429 Too Many Requests" in said
    assert hub.misbehaved - before == 1


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ((401, "GatedRepo", "Access is restricted."), "is gated (the hub answers 401: Access is restricted.)"),
        ((403, "GatedRepo", "It awaits a review."), "is gated (the hub answers 403: It awaits a review.)"),
        ((401, "RepoNotFound", "Invalid username or password."), "or it is private (the hub answers 401: Invalid user"),
        ((404, "RepoNotFound", "Repository not found"), "is neither a local folder nor on the hub, or it is private"),
        ((403, "", "This account is blocked."), "is not given to you (the hub answers 403: This account is blocked.)"),
        ((404, "RevisionNotFound", "Invalid rev id: v9"), "no such revision (the hub answers 404: Invalid rev"),
    ],
)
@pytest.mark.parametrize("ask", [of_model, of_data], ids=["model", "data"])
def test_a_refusal_is_named_with_the_hubs_own_words(
    hub: Hub, nursery: Nursery, ask: Ask, refusal: tuple[int, str, str], expected: str
) -> None:
    hub.refused = {"me/vit": refusal, "me/frames": refusal}
    code, said = ask(hub, nursery)
    assert expected in said
    assert code == 2
    assert nursery.said.count("╭") == 1


def test_a_data_set_with_several_configs_lists_them(hub: Hub, nursery: Nursery) -> None:
    folder = hub.root / "datasets" / "me" / "several"
    write_data_set(folder, 4, 1)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: north\n  data_files: data/*.parquet\n"
        "- config_name: south\n  data_files: data/*.parquet\n---\n"
    )
    code, said = of_data(hub, nursery, "me/several")
    assert "has several configs on the hub, and none is named: north, south" in said
    assert code == 2


_FETCH = """
import huggingface_hub, os, sys
from frame_vit.system.hub import asking_hub
with asking_hub(huggingface_hub, "model me/large"):
    path = huggingface_hub.hf_hub_download("me/large", "large.bin")
print(os.stat(path).st_size)
"""


def test_a_slow_download_that_goes_on_is_not_cut_off(hub: Hub, folder: Path) -> None:
    (hub.root / "models" / "me" / "large").mkdir(parents=True)
    (hub.root / "models" / "me" / "large" / "large.bin").write_bytes(bytes(3_000_000))
    hub.mood = "slow"
    limits = {"HF_HUB_OFFLINE": "", "HF_ENDPOINT": hub.endpoint, "FRAMEVIT_HUB_TIMEOUT": "1"}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _FETCH], env=environment(folder, **limits), capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["3000000"], done.stderr
    assert time.monotonic() - begin > 2  # longer than the limit
