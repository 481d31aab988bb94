"""How many pictures a second `perpixel check` looks at: on all cores, and bound to one.

    python benchmarks/check.py DATA          # a folder of pictures and masks"""

import argparse
import os
from pathlib import Path

from measure import alternately, machine, median, report

from perpixel.doctor.check import check

ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    pictures = sum(check(data).pictures.values())  # once before, so that files are in memory and code is compiled
    cores = os.sched_getaffinity(0)
    rates = {}
    for name, chosen in (("on all cores", cores), ("on one core", {min(cores)})):
        os.sched_setaffinity(0, chosen)
        rates[f"pictures a second {name}"] = pictures / median(alternately(ROUNDS, ours=lambda: check(data))["ours"])
    found = check(data)
    result = {
        "machine": machine("numpy", "pillow"),
        "pictures": pictures,
        "sizes": found.sizes,
        "problems": len(found.problems),
        **rates,
    }
    report("check", result)


if __name__ == "__main__":
    main()
