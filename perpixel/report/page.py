"""What pages have in common: one file each, which opens from disk, offline, and can be printed. Numbers lie inside as JSON."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from perpixel.errors import DataError, UsageError, printable
from perpixel.files import read_text, require_file_or_nothing, write_whole
from perpixel.images import encode_image

TEMPLATES = Path(__file__).parent
SIDE = 320  # the longer side of a picture, in pixels of the page


def require_page(path: Path) -> None:
    """Raises UsageError where no page can be written. Call it first, so that nobody waits minutes for what it would show."""
    require_file_or_nothing(path)
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path)
    if not os.path.isdir(above):
        raise UsageError(f"{path}: lies below {above}, which is no folder; choose another place for the page.")


def write_page(path: Path, template: str, **content: Any) -> None:
    """Writes a page in the frame of all pages, whole or not at all. `template` is the name of a file here."""
    import jinja2

    templates = jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8")
    environment = jinja2.Environment(
        loader=templates, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    write_whole(path.parent, path.name, environment.get_template(template).render(**content).encode())


def data_url(picture: Image.Image, suffix: str = ".png") -> str:
    """A picture as an address that holds it, as PNG or JPEG."""
    subtype = {".png": "png", ".jpg": "jpeg"}[suffix]
    return f"data:image/{subtype};base64,{base64.b64encode(encode_image(picture, suffix)).decode()}"


def at_size_of_page(picture: Image.Image, sharp: bool = False) -> Image.Image:
    """A picture at about `SIDE` pixels. A `sharp` one keeps its values, as a mask does. Small ones grow by whole numbers."""
    factor = SIDE // max(picture.size)
    if factor > 1:
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    return shrunk(picture, SIDE, sharp)


def shrunk(picture: Image.Image, side: int, sharp: bool = False) -> Image.Image:
    """A picture whose longer side is at most `side`."""
    smaller = picture.copy()
    smaller.thumbnail((side, side), Image.Resampling.NEAREST if sharp else Image.Resampling.BICUBIC)
    return smaller


def json_inside(content: Mapping[str, Any]) -> str:
    """JSON that can stand in an element of a page: no text ends the element that holds it."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def numbers_in(path: Path) -> dict[str, Any]:
    """The numbers of a page, as `json_inside` wrote them. Raises DataError where the file is no page with numbers."""
    inside = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', read_text(path), re.DOTALL)
    try:
        numbers = json.loads(inside[1]) if inside else None
    except ValueError:
        numbers = None
    if not isinstance(numbers, dict):
        raise DataError(f"{path}: holds no numbers of a review or a comparison; name a page that perpixel wrote.")
    return numbers


def listed(names: Sequence[str]) -> str:
    """Names as people list them: "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def class_colours(names: Sequence[str], colours: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Classes with their colours, in the form that templates take."""
    return [{"name": printable(name), "colour": tuple(colour)} for name, colour in zip(names, colours, strict=True)]
