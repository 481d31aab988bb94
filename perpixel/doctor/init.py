"""init: makes a folder of pictures and masks, of any shape, a data set that `perpixel.datasets.folder` opens.

    proposal = init(Path("street"))     # writes street/classes.csv, and street/pairs.csv where the folder has another shape
    proposal.undecided                  # sentences that a person should look at
    proposal.repair                     # a sentence where masks must be written in another way; empty where they need not be
    fix(proposal, Path("copy"))         # writes the whole set anew: images/, masks/ or instances/, classes.csv, plan.csv

`propose` only reads. `write` and `fix` only write. The person's files are never moved or changed."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from perpixel.bands import FILE
from perpixel.classes import ClassTable, distinct_colours
from perpixel.datasets.folder import OBJECTS, SPLITS, Listing, Pair, folder_bands, is_listed, list_folder, truth_folders
from perpixel.datasets.pairing import as_pair, find_pairs
from perpixel.datasets.pairing_classes import (
    classes_of_colours,
    classes_of_values,
    colours_that_may_be,
    proposed_void,
    writing_by_table,
)
from perpixel.datasets.pairing_lossy import levels, restored, shown
from perpixel.datasets.pairing_masks import (
    ALPHA,
    AS_PNG,
    CLEAR,
    COLOURS,
    EQUAL_CHANNELS,
    VALUES,
    MaskLook,
    Writing,
    foreground,
    look_at_mask,
    write_colours,
)
from perpixel.datasets.pairing_names import PICTURE_WORDS, first_names, folder_words, within
from perpixel.doctor.known_sets import ready_set, refuse_panoptic, refuse_several, unread_annotations
from perpixel.doctor.repair import PLAN
from perpixel.errors import DataError, ResourceError, UsageError, failure_of, printable
from perpixel.files import new_folder, read_bytes, require_folder, walk, write_whole
from perpixel.formats import FORMATS, annotations_of
from perpixel.images import encode_image, encode_labels, read_header, read_size, read_size_of_bands, read_stored
from perpixel.tables import to_csv
from perpixel.terminal import FAILURES

THREADS = 2
BACKGROUND = "background"
SOURCE = ".source"  # in a copy made for a training: the digest of the files that it was made of
WRITTEN = {  # what masks write -> the repair, in words
    EQUAL_CHANNELS: "three equal channels written as one",
    ALPHA: "alpha written as values",
    COLOURS: "colours written as values",
}


@dataclass(frozen=True)
class Proposal:
    """The content that `write` writes, and how it was decided."""

    folder: Path
    classes: ClassTable  # for classes.csv
    pairs: tuple[Pair, ...]  # for pairs.csv
    listed: bool  # whether pairs.csv is needed
    decided: tuple[str, ...]  # sentences about the folder and the decisions
    undecided: tuple[str, ...]  # sentences that a person should look at
    repair: str = ""  # a sentence where masks must be written in another way before training; only `fix` does that
    writing: Writing = field(default_factory=Writing)  # how the masks are read
    objects: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict)  # of pictures, the masks of one object each
    steps: Mapping[Path, str] = field(default_factory=dict)  # of masks, the repair in words
    class_of: Mapping[Path, str] = field(default_factory=dict)  # of `objects` that are classes, the name
    order: tuple[str, ...] = ()  # those names: where masks share pixels, the later has them


class Annotations(DataError):
    """A folder of pictures without masks, with annotations of a known format: `title`."""

    def __init__(self, folder: Path, title: str) -> None:
        super().__init__(f"{folder}: holds {title}, no masks; `perpixel convert {folder} NEW-FOLDER` makes a data set of it.")
        self.title = title


@dataclass(frozen=True)
class Fixed:
    """The number of pairs in the copy, and a sentence for each pair that was left out."""

    pairs: int
    failed: tuple[str, ...]


def init(folder: Path, pictures_in: str | None = None, masks_in: str | None = None, lists_in: str | None = None) -> Proposal:
    """Makes a proposal and writes it. Raises DataError where there is nothing to pair, or a table exists already."""
    refuse_existing(folder)
    proposal = propose(folder, pictures_in, masks_in, lists_in)
    write(proposal)
    return proposal


def prepared(folder: Path, copy: Path, say: Callable[[str], None], progress: Callable[[int, int], None]) -> Path:
    """The folder to train on, for a folder in any shape: itself where it has a class table or numbers objects, and its masks hold
    values; itself with what `write` adds, where masks can stay as they are; else `copy`, which `fix` or `convert` writes.

    A copy of the same files that is there already is taken. Decisions are told by `say`. Raises the errors of
    `propose`, UsageError where `copy` is of other files, and DataError that names the reader of a known set."""
    if "instances" in truth_folders(folder):
        return folder
    if (os.path.lexists(folder / "classes.csv") or is_listed(folder)) and not _writes_colours(folder):
        return folder
    stamp = _stamp(folder)
    if os.path.lexists(copy):
        if not (copy / SOURCE).is_file() or read_bytes(copy / SOURCE) != stamp:
            clause = f"is there already, and was not made of {folder} as it is now"
            raise UsageError(f"{copy}: {clause}; delete it, or name another --out.")
        return copy
    ready = ready_set(folder)
    if ready is not None:
        raise DataError(f"{ready.sentence()} Train by `{ready.command()}`.")
    try:
        proposal = propose(folder)
    except Annotations as error:
        from perpixel.formats.convert import convert  # only now: it takes time to load

        say(f"{folder}: holds {error.title}, which are written as masks: {copy}")
        for sentence in convert(folder, copy, progress=progress).told:
            say(sentence)
        write_whole(copy, SOURCE, stamp)
        return copy
    for sentence in (*proposal.decided, *(f"please look: {sentence}" for sentence in proposal.undecided)):
        say(sentence)
    if not proposal.repair:
        write(proposal)
        files = "classes.csv and pairs.csv are" if proposal.listed else "classes.csv is"
        say(f"{folder}: {files} written; no other file is touched.")
        return folder
    done = fix(proposal, copy, progress)
    write_whole(copy, SOURCE, stamp)
    say(f"{copy}: {done.pairs} pairs of {len(proposal.pairs)}. {proposal.repair}: written as values.")
    for sentence in done.failed[:FAILURES]:
        say(f"left out: {sentence}")
    return copy


def _writes_colours(folder: Path) -> bool:
    """Whether the first mask that can be read has channels or was saved with loss, as masks for which `init` alone wrote the
    tables."""
    pairs = list_folder(folder).pairs
    for pair in pairs:
        try:
            return pair.mask is not None and (read_stored(pair.mask).ndim == 3 or bool(read_header(pair.mask).lossy))
        except DataError:
            continue
    return False


def _stamp(folder: Path) -> bytes:
    """What changes when a file below the folder does: names, sizes and times."""
    lines = [f"{os.path.abspath(folder)}"]
    for path in walk(folder):
        try:
            stat = path.stat()
        except OSError:
            continue
        lines.append(f"{within(folder, path)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest().encode()


def refuse_existing(folder: Path) -> None:
    """Raises DataError where classes.csv exists already. Call it first, so that nobody waits for the proposal."""
    _refuse_existing(folder / "classes.csv")


def write(proposal: Proposal) -> None:
    """Writes pairs.csv, if needed, then classes.csv. Raises DataError where one exists already; no file is overwritten."""
    table, listing = proposal.folder / "classes.csv", proposal.folder / "pairs.csv"
    listed = proposal.listed and not proposal.objects
    for path in (table, listing) if listed else (table,):
        _refuse_existing(path)
    try:
        if listed:
            rows = [(within(proposal.folder, p.image), within(proposal.folder, p.truths[0]), p.split) for p in proposal.pairs]
            write_whole(listing.parent, listing.name, to_csv(("image", "mask", "split"), rows))
        proposal.classes.write_csv(table)
    except OSError as error:
        raise ResourceError(f"{proposal.folder}: cannot be written to ({error.strerror}); allow it or use a copy.") from error


def propose(
    folder: Path,
    pictures_in: str | None = None,
    masks_in: str | None = None,
    lists_in: str | None = None,
    together: bool = False,
) -> Proposal:
    """Reads every file name and every mask of `folder`, and proposes pairs, splits and classes. It writes nothing.

    A classes.csv or pairs.csv that is there counts. `pictures_in`, `masks_in` and `lists_in` are those of `find_pairs`.
    Raises DataError where there is nothing to pair, or no mask can be read; without `together` also for several data sets."""
    require_folder(folder, "name the folder that holds your pictures and masks")
    decided: list[str] = []
    undecided: list[str] = []
    objects: dict[Path, tuple[Path, ...]] = {}
    class_of: Mapping[Path, str] = {}
    table = ClassTable.read_csv(folder / "classes.csv") if os.path.lexists(folder / "classes.csv") else None
    if is_listed(folder):
        pairs, listed = list(list_folder(folder).pairs), False
        if not pairs:
            raise DataError(f"{folder / 'pairs.csv'}: lists no pair; add rows or delete it and run init again.")
        decided.append(f"{len(pairs)} pairs and their splits are taken from pairs.csv.")
    elif "instances" in truth_folders(folder) and (listing := list_folder(folder)).pairs:
        pairs, listed = list(listing.pairs), False
        _report_instances(folder, listing, decided, undecided)
    else:
        if not together:
            refuse_several(folder)
            refuse_panoptic(folder)
        try:
            found = find_pairs(folder, decided, undecided, pictures_in, masks_in, lists_in)
        except DataError as error:
            raise _as_annotations(folder) or unread_annotations(folder) or error from None
        listed = found.listed
        pairs = [as_pair(folder, pair) for pair in found.pairs] if listed else list(list_folder(folder).pairs)
        objects = {pair.image: pair.masks for pair in found.pairs} if found.of_objects else {}
        class_of = found.class_of
        _report_annotations(folder, undecided)
    counts = Counter(pair.split for pair in pairs)
    decided.append(", ".join(f"{split}: {counts[split]}" for split in SPLITS if counts[split]) + " pictures.")
    if set(counts) == {"test"}:
        undecided.append("all pictures are a test set, whole: judge a model on it with --split test; there is no train split.")
    else:
        for split in ("train", "val"):
            if not counts[split]:
                undecided.append(
                    f"there is no {split} split; training needs one, so move pictures and masks into a folder {split}."
                )
    if all(pair.mask is None for pair in pairs):
        decided.append("the classes are background (0) and object (1); give them the names that they have in your pictures.")
        return _proposal(folder, table or OBJECTS, pairs, listed, decided, undecided)
    if objects:
        return _of_objects(folder, table, pairs, objects, class_of, decided, undecided)
    looks, known = _look_at_masks(folder, pairs, table, undecided)
    readable = {path: look for path, look in looks.items() if not look.cannot}
    decided += _lossy_sentences(looks, known)
    kinds = Counter(look.writes for look in readable.values())
    stems = [pair.image.stem for pair in pairs]
    if table is not None:
        classes, writing = table, writing_by_table(table, readable)
        decided.append(f"the classes are those of classes.csv: {first_names(table.names)}.")
    elif write_colours(readable.values()):
        classes, writing = classes_of_colours(folder, stems, readable, decided, undecided)
    else:
        classes, writing = classes_of_values(folder, stems, readable, decided, undecided), Writing()
    writing = replace(writing, known=known)
    if table is None:
        classes = proposed_void(classes, writing, list(readable), undecided)
    steps, repair = _repair(readable, kinds, writing)
    proposal = _proposal(folder, classes, pairs, listed, decided, undecided)
    return replace(proposal, writing=writing, steps=steps, repair=printable(repair))


def _repair(readable: Mapping[Path, MaskLook], kinds: Counter[str], writing: Writing) -> tuple[dict[Path, str], str]:
    """For each mask the repair in words, and one sentence for all. Both are empty where masks can stay as they are."""
    if writing.by_colour is not None:
        steps = {path: WRITTEN[COLOURS] for path in readable} | _nearest_steps(readable)
        colours = {colour for look in readable.values() for colour in look.colours}
        return steps, f"{len(steps)} masks write {len(colours)} colours in place of values"
    steps = {path: WRITTEN[look.writes] for path, look in readable.items() if look.writes != VALUES}
    lossy = _nearest_steps(readable)
    if not steps:
        return lossy, f"{len(lossy)} masks were saved with loss" if lossy else ""
    steps |= lossy
    counted = ", ".join(f"{kinds[kind]} masks: {action}" for kind, action in WRITTEN.items() if kinds[kind])
    return steps, f"{len(steps)} masks have several channels ({counted})"


def _nearest_steps(readable: Mapping[Path, MaskLook]) -> dict[Path, str]:
    return {
        path: f"each pixel of a {look.lossy} written as the nearest of its colours; {look.between} pixels lay between"
        for path, look in readable.items() if look.lossy
    }  # fmt: skip


def _lossy_sentences(looks: Mapping[Path, MaskLook], known: Sequence[int]) -> list[str]:
    """What becomes of masks that were saved with loss."""
    lossy = [look for look in looks.values() if look.lossy and not look.cannot]
    if not lossy:
        return []
    kinds = Counter(look.lossy for look in lossy)
    between, total = sum(look.between for look in lossy), sum(sum((look.values or look.colours).values()) for look in lossy)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    nearest = f"each pixel becomes the nearest of {', '.join(map(shown, known[:12]))}{', ...' if len(known) > 12 else ''}"
    share = f"{between} of {total} pixels ({100 * between / total:.2g} %) lie between"
    return [f"{len(lossy)} masks were saved with loss ({counted}): {nearest}; {share}. A PNG from their source would be exact."]


def _of_objects(
    folder: Path,
    table: ClassTable | None,
    pairs: list[Pair],
    objects: Mapping[Path, tuple[Path, ...]],
    class_of: Mapping[Path, str],
    decided: list[str],
    undecided: list[str],
) -> Proposal:
    """The proposal for pictures with a mask of each object, or of each class."""
    masks = [mask for masks in objects.values() for mask in masks]
    with ThreadPoolExecutor(THREADS) as pool:
        looks = dict(zip(masks, pool.map(look_at_mask, masks), strict=True))
        known = _colours_before_loss(folder, looks, table)
        lossy = [path for path in looks if looks[path].lossy and known]
        looks |= zip(lossy, pool.map(lambda path: look_at_mask(path, known), lossy), strict=True)
    decided += _lossy_sentences(looks, known)
    broken = [look.cannot for look in looks.values() if look.cannot]
    if broken:
        undecided.append(f"{len(broken)} masks cannot be read; the first: {broken[0]}")
    several = [path for path, look in looks.items() if len(look.values or look.colours) > 2]
    if several:
        names = first_names([within(folder, path) for path in several])
        raise DataError(
            f"{folder}: pictures have several masks each, and {len(several)} masks hold more than one object ({names}); choose "
            f"the masks with --masks, a part of their paths."
        )
    if class_of:
        return _of_classes(folder, table, pairs, objects, class_of, looks, known, decided, undecided)
    decided.append(
        f"{len(masks)} masks show one object each, {len(objects)} pictures have some; the background is their value 0."
    )
    repair = f"{len(masks)} masks of one object each are not read as they are"
    proposal = _proposal(folder, table or OBJECTS, pairs, True, decided, undecided)
    return replace(proposal, objects=objects, repair=repair, writing=Writing(known=known))


def _of_classes(
    folder: Path,
    table: ClassTable | None,
    pairs: list[Pair],
    objects: Mapping[Path, tuple[Path, ...]],
    class_of: Mapping[Path, str],
    looks: Mapping[Path, MaskLook],
    known: tuple[int, ...],
    decided: list[str],
    undecided: list[str],
) -> Proposal:
    """The proposal for pictures with a mask of each class. Where two share pixels, the class of fewer pixels has them."""
    pixels: Counter[str] = Counter()
    for path, look in looks.items():
        counts = look.values or look.colours
        pixels[class_of[path]] += sum(count for value, count in counts.items() if value not in (0, CLEAR))
    named = sorted(name for name in pixels if name.lower() != BACKGROUND)
    if table is not None and (missing := [name for name in named if name not in table.names]):
        raise DataError(f"{folder / 'classes.csv'}: has no class {missing[0]}, of which there are masks; add it.")
    order = tuple(sorted(named, key=lambda name: (-pixels[name], name)))
    total = max(1, sum(sum((looks[masks[0]].values or looks[masks[0]].colours).values()) for masks in objects.values()))
    shares = ", ".join(f"{name} ({100 * pixels[name] / total:.3g} %)" for name in named)
    decided.append(
        f"{len(class_of)} masks show one class each, named by the files: {shares}; what no mask shows is background."
    )
    with ThreadPoolExecutor(THREADS) as pool:
        shared = [*pool.map(lambda masks: _shared_pixels([m for m in masks if class_of[m] in named], known), objects.values())]
    if any(shared):
        undecided.append(
            f"{sum(shared)} pixels of {sum(map(bool, shared))} pictures lie in the masks of several classes: the class of fewer "
            f"pixels has them, because what is small is drawn over what is large ({' before '.join(reversed(order))})."
        )
    names = (BACKGROUND, *named)
    colours = ((0, 0, 0), *distinct_colours(len(named)))
    classes = table or ClassTable(names, colours, tuple((value,) for value in range(len(names))))
    proposal = _proposal(folder, classes, pairs, True, decided, undecided)
    repair = f"{len(class_of)} masks of one class each are not read as they are"
    return replace(
        proposal, objects=objects, repair=printable(repair), writing=Writing(known=known), class_of=class_of, order=order
    )


def _proposal(
    folder: Path, classes: ClassTable, pairs: Sequence[Pair], listed: bool, decided: Sequence[str], undecided: Sequence[str]
) -> Proposal:
    """The sentences quote names of files and classes, so they are made printable."""
    return Proposal(folder, classes, tuple(pairs), listed, tuple(map(printable, decided)), tuple(map(printable, undecided)))


def _as_annotations(folder: Path) -> DataError | None:
    """The error for a folder without masks that holds annotations of a known format. None where it does not."""
    name = annotations_of(folder)
    return None if name is None else Annotations(folder, FORMATS[name].title)


def _report_annotations(folder: Path, undecided: list[str]) -> None:
    name = annotations_of(folder)
    if name is not None:
        clause = f"there are files of {FORMATS[name].title} too, which are not used, because there are masks"
        undecided.append(f"{clause}; `perpixel convert {folder} NEW-FOLDER` makes a data set of it.")


def _report_instances(folder: Path, listing: Listing, decided: list[str], undecided: list[str]) -> None:
    beside_masks = " beside masks/" if "masks" in truth_folders(folder) else ""
    decided.append(f"instances/ numbers the objects of {len(listing.pairs)} pictures{beside_masks}, so no pairs.csv is needed.")
    for unpaired, kind in (
        (listing.lonely_images, "pictures without a file in " + " and ".join(f"{kind}/" for kind in truth_folders(folder))),
        (listing.lonely_masks, "masks or instances without a picture"),
    ):
        if unpaired:
            undecided.append(f"{len(unpaired)} {kind} are left out: {first_names([within(folder, path) for path in unpaired])}.")


def _look_at_masks(
    folder: Path, pairs: Sequence[Pair], table: ClassTable | None, undecided: list[str]
) -> tuple[dict[Path, MaskLook], tuple[int, ...]]:
    """What each mask holds, and the packed colours of masks that were saved with loss. Adds the masks and pictures that cannot be
    read, and other sizes, to `undecided`."""
    broken: list[str] = []
    broken_pictures: list[str] = []
    other_size: list[str] = []
    masks = [pair.truths[0] for pair in pairs]
    with ThreadPoolExecutor(THREADS) as pool:
        looks = dict(zip(masks, pool.map(look_at_mask, masks), strict=True))
        known = _colours_before_loss(folder, looks, table)
        lossy = [path for path in looks if looks[path].lossy and known]
        looks |= zip(lossy, pool.map(lambda path: look_at_mask(path, known), lossy), strict=True)
        read = size_reader(folder)
        sizes = pool.map(lambda pair: _size_or_reason(pair.image, read), pairs)
        for path, size in zip(masks, sizes, strict=True):
            if looks[path].cannot:
                broken.append(looks[path].cannot)
            elif isinstance(size, str):
                broken_pictures.append(size)
            elif size != looks[path].size:
                other_size.append(within(folder, path))
    if len(broken) == len(masks):
        raise DataError(f"{folder}: no mask can be read; the first: {broken[0]}")
    if broken:
        undecided.append(f"{len(broken)} masks cannot be read; the first: {broken[0]}")
    if broken_pictures:
        undecided.append(f"{len(broken_pictures)} pictures cannot be read; the first: {broken_pictures[0]}")
    if other_size:
        undecided.append(f"{len(other_size)} masks differ from their picture in size: {first_names(other_size)}; correct them.")
    return looks, known


def _colours_before_loss(folder: Path, looks: dict[Path, MaskLook], table: ClassTable | None) -> tuple[int, ...]:
    """The packed colours that masks had before they were saved with loss; none where no mask was.

    Where the colours of all are too near each other, the reason enters `looks`."""
    plateaus: Counter[int] = Counter()
    exact: Counter[int] = Counter()
    for look in looks.values():
        (plateaus if look.lossy else exact).update(look.colours)
    lossy = next((look.lossy for look in looks.values() if look.lossy), "")
    if not plateaus:
        return ()
    try:
        found = levels(plateaus, lossy)
        of_greys = all(look.writes == VALUES for look in looks.values() if look.lossy)
        return restored(found, colours_that_may_be(folder, table, exact), lossy, of_greys)
    except DataError as error:
        for path, look in looks.items():
            if look.lossy:
                reason = f"is a {look.lossy}, whose compression changes mask values, and in all masks together {error}"
                looks[path] = MaskLook(cannot=f"{path}: {reason}; {AS_PNG}")
        return ()


def size_reader(folder: Path) -> Callable[[Path], tuple[int, int]]:
    """What reads the size of a picture of the folder, whose bands may be named. Raises DataError where the names are wrong."""
    return read_size if folder_bands(folder) is None else read_size_of_bands


def _size_or_reason(picture: Path, read: Callable[[Path], tuple[int, int]]) -> tuple[int, int] | str:
    try:
        return read(picture)
    except DataError as error:
        return str(error)


# The copy -------------------------------------------------------------------------------------------------------------------


def fix(proposal: Proposal, out: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Fixed:
    """Writes the proposed set into the new folder `out`, whole or not at all: pictures byte for byte, masks as values of the
    class table, masks of one object each as instances/. `progress` gets the numbers of done pairs and of all.

    A pair whose mask cannot be read is left out. Raises UsageError where `out` exists, DataError where no pair is left."""
    names = _short_names(proposal.folder, proposal.pairs)
    failed: list[str] = []
    rows: list[tuple[str, str, str]] = []
    with new_folder(out) as partial, ThreadPoolExecutor(THREADS) as pool:
        jobs = pool.map(lambda pair: _copy(proposal, pair, partial, names[pair.image]), proposal.pairs)
        for number, (pair, outcome) in enumerate(zip(proposal.pairs, jobs, strict=True), start=1):
            if isinstance(outcome, str):
                failed.append(outcome)
                rows.append((printable(pair.image), "failed", f"left out: {printable(outcome)}"))
            else:
                rows += outcome
            progress(number, len(proposal.pairs))
        if len(failed) == len(proposal.pairs):
            raise DataError(f"{proposal.folder}: no pair can be written; the first: {failed[0]}")
        proposal.classes.write_csv(partial / "classes.csv")
        if os.path.isfile(proposal.folder / FILE):
            write_whole(partial, FILE, read_bytes(proposal.folder / FILE))
        write_whole(partial, PLAN, to_csv(("file", "kind", "action"), rows))
    return Fixed(len(proposal.pairs) - len(failed), tuple(failed))


def _copy(proposal: Proposal, pair: Pair, out: Path, name: str) -> list[tuple[str, str, str]] | str:
    """Writes the files of a pair below `out`, all or none. Returns rows of the plan, or the reason why the pair is left out."""
    files: list[tuple[str, bytes]] = []
    steps: list[tuple[str, str, str]] = []
    try:
        size_reader(proposal.folder)(pair.image)  # raises for what is no picture
        files.append((f"images/{name}{pair.image.suffix}", read_bytes(pair.image)))
        if proposal.class_of:
            labels, action = _labels_of_classes(proposal, pair.image)
            files.append((f"masks/{name}.png", encode_labels(labels, proposal.classes)))
            steps.append((printable(pair.image), "masks of classes", action))
        elif proposal.objects:
            data, action = _numbers(proposal.objects[pair.image], proposal.writing.known)
            files.append((f"instances/{name}.png", data))
            steps.append((printable(pair.image), "objects", action))
        elif pair.mask is not None:
            labels = proposal.classes.decode(proposal.writing.read(pair.mask), str(pair.mask))
            files.append((f"masks/{name}.png", encode_labels(labels, proposal.classes)))
            if pair.mask in proposal.steps:
                steps.append((printable(pair.mask), "mask", proposal.steps[pair.mask]))
        if pair.instances is not None:
            files.append((f"instances/{name}{pair.instances.suffix}", read_bytes(pair.instances)))
    except Exception as error:
        message = failure_of(pair.image, error)
        if message is None:
            raise
        return message
    for path, data in files:
        write_whole(out, path, data, durable=False)
    return steps


def _shared_pixels(masks: Sequence[Path], known: tuple[int, ...]) -> int:
    """The number of pixels that several masks show. 0 where one cannot be used."""
    shown = [foreground(path, known) for path in masks]
    usable = [one for one in shown if one is not None]
    if len(usable) < len(shown) or len({one.shape for one in usable}) != 1:
        return 0
    return int(np.count_nonzero(np.sum(usable, 0) > 1))


def _labels_of_classes(proposal: Proposal, image: Path) -> tuple[NDArray[np.integer], str]:
    """The class ids (H, W) of a picture with a mask of each class, and what was done, with the number of shared pixels. Raises
    DataError where masks differ in size."""
    names = proposal.classes.names
    masks = {proposal.class_of[path]: path for path in proposal.objects[image]}
    size = read_size(next(iter(masks.values())), turn=False)
    labels = np.full(size, names.index(BACKGROUND) if BACKGROUND in names else 0, proposal.classes.dtype)
    drawn = np.zeros(size, np.bool_)
    shared = 0
    for name in (name for name in proposal.order if name in masks):
        shown = _foreground(masks[name], proposal.writing.known)
        if shown.shape != size:
            sizes = f"is {shown.shape[0]}x{shown.shape[1]}, another mask of its picture is {size[0]}x{size[1]}"
            raise DataError(f"{masks[name]}: {sizes} (height x width); give both the same size.")
        shared += int(np.count_nonzero(drawn & shown))
        drawn |= shown
        labels[shown] = names.index(name)
    twice = f", {shared} pixels in several, which the class of fewer pixels has" if shared else ""
    return labels, f"{len(masks)} masks of classes written as values{twice}"


def _numbers(masks: Sequence[Path], known: tuple[int, ...]) -> tuple[bytes, str]:
    """The PNG of the numbers of objects, 1 for the first mask, and what was done, with the pixels that two masks claim: the later
    has them. Raises DataError where masks differ in size."""
    first = _foreground(masks[0], known)
    numbers = np.where(first, 1, 0).astype(np.uint8 if len(masks) < 256 else np.uint16)
    claimed = 0
    for number, path in enumerate(masks[1:], start=2):
        mask = _foreground(path, known)
        if mask.shape != numbers.shape:
            sizes = f"is {mask.shape[0]}x{mask.shape[1]}, {masks[0].name} is {first.shape[0]}x{first.shape[1]}"
            raise DataError(f"{path}: {sizes} (height x width); give both the same size.")
        claimed += int(np.count_nonzero(numbers[mask]))
        numbers[mask] = number
    twice = f", {claimed} pixels in two masks, which the later has" if claimed else ""
    return encode_image(Image.fromarray(numbers), ".png"), f"{len(masks)} masks written as numbers of objects{twice}"


def _foreground(path: Path, known: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a mask of one object or class is not black, zero or clear, boolean (H, W). `known` as in `Writing`."""
    shown = foreground(path, known)
    if shown is None:
        raise DataError(look_at_mask(path, known).cannot or f"{path}: holds more than two values; write one mask for each.")
    return shown


