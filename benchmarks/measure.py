"""What all benchmarks share: runs of ours and the peer in turn, medians, trainings, intervals, the machine, and the JSON file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def alternately(runs: int, **contestants: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each contestant's calls, one after the other, round after round, after one call of each that is not counted."""
    for call in contestants.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, call in contestants.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantile for that many values


def interval(values: list[float]) -> float:
    """Half of Student's 95 % interval of the mean of 2 to 5 values."""
    return STUDENT[len(values)] * statistics.stdev(values) / len(values) ** 0.5


def trained(settings: dict[str, Any], folder: Path) -> float:
    """Trains what is not trained yet, in one process; the minutes that it took."""
    from perpixel.training.recipe import Recipe
    from perpixel.training.run import RUN
    from perpixel.training.train import train

    assert train(Recipe(**settings), folder, say=lambda _: None) is not None, "one process trains"
    return sum(one["seconds"] for one in json.loads((folder / RUN).read_text())["sessions"]) / 60


def machine(*packages: str) -> dict[str, object]:
    """Processor, cores, and the versions of `packages`."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0] if lines else model
    versions = {}
    for package in ("perpixel", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # that this process may use
    return {"processor": model, "cores": cores, "python": platform.python_version(), "versions": versions}


def report(name: str, result: dict[str, object]) -> None:
    """Prints the result and writes it to `results/NAME.json`."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
