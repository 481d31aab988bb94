"""The engine, the threads and the size with which a picture takes at most so long: `perpixel predict --budget 200ms`.

Ways are measured on one picture, from its pixels to its prediction, with all settings of that prediction. The first that fits is
taken, in this order:

    whole size                              as few threads as fit, then the fastest engine
    0.75, 0.5, 0.35, 0.25 of the size       all threads, the fastest engine

What was measured is kept where `engines` keeps its own, by machine, threads, engine, size and settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perpixel.errors import ResourceError, UsageError
from perpixel.networks import finds_objects, gives_labels
from perpixel.prediction.engines import AUTO, TORCH, Engines, choices, timed, title_of
from perpixel.prediction.inference import PLAIN, Inference, Predictor
from perpixel.prediction.kept_scores import KeptScores
from perpixel.terminal import say
from perpixel.weights.model_file import Model

SHARES = (1.0, 0.75, 0.5, 0.35, 0.25)  # of the size at which the model sees pictures
HOPELESS = 2.0  # a size is passed over if its pixels alone make a picture this many times too slow


@dataclass(frozen=True)
class Way:
    """An engine with so many threads, and the share of the size of pictures; `seconds` are the slowest that were counted."""

    engine: str
    title: str
    threads: int
    share: float
    seconds: float

    @property
    def place(self) -> str:
        size = "whole size" if self.share == 1 else f"{self.share:g} of the size"
        return f"{size}, {self.threads} thread{'s' * (self.threads > 1)}"

    def __str__(self) -> str:
        return f"{self.title}, {self.place}, {1000 * self.seconds:.1f} ms"


def seconds_of(text: str) -> float:
    """The seconds of a text such as "200ms", "200" (ms) or "0.2s". Raises UsageError for another."""
    found = re.fullmatch(r"(\d*\.?\d+) *(ms|s)?", text.strip())
    seconds = float(found[1]) / (1 if found[2] == "s" else 1000) if found else 0.0
    if not seconds > 0:
        raise UsageError(f"budget = {text!r}: must be a time above 0, such as 200ms or 0.2s.")
    return seconds


def within(
    budget: float,
    model: Model,
    image: NDArray[np.uint8],
    inference: Inference = PLAIN,
    scores: bool | KeptScores = False,
    engine: str = AUTO,
    beside: Path | None = None,
    say: Callable[[str], None] = say,
) -> tuple[Model, Inference]:
    """The model in an engine, and settings, with which a prediction of `image` takes at most `budget` seconds. The number of
    torch's threads is set.

    `engine` and `beside` are those of `engines.in_engine`. `say` is told what was measured and chosen. Raises UsageError for
    an exported file and for settings that name a size, ResourceError where nothing is fast enough, and what `in_engine` and
    `Inference.predictor` raise."""
    if gives_labels(model.network):
        raise UsageError("budget: the size and the engine of an exported file are fixed; name the run that it was made of.")
    for name in ("scales", "base"):
        if name in inference.given:
            raise UsageError(f"budget: chooses the size at which pictures are seen; leave {name} out.")
    plain = inference.predictor(model, scores)
    objects_by = None if plain.objects is None else plain.objects.model
    inference = replace(inference, ensemble=plain.other, objects_by=objects_by)  # loaded once
    search = _Search(Engines(model, beside, say), inference, scores, image, say)
    most = torch.get_num_threads()
    try:
        way = search.first(budget, choices(model, engine, say))
        say(f"measured for a picture of {search.size} on this machine: {search.measured}.")
        if way.seconds > budget:
            raise ResourceError(
                f"budget = {1000 * budget:g} ms: nothing is as fast for a picture of {search.size} on this machine; the fastest "
                f"was {way}; allow more time, or take a lighter network."
            )
    except BaseException:
        torch.set_num_threads(most)
        raise
    torch.set_num_threads(way.threads)
    say(f"budget {1000 * budget:g} ms: {way}.")
    if way.share == 1:
        return search.model(way.engine), inference
    say(
        f"pictures are seen at {way.share:g} of the size that the score of this model is of, so labels differ from those that it "
        "was judged by; the record of the predictions names this size."
    )
    return search.model(way.engine), replace(inference, scales=(way.share,))


class _Search:
    """Measures ways to predict one picture; `ways` are all that were measured, and `size` is that of the picture, in words."""

    def __init__(
        self, engines: Engines, inference: Inference, scores: bool | KeptScores, image: NDArray[np.uint8],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._engines, self._inference, self._scores, self._image, self._say = engines, inference, scores, image, say
        self._models: dict[tuple[str, int], Model] = {}
        self.ways: list[Way] = []
        self.size = f"{image.shape[0]}x{image.shape[1]}"

    def first(self, budget: float, names: Sequence[str]) -> Way:
        """The way that is taken, or the fastest where none fits."""
        most = torch.get_num_threads()
        for share in self._shares():
            fastest = min(self.ways, key=lambda way: way.seconds, default=None)
            if fastest and share != SHARES[-1] and fastest.seconds * (share / fastest.share) ** 2 > HOPELESS * budget:
                continue
            ways = fitting = [way for way in self._measured(names, share) if way.seconds <= budget]
            threads = most // 2 if share == 1 else 0
            while ways and threads and _on_cpu(self._engines.model):
                torch.set_num_threads(threads)
                ways = [way for way in self._measured([way.engine for way in ways], share) if way.seconds <= budget]
                fitting, threads = ways or fitting, threads // 2
            torch.set_num_threads(most)
            if fitting:
                return min(fitting, key=lambda way: way.seconds)
        return min(self.ways, key=lambda way: way.seconds)

    @property
    def measured(self) -> str:
        """What was measured, by size and threads, in words."""
        places = dict.fromkeys(way.place for way in self.ways)
        return "; ".join(
            f"{place}: " + ", ".join(f"{way.title} {1000 * way.seconds:.1f} ms" for way in self.ways if way.place == place)
            for place in places
        )

    def model(self, engine: str) -> Model:
        """The model in an engine, with torch's present number of threads."""
        return self._models[engine, torch.get_num_threads()]

    def _shares(self) -> Sequence[float]:
        """The sizes that its settings allow."""
        model, inference = self._engines.model, self._inference
        if finds_objects(model.network) or inference.proposals:
            self._say("pictures are seen at their whole size alone: objects and boxes have a size of their own.")
            return SHARES[:1]
        return SHARES

    def _measured(self, names: Sequence[str], share: float) -> list[Way]:
        """Each of these engines with torch's present number of threads, from memory or by measuring now."""
        threads, predictors = torch.get_num_threads(), self._predictors(names, share)
        keys = {name: self._key(predictor, share) for name, predictor in predictors.items()}
        titles = {name: title_of(predictor.model) for name, predictor in predictors.items()}
        known = {name: self._engines.entry(title).get("slowest", {}).get(keys[name]) for name, title in titles.items()}
        if not all(isinstance(seconds, float) for seconds in known.values()):
            calls = {name: lambda predictor=predictor: predictor(self._image) for name, predictor in predictors.items()}
            for name, took in timed(calls).items():
                known[name] = max(took)
                before = self._engines.entry(titles[name]).get("slowest", {})
                self._engines.note(titles[name], slowest={**before, keys[name]: known[name]})
        ways = [Way(name, titles[name], threads, share, float(known[name])) for name in predictors]
        self.ways += ways
        return ways

    def _predictors(self, names: Sequence[str], share: float) -> dict[str, Predictor]:
        """Of the engines that can predict with these settings; why others cannot is said once."""
        threads, found = torch.get_num_threads(), dict[str, Predictor]()
        lacking = [name for name in names if (name, threads) not in self._models]
        self._models |= {(name, threads): model for name, model in self._engines.models_in(lacking).items()}
        inference = self._inference if share == 1 else replace(self._inference, scales=(share,))
        for name in names:
            if (model := self._models.get((name, threads))) is None:
                continue
            try:
                found[name] = inference.predictor(model, self._scores)
            except UsageError as error:
                if name == TORCH:
                    raise
                self._say(f"{title_of(model)} is left out: {str(error).split(';')[0]}.")
        if not found:
            raise UsageError(f"budget: no engine can do that; leave engine {', '.join(names)} out.")
        return found

    def _key(self, predictor: Predictor, share: float) -> str:
        """The size, and a digest of settings that make a prediction another."""
        rules: dict[str, Any] = {name: value for name, value in predictor.rules.items() if name not in ("engine", "scales")}
        settings = [rules, predictor.weights, repr(predictor.scores)]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.size} at {share:g}, settings {digest}"


def _on_cpu(model: Model) -> bool:
    return next(model.network.parameters()).device.type == "cpu"
