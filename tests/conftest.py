"""The same examples and the same arithmetic in every run."""

import os
from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

from perpixel import terminal
from perpixel.cli import main

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("tests")
terminal.SOON = 600.0  # no line depends on how busy the machine is
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

Told = tuple[int, str, str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Runs a command line; gives the exit code, stdout and stderr."""

    def run(*arguments: object) -> Told:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run
