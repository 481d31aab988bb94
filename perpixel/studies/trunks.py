"""Trunks at the widths of the review, trained on `things`: ImageNet in miniature, for the papers whose networks begin with it.

    make_trunks(Path("trunks"))     what `perpixel review --make-trunks trunks` does: trains each, and writes it in half precision

Each is a model file of the classifier that it was trained in, with its card. Those in `perpixel/trunks` were made so;
`starts_from = "things_vgg16"` names one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from perpixel.judging.scores import Scores
from perpixel.terminal import percent
from perpixel.training.recipe import Recipe
from perpixel.training.run import Say
from perpixel.training.train import Progress, train
from perpixel.weights import model_file

# VGG-16 has no batch normalisation, and learns at a fifth of the rate that the others learn at.
COMMON: dict[str, Any] = {
    "data": "things", "network": "classifier", "weights": "none", "batch": 32, "optimiser": "adamw", "schedule": "one_cycle",
    "decay": 0.02, "clip": 1.0, "colour": 0.2, "crop": (64, 64), "scale_jitter": (0.8, 1.3), "steps": 3000, "validations": 4,
    "save_every": 1000,
}  # fmt: skip


@dataclass(frozen=True)
class Trunk:
    """Arguments of the classifier, and the settings of its training that differ from COMMON."""

    arguments: Mapping[str, Any]
    training: Mapping[str, Any]


TRUNKS: dict[str, Trunk] = {
    "things_vgg16": Trunk({"backbone": "vgg16", "width": 0.25}, {"lr": 6e-4, "steps": 2000}),
    "things_vgg16_eighth": Trunk({"backbone": "vgg16", "width": 0.125}, {"lr": 6e-4, "steps": 2000}),
    "things_resnet50": Trunk({"backbone": "resnet50", "width": 0.25}, {"lr": 3e-3}),
    "things_resnet50_deep": Trunk({"backbone": "resnet50", "stem": "deep", "width": 0.25}, {"lr": 3e-3}),
    "things_xception41": Trunk({"backbone": "xception41", "width": 0.25}, {"lr": 3e-3}),
}


def make_trunks(
    out: Path, seed: int, say: Say, progress: Callable[[str], Progress], trunks: Mapping[str, Trunk] = TRUNKS
) -> Path:
    """Trains the trunks that are not trained yet in `out/runs`, and writes them to `out`. Returns `out`."""
    for name, trunk in trunks.items():
        run = out / "runs" / name
        recipe = Recipe(**{**COMMON, **trunk.training, **trunk.arguments, "seed": seed})
        scores = train(recipe, run, say=say, progress=progress(f"{name}: step"))
        assert scores is not None, "trunks are trained in one process"
        ship(run, out / name)
        say(f"{name}: {percent(accuracy(scores))} % of pictures right.")
    return out


def accuracy(scores: Scores) -> float:
    """Share of pictures whose thing is named: every pixel of a picture has one class and one score."""
    return scores.figures["pixel_accuracy"]


def ship(run: Path, folder: Path) -> None:
    """Writes the model of `run` to `folder` in half precision."""
    stored = model_file.read(run)
    model_file.save_model(folder, halved(stored.tensors), stored.card)


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
