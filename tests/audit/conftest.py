"""What the tests of the audit share: one audit of planted faults and one of sound frames."""

from __future__ import annotations

import pytest

from frame_vit.audit.audit import Audit
from tests.audit.planted import Planted, audited, plant


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Planted, Audit]:
    faults = plant(tmp_path_factory.mktemp("planted") / "set")
    return faults, audited(faults.write())


@pytest.fixture(scope="session")
def clean() -> Audit:
    return audited("demo", test="demo", demo={"train": 400, "test": 100})
