"""The same examples and the same arithmetic in every run."""

import os

import torch
from hypothesis import settings

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("tests")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
