"""Classes that `init` proposes: one for each value or colour of the masks, with names where a file or a known set has them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from perpixel.classes import VOID_NAME, ClassTable, Colour, distinct_colours
from perpixel.datasets import camvid, cityscapes_labels, voc
from perpixel.datasets.pairing_masks import CLEAR, MaskLook, Writing, packed, unpacked
from perpixel.datasets.pairing_names import first_names
from perpixel.errors import DataError
from perpixel.files import files_in, read_text
from perpixel.images import read_palette

# Files of names, the first that is there. A line is a name, `name:r,g,b::`, `name,r,g,b`, `id name r g b` or `r g b name`.
NAME_FILES = (
    "classes.txt", "labels.txt", "class_names.txt", "names.txt", "labelmap.txt", "label_colors.txt", "class_dict.csv",
    "class_dict_seg.csv", "colors.csv", "colours.csv",
)  # fmt: skip
LARGEST_TABLE = 1 << 16  # bytes of a file that is looked at for names and colours
MANY = 256  # more values than this are numbers of objects
VOID_COLOUR: Colour = (224, 224, 192)  # of PASCAL VOC
VOID_WORDS = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "__ignore__", "_ignore_"})
LEAST_OF_KNOWN = 4  # so many colours of a known set must occur before its names are taken
BORDER_MASKS, BORDER_WIDTH, BORDER_SHARE = (
    20,
    4,
    0.99,
)  # a value of borders: masks looked at, pixels to either side, share of pixels
GREYS_WITH_BORDER = (frozenset({0, 127, 255}), frozenset({0, 128, 255}))


def classes_of_values(
    folder: Path, pictures: Sequence[str], looks: Mapping[Path, MaskLook], decided: list[str], undecided: list[str]
) -> ClassTable:
    """A class for each value. Names come from a file in the folder, from VOC where pictures are VOC's, else from the value.

    `pictures` are names without suffix."""
    values: Counter[int] = Counter()
    for look in looks.values():
        values.update(look.values)
    pixels = values.total()
    shares = ", ".join(f"{value} ({100 * values[value] / pixels:.3g} %)" for value in sorted(values)[:30])
    decided.append(f"the masks hold {len(values)} values: {shares}{', ...' if len(values) > 30 else ''}.")
    if len(values) > MANY:
        undecided.append(f"{len(values)} values look like numbers of objects, not classes; give all rows of one class one name.")
    if len(values) == 1:
        undecided.append("all masks hold one single value, so there is nothing to tell apart; look at them.")
    names = _one_white(values, looks, undecided) or _names(sorted(values), undecided)
    known = {value: voc.CLASSES.names[value] for value in values if value < len(voc.CLASSES)}
    if voc.are_names_of_voc(pictures) and len(known) >= len(values) - (voc.VOID in values):
        names |= known
        decided.append("the pictures have the names of VOC's, so that its names stand for the values.")
    names |= _names_from_file(folder, values, decided, undecided)
    return _table(folder, names, next(iter(looks)), max(values), decided, undecided)


def _one_white(values: Counter[int], looks: Mapping[Path, MaskLook], undecided: list[str]) -> dict[int, str]:
    """Background and foreground for masks of 0 and 1 beside masks of 0 and 255, which no file mixes. Empty for other masks."""
    if set(values) != {0, 1, 255}:
        return {}
    of_1, of_255 = (sum(white in look.values for look in looks.values()) for white in (1, 255))
    if any(1 in look.values and 255 in look.values for look in looks.values()):
        return {}
    undecided.append(
        f"{of_1} masks hold 0 and 1, {of_255} hold 0 and 255, none both: 1 and 255 are taken for one class, foreground."
    )
    return {0: "background", 1: "foreground", 255: "foreground"}


def classes_of_colours(
    folder: Path, pictures: Sequence[str], looks: Mapping[Path, MaskLook], decided: list[str], undecided: list[str]
) -> tuple[ClassTable, Writing]:
    """A class for each colour, and the value that stands for it. The values and names come from a file of colours in the folder,
    from a known set whose colours they are, else black is 0 and the others follow by their red, green and blue."""
    counts: Counter[int] = Counter()
    for look in looks.values():
        counts.update(look.colours)
    if len(counts) > MANY:
        raise DataError(
            f"{folder}: the masks hold {len(counts)} colours; write one value per pixel, or name other masks with --masks."
        )
    pixels = counts.total()
    ranked = [f"{_shown(colour)} ({100 * count / pixels:.3g} %)" for colour, count in counts.most_common(12)]
    more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
    decided.append(f"the masks hold {len(counts)} colours: {', '.join(ranked)}{more}; each becomes one value.")
    entries = _entries(folder, pictures, counts, decided, undecided)
    value_of: dict[int, int] = {}
    names: dict[int, str] = {}
    for colour in sorted(counts, key=lambda colour: (colour != CLEAR, colour)):
        value, name = entries.get(colour, (None, ""))
        if value is None:
            value = 0 if colour in (0, CLEAR) and 0 not in value_of.values() and not entries else None
            name = "background" if value == 0 else ""
        taken = {*value_of.values(), *(value for value, _ in entries.values())}
        value_of[colour] = value if value is not None else next(v for v in range(65536) if v not in taken and (v or entries))
        names[value_of[colour]] = name or f"class_{value_of[colour]}"
    if not entries and 0 not in value_of.values():  # no black: counted from 0
        value_of = {colour: value - 1 for colour, value in value_of.items()}
        names = {value - 1: f"class_{value - 1}" for value in names}
    if names.get(0) == "background" and not entries:
        undecided.append(
            f"{_shown(min(value_of, key=lambda c: value_of[c]))} is taken for background; rename it if it is something else."
        )
    _report_placeholders(names, undecided)
    colour_of = {value: unpacked(colour) for colour, value in value_of.items()}
    return _of_names(folder, names, colour_of), Writing(value_of)


def _entries(
    folder: Path, pictures: Sequence[str], counts: Mapping[int, int], decided: list[str], undecided: list[str]
) -> dict[int, tuple[int, str]]:
    """The value and name of each colour, by a file in the folder or by a known set. Empty where neither knows most colours."""
    file, lines = _read_names(folder)
    coloured = {packed(colour): (place, name) for place, (name, colour) in enumerate(lines) if colour is not None}
    if file is not None and coloured:
        absent = [name for colour, (_, name) in coloured.items() if colour not in counts]
        decided.append(f"the names and values of the colours come from {file.name}, where the line, from 0, is the value.")
        if absent:
            undecided.append(f"{first_names(absent)} of {file.name} occur in no mask and are left out of classes.csv.")
        unknown = [_shown(colour) for colour in counts if colour not in coloured]
        if unknown:
            undecided.append(f"{len(unknown)} colours are not in {file.name} and become classes: {first_names(unknown)}.")
        return {
            colour: (value, VOID_NAME if name.lower() in VOID_WORDS else name) for colour, (value, name) in coloured.items()
            if colour in counts
        }  # fmt: skip
    for place, (title, table) in enumerate(_known_sets(pictures)):
        least = LEAST_OF_KNOWN if place else 2
        if len(counts) >= least and counts.keys() <= table.keys():
            decided.append(f"the colours are {title}.")
            return {colour: table[colour] for colour in counts}
    return {}


def _known_sets(pictures: Sequence[str]) -> list[tuple[str, dict[int, tuple[int, str]]]]:
    """The published colours, each set with its title: by packed colour the value and the name. VOC's are the first."""
    of_voc = {
        packed(colour): (value, f"class_{value}" if value else "background") for value, colour in enumerate(voc.CLASSES.colours)
    }
    if voc.are_names_of_voc(pictures):
        of_voc = {colour: (value, voc.CLASSES.names[value]) for colour, (value, _) in of_voc.items()}
    of_voc[packed(VOID_COLOUR)] = (voc.VOID, VOID_NAME)
    return [
        ("VOC's colours, whose places in its table are the values", of_voc),
        ("those of CamVid, in SegNet's 11 classes", {
            **{packed(colour): (place, name) for place, (name, colour) in enumerate(camvid.OF_SEGNET.items())},
            0: (len(camvid.OF_SEGNET), VOID_NAME),
        }),
        ("those of CamVid", {
            packed((int(red), int(green), int(blue))): (place, VOID_NAME if place == camvid.VOID else camvid.LABELS[place][0])
            for place, (red, green, blue) in enumerate(camvid.COLOURS)
        }),
        ("those of Cityscapes", {
            packed(label.colour): (label.id, VOID_NAME if label.ignored else label.name)
            for label in reversed(cityscapes_labels.DRAWN)
        }),
    ]  # fmt: skip


