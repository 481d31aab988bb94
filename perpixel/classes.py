"""ClassTable: the names, colours and disk values of a data set's classes.

Only this class maps the values of a mask file to class ids 0..C-1 and back. Background is a class. Void is no class: it marks the
pixels that no measure counts. Its id is 255, or 65535 where a table has more than 255 classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import DataError, did_you_mean
from perpixel.files import write_whole
from perpixel.tables import read_csv, to_csv

VOID_NAME = "void"
BACKGROUND_NAME = "background"
MOST_ROWS = 65536  # rows of a table on disk: one for each value
_NO_ID = 254  # marks an unknown value: in a table of fewer than 254 classes neither a class nor void has this id
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """Class id `i` has the name `names[i]` and the colour `colours[i]`, and is written to disk as `values[i][0]`.

    `values[i]` holds every disk value that means class `i`. `void_values` holds every disk value that means void.
    Raises DataError when a name or value occurs twice, or when the numbers of names, colours and values differ."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    values: tuple[tuple[int, ...], ...]
    void_values: tuple[int, ...] = (255,)
    void_colour: Colour = (0, 0, 0)

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("a class table needs at least one class; add a row to classes.csv.")
        if not len(self.names) == len(self.colours) == len(self.values):
            raise DataError("a class table needs one name, one colour and one list of values for each class.")
        if len(set(self.names)) < len(self.names):
            raise DataError(f"class table: the name {_first_double(self.names)!r} occurs twice; give each class its own.")
        disk_values = [value for values in (*self.values, self.void_values) for value in values]
        if len(set(disk_values)) < len(disk_values):
            raise DataError(f"class table: the value {_first_double(disk_values)} stands for two classes; give it to one.")
        if any(not values for values in self.values):
            raise DataError("class table: a class has no value on disk; give each class at least one.")
        if min(disk_values) < 0 or max(disk_values) > 65535:
            raise DataError("class table: values on disk must lie in 0..65535; renumber the masks.")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def void(self) -> int:
        """The id of pixels that belong to no class and that no measure counts: 255, or 65535 above 255 classes."""
        return 255 if len(self) <= 255 else 65535

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.void == 255 else np.uint16

    @property
    def background(self) -> int | None:
        """The id of the class that all pixels without an object have; none where no class is called background."""
        return next((class_id for class_id, name in enumerate(self.names) if name.lower() == BACKGROUND_NAME), None)

    def id_of(self, name: str) -> int:
        """The id of the class `name`. Raises UnknownName where no class has this name."""
        if name not in self.names:
            raise did_you_mean("class", name, self.names)
        return self.names.index(name)

    @cached_property
    def _to_id(self) -> NDArray[np.int32]:
        table = np.full(65536, -1, np.int32)
        table[list(self.void_values)] = self.void
        for class_id, values in enumerate(self.values):
            table[list(values)] = class_id
        return table

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """The RGB colours by class id, (C + 1, 3). The last row is the colour of void."""
        return np.array([*self.colours, self.void_colour], np.uint8)

    def decode(self, mask: NDArray[Any], where: str = "mask") -> NDArray[Any]:
        """Disk values (H, W) -> class ids (H, W) in `dtype`, void included.

        Raises DataError for an unknown value. The sentence names `where`, the value, its first pixel (row, column) and its
        number of pixels."""
        ids = self._ids_of_bytes(mask) if mask.dtype == np.uint8 and len(self) < _NO_ID else self._to_id.take(mask)
        if ids is None or ids.min(initial=0) < 0:
            value, row, column, count = self.unknown_values(mask)[0]
            raise DataError(
                f"{where}: value {value} at row {row}, column {column} ({count} pixels) is in no class; "
                f"add it to classes.csv or correct the mask."
            )
        labels: NDArray[Any] = ids.astype(self.dtype, copy=False)
        return labels

    def _ids_of_bytes(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The class ids that `decode` returns, in a third of the time. None where a value is in no class."""
        table = self._to_id[:256]
        looked_up = bytearray(mask).translate(np.where(table < 0, _NO_ID, table).astype(np.uint8).tobytes())
        ids = np.frombuffer(looked_up, np.uint8).reshape(mask.shape)
        return None if (ids == _NO_ID).any() else ids

    def unknown_values(self, mask: NDArray[Any]) -> list[tuple[int, int, int, int]]:
        """The values of a mask (H, W) that are in no class: (value, row and column of its first pixel, number of pixels).

        They are in the order of their first pixels."""
        unknown = np.flatnonzero(self._to_id.take(mask) < 0)
        values, firsts, counts = np.unique(mask.ravel()[unknown], return_index=True, return_counts=True)
        rows, columns = np.unravel_index(unknown[firsts], mask.shape)
        return [(int(values[i]), int(rows[i]), int(columns[i]), int(counts[i])) for i in np.argsort(firsts)]

    def encode(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Class ids (H, W) -> disk values (H, W), uint8 where they fit, else uint16.

        Void is written as the first of `void_values`, or as its id where `void_values` is empty."""
        disk_value_of = np.zeros(self.void + 1, np.uint16)
        disk_value_of[: len(self)] = [values[0] for values in self.values]
        disk_value_of[self.void] = self.void_values[0] if self.void_values else self.void
        values: NDArray[Any] = disk_value_of[labels]
        return values.astype(np.uint8) if disk_value_of.max() <= 255 else values

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "colours": [list(colour) for colour in self.colours],
            "values": [list(values) for values in self.values],
            "void_values": list(self.void_values),
            "void_colour": list(self.void_colour),
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> ClassTable:
        """The inverse of `to_json`. Raises DataError for JSON of another form."""
        try:
            return cls(
                tuple(str(name) for name in table["names"]),
                tuple(_colour(colour) for colour in table["colours"]),
                tuple(tuple(int(value) for value in values) for values in table["values"]),
                tuple(int(value) for value in table["void_values"]),
                _colour(table["void_colour"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"class table: {error!r} is missing or malformed; store the table with to_json().") from error

    @classmethod
    def of(cls, names: Sequence[str]) -> ClassTable:
        """A table of these `names`, with distinct colours. The disk value of each class is its id."""
        count = len(names)
        void = 255 if count <= 255 else 65535
        return cls(tuple(names), tuple(distinct_colours(count)), tuple((i,) for i in range(count)), (void,))

    @classmethod
    def read_csv(cls, path: Path) -> ClassTable:
        """Reads `classes.csv`: a header `id,name,r,g,b`, then a row for each disk value.

        Rows of the same name are one class. Rows named `void` are void. Colours may be left out.
        Raises DataError, which names the file and the line."""
        values: dict[str, list[int]] = {}
        colours: dict[str, Colour] = {}
        for number, (line, row) in enumerate(read_csv(path, ("id", "name"))):
            if number >= MOST_ROWS:
                raise DataError(f"{path}, line {line}: more than {MOST_ROWS} rows; a table has one for each value, 0..65535.")
            try:
                name = row["name"].strip()
                value = int(row["id"])
                if not name:
                    raise ValueError("the name is empty")
                if row.get("r"):
                    colours.setdefault(name, _colour([row["r"], row["g"], row["b"]]))
            except (TypeError, ValueError, KeyError) as error:
                message = f"expected `id,name,r,g,b` with whole numbers ({str(error)[:100]})"
                raise DataError(f"{path}, line {line}: {message}.") from error
            values.setdefault(name, []).append(value)
        void_values = tuple(values.pop(VOID_NAME, []))
        names = tuple(values)
        default_colours = distinct_colours(len(names))
        try:
            return cls(
                names,
                tuple(colours.get(name, default_colours[i]) for i, name in enumerate(names)),
                tuple(tuple(values[name]) for name in names),
                void_values,
                colours.get(VOID_NAME, (0, 0, 0)),
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def write_csv(self, path: Path) -> None:
        """Writes the table as the file that `read_csv` reads."""
        rows = [
            (value, name, *colour)
            for name, colour, values in zip(self.names, self.colours, self.values, strict=True)
            for value in values
        ]
        rows += [(value, VOID_NAME, *self.void_colour) for value in self.void_values]
        write_whole(path.parent, path.name, to_csv(("id", "name", "r", "g", "b"), rows))


def refuse_void(mask: NDArray[Any], void: NDArray[np.bool_], where: str) -> None:
    """Raises DataError where a predicted `mask` has void pixels, because a prediction must name a class.

    `mask` (H, W) has the values of the file. `void` (H, W) is true at the void pixels. The sentence names the first of them."""
    if void.any():
        row, column = divmod(int(void.argmax()), void.shape[1])
        value = int(mask[row, column])
        message = f"is void at row {row}, column {column} (value {value}, {int((void & (mask == value)).sum())} pixels)"
        raise DataError(f"{where}: {message}; a prediction names a class.")


def distinct_colours(count: int) -> list[Colour]:
    """The colour map of PASCAL VOC without its first colour, black.

    The bits of an index go to red, green and blue in turn. The lowest bits of the index become the highest bits of the colour."""
    colours = []
    for index in range(1, count + 1):
        red = green = blue = 0
        for bit in range(8):
            red |= (index >> (3 * bit) & 1) << (7 - bit)
            green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
        colours.append((red, green, blue))
    return colours


def _colour(values: Sequence[Any]) -> Colour:
    red, green, blue = (int(value) for value in values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"colour {(red, green, blue)} is outside 0..255")
    return red, green, blue


def _first_double(items: Sequence[Any]) -> Any:
    return next(item for item, count in Counter(items).items() if count > 1)
