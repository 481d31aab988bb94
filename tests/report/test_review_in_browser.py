"""The review's page in Chromium, where there is one: no error, no request, nothing wider than a phone, and numbers that move as
they should. A browser takes seconds to start, so these are slow."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report.made_review import make_review

from perpixel.report.live_examples import PREDICTION, eight_miou
from perpixel.report.review_page import write_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow, pytest.mark.needs_torch,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the page in."),
]  # fmt: skip
# Runs in the page before anything else, and when all pictures are painted.
FIRST = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
console.error = (...words) => problems.push(words.join(" "));
</script>"""
LAST = """<script>
setTimeout(async () => {
  const shown = (id) => document.getElementById(id)?.textContent;
  const painted = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value);
  const told = {
    language: document.documentElement.lang,
    wide: document.documentElement.scrollWidth <= innerWidth ? [] : all("body *")
      .filter((one) => !one.closest(".wide, .drawing") && one.getBoundingClientRect().right > innerWidth)
      .map((one) => one.outerHTML.slice(0, 90)),
    requests: performance.getEntriesByType("resource").filter((one) => !one.name.startsWith("data:")).map((one) => one.name),
    eight: Object.fromEntries(all("[data-rule]").map((cell) => [cell.dataset.rule, cell.textContent])),
    painted: all("canvas").map(painted),
    iou: shown("iou"), at: shown("iou-at"), accuracy: shown("constant-accuracy"),
  };
  document.querySelector("[data-grid] button").click();
  told.changed = document.querySelector('[data-rule="left_out"]').textContent;
  document.querySelector('[data-side="across"]').value = 40;
  document.querySelector('[data-side="across"]').dispatchEvent(new Event("input"));
  told.moved = shown("iou");
  document.querySelector('a[data-network="fcn32s"][data-class="1"]').click();
  told.found = all("#found button").length;
  told.of = shown("of");
  told.alone = all("[data-only][aria-pressed=true]").map((button) => button.dataset.only);
  document.querySelector('[data-to="en"]').click();
  told.english = shown("of");
  told.problems = problems;
  const place = window.parent.document.createElement("pre");
  place.id = "told";
  place.textContent = JSON.stringify(told);
  window.parent.document.body.append(place);
}, 4000);
</script>"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page says of itself, in Korean, in a frame as wide as a phone."""
    folder = tmp_path_factory.mktemp("browser")
    text = write_page(make_review(folder)).read_text(encoding="utf-8")
    text = text.replace("<style>", FIRST + "<style>", 1).replace("</html>", LAST + "</html>")
    text = text.replace('let language = "en";', 'let language = "en"; localStorage.setItem("perpixel language", "ko");', 1)
    frame = Path(folder / "frame.html")
    frame.write_text(
        f'<!doctype html><meta charset="utf-8"><body><iframe width="360" height="2000" srcdoc="{html.escape(text)}"></iframe>',
        encoding="utf-8",
    )
    assert BROWSER is not None
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=800,2200", "--timeout=180000",
             f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=12000", "--dump-dom", frame.as_uri()]  # fmt: skip
    out = subprocess.run(words, capture_output=True, text=True, timeout=400, check=True).stdout
    assert '<pre id="told">' in out, "the page did not come to its end"
    found: dict[str, Any] = json.loads(html.unescape(out.split('<pre id="told">')[1].split("</pre>")[0]))
    return found


def test_no_error_and_no_request(told: dict[str, Any]) -> None:
    assert told["problems"] == []
    assert told["requests"] == []


def test_nothing_is_wider_than_a_phone(told: dict[str, Any]) -> None:
    assert told["wide"] == []


def test_all_pictures_are_painted(told: dict[str, Any]) -> None:
    assert len(told["painted"]) > 2
    assert all(told["painted"])


def test_the_script_makes_the_same_eight_numbers(told: dict[str, Any]) -> None:
    assert told["eight"] == {key: f"{value:.3f}" for key, value in eight_miou(PREDICTION).items()}
    first = ["b" + PREDICTION[0][0][1:], *PREDICTION[0][1:]]
    assert told["changed"] == f"{eight_miou([first, PREDICTION[1]])['left_out']:.3f}"


def test_a_rectangle_that_moves_has_another_iou(told: dict[str, Any]) -> None:
    assert told["iou"] == f"{72 * 54 / (2 * 80 * 60 - 72 * 54):.3f}"
    assert told["moved"] == f"{80 * 54 / (2 * 80 * 60 - 80 * 54):.3f}"
    assert "4" in told["at"]  # 0.50, 0.55, 0.60, 0.65


def test_a_number_leads_to_its_pictures_in_both_languages(told: dict[str, Any]) -> None:
    assert told["language"] == "ko"
    assert told["found"] == 4
    assert told["alone"] == ["1"]
    assert told["of"].startswith("이 수치를 만든 사진들: FCN-32s의 IoU box")
    assert told["english"] == "The pictures behind the number: IoU box of FCN-32s, hardest first"