def colours_that_may_be(folder: Path, table: ClassTable | None, exact: Mapping[int, int]) -> list[tuple[list[int], bool]]:
    """The packed colours that masks of this folder may have, as `pairing_lossy.restored` takes them: by a class table, as colours
    and as values, by other masks, by a file of names, and by the published sets."""
    tables: list[tuple[list[int], bool]] = []
    if table is not None:
        with_void = [(table.void_colour, table.void_values)] if table.void_values else []
        coloured = [*zip(table.colours, table.values, strict=True), *with_void]
        tables.append(([value * 0x010101 for _, values in coloured for value in values if value <= 255], True))
        tables.append(([packed(colour) for colour, _ in coloured], True))
    elif exact:
        tables.append((list(exact), False))
    try:
        named = [packed(colour) for _, colour in _read_names(folder)[1] if colour is not None]
    except DataError:  # `_names_from_file` tells it
        named = []
    return [*tables, (named, True), *((list(known), False) for _, known in _known_sets(()))]


def writing_by_table(table: ClassTable, looks: Mapping[Path, MaskLook]) -> Writing:
    """How masks are read by a class table that is there already: by its colours where masks write colours, else by its values."""
    if all(look.writes != "colours" for look in looks.values()):
        known = {value for values in (*table.values, table.void_values) for value in values}
        if all(value in known for look in looks.values() for value in look.values):
            return Writing()
    by_colour = {packed(colour): values[0] for colour, values in zip(table.colours, table.values, strict=True)}
    if table.void_values:
        by_colour.setdefault(packed(table.void_colour), table.void_values[0])
    if any(CLEAR in look.colours for look in looks.values()):
        by_colour[CLEAR] = by_colour.get(0, table.values[0][0])
    return Writing(by_colour)


