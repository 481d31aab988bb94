"""The words by which strangers call folders and files of pictures, masks and splits, and names in sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

PICTURE_WORDS = frozenset({
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "pic", "pics", "picture", "pictures", "rgb", "raw",
    "input", "inputs", "leftimg8bit", "frame", "frames",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "lbl", "gt", "groundtruth", "truth", "target", "targets", "annotation", "annotations",
    "annot", "ann", "anns", "seg", "segs", "segmentation", "segmentations", "segmentationclass", "matte", "trimap", "l",
    "labelids", "labeltrainids", "gtfine", "gtcoarse",
})  # fmt: skip
OTHER_WORDS = frozenset({
    "segmentationobject", "instance", "instances", "instanceids", "overlay", "overlays", "preview", "previews", "depth",
})  # fmt: skip
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class RawPair:
    """A picture with its mask, or with the masks of its objects, one file each."""

    image: Path
    masks: tuple[Path, ...]
    split: str  # empty where nothing says it


def within(folder: Path, path: Path) -> str:
    """The path relative to `folder`, if it lies in it, with slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def first_names(names: Sequence[str]) -> str:
    """The first three names, and the number of the others, for a sentence."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def folder_words(name: str) -> list[str]:
    """`Train-Images` and `trainimages` -> train, images; `Ground Truth` -> groundtruth; `frames with labels` -> frames."""
    name = re.sub(r"ground[_\-. ]truth", "groundtruth", name.lower())
    name = re.sub(rf"^({'|'.join(SPLIT_WORDS)})(?=annot|mask|label|gt|image|img)", r"\1_", name)
    words = [word for word in re.split(r"[_\-. ]+", name) if word]
    return words[: words.index("with")] if "with" in words[1:] else words


def split_and_rest(name: str) -> tuple[str, str]:
    """The split that a folder's name means, and its other words: `train_frames` -> train, frames; `val2017` -> val, nothing."""
    words = folder_words(name)
    split = next((SPLIT_WORDS[word.rstrip("0123456789")] for word in words if word.rstrip("0123456789") in SPLIT_WORDS), "")
    return split, "_".join(word for word in words if word.rstrip("0123456789") not in SPLIT_WORDS)


def is_split(name: str) -> bool:
    """Whether a folder is called like a split and nothing else, such as `train` or `test_images`."""
    split, rest = split_and_rest(name)
    return bool(split) and set(rest.split("_")) <= PICTURE_WORDS | MASK_WORDS | {""}


def is_named(path: str, part: str) -> bool:
    """Whether a path has this part, or fits it where it is a pattern with a star."""
    return fnmatch(path, part) or fnmatch(path, f"*/{part}") if "*" in part else part.strip("/") in path
