"""Limits of what is read, which several rooms share."""

from __future__ import annotations

LARGEST_SCALE = 16.0


MAX_PIXELS = 2**28
