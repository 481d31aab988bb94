"""Sums that half precision would spoil, inside a network that runs in it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of `x`; where there is none, as for shapes without memory, nothing changes."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or float64 where it comes so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
