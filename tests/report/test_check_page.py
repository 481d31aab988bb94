"""check --report: one offline page with the problems of check and pictures of their places."""

import html
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doctor.test_defects import MAKERS, labels, put, root, texture  # noqa: F401

from perpixel.cli import main
from perpixel.doctor.check import check
from perpixel.report.check_page import write_page


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


def test_the_title_is_the_folders_name_and_each_bar_has_its_split(root: Path, place: Path) -> None:  # noqa: F811
    text = page_of(root, place)
    assert f"<h1>{root.name}</h1>" in text
    header = text.split('<table class="chart">')[1].split("</tr>")[0]
    assert re.findall(r"background:var\((--bar\d?)\)\"></i>(\w+)", header) == [("--bar", "train"), ("--bar2", "val")]


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


class TestWhereItCannotBeWritten:
    """The error comes before the pictures are checked."""

    @pytest.mark.parametrize("kind", ["folder", "pipe", "below a file", "a device"])
    def test_what_is_no_plain_file(self, root: Path, place: Path, kind: str, command: Callable[..., Any]) -> None:  # noqa: F811
        page = place / "page.html"
        if kind == "folder":
            page.mkdir()
        elif kind == "pipe":
            os.mkfifo(page)
        elif kind == "a device":
            page = Path("/dev/null")
        else:
            page.write_text("x")
            page = page / "page.html"
        code, out, error = command("check", root, "--report", page)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert str(page) in error
        assert "checked" not in error

    def test_missing_folders_are_made(self, root: Path, place: Path, command: Callable[..., Any]) -> None:  # noqa: F811
        assert command("check", root, "--report", place / "a/b/page.html")[0] == 0
        assert (place / "a/b/page.html").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8 are possible on Linux alone.")
def test_names_of_all_kinds_stand_on_the_page_and_in_json(root: Path, place: Path, command: Callable[..., Any]) -> None:  # noqa: F811
    for name in (os.fsdecode(b"im\xffage.png"), "a\x1b[2J.png", "b\nc.png"):
        put(root / "images/train" / name, texture(len(name)))
        put(root / "masks/train" / name, labels(len(name)))
    (root / "classes.csv").write_text('id,name\n0,background\n1,"car\x1b[31m"\n2,"ro\nad"\n255,void\n')
    code, out, _ = command("check", root, "--report", place / "page.html", "--json")
    assert code == 3
    assert {"unreadable name"} == {defect["kind"] for defect in json.loads(out)["problems"]}
    text = html.unescape((place / "page.html").read_text(encoding="utf-8"))
    assert "\x1b" not in text
    for name in ("im\\xffage.png", "a\\x1b[2J.png", "b\\nc.png", "car\\x1b[31m", "ro\\nad"):
        assert name in text
    code, out, _ = command("check", root, "--fix", place / "copy")
    assert code == 3
    assert out.replace("\n", "").isprintable()
