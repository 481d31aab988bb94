"""Finds the pictures and the masks in a folder of any shape, and pairs them, for `init`.

The names of files and folders decide. Where names do not suffice, the content of the files decides. A rule says how the name of a
mask follows from its picture's: the folder, and what stands before and behind. The rules that fit the most pictures are used, and
shown. Where two rules fit the same pictures, both are named, and a person decides."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from perpixel.codecs import unread
from perpixel.datasets.folder import SPLITS, Pair, chosen_for_val, list_folder
from perpixel.datasets.pairing_lists import Lists, find_lists
from perpixel.datasets.pairing_lossy import levels
from perpixel.datasets.pairing_masks import COLOURS, foreground, look_at_mask
from perpixel.datasets.pairing_names import (
    MASK_WORDS,
    OTHER_WORDS,
    PICTURE_WORDS,
    SPLIT_WORDS,
    RawPair,
    first_names,
    folder_words,
    is_named,
    split_and_rest,
    within,
)
from perpixel.errors import DataError
from perpixel.files import walk
from perpixel.images import PICTURE_SUFFIXES, read_labels

FEW = 64  # most different values of a mask, where names do not decide
RIVAL = 0.5  # a second rule that fits this share of the pictures is a second candidate
MANY_FOLDERS = 6  # more folders, or rules, are not shown one by one
FEW_RULES = 6  # more rules for the same pictures are names of objects
SHARED = 0.5  # masks of two classes share at most this part of the smaller one; of two graders they share more
COMPARED = 8  # pictures whose masks are compared for that


@dataclass(frozen=True)
class Found:
    """The pairs of a folder, with their splits, and whether pairs.csv is needed to list them."""

    pairs: tuple[RawPair, ...]
    listed: bool
    of_objects: bool = False  # the masks show one object each
    class_of: Mapping[Path, str] = field(default_factory=dict)  # of masks that show one class each, its name


@dataclass(frozen=True)
class _File:
    """A file with the names by which it is paired."""

    path: Path
    role: str  # picture, mask, other; empty where folder names do not decide
    split: str
    folders: tuple[str, ...]  # above it, without those that name a split or a role
    stem: str  # in the NFC form
    by_name: bool = True  # folder or file names gave the role, not the content


@dataclass(frozen=True)
class _Rule:
    """How the name of a mask follows from that of its picture."""

    pictures: str  # folders, as in `_File.folders`; = stands for folders that picture and mask share, * for the picture's name
    masks: str
    before: str | None  # what stands before the picture's name; None where the mask has a name of its own
    behind: str  # what stands behind, or the mask's own name

    def pattern(self) -> str:
        return f"{self.behind}" if self.before is None else f"{self.before}NAME{self.behind}"

    def is_plain(self) -> bool:
        """Whether the mask's name is the picture's, but for words such as `_mask`."""
        words = re.split(r"[_\-. ]+", f"{self.before or ''} {self.behind}".lower())
        return self.before is None or all(word in MASK_WORDS or not word for word in words)


def find_pairs(
    folder: Path,
    decided: list[str],
    undecided: list[str],
    pictures_in: str | None = None,
    masks_in: str | None = None,
    lists_in: str | None = None,
) -> Found:
    """All pairs of the folder with their splits.

    `pictures_in`, `masks_in` and `lists_in` choose among files: parts of their paths, or patterns with a star. Adds sentences to
    `decided`, and sentences that a person should look at to `undecided`. Raises DataError where there is no pair, and where two
    rules fit the same pictures."""
    paths = walk(folder)
    left_out = _ignored_files(folder, paths)
    undecided += left_out
    picture_files = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES and os.path.exists(path)]
    picture_files = [path for path in picture_files if _is_utf8(within(folder, path))]
    suffixes = Counter(path.suffix.lower() for path in picture_files)
    if suffixes:
        decided.append(f"{', '.join(f'{count} {suffix} files' for suffix, count in suffixes.most_common())}: read.")
    picture_files = _without_drawings(folder, picture_files, masks_in, undecided)
    files = _with_roles(_chosen(folder, _read_names(folder, picture_files), pictures_in, masks_in))
    pictures, masks, others = ([file for file in files if file.role == role] for role in ("picture", "mask", "other"))
    aside_sentence = f"{len(others)} files that seem to be instances or overlays are left aside: "
    aside_sentence += f"{first_names([within(folder, file.path) for file in others])}."
    class_of: dict[Path, str] = {}
    lists = find_lists(folder, paths, picture_files, lists_in)
    matches, pictures, masks = _of_lists(lists, pictures, masks)
    if matches:
        examples = ", ".join(f"{within(folder, a.path)} with {within(folder, b[0].path)}" for a, b in matches[:3])
        decided.append(f"{len(matches)} pictures have the masks that the lists name: {examples}.")
    if not matches:
        if not pictures or not masks:
            missing = "pictures and no masks" if pictures else "masks and no pictures" if masks else "pictures or masks"
            message = f"found {len(pictures) or len(masks)} {missing}" if pictures or masks else f"found no {missing}"
            advice = "put pictures into images/ and masks of the same names into masks/."
            raise DataError(" ".join([f"{folder}: {message}; {advice}", *([aside_sentence] if others else []), *left_out]))
        matches, pictures, masks = _match(folder, pictures, masks, decided, class_of)
    if not matches:
        names = f"{within(folder, pictures[0].path)} and {within(folder, masks[0].path)}"
        message = f"{folder}: no picture and mask share a name (such as {names}); give a mask its picture's name."
        raise DataError(" ".join([message, *left_out]))
    if others:
        undecided.append(aside_sentence)
    for unpaired, kind in ((pictures, "pictures without a mask"), (masks, "masks without a picture")):
        if unpaired:
            undecided.append(
                f"{len(unpaired)} {kind} are left out: {first_names([within(folder, file.path) for file in unpaired])}."
            )
    of_objects = any(len(truths) > 1 for _, truths in matches)  # or of classes, where `class_of` says it
    pairs = [
        RawPair(picture.path, tuple(mask.path for mask in truths), picture.split or truths[0].split)
        for picture, truths in matches
    ]
    if lists is not None and not any(pair.image in lists.split_of for pair in pairs):
        undecided.append(f"{first_names(lists.names)} name no picture that has a mask, and are not used.")
        lists = None
    pairs = lists.split(folder, pairs, decided, undecided) if lists is not None else _split_by_names(pairs, decided)
    split_given = any(pair.split for pair in pairs)
    standard = [] if of_objects else list(list_folder(folder).pairs)
    if {(p.image, p.truths, p.split if split_given else "") for p in standard} == {(p.image, p.masks, p.split) for p in pairs}:
        decided.append("images/ and masks/ have the standard shape, so no pairs.csv is needed.")
        return Found(tuple(RawPair(p.image, p.truths, p.split) for p in standard), False)
    if any(pair.split == "" for pair in pairs) and split_given:
        undecided.append("some pictures lie in no split folder; they are taken for train.")
    pairs = [replace(pair, split=pair.split or "train") for pair in pairs]
    if any(pair.split == "train" for pair in pairs) and all(pair.split != "val" for pair in pairs):
        name_by_image = {pair.image: name_of(folder, pair.image) for pair in pairs}
        val = chosen_for_val([name_by_image[pair.image] for pair in pairs if pair.split == "train"])
        pairs = [replace(p, split="val") if p.split == "train" and name_by_image[p.image] in val else p for p in pairs]
        where = "move some in the copy to change it" if of_objects else "edit pairs.csv to change it"
        decided.append(f"val is a fifth of the pictures, chosen by the digest of their names; {where}.")
    return Found(tuple(sorted(pairs, key=lambda p: (SPLITS.index(p.split), name_of(folder, p.image)))), True,
                 of_objects, class_of)  # fmt: skip


def _split_by_names(pairs: list[RawPair], decided: list[str]) -> list[RawPair]:
    """The pairs with splits by how names begin, such as `train_1` and `testA_1`, if all do so and no folder gives a split."""
    found = [re.match(r"([a-z]+?)[A-Z]?[_\-. ]?\d|([a-z]+?)[A-Z]?[_\-. ]", pair.image.stem) for pair in pairs]
    splits = [SPLIT_WORDS.get(match[1] or match[2], "") if match else "" for match in found]
    if any(pair.split for pair in pairs) or not all(splits) or len(set(splits)) < 2:
        return pairs
    decided.append("the splits are those that the names of the pictures begin with.")
    return [replace(pair, split=split) for pair, split in zip(pairs, splits, strict=True)]


def name_of(folder: Path, image: Path) -> str:
    """The name of a pair: its picture's path below `folder`, without suffix."""
    return within(folder, image.with_suffix(""))


