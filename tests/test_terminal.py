"""Output to a terminal, a file or a pipe: only `terminal` prints, a terminal obeys no name, and a closed stream stops no work."""

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import make_folder, make_model
from hidden_torch import HAS_TORCH
from hypothesis import given
from hypothesis import strategies as st
from places import python_path

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import printable
from perpixel.terminal import print_table, say, say_failures, show

PACKAGE = Path(perpixel.__file__).parent
FORGED = "road\n\x1b[2Jperpixel: all is well\r\u202e\x9b31m"


# Several command lines in one process, which imports torch once; it ends with the first exit code that is not 0.
RUN = """
import json, sys
from perpixel.cli import main
code = 0
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as left:
        code = code or left.code
raise SystemExit(code)
"""


def start(*lines: list[str], cwd: Path, shell: str = "{}", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs command lines in a new process. `shell` is shell text around it, which closes or redirects its streams."""
    words = " ".join(map(shlex.quote, (sys.executable, "-c", RUN, json.dumps(lines))))
    variables = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", **environment}
    line = ["bash", "-c", shell.format(words)]
    return subprocess.run(line, capture_output=True, cwd=cwd, env=variables, timeout=120, check=False)


def test_one_module_prints() -> None:
    printing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout.write", "sys.stderr.write"))
    }
    # `__main__` is the start of the process. `torch_files` is the child process that reads strangers' weights: it prints for its
    # parent.
    assert printing == {"terminal.py", "__main__.py", "weights/torch_files.py"}


@given(st.text() | st.binary(max_size=20).map(os.fsdecode))
def test_what_is_printable_is_one_line_that_no_terminal_obeys_and_every_file_takes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.splitlines() in ([], [shown])
    shown.encode("utf-8")
    assert printable(shown) == shown


def test_names_forge_no_lines_and_reach_the_terminal_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say(FORGED)
    show(FORGED)
    print_table(("class", "IoU"), [(FORGED, "0.1")])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert len(printed.err.splitlines()) == 1
    assert len(printed.out.splitlines()) == 1 + 2
    assert printed.out.count("road\\n\\x1b[2Jperpixel: all is well\\r\\u202e\\x9b31m") == 2


def test_many_failures_are_counted_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_failures([f"{number}.png: is damaged." for number in range(25)], "pictures") == 25
    assert capsys.readouterr().err.splitlines()[-2:] == ["19.png: is damaged.", "... and 5 more pictures."]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with names that a terminal would obey, and whose letters few encodings have; and a model with such a card."""
    root = tmp_path_factory.mktemp("street")
    data = make_folder(root / "data", train=4, val=2)
    (data / "classes.csv").write_text('id,name\n0,ground\n1,"box\n\x1b[31m"\n2,été\n255,void\n')
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (data / kind / "val" / f"p00.{suffix}").rename(data / kind / "val" / f"été 한\n\x1b[2J.{suffix}")
    classes = ClassTable.read_csv(data / "classes.csv")
    make_model(root / "run", classes, trained_on="\x1b[2Jtrained", licence="\x1b]0;licence\x07")
    return root


COMMANDS = [
    ["check", "data"],
    ["check", "data", "--json"],
    ["evaluate", "data/masks/val", "--data", "data"],
    ["explain-score", "data/masks/val", "./data"],
]
OF_NETWORKS = [
    ["evaluate", "run", "--data", "data"],
    ["predict", "run", "data/images/val", "--out", "masks"],
    ["upper-bound", "./data", "--factors", "2"],
    ["explain-score", "run", "./data"],
    ["networks"],
]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_any_encoding_of_stdout_takes_every_name(street: Path, encoding: str) -> None:
    done = start(*COMMANDS, *(OF_NETWORKS if HAS_TORCH else ()), cwd=street, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    text = (done.stdout + done.stderr).decode(encoding)
    assert "Traceback" not in text
    assert done.returncode == 3, text  # of check, which refuses such a name
    assert "\x1b" not in text
    assert "2 predicted, 0 done before, 0 failed" in text or "0 predicted, 2 done before" in text or not HAS_TORCH
    assert text.count("\\ud55c") + text.count("\\x1b[2J") > 2


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("shell", "code"),
    [("{} >&- 2>&-", 3), ("{} 2>&1 | true; exit ${{PIPESTATUS[0]}}", 3), ("{} >/dev/full", 5)],
)
def test_closed_streams_and_readers_that_go_away_stop_no_work(street: Path, tmp_path: Path, shell: str, code: int) -> None:
    predict = ["predict", "run", "data/images/val", "--out", str(tmp_path / "out")]
    done = start(["check", "data"], predict, cwd=street, shell=shell)
    assert (done.returncode, b"Traceback" in done.stderr, b"Exception" in done.stderr) == (code, False, False), done.stderr
    assert len(list((tmp_path / "out/masks").iterdir())) == 2


def test_a_user_without_a_home_or_a_place_for_compiled_code_is_served(street: Path, tmp_path: Path) -> None:
    """As in a container: neither the package nor the home can be written, so compiled functions are kept nowhere."""
    (tmp_path / "sitecustomize.py").write_text(
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # as numba has it for this user. Root may write anywhere, so it is set here
    )
    judged = "run" if HAS_TORCH else "data/masks/val"
    lines = ["evaluate", judged, "--data", "data", "--boundary-iou"], ["explain-score", judged, "./data"]
    done = start(*lines, cwd=street, PYTHONPATH=python_path(tmp_path), HOME="/nonexistent", XDG_CACHE_HOME="/nonexistent")
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


def test_a_stop_in_the_first_second_is_a_sentence() -> None:
    script = (
        "import signal, sys\n"
        "class Stopping:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'perpixel.cli':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stopping())\n"
        "from perpixel.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (75, "perpixel: stopped; the same command continues.\n")
