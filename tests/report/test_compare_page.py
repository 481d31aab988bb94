"""compare --report: one offline page with the verdicts, the tables, and pictures of both results and their errors."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import make_coco, make_folder
from judging.test_intervals import spoil
from PIL import Image


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six pictures, and two folders of masks, of which one is called so that it could write HTML."""
    data = make_folder(tmp_path / "data", val=6)
    for seed, name in enumerate(("a", "<i>b")):
        spoil(data / "masks/val", tmp_path / name, seed, 0.1 + 0.3 * seed)
    return tmp_path


def words(place: Path) -> list[str]:
    sides = [str(place / name) for name in ("a", "<i>b")]
    return ["compare", *sides, "--data", str(place / "data"), "--samples", "9", "--report", str(place / "page.html")]


def test_it_says_what_the_terminal_says_and_shows_both(place: Path, command) -> None:
    code, out, err = command(*words(place), "--pictures", "1")
    assert code == 0, err
    text = (place / "page.html").read_text(encoding="utf-8")
    without_tags = re.sub(r"<script.*?</script>|<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL)
    visible = " ".join(html.unescape(without_tags).split())
    for line in out.splitlines():
        assert " ".join(line.split()) in visible
    shown = re.findall(r'<img src="data:image/(jpeg|png);base64,[^"]*" alt="([^"]*)"', text)
    pictures = {alt.split(", ")[0] for _, alt in shown}
    assert 1 <= len(pictures) <= 3
    assert len(shown) == len(pictures) * (2 + 2 * 2)
    assert sum("errors" in alt for _, alt in shown) == 2 * len(pictures)
    assert [kind for kind, alt in shown if "errors" in alt] == ["png"] * 2 * len(pictures)


def test_the_numbers_inside_are_those_of_json(place: Path, command) -> None:
    _, out, _ = command(*words(place), "--json")
    text = (place / "page.html").read_text(encoding="utf-8")
    (numbers,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', text, re.DOTALL)
    assert json.loads(numbers) == json.loads(out)


def test_names_write_no_html_and_nothing_is_loaded_from_elsewhere(place: Path, command) -> None:
    command(*words(place))
    text = (place / "page.html").read_text(encoding="utf-8")
    assert "<i>b" not in text
    assert "&lt;i&gt;b" in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "http" not in text


def test_pictures_that_are_left_out_stand_there(place: Path, command) -> None:
    next((place / "a").iterdir()).unlink()
    code, _, _ = command(*words(place))
    assert code == 3
    text = (place / "page.html").read_text(encoding="utf-8")
    assert "Left out on every side" in text
    assert "there is no mask for the picture" in text


def test_a_page_of_results_files_has_no_pictures(tmp_path: Path, command) -> None:
    root = make_coco(tmp_path / "coco")
    maps = root / "annotations/panoptic_val2017.json"
    page = tmp_path / "page.html"
    code, _, err = command("compare", maps, maps, "--data", maps, "--panoptic", "--samples", "9", "--report", page)
    assert code == 0, err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img" not in text
    assert "no difference can be shown" in text


def test_where_no_page_can_be_is_told_before_anything_is_judged(place: Path, command) -> None:
    (place / "page.html").mkdir()
    code, out, err = command(*words(place))
    assert (code, out) == (2, "")
    assert err == f"perpixel: {place / 'page.html'}: is a folder; choose the name of a file.\n"


def test_large_pictures_are_shown_small(tmp_path: Path, command) -> None:
    data = make_folder(tmp_path / "data", val=2, size=(400, 700))
    masks = spoil(data / "masks/val", tmp_path / "masks", 1)
    other = spoil(data / "masks/val", tmp_path / "other", 2)
    page = tmp_path / "page.html"
    code, _, err = command("compare", masks, other, "--data", data, "--samples", "9", "--report", page, "--pictures", "1")
    assert code == 0, err
    assert page.stat().st_size < 1_500_000
    assert np.asarray(Image.open(next(masks.iterdir()))).shape == (400, 700)
