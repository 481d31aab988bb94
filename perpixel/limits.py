"""Limits that several folders of the package share."""

from __future__ import annotations

from fractions import Fraction

LARGEST_SCALE = 16.0  # the size at which a network sees a picture, relative to its own
DENOMINATOR = 2**16  # a scale is the fraction that is nearest to it, with this denominator at most, so that halves are halves
MAX_PIXELS = 2**28  # of a picture that is read


def seen_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The size at which a network sees a picture of `size` at `scale`: each side is rounded, halves to even numbers."""
    share = Fraction(scale).limit_denominator(DENOMINATOR)
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))
