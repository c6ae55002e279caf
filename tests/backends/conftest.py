"""One small exported file, shared by the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from frame_vit.export.graph import write_onnx
from tests.backends.models import vit


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small ViT in fp32 as one file, in a folder without weights; not to be changed."""
    path = tmp_path_factory.mktemp("onnx") / "alone.onnx"
    write_onnx(vit(), path)
    return path
