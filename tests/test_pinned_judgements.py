"""What each judgement says today, to the last digit: figures, intervals, protocols, tables and refusals, kept in tests/pinned/.

`python tests/test_pinned_judgements.py` writes tests/pinned/ anew; `git diff tests/pinned` then shows every digit that changed.

A case is a command line. It runs in this process, in the folder of `pinned_sets`, with `--device cpu`, once with `--json` and
once as a table. Three things alone are replaced before comparing: the version by VERSION, and so a protocol's hash by that of the
protocol with VERSION; the digest of a model file by its path; the folder of the sets by ROOT. Lines of progress are left out."""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hidden_torch import HAS_TORCH, end_where_hidden, require_torch
from pinned_sets import put_sets

import perpixel
from perpixel.cli import main
from perpixel.judging.compare import compare
from perpixel.measures.boundary_iou import BoundaryIou
from perpixel.measures.cityscapes import CityscapesIou
from perpixel.measures.instances import AveragePrecision
from perpixel.measures.membranes import Membranes
from perpixel.measures.objects import Objects
from perpixel.measures.panoptic import PanopticQuality
from perpixel.measures.pixels import Pixels

if HAS_TORCH:
    import torch

PINNED = Path(__file__).parent / "pinned"
REPLICATES, SAMPLES, SEED = 9, 17, 4
SURE, TESTED = f"--bootstrap {REPLICATES} --seed {SEED}", f"--samples {SAMPLES} --seed {SEED}"
STREET, TISSUE = "--data street", "--data tissue"
CITY, COCO = "--data cityscapes --root cityscapes", "--root coco"
OBJECTS, MEMBRANES = f"{STREET} --objects disc", f"{TISSUE} --membranes membrane"
BORDERS, BENCHMARK = f"{STREET} --boundary-iou", f"{CITY} --cityscapes"
PANOPTIC = f"--data coco_panoptic {COCO} --panoptic"
MASK, BOX, BOUNDARY = (f"--data coco {COCO} --instances {kind}" for kind in ("mask", "box", "boundary"))


def of_pictures(name: str, judged: str) -> list[str]:
    """What every judgement of masks and models is asked: scores, intervals, pictures that cannot be judged, and comparisons."""
    return [
        f"evaluate {name}-first {judged}",
        f"evaluate {name}-first {judged} {SURE}",
        f"evaluate {name}-holes {judged}",
        f"evaluate {name}-model {judged}",
        f"evaluate {name}-model {judged} {SURE}",
        f"compare {name}-first {name}-second {judged} {TESTED}",
        f"compare {name}-model {name}-model-two {judged} {TESTED}",
        f"compare {name}-first {name}-second {name}-holes {judged} {TESTED}",
    ]


def of_results(name: str, judged: str, tested: str = TESTED) -> list[str]:
    """What every judgement of results files is asked."""
    return [
        f"evaluate {name}-first.json {judged}",
        f"evaluate {name}-first.json {judged} {SURE}",
        f"compare {name}-first.json {name}-second.json {judged} {tested}",
    ]


