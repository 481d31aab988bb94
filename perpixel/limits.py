"""Limits that several folders of the package share."""

from __future__ import annotations

LARGEST_SCALE = 16.0  # the size at which a network sees a picture, relative to its own
MAX_PIXELS = 2**28  # of a picture that is read
