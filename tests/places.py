"""Where tests find the repository, the scripts beside them, and real data, which lie beside the repository or are absent."""

import os
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared/data"


def python_path(*folders: Path) -> str:
    """PYTHONPATH of a process that a test starts: these folders, the repository, and those of this process."""
    return os.pathsep.join([*map(str, (*folders, ROOT)), *filter(None, [os.environ.get("PYTHONPATH")])])
