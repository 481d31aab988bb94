"""The device that a network runs on, and its precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from perpixel.errors import ResourceError, UsageError

if TYPE_CHECKING:
    import torch  # imported where a network runs, so that masks are judged without torch


def choose(name: str) -> torch.device:
    """The device called `name`; "auto" is the first GPU where there is one, else the CPU.

    Raises UsageError for a name torch does not know, ResourceError for a device that is not here."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("shapes only, nothing is computed there")
    except RuntimeError as error:
        raise UsageError(f"no device {name!r}; use auto, cpu, cuda, cuda:1 or mps.") from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(f"device {name!r} is not available here ({reason}); use `--device cpu`.") from error
    return device


def precision(device: torch.device, mixed: bool) -> tuple[AbstractContextManager[object], bool]:
    """The autocast context for `device`, and whether gradients need scaling (float16). CPUs stay in float32."""
    import torch

    if device.type != "cuda" or not mixed:
        return nullcontext(), False
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", half), half == torch.float16