def proposed_void(classes: ClassTable, writing: Writing, masks: Sequence[Path], undecided: list[str]) -> ClassTable:
    """The table where a middle grey between black and white is void, if it lies on borders alone. Of other values that do so a
    sentence is added to `undecided`."""
    values = {value for of_class in classes.values for value in of_class}
    if len(values) < 3 or len(values) > 8 or classes.void_values:
        return classes
    on_borders = _values_on_borders(writing, masks[:BORDER_MASKS], values - {0})
    if frozenset(values) in GREYS_WITH_BORDER and on_borders == sorted(values)[1:2]:
        undecided.append(f"{on_borders[0]} lies on borders alone, between {min(values)} and {max(values)}: it is taken for void.")
        kept = [place for place, of_class in enumerate(classes.values) if on_borders[0] not in of_class]
        names = tuple("foreground" if 255 in classes.values[place] else classes.names[place] for place in kept)
        colours = tuple(classes.colours[place] for place in kept)
        return ClassTable(names, colours, tuple(classes.values[place] for place in kept), (on_borders[0],), VOID_COLOUR)
    if len(on_borders) == 1:
        name = next(name for name, of_class in zip(classes.names, classes.values, strict=True) if on_borders[0] in of_class)
        undecided.append(f"{name} lies on borders alone; call it void in classes.csv if it shall not be judged.")
    return classes