PANOPTIC_SEED = 5  # with 4 a limit is 71.25 %, half way between two printed digits
PANOPTIC_TESTED = f"--samples {SAMPLES} --seed {PANOPTIC_SEED}"
PANOPTIC_FILE = "--data coco/annotations/panoptic_val2017.json --panoptic"
INSTANCES_FILE = "--data coco/annotations/instances_val2017.json --instances mask"
CASES: dict[str, list[str]] = {
    "pixels": [
        *of_pictures("street", STREET),
        f"compare street-first street-model {STREET} {TESTED}",
        f"evaluate street-model {STREET} --average flips",
        f"compare street-model street-model-two {STREET} --average flips",
        f"compare street-model street-model {STREET} --other-average flips",
        f"evaluate city-model {CITY}",
    ],
    "objects": [
        *of_pictures("street", OBJECTS),
        f"evaluate street-second {OBJECTS} --connectivity 8 --minimum-area 3 --fill-holes {SURE}",
        f"compare street-first street-second {OBJECTS} --connectivity 8 --minimum-area 3 --fill-holes {TESTED}",
        f"evaluate street-model {STREET} --objects box",
        f"evaluate city-model {CITY} --objects car",  # with groups, that is crowds
        f"evaluate street-model {OBJECTS} --average flips",
    ],
    "membranes": [
        *of_pictures("tissue", MEMBRANES),
        f"evaluate tissue-model {MEMBRANES} --thresholds 0.25 0.5 0.75 {SURE}",
        f"compare tissue-model tissue-first {MEMBRANES} --thresholds 0.25 0.5 0.75 {TESTED}",
    ],
    "boundary_iou": [
        *of_pictures("street", BORDERS),
        f"evaluate street-first {BORDERS} --dilation 0.08 {SURE}",
        f"compare street-first street-second {BORDERS} --dilation 0.08 {TESTED}",
        f"evaluate street-model {BORDERS} --average flips",
        f"compare street-model street-model-two {BORDERS} --average flips",
        f"evaluate city-model {CITY} --boundary-iou",
    ],
    "cityscapes": [
        *of_pictures("city", BENCHMARK),
        f"evaluate city-model {BENCHMARK} --average flips",
    ],
    "panoptic": [
        *of_results("panoptic", PANOPTIC, PANOPTIC_TESTED),
        f"evaluate panoptic-holes.json {PANOPTIC}",
        f"compare panoptic-first.json panoptic-second.json panoptic-holes.json {PANOPTIC} {PANOPTIC_TESTED}",
        f"evaluate panoptic-second.json {PANOPTIC_FILE}",
    ],
    "instances": [
        *of_results("instances", MASK),
        *of_results("instances", BOX),
        *of_results("instances", BOUNDARY),
        f"evaluate instances-second.json {INSTANCES_FILE}",
    ],
}
OTHERS = {"street": [OBJECTS, BORDERS], "tissue": [MEMBRANES], "city": [BENCHMARK]}  # than pixels, of masks and models
EVERY = [(name, judged) for name, each in {**OTHERS, "street": [STREET, OBJECTS, BORDERS]}.items() for judged in each]
# What is refused although it would have a meaning: a rewrite may make it work, and then its line goes from here to CASES.
REFUSED_TODAY = [
    # Intervals of pictures some of which cannot be judged.
    *(f"evaluate {name}-holes {judged} {SURE}" for name, judged in EVERY),
    f"evaluate panoptic-holes.json {PANOPTIC} {SURE}",
    # One wrong entry of results.
    f"evaluate instances-holes.json {MASK}",
    # Models, and predicted masks, by their segments or instances.
    f"evaluate street-model {PANOPTIC}",
    f"evaluate street-model {MASK}",
    f"compare street-model street-model-two {PANOPTIC}",
    f"compare street-model street-model-two {MASK}",
    # Segments and instances of other data sets that have them.
    f"evaluate panoptic-first.json {CITY} --panoptic",
    f"evaluate instances-first.json {CITY} --instances mask",
    f"evaluate instances-first.json {STREET} --instances mask",
    f"evaluate instances-first.json --data coco_panoptic {COCO} --instances mask",
]
# What has no meaning.
REFUSED = [
    f"evaluate street-first {OBJECTS} --boundary-iou",
    f"evaluate street-first {STREET} --dilation 0.1",
    f"evaluate street-first {STREET} --connectivity 8",
    f"evaluate tissue-first {TISSUE} --thresholds 0.5",
    f"evaluate street-first {OBJECTS} --connectivity 5",
    f"evaluate street-first {OBJECTS} --minimum-area -1",
    f"evaluate tissue-first {MEMBRANES} --thresholds 1",
    f"evaluate street-first {BORDERS} --dilation 0",
    f"evaluate street-first {STREET} --objects dics",
    f"evaluate tissue-first {TISSUE} --membranes membrame",
    f"evaluate street-first {STREET} --membranes box",  # void
    f"evaluate tissue-first {TISSUE} --objects inside",  # no instances
    f"evaluate street-first {STREET} --cityscapes",
    "evaluate city-model --data cityscapes8 --root cityscapes --cityscapes",
    f"evaluate instances-first.json --data coco {COCO} --instances keypoints",
    "evaluate panoptic-first.json --data coco_panoptic --panoptic",
    f"evaluate panoptic-first.json {PANOPTIC_FILE} --split val",
    f"evaluate street-first {STREET} --average flips",
    f"evaluate panoptic-first.json {PANOPTIC} --average flips",
    *(f"evaluate {name}-first {judged} --bootstrap 1" for name, judged in EVERY),
    f"evaluate panoptic-first.json {PANOPTIC} --bootstrap 1",
    f"evaluate instances-first.json {BOX} --bootstrap 1",
    f"evaluate tissue-model {STREET}",
    "evaluate street-first",
    "compare street-first street-second",
]
REFUSALS = {"refused_today": REFUSED_TODAY, "refused": REFUSED}
# Where the last digit is not ours: there `same` allows 1e-12, and everywhere else it asks for equal numbers. Counts are whole
# numbers, and NumPy adds and divides floats in one order on every CPU. But the figures of objects in samples are a product of
# matrices, which BLAS adds in an order of the CPU's; and the logarithms of v_info have another last digit with AVX-512. The means
# of the other three are those of sum(), which since Python 3.12 compensates for what it rounds off. Figures of instances in
# samples are pinned as numba added them up; NumPy adds them in another order, the same on every CPU. Samples are drawn as the
# NumPy of constraints.txt draws them.
LAST_DIGITS = {
    "objects": r"(^compare .*/out/.*|/bootstrap)/figures/(SEG|AP\w*)/(?!p_)|/by_picture/.*/values/",
    "membranes": "v_info",
    "instances": r"(^compare .*/out/.*|/bootstrap)/figures/(?!.*p_)|/by_picture/.*/values/",
    **dict.fromkeys(("boundary_iou", "cityscapes", "panoptic"), "/(figures|classes|values)/.*(?<!p_value)(?<!p_holm)$"),
}
ON_EVERY_PYTHON = ("objects", "membranes", "instances")
ALLOWED = 1e-12
PROGRESS = re.compile(r"^\w+ \d+/\d+")
HASH = re.compile(r"(?<=protocol )[0-9a-f]{12}")