def as_pair(folder: Path, pair: RawPair) -> Pair:
    """The pair as `perpixel.datasets.folder` has it. Of several masks the first is named."""
    return Pair(name_of(folder, pair.image), pair.image, pair.masks[0], pair.split)


# Names and roles ------------------------------------------------------------------------------------------------------------


def _read_names(folder: Path, paths: Sequence[Path]) -> list[_File]:
    """The files with their roles and splits, by folder names such as `masks`, `train_images`, `valannot`. Other folders stay in
    `folders`. `train_frames` and `val_frames`, side by side, are splits too."""
    splits_beside: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for place in {parent for path in paths for parent in path.relative_to(folder).parents if parent.name}:
        split, rest = split_and_rest(place.name)
        if split:
            splits_beside[place.parent, rest].add(split)
    files = []
    for path in paths:
        role = split = ""
        kept = []
        for place in [*reversed(path.relative_to(folder).parents)][1:]:
            words = folder_words(place.name)
            other_words = [word for word in words if word not in PICTURE_WORDS | MASK_WORDS | OTHER_WORDS | SPLIT_WORDS.keys()]
            for name, role_words in (
                ("picture", PICTURE_WORDS),
                ("mask", MASK_WORDS),
                ("other", OTHER_WORDS),
            ):  # the last decides
                role = name if role_words & set(words) else role
            own_split, rest = split_and_rest(place.name)
            if own_split and (not other_words or len(splits_beside[place.parent, rest]) > 1):
                split = own_split
                other_words = [word for word in other_words if word in rest.split("_")]
            elif own_split:
                other_words = [word for word in words if word in other_words or word in SPLIT_WORDS]
            if other_words:
                kept.append("_".join(other_words))
        stem = unicodedata.normalize("NFC", path.stem)
        files.append(_File(path, role, split, tuple(unicodedata.normalize("NFC", part) for part in kept), stem))
    return files


