"""How long `perpixel --help` and every `VERB --help` take, and verbs of the core from start to end on two small pictures.

None of them imports torch. And how long the verbs that need torch take to load, beside torch alone.

    python benchmarks/startup.py"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine, median, report
from PIL import Image

VERBS = ("train", "evaluate", "predict", "check", "init", "networks", "datasets", "import", "review", "upper-bound",
         "receptive-field", "proposal-curve", "download", "explain-score", "claims",
         "compare", "submission", "convert", "export", "merge", "serve")  # fmt: skip
CORE = (
    ["check", "data"], ["datasets"], ["evaluate", "data/masks/val", "--data", "data"],
    ["explain-score", "data/masks/val", "./data"],
    ["compare", "data/masks/val", "data/masks/val", "--data", "data", "--samples", "10"],
)  # fmt: skip
CHECK = """
import sys
from perpixel.cli import main
main({arguments!r})
assert "torch" not in sys.modules
"""


def seconds(*arguments: str, folder: str | None = None) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder)
    return time.perf_counter() - began


def put_data(root: Path) -> None:
    """A data set of two pictures of 24x32."""
    for kind, values in (("images", np.zeros((24, 32, 3), np.uint8)), ("masks", np.eye(24, 32, dtype=np.uint8))):
        (root / kind / "val").mkdir(parents=True)
        for name in "ab":
            Image.fromarray(values).save(root / kind / "val" / f"{name}.png")
    (root / "classes.csv").write_text("id,name\n0,ground\n1,line\n")


def main() -> None:
    results = {}
    for arguments in (["--help"], *([verb, "--help"] for verb in VERBS)):
        subprocess.run([sys.executable, "-c", CHECK.format(arguments=arguments)], check=True, capture_output=True)
        results[" ".join(arguments)] = median([seconds("-m", "perpixel", *arguments) for _ in range(5)])
    with tempfile.TemporaryDirectory() as folder:
        put_data(Path(folder) / "data")
        for arguments in CORE:
            script = CHECK.format(arguments=arguments)
            subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=folder)
        core = {
            arguments[0]: median([seconds("-m", "perpixel", *arguments, folder=folder) for _ in range(5)])
            for arguments in CORE
        }
    loads = ("torch", "perpixel.prediction.bulk", "perpixel.judging.evaluate", "perpixel.training.train")
    rounds = [{name: seconds("-c", f"import {name}") for name in loads} for _ in range(6)][1:]  # files are in memory then
    result = {
        "machine": machine("cyclopts", "torch"),
        "seconds": results,
        "slowest": max(results.values()),
        "core": core,
        "loading": {name: median([one[name] for one in rounds]) for name in loads},
    }
    report("startup", result)


if __name__ == "__main__":
    main()
