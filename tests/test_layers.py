"""Imports go downwards only, heavy libraries stay where they belong, and --help loads none of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "frame_vit"

LAYERS: list[set[str]] = [
    {"errors", "geometry", "progress", "history", "texts", "options"},
    {"labels", "data.response", "data.findings", "strict_yaml", "runs", "hub", "stopping", "train_log", "exported"},
    {"schema", "rates", "gate"},
    {"config", "decision", "calibration", "directions"},
    {"metrics", "slices", "compare"},
    {"images"},
    {"data.demo", "data.groups", "corruptions", "unlike"},
    {"data.manifest", "settings"},
    {"data.sources", "backends"},
    {"data.cache", "data.exclusions", "inputs", "quantise"},
    {"data.examples"},
    {"data.splits", "data.measures", "data.displacement"},
    {"data.prepare", "data.twins", "predictor"},
    {"data.checks", "tables"},
    {"data.audit", "output"},
    {"devices", "watch"},
    {"transforms", "model", "checkpoints", "parameters", "identity", "processes", "loss"},
    {"frozen", "feed", "saved", "torch_backend"},
    {"trainer", "loading", "attention"},
    {"training", "operating", "export", "benchmark"},
    {"report", "pages"},
    {"evaluation", "audit_report", "explaining"},
    {"evaluation_report", "explanation_report", "predicting"},
    {"train_run", "console"},
    {"workflow"},
    {"cli_shared"},
    {"cli_line"},
    {"cli"},
    {"__main__"},
]
"""From the bottom up; a module imports only from layers below its own."""

HEAVY = {"torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "numpy", "PIL", "pydantic", "rich"}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if path.name != "__init__.py":
            found[name] = path
    return found


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """The modules a file imports, by dotted name; those inside functions too, unless top level only."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if module in names)


def test_every_module_has_its_layer() -> None:
    assert set(modules()) == set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_downwards(module: str) -> None:
    own = {name.removeprefix("frame_vit.") for name in imports(modules()[module]) if name.startswith("frame_vit.")}
    upwards = {name for name in own & set(modules()) if layer(name) >= layer(module)}
    assert not upwards


@pytest.mark.parametrize("module", sorted(name for name in modules() if name.startswith("data.")))
def test_the_data_side_never_imports_torch(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(modules()[module])} & {"torch", "transformers"}


@pytest.mark.parametrize("module", ["errors", "geometry", "progress", "labels", "runs", "hub", "data.response"])
def test_the_bottom_is_standard_library_only(module: str) -> None:
    outside = {name.partition(".")[0] for name in imports(modules()[module])} - {"frame_vit"}
    assert outside <= sys.stdlib_module_names


def test_only_the_console_imports_rich() -> None:
    assert [name for name, path in modules().items() if any(i.startswith("rich") for i in imports(path))] == ["console"]


@pytest.mark.parametrize("module", ["cli", "cli_line", "cli_shared", "options"])
def test_the_command_line_imports_nothing_heavy_at_the_top(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports(modules()[module], top_level_only=True)} & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom frame_vit.__main__ import main\n"
        f"sys.argv = ['framevit', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'sklearn', 'matplotlib', 'numpy', 'PIL', 'scipy'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("LOADED []"), done.stdout + done.stderr


def test_the_package_side_of_torch_free_prediction_imports_no_torch() -> None:
    """images, labels, metrics and the whole data side, together, in one process."""
    program = (
        "import sys, frame_vit.images, frame_vit.labels, frame_vit.metrics, frame_vit.data.prepare\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