def _values_on_borders(writing: Writing, masks: Sequence[Path], values: set[int]) -> list[int]:
    """The values whose pixels have, nearly all, two other values near."""
    from scipy import ndimage  # only now: it takes a quarter of a second to load

    total, near = Counter[int](), Counter[int]()
    for path in masks:
        try:
            mask = writing.read(path)
        except DataError:
            continue
        around: dict[int, np.ndarray] = {}
        present = np.unique(mask).tolist()
        for value in present:
            around[value] = ndimage.maximum_filter(mask == value, size=2 * BORDER_WIDTH + 1)
        for value in values & set(present):
            here = mask == value
            others = sum(around[other][here].astype(np.uint8) for other in present if other != value)
            total[value] += int(here.sum())
            near[value] += int(np.count_nonzero(np.asarray(others) >= 2)) if len(present) > 2 else 0
    return [value for value in sorted(values) if total[value] and near[value] >= BORDER_SHARE * total[value]]


def _table(
    folder: Path, names: dict[int, str], first_mask: Path, largest: int, decided: list[str], undecided: list[str]
) -> ClassTable:
    """The table of these names of values, in the colours of the first mask's palette if it has distinct ones."""
    _report_placeholders(names, undecided)
    classes = _of_names(folder, names, {})
    palette = read_palette(first_mask)
    if palette is None or largest >= len(palette):
        return classes
    entries: list[Colour] = [_entry(palette, values[0]) for values in classes.values]
    is_grey = all(red == green == blue for red, green, blue in entries)
    if len(set(entries)) < len(entries) or is_grey:
        return classes
    decided.append("the colours are those of the masks' palette.")
    void_colour = _entry(palette, classes.void_values[0]) if classes.void_values else VOID_COLOUR
    return replace(classes, colours=tuple(entries), void_colour=void_colour)


def _entry(palette: np.ndarray, value: int) -> Colour:
    red, green, blue = (int(channel) for channel in palette[value])
    return red, green, blue


