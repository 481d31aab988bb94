"""check --report: one page, offline, that says what check says and shows where."""

import html
import re
from pathlib import Path

import pytest
from test_defects import MAKERS, root  # noqa: F401

from perpixel.check import check
from perpixel.check_page import write_page
from perpixel.cli import main


def page_of(folder: Path, tmp_path: Path) -> str:
    path = tmp_path / "page.html"
    write_page(path, str(folder), check(folder))
    return path.read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


def test_a_sound_set_is_called_so_and_shown(root: Path, place: Path) -> None:  # noqa: F811
    text = page_of(root, place)
    assert "Sound: nothing is wrong with it." in text
    assert text.count("data:image/jpeg;base64,") == 6  # four of train and two of val
    for name in ("background", "car", "road", "void", "48x64 (6)"):
        assert name in text


@pytest.mark.parametrize("kind", ["unknown value", "leak", "colour-coded mask", "empty file"])
def test_every_problem_stands_on_the_page(root: Path, place: Path, kind: str) -> None:  # noqa: F811
    MAKERS[kind][0](root)
    report = check(root)
    text = html.unescape(page_of(root, place))
    assert all(problem.message in text for problem in report.problems)
    assert "Not sound: 1 error." in text
    assert ("data:image/png;base64," in text) == (report.problems[0].pixel is not None)


def test_nothing_is_loaded_from_elsewhere(root: Path, place: Path) -> None:  # noqa: F811
    text = page_of(root, place)
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert "http" not in text


def test_names_cannot_write_html(root: Path, place: Path) -> None:  # noqa: F811
    (root / "classes.csv").write_text("id,name\n0,background\n1,car\n2,<script>alert(1)</script>\n255,void\n")
    assert "<script>" not in page_of(root, place)


def test_the_command(root: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    main(["check", str(root), "--report", str(place / "page.html")])
    assert (place / "page.html").is_file()
    assert "0 errors, 0 warnings" in capsys.readouterr().err