def _chosen(folder: Path, files: list[_File], pictures_in: str | None, masks_in: str | None) -> list[_File]:
    """The files with the roles that a person gives by parts of their paths. Other files lose these roles."""
    for role, part in (("picture", pictures_in), ("mask", masks_in)):
        if part is None:
            continue
        chosen = {file.path for file in files if is_named(within(folder, file.path), part)}
        if not chosen:
            raise DataError(f"{folder}: no file is called {part!r}; give a part of the path of the {role}s.")
        files = [
            replace(file, role=role) if file.path in chosen else replace(file, role="other" if file.role == role else file.role)
            for file in files
        ]
        if part == masks_in:  # what looks like a mask and was not chosen is none
            files = [file if file.role else replace(file, role="" if _may_be_picture(file) else "other") for file in files]
    return files


def _without_drawings(folder: Path, paths: list[Path], masks_in: str | None, undecided: list[str]) -> list[Path]:
    """The files without Supervisely's masks_human/, which shows in colours what masks_machine/ beside it has in values."""
    drawn = [path for path in paths if path.parent.name == "masks_human" and (path.parent.parent / "masks_machine").is_dir()]
    if not drawn or masks_in is not None:
        return paths
    examples = first_names([within(folder, path) for path in drawn])
    undecided.append(f"{len(drawn)} files in masks_human/ show what masks_machine/ has in values, and are not used: {examples}.")
    return [path for path in paths if path not in set(drawn)]


