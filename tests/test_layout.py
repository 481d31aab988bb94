"""The areas of the package: which there are, that imports go one way, from the top of the list to its end, and in no circle.

An area is a folder of `perpixel/`, or a module beside the folders. Every import counts: those inside functions, and those for
types alone."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from places import ROOT, TESTS

PACKAGE = ROOT / "perpixel"
ORDER = (
    "__init__", "__main__", "cli", "commands", "serve", "folder_to_run", "studies", "report", "export", "training", "judging",
    "doctor", "prediction", "formats", "weights", "measures", "download", "datasets", "networks", "backbones", "layers",
    # Modules and folders that all others use.
    "losses", "sample", "masks", "notebook", "draw", "images", "codecs", "instances", "bands", "classes", "tables", "shards",
    "files", "terminal", "machines", "limits", "errors", "version",
)  # fmt: skip
INSIDE = {"prediction": ("crf",), "studies": ("claims",)}
WITHOUT_MODULES = {"recipes", "trunks"}  # settings as TOML, weights


def module_of(path: Path) -> str:
    """`perpixel.masks.rle`, or `perpixel.masks` of a folder's `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """The modules of perpixel that a module imports, wherever in its file the import stands."""
    imported = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "perpixel":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            inside = names & MODULES.keys()
            imported |= inside | ({node.module} if inside != names else set())
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names if alias.name in MODULES}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}: imports by dots; write the whole name"
    return imported


def area_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def test_the_areas_are_those_of_the_list() -> None:
    areas = {area_of(module) for module in MODULES}
    assert areas == set(ORDER)
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {area for area in ORDER if (PACKAGE / area).is_dir()} | WITHOUT_MODULES


def test_folders_in_areas_are_those_of_the_list() -> None:
    inside = {
        area.name: tuple(path.name for path in sorted(area.iterdir()) if path.is_dir() and path.name != "__pycache__")
        for area in PACKAGE.iterdir()
        if area.is_dir() and area.name not in WITHOUT_MODULES
    }
    assert {area: folders for area, folders in inside.items() if folders} == INSIDE


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_down(module: str) -> None:
    here = ORDER.index(area_of(module))
    upward = {name for name in imports_of(module) - {"perpixel"} if ORDER.index(area_of(name)) < here}
    assert upward == set(), f"{module} imports from an area above its own"


def test_no_module_needs_the_whole_package() -> None:
    assert [module for module in MODULES if "perpixel" in imports_of(module)] == []


def test_nothing_imports_in_a_circle() -> None:
    graph = {module: imports_of(module) for module in MODULES}
    for module, names in graph.items():  # the import of a module runs the `__init__.py` of its folders first
        parents = {name.rsplit(".", 1)[0] for name in names if name.count(".") > 1}
        names |= {parent for parent in parents if not module.startswith(parent)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_init_files_hold_only_tables_of_names() -> None:
    filled = {module for module, path in MODULES.items() if path.name == "__init__.py" and path.read_text().strip()}
    tables = {"perpixel.backbones", "perpixel.datasets", "perpixel.formats", "perpixel.measures", "perpixel.networks"}
    assert filled == {"perpixel", *tables}


def test_the_tests_mirror_the_areas() -> None:
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {area for area in ORDER if (PACKAGE / area).is_dir()} | {"pinned", "without_torch"}


def test_a_circle_and_a_way_up_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "errors.py"
    file.write_text("def read() -> None:\n    from perpixel.images import read_image  # lazily\n")
    monkeypatch.setitem(MODULES, "perpixel.errors", file)
    with pytest.raises(AssertionError, match=r"perpixel\.images"):
        test_imports_go_down("perpixel.errors")
    with pytest.raises(pytest.fail.Exception, match=r"perpixel\.errors imports perpixel\.images"):
        test_nothing_imports_in_a_circle()
