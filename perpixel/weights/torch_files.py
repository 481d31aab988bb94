"""State dicts of torch (`.pth`, `.pt`, `.bin`). They are pickles, so a child process reads them and returns tensors alone.

The child (this module as `python -m perpixel.weights.torch_files SOURCE TARGET`) unpickles with torch's own `weights_only`, under
a limit on its memory, and writes the tensors as safetensors. The parent waits for it no longer than `SECONDS`."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from perpixel.errors import DataError, ResourceError, UntrustedFile, printable

SECONDS = 120.0
WRAPPERS = ("model", "state_dict")  # keys under which training scripts save weights beside an optimiser's state
# Tensors may take twice the bytes of the file, for two names may share a tensor. The child needs them three times to write.
LARGEST_RATIO, COPIES, SPARE = 2, 3, 1 << 30
_REFUSED, _DISK_FULL = 4, 5  # exit codes of the child


def read_state(path: str | Path, seconds: float = SECONDS) -> dict[str, Tensor]:
    """The named tensors of a file that `torch.save` made of a state dict, alone or as "model" or "state_dict" in a dict.

    Takes at most `seconds` and, on Linux, a few times the file's size of memory. Raises DataError when there is no file,
    UntrustedFile when it is damaged, names code, or holds anything but tensors, ResourceError for a full disk."""
    path = Path(path)
    if not os.path.isfile(path):
        raise DataError(f"{printable(path)}: there is no such file; name a state dict that torch.save wrote.")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "state.safetensors")
        # -P: modules in the current folder are not imported.
        command = [sys.executable, "-P", "-m", "perpixel.weights.torch_files", str(path.absolute()), str(target)]
        roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, roots))}
        try:
            child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, env=environment)
        except subprocess.TimeoutExpired:
            raise UntrustedFile(f"{path}: was not read within {seconds:g} seconds; use another copy.") from None
        if child.returncode == -signal.SIGINT:
            raise KeyboardInterrupt
        if child.returncode == _DISK_FULL:
            raise ResourceError(f"{folder}: no space left to read {path}; free some, or set TMPDIR to another place.")
        if child.returncode:
            reason = child.stdout.decode(errors="replace").strip() if child.returncode == _REFUSED else ""
            raise UntrustedFile(f"{path}: cannot be taken in ({reason or 'reading it fails'}); use a file of a state dict alone.")
        return from_safetensors(target.read_bytes())


def _hand_over(source: str, target: str) -> None:
    """The work of the child. Raises the errors of torch, and ValueError for a file without a dict of ordinary tensors."""
    size = os.path.getsize(source)
    _limit_memory(SPARE + LARGEST_RATIO * COPIES * size)
    warnings.simplefilter("ignore")
    # torchvision's reference training keeps its command line as a Namespace, which only holds values.
    with torch.serialization.safe_globals([Namespace]):
        state = named_tensors(torch.load(source, map_location="cpu", weights_only=True))
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > LARGEST_RATIO * size:  # one number may be repeated without end by a stride of 0
        raise ValueError(f"its tensors claim {claimed} bytes, and the file has {size}")
    whole = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    Path(target).write_bytes(to_safetensors(whole))


def named_tensors(loaded: Any) -> dict[str, Tensor]:
    """The state dict in the result of `torch.load`. Raises ValueError for any other result, with the name of the entry."""
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict) or not loaded:
        raise ValueError(f"it holds no named tensors but {type(loaded).__name__}")
    for name, tensor in loaded.items():
        if not isinstance(name, str):
            raise ValueError(f"it names a tensor {name!r}")
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is no tensor but {type(tensor).__name__}")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"{name} is no dense tensor of real numbers")
    return dict(loaded)


def _limit_memory(room: int) -> None:
    """Lets this process take `room` bytes more than it has. Works on Linux alone, which tells the present amount."""
    if sys.platform != "linux":
        return
    import resource

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = taken + room if hard == resource.RLIM_INFINITY else min(taken + room, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _reason(error: Exception) -> str:
    """The error in a few words of printable ASCII. Torch's own message advises to trust the file, so it is not shown."""
    text = str(error)
    code = re.search(r"GLOBAL (\S{1,100})", text)
    if code:
        text = f"it names the code {code[1]}"
    elif isinstance(error, MemoryError) or "memory" in text or "bad_alloc" in text:
        text = "it asks for more memory than its size explains"
    else:
        text = text.rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
    return ascii(text.splitlines()[0][:160])[1:-1]


if __name__ == "__main__":
    try:
        _hand_over(*sys.argv[1:])
    except Exception as error:
        print(_reason(error))
        raise SystemExit(_DISK_FULL if isinstance(error, OSError) and error.errno == errno.ENOSPC else _REFUSED) from None
