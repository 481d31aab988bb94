"""When a number of a training is not finite: the first bad tensor is named, the batch is kept, and no weight changes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from perpixel.errors import PerpixelError
from perpixel.files import write_whole
from perpixel.networks import Network
from perpixel.training.batches import Batch
from perpixel.weights.model_file import first_not_finite


class NotFinite(PerpixelError):
    """A loss, gradient or weight became nan or infinite."""

    exit_code = 3


def refuse(out: Path, step: int, part: Batch, network: Network, device: torch.device) -> NoReturn:
    """Keeps the batch in `out/not_finite`, and raises NotFinite naming the first bad tensor, the pictures and the step."""
    name = first_bad(network, part, device)
    path = out / "not_finite" / f"step-{step:09d}.safetensors"
    write_whole(path.parent, path.name, to_safetensors(_tensors(part), {"names": json.dumps(part.names)}))
    raise NotFinite(
        f"step {step}: {name} is not finite, for the pictures {', '.join(part.names)}; the batch is kept in {path} and the step "
        f"was not taken. Lower the learning rate or set --clip, and choose another --out."
    )


def first_bad(network: Network, part: Batch, device: torch.device) -> str:
    """The first of: images, weights, outputs of layers in order of computation, loss terms, gradients from the last layer."""
    images, targets = part.images.to(device), part.targets.to(device)
    if not bool(torch.isfinite(images).all()):
        return "the batch of images"
    weight = first_not_finite(network.state_dict())
    if weight is not None:
        return f"weight {weight}"
    bad: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                bad.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            terms = network.losses(images, targets)
    finally:
        for handle in handles:
            handle.remove()
    if bad:
        return f"the output of layer {bad[0]}"
    for name, term in terms.items():
        if not math.isfinite(term.item()):
            return f"the loss {name}"
    gradients = {name: p.grad for name, p in reversed(list(network.named_parameters())) if p.grad is not None}
    return f"the gradient of {first_not_finite(gradients)}"


def _tensors(part: Batch) -> dict[str, Tensor]:
    """The tensors of a batch by their names in the file that keeps it."""
    tensors = {"images": part.images, "targets": part.targets.labels}
    if part.targets.weights is not None:
        tensors["weights"] = part.targets.weights
    for number, objects in enumerate(part.targets.instances or ()):
        tensors |= {f"instances.{number}.{name}": tensor for name, tensor in vars(objects).items()}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
