"""Tables in CSV: each failure to read has its sentence, and no written cell begins a formula.

A spreadsheet runs a cell that begins with =, +, - or @, and names may come from strangers' files. So such a cell is written with
a quotation mark before it. Reading removes that mark."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from perpixel.errors import DataError
from perpixel.files import read_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """The bytes of a CSV file that holds the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode(errors="surrogateescape")


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file: the line number, and the cells by the name of their column. An absent cell is empty.

    Raises DataError where the file cannot be read, lacks one of `columns`, or is no CSV."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), skipinitialspace=True, restval="")
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if not set(columns) <= set(names):
            raise DataError(f"{path}: the first line must be `{','.join(columns)}`, found `{','.join(names)[:80]}`.")
        for row in reader:
            yield reader.line_num, {name: _bare(cell) for name, cell in row.items() if name is not None}
    except csv.Error as error:  # a cell of more than 128 KiB, or a zero byte
        raise DataError(f"{path}, line {reader.line_num + 1}: is no CSV ({error}); correct it.") from None


def _guarded(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
