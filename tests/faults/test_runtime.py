"""A runtime that is installed but cannot be loaded: one line with its own words, or the next runtime in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import run_framevit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "failure", ["ImportError('DLL load failed')", "OSError('libgomp.so.1: cannot open shared object file')"]
)
def test_a_runtime_that_cannot_be_loaded(exported: Path, pictures: Path, tmp_path: Path, failure: str) -> None:
    (tmp_path / "broken" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "broken" / "onnxruntime" / "__init__.py").write_text(f"raise {failure}\n")
    model = exported / "runs" / "tiny-001" / "model" / "model.onnx"
    paths = f"{tmp_path / 'broken'}:{ROOT}"
    words: list[str | Path] = ["predict", pictures / "Xplus.jpg", "--model", model, "--backend"]
    asked = run_framevit(tmp_path, *words, "onnxruntime", PYTHONPATH=paths)
    assert asked.returncode == 1
    assert f"cannot be loaded: {failure[:-2].partition('(')[2][1:]}" in " ".join(asked.stderr.split())
    assert "bug" not in asked.stderr
    auto = run_framevit(tmp_path, *words, "auto", PYTHONPATH=paths)
    assert auto.returncode == 0, auto.stderr
    assert "onnxruntime cannot be used" in auto.stderr
    assert "openvino" in auto.stderr
