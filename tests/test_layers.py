"""The house: a table of folders from the bottom up. Imports go down only, heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "frame_vit"

FLOORS: list[set[str]] = [
    {"errors", "findings"},
    {"system"},
    {"images"},
    {"labels", "tree"},
    {"config"},
    {"decision"},
    {"data"},
    {"model"},
    {"report"},
    {"runs"},
    {"audit"},
    {"backends"},
    {"prediction"},
    {"line"},
    {"evaluation"},
    {"explanation"},
    {"export"},
    {"training"},
    {"help"},
    {"api"},
    {"cli"},
    {"__main__"},
]
"""Folders and the few files beside them, from the bottom up; each imports only from floors below its own."""

NEVER = {
    "torch": {
        "errors",
        "findings",
        "labels",
        "config",
        "decision",
        "data",
        "audit",
        "report",
        "prediction",
        "line",
        "evaluation",
        "cli",
    },
    "transformers": {"config", "decision", "data", "audit", "report", "cli", "prediction", "line"},
    "rich": {room for floor in FLOORS for room in floor} - {"cli"},
    "typer": {room for floor in FLOORS for room in floor} - {"cli"},
}
"""What a folder must not know: the library, and the folders in which no file imports it."""

MOST_ROOMS = 10
MOST_LINES = 350
MOST_PARAMETERS = 6
LONGEST_FUNCTION = 60
HEAVY = {"torch", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "numpy", "PIL", "pydantic", "rich"}


def modules() -> dict[str, Path]:
    """Every module but the empty `__init__`s, by dotted name below the package."""
    paths = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


FOLDERS = sorted({path.parent for path in modules().values()} - {PACKAGE})


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """The modules a file imports, by dotted name; those inside functions too, unless top level only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    return {name.removeprefix("frame_vit.") for name in imports(path)} & set(modules())


def libraries(path: Path, top_level_only: bool = False) -> set[str]:
    return {name.partition(".")[0] for name in imports(path, top_level_only)}


def floor(module: str) -> int:
    return next(index for index, names in enumerate(FLOORS) if module.partition(".")[0] in names)


def test_every_folder_has_its_floor() -> None:
    assert {name.partition(".")[0] for name in modules()} == set().union(*FLOORS)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_between_folders_go_down_only(module: str) -> None:
    home = module.rpartition(".")[0] or None
    others = {name for name in own_imports(modules()[module]) if name.rpartition(".")[0] != home}
    assert not {name for name in others if floor(name) >= floor(module)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_inside_a_folder_there_is_no_circle(folder: Path) -> None:
    inside = {name: path for name, path in modules().items() if path.parent == folder}
    needs = {name: own_imports(path) & set(inside) - {name} for name, path in inside.items()}
    while free := {name for name, of in needs.items() if not of & set(needs)}:
        needs = {name: of for name, of in needs.items() if name not in free}
    assert not needs


@pytest.mark.parametrize("folder", [PACKAGE, *FOLDERS], ids=lambda folder: folder.name)
def test_a_folder_has_few_rooms_and_says_what_it_is(folder: Path) -> None:
    rooms = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(rooms) <= MOST_ROOMS
    for room in rooms:
        assert len(room.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, room
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    said = ast.get_docstring(tree) or ""
    if folder != PACKAGE:
        assert len(tree.body) == 1, "only a docstring"
        assert all(word in said for word in ("Takes ", "Gives ", "Must not know ")), said


@pytest.mark.parametrize("module", sorted(name for name in modules() if not name.startswith("cli.")))
def test_functions_are_short_and_take_few_parameters(module: str) -> None:
    """Outside the command line, whose functions have a parameter for every flag."""
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            taken = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len(taken) - (taken[:1] in (["self"], ["cls"])) <= MOST_PARAMETERS, node.name
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("library", NEVER)
def test_a_folder_does_not_know_what_it_must_not_know(library: str) -> None:
    assert not [
        name
        for name, path in modules().items()
        if name.partition(".")[0] in NEVER[library] and library in libraries(path)
    ]


STANDARD_LIBRARY_ONLY = [
    "errors", "findings", "labels", "images.geometry", "system.progress", "system.texts", "system.signals",
    "system.hub", "system.machine", "system.caches", "data.response", "runs.folder", "runs.log", "runs.history",
]  # fmt: skip


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY)
def test_the_bottom_is_standard_library_only(module: str) -> None:
    assert libraries(modules()[module]) - {"frame_vit"} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", sorted(name for name in modules() if name.startswith("cli.")))
def test_the_command_line_imports_nothing_heavy_at_the_top(module: str) -> None:
    allowed = {"rich"} if module == "cli.tables" else set()
    assert not libraries(modules()[module], top_level_only=True) & (HEAVY - allowed)


def test_the_command_line_reaches_console_and_tables_only_inside_commands() -> None:
    reach = [name for name in modules() if name.startswith("cli.") and name not in ("cli.console", "cli.tables")]
    for name in reach:
        top = imports(modules()[name], top_level_only=True)
        assert not top & {"frame_vit.cli.console", "frame_vit.cli.tables"}, name


def loaded(statement: str) -> set[str]:
    """The top-level libraries that a fresh process has loaded after the statement."""
    program = f"import sys\n{statement}\nprint('LOADED', *sorted({{n.partition('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    program = (
        "from frame_vit.__main__ import main\n"
        f"sys.argv = ['framevit', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert not loaded(program) & {"torch", "transformers", "datasets", "sklearn", "matplotlib", "numpy", "PIL", "scipy"}


def test_the_data_side_and_the_numbers_import_no_torch() -> None:
    statement = "import frame_vit.images.preprocessing, frame_vit.evaluation.metrics, frame_vit.data.dataset"
    assert not loaded(statement) & {"torch", "transformers"}


def test_prediction_with_an_exported_file_needs_no_torch() -> None:
    assert not loaded("import frame_vit.prediction.load, frame_vit.prediction.predict") & {"torch", "transformers"}


def test_prediction_starts_without_the_config_and_the_network() -> None:
    statement = (
        "import sys, frame_vit.prediction.load, frame_vit.prediction.predict\n"
        "assert not {'frame_vit.config.schema', 'urllib.request', 'ssl'} & set(sys.modules)"
    )
    loaded(statement)


def test_the_package_itself_is_light() -> None:
    assert not loaded("import frame_vit") & (HEAVY | {"typer"})


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_has_its_test_file(module: str) -> None:
    """The tests mirror the tree: frame_vit/data/splits.py is tested by tests/data/test_splits.py."""
    *folders, room = module.split(".")
    path = Path(__file__).parent.joinpath(*folders, f"test_{room.strip('_')}.py")
    assert path.is_file(), f"no {path.relative_to(PACKAGE.parent)}"
    assert "def test_" in path.read_text(encoding="utf-8")


def test_no_test_sends_a_signal_to_the_process_of_all_tests() -> None:
    """Python's handlers run on pytest's small emergency stack, and on processors with AMX a signal overflows it."""
    own = "os.kill(os.get" + "pid()"
    for path in Path(__file__).parent.rglob("*.py"):
        outside = re.sub(r'(?s)""".*?"""', "", path.read_text(encoding="utf-8"))
        assert own not in outside, path
        assert "raise_" + "signal(" not in outside, path