# Running a command.


def run(command: str, *more: str) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines of stderr but for those of progress, of a command line in the folder of the sets."""
    if "-model" in command:
        require_torch()
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([*command.split(), *more, "--device", "cpu"])
        except SystemExit as left:
            code = int(left.code or 0)
    end_where_hidden(command.split(), code, err.getvalue())
    lines = [line.replace(os.getcwd(), "ROOT") for line in err.getvalue().splitlines() if not PROGRESS.match(line)]
    return code, out.getvalue(), lines


def hash_of(protocol: dict[str, Any]) -> str:
    judged = {key: value for key, value in protocol.items() if key != "weights"}
    return hashlib.sha256(json.dumps(judged, sort_keys=True).encode()).hexdigest()[:12]


def without_version(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a judgement with placeholders; its hash must be that of its protocol, its version ours."""
    protocol = content["protocol"]
    assert content["protocol_hash"] == hash_of(protocol)
    assert protocol["perpixel"] == perpixel.__version__
    protocol = {**protocol, "perpixel": "VERSION"}
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(Path().glob("*/model.safetensors"))}
    sides = content.get("sides", [])
    for part in (protocol, *sides):
        if "weights" in part:
            part["weights"] = part["weights"] and str(files.get(part["weights"], part["weights"]))
    for side in sides:
        assert side["protocol_hash"] == content["protocol_hash"]
        side["protocol_hash"] = hash_of(protocol)
    return {**content, "protocol": protocol, "protocol_hash": hash_of(protocol)}