def _short_names(folder: Path, pairs: Sequence[Pair]) -> dict[Path, str]:
    """For each picture SPLIT/NAME, where NAME leaves out the folders that all pictures of the split share.

    Of two pictures with one name the second gets its suffix as part of the name."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for split in SPLITS:
        of_split = [pair for pair in pairs if pair.split == split]
        parts = {pair.image: Path(pair.name).parts for pair in of_split}
        shared = len(os.path.commonprefix([parts[pair.image][:-1] for pair in of_split])) if of_split else 0  # noqa: RUF071
        short = {image: _without_roles(path[shared:]) for image, path in parts.items()}
        if len(set(short.values())) < len(short):
            short = {image: path[shared:] for image, path in parts.items()}
        for pair in of_split:
            name = f"{split}/{'/'.join(short[pair.image])}"
            if name in taken:
                name = f"{name}_{pair.image.suffix.removeprefix('.')}"
            names[pair.image] = name
            taken.add(name)
    return names


def _without_roles(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a path without folders called `images` and the like, and without a folder called like the file."""
    kept = [part for part in parts[:-1] if not set(folder_words(part)) <= PICTURE_WORDS and part != parts[-1]]
    return (*kept, parts[-1])


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{path}: exists already; edit it, or delete it first and run init again.")
