"""What is wrong between the files of a data set: pairs, copies, classes and their table."""

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
from perpixel.doctor.defects import Problem, Severity, failed, problem
from perpixel.errors import DataError
from perpixel.files import require_plain, walk
from perpixel.images import PICTURE_SUFFIXES

# Thumbnails, brought to mean 0 and deviation 1, of a picture that was saved, scaled or lightened anew differ by about 0.005 in
# the mean; those of the two most alike frames of CamVid, a fifteenth of a second apart, by 0.019. The bits spare comparisons.
NEAR, NEAR_BITS = 0.015, 64
FEW = 0.1  # the share of a set up to which pictures that differ from all others are told
PLAIN = 4.0  # standard deviation of greys below which a thumbnail tells nothing
VOID_NAMES = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "dontcare", "don't care", "border", "undefined"})
STRANGE_VALUES = frozenset({"unknown value", "0/255 mask", "foreground is void", "scaled mask", "interpolated mask"})
OTHER_FILES = frozenset({".txt", ".csv", ".json", ".xml", ".md", ".yaml", ".yml", ".db", ".ini", ".sha256"})  # no one's pictures


@dataclass(frozen=True)
class Look:
    """What is kept of one sample. Without `labels_digest` the sample cannot be used; without `pixels` its mask was not read.

    `size` is (height, width), `thumbnail` uint8 (16, 16)."""

    file: str
    problems: tuple[Problem, ...]
    pixels: list[int] | None = None
    picture_digest: bytes | None = None
    labels_digest: bytes | None = None
    mask_digest: bytes | None = None
    size: tuple[int, int] | None = None
    grey: bool | None = None
    thumbnail: NDArray[np.uint8] | None = None


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
        said = f"is in more than one row of pairs.csv (with {names})" if listed else f"has the same name as {names}"
        if not listed and any(_is_twin(first.name, other.name) for other in others):
            said += " in another Unicode form"
        problems.append(problem("doubly paired", first, said))
    known = {path for pair in listing.pairs for path in (pair.image, *pair.truths)}
    known |= {path for paths in (listing.lonely_images, listing.lonely_masks, *listing.doubles) for path in paths}
    places = [root] if listed else [root / "images", *(root / kind for kind in kinds)]
    left: dict[Path, list[str]] = defaultdict(list)
    for folder in places:
        for path in sorted(path for paths in files_below(folder, PICTURE_SUFFIXES).values() for path in paths):
            if path not in known:
                left[path.parent].append(path.name)
    reason = "are not listed in pairs.csv" if listed else f"belong to no split ({', '.join(SPLITS)})"
    for folder, files in left.items():
        some = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
        said = f"{len(files)} files here {reason} and are not used ({some})"
        problems.append(problem("unused files", folder, said, count=len(files)))
    if not listed:
        paired = {path for pair in listing.pairs for path in (pair.image, *pair.truths)}
        problems += [one for folder in places for one in _names(folder, paired)]
    splits = {pair.split for pair in listing.pairs}
    if splits == {"train"}:
        problems.append(problem("no split to judge", root, "has pictures to train on and none to judge on"))
    return problems


def _names(folder: Path, paired: Collection[Path]) -> Iterator[Problem]:
    """Every file below a folder: names, links and formats that the listing passes over. What is `paired` is read anyhow."""
    lower: dict[Path, str] = {}
    other: dict[tuple[Path, str, str], list[Path]] = defaultdict(list)
    for path in walk(folder):
        if not _plain(path.name):
            yield problem("unreadable name", path, "has a name that is not UTF-8 or has characters that cannot be shown")
        if path.is_symlink() and not os.path.exists(path):
            yield problem("broken link", path, f"links to {os.readlink(path)}, which is not there")
        elif not os.path.isfile(path):
            if path not in paired:
                yield _no_file(path)
        elif path.suffix.lower() not in PICTURE_SUFFIXES | OTHER_FILES:
            name = unread.by_name(path)
            other[path.parent, name or "", "" if name else path.suffix].append(path)
        key = path.with_name(path.name.lower())
        if key in lower:
            yield problem("case twins", path, f"differs from {lower[key]} in upper and lower case alone")
        lower[key] = path.name
    for (_, name, suffix), paths in other.items():
        what = f"{name} file{{}}" if name else f"file{{}} with the extension {suffix or 'none'}"
        said = f"is a {what.format('')}, which is not read"
        if len(paths) > 1:
            said = f"is the first of {len(paths)} {what.format('s')} here, which are not read"
        yield problem("not a picture", paths[0], said, count=len(paths))


def _no_file(path: Path) -> Problem:
    """What a pipe, a socket, a device or a folder without permission is."""
    try:
        require_plain(path)
        raise DataError(f"{path}: cannot be read; take it out.")
    except DataError as error:
        return failed(path, error)