def outcome(command: str) -> dict[str, Any]:
    """What a command says as JSON and as a table."""
    code, text, lines = run(command, "--json")
    content = json.loads(text)
    assert text == json.dumps(content, indent=1) + "\n"
    table_code, table, table_lines = run(command)
    assert HASH.findall(table) == [content["protocol_hash"]]
    judged = without_version(content)
    rows = HASH.sub(judged["protocol_hash"], table).split("\n")
    assert rows.pop() == ""
    return {
        "json": {"code": code, "out": judged, "err": lines},
        "table": {"code": table_code, "out": rows, "err": table_lines},
    }


def refusal(command: str) -> dict[str, Any]:
    code, text, lines = run(command)
    assert (code != 0, text) == (True, "")
    return {"code": code, "err": lines}


# Comparing.


def leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every number, text, truth value and null with its place; of a dictionary its keys in their order too."""
    if isinstance(value, dict):
        yield f"{where}/keys", " ".join(value)
        for key, part in value.items():
            yield from leaves(part, f"{where}/{key}")
    elif isinstance(value, list):
        yield f"{where}/length", len(value)
        for place, part in enumerate(value):
            yield from leaves(part, f"{where}/{place}")
    else:
        yield where, value


def loose(judgement: str, where: str) -> bool:
    """Whether the last digit of the number at this place depends on the CPU or the Python."""
    depends = judgement in ON_EVERY_PYTHON or (judgement in LAST_DIGITS and sys.version_info >= (3, 12))
    return depends and re.search(LAST_DIGITS[judgement], where) is not None


def same(judgement: str, where: str, pinned: Any, now: Any) -> bool:
    if isinstance(pinned, float) and isinstance(now, float) and loose(judgement, where):
        return math.isclose(pinned, now, rel_tol=0, abs_tol=ALLOWED)
    return repr(pinned) == repr(now)


def changes(judgement: str, command: str, pinned: Any, now: Any) -> list[str]:
    """Every place where what is said now is not as pinned."""
    before, after = dict(leaves(pinned, command)), dict(leaves(now, command))
    return [
        f"{where}: {before.get(where)!r} is pinned, now {after.get(where)!r}"
        for where in {**before, **after}
        if where not in before or where not in after or not same(judgement, where, before[where], after[where])
    ]


# Keeping.


def written(value: Any, indent: int = 0) -> str:
    """JSON, where what fits on a line has one, as rows of numbers do."""
    are_counts = isinstance(value, list) and all(isinstance(part, int) for part in value)
    line = json.dumps(value, separators=(",", ":") if are_counts else None)
    if (indent and len(line) + indent <= 128) or not isinstance(value, (dict, list)) or not value:
        return line
    if isinstance(value, list):
        parts, (start, end) = [written(part, indent + 1) for part in value], "[]"
    else:
        parts, (start, end) = [f"{json.dumps(key)}: {written(part, indent + 1)}" for key, part in value.items()], "{}"
    margin = "\n" + " " * (indent + 1)
    return f"{start}{margin}{f',{margin}'.join(parts)}\n{' ' * indent}{end}"


def shortened(cases: dict[str, Any]) -> dict[str, Any]:
    """The cases, where a large part of the JSON that an earlier case has too is `{"as": that case}`; of a protocol the lines that
    differ stand beside."""
    first: dict[str, tuple[str, Any]] = {}  # by the part's name and contents
    short = {}
    for command, case in cases.items():
        out = {}
        for key, part in case["json"]["out"].items():
            common = {name: value for name, value in part.items() if name != "weights"} if key == "protocol" else part
            has_weights = key == "protocol" and "weights" in part
            text = f"{key} {has_weights} {json.dumps(common)}"
            earlier, before = first.setdefault(text, (command, part))
            more = {"weights": part["weights"]} if part != before else {}
            out[key] = part if earlier == command or len(text) < 200 else {"as": earlier, **more}
        short[command] = {**case, "json": {**case["json"], "out": out}}
    return short


def pinned_cases(name: str) -> dict[str, Any]:
    """What a file of tests/pinned/ holds, by command line, with all that `shortened` took away."""
    cases = json.loads((PINNED / f"{name}.json").read_text())
    for case in cases.values():
        out = case.get("json", {}).get("out", {})
        for key, part in out.items():
            if isinstance(part, dict) and "as" in part:
                before = cases[part.pop("as")]["json"]["out"][key]
                out[key] = {**before, **part} if isinstance(before, dict) else before
    return cases


def write() -> None:
    """Judges all, and writes tests/pinned/ anew."""
    os.environ.update(NO_COLOR="1", COLUMNS="200")
    torch.set_num_threads(1)
    PINNED.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        put_sets(Path(folder))
        os.chdir(folder)
        kept = {name: shortened({command: outcome(command) for command in commands}) for name, commands in CASES.items()}
        kept |= {name: {command: refusal(command) for command in commands} for name, commands in REFUSALS.items()}
        os.chdir(PINNED)
    for name, cases in kept.items():
        (PINNED / f"{name}.json").write_text(written(cases) + "\n")


# The calls of Python that say what a command says.


def street() -> Any:
    return perpixel.open_dataset("street")


def tissue() -> Any:
    return perpixel.open_dataset("tissue")


def city() -> Any:
    return perpixel.open_dataset("cityscapes", root="cityscapes")


BOOTSTRAP = {"bootstrap": REPLICATES, "seed": SEED}
RULES = {"connectivity": 8, "minimum_area": 3, "fill_holes": True}
INSTANCES = Path("coco/annotations/instances_val2017.json")
PANOPTIC_MAPS = Path("coco/annotations/panoptic_val2017.json")
FUNCTIONS: dict[str, dict[str, Callable[[], Any]]] = {
    "pixels": {
        f"evaluate street-first {STREET} {SURE}": lambda: perpixel.evaluate("street-first", street(), **BOOTSTRAP),
        f"evaluate street-model {STREET}": lambda: perpixel.evaluate(perpixel.load("street-model"), street()),
        f"evaluate street-model {STREET} --average flips": lambda: perpixel.evaluate(
            perpixel.load("street-model"), street(), inference=perpixel.Inference(average="flips")
        ),
        f"compare street-first street-second {STREET} {TESTED}": lambda: compare(
            ["street-first", "street-second"], street(), Pixels(), SAMPLES, SEED
        ),
    },
    "objects": {
        f"evaluate street-second {OBJECTS} --connectivity 8 --minimum-area 3 --fill-holes {SURE}": lambda: perpixel.evaluate(
            "street-second", street(), Objects("disc", **RULES), **BOOTSTRAP
        ),
        f"evaluate street-model {OBJECTS}": lambda: perpixel.evaluate(perpixel.load("street-model"), street(), Objects("disc")),
        f"compare street-first street-second {OBJECTS} --connectivity 8 --minimum-area 3 --fill-holes {TESTED}": lambda: compare(
            ["street-first", "street-second"], street(), Objects("disc", **RULES), SAMPLES, SEED
        ),
    },
    "membranes": {
        f"evaluate tissue-first {MEMBRANES} {SURE}": lambda: perpixel.evaluate(
            "tissue-first", tissue(), Membranes("membrane"), **BOOTSTRAP
        ),
        f"evaluate tissue-model {MEMBRANES}": lambda: perpixel.evaluate(
            perpixel.load("tissue-model"), tissue(), Membranes("membrane")
        ),
        f"compare tissue-first tissue-second {MEMBRANES} {TESTED}": lambda: compare(
            ["tissue-first", "tissue-second"], tissue(), Membranes("membrane"), SAMPLES, SEED
        ),
    },
    "boundary_iou": {
        f"evaluate street-first {BORDERS} --dilation 0.08 {SURE}": lambda: perpixel.evaluate(
            "street-first", street(), BoundaryIou(0.08), **BOOTSTRAP
        ),
        f"evaluate street-model {BORDERS}": lambda: perpixel.evaluate(perpixel.load("street-model"), street(), BoundaryIou()),
        f"compare street-first street-second {BORDERS} {TESTED}": lambda: compare(
            ["street-first", "street-second"], street(), BoundaryIou(), SAMPLES, SEED
        ),
    },
    "cityscapes": {
        f"evaluate city-first {BENCHMARK} {SURE}": lambda: perpixel.evaluate("city-first", city(), CityscapesIou(), **BOOTSTRAP),
        f"evaluate city-model {BENCHMARK}": lambda: perpixel.evaluate(perpixel.load("city-model"), city(), CityscapesIou()),
        f"compare city-first city-second {BENCHMARK} {TESTED}": lambda: compare(
            ["city-first", "city-second"], city(), CityscapesIou(), SAMPLES, SEED
        ),
    },
    "panoptic": {
        f"evaluate panoptic-first.json {PANOPTIC} {SURE}": lambda: perpixel.evaluate(
            Path("panoptic-first.json"), PANOPTIC_MAPS, PanopticQuality(), **BOOTSTRAP
        ),
        f"compare panoptic-first.json panoptic-second.json {PANOPTIC} {PANOPTIC_TESTED}": lambda: compare(
            [Path("panoptic-first.json"), Path("panoptic-second.json")], PANOPTIC_MAPS, PanopticQuality(), SAMPLES, PANOPTIC_SEED
        ),
    },
    "instances": {
        **{
            f"evaluate instances-first.json {judged} {SURE}": lambda kind=kind: perpixel.evaluate(
                Path("instances-first.json"), INSTANCES, AveragePrecision(kind), **BOOTSTRAP
            )
            for kind, judged in {"mask": MASK, "box": BOX, "boundary": BOUNDARY}.items()
        },
        f"compare instances-first.json instances-second.json {BOX} {TESTED}": lambda: compare(
            [Path("instances-first.json"), Path("instances-second.json")], INSTANCES, AveragePrecision("box"), SAMPLES, SEED
        ),
    },
}  # fmt: skip


# Tests.


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    put_sets(root)
    return root


@pytest.fixture
def here(sets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the sets, in which commands run."""
    monkeypatch.chdir(sets)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return sets


