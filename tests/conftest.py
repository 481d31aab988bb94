"""The same examples and the same arithmetic in every run; and which tests need torch, where it is hidden (`make core`)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hidden_torch import HAS_TORCH, OF_TORCH, end_where_hidden
from hypothesis import settings
from places import TESTS

from perpixel import terminal
from perpixel.cli import main

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("core", settings.get_profile("tests"), max_examples=5)  # each has had its 25 with torch
settings.load_profile("tests" if HAS_TORCH else "core")
terminal.SOON = 600.0  # no line depends on how busy the machine is
if HAS_TORCH:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

LONGEST = "test_kill_verbs.py"  # takes minutes; begun last, it would be waited for
Told = tuple[int, str, str]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files of torch, where it is hidden."""
    if HAS_TORCH or TESTS not in collection_path.parents:
        return None
    inside = collection_path.relative_to(TESTS)
    return True if {inside.parts[0], inside.as_posix()} & OF_TORCH else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first. Without torch a test marked `needs_torch` must fail, so that no mark outlives its reason and hides
    a test of the core."""
    items.sort(key=lambda item: item.path.name != LONGEST)
    for item in items:
        if not HAS_TORCH and item.get_closest_marker("needs_torch") is not None:
            item.add_marker(pytest.mark.xfail(strict=True, reason="torch is hidden"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Runs a command line; gives the exit code, stdout and stderr.

    Where torch is hidden, the test of a command line that names a network ends with the sentence that says so."""

    def run(*arguments: object) -> Told:
        code, words = 0, [str(argument) for argument in arguments]
        try:
            main(words)
        except SystemExit as left:
            code = left.code
        output = capsys.readouterr()
        end_where_hidden(words, code, output.err)
        return code, output.out, output.err

    return run
