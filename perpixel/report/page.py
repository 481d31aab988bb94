"""What pages have in common: one file each, which opens from disk, offline, and can be printed."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from PIL import Image

from perpixel.errors import UsageError
from perpixel.files import require_file_or_nothing, write_whole
from perpixel.images import encode_image

TEMPLATES = Path(__file__).parent


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
    environment = jinja2.Environment(loader=templates, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    write_whole(path.parent, path.name, environment.get_template(template).render(**content).encode())


def data_url(picture: Image.Image, suffix: str = ".png") -> str:
    """A picture as an address that holds it, as PNG or JPEG."""
    subtype = {".png": "png", ".jpg": "jpeg"}[suffix]
    return f"data:image/{subtype};base64,{base64.b64encode(encode_image(picture, suffix)).decode()}"
