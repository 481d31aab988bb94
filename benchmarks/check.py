"""How many pictures a second, and a second of one core, `perpixel check` looks at.

    python benchmarks/check.py DATA          # a folder of pictures and masks"""

import argparse
import time
from pathlib import Path

from measure import machine, median, report

from perpixel.check import check

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    pictures = sum(check(data).pictures.values())  # once before, so that files are in memory and code is compiled
    seconds, cpu = [], []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        found = check(data)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    result = {
        "machine": machine("numpy", "pillow"),
        "pictures": pictures,
        "sizes": found.sizes,
        "problems": len(found.problems),
        "pictures a second": pictures / median(seconds),
        "pictures a second and core": pictures / median(cpu),
    }
    report("check", result)


if __name__ == "__main__":
    main()
