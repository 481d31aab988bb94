"""How often intervals hold the truth: samples of pictures are drawn again and again from a population whose figures are known.

    python benchmarks/interval_coverage.py                                                      # every cell of the table, hours
    python benchmarks/interval_coverage.py --measure instances --pictures 100 --classes 20 --kinds halves bca
    python benchmarks/interval_coverage.py --table                                  # the results file as docs/scores.md has it

A cell is a measure, a number of classes and a number of pictures. It is written to the results file when it is done, and left out
when it is there with the same settings, so the same command goes on where it stopped. `halves` are perpixel's intervals;
`percentile`, `basic` and `bca` are those of the bootstrap (Efron and Tibshirani, 1993, sections 13.3 and 14.3)."""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import RESULTS, machine
from numpy.typing import NDArray
from populations import POPULATIONS, Population
from scipy.stats import norm

from perpixel.judging.intervals import LEVEL, Interval, Samples, drawn, few_pictures, intervals_from
from perpixel.measures.measure import Figures

KINDS = ("halves", "percentile", "basic", "bca")
PICTURES = (30, 100, 10, 300, 1000, 2000)
CLASSES = {"pixels": (20, 2, 150), "boundary_iou": (20, 2, 150), "panoptic": (20, 80), "instances": (20, 1, 80)}
RAREST = {1: 1.0, 2: 0.5, 20: 0.04, 80: 0.02, 150: 0.01}  # share of the pictures that show the rarest class
POOL = 20_000  # pictures of a population
TOLD = ("mIoU", "pixel_accuracy", "boundary_mIoU", "IoU of classes", "PQ", "AP", "AP50", "AR_100")  # in the table
SAMPLES = {"pixels": 500, "boundary_iou": 500, "panoptic": 500, "instances": 200}
ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def by_bootstrap(kind: str, figure: float, values: NDArray[np.float64], left: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of a bootstrap's interval from the figure's values in its samples (R,), and without each group (G,)."""
    values = np.sort(values[~np.isnan(values)])
    if len(values) < 2:
        return np.nan, np.nan
    levels = np.array(ENDS)
    if kind == "bca":
        below = ((values < figure).sum() + (values == figure).sum() / 2) / len(values)
        shift = norm.ppf(np.clip(below, 1 / (2 * len(values)), 1 - 1 / (2 * len(values))))
        influences = np.nanmean(left) - left[~np.isnan(left)]
        squares = (influences**2).sum()
        skew = (influences**3).sum() / (6 * squares**1.5) if squares > 0 else 0
        moved = shift + norm.ppf(levels)
        levels = norm.cdf(shift + moved / (1 - skew * moved))
    low, high = np.quantile(values, levels)
    return (2 * figure - high, 2 * figure - low) if kind == "basic" else (low, high)


class Tally:
    """What became of one figure's interval in each repetition."""

    def __init__(self) -> None:
        self.figures: list[float] = []
        self.ends: dict[str, list[tuple[float, float]]] = {}
        self.doubted: list[bool] = []

    def add(self, figure: float, ends: dict[str, tuple[float, float]], doubted: bool) -> None:
        if np.isnan(figure):
            return
        self.figures.append(figure)
        self.doubted.append(doubted)
        for kind, both in ends.items():
            self.ends.setdefault(kind, []).append(both)

    def to_json(self, truth: float) -> dict[str, Any]:
        """Of each kind the share of repetitions that hold the truth, and whose interval lies above or below it, and widths."""
        figures, doubted = np.array(self.figures), np.array(self.doubted, bool)
        kinds = {}
        for kind, pairs in self.ends.items():
            low, high = np.array(pairs).T
            holds = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
            kinds[kind] = {"holds": holds.mean(), "above": (low > truth).mean(), "width": np.nanmean(high - low)}
            if kind == "halves":
                kinds[kind] |= {"holds without doubt": holds[~doubted].mean() if (~doubted).any() else None}
        rounded = {kind: {key: value if value is None else round(float(value), 4) for key, value in one.items()}
                   for kind, one in kinds.items()}  # fmt: skip
        spread = {"truth": truth, "bias": figures.mean() - truth, "deviation": figures.std(), "doubted": doubted.mean()}
        return {**{key: round(float(value), 4) for key, value in spread.items()}, "judged": len(figures), "kinds": rounded}


def cell(population: Population, pictures: int, repetitions: int, samples: int, kinds: list[str], seed: int) -> dict[str, Any]:
    """The coverage of every figure, and of the IoU of all classes together."""
    measure, truth = population.measure, population.truth
    tallies = {name: Tally() for name in truth.overall}
    of_classes = [Tally() for _ in range(0 if truth.classes is None else truth.classes.shape[1])]
    for repetition in range(repetitions):
        random = np.random.default_rng([seed, pictures, repetition])
        figures_of = population.sample(random.integers(0, population.pictures, pictures))
        drawing = Samples.drawn(pictures, samples, repetition)
        ours = drawn(measure, figures_of, drawing.weights)
        theirs = ours
        if {*kinds} - {"halves"}:
            weights = random.multinomial(pictures, np.full(pictures, 1 / pictures), samples)
            theirs = drawn(measure, figures_of, weights)
        intervals = intervals_from(measure, drawing, ours)
        for tally, one, ours_of, theirs_of in _each(tallies, of_classes, intervals, ours, theirs):
            figure, left = float(ours_of[0]), ours_of[1 + samples :]
            ends = {kind: (one.low, one.high) if kind == "halves" else by_bootstrap(kind, figure, theirs_of, left)
                    for kind in kinds}  # fmt: skip
            tally.add(figure, ends, one.doubt is not None)
    told = {name: tally.to_json(float(truth.overall[name][0])) for name, tally in tallies.items()}
    if truth.classes is not None:
        pairs = zip(of_classes, truth.classes[0].tolist(), strict=True)
        told["IoU of classes"] = _together([tally.to_json(value) for tally, value in pairs if tally.figures])
    return {"few": few_pictures(measure, pictures) is not None, "figures": told}


def _each(
    tallies: dict[str, Tally], of_classes: list[Tally], intervals: tuple[dict[str, Interval], list[Interval]], ours: Figures,
    theirs: Figures,
) -> Iterator[tuple[Tally, Interval, NDArray[np.float64], NDArray[np.float64]]]:  # fmt: skip
    for name, tally in tallies.items():
        yield tally, intervals[0][name], ours.overall[name], theirs.overall[name]
    for place, tally in enumerate(of_classes):
        assert ours.classes is not None
        assert theirs.classes is not None
        yield tally, intervals[1][place], ours.classes[:, place], theirs.classes[:, place]


def _together(classes: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over classes, each interval as one; and of the intervals that are not doubted."""
    judged = np.array([one["judged"] for one in classes])
    sure = judged * (1 - np.array([one["doubted"] for one in classes]))
    kinds: dict[str, Any] = {}
    for kind in classes[0]["kinds"]:
        kinds[kind] = {key: round(float(np.average([one["kinds"][kind][key] for one in classes], weights=judged)), 4)
                       for key in ("holds", "above", "width")}  # fmt: skip
        if kind == "halves":
            held = [one["kinds"][kind]["holds without doubt"] or 0 for one in classes]
            kinds[kind]["holds without doubt"] = round(float(np.average(held, weights=sure)), 4) if sure.any() else None
    return {"classes": len(classes), "doubted": round(float(1 - sure.sum() / judged.sum()), 4), "kinds": kinds}


def table(cells: list[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table, percent: how often intervals hold the truth, and of them those without doubt."""

    def percent(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.1f}"

    lines = ["| figure | classes | pictures | data sets | halves | without doubt | doubted | percentile |", f"|{'---|' * 8}"]
    order = [*POPULATIONS].index
    for one in sorted(cells, key=lambda one: (order(one["measure"]), one["classes"], one["pictures"], -one["repetitions"])):
        for name, figure in one["figures"].items():
            if name not in TOLD or "halves" not in figure["kinds"]:
                continue
            label = "Boundary IoU of classes" if (one["measure"], name) == ("boundary_iou", "IoU of classes") else name
            halves, theirs = figure["kinds"]["halves"], figure["kinds"].get("percentile", {})
            shares = (halves["holds"], halves["holds without doubt"], figure["doubted"], theirs.get("holds"))
            values = (label.replace("_", " "), one["classes"], one["pictures"], f"{one['repetitions']:,}", *map(percent, shares))
            lines.append(f"| {' | '.join(map(str, values))} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=[*POPULATIONS], default=[*POPULATIONS])
    parser.add_argument("--pictures", nargs="+", type=int, default=[*PICTURES])
    parser.add_argument("--classes", nargs="+", type=int, help="of all measures; without it those of the table")
    parser.add_argument("--rarest", type=float, help="share of the pictures that show the rarest class")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--samples", type=int, help="of the pictures in each repetition; 200 for instances, 500 for others")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["halves", "percentile"])
    parser.add_argument("--pool", type=int, default=POOL, help="pictures of the population")
    parser.add_argument("--table", action="store_true", help="print the table of the results file, and measure nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / "interval_coverage.json")
    asked = parser.parse_args()

    done = json.loads(asked.out.read_text())["cells"] if asked.out.is_file() else []
    if asked.table:
        print("\n".join(table(done)))
        return
    for pictures in asked.pictures:
        for measure in asked.measure:
            for classes in asked.classes or CLASSES[measure]:
                settings = {
                    "measure": measure, "classes": classes, "pictures": pictures, "repetitions": asked.repetitions,
                    "rarest": asked.rarest or RAREST.get(classes, 0.04), "samples": asked.samples or SAMPLES[measure],
                    "pool": asked.pool,
                }  # fmt: skip
                if any(settings.items() <= one.items() and {*asked.kinds} <= {*one["kinds"]} for one in done):
                    continue
                began = time.perf_counter()
                population = POPULATIONS[measure](np.random.default_rng([2026, classes]), classes, settings["rarest"], asked.pool)
                told = cell(population, pictures, settings["repetitions"], settings["samples"], asked.kinds, 11)
                done.append({**settings, "kinds": asked.kinds, "seconds": round(time.perf_counter() - began), **told})
                result = {"machine": machine("numpy", "scipy"), "level": LEVEL, "cells": done}
                asked.out.parent.mkdir(parents=True, exist_ok=True)
                asked.out.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{measure}, {classes} classes, {pictures} pictures, {done[-1]['seconds']} s")
                for name, one in told["figures"].items():
                    held = ", ".join(f"{kind} {100 * of['holds']:.1f} %" for kind, of in one["kinds"].items())
                    print(f"  {name}: {held}; doubted {100 * one['doubted']:.0f} %", flush=True)


if __name__ == "__main__":
    main()
