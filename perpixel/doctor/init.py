"""init: makes a folder of pictures and masks, of any shape, a data set that `perpixel.datasets.folder` opens.

    proposal = init(Path("street"))     # writes street/classes.csv, and street/pairs.csv where the folder has another shape
    proposal.undecided                  # sentences that a person should look at

`propose` only reads, and `write` only writes. The person's files are never moved or changed."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from perpixel.classes import VOID_NAME, ClassTable, Colour, distinct_colours
from perpixel.datasets.folder import OBJECTS, SPLITS, Listing, Pair, is_listed, list_folder, truth_folders
from perpixel.datasets.pairing import find_pairs, first_names, look_at_mask, within
from perpixel.errors import DataError, ResourceError, printable
from perpixel.files import read_text, require_folder, write_whole
from perpixel.formats import FORMATS, format_of
from perpixel.images import read_palette, read_size
from perpixel.tables import to_csv

NAME_FILES = ("classes.txt", "labels.txt", "class_names.txt", "names.txt")
MANY = 256  # more values than this are numbers of objects
VOID_COLOUR: Colour = (224, 224, 192)  # of PASCAL VOC
THREADS = 2


@dataclass(frozen=True)
class Proposal:
    """The content that `write` writes, and how it was decided."""

    folder: Path
    classes: ClassTable  # for classes.csv
    pairs: tuple[Pair, ...]  # for pairs.csv
    listed: bool  # whether pairs.csv is needed
    decided: tuple[str, ...]  # sentences about the folder and the decisions
    undecided: tuple[str, ...]  # sentences that a person should look at


def init(folder: Path) -> Proposal:
    """Makes a proposal and writes it. Raises DataError where there is nothing to pair, or a table exists already."""
    proposal = propose(folder)
    write(proposal)
    return proposal


def write(proposal: Proposal) -> None:
    """Writes pairs.csv, if needed, then classes.csv. Raises DataError where one exists already; no file is overwritten."""
    table, listing = proposal.folder / "classes.csv", proposal.folder / "pairs.csv"
    for path in (table, listing) if proposal.listed else (table,):
        _refuse_existing(path)
    rows = [(within(proposal.folder, p.image), within(proposal.folder, p.truths[0]), p.split) for p in proposal.pairs]
    try:
        if proposal.listed:
            write_whole(listing.parent, listing.name, to_csv(("image", "mask", "split"), rows))
        proposal.classes.write_csv(table)
    except OSError as error:
        raise ResourceError(f"{proposal.folder}: cannot be written to ({error.strerror}); allow it or use a copy.") from error


def propose(folder: Path) -> Proposal:
    """Reads every file name and every mask of `folder`, and proposes pairs, splits and classes. It writes nothing.

    Raises DataError where there is nothing to pair, no mask can be read, or a class table exists already."""
    require_folder(folder, "name the folder that holds your pictures and masks")
    _refuse_existing(folder / "classes.csv")
    decided: list[str] = []
    undecided: list[str] = []
    if is_listed(folder):
        pairs, listed = list(list_folder(folder).pairs), False
        if not pairs:
            raise DataError(f"{folder / 'pairs.csv'}: lists no pair; add rows or delete it and run init again.")
        decided.append(f"{len(pairs)} pairs and their splits are taken from pairs.csv.")
    elif "instances" in truth_folders(folder) and (listing := list_folder(folder)).pairs:
        pairs, listed = list(listing.pairs), False
        _report_instances(folder, listing, decided, undecided)
    else:
        try:
            pairs, listed = find_pairs(folder, decided, undecided)
        except DataError as error:
            raise _as_annotations(folder) or error from None
    counts = Counter(pair.split for pair in pairs)
    decided.append(", ".join(f"{split}: {counts[split]}" for split in SPLITS if counts[split]) + " pictures.")
    for split in ("train", "val"):
        if not counts[split]:
            undecided.append(f"there is no {split} split; training needs one, so move pictures and masks into a folder {split}.")
    if all(pair.mask is None for pair in pairs):
        decided.append("the classes are background (0) and object (1); give them the names that they have in your pictures.")
        return _proposal(folder, OBJECTS, pairs, listed, decided, undecided)
    values, first_mask = _values(folder, pairs, undecided)
    classes = _classes(folder, first_mask, values, decided, undecided)
    return _proposal(folder, classes, pairs, listed, decided, undecided)


def _proposal(
    folder: Path, classes: ClassTable, pairs: Sequence[Pair], listed: bool, decided: Sequence[str], undecided: Sequence[str]
) -> Proposal:
    """The sentences quote names of files and classes, so they are made printable."""
    return Proposal(folder, classes, tuple(pairs), listed, tuple(map(printable, decided)), tuple(map(printable, undecided)))


def _as_annotations(folder: Path) -> DataError | None:
    """The error for a folder without masks that holds annotations of a known format. None where it does not."""
    try:
        name = format_of(folder)
    except DataError:
        return None
    statement = f"{folder}: holds {FORMATS[name].title}, no masks"
    return DataError(f"{statement}; `perpixel convert {folder} NEW-FOLDER` makes a data set of it.") if name != "folder" else None


def _report_instances(folder: Path, listing: Listing, decided: list[str], undecided: list[str]) -> None:
    beside_masks = " beside masks/" if "masks" in truth_folders(folder) else ""
    decided.append(f"instances/ numbers the objects of {len(listing.pairs)} pictures{beside_masks}, so no pairs.csv is needed.")
    for unpaired, kind in (
        (listing.lonely_images, "pictures without a file in " + " and ".join(f"{kind}/" for kind in truth_folders(folder))),
        (listing.lonely_masks, "masks or instances without a picture"),
    ):
        if unpaired:
            undecided.append(f"{len(unpaired)} {kind} are left out: {first_names([within(folder, path) for path in unpaired])}.")


def _values(folder: Path, pairs: Sequence[Pair], undecided: list[str]) -> tuple[Counter[int], Path]:
    """The number of pixels of each value, over all masks that can be read, and the first such mask. Adds the other masks to
    `undecided`."""
    values: Counter[int] = Counter()
    readable: list[Path] = []
    broken: list[str] = []
    broken_pictures: list[str] = []
    other_size: list[str] = []
    colours: Counter[Colour] = Counter()
    with ThreadPoolExecutor(THREADS) as pool:
        masks = [pair.truths[0] for pair in pairs]
        for pair, path, mask in zip(pairs, masks, pool.map(look_at_mask, masks), strict=True):
            values += mask.values
            colours.update(mask.colours)
            if mask.cannot:
                broken.append(mask.cannot)
                continue
            readable.append(path)
            try:
                if read_size(pair.image) != mask.size:
                    other_size.append(within(folder, path))
            except DataError as error:
                broken_pictures.append(str(error))
    colour_list = ", ".join(str(colour) for colour, _ in colours.most_common(12))
    colours_text = f" Colours found: {colour_list}; convert each colour to one value." if colours else ""
    if not readable:
        raise DataError(f"{folder}: no mask can be read; the first: {broken[0]}{colours_text}")
    if broken:
        undecided.append(f"{len(broken)} masks cannot be read; the first: {broken[0]}{colours_text}")
    if broken_pictures:
        undecided.append(f"{len(broken_pictures)} pictures cannot be read; the first: {broken_pictures[0]}")
    if other_size:
        undecided.append(f"{len(other_size)} masks differ from their picture in size: {first_names(other_size)}; correct them.")
    return values, readable[0]


def _classes(folder: Path, first_mask: Path, values: Counter[int], decided: list[str], undecided: list[str]) -> ClassTable:
    """A class for each value, with the names of a file in the folder where there is such a file."""
    pixels = values.total()
    shares = ", ".join(f"{value} ({100 * values[value] / pixels:.3g} %)" for value in sorted(values)[:30])
    decided.append(f"the masks hold {len(values)} values: {shares}{', ...' if len(values) > 30 else ''}.")
    if len(values) > MANY:
        undecided.append(f"{len(values)} values look like numbers of objects, not classes; give all rows of one class one name.")
    if len(values) == 1:
        undecided.append("all masks hold one single value, so there is nothing to tell apart; look at them.")
    names = _names(sorted(values), undecided) | _names_from_file(folder, values, decided, undecided)
    placeholders = [name for name in names.values() if name.startswith("class_")]
    if placeholders:
        undecided.append(f"the names {first_names(placeholders)} are placeholders; write the true ones into classes.csv.")
    by_name: dict[str, list[int]] = defaultdict(list)
    for value in sorted(names):
        by_name[names[value]].append(value)
    void_values = tuple(by_name.pop(VOID_NAME, ()))
    if not by_name:
        raise DataError(f"{folder}: every value in the masks is void; name at least one class.")
    new_colours = iter(distinct_colours(len(by_name)))
    colours = [(0, 0, 0) if name == "background" else next(new_colours) for name in by_name]
    void_colour = VOID_COLOUR
    palette = read_palette(first_mask)
    if palette is not None and max(values) < len(palette):
        entries = [tuple(int(c) for c in palette[values_of_class[0]]) for values_of_class in by_name.values()]
        is_grey = all(red == green == blue for red, green, blue in entries)
        if len(set(entries)) == len(entries) and not is_grey:
            colours = [(red, green, blue) for red, green, blue in entries]
            void_colour = tuple(int(c) for c in palette[void_values[0]]) if void_values else VOID_COLOUR  # type: ignore[assignment]
            decided.append("the colours are those of the masks' palette.")
    return ClassTable(tuple(by_name), tuple(colours), tuple(tuple(v) for v in by_name.values()), void_values, void_colour)


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


def _names_from_file(folder: Path, values: Counter[int], decided: list[str], undecided: list[str]) -> dict[int, str]:
    """The names of values, from a file with one name a line.

    The lines stand for the values in their order, with or without 255; else the number of a line, from 0, is the value."""
    path = next((folder / name for name in NAME_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except DataError as error:
        undecided.append(f"the names are not used: {error}")
        return {}
    without_void = sorted(value for value in values if value != 255)
    for ordered_values in (sorted(values), without_void):
        if len(lines) == len(ordered_values):
            decided.append(f"the names come from {path.name}, in the order of the values.")
            return dict(zip(ordered_values, lines, strict=True))
    if without_void and without_void[-1] < len(lines):
        absent = [lines[i] for i in range(len(lines)) if i not in values]
        decided.append(f"the names come from {path.name}, where the line number, from 0, is the value.")
        undecided.append(f"{first_names(absent)} of {path.name} occur in no mask and are left out of classes.csv.")
        return {value: lines[value] for value in without_void}
    undecided.append(f"{path.name} has {len(lines)} names for {len(values)} values and was not used; write one name per value.")
    return {}


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{path}: is there already; edit it, or delete it first and run init again.")
