"""compare PAGE PAGE: the numbers inside of two pages, network by network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import make_folder
from judging.test_intervals import spoil

from perpixel.report.page import json_inside

Command = Callable[..., tuple[int, str, str]]


def page(path: Path, figures: dict[str, dict[str, Any]], protocol_hash: str = "12", **more: Any) -> Path:
    """A page of a review with these figures by row."""
    rows = [{"name": name, "title": name, "figures": each} for name, each in figures.items()]
    numbers = {
        "kind": "review", "data": "scenes", "split": "val", "classes": ["sky"], "colours": [[0, 0, 0]], "rows": rows,
        "protocol_hash": protocol_hash, **more,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<!doctype html><script type="application/json" id="numbers">{json_inside(numbers)}</script>')
    return path


def figure(mean: float, seeds: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "seeds": seeds, "pictures": None}


def test_a_difference_is_shown_where_it_exceeds_both_intervals_together(tmp_path: Path, command: Command) -> None:
    one = page(tmp_path / "a.html", {"fcn8s": {"mIoU": figure(0.5, 0.03)}, "unet": {"mIoU": figure(0.5, 0.03)}})
    two = page(tmp_path / "b.html", {"fcn8s": {"mIoU": figure(0.56, 0.04)}, "unet": {"mIoU": figure(0.54, 0.04)}})
    code, out, err = command("compare", one, two, "--json")
    assert code == 0, err
    changes = {change["network"]: change for change in json.loads(out)["changes"]}
    assert changes["fcn8s"]["difference"] == pytest.approx(0.06)
    assert {name: change["shown"] for name, change in changes.items()} == {"fcn8s": True, "unet": False}  # 3-4-5: 0.05


def test_what_people_read(tmp_path: Path, command: Command) -> None:
    figures = {"mIoU": figure(0.5, 0.01), "sky": figure(0.9, 0.01)}
    one = page(tmp_path / "a.html", {"fcn8s": figures, "parsenet": figures})
    two = page(tmp_path / "b.html", {"fcn8s": {"mIoU": figure(0.5), "sky": figure(0.8, 0.01)}, "unet": figures})
    code, out, err = command("compare", one, two)
    assert code == 0, err
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "fcn8s mIoU 50.0 ± 1.0 50.0 +0.0 cannot be told" in lines
    assert "fcn8s sky 90.0 ± 1.0 80.0 ± 1.0 -10.0 more than chance" in lines
    assert lines[-2:] == ["Only in a.html: parsenet.", "Only in b.html: unet."]


def test_pages_of_other_rules_are_not_ranked(tmp_path: Path, command: Command) -> None:
    one = page(tmp_path / "a.html", {"fcn8s": {"mIoU": figure(0.5, 0.01)}})
    two = page(tmp_path / "b.html", {"fcn8s": {"mIoU": figure(0.9, 0.01)}}, "34")
    code, out, _ = command("compare", one, two)
    assert code == 0
    assert out.startswith("a.html and b.html were judged by other rules (protocol 12 and 34)")
    assert "cannot be told" in out


def test_pages_that_compare_wrote_are_read_too(tmp_path: Path, command: Command) -> None:
    data = make_folder(tmp_path / "data", val=6)
    masks = [spoil(data / "masks/val", tmp_path / name, seed, 0.1 + 0.3 * seed) for seed, name in enumerate(("a", "b"))]
    for name in ("one.html", "two.html"):
        code, _, err = command("compare", *masks, "--data", data, "--samples", "9", "--report", tmp_path / name)
        assert code == 0, err
    code, out, err = command("compare", tmp_path / "one.html", tmp_path / "two.html", "--json")
    assert code == 0, err
    changes = json.loads(out)["changes"]
    assert {change["network"] for change in changes} == {"a", "b"}
    assert {change["difference"] for change in changes} == {0.0}


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("<!doctype html>no numbers", 3, "holds no numbers of a review or a comparison; name a page that perpixel wrote."),
        ('<script type="application/json" id="numbers">{"kind": </script>', 3, "holds no numbers"),
        ('<script type="application/json" id="numbers">{"kind": "review", "data": 3}</script>', 3, "its numbers are damaged"),
        ('<script type="application/json" id="numbers">{"sides": [{"name": "a"}]}</script>', 3, "its numbers are damaged"),
    ],
)
def test_what_is_no_page_is_told(tmp_path: Path, command: Command, content: str, code: int, says: str) -> None:
    good = page(tmp_path / "a.html", {"fcn8s": {"mIoU": figure(0.5)}})
    (tmp_path / "b.html").write_text(content)
    found, out, err = command("compare", good, tmp_path / "b.html")
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.startswith(f"perpixel: {tmp_path / 'b.html'}: ")
    assert says in err


def test_wrong_use_is_told_in_a_sentence(tmp_path: Path, command: Command) -> None:
    one, two = (page(tmp_path / f"{name}.html", {name: {"mIoU": figure(0.5)}}) for name in ("a", "b"))
    for words, code, says in (
        ((one, two), 3, "have no network of the same name"),
        ((one, one, one), 2, "3 pages are named; name two."),
        ((one, tmp_path), 2, f"{one}: is a page, and {tmp_path} is none"),
        ((one, two, "--data", "scenes"), 2, "--data: a page holds numbers that were judged already"),
        ((one, two, "--samples", "9"), 2, "--samples: a page holds numbers"),
        ((one, two, "--crf", "deeplab"), 2, "--crf: a page holds numbers"),
        ((one, two, "--boundary-iou"), 2, "--boundary-iou: a page holds numbers"),
        ((one, tmp_path / "none.html"), 3, "none.html"),
    ):
        found, out, err = command("compare", *words)
        assert (found, out, err.count("\n")) == (code, "", 1), err
        assert says in err