def _is_twin(name: str, other: str) -> bool:
    """Whether two names differ in their Unicode form alone, and look alike."""
    return name != other and unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)


def _plain(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.isprintable()


def of_table(classes: ClassTable, table: str) -> list[Problem]:
    """What a person should look at in the class table."""
    problems, seen = [], dict[tuple[int, int, int], str]()
    for name, colour, values in zip(classes.names, classes.colours, classes.values, strict=True):
        if name.lower() in VOID_NAMES:
            said = f"class {name!r} (value {values[0]}) is judged like any other"
            problems.append(problem("class called void", table, said, value=values[0]))
        if colour in seen:
            said = f"classes {seen[colour]!r} and {name!r} have the colour {colour}"
            problems.append(problem("colours alike", table, said, value=colour))
        seen.setdefault(colour, name)
    return problems


def of_folders(problems: list[Problem], table: str) -> list[Problem]:
    """The same problems; where most masks are photos, one that the folders are swapped in place of those."""
    photos = [one for one in problems if one.kind == "photo as mask"]
    if len(photos) < 2 or any(one.kind in ("JPEG mask", "colour-coded mask", "palette expanded") for one in problems):
        return problems
    root = Path(table).parent
    said = f"holds photos where masks should be ({len(photos)} files, {Path(photos[0].file).name} first)"
    return [problem("swapped folders", root, said, count=len(photos)), *(one for one in problems if one.kind != "photo as mask")]


def of_pictures(looks: Sequence[tuple[str, Look]], published: bool, overlap: bool = False) -> list[Problem]:
    """Pictures that are there twice, an error in two splits; masks that are; grey pictures among coloured ones.

    `published` sets are as they are: in two splits a picture may have two masks, as in VOC and SBD. Where their splits `overlap`,
    as trainval and val do, a picture of one name in both is a warning; an exact copy of another name is an error as ever."""
    problems = []
    seen: dict[bytes, dict[str, Look]] = defaultdict(dict)  # digest -> split -> first look
    masks: dict[bytes, Look] = {}
    for split, look in looks:
        if look.picture_digest is None:
            continue
        earlier = seen[look.picture_digest]
        for other, first in earlier.items():
            if other == split:
                said = f"shows the same pixels as {first.file}, both in {split}"
                problems.append(problem("duplicate", look.file, said, other=first.file))
            else:
                said = f"is in {split} and shows the same pixels as {first.file} in {other}"
                same_name = look.file.removeprefix(split) == first.file.removeprefix(other)
                severity: Severity = "warning" if overlap and same_name else "error"
                problems.append(problem("leak", look.file, said, severity=severity, other=first.file))
            masks_known = None not in (look.mask_digest, first.mask_digest)
            if masks_known and look.mask_digest != first.mask_digest and not (published and other != split):
                said = f"shows the same pixels as {first.file}, with another mask"
                problems.append(problem("contradiction", look.file, said, other=first.file))
        earlier.setdefault(split, look)
        several = look.pixels is not None and sum(count > 0 for count in look.pixels[:-1]) > 2
        if look.mask_digest is not None and several and not published:
            twin = masks.setdefault(look.mask_digest, look)
            if twin.picture_digest != look.picture_digest:
                problems.append(problem("same mask", look.file, f"has the mask of {twin.file}, another picture", other=twin.file))
    problems += _near(looks)
    return problems + ([] if published else _channels(looks))


def of_empty_masks(looks: Sequence[tuple[str, Look]], classes: ClassTable) -> list[Problem]:
    """Masks of 0 alone, as tools export what nobody has drawn, in a set where few are so. Background has its own kind."""
    zero = next((i for i, values in enumerate(classes.values) if 0 in values), None)
    if zero is None or classes.names[zero] == "background":
        return []
    known = [look for _, look in looks if look.pixels is not None]
    alone = [look for look in known if look.pixels is not None and look.pixels[zero] == sum(look.pixels) > 0]
    if len(alone) > FEW * len(known):
        return []
    said = f"has a mask of {classes.names[zero]!r} alone, as {len(alone)} of {len(known)} pictures"
    return [problem("one class alone", look.file, said, count=sum(look.pixels or ())) for look in alone]


def _near(looks: Sequence[tuple[str, Look]]) -> list[Problem]:
    """Pictures of two splits whose thumbnails are almost alike, as they are or mirrored; equal ones are leaks."""
    telling = [(split, look) for split, look in looks if look.thumbnail is not None and look.thumbnail.std() > PLAIN]
    if len({split for split, _ in telling}) < 2:
        return []
    greys = np.stack([look.thumbnail for _, look in telling if look.thumbnail is not None]).astype(np.float32)
    bits, mirrored = _bits(greys), _bits(greys[:, :, ::-1])
    greys -= greys.mean((1, 2), keepdims=True)
    greys /= greys.std((1, 2), keepdims=True)
    splits = np.array([split for split, _ in telling])
    problems = []
    for i, (split, look) in enumerate(telling):
        for word, others, flip in (("", bits, 1), ("mirrored, ", mirrored, -1)):
            distance = np.bitwise_count(others[:i] ^ bits[i]).sum(1)
            for j in np.flatnonzero((distance <= NEAR_BITS) & (splits[:i] != split)):
                twin = telling[j][1]
                difference = float(np.abs(greys[j][:, ::flip] - greys[i]).mean())
                if difference <= NEAR and twin.picture_digest != look.picture_digest:
                    said = f"is in {split} and, {word}looks like {twin.file} in {splits[j]}"
                    problems.append(problem("near leak", look.file, said, value=f"{difference:.3f}", other=twin.file))
                    break
    return problems


def _bits(greys: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Which of two neighbours in a row is lighter: (N, 4) words of 64."""
    lighter = (greys[:, :, 1:] > greys[:, :, :-1]).reshape(len(greys), -1)
    packed = np.packbits(np.pad(lighter, ((0, 0), (0, 256 - lighter.shape[1]))), axis=1)
    return packed.view(np.uint64)


def _channels(looks: Sequence[tuple[str, Look]]) -> list[Problem]:
    known = [look for _, look in looks if look.grey is not None]
    grey = [look for look in known if look.grey]
    coloured = len(known) - len(grey)
    few = grey if len(grey) <= coloured else [look for look in known if not look.grey]
    if not few or len(few) > FEW * len(known):
        return []
    what, most = ("grey", "coloured") if few[0].grey else ("coloured", "grey")
    said = f"is {what}, as {len(few)} of {len(known)} pictures; the others are {most}"
    return [problem("mixed channels", few[0].file, said, count=len(few))]


def of_splits(name: str, judged: Sequence[str], there: Collection[str]) -> list[Problem]:
    """The splits of a published set to train and to judge on that are not on this disk."""
    missing = [split for split in judged if split not in there]
    said = "has no {} here, so it can be {} alone"
    uses = {judged[0]: "judged on", judged[1]: "trained on"}
    advice = "download it, or take this part for what it is"
    return [problem("no split to judge", name, said.format(split, uses[split]), advice, severity="warning") for split in missing]


def of_one_class(
    problems: Sequence[Problem], class_pixels: dict[str, list[int]], classes: ClassTable, table: str
) -> list[Problem]:
    """A set of one class alone, on which any network has a mIoU of 100. `problems` tell whether masks hold strange values too."""
    shown = np.flatnonzero(np.sum([*class_pixels.values()], axis=0)[:-1])
    if len(classes) == 1:
        said = f"there is one class alone, {classes.names[0]!r}, and nothing to tell apart"
    elif len(shown) == 1 and not any(one.kind in STRANGE_VALUES for one in problems):
        said = f"all masks show one class alone, {classes.names[int(shown[0])]!r}, and nothing to tell apart"
    else:
        return []
    return [problem("nothing to tell apart", table, said)]


def of_classes(class_pixels: dict[str, list[int]], classes: ClassTable, table: str) -> list[Problem]:
    """Classes that no mask shows, or one split alone; and too much void."""
    problems = []
    total = np.sum([*class_pixels.values()], axis=0)
    judged, void = int(total[:-1].sum()), int(total[-1])
    lost = len(classes) > 1 and void > 0 and not total[1:-1].any() and classes.names[0] == "background" and total[0] > 0
    if lost:
        said = f"no mask has any class but background, and {void} pixels have the value of void ({classes.void_values[0]})"
        return [problem("foreground is void", table, said, value=classes.void_values[0], count=void)]
    for class_id, name in enumerate(classes.names):
        present = {split: pixels[class_id] > 0 for split, pixels in class_pixels.items()}
        if not any(present.values()):
            problems.append(problem("empty class", table, f"class {name!r} has no pixel in any mask", value=name))
        elif present.get("train", True) != present.get("val", True):
            here, there = ("train", "val") if present.get("train", True) else ("val", "train")
            said = f"class {name!r} is in {here} but not in {there}"
            problems.append(problem("class in one split", table, said, f"move a picture that shows it to {there}"))
    if void > judged > 0:
        said = f"{100 * void / (void + judged):.0f} % of all pixels are void (value {', '.join(map(str, classes.void_values))})"
        problems.append(problem("mostly void", table, said, value=classes.void_values[0], count=void))
    return problems
