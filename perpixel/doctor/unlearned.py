"""Objects that teach a network of objects nothing: they are counted over a data set, and told once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perpixel.sample import Instances

REASONS = {  # what one object is, and several are
    "crowd": ("stands for many objects", "stand for many objects"),
    "no area": ("has no area", "have no area"),
    "covered": ("is covered by other objects", "are covered by other objects"),
    "background": ("is background in its mask", "are background in their masks"),
}


def of_objects(objects: Instances, background: int | None) -> dict[str, int]:
    """The numbers of objects of a picture that teach nothing, by the reason.

    A pixel that several objects share is the last one's, as in training; `background` is the class that is no object's, if any.
    An object outside of the picture has no area in it."""
    count = len(objects.class_ids)
    shown = np.bincount(objects.numbers.ravel(), minlength=count + 1)[1:] > 0
    has_area = shown | np.array([objects.crop(index).bits.size > 0 for index in range(count)], np.bool_)
    is_background = np.zeros(count, np.bool_) if background is None else objects.class_ids == background
    left = ~objects.crowd
    found = {"crowd": int(objects.crowd.sum())}
    for reason, applies in (("no area", ~has_area), ("covered", ~shown), ("background", is_background)):
        found[reason] = int((left & applies).sum())
        left = left & ~applies
    return {reason: number for reason, number in found.items() if number}


def sentences(pictures: Sequence[tuple[str, dict[str, int]]]) -> tuple[str, ...]:
    """What is told of the pictures of a split, by their names: a sentence for each reason that any of them has."""
    told = []
    for reason, (one, several) in REASONS.items():
        concerned = [(name, numbers[reason]) for name, numbers in pictures if reason in numbers]
        total = sum(number for _, number in concerned)
        if total:
            objects = f"{total} object{'s' * (total > 1)} in {len(concerned)} picture{'s' * (len(concerned) > 1)}"
            lesson = f"{several} and teach nothing" if total > 1 else f"{one} and teaches nothing"
            told.append(f"{objects} {lesson}, first: {concerned[0][0]}.")
    return tuple(told)
