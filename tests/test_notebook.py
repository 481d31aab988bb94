"""What notebooks show as HTML: safe, small, without scripts and colours of its own, the same figures as the tables."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fakes import make_folder

import perpixel
from perpixel import notebook
from perpixel.classes import ClassTable

VOID_TAGS = {"img", "br"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.open += [] if tag in VOID_TAGS else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> list[str]:
    """The texts of small, well-formed HTML that keeps the page's own colours of text and ground."""
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not tags.tags & {"script", "style", "link", "iframe"}
    assert not re.search(r"(?<![-\w])(color|background-color):|(?<!src=\")(https?:|//)", re.sub(r"base64,[^\"]*", "", html))
    assert len(html) < 60_000
    return tags.text


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "set", train=2, val=3)


def test_names_are_text_and_no_html() -> None:
    name = "<script>alert(1)</script>\n\"'&"
    html = notebook.block(
        notebook.line(name), notebook.table((name,), [(name,)]), notebook.swatches([name], [(1, 2, 3)]),
        notebook.picture(np.zeros((2, 3, 3), np.uint8), name),
    )  # fmt: skip
    assert read(html) == ["<script>alert(1)</script>\\n\"'&"] * 4


def test_scores_show_the_tables_and_the_protocol(data: Path) -> None:
    scores = perpixel.evaluate(data / "masks/val", perpixel.open_dataset(data), bootstrap=3)
    texts = read(scores._repr_html_())
    assert {*scores.measure.better} & {*texts}
    assert any(scores.protocol_hash in text for text in texts)
    assert any("halves of 3 pictures" in text for text in texts)
    assert "halves" not in perpixel.evaluate(data / "masks/val", perpixel.open_dataset(data))._repr_html_()


def test_a_comparison_shows_its_verdicts_and_its_sides(data: Path) -> None:
    comparison = perpixel.compare([data / "masks/val"] * 2, perpixel.open_dataset(data), samples_drawn=3)
    texts = read(comparison._repr_html_())
    assert any("no difference can be shown" in text for text in texts)
    assert [text for text in texts if text == "100.0"]
    assert comparison.protocol_hash in texts[-1]


def test_a_data_set_shows_what_it_holds_and_tells_what_cannot_be_read(data: Path) -> None:
    html = perpixel.open_dataset(data)._repr_html_()
    texts = read(html)
    assert texts[0] == "Folder, split val of train, val: 3 pictures, 3 classes"
    assert (texts[1:4], html.count("<img ")) == (["ground", "box", "disc"], 3)
    dataset = perpixel.open_dataset(data)
    next((data / "masks/val").iterdir()).write_bytes(b"damaged")
    html = dataset._repr_html_()
    assert html.count("<img ") == 2
    assert "masks/val" in read(html)[4]


def test_of_many_classes_only_some_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = perpixel.open_dataset("scenes")
    monkeypatch.setattr(dataset, "classes", ClassTable.of([f"class {number}" for number in range(150)]))
    texts = read(dataset._repr_html_())
    assert ("class 39" in texts, "class 40" in texts, "and 110 more" in texts) == (True, False, True)


def test_dir_lists_the_public_names_and_each_exists() -> None:
    assert dir(perpixel) == sorted(perpixel.__all__)
    hidden = {name for name in dir(perpixel) if name.startswith("_")}
    assert hidden == {"__version__"}


@pytest.mark.needs_torch
def test_each_public_name_exists() -> None:
    assert [name for name in dir(perpixel) if getattr(perpixel, name) is None] == []
