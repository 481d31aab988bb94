"""Published weights by the loaders of torchvision and timm, which fetch them once into their caches."""

from __future__ import annotations

import pickle
import socket
import sys
from contextlib import redirect_stdout
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse

import torch
from torch import Tensor

from perpixel.errors import ResourceError, UntrustedFile

PATIENCE = 30.0  # seconds without an answer


def imagenet_state(name: str, way_out: str) -> dict[str, Tensor]:
    """The first ImageNet weights that torchvision published for its `name`.

    Raises the errors of `published_state`."""
    from torchvision.models import get_model_weights  # only now: it takes two seconds to import

    weights: Any = get_model_weights(name)
    state, _ = published_state(weights.IMAGENET1K_V1, f"ImageNet weights of {name}", way_out)
    return state


def timm_state(name: str, way_out: str) -> dict[str, Tensor]:
    """The ImageNet weights of timm's `name`, by timm's names. Raises ResourceError, which ends in `way_out`."""
    import timm  # only now: it takes three seconds to import, with torchvision

    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # timm's loaders raise the errors of their transport
        reason = type(error).__name__
        raise ResourceError(
            f"ImageNet weights of {name} cannot be fetched ({reason}); connect to the network once, or {way_out}."
        ) from error


def published_state(weights: Any, title: str, way_out: str) -> tuple[dict[str, Tensor], Path]:
    """The state dict of `weights`, an entry of torchvision's tables, and its place in torch's cache (`TORCH_HOME`).

    `title` is their name in messages. Raises ResourceError, which ends in `way_out`, when the weights cannot be fetched,
    UntrustedFile when they are damaged."""
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)  # the loader sets no limit
    try:
        with redirect_stdout(sys.stderr):  # the loader prints there what it fetches
            state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, HTTPError):  # is the answer too, and holds its socket
            error.close()
        if file.exists():
            raise UntrustedFile(f"{file}: is damaged or cannot be read; delete it, and {title} will be fetched again.") from error
        if isinstance(error, (OSError, HTTPException)):
            reason = getattr(error, "reason", None) or error
            raise ResourceError(f"{title} cannot be fetched ({reason}); connect to the network once, or {way_out}.") from error
        raise UntrustedFile(f"{weights.url}: sent another file than torchvision published ({error}); try again.") from error
    finally:
        socket.setdefaulttimeout(timeout)
    return state, file
