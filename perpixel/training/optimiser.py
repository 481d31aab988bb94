"""The optimiser of a recipe: the rate and decay of each parameter, the rate of each step, and the optimiser's state as
tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perpixel.networks import Network
from perpixel.training.recipe import Recipe

POLY_POWER = 0.9
WARM_UP, START, END = 0.2, 0.04, 0.001  # one-cycle: share of steps that rise, and first and last rate, as parts of lr


def optimiser_of(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser, with parameters grouped by learning-rate factor and by decay, as the param blocks of Caffe's layers are."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    # Caffe does not treat the shift of batch normalisation as a bias, so it has neither the rate nor the decay of biases.
    shifts = {module.bias for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        bias = name.endswith("bias") and parameter not in shifts
        factor = recipe.trunk_lr if name.startswith("trunk.") else 1.0
        factor *= recipe.score_lr if name.startswith("score.") else 1.0
        factor *= recipe.bias_lr if bias else 1.0
        # Scales of ParseNet's normalisation are decayed as published; those of batch normalisation are not.
        decays = recipe.bias_decay if bias else parameter.ndim > 1 or name.startswith("normalize.")
        groups.setdefault((factor, recipe.decay if decays else 0.0), []).append(parameter)
    settings: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay, "factor": factor} for (factor, decay), parameters in groups.items()
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(settings, recipe.lr, recipe.momentum)
    return torch.optim.AdamW(settings, recipe.lr, (recipe.momentum, 0.999))


def rate_of(recipe: Recipe, step: int) -> float:
    """The learning rate of `step` (0-based): that of the schedule, in the first `warm_up` steps times a factor that rises
    linearly from `warm_up_from` to 1 (Goyal et al., 2017; Detectron)."""
    rate = recipe.lr * schedule(recipe.schedule, step, recipe.steps, recipe.step_size, recipe.gamma, recipe.milestones or ())
    risen = min(1.0, step / recipe.warm_up) if recipe.warm_up else 1.0
    return rate * (recipe.warm_up_from * (1 - risen) + risen)


def schedule(
    name: str, step: int, steps: int, step_size: int | None = None, gamma: float = 0.1, milestones: Sequence[int] = ()
) -> float:
    """The learning rate of `step` (0-based) as a factor of the recipe's: constant; poly, (1 - step / steps)^0.9 (DeepLab);
    one_cycle, a cosine up over the first fifth and a cosine down to the end (Smith and Topin, 2017); step, times `gamma`
    after each `step_size` steps (Caffe); milestones, times `gamma` after each of them (Detectron)."""
    done = step / max(1, steps)
    if name == "constant":
        return 1.0
    if name == "step":
        assert step_size is not None, "schedule step needs step_size"
        return gamma ** (step // step_size)
    if name == "milestones":
        return gamma ** sum(step >= milestone for milestone in milestones)
    if name == "poly":
        return float((1 - done) ** POLY_POWER)
    if done < WARM_UP:
        return START + (1 - START) * (1 - math.cos(math.pi * done / WARM_UP)) / 2
    return END + (1 - END) * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def flat(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter number and name."""
    tensors = {}
    for number, entry in optimiser.state_dict()["state"].items():
        tensors.update({f"{number}.{key}": value for key, value in entry.items() if isinstance(value, Tensor)})
    return tensors


def unflatten(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what `flat` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
