"""Where tests find the repository, the scripts beside them, and real data, which lie beside the repository or are absent."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared/data"