def _may_be_picture(file: _File) -> bool:
    return not _has_mask_words(file) and not _looks_like_a_mask(file.path)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ignored_files(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A sentence for each kind of file that is ignored, with the number of its files."""
    names_by_sentence: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        format_name = unread.by_name(path)
        if os.path.isdir(path):
            names_by_sentence["folders cannot be read ({}); allow it"].append(within(folder, path))
        elif os.path.islink(path) and not os.path.exists(path):
            names_by_sentence["links lead nowhere ({}); take them out, or put their files there"].append(within(folder, path))
        elif not _is_utf8(within(folder, path)):  # pairs.csv is text, and cannot hold such names
            names_by_sentence["files have names that are not UTF-8 and are left out ({}); rename them"].append(
                within(folder, path)
            )
        elif format_name is not None:
            names_by_sentence[f"{format_name} files are not read ({{}}); save them as PNG"].append(within(folder, path))
    return [f"{len(names)} {sentence.format(first_names(names))}." for sentence, names in names_by_sentence.items()]


def _without_words(stem: str, words: frozenset[str]) -> str:
    """`cat_mask`, `mask_cat` and `cat` are all `cat`; `mask12` is `12`."""
    parts = re.split(r"[_\-. ]+", re.sub(r"^([A-Za-z]+)(?=\d)", r"\1_", stem))
    while parts and parts[-1].lower() in words:
        parts.pop()
    while parts and parts[0].lower() in words:
        parts.pop(0)
    return "_".join(parts)


def _with_roles(files: list[_File]) -> list[_File]:
    """The files, each with a role. Where folder names give none, words in the file's name decide, else its content."""
    if all(file.role != "mask" for file in files):  # pictures and masks lie in one folder, even if it is called images
        files = [file if file.role == "other" else replace(file, role="") for file in files]
    with_role = [file for file in files if file.role]
    without_role = [file for file in files if not file.role]
    groups: dict[tuple[Path, str, bool], list[_File]] = defaultdict(list)
    bare_masks = {(file.folders, _without_words(file.stem, MASK_WORDS)) for file in without_role if _has_mask_words(file)}
    bare_pictures = {
        (file.folders, _without_words(file.stem, PICTURE_WORDS)) for file in without_role if not _has_mask_words(file)
    }
    for file in without_role:
        if _has_mask_words(file) and (file.folders, _without_words(file.stem, MASK_WORDS)) in bare_pictures:
            with_role.append(replace(file, role="mask"))
        elif not _has_mask_words(file) and (file.folders, _without_words(file.stem, PICTURE_WORDS)) in bare_masks:
            with_role.append(replace(file, role="picture"))
        else:
            groups[file.path.parent, file.path.suffix.lower(), _has_mask_words(file)].append(file)
    for group in groups.values():
        first_are_masks = [_looks_like_a_mask(file.path) for file in group[:8]]
        for i, file in enumerate(group):
            if i < len(first_are_masks):
                is_mask = first_are_masks[i]
            else:  # if the first files agree, the others need not be read
                is_mask = first_are_masks[0] if len(set(first_are_masks)) == 1 else _looks_like_a_mask(file.path)
            with_role.append(replace(file, role="mask" if is_mask else "picture", by_name=False))
    if all(file.role != "mask" for file in with_role):  # masks that were saved with loss, where no others are
        with_role = [
            replace(file, role="mask") if file.role == "picture" and not file.by_name and _looks_like_a_lossy_mask(file.path)
            else file for file in with_role
        ]  # fmt: skip
    return sorted(with_role, key=lambda file: file.path)


def _has_mask_words(file: _File) -> bool:
    return _without_words(file.path.stem, MASK_WORDS) != _without_words(file.path.stem, frozenset())


def _looks_like_a_lossy_mask(path: Path) -> bool:
    """Whether a JPEG or the like has few colours, of which its pixels certainly are."""
    look = look_at_mask(path)
    return bool(look.lossy) and not look_at_mask(path, sorted(levels(look.colours, look.lossy))).cannot


def _looks_like_a_mask(path: Path) -> bool:
    """Whether a file has few different values or colours. A lossy mask counts only where there is no other."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return False
    try:
        return len(np.unique(read_labels(path))) <= FEW
    except DataError:
        look = look_at_mask(path)
        return not look.cannot and not look.lossy and len(look.colours if look.writes == COLOURS else look.values) <= FEW


# Rules ----------------------------------------------------------------------------------------------------------------------

_Matches = list[tuple[_File, list[_File]]]


def _of_lists(lists: Lists | None, pictures: list[_File], masks: list[_File]) -> tuple[_Matches, list[_File], list[_File]]:
    """The pairs that lists name, picture and mask on one line. None where they name pictures only."""
    if lists is None or not lists.masks:
        return [], pictures, masks
    files = {file.path: file for file in (*pictures, *masks)}
    for path in (*lists.masks, *lists.masks.values()):
        files.setdefault(path, _File(path, "", "", (), path.stem))
    matches = [(files[picture], [files[mask]]) for picture, mask in lists.masks.items()]
    paired = {*lists.masks, *lists.masks.values()}
    return matches, [file for file in pictures if file.path not in paired], [file for file in masks if file.path not in paired]


def _match(
    folder: Path, pictures: list[_File], masks: list[_File], decided: list[str], class_of: dict[Path, str]
) -> tuple[_Matches, list[_File], list[_File]]:
    """The pairs, and the pictures and masks without a partner. First names decide as they are, then without regard to case and
    leading zeros. `class_of` gets the names of the classes, of masks that show one each. Raises DataError where two rules fit the
    same pictures."""
    matches: _Matches = []
    for normal in (False, True):
        if pictures and masks:
            more, pictures, masks = _match_by_rules(folder, pictures, masks, normal, decided, class_of)
            matches += more
    return sorted(matches, key=lambda match: match[0].path), pictures, sorted(masks, key=lambda file: file.path)


def _match_by_rules(
    folder: Path,
    pictures: list[_File],
    masks: list[_File],
    normal: bool,
    decided: list[str],
    class_of: dict[Path, str],
) -> tuple[_Matches, list[_File], list[_File]]:
    votes = _votes(pictures, masks, normal)
    order = sorted(votes, key=lambda rule: _rank(rule, votes[rule], len(pictures)))
    mask_of: dict[int, list[tuple[_Rule, int]]] = defaultdict(list)  # of a picture, by the places of files
    picture_of: dict[int, int] = {}
    rivals: dict[_Rule, list[tuple[int, int]]] = {}
    for rule in order:
        doubled_pictures = Counter(picture for picture, _ in votes[rule])
        doubled_masks = Counter(mask for _, mask in votes[rule])
        unique = [(picture, mask) for picture, mask in votes[rule] if doubled_masks[mask] == doubled_pictures[picture] == 1]
        again = [(picture, mask) for picture, mask in unique if picture in mask_of and mask not in picture_of]
        for picture, mask in unique:
            if picture not in mask_of and mask not in picture_of:
                mask_of[picture].append((rule, mask))
                picture_of[mask] = picture
        if again:
            rivals[rule] = again
        taken = [
            (picture, mask) for picture, mask in unique if picture_of.get(mask, picture) != picture and picture not in mask_of
        ]
        if (
            len(taken) > max(1, RIVAL * len(unique))
            and not any(pictures[picture].by_name for picture, _ in taken)
            and len(unique) > 1
        ):
            owners = [pictures[picture_of[mask]] for _, mask in taken]
            if not any(owner.by_name for owner in owners):
                examples = [(owner, pictures[picture]) for owner, (picture, _) in zip(owners, taken, strict=True)]
                raise _two_candidates(folder, "picture", examples)
    several = len({picture for pairs in rivals.values() for picture, _ in pairs})
    whole = [rule for rule, pairs in rivals.items() if len(pairs) >= RIVAL * len(mask_of)]
    names = _names_of_classes([*dict.fromkeys(rule for of_picture in mask_of.values() for rule, _ in of_picture), *rivals])
    of_classes = bool(whole) and bool(names) and _show_classes(mask_of, rivals, masks)
    if of_classes:
        class_of |= {masks[mask].path: names[rule] for of_picture in mask_of.values() for rule, mask in of_picture}
        class_of |= {masks[mask].path: names[rule] for rule, pairs in rivals.items() for _, mask in pairs}
    elif whole and len(whole) < FEW_RULES:
        examples = [(masks[mask_of[picture][0][1]], masks[mask]) for picture, mask in rivals[whole[0]]]
        raise _two_candidates(folder, "mask", examples)
    if of_classes or several >= RIVAL * len(mask_of):  # a mask for each class or object
        for rule in order:
            for picture, mask in rivals.get(rule, ()):
                if mask not in picture_of:
                    mask_of[picture].append((rule, mask))
                    picture_of[mask] = picture
    matches = [
        (pictures[picture], sorted((masks[mask] for _, mask in of_picture), key=lambda file: file.path))
        for picture, of_picture in mask_of.items()
    ]
    by_rule: dict[tuple[str, str, str], list[tuple[_File, list[_File]]]] = defaultdict(list)
    several_folders = len({file.path.parent for file in pictures}) > MANY_FOLDERS
    kind = "class" if of_classes else "object"
    for picture, of_picture in mask_of.items():
        files = (pictures[picture], sorted((masks[mask] for _, mask in of_picture), key=lambda file: file.path))
        pattern = of_picture[0][0].pattern() if len(of_picture) == 1 else f"one file for each {kind}"
        places = [_place(folder, file, several_folders) for file in (files[0], files[1][0])]
        by_rule[places[0], places[1], pattern].append(files)
    decided += _rule_sentences(by_rule)
    left = [file for place, file in enumerate(pictures) if place not in mask_of]
    return matches, left, [file for place, file in enumerate(masks) if place not in picture_of]


def _names_of_classes(rules: Sequence[_Rule]) -> dict[_Rule, str]:
    """The name of a class for each rule, by the words in which the rules differ. Empty where a rule has none, or has numbers."""
    words = {
        rule: [word for word in re.split(r"[/=*_\-. ]+", f"{rule.masks} {rule.before or ''} {rule.behind}") if word]
        for rule in rules
    }  # fmt: skip
    common = set.intersection(*(set(of_rule) for of_rule in words.values())) if words else set()
    names = {
        rule: "_".join(word for word in of_rule if word not in common and word.lower() not in MASK_WORDS)
        for rule, of_rule in words.items()
    }  # fmt: skip
    distinct = len(set(names.values())) == len(names) > 1
    return names if distinct and all(name and not re.search(r"\d", name) for name in names.values()) else {}


def _show_classes(
    mask_of: Mapping[int, list[tuple[_Rule, int]]], rivals: Mapping[_Rule, list[tuple[int, int]]], masks: Sequence[_File]
) -> bool:
    """Whether masks of a picture have two values each, and share so few pixels that they show classes, not one truth twice."""
    shared: Counter[tuple[_Rule, _Rule]] = Counter()
    smaller: Counter[tuple[_Rule, _Rule]] = Counter()
    for picture, of_picture in [*mask_of.items()][:COMPARED]:
        files = dict(of_picture) | {rule: mask for rule, pairs in rivals.items() for place, mask in pairs if place == picture}
        shown: dict[_Rule, np.ndarray] = {}
        for rule, mask in files.items():
            values = foreground(masks[mask].path)
            if values is None:
                return False
            shown[rule] = values
        for one, other in combinations(shown, 2):
            if shown[one].shape != shown[other].shape:
                return False
            shared[one, other] += int(np.count_nonzero(shown[one] & shown[other]))
            smaller[one, other] += int(min(shown[one].sum(), shown[other].sum()))
    return all(shared[rules] <= SHARED * count for rules, count in smaller.items()) and any(smaller.values())


def _place(folder: Path, file: _File, several: bool) -> str:
    """The folder of a file; where there are several, with a star for folders that name neither a role nor a split."""
    parts = file.path.parent.relative_to(folder).parts
    kept = set(file.folders)
    return "/".join("*" if several and unicodedata.normalize("NFC", part).lower() in kept else part for part in parts) or "."


def _rule_sentences(by_rule: Mapping[tuple[str, str, str], _Matches]) -> list[str]:
    """What the rules say, each with three examples."""
    sentences = []
    ranked = sorted(by_rule.items(), key=lambda item: -len(item[1]))
    for (images, truths, pattern), matches in ranked[:MANY_FOLDERS]:
        examples = ", ".join(f"{picture.path.name} with {_files_of(truths_of)}" for picture, truths_of in matches[:3])
        sentences.append(f"{len(matches)} pictures in {images}/ have their masks in {truths}/ ({pattern}): {examples}.")
    if len(ranked) > MANY_FOLDERS:
        rest = sum(len(matches) for _, matches in ranked[MANY_FOLDERS:])
        sentences.append(f"{rest} more pictures have their masks by {len(ranked) - MANY_FOLDERS} more rules.")
    return sentences


def _files_of(masks: Sequence[_File]) -> str:
    return masks[0].path.name if len(masks) == 1 else f"{len(masks)} files ({masks[0].path.name} ...)"


def _two_candidates(folder: Path, role: str, examples: list[tuple[_File, _File]]) -> DataError:
    """The error that names both candidates and the flag that decides."""
    first, second = examples[0]
    names = f"{within(folder, first.path)} or {within(folder, second.path)}"
    flag = "--masks" if role == "mask" else "--pictures"
    parts = [part for part in (_part_of(folder, first, second), _part_of(folder, second, first)) if part]
    choice = " or ".join(f"`{flag} {part}`" for part in parts) or f"`{flag} PART-OF-PATH`"
    shared = "pictures have two candidates for their mask" if role == "mask" else "masks have two candidates for their picture"
    return DataError(f"{folder}: {len(examples)} {shared}, such as {names}; choose with {choice}.")


def _part_of(folder: Path, file: _File, other: _File) -> str:
    """A part of the path of a file that the path of the other does not have: its folder, else the end of its name."""
    above, elsewhere = file.path.parent, within(folder, other.path)
    if above != other.path.parent and above != folder and above.name not in elsewhere:
        return above.name
    common = os.path.commonprefix([file.path.stem, other.path.stem])  # noqa: RUF071 - of letters
    common = re.sub(r"[^_\-. ]*$", "", common) if re.search(r"[_\-. ]", common) else common
    tail = file.path.stem[max(0, len(common) - 1) :]
    if tail and tail not in elsewhere:
        return tail
    return f"'*{file.path.suffix}'" if file.path.suffix != other.path.suffix else ""


def _rank(rule: _Rule, votes: Sequence[tuple[int, int]], pictures: int) -> tuple[object, ...]:
    """Rules that decide first: for many pictures, with plain names, with short additions."""
    count = len({picture for picture, _ in votes})
    return (
        not (rule.is_plain() or count > 1 or pictures < 3), -count, not rule.is_plain(), rule.before is None,
        len(rule.before or "") + len(rule.behind), rule.pictures != rule.masks, rule.pictures, rule.masks, rule.before or "",
        rule.behind,
    )  # fmt: skip


def _votes(pictures: Sequence[_File], masks: Sequence[_File], normal: bool) -> dict[_Rule, list[tuple[int, int]]]:
    """For each rule, the pairs that fit it: the places of picture and mask."""
    by_key: dict[str, dict[int, None]] = defaultdict(dict)  # of a name, the pictures that may be called so
    by_folder: dict[tuple[str, ...], list[int]] = defaultdict(list)
    by_place: dict[tuple[tuple[str, ...], str], dict[int, None]] = defaultdict(dict)
    keys = _picture_keys(pictures)
    for place, file in enumerate(pictures):
        by_folder[file.folders].append(place)
        for key in keys[place]:
            key = _normal(key) if normal else key
            by_key[key][place] = None
            by_place[file.folders, key][place] = None
    votes: dict[_Rule, dict[tuple[int, int], int]] = defaultdict(dict)  # with the length of the picture's name in the mask's
    for mask_place, mask in enumerate(masks):
        best: dict[int, tuple[int, _Rule]] = {}  # of each picture, the longest name
        for key, before, behind in _parts(mask.stem):
            key = _normal(key) if normal else key
            places = by_key.get(key, {})
            places = by_place.get((mask.folders, key), {}) if len(places) > 8 else places
            for place in places:
                if _splits_fit(pictures[place], mask) and len(key) > best.get(place, (-1, None))[0]:
                    best[place] = (len(key), _Rule(*_folder_patterns(pictures[place], mask), before, behind))
        if mask.folders:
            own_folder = [place for place in by_folder.get(mask.folders, ()) if _splits_fit(pictures[place], mask)]
            named = [
                place for part in mask.folders for place in by_key.get(_normal(part) if normal else part, ())
                if _splits_fit(pictures[place], mask)
            ]  # fmt: skip
            for place in (own_folder if len(own_folder) == 1 else []) + (named if len(named) == 1 else []):
                if place not in best:
                    best[place] = (0, _Rule("*", "*", None, mask.stem))
        for place, (length, rule) in best.items():
            votes[rule][place, mask_place] = length
    return {rule: list(pairs) for rule, pairs in votes.items()}


def _splits_fit(picture: _File, mask: _File) -> bool:
    return picture.split == mask.split or not (picture.split and mask.split)


def _folder_patterns(picture: _File, mask: _File) -> tuple[str, str]:
    shared = 0
    while shared < min(len(picture.folders), len(mask.folders)) and picture.folders[shared] == mask.folders[shared]:
        shared += 1
    start = "=/" if shared else ""
    return start + "/".join(picture.folders[shared:]), start + "/".join(mask.folders[shared:])


def _picture_keys(pictures: Sequence[_File]) -> list[list[str]]:
    """The names by which each picture may stand in the name of a mask: with suffix, without, without words such as `_image`, and
    without what all pictures of its folder begin and end with."""
    folders: dict[Path, list[int]] = defaultdict(list)
    for place, file in enumerate(pictures):
        folders[file.path.parent].append(place)
    keys = [[file.stem + file.path.suffix, file.stem, _without_words(file.stem, PICTURE_WORDS)] for file in pictures]
    for places in folders.values():
        tokens = {place: _tokens(pictures[place].stem) for place in places}
        shortest = min(map(len, tokens.values()))
        before = behind = 0
        several = len({pictures[place].stem for place in places}) > 1
        while several and before < shortest - 1 and len({tokens[place][before] for place in places}) == 1:
            before += 1
        while several and behind < shortest - 1 - before and len({tokens[place][-1 - behind] for place in places}) == 1:
            behind += 1
        for place in places if before or behind else ():
            keys[place].append("".join(tokens[place][before : len(tokens[place]) - behind]).strip("_-. "))
    return [[key for key in dict.fromkeys(of_picture) if key] for of_picture in keys]


def _tokens(stem: str) -> list[str]:
    """Words, numbers and what stands between: `a_12-b` -> a, _, 12, -, b."""
    return re.findall(r"[^\W\d_]+|\d+|[\W_]+", stem)


def _parts(stem: str) -> Iterator[tuple[str, str, str]]:
    """Each part of a name that begins and ends with a word or number, with what stands before and behind. Of very long names only
    the parts at the start and at the end."""
    tokens = _tokens(stem)
    ends = [0]
    for token in tokens:
        ends.append(ends[-1] + len(token))
    count = len(tokens)
    for first in range(count):
        for last in range(count, first, -1):
            if count <= 16 or first == 0 or last == count:
                yield stem[ends[first] : ends[last]], stem[: ends[first]], stem[ends[last] :]


def _normal(name: str) -> str:
    """A name without regard to case and leading zeros."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.casefold())
