"""The picture of a review where its page is shared: the verdict, the networks with their intervals, and one scene."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from perpixel.files import write_whole
from perpixel.images import encode_image
from perpixel.report.review_results import MAIN, Row

SIZE = (1200, 630)  # width and height that networks of people expect
INK, QUIET, PAPER, BAR, LINE = (27, 31, 36), (87, 96, 106), (255, 255, 255), (47, 109, 181), (201, 209, 217)
MOST = 16  # networks; further ones are told by their number
Photo = NDArray[np.uint8]


def write_share_picture(path: Path, heading: str, verdict: str, rows: Sequence[Row], strip: Sequence[Photo]) -> None:
    """Writes the PNG, whole or not at all. `strip` are pictures of one size, such as photo, truth and a result."""
    page = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((48, 36), heading, QUIET, _font(24))
    lines = textwrap.wrap(verdict.replace("\u202f", " "), 62)[:3]  # the font has no narrow space
    for number, line in enumerate(lines):
        pen.text((48, 74 + 44 * number), line, INK, _font(36))
    top = 90 + 44 * len(lines)
    _chart(pen, rows[:MOST], (48, top, 700 if strip else SIZE[0] - 48, SIZE[1] - 30))
    if len(rows) > MOST:
        pen.text((48, SIZE[1] - 26), f"and {len(rows) - MOST} more", QUIET, _font(18))
    if strip:
        _strip(page, strip, (748, top, SIZE[0] - 48, SIZE[1] - 30))
    write_whole(path.parent, path.name, encode_image(page, ".png"))


def _chart(pen: ImageDraw.ImageDraw, rows: Sequence[Row], box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    if not rows:
        return
    height = min(40.0, (bottom - top) / len(rows))
    start, end = left + 250, right - 80
    highest = max(row.figures[MAIN].mean or 0 for row in rows) or 1.0
    for number, row in enumerate(rows):
        figure = row.figures[MAIN]
        value, half = figure.mean or 0.0, figure.half or 0.0
        y = top + height * (number + 0.5)
        scale = (end - start) / (highest * 1.08)
        name = row.shown_name if len(row.shown_name) <= 24 else f"{row.shown_name[:23]}…"
        pen.text((start - 10, y), name, INK, _font(18), anchor="rm")
        pen.rectangle((start, y - height * 0.3, start + value * scale, y + height * 0.3), BAR)
        pen.line((start + (value - half) * scale, y, start + (value + half) * scale, y), INK, 3)
        pen.text((end + 14, y), f"{100 * value:.1f}", INK, _font(18), anchor="lm")


def _strip(page: Image.Image, strip: Sequence[Photo], box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    room = (bottom - top - 8 * (len(strip) - 1)) // len(strip)
    for number, pixels in enumerate(strip):
        picture = Image.fromarray(pixels)
        scale = min((right - left) / picture.width, room / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        page.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top + number * (room + 8)))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