@pytest.mark.parametrize(("judgement", "command"), [(name, command) for name, each in CASES.items() for command in each])
def test_a_command_says_what_is_pinned(here: Path, judgement: str, command: str) -> None:
    assert changes(judgement, command, pinned_cases(judgement)[command], outcome(command)) == []


@pytest.mark.parametrize(("kind", "command"), [(kind, command) for kind, each in REFUSALS.items() for command in each])
def test_a_command_refuses_in_the_pinned_words(here: Path, kind: str, command: str) -> None:
    assert changes(kind, command, pinned_cases(kind)[command], refusal(command)) == []


@pytest.mark.parametrize(("judgement", "command"), [(name, command) for name, each in FUNCTIONS.items() for command in each])
def test_a_function_gives_the_json_of_its_command(here: Path, judgement: str, command: str) -> None:
    if "-model" in command:
        require_torch()
    content = json.loads(json.dumps(FUNCTIONS[judgement][command]().to_json()))
    pinned = pinned_cases(judgement)[command]["json"]["out"]
    assert changes(judgement, f"{command}/json/out", pinned, without_version(content)) == []


# Two processes from one, after what takes seconds to import. Commands lie between the words "then".
TWO = """
import os, sys
import perpixel, perpixel.weights.model_file
from perpixel.cli import main
other = os.fork()
os.environ["RANK"] = "0" if other else "1"
words = [*sys.argv[1:], "then"]
ports = os.environ["PORTS"].split()
while words:
    os.environ["MASTER_PORT"] = ports.pop()
    place = words.index("then")
    main(words[:place])
    words = words[place + 1:]
if other and os.waitpid(other, 0)[1]:
    sys.exit("the second process failed.")
"""


