"""How long `perpixel --help` and every `VERB --help` take, and that none of them imports torch.

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


def seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "perpixel", *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    results = {}
    for arguments in (["--help"], *([verb, "--help"] for verb in VERBS)):
        subprocess.run([sys.executable, "-c", CHECK.format(arguments=arguments)], check=True, capture_output=True)
        results[" ".join(arguments)] = median([seconds(arguments) for _ in range(5)])
    report("startup", {"machine": machine("cyclopts"), "seconds": results, "slowest": max(results.values())})


if __name__ == "__main__":
    main()