def _of_names(folder: Path, names: Mapping[int, str], colour_of: Mapping[int, Colour]) -> ClassTable:
    """The table in which the values of one name are one class. Values without a colour get one."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for value in sorted(names):
        by_name[names[value]].append(value)
    void_values = tuple(by_name.pop(VOID_NAME, ()))
    if not by_name:
        raise DataError(f"{folder}: every value in the masks is void; name at least one class.")
    new_colours = iter(distinct_colours(len(by_name)))
    colours = [
        colour_of[values[0]] if values[0] in colour_of else (0, 0, 0) if name == "background" else next(new_colours)
        for name, values in by_name.items()
    ]
    void_colour = colour_of.get(void_values[0], VOID_COLOUR) if void_values else VOID_COLOUR
    return ClassTable(tuple(by_name), tuple(colours), tuple(tuple(v) for v in by_name.values()), void_values, void_colour)


def _report_placeholders(names: Mapping[int, str], undecided: list[str]) -> None:
    placeholders = [name for name in names.values() if name.startswith("class_")]
    if placeholders:
        undecided.append(f"the names {first_names(placeholders)} are placeholders; write the true ones into classes.csv.")


def _names(values: list[int], undecided: list[str]) -> dict[int, str]:
    names = {value: f"class_{value}" for value in values}
    others = [value for value in values if value != 255]
    if 0 in names and len(names) > 1:
        names[0] = "background"
        undecided.append("value 0 is taken for background, a class like any other; rename it if it is something else.")
    if 255 in names and len(others) == 1:
        names[255] = "foreground"
        undecided.append(f"255 is taken for the class foreground, because the only other value is {others[0]}; rename it.")
    elif 255 in names and len(others) > 1 and 255 - others[-1] > max(b - a for a, b in pairwise(others)):
        names[255] = VOID_NAME
        undecided.append("255 is taken for void (not judged), far from all other values; rename it if it is a class.")
    return names


def _names_from_file(folder: Path, values: Mapping[int, int], decided: list[str], undecided: list[str]) -> dict[int, str]:
    """The names of values, from a file with one name a line.

    The lines stand for the values in their order, with or without 255; else the number of a line, from 0, is the value."""
    numbered = _numbered_names(folder)
    if numbered and set(values) <= numbered.keys():
        decided.append("the names come from _classes.csv, which names the values.")
        return {value: VOID_NAME if numbered[value].lower() in VOID_WORDS else numbered[value] for value in values}
    try:
        path, lines_of_file = _read_names(folder)
    except DataError as error:
        undecided.append(f"the names are not used: {error}")
        return {}
    if path is None:
        return {}
    lines = [name for name, _ in lines_of_file]
    without_void = sorted(value for value in values if value != 255)
    by_place = any(colour is not None for _, colour in lines_of_file)  # a table of colours numbers its lines
    for ordered_values in (sorted(values), without_void) if not by_place else ():
        if len(lines) == len(ordered_values):
            decided.append(f"the names come from {path.name}, in the order of the values.")
            return dict(zip(ordered_values, lines, strict=True))
    if without_void and without_void[-1] < len(lines):
        absent = [lines[i] for i in range(len(lines)) if i not in values]
        decided.append(f"the names come from {path.name}, where the line number, from 0, is the value.")
        if absent:
            undecided.append(f"{first_names(absent)} of {path.name} occur in no mask and are left out of classes.csv.")
        return {value: VOID_NAME if lines[value].lower() in VOID_WORDS else lines[value] for value in without_void}
    undecided.append(f"{path.name} has {len(lines)} names for {len(values)} values and was not used; write one name per value.")
    return {}


def _numbered_names(folder: Path) -> dict[int, str]:
    """The names of values by Roboflow's _classes.csv, a value and a name a line, in the folder or in those of its splits. Empty
    where there is none, or where two contradict."""
    names: dict[int, str] = {}
    for path in files_in(folder, depth=2):
        if path.name != "_classes.csv":
            continue
        try:
            lines = read_text(path).splitlines()
        except DataError:
            continue
        for match in (re.fullmatch(r"\s*(\d{1,5})\s*,\s*(\S.*?)\s*", line) for line in lines):
            if match is not None and names.setdefault(int(match[1]), match[2]) != match[2]:
                return {}
    return names


def _read_names(folder: Path) -> tuple[Path | None, list[tuple[str, Colour | None]]]:
    """The first file of `NAME_FILES`, else one of which each line has a name and a colour: its names with their colours.

    Raises DataError for a file of `NAME_FILES` that cannot be read."""
    path = next((folder / name for name in NAME_FILES if (folder / name).exists()), None)
    if path is not None:
        return path, _entries_of(read_text(path))
    for path in files_in(folder):
        if path.suffix.lower() in (".txt", ".csv") and path.name not in ("classes.csv", "pairs.csv"):
            try:
                entries = _entries_of(read_text(path)) if path.stat().st_size <= LARGEST_TABLE else []
            except (DataError, OSError):
                continue
            if len(entries) > 1 and all(colour is not None for _, colour in entries):
                return path, entries
    return None, []


def _entries_of(text: str) -> list[tuple[str, Colour | None]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("#", "__ignore__"))]
    return [entry for line in lines if (entry := _named_colour(line)) is not None]


def _named_colour(line: str) -> tuple[str, Colour | None] | None:
    """The name and colour of a line. None for a header."""
    numbers = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
    match = re.fullmatch(rf"(?P<name>[^:]+):(?:{numbers})?:.*", line) or re.fullmatch(
        rf"(?:\d+[\s,;]+)?(?P<name>.*?[^\d\s].*?)[\s,;]+{numbers}", line
    )
    match = match or re.fullmatch(rf"{numbers}[\s,]+(?P<name>\S.*)", line)
    if match is None:
        header = [cell.strip().lower() for cell in re.split(r"[,;\t]", line)]
        return None if header[-3:] in (["r", "g", "b"], ["red", "green", "blue"]) else (line, None)
    parts = [int(part) for part in match.groups() if part is not None and part != match["name"]] if match.lastindex else []
    parts = [part for part in parts if part <= 255]
    return match["name"].strip().strip('"'), (parts[0], parts[1], parts[2]) if len(parts) == 3 else None


def _shown(colour: int) -> str:
    return "clear" if colour == CLEAR else str(unpacked(colour))
