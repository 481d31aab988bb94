"""How long `perpixel --help` and every `VERB --help` take, and that none of them imports torch; and how long the verbs that need
torch take to load, beside torch alone.

    python benchmarks/startup.py"""

import subprocess
import sys
import time

from measure import machine, median, report

VERBS = ("train", "evaluate", "predict", "check", "init", "networks", "datasets", "import", "review", "upper-bound",
         "receptive-field", "proposal-curve", "download", "explain-score",
         "compare", "submission", "convert")  # fmt: skip
CHECK = """
import sys
from perpixel.cli import main
main({arguments!r})
assert "torch" not in sys.modules
"""


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    results = {}
    for arguments in (["--help"], *([verb, "--help"] for verb in VERBS)):
        subprocess.run([sys.executable, "-c", CHECK.format(arguments=arguments)], check=True, capture_output=True)
        results[" ".join(arguments)] = median([seconds("-m", "perpixel", *arguments) for _ in range(5)])
    loads = ("torch", "perpixel.prediction.bulk", "perpixel.judging.evaluate", "perpixel.training.train")
    rounds = [{name: seconds("-c", f"import {name}") for name in loads} for _ in range(6)][1:]  # files are in memory then
    result = {
        "machine": machine("cyclopts", "torch"),
        "seconds": results,
        "slowest": max(results.values()),
        "loading": {name: median([one[name] for one in rounds]) for name in loads},
    }
    report("startup", result)


if __name__ == "__main__":
    main()
