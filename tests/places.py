"""Where tests find the repository, the scripts beside them, and real data, which lie beside the repository or are absent."""

import os
from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
_package = find_spec("perpixel")
assert _package is not None, "perpixel is installed, or its folder is on PYTHONPATH"
assert _package.origin is not None
PACKAGES = Path(_package.origin).parents[1]  # where perpixel is imported from: the repository, or an installed wheel's place
SHARED = ROOT.parent / "shared/data"


def python_path(*folders: Path) -> str:
    """PYTHONPATH of a process that a test starts: these folders, that of perpixel, and those of this process."""
    return os.pathsep.join([*map(str, (*folders, PACKAGES)), *filter(None, [os.environ.get("PYTHONPATH")])])
