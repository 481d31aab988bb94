"""The page of a review: one offline file in two languages, whose numbers are those of review.json and lead to their pictures."""

import base64
import csv
import json
import re
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report.made_review import make_review

from perpixel.errors import UntrustedFile
from perpixel.report import article
from perpixel.report.page import TEMPLATES, numbers_in
from perpixel.report.review_page import write_page
from perpixel.report.review_results import Review, read_review, verdict

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "use", "rect", "line", "path", "polyline"}


class Page(HTMLParser):
    """The elements of a page, each with its attributes, its text in a language, and the elements around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attributes": dict(attrs), "text": "", "around": [one["tag"] for one in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self.open and any(one["tag"] == tag for one in self.open):
            if self.open.pop()["tag"] == tag:
                return

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one["text"] += data

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [one for one in self.elements if one["tag"] in tags]


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = make_review(tmp_path_factory.mktemp("page"))
    write_page(out)
    return out


@pytest.fixture(scope="module")
def text(review: Path) -> str:
    return (review / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def content(text: str) -> dict[str, Any]:
    (inside,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(inside)


class Words(HTMLParser):
    """The words that a page shows in a language."""

    def __init__(self, text: str, language: str) -> None:
        super().__init__()
        self.other, self.words = {"en": "ko", "ko": "en"}[language], ""
        self.open: list[tuple[str, bool]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        hidden = tag in ("script", "style") or self.other in (dict(attrs).get("class") or "").split()
        if tag not in VOID:
            self.open.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        while any(one == tag for one, _ in self.open) and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.words += " " if any(hidden for _, hidden in self.open) else data


def visible(text: str, language: str) -> str:
    return " ".join(Words(text, language).words.split())  # also at spaces where no line breaks


# Numbers.


@pytest.mark.needs_torch
def test_the_verdict_is_made_from_the_numbers(text: str) -> None:
    sentence = r"FCN-8s is the best of 2 networks with \d+\.\d ± \d\.\d % mIoU: chance explains its lead over none"
    assert re.search(sentence, visible(text, "en"))
    assert "네트워크 2개 중 최고는 FCN-8s" in visible(text, "ko")


def of(*rows: tuple[str, float], shown: dict[tuple[str, str], bool] | None = None) -> Review:
    """A review of rows with these mIoU, and pairs."""
    content = {
        "data": "x", "split": "val", "classes": ["a"], "colours": [[0, 0, 0]],
        "rows": [{"name": name, "title": name.upper(), "figures": {"mIoU": {"mean": value}}} for name, value in rows],
        "pairs": [{"a": a, "b": b, "difference": 0.1, "shown": one} for (a, b), one in (shown or {}).items()],
    }  # fmt: skip
    import msgspec

    return msgspec.convert(content, Review)


@pytest.mark.parametrize(
    ("review", "key", "values"),
    [
        (of(), "none", {}),
        (of(("a", 0.5)), "one", {"best": "A", "figure": "50.0"}),
        (of(("a", 0.5), ("b", 0.6)), "untested", {"best": "B"}),
        (of(("a", 0.5), ("b", 0.6), shown={("a", "b"): True}), "all", {"best": "B", "beaten": 1, "tied": []}),
        (of(("a", 0.5), ("b", 0.6), shown={("b", "a"): False}), "few", {"best": "B", "beaten": 0, "tied": ["A"]}),
        (of(("a", 0.5), ("b", 0.6), ("c", 0.4), shown={("b", "a"): False, ("c", "b"): True}), "some",
         {"best": "B", "beaten": 1, "tied": ["A"]}),
    ],
)  # fmt: skip
def test_verdicts(review: Review, key: str, values: dict[str, object]) -> None:
    found, told = verdict(review)
    assert found == f"verdict.{key}"
    assert {name: told[name] for name in values} == values


def test_a_difference_turned_round_has_the_other_sign() -> None:
    review = of(("a", 0.5), ("b", 0.6), shown={("a", "b"): True})
    one, other = review.difference("a", "b"), review.difference("b", "a")
    assert one is not None
    assert other is not None
    assert (one.difference, other.difference) == (0.1, -0.1)


@pytest.mark.needs_torch
def test_the_numbers_inside_are_those_of_the_review(review: Path) -> None:
    inside, record = numbers_in(review / "report.html"), json.loads((review / "review.json").read_text())
    assert inside["kind"] == "review"
    for name in ("data", "split", "classes", "protocol_hash", "seeds"):
        assert inside[name] == record[name]
    assert [record["claims"][0] | one for one in inside["claims"]] == inside["claims"]
    for one, other in zip(inside["rows"], record["rows"], strict=True):
        assert {key: figure["mean"] for key, figure in one["figures"].items()} == {
            key: figure["mean"] for key, figure in other["figures"].items()
        }


@pytest.mark.needs_torch
def test_the_csv_has_a_line_for_every_figure(review: Path) -> None:
    record = json.loads((review / "review.json").read_text())
    lines = list(csv.DictReader((review / "report.csv").read_text().splitlines()))
    rows = [*record["rows"], *record["instances"]["rows"]]
    assert len(lines) == sum(len(row["figures"]) for row in rows)
    (line,) = [line for line in lines if (line["name"], line["figure"]) == ("fcn8s", "mIoU")]
    assert float(line["mean"]) == pytest.approx(rows[1]["figures"]["mIoU"]["mean"], abs=1e-6)
    assert float(line["low_over_pictures"]) == pytest.approx(rows[1]["figures"]["mIoU"]["pictures"][0], abs=1e-6)


@pytest.mark.needs_torch
def test_every_number_of_the_table_leads_to_its_pictures(page: Page, text: str) -> None:
    inside = content(text)
    links = [one for one in page.all("a") if "data-network" in one["attributes"]]
    assert {one["attributes"]["href"] for one in links} == {"#pictures"}
    of_networks = [one for one in links if one["attributes"]["data-network"] in ("fcn8s", "fcn32s")]
    assert {one["attributes"]["data-class"] for one in of_networks} == {"-2", "-1", "0", "1", "2"}
    for name in ("fcn8s", "fcn32s"):  # the scores by which the pictures of a number are sorted
        assert np.array(inside["pictures"]["scores"][name]).shape == (4, 2 + 3)


@pytest.mark.needs_torch
def test_scores_of_pictures_are_those_of_their_masks(review: Path, text: str) -> None:
    from perpixel.datasets import open_dataset
    from perpixel.measures.confusion_matrix import ConfusionMatrix

    dataset, scores = open_dataset(read_review(review).data, split="val"), content(text)["pictures"]["scores"]
    for place in range(4):
        sample, matrix = dataset.sample(place), ConfusionMatrix(3)
        matrix.add(sample.labels, np.array(Image.open(review / "predictions/fcn8s" / f"{sample.name}.png")))
        expected = [matrix.mean_iou(), matrix.pixel_accuracy(), *matrix.iou()]
        assert scores["fcn8s"][place] == pytest.approx([1000 * value for value in expected], abs=0.5)


@pytest.mark.needs_torch
def test_packed_masks_are_the_masks(review: Path, text: str) -> None:
    inside = content(text)["pictures"]
    place = [one["name"] for one in inside["networks"]].index("fcn32s")
    for picture in inside["pictures"]:
        packed = picture["masks"][place]
        ids = np.frombuffer(zlib.decompress(base64.b64decode(packed["ids"])), np.uint8).reshape(packed["size"])
        assert (ids == np.array(Image.open(review / "predictions/fcn32s" / f"{picture['name']}.png"))).all()


# What stands on it.


@pytest.mark.needs_torch
def test_all_systems_have_a_chapter_in_the_order_of_the_article(page: Page) -> None:
    chapters = [one["attributes"]["id"] for one in page.all("article")]
    assert chapters == ["fcn", "parsenet", "deconvnet", "unet", "fpn", "pspnet", "mask_rcnn", "deeplab", "panet", "encnet"]
    assert page.elements.index(page.all("article")[0]) > next(
        place for place, one in enumerate(page.elements) if one["attributes"].get("id") == "table"
    )


@pytest.mark.needs_torch
def test_every_network_of_the_review_belongs_to_a_chapter() -> None:
    from perpixel.networks import NETWORKS, YARDSTICKS

    systems = {name for name in NETWORKS if not name.startswith("torchvision_")} - {*YARDSTICKS, "classifier"}
    assert {name for names in article.CHAPTERS.values() for name in names} == systems


@pytest.mark.needs_torch
def test_what_failed_and_what_is_to_come_is_told(text: str) -> None:
    shown = visible(text, "en")
    assert "U-Net: the loss is not finite at step 3; lower lr" in shown
    assert "3 of 5 networks are judged so far" in shown
    assert "This system has not been judged yet." in shown
    assert "This system is not in this review." in shown


@pytest.mark.needs_torch
def test_a_claim_stands_in_the_chapter_of_its_system(page: Page) -> None:
    (chapter,) = [one for one in page.all("article") if one["attributes"]["id"] == "fcn"]
    assert "The skips sharpen." in chapter["text"]
    assert "✓ shown" in chapter["text"]


@pytest.mark.needs_torch
def test_claims_beside_the_record_are_read_and_may_have_no_verdict(tmp_path: Path) -> None:
    out = make_review(tmp_path, claims=[])
    claim = {"system": "pspnet", "name": "pspnet-bins", "claim": "four grids of bins are better than one bin", "verdict": None,
             "reason": "not trained yet", "difference": None, "interval": None, "by_seed": []}  # fmt: skip
    (out / "claims.json").write_text(json.dumps([claim]))
    text = write_page(out).read_text(encoding="utf-8")
    for words in ("Four grids of bins are better than one bin", "no verdict yet", "not trained yet"):
        assert words in visible(text, "en")
    assert "격자 하나보다 네 가지 격자가 낫다" in visible(text, "ko")
    (out / "claims.json").write_text("[3]")
    with pytest.raises(UntrustedFile, match=r"claims\.json"):
        write_page(out)


@pytest.mark.needs_torch
def test_every_claim_has_korean_words_and_a_chapter() -> None:
    from perpixel.studies.claims.conditions import conditions
    from perpixel.studies.claims.study import claims_of

    every = claims_of(conditions("scenes"))
    assert {claim.name for _, claim in every} == article.texts("ko")["claims"].keys()
    assert {system for system, _ in every} <= article.CHAPTERS.keys()


@pytest.mark.needs_torch
def test_chance_is_grey_and_says_so(tmp_path: Path) -> None:
    pairs = [{"a": "fcn8s", "b": "fcn32s", "difference": 0.01, "interval": 0.02, "p": 0.4, "shown": False}]
    out = make_review(tmp_path, pairs=pairs)
    text = write_page(out).read_text(encoding="utf-8")
    (cell,) = re.findall(r'<td class="detail state-chance" data-of="fcn32s">(.*?)</td>', text, re.DOTALL)
    assert "≈ −1.0 ± 2.0 may be chance" in visible(cell, "en").replace("difference from FCN-8s ", "")
    assert ".state-chance, .state-untested, .state-self { color: var(--quiet); }" in text


def test_a_page_of_nothing_yet_and_of_unknown_data(tmp_path: Path) -> None:
    out = make_review(tmp_path, rows=[], pairs=[], instances=None, claims=[], data=str(tmp_path / "nowhere"))
    text = write_page(out).read_text(encoding="utf-8")
    assert "No network has been judged yet." in visible(text, "en")
    assert "The pictures are not at hand" in visible(text, "en")
    with Image.open(out / "report.png") as picture:
        assert picture.size == (1200, 630)


@pytest.mark.needs_torch
def test_a_mask_that_is_missing_or_damaged_is_left_out(tmp_path: Path) -> None:
    out = make_review(tmp_path)
    first, second, *_ = sorted((out / "predictions/fcn8s").iterdir())
    first.unlink()
    second.write_bytes(b"no picture")
    inside = content(write_page(out).read_text(encoding="utf-8"))["pictures"]
    place = [one["name"] for one in inside["networks"]].index("fcn8s")
    assert [one["masks"][place] is None for one in inside["pictures"]] == [True, True, False, False]


def test_what_is_no_record_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "review.json").write_text('{"data": 3}')
    with pytest.raises(UntrustedFile, match=r"review\.json: is no record of a review"):
        write_page(tmp_path)


@pytest.mark.needs_torch
def test_names_write_no_html_and_nothing_is_loaded(tmp_path: Path, text: str) -> None:
    record = json.loads((make_review(tmp_path) / "review.json").read_text())
    record["rows"][0]["title"] = "</script><b>FCN"
    record["classes"][0] = "<i>ground"
    (tmp_path / "review/review.json").write_text(json.dumps(record))
    written = write_page(tmp_path / "review").read_text(encoding="utf-8")
    assert "<b>FCN" not in written
    assert "<i>ground" not in written
    for one in (written, text):
        assert re.findall(r'(?:src|href)="(?!data:|#)', one) == []
        assert re.findall(r"https?://|@import|fetch\(|XMLHttpRequest", one) == []


@pytest.mark.needs_torch
def test_the_page_is_small(review: Path) -> None:
    assert (review / "report.html").stat().st_size < 500_000


def test_masks_of_more_pictures_than_fit_are_taken_evenly() -> None:
    from perpixel.report.review_pictures import MOST_BYTES, _chosen

    sizes = [MOST_BYTES // 10] * 40
    shown = _chosen(sizes, {5, 6})
    assert {5, 6} <= set(shown)
    assert sum(sizes[place] for place in shown) <= MOST_BYTES
    assert max(shown) == 39
    assert _chosen([1] * 7, {3}) == list(range(7))


# Languages.


def keys(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, f"{before}{name}.")
        else:
            yield before + name, value


def test_both_languages_have_every_text_with_the_same_values() -> None:
    english, korean = (
        {key: words for key, words in keys(article.texts(language)) if not key.startswith(("classes.", "claims."))}
        for language in article.LANGUAGES
    )
    assert english.keys() == korean.keys()
    for key, words in english.items():
        if isinstance(words, str):
            assert set(re.findall(r"\{\w+\}", words)) >= set(re.findall(r"\{\w+\}", korean[key])), key
            name = len(re.sub(r"\{\w+\}|%", "", korean[key]).split()) == 1  # such as Dice
            assert re.search("[가-힣]", korean[key]) or name or key.endswith(".authors"), key
        else:
            assert len(words) == len(korean[key]), key


def test_published_figures_are_alike_in_both_languages() -> None:
    for system in article.CHAPTERS:
        english, korean = (article.text(language, f"{system}.published") for language in article.LANGUAGES)
        assert [figure for figure, _ in english] == [figure for figure, _ in korean]


@pytest.mark.needs_torch
def test_korean_words_are_hidden_in_english_and_the_other_way(text: str) -> None:
    assert 'html[data-language="en"] .ko, html[data-language="ko"] .en { display: none; }' in text
    outside = [part for part in re.findall("[가-힣]+", visible(text, "en")) if part != "한국어"]
    assert outside == []


# For everyone.


@pytest.mark.needs_torch
def test_every_control_has_a_label_and_every_picture_words(page: Page) -> None:
    for one in page.all("input", "select"):
        assert "label" in one["around"], one["attributes"]
    for one in page.all("button"):
        assert one["text"].strip(), one["attributes"]
    for one in page.all("img"):
        assert one["attributes"].get("alt")
    for one in page.all("canvas", "svg"):
        hidden = "aria-hidden" in one["attributes"] or "div" in one["around"]
        assert hidden, one["attributes"]


@pytest.mark.needs_torch
def test_headings_go_down_one_by_one(page: Page) -> None:
    levels = [int(one["tag"][1]) for one in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.needs_torch
def test_ids_are_unique_and_every_reference_is_there(page: Page) -> None:
    ids = [one["attributes"]["id"] for one in page.elements if "id" in one["attributes"]]
    assert len(ids) == len(set(ids))
    for one in page.elements:
        for name in ("aria-labelledby", "href"):
            value = (one["attributes"].get(name) or "").removeprefix("#")
            assert not value or value in ids, value


@pytest.mark.needs_torch
def test_tables_name_their_rows_and_columns(page: Page) -> None:
    assert all("scope" in one["attributes"] for one in page.all("th"))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_stand_out_from_the_paper_in_light_and_dark() -> None:
    """WCAG 2.2: 4.5 for words (success criterion 1.4.3), 3 for parts of drawings (1.4.11)."""
    style = (TEMPLATES / "frame.html").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL))
    assert light.keys() == dark.keys()
    for colours in (light, dark):
        for paper in (colours["paper"], colours["raised"]):
            for name in ("ink", "quiet", "bad", "look", "good", "link"):
                assert contrast(colours[name], paper) >= 4.5, name
            for name in ("bar", "bar2", "bar3"):
                assert contrast(colours[name], paper) >= 3, name
        assert contrast(colours["paper"], colours["bar"]) >= 4.5  # the words of a pressed button


def seen_with(colour: str, vision: str) -> np.ndarray:
    """The linear RGB that a person without one kind of cones sees (Machado, Oliveira, Fernandes, 2009, severity 1)."""
    matrices = {
        "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
        "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    }
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.clip(np.array(matrices[vision]) @ parts**2.2, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("vision", ["protanopia", "deuteranopia", "tritanopia"])
def test_colours_of_the_page_are_told_apart_by_all_kinds_of_vision(vision: str) -> None:
    from perpixel.report.live_examples import COLOURS

    style = (TEMPLATES / "frame.html").read_text(encoding="utf-8")
    for part in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        bars = [colour for name, colour in re.findall(r"--(\w+): (#\w{6})", part) if name in ("bar", "bar2", "bar3")]
        for colours in (bars, COLOURS):
            seen = [seen_with(colour, vision) for colour in colours]
            distances = [np.abs(one - other).max() for place, one in enumerate(seen) for other in seen[:place]]
            assert min(distances) > 0.08
