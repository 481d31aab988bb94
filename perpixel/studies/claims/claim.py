"""A claim of a paper as an experiment: two arms that differ only in what the claim names, and the figure that it is about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SHARE = "share"  # in the settings of a stage: its share of the arm's steps


@dataclass(frozen=True)
class Arm:
    """A network with its training and its way to predict.

    `settings` are those of a recipe, but data and seed. `stages` are what each stage of the training sets besides, and `share`,
    its share of the steps, which all stages but one have; each stage begins with the weights of the one before. `inference` are
    settings of `Inference`. `ensemble` is an arm whose network joins. `pictures` is how many pictures of the training split are
    learned from, the first ones; all without it."""

    title: str
    settings: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...] = ({},)
    inference: Mapping[str, Any] = field(default_factory=dict)
    ensemble: Arm | None = None
    pictures: int | None = None

    def but(self, title: str, **settings: Any) -> Arm:
        """The same arm with other settings, in every stage."""
        return replace(self, title=title, settings={**self.settings, **settings})

    def without(self, *names: str) -> Arm:
        """The same arm without settings that its network does not take."""
        return replace(self, settings={name: value for name, value in self.settings.items() if name not in names})

    def predicting(self, title: str, ensemble: Arm | None = None, **inference: Any) -> Arm:
        """The same trained network with another way to predict."""
        return replace(self, title=title, inference={**self.inference, **inference}, ensemble=ensemble)

    def recipes(self) -> list[dict[str, Any]]:
        """The settings of each stage, with its part of the steps. A stage without a share has what the others leave."""
        total, held = self.settings["steps"], sum(stage.get(SHARE, 0.0) for stage in self.stages)
        recipes = []
        for stage in self.stages:
            steps = max(1, round(total * stage.get(SHARE, 1 - held)))
            own = {name: value for name, value in stage.items() if name != SHARE}
            recipes.append({**self.settings, **own, "steps": steps})
        return recipes

    def run(self, seed: int) -> str:
        """The name of its run folder: NETWORK-DIGEST-SEED, by the digest of all settings of its training."""
        recipes = self.recipes()
        described = recipes[0] if len(recipes) == 1 else {"stages": recipes}
        if self.pictures is not None:
            described = {**described, "pictures": self.pictures}
        return f"{recipes[0]['network']}-{digest(described)}-{seed}"

    def conditions(self) -> dict[str, Any]:
        """All that describes the arm, flat, as two arms are compared by: settings, then stages, inference and the rest."""
        described = dict(self.settings)
        if self.stages != ({},):
            described["stages"] = [dict(stage) for stage in self.stages]
        described |= {f"inference: {name}": value for name, value in self.inference.items()}
        if self.ensemble is not None:
            described["ensemble"] = self.ensemble.conditions()
        if self.pictures is not None:
            described["pictures"] = self.pictures
        return described


@dataclass(frozen=True)
class Claim:
    """What a paper says: the `figure` (a name of `figures.FIGURES`) of `better` is better than that of `worse`.

    `name` begins with the name of its system. `prose` says what the paper says and where, what is varied, what is held, and what
    would count. With `than`, two more arms, the difference is to be greater than theirs. `needs` are what the data or the
    conditions must have: "objects", "background", "rare classes", "pretrained", "own trunk"."""

    name: str
    text: str
    source: str
    prose: str
    better: Arm
    worse: Arm
    figure: str = "mIoU"
    than: tuple[Arm, Arm] | None = None
    needs: tuple[str, ...] = ()

    @property
    def arms(self) -> tuple[Arm, ...]:
        return (self.better, self.worse, *(self.than or ()))

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of all that differs between `better` and `worse`."""
        first, second = self.better.conditions(), self.worse.conditions()
        missing = object()
        return tuple(name for name in {**first, **second} if first.get(name, missing) != second.get(name, missing))


Base = Callable[[str], Arm]  # the arm of a network under the conditions of a run, by its name in `review.ENTRIES`


def digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
