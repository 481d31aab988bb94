"""Tests of the core where torch is hidden, as `make core` runs them: what of a test may need torch, and how such a test ends."""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

HAS_TORCH = find_spec("torch") is not None
# Tests of areas and modules that import torch. Python cannot read these files without it.
OF_TORCH = {
    "backbones", "export", "layers", "networks", "prediction", "serve", "studies", "training", "weights", "test_facts.py",
    "test_kill_verbs.py", "test_losses.py", "machines/test_device.py",
}  # fmt: skip
VERBS = {"train", "predict", "export", "review", "claims", "networks", "import", "upper-bound", "proposal-curve",
         "receptive-field", "serve"}  # fmt: skip
JUDGES = {"evaluate": 1, "compare": 99, "explain-score": 1}  # verb -> predictions that it is given at most; a model's need torch
SENTENCE = 'which is not installed; pip install "perpixel[torch]" brings it.'


def may_need_torch(words: Sequence[str]) -> bool:
    """Whether a command line runs a network: always, or because a judge is given a model instead of masks or results.

    A file or a missing path is taken for a model, unless results are asked for."""
    verb, *rest = words or [""]
    judged = [Path(word) for word in takewhile(lambda word: not word.startswith("-"), rest[: JUDGES.get(verb, 0)])]
    of_results = {"--instances", "--panoptic"} & {*rest}
    return verb in VERBS or any(
        (path / "model.safetensors").exists() or not (path.is_dir() or of_results) for path in judged
    )


def end_where_hidden(words: Sequence[str], code: int, message: str) -> None:
    """Ends the test of a command line that says it needs torch, where torch is hidden, and fails it where it needs none."""
    if HAS_TORCH or code != 5 or SENTENCE not in message:
        return
    assert may_need_torch(words), f"{' '.join(words)}: {message}"
    pytest.xfail("torch is hidden")


def require_torch() -> None:
    """Ends a test, or what a fixture makes for tests, that cannot go on where torch is hidden."""
    if not HAS_TORCH:
        pytest.xfail("torch is hidden")
