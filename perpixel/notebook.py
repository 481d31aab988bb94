"""Small HTML for notebooks: text, tables and pictures in the colours of the notebook's page, dark or light, without scripts."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Sequence
from html import escape

from PIL import Image

from perpixel.draw import RgbImage
from perpixel.errors import printable
from perpixel.images import encode_image

LINE = "border-bottom:1px solid rgba(128,128,128,.4)"


def block(*parts: str) -> str:
    """HTML parts, one below the other."""
    return f"<div>{''.join(parts)}</div>"


def line(text: str, strong: bool = False) -> str:
    """A line of text."""
    return f'<p style="margin:.2em 0{";font-weight:bold" if strong else ""}">{_safe(text)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of text below a header. The columns numbered in `right` are aligned to the right."""
    sides = ["right" if number in right else "left" for number in range(len(header))]

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f'<{tag} style="text-align:{side};padding:.1em .6em">{_safe(text)}</{tag}>'
            for side, text in zip(sides, texts, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    head = f'<tr style="{LINE}">{cells("th", header)}</tr>'
    return f'<table style="border-collapse:collapse;margin:.4em 0">{head}{body}</table>'


def swatches(names: Sequence[str], colours: Sequence[Sequence[int]]) -> str:
    """Names, each behind a square of its colour."""
    square = "display:inline-block;width:.8em;height:.8em;border:1px solid rgba(128,128,128,.6);margin-right:.3em"
    items = (
        f'<span style="display:inline-block;margin-right:.8em"><span style="{square};background:rgb{tuple(map(int, colour))}">'
        f"</span>{_safe(name)}</span>"
        for name, colour in zip(names, colours, strict=True)
    )
    return f'<div style="margin:.2em 0">{"".join(items)}</div>'


def picture(pixels: RgbImage, name: str) -> str:
    """A picture, uint8 RGB (H, W, 3), in the text; `name` stands for it where it is not shown."""
    data = base64.b64encode(encode_image(Image.fromarray(pixels), ".jpg")).decode()
    style = "display:inline-block;margin:.2em .4em .2em 0"
    return f'<img alt="{_safe(name)}" title="{_safe(name)}" style="{style}" src="data:image/jpeg;base64,{data}">'


def _safe(text: str) -> str:
    return escape(printable(text))
