"""What holds for every file of the tree, whatever it is about."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from places import ROOT

# What a merge that stopped leaves at the beginning of a line. Headings here begin with #, so a row of seven = is no heading.
MARKER = re.compile(rb"^([<=>|])\1{6}( |\r?$)", re.MULTILINE)

BUILT = {".whl", ".zip", ".gz", ".xz", ".bz2", ".tar", ".egg", ".so", ".pyc", ".pt", ".pth", ".onnx"}
LARGE = 500_000  # bytes


def tree_files(root: Path) -> list[Path]:
    """The files that git tracks; without git those of the source tree, but for what is hidden or was built."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
        found = [root / name for name in listed.decode(errors="surrogateescape").split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = []
    if not found and (root / "pyproject.toml").is_file():
        hidden = re.compile(r"^\.(?!(ci|github)$)|^__pycache__$|\.egg-info$|^build$|^dist$|^runs$|^review$")
        found = [path for path in root.rglob("*") if not any(map(hidden.search, path.relative_to(root).parts))]
    return sorted(path for path in found if path.is_file())


def marked_lines(content: bytes) -> list[int]:
    """The lines, from 1, on which a conflict was left."""
    return [content.count(b"\n", 0, found.start()) + 1 for found in MARKER.finditer(content)]


def test_no_file_has_conflict_markers() -> None:
    files = tree_files(ROOT)
    if not files:
        pytest.skip("there is neither git nor the source tree around the tests.")
    marked = {str(path.relative_to(ROOT)): lines for path in files if (lines := marked_lines(path.read_bytes()))}
    assert marked == {}


def test_no_package_or_archive_is_in_the_tree_and_large_files_are_known() -> None:
    files = tree_files(ROOT)
    if not files:
        pytest.skip("there is neither git nor the source tree around the tests.")
    assert [path.name for path in files if path.suffix in BUILT] == []
    large = {path.relative_to(ROOT).as_posix() for path in files if path.stat().st_size > LARGE}
    assert {name for name in large if not name.startswith("perpixel/trunks/")} == {"docs/review.html"}


def test_the_tests_that_the_makefile_names_exist() -> None:
    if not (ROOT / "Makefile").is_file():
        pytest.skip("the source tree is not around the tests.")
    named = re.findall(r"\btests/[\w/]+\.py\b", (ROOT / "Makefile").read_text())
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\n<" + b"<<<<<< HEAD\nb\n=" + b"======\nc\n>" + b">>>>>> main\n", [2, 4, 6]),
        (b"<" + b"<<<<<<\r\n", [1]),
        (b"a\n|" + b"|||||| merged\n", [2]),
        (b"a\n=" + b"======", [2]),
        (b" <" + b"<<<<<< HEAD\n", []),
        (b"========\n<<<<<<\n-------\n", []),
    ],
)
def test_a_conflict_marker_is_seven_signs_at_the_beginning_of_a_line(content: bytes, lines: list[int]) -> None:
    assert marked_lines(content) == lines


def test_without_git_the_files_are_those_of_the_source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "docs/a.md", ".ci/run", ".venv/lib/b.py", "perpixel/__pycache__/c.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", "")
    assert [str(path.relative_to(tmp_path)) for path in tree_files(tmp_path)] == [".ci/run", "docs/a.md", "pyproject.toml"]
    (tmp_path / "pyproject.toml").unlink()
    assert tree_files(tmp_path) == []


def test_the_workflows_run_targets_of_make() -> None:
    """Nothing is done on a server of tests that cannot be done here."""
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        (job,) = yaml.safe_load(path.read_text())["jobs"].values()
        assert [step["run"] for step in job["steps"] if "run" in step] == ["make ${{ matrix.target }}"]
        assert {*job["strategy"]["matrix"]["target"]} <= {*targets}
