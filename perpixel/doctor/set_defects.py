"""Defects between the files of a data set: of pairs, copies, classes and the class table."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.codecs import unread
from perpixel.datasets.folder import SPLITS, Listing, files_below, is_listed, truth_folders
from perpixel.doctor.band_defects import BandValues
from perpixel.doctor.defects import Problem, Severity, failed, problem
from perpixel.errors import DataError
from perpixel.files import require_plain, walk
from perpixel.images import PICTURE_SUFFIXES

# NEAR is the greatest mean difference of the thumbnails of a picture and its copy, at mean 0 and deviation 1. A copy that was
# saved, scaled or lightened anew differs by about 0.005. The two most similar frames of CamVid, a fifteenth of a second apart,
# differ by 0.019. Only thumbnails whose bits differ in at most NEAR_BITS places are compared, which saves time.
NEAR, NEAR_BITS = 0.015, 64
FEW = 0.1  # unusual pictures are reported if they are at most this share of the set
PLAIN = 4.0  # a thumbnail whose greys have a smaller standard deviation is not compared
VOID_NAMES = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "dontcare", "don't care", "border", "undefined"})
UNKNOWN_VALUE_KINDS = frozenset({"unknown value", "0/255 mask", "foreground is void", "scaled mask", "interpolated mask"})
OTHER_FILES = frozenset(
    {".txt", ".csv", ".json", ".xml", ".md", ".yaml", ".yml", ".db", ".ini", ".sha256"}
)  # expected beside pictures


@dataclass(frozen=True)
class SampleResult:
    """The result of checking one sample."""

    file: str
    problems: tuple[Problem, ...]
    pixels: list[int] | None = None  # of each class, void last. None where the mask was not read
    picture_digest: bytes | None = None
    labels_digest: bytes | None = None  # None where the sample cannot be used
    mask_digest: bytes | None = None
    size: tuple[int, int] | None = None  # (height, width)
    grey: bool | None = None
    thumbnail: NDArray[np.uint8] | None = None  # (16, 16)
    bands: tuple[BandValues, ...] = ()  # of a picture whose bands are named
    unlearned: tuple[str, dict[str, int]] | None = None  # the name of the sample, and its objects that teach nothing by reason


def of_listing(root: Path, listing: Listing) -> list[Problem]:
    """Files without a partner, with two, that are not used, whose names or links are broken."""
    listed = is_listed(root)
    kinds = truth_folders(root)
    folders = " and ".join(f"{kind}/" for kind in kinds)
    problems = [problem("unpaired", path, "has no mask of the same name", f"add it to {folders} or take the picture out")
                for path in listing.lonely_images]  # fmt: skip
    problems += [problem("unpaired", path, "has no picture of the same name", "add it to images/ or take the mask out")
                 for path in listing.lonely_masks]  # fmt: skip
    for first, *others in listing.doubles:
        names = ", ".join(dict.fromkeys(other.name for other in others))
        clause = f"is in more than one row of pairs.csv (with {names})" if listed else f"has the same name as {names}"
        if not listed and any(_is_twin(first.name, other.name) for other in others):
            clause += " in another Unicode form"
        problems.append(problem("doubly paired", first, clause))
    known = {path for pair in listing.pairs for path in (pair.image, *pair.truths)}
    known |= {path for paths in (listing.lonely_images, listing.lonely_masks, *listing.doubles) for path in paths}
    places = [root] if listed else [root / "images", *(root / kind for kind in kinds)]
    unused: dict[Path, list[str]] = defaultdict(list)
    for folder in places:
        for path in sorted(path for paths in files_below(folder, PICTURE_SUFFIXES).values() for path in paths):
            if path not in known:
                unused[path.parent].append(path.name)
    reason = "are not listed in pairs.csv" if listed else f"belong to no split ({', '.join(SPLITS)})"
    for folder, files in unused.items():
        names_shown = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        clause = f"{len(files)} files here {reason} and are not used ({names_shown})"
        problems.append(problem("unused files", folder, clause, count=len(files)))
    if not listed:
        paired = {path for pair in listing.pairs for path in (pair.image, *pair.truths)}
        problems += [defect for folder in places for defect in _file_defects(folder, paired)]
    splits = {pair.split for pair in listing.pairs}
    if splits == {"train"}:
        problems.append(problem("no split to judge", root, "has pictures to train on and none to judge on"))
    return problems


def _file_defects(folder: Path, paired: Collection[Path]) -> Iterator[Problem]:
    """The defects of files that the listing does not show: names, links and formats. Files in `paired` are read later anyhow."""
    lower: dict[Path, str] = {}
    not_pictures: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for path in walk(folder):
        if not _is_printable(path.name):
            yield problem("unreadable name", path, "has a name that is not UTF-8 or has characters that cannot be shown")
        if path.is_symlink() and not os.path.exists(path):
            yield problem("broken link", path, f"links to {os.readlink(path)}, which is not there")
        elif not os.path.isfile(path):
            if path not in paired:
                yield _no_file(path)
        elif path.suffix.lower() not in PICTURE_SUFFIXES | OTHER_FILES:
            name = unread.by_name(path)
            not_pictures[path.parent, name or "", "" if name else path.suffix].append(path)
        key = path.with_name(path.name.lower())
        if key in lower:
            yield problem("case twins", path, f"differs from {lower[key]} in upper and lower case alone")
        lower[key] = path.name
    for (_, name, suffix), paths in not_pictures.items():
        files_text = f"{name} file{{}}" if name else f"file{{}} with the extension {suffix or 'none'}"
        clause = f"is a {files_text.format('')}, which is not read"
        if len(paths) > 1:
            clause = f"is the first of {len(paths)} {files_text.format('s')} here, which are not read"
        yield problem("not a picture", paths[0], clause, count=len(paths))


def _no_file(path: Path) -> Problem:
    """The problem of a pipe, a socket, a device or a folder without permission."""
    try:
        require_plain(path)
        raise DataError(f"{path}: cannot be read; take it out.")
    except DataError as error:
        return failed(path, error)


def _is_twin(name: str, other: str) -> bool:
    """Whether two names differ only in their Unicode form, so that they look equal."""
    return name != other and unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)


def _is_printable(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.isprintable()


def of_table(classes: ClassTable, table: str) -> list[Problem]:
    """The defects of the class table that a person should look at."""
    problems, seen = [], dict[tuple[int, int, int], str]()
    for name, colour, values in zip(classes.names, classes.colours, classes.values, strict=True):
        if name.lower() in VOID_NAMES:
            clause = f"class {name!r} (value {values[0]}) is judged like any other"
            problems.append(problem("class called void", table, clause, value=values[0]))
        if colour in seen:
            clause = f"classes {seen[colour]!r} and {name!r} have the colour {colour}"
            problems.append(problem("colours alike", table, clause, value=colour))
        seen.setdefault(colour, name)
    return problems


def of_folders(problems: list[Problem], table: str) -> list[Problem]:
    """The same problems. Where several masks are photos, one problem replaces those: the folders are swapped."""
    photos = [defect for defect in problems if defect.kind == "photo as mask"]
    if len(photos) < 2 or any(defect.kind in ("JPEG mask", "colour-coded mask", "palette expanded") for defect in problems):
        return problems
    root = Path(table).parent
    clause = f"holds photos where masks should be ({len(photos)} files, {Path(photos[0].file).name} first)"
    return [
        problem("swapped folders", root, clause, count=len(photos)),
        *(defect for defect in problems if defect.kind != "photo as mask"),
    ]


def of_pictures(results: Sequence[tuple[str, SampleResult]], published: bool, overlap: bool = False) -> list[Problem]:
    """Copies of pictures and of masks, and a few grey pictures among coloured ones. A picture in two splits is an error.

    In a `published` set a picture may have different masks in two splits, as in VOC and SBD. Its splits may `overlap`, as
    trainval and val do. Then a picture with the same name in both is only a warning; an exact copy with another name stays an
    error."""
    problems = []
    first_with_pixels: dict[bytes, dict[str, SampleResult]] = defaultdict(dict)  # digest -> split -> first result
    first_with_mask: dict[bytes, SampleResult] = {}
    for split, result in results:
        if result.picture_digest is None:
            continue
        earlier = first_with_pixels[result.picture_digest]
        for other_split, first in earlier.items():
            if other_split == split:
                clause = f"shows the same pixels as {first.file}, both in {split}"
                problems.append(problem("duplicate", result.file, clause, other=first.file))
            else:
                clause = f"is in {split} and shows the same pixels as {first.file} in {other_split}"
                same_name = result.file.removeprefix(split) == first.file.removeprefix(other_split)
                severity: Severity = "warning" if overlap and same_name else "error"
                problems.append(problem("leak", result.file, clause, severity=severity, other=first.file))
            masks_known = None not in (result.mask_digest, first.mask_digest)
            if masks_known and result.mask_digest != first.mask_digest and not (published and other_split != split):
                clause = f"shows the same pixels as {first.file}, with another mask"
                problems.append(problem("contradiction", result.file, clause, other=first.file))
        earlier.setdefault(split, result)
        several_classes = result.pixels is not None and sum(count > 0 for count in result.pixels[:-1]) > 2
        if result.mask_digest is not None and several_classes and not published:
            twin = first_with_mask.setdefault(result.mask_digest, result)
            if twin.picture_digest != result.picture_digest:
                problems.append(
                    problem("same mask", result.file, f"has the mask of {twin.file}, another picture", other=twin.file)
                )
    problems += _near_leaks(results)
    return problems + ([] if published else _mixed_channels(results))


def of_empty_masks(results: Sequence[tuple[str, SampleResult]], classes: ClassTable) -> list[Problem]:
    """Masks of value 0 only, in a set with few such masks. Annotation tools export them for pictures that nobody has marked.

    A class called background has its own kind of defect."""
    zero = next((i for i, values in enumerate(classes.values) if 0 in values), None)
    if zero is None or classes.names[zero] == "background":
        return []
    with_mask = [result for _, result in results if result.pixels is not None]
    one_class = [result for result in with_mask if result.pixels is not None and result.pixels[zero] == sum(result.pixels) > 0]
    if len(one_class) > FEW * len(with_mask):
        return []
    clause = f"has a mask of {classes.names[zero]!r} alone, as {len(one_class)} of {len(with_mask)} pictures"
    return [problem("one class alone", result.file, clause, count=sum(result.pixels or ())) for result in one_class]


def _near_leaks(results: Sequence[tuple[str, SampleResult]]) -> list[Problem]:
    """Pictures of two splits whose thumbnails are almost equal, directly or mirrored. Equal pictures are leaks already."""
    textured = [(split, result) for split, result in results if result.thumbnail is not None and result.thumbnail.std() > PLAIN]
    if len({split for split, _ in textured}) < 2:
        return []
    greys = np.stack([result.thumbnail for _, result in textured if result.thumbnail is not None]).astype(np.float32)
    bits, mirrored = _bits(greys), _bits(greys[:, :, ::-1])
    greys -= greys.mean((1, 2), keepdims=True)
    greys /= greys.std((1, 2), keepdims=True)
    splits = np.array([split for split, _ in textured])
    problems = []
    for i, (split, result) in enumerate(textured):
        for word, others, flip in (("", bits, 1), ("mirrored, ", mirrored, -1)):
            distance = np.bitwise_count(others[:i] ^ bits[i]).sum(1)
            for j in np.flatnonzero((distance <= NEAR_BITS) & (splits[:i] != split)):
                twin = textured[j][1]
                difference = float(np.abs(greys[j][:, ::flip] - greys[i]).mean())
                if difference <= NEAR and twin.picture_digest != result.picture_digest:
                    clause = f"is in {split} and, {word}looks like {twin.file} in {splits[j]}"
                    problems.append(problem("near leak", result.file, clause, value=f"{difference:.3f}", other=twin.file))
                    break
    return problems


def _bits(greys: NDArray[np.float32]) -> NDArray[np.uint64]:
    """For each thumbnail, bits that say which of two neighbours in a row is lighter: (N, 4) words of 64 bits."""
    lighter = (greys[:, :, 1:] > greys[:, :, :-1]).reshape(len(greys), -1)
    packed = np.packbits(np.pad(lighter, ((0, 0), (0, 256 - lighter.shape[1]))), axis=1)
    return packed.view(np.uint64)


def _mixed_channels(results: Sequence[tuple[str, SampleResult]]) -> list[Problem]:
    with_picture = [result for _, result in results if result.grey is not None]
    grey = [result for result in with_picture if result.grey]
    coloured = len(with_picture) - len(grey)
    unusual = grey if len(grey) <= coloured else [result for result in with_picture if not result.grey]
    if not unusual or len(unusual) > FEW * len(with_picture):
        return []
    minority, majority = ("grey", "coloured") if unusual[0].grey else ("coloured", "grey")
    clause = f"is {minority}, as {len(unusual)} of {len(with_picture)} pictures; the others are {majority}"
    return [problem("mixed channels", unusual[0].file, clause, count=len(unusual))]


def of_splits(name: str, judged: Sequence[str], present: Collection[str]) -> list[Problem]:
    """The splits of a published set, to train and to judge on, that are missing on this disk."""
    missing = [split for split in judged if split not in present]
    clause = "has no {} here, so it can be {} alone"
    remaining_use = {judged[0]: "judged on", judged[1]: "trained on"}
    advice = "download it, or take this part for what it is"
    return [
        problem("no split to judge", name, clause.format(split, remaining_use[split]), advice, severity="warning")
        for split in missing
    ]


def of_one_class(
    problems: Sequence[Problem], class_pixels: dict[str, list[int]], classes: ClassTable, table: str
) -> list[Problem]:
    """A set that shows one class only, on which any network has a mIoU of 100.

    Sets whose `problems` include unknown values are left out, because these may be further classes."""
    shown_classes = np.flatnonzero(np.sum([*class_pixels.values()], axis=0)[:-1])
    if len(classes) == 1:
        clause = f"there is one class alone, {classes.names[0]!r}, and nothing to tell apart"
    elif len(shown_classes) == 1 and not any(defect.kind in UNKNOWN_VALUE_KINDS for defect in problems):
        clause = f"all masks show one class alone, {classes.names[int(shown_classes[0])]!r}, and nothing to tell apart"
    else:
        return []
    return [problem("nothing to tell apart", table, clause)]


def of_classes(class_pixels: dict[str, list[int]], classes: ClassTable, table: str) -> list[Problem]:
    """Classes that no mask shows, classes that only one split shows, and too much void."""
    problems = []
    total = np.sum([*class_pixels.values()], axis=0)
    judged, void = int(total[:-1].sum()), int(total[-1])
    all_void = len(classes) > 1 and void > 0 and not total[1:-1].any() and classes.names[0] == "background" and total[0] > 0
    if all_void:
        clause = f"no mask has any class but background, and {void} pixels have the value of void ({classes.void_values[0]})"
        return [problem("foreground is void", table, clause, value=classes.void_values[0], count=void)]
    for class_id, name in enumerate(classes.names):
        present = {split: pixels[class_id] > 0 for split, pixels in class_pixels.items()}
        if not any(present.values()):
            problems.append(problem("empty class", table, f"class {name!r} has no pixel in any mask", value=name))
        elif present.get("train", True) != present.get("val", True):
            here, there = ("train", "val") if present.get("train", True) else ("val", "train")
            clause = f"class {name!r} is in {here} but not in {there}"
            problems.append(problem("class in one split", table, clause, f"move a picture that shows it to {there}"))
    if void > judged > 0:
        clause = f"{100 * void / (void + judged):.0f} % of all pixels are void (value {', '.join(map(str, classes.void_values))})"
        problems.append(problem("mostly void", table, clause, value=classes.void_values[0], count=void))
    return problems