@pytest.mark.needs_torch
def test_two_processes_say_what_one_says(here: Path) -> None:
    """By every judgement, of masks, models and results."""
    commands = {
        "pixels": [f"evaluate street-first {STREET} {SURE}", f"compare street-first street-second {STREET} {TESTED}"],
        "objects": [f"evaluate street-model {OBJECTS}"],
        "membranes": [f"evaluate tissue-first {MEMBRANES} {SURE}"],
        "boundary_iou": [f"evaluate street-model {BORDERS}"],
        "cityscapes": [f"evaluate city-first {BENCHMARK} {SURE}"],
        "panoptic": [f"evaluate panoptic-first.json {PANOPTIC} {SURE}"],
        "instances": [f"evaluate instances-first.json {BOX} {SURE}"],
    }
    every = [(judgement, command) for judgement, each in commands.items() for command in each]
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in every]
        for place in free:
            place.bind(("127.0.0.1", 0))
        ports = " ".join(str(place.getsockname()[1]) for place in free)
    more = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PORTS": ports, "OMP_NUM_THREADS": "1"}
    words = " then ".join(f"{command} --device cpu --json" for _, command in every).split()
    done = subprocess.run(
        [sys.executable, "-c", TWO, *words], env={**os.environ, **more}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    decoder, rest = json.JSONDecoder(), done.stdout.strip()
    for judgement, command in every:
        content, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()
        pinned = pinned_cases(judgement)[command]["json"]["out"]
        assert changes(judgement, f"{command}/json/out", pinned, without_version(content)) == []
    assert rest == ""  # one voice for all


@pytest.mark.parametrize("name", [*CASES, *REFUSALS])
def test_what_is_pinned_are_the_cases_and_no_others(name: str) -> None:
    assert [*pinned_cases(name)] == {**CASES, **REFUSALS}[name]
    assert {path.stem for path in PINNED.iterdir()} == {*CASES, *REFUSALS}


def changed(judgement: str, where: str, value: Any) -> Any:
    """A value that differs by as little as must be seen."""
    if isinstance(value, float):
        return value + 1e-11 if loose(judgement, where) else float(np.nextafter(value, math.inf))
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}."


