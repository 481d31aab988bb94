"""Sums in full precision, inside a network that runs in half precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switches autocast off on the device of `x`, where it is on."""
    kind = x.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it has that type."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
