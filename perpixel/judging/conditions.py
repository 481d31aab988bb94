"""The conditions under which a side earned its figures: what must be alike for two figures to say which network is better, beside
the protocol, which must be equal for them to be ranked at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perpixel.bands import Bands

if TYPE_CHECKING:
    from perpixel.weights.model_file import Model

UNKNOWN = "not known"
DIGITS = 8  # of a digest that people see


@dataclass(frozen=True)
class Conditions:
    """In words: `data` and `split` that are judged, by the first digits of the truth's digest; what the network was `trained_on`
    and began with (`pre_training`), the `sizes` that it saw and sees, how it `predicts`, and at which size it is `judged_at`."""

    data: str
    split: str
    trained_on: str
    pre_training: str
    sizes: str
    predicts: str
    judged_at: str

    @classmethod
    def of(cls, judged: Any, protocol: Mapping[str, Any], rules: Mapping[str, Any]) -> Conditions:
        """Of a model, or of predictions in files, of which nobody knows how they were made. `rules` are those of the protocol
        that say how a model predicts, where it is not simply run on the whole picture."""
        model: Model | None = judged if hasattr(judged, "card") else None
        data = str(protocol.get("data", ""))
        return cls(
            data=data[:DIGITS],
            split=str(protocol.get("split", "the annotation file")),
            trained_on=UNKNOWN if model is None else _trained_on(model, data),
            pre_training=UNKNOWN if model is None else _pre_training(model),
            sizes=UNKNOWN if model is None else _sizes(model, protocol),
            predicts="files" if model is None else _ways(rules),
            judged_at="the size of the truth",
        )


def _trained_on(model: Model, data: str) -> str:
    recipe, score = model.card.recipe, model.card.score
    named = f"{recipe['data']} {recipe['train_split']}" if recipe.get("data") and recipe.get("train_split") else UNKNOWN
    if model.card.bands:
        named += f", bands {', '.join(Bands.from_json(model.card.bands).names)}"
    if model.card.trained_on and model.card.trained_on == data:
        return f"{named}: the pictures that are judged"
    if score.get("data") == data:
        return f"{named}; weights chosen by the pictures that are judged"
    return named


def _pre_training(model: Model) -> str:
    """What the recipe says its weights began with. "auto" is ImageNet for a full-size trunk that has such weights."""
    recipe = model.card.recipe
    if recipe.get("starts_from"):
        return str(recipe["starts_from"])
    if not recipe:
        return UNKNOWN
    from perpixel.networks import begins_with_imagenet

    began = begins_with_imagenet(model.card.network, model.card.arguments, str(recipe.get("weights", "auto")))
    return "ImageNet" if began else "none"


def _sizes(model: Model, protocol: Mapping[str, Any]) -> str:
    crop = model.card.recipe.get("crop")
    trained = f"crops of {crop[0]} x {crop[1]} in training; " if crop else ""
    scales = ", ".join(f"{scale:g}" if isinstance(scale, float) else str(scale) for scale in protocol.get("scales", []))
    return f"{trained}scale {scales}" if scales else trained.removesuffix("; ") or UNKNOWN


def _ways(rules: Mapping[str, Any]) -> str:
    ways = []
    for key, value in rules.items():
        if key != "scales":
            ways.append(f"{key}: {value['name'] if isinstance(value, dict) else value}")
    return "; ".join(ways) or "the whole picture"