@pytest.mark.parametrize("name", [*CASES, *REFUSALS])
def test_one_digit_that_changes_is_seen(name: str) -> None:
    seen = 0
    for command, case in pinned_cases(name).items():
        for where, value in leaves(case, command):
            assert not same(name, where, value, changed(name, where, value)), where
            seen += 1
    assert seen > 30


@pytest.mark.parametrize("judgement", sorted({*LAST_DIGITS} - {"instances"}))  # whose digits are the same on every CPU
def test_no_printed_digit_hangs_on_the_last_one(judgement: str) -> None:
    """Tables are compared as text, so what is rounded there must not be half way between two digits."""
    decimals = 6 if judgement == "membranes" else 3
    for command, case in pinned_cases(judgement).items():
        for where, value in leaves(case, command):
            if isinstance(value, float) and re.search(LAST_DIGITS[judgement], where):
                assert abs(value * 10**decimals % 1 - 0.5) > 1e-6, where


@pytest.mark.needs_torch
def test_every_network_is_sure_of_its_answers(here: Path) -> None:
    """A score that differs by 1e-3 changes neither a label nor the order in which `--membranes` warps pixels."""
    for name, data in {"street": street(), "tissue": tissue(), "city": city()}.items():
        for model in (perpixel.load(f"{name}-model"), perpixel.load(f"{name}-model-two")):
            for index in range(len(data)):
                image = torch.from_numpy(data.sample(index).image.copy()).movedim(-1, 0)[None] / 255
                with torch.no_grad():
                    scores = model.network(image)["logits"]
                best = scores.topk(2, 1).values
                assert (best[:, 0] - best[:, 1]).min() > 0.05
                if name == "tissue":
                    inside = sorted({round(float(value), 4) for value in scores.softmax(1)[0, 1].ravel()})
                    gaps = {(t, p): abs(p - t / 10) for t in range(10) for p in inside}  # from each threshold
                    assert min(gaps.values()) > 2e-3
                    assert min(abs(gaps[t, p] - gaps[t, q]) for t, p in gaps for q in inside if q != p) > 2e-3


if __name__ == "__main__":
    write()
