"""The page: both languages say all, nothing comes from elsewhere, and in Chromium a picture becomes a mask with its shares."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_model
from running_service import serving

from perpixel.classes import ClassTable
from perpixel.images import read_labels
from perpixel.serve import service
from perpixel.serve.pairs import Pairs

PAGE = Path(service.__file__).parent
SCRIPT, MARKUP, STYLE = ((PAGE / name).read_text(encoding="utf-8") for name in ("page.js", "page.html", "page.css"))
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# Runs behind the page's own script: a picture of two colours is drawn, predicted by both models, and what is shown is told.
LAST = """
const problems = [];
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
addEventListener("error", (event) => problems.push(event.message));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
(async () => {
  const until = async (ready) => { while (!ready()) await new Promise((resolve) => setTimeout(resolve, 20)); };
  await until(() => models.length);
  const canvas = Object.assign(document.createElement("canvas"), { width: 40, height: 30 }), context = canvas.getContext("2d");
  context.fillStyle = "#c82828"; context.fillRect(0, 0, 40, 30); context.fillStyle = "#2828c8"; context.fillRect(5, 5, 20, 20);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  const files = ["a.png", "b.png"].map((name) => new File([blob], name, { type: "image/png" }));
  add([...files, new File(["words"], "words.txt", { type: "text/plain" })]);
  await until(() => by("progress").value === 2 && document.querySelectorAll(".pane").length === 2);
  const [first] = document.querySelectorAll(".pane"), over = first.querySelector(".mask");
  const box = first.querySelector(".classes input");
  const drawn = () => over.getContext("2d").getImageData(0, 0, 40, 30).data.filter((_, at) => at % 4 === 3 && _ > 0).length;
  const told = { options: by("model").options.length, english: by("counts").textContent, drawn: [drawn()] };
  told.values = [...batch[0].answers.street.mask.values];
  told.shares = [...first.querySelectorAll(".share")].map((one) => one.textContent);
  first.querySelector(".none").click();
  told.drawn.push(drawn());
  box.click();
  told.drawn.push(drawn());
  first.querySelector(".correct").click();
  const press = (x, y) => {
    const at = over.getBoundingClientRect(), place = [at.left + (x / 40) * at.width, at.top + (y / 30) * at.height];
    const settings = { clientX: place[0], clientY: place[1], bubbles: true, pointerId: 1 };
    for (const kind of ["pointerdown", "pointerup"]) over.dispatchEvent(new PointerEvent(kind, settings));
  };
  first.querySelector(".with").value = 2;
  for (const [x, y] of [[10, 10], [20, 10], [20, 15], [10, 15]]) {
    if (x + y === 20) first.querySelector('[data-tool="polygon"]').click();
    press(x, y);
  }
  first.querySelector(".with").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  told.polygon = [...batch[0].answers.street.mask.values];
  first.querySelector(".with").value = 1;
  first.querySelector('[data-tool="fill"]').click();
  press(12, 12);
  told.filled = [...batch[0].answers.street.mask.values];
  first.querySelector(".undo").click();
  told.undone = [...batch[0].answers.street.mask.values].join() === told.polygon.join();
  const said = by("state").textContent;
  first.querySelector(".keep").click();
  await until(() => by("state").textContent !== said);
  told.kept = by("state").textContent;
  document.querySelector('[data-language="ko"]').click();
  told.korean = by("counts").textContent;
  told.language = document.documentElement.lang;
  told.empty = [...document.querySelectorAll("[data-text]")].filter((one) => !one.textContent).length;
  told.wide = document.documentElement.scrollWidth - innerWidth;
  told.requests = performance.getEntriesByType("resource").map((one) => new URL(one.name).origin).filter((one) => one !== origin);
  told.zip = (await zip([{ name: "a.txt", bytes: new TextEncoder().encode("hello") }]).arrayBuffer()).byteLength;
  told.problems = problems;
  const place = document.createElement("pre");
  place.id = "told";
  place.textContent = JSON.stringify(told);
  document.body.append(place);
})();
"""


def keys_of(language: str) -> set[str]:
    block = SCRIPT.split(f"\n  {language}: {{", 1)[1].split("\n  },", 1)[0]
    return set(re.findall(r"(?:^\s*|, )(\w+): (?=[\"(])", block, re.MULTILINE))


def test_both_languages_have_the_same_texts() -> None:
    assert keys_of("en") == keys_of("ko")
    assert len(keys_of("en")) > 30


def test_every_text_of_the_page_is_there() -> None:
    used = set(re.findall(r'data-text="(\w+)"', MARKUP)) | set(re.findall(r"texts\(\)\.(\w+)", SCRIPT))
    assert used - keys_of("en") == set()


def test_every_element_that_the_script_asks_for_is_there() -> None:
    ids = set(re.findall(r'\bid="([\w-]+)"', MARKUP))
    assert set(re.findall(r'by\("([\w-]+)"\)', SCRIPT)) <= ids
    assert set(re.findall(r'\b(?:for|aria-labelledby)="([\w-]+)"', MARKUP)) <= ids


def test_nothing_comes_from_elsewhere_and_nothing_runs_in_line() -> None:
    addresses = re.findall(r"https?://[^\"'\s)]+", MARKUP + STYLE + SCRIPT)
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|innerHTML|eval\(", MARKUP + SCRIPT)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_model(tmp_path_factory.getbasetemp() / "of-page/street", ClassTable.of(["ground", "box", "disc"]))
    return tmp_path_factory.getbasetemp() / "of-page/street"


def test_the_files_of_the_page_are_served_under_a_strict_policy(run: Path) -> None:
    with serving([run], token="secret") as client:
        for address, text in (("/", MARKUP), ("/page.css", STYLE), ("/page.js", SCRIPT)):
            answer = client.ask("GET", address)
            assert (answer.status, answer.body.decode()) == (200, text)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the page in.")
def test_a_picture_becomes_a_mask_in_a_browser(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path / "cells", ClassTable.of(["ground", "box", "disc"]), seed=1)
    shutil.copytree(PAGE, tmp_path / "page", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (tmp_path / "page/page.js").write_text(SCRIPT + LAST, encoding="utf-8")
    monkeypatch.setattr(service, "FOLDER", tmp_path / "page")
    assert BROWSER is not None
    classes = ClassTable.of(["ground", "box", "disc"])
    with serving([run, tmp_path / "cells"], pairs=Pairs(tmp_path / "kept", classes)) as client:
        words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--timeout=60000",
                 f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--lang=en",
                 "--dump-dom", f"http://127.0.0.1:{client.port}/"]  # fmt: skip
        out = subprocess.run(words, capture_output=True, text=True, timeout=200, check=True).stdout
    assert '<pre id="told">' in out, "the page did not come to its end"
    told: dict[str, Any] = json.loads(html.unescape(out.split('<pre id="told">')[1].split("</pre>")[0]))
    assert told["problems"] == told["requests"] == []
    assert (told["options"], told["empty"], told["language"]) == (2, 0, "ko")
    assert told["english"] == "2 of 2 predicted. 1 file is no picture and is left out."
    assert told["korean"].startswith("2장 중 2장 예측")
    assert told["wide"] <= 0
    counts = [told["values"].count(value) for value in (0, 1, 2)]
    assert sum(counts) == 1200
    assert told["shares"] == [f"{100 * count / 1200:.1f} %" for count in sorted(counts, reverse=True) if count]
    assert told["drawn"] == [1200, 0, max(counts)]
    before, polygon, filled = (np.array(told[name]).reshape(30, 40) for name in ("values", "polygon", "filled"))
    changed = np.zeros((30, 40), bool)
    changed[10:15, 10:20] = True
    assert np.array_equal(polygon, np.where(changed, 2, before))
    assert (filled[changed] == 1).all()
    assert told["undone"]
    assert told["kept"] == "Saved for training as a."
    assert np.array_equal(read_labels(tmp_path / "kept/masks/a.png"), polygon)
    assert told["zip"] == 30 + 5 + 5 + 46 + 5 + 22
