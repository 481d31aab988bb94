"""check --report: the problems and the content of a set on one HTML page, which opens from disk, offline, and can be printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from perpixel import draw
from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets import DATASETS, ON_DISK, Dataset, judged_splits, open_dataset
from perpixel.datasets.folder import folder_classes
from perpixel.doctor.check import Report
from perpixel.doctor.defects import KINDS, Problem
from perpixel.errors import PerpixelError, printable
from perpixel.images import read_stored
from perpixel.report import page
from perpixel.report.page import data_url, shrunk
from perpixel.version import VERSION

SHOWN = 12  # problems of one kind that are listed
PLACES = 6  # problems of one kind that are shown as pictures
SAMPLES = 8
AROUND = 24  # pixels around the place of a problem that are shown
OF_PLACE = 160  # about the side of the picture of a place, in pixels of the page
BARS = ("--bar", "--bar2", "--bar3")  # colours of the frame, for splits
READ_ERRORS = (PerpixelError, OSError, MemoryError)  # passed over here, because the check reports them


def write_page(path: Path, data: str, report: Report, root: str | Path | None = None) -> None:
    """Writes the page of a report on `data`, whole or not at all. `root` is the folder of published sets."""
    classes, splits = _classes(data), list(report.class_pixels)
    sizes = sorted(report.sizes.items(), key=lambda item: -item[1])
    page.write_page(
        path, "check.html",
        name=printable(Path(data).name or data), data=printable(data), bars=BARS, version=VERSION, shown=SHOWN,
        pictures=report.pictures, errors=len(report.errors), warnings=len(report.problems) - len(report.errors),
        groups=_groups(report.problems), splits=splits,
        rows=_rows(report, classes) if classes is not None else [], sizes=sizes[:8], more_sizes=max(0, len(sizes) - 8),
        samples=_samples(data, root),
    )  # fmt: skip


def _groups(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The problems by kind, errors first, in the form that check.html takes."""
    by_kind: dict[str, list[Problem]] = defaultdict(list)
    for defect in problems:
        by_kind[defect.kind].append(defect)
    groups = [
        {"kind": kind, "severity": defects[0].severity, "means": KINDS[kind].means, "repair": KINDS[kind].repair,
         "problems": defects,
         "places": [place for defect in defects[:PLACES] if (place := _surroundings(defect)) is not None]}
        for kind, defects in by_kind.items()
    ]  # fmt: skip
    return sorted(groups, key=lambda group: (group["severity"] != "error", str(group["kind"])))


def _surroundings(defect: Problem) -> dict[str, str] | None:
    """An enlarged picture of the surroundings of a problem's pixel, with a ring around it. None where there is no picture."""
    if defect.pixel is None:
        return None
    try:
        image = _visible(read_stored(Path(defect.file)))
    except READ_ERRORS:
        return None
    row, column = defect.pixel
    height, width = image.shape[:2]
    top, left = max(0, min(row - AROUND, height - 2 * AROUND)), max(0, min(column - AROUND, width - 2 * AROUND))
    part = image[top : top + 2 * AROUND, left : left + 2 * AROUND]
    factor = max(1, OF_PLACE // max(part.shape[:2]))
    picture = Image.fromarray(part).resize((part.shape[1] * factor, part.shape[0] * factor), Image.Resampling.NEAREST)
    x, y = (column - left + 0.5) * factor, (row - top + 0.5) * factor
    pen = ImageDraw.Draw(picture)
    for radius, ink in ((11, (255, 255, 255)), (9, (220, 20, 20))):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=3)
    return {"source": data_url(picture), "text": f"{Path(defect.file).name}, row {row}, column {column}"}


def _visible(stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Stored pixels as RGB (H, W, 3), so that a person can see them. Small numbers get distinct colours."""
    if stored.ndim == 3:
        colours = stored[..., :3] if stored.shape[2] >= 3 else np.repeat(stored[..., :1], 3, 2)
        return np.ascontiguousarray(colours, np.uint8)
    palette = np.array([(0, 0, 0), *distinct_colours(255)], np.uint8)
    return palette[stored.astype(np.int64) % 256]


def _rows(report: Report, classes: ClassTable) -> list[dict[str, Any]]:
    """Classes and void by their share of all pixels, greatest first, with a bar for each split."""
    counts = np.array([*report.class_pixels.values()], np.float64)
    if not counts.size or not counts.sum():
        return []
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    longest = max(shares.max(), 1e-9)
    names, colours = [*classes.names, "void"], [*classes.colours, classes.void_colour]
    total = counts.sum(0) / counts.sum()
    return [
        {"name": printable(names[i]), "colour": tuple(colours[i]), "share": f"{100 * total[i]:.2f} %",
         "widths": [round(100 * share / longest, 2) for share in shares[:, i]],
         "shares": ", ".join(f"{split} {100 * share[i]:.2f} %" for split, share in zip(report.class_pixels, shares, strict=True))}
        for i in np.argsort(-total)
        if total[i] > 0 or i < len(classes)
    ]  # fmt: skip


def _samples(data: str, root: str | Path | None) -> list[dict[str, str]]:
    """Some pictures from all over the set, half covered with their truth. Pictures that cannot be read are passed over."""
    samples = []
    try:
        datasets: list[Dataset] = [*judged_splits(data, root).values()]
    except PerpixelError:
        return []
    for dataset in datasets:
        for index in np.unique(np.linspace(0, len(dataset) - 1, max(1, SAMPLES // len(datasets))).astype(int)):
            try:
                sample = dataset.sample(int(index))
                if sample.labels is None:
                    continue
                picture = Image.fromarray(draw.overlay(sample.shown, sample.labels, dataset.classes, legend=False))
            except READ_ERRORS:
                continue
            text = printable(f"{dataset.split}/{sample.name}")
            samples.append({"source": data_url(shrunk(picture, page.SIDE), ".jpg"), "text": text})
    return samples


def _classes(data: str) -> ClassTable | None:
    """The class table of a data set. None for a file of annotations."""
    if data.endswith(".json"):
        return None
    if data in ON_DISK:
        return ON_DISK[data].classes
    return open_dataset(data).classes if data in DATASETS else folder_classes(Path(data))
