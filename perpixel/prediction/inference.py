"""How a picture becomes class probabilities where the network is not simply run on the whole of it.

In this order: boxes, tiles or the whole picture; turned and averaged; joined with a second network; refined by a CRF. Sources:

- Boxes: DeconvNet (Noh et al., ICCV 2015) and its released code; see `boxes`.
- Tiles: U-Net (Ronneberger et al., MICCAI 2015, section 2); see `tiles`.
- Averages: U-Net's released scripts average the scores of 4 flips. The paper averages "7 rotated versions" and does not say
  which. Here they are the seven ways to turn a square sheet, by 90, 180 and 270 degrees and over its four axes: they are
  seven, and none needs interpolation. The picture as it is is not among them.
- Ensemble: the mean of two networks' probabilities (DeconvNet's paper) or the product of their scores, clipped at 0, with a
  softmax over it (its released code)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perpixel.classes import ClassTable
from perpixel.errors import UsageError, did_you_mean
from perpixel.networks import InstanceNetwork, Network, finds_objects, labels_pixels, pixel_network
from perpixel.prediction.by_boxes import CONTEXT, MERGES, chosen, merges, side_of
from perpixel.prediction.crf.refine import refine
from perpixel.prediction.crf.settings import CRFS
from perpixel.prediction.instances import labels_of
from perpixel.prediction.proposals import METHODS, propose
from perpixel.prediction.score_maps import Scores, Window, resized, score_map, scores_of, to_tensor
from perpixel.prediction.symmetries import ALL, FLIPS, Symmetry, turned, turned_back
from perpixel.prediction.tiles import kept, tiled, tiles
from perpixel.sample import Instances, Prediction
from perpixel.weights.model_file import Model, load

ENSEMBLES = {"mean": "mean of two networks' probabilities", "product": "softmax of the product of two networks' scores above 0"}
AVERAGES: dict[str, tuple[str, tuple[Symmetry, ...]]] = {
    "none": ("none", ALL[:1]),
    "flips": ("mean of raw scores as it is, left-right, up-down and both", FLIPS),
    "rotations": ("mean of raw scores turned by 90, 180 and 270 degrees and over 4 axes", ALL[1:]),
}


@dataclass(frozen=True)
class Inference:
    """Settings; as they are by default the network is run on the whole picture and no more.

    `proposals`: boxes by the method `proposals_by` (default edge_boxes), enlarged 1.2 times, each resized to the network's
    `side`, merged by `merge`: max (equation 1, default), sum (equation 2) or released. `tile`: side of U-Net's input tiles, 16 k
    + 60. `average`: none, flips (4) or rotations (7); of each box where there are boxes. `ensemble`: a second model, run on the
    whole picture, joined by `ensemble_by`: mean (default) or product. `crf`: deeplab or deconvnet.

    Raises UsageError for a value that cannot work or that belongs to a setting which is not given, UnknownName for a name."""

    proposals: int = 0
    proposals_by: str | None = None
    merge: str | None = None
    ensemble: Model | str | Path | None = None
    ensemble_by: str | None = None
    crf: str | None = None
    tile: int = 0
    average: str = "none"

    def __post_init__(self) -> None:
        for name, value in (("proposals", self.proposals), ("tile", self.tile)):
            if value < 0:
                raise UsageError(f"{name} = {value}: must be 0 (without) or above.")
        if self.proposals and self.tile:
            raise UsageError(f"proposals = {self.proposals} and tile = {self.tile}: a box is no tile; give one of them.")
        self._part("proposals_by", METHODS, "proposals", "edge_boxes")
        self._part("merge", MERGES, "proposals", "max")
        self._part("ensemble_by", ENSEMBLES, "ensemble", "mean")
        if self.average not in AVERAGES:
            raise did_you_mean("average", self.average, AVERAGES)
        if self.crf is not None and self.crf not in CRFS:
            raise did_you_mean("crf", self.crf, CRFS)

    def _part(self, name: str, known: Any, whole: str, default: str) -> None:
        """Checks a setting that belongs to another, and fills it in where that one is given."""
        value = getattr(self, name)
        if value is not None and value not in known:
            raise did_you_mean(name, value, known)
        if value is not None and not getattr(self, whole):
            raise UsageError(f"{name} = {value!r}: belongs to {whole}, which is not given; give {whole} too, or leave it out.")
        if value is None and getattr(self, whole):
            object.__setattr__(self, name, default)

    @property
    def given(self) -> list[str]:
        """The names of the settings that are not as by default."""
        return [item.name for item in fields(self) if getattr(self, item.name) != item.default]

    @property
    def plain(self) -> bool:
        """Whether the network is run on the whole picture and no more."""
        return not self.given

    def predictor(self, model: Model, scores: bool = False) -> Predictor:
        """This way to predict, settled for `model`: its network is ready, the second model loaded on its device.

        `scores` asks for probabilities of pixels. Raises UsageError for what `model` cannot do, and what `load` raises."""
        network = model.ready()
        if self.given and finds_objects(network):
            setting = self.given[0]
            raise UsageError(f"{setting}: {type(network).__name__} finds objects in the picture as it is; leave {setting} out.")
        if scores:
            pixel_network(network, "scores")
        if self.tile:
            kept(tiled(pixel_network(network, "tile"), self.tile), self.tile)
        if self.proposals:  # where the method needs what is not installed, it is said before the first picture
            propose(np.zeros((8, 8, 3), np.uint8), str(self.proposals_by))
        if self.crf and len(model.classes) == 1:
            raise UsageError(f"crf = {self.crf!r}: a model of one class leaves nothing to refine; leave it out.")
        return Predictor(model, self, None if self.ensemble is None else self._second(model, self.ensemble), scores)

    def _second(self, model: Model, ensemble: Model | str | Path) -> Model:
        """The second model, ready to join `model`."""
        other = ensemble if isinstance(ensemble, Model) else load(ensemble)
        if other.classes.names != model.classes.names:
            raise UsageError(
                f"ensemble: the second model knows the classes {', '.join(other.classes.names)}, the first "
                f"{', '.join(model.classes.names)}; join models with the same classes."
            )
        pixel_network(other.ready(), "ensemble").to(next(model.network.parameters()).device)
        return other


PLAIN = Inference()


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with the way to predict by it. `Inference.predictor` makes it, and has checked that the two go together.

    `other` is the second model of an ensemble. With `scores` predictions have the probabilities (C, H, W) too."""

    model: Model
    inference: Inference
    other: Model | None
    scores: bool

    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """The prediction for a picture, uint8 RGB (H, W, 3)."""
        return self.begin(image)()

    def begin(self, image: NDArray[np.uint8]) -> Callable[[], Prediction]:
        """Runs the networks on a picture; calling the result makes the prediction, on any thread."""
        model, inference, size = self.model, self.inference, (image.shape[0], image.shape[1])
        if inference.plain:
            return whole_picture(model.network, model.classes, image, model.scale_for(size), self.scores)
        if inference.tile and not (self.other or inference.crf or self.scores):  # in the memory of a tile
            labels = np.empty(size, model.classes.dtype)
            for (top, left, bottom, right), part in _tiles(model, image, inference):
                labels[top:bottom, left:right] = part.labels(size, (top, left, bottom, right))
            return lambda: Prediction(labels, model.classes)
        prediction = self._joined(image)
        return lambda: prediction

    @property
    def rules(self) -> dict[str, Any]:
        """What a score's protocol says of it beyond, or instead of, the rules of a whole picture; nothing where it is plain."""
        model, inference = self.model, self.inference
        rules: dict[str, Any] = {}
        scales = [seen_at(model)]
        if inference.proposals:
            side = side_of(pixel_network(model.network, "proposals"))
            scales = [f"{side} x {side}"]
            rules["window"] = (
                f"{inference.proposals} boxes by {inference.proposals_by}, enlarged {CONTEXT} times, merged by "
                f"{inference.merge}: {MERGES[str(inference.merge)]}"
            )
        if inference.tile:
            rules["window"] = f"tiles of {inference.tile}, overlapping by the border, mirrored beyond the picture"
        if inference.average != "none":
            rules["flips"] = AVERAGES[inference.average][0]
        if self.other is not None:
            rules["ensemble"] = ENSEMBLES[str(inference.ensemble_by)]
            scales.append(seen_at(self.other))
        if inference.crf is not None:
            rules["crf"] = {"name": inference.crf, **asdict(CRFS[inference.crf])}
        return {**rules, **({"scales": scales} if scales != [seen_at(model)] else {})}

    @property
    def provides(self) -> frozenset[str]:
        """What its predictions hold: labels, scores of pixels if they are asked for, instances."""
        return provides(self.model.network)

    @property
    def weights(self) -> str:
        """The digest of the weights that are used, or both digests joined by +."""
        return self.model.digest if self.other is None else f"{self.model.digest}+{self.other.digest}"

    def _joined(self, image: NDArray[np.uint8]) -> Prediction:
        """Raw scores of one network or two -> probabilities -> CRF."""
        judged = _raw(self.model, image, self.inference)
        other, crf = self.other, self.inference.crf
        soft = False
        if other is not None:
            found = score_map(pixel_network(other.network, "ensemble"), image, other.scale_for(image.shape[:2]))
            theirs = _channels_first(found.interpolated(image.shape[:2]))
            soft = self.inference.ensemble_by == "mean"
            judged = (judged.softmax(0) + theirs.softmax(0)) / 2 if soft else judged.clamp(min=0) * theirs.clamp(min=0)
        probabilities = judged if soft or not (self.scores or crf) else judged.softmax(0)
        if crf is not None:
            judged = probabilities = torch.from_numpy(refine(image, probabilities.contiguous().numpy(), CRFS[crf]))
        labels = judged.argmax(0).numpy().astype(self.model.classes.dtype)
        return Prediction(labels, self.model.classes, probabilities.numpy() if self.scores else None)


def provides(network: Network) -> frozenset[str]:
    """What the predictions of a network can hold: labels, scores of pixels, instances."""
    parts = {"labels": True, "scores": labels_pixels(network), "instances": finds_objects(network)}
    return frozenset(part for part, there in parts.items() if there)


def whole_picture(
    network: Network, classes: ClassTable, image: NDArray[np.uint8], scale: float, scores: bool = False
) -> Callable[[], Prediction]:
    """Runs a network on the whole of a picture, at `scale`; calling the result makes the prediction, on any thread."""
    size = image.shape[0], image.shape[1]
    objects = _objects(network, image, scale) if finds_objects(network) else None
    if labels_pixels(network):
        found = score_map(network, image, scale)
        return lambda: Prediction(
            found.labels(size).astype(classes.dtype, copy=False), classes, found.probabilities(size) if scores else None, objects
        )
    assert objects is not None, "a network keeps one of the contracts"
    return lambda: Prediction(labels_of(objects, classes), classes, None, objects)


@torch.inference_mode()
def _objects(network: InstanceNetwork, image: NDArray[np.uint8], scale: float) -> Instances:
    """The objects of a picture that the network sees at `scale`; their masks have the picture's size."""
    seen = to_tensor(resized(image, scale)).to(next(network.parameters()).device)
    (objects,) = network.detect(seen, (image.shape[0], image.shape[1]))
    return objects


def seen_at(model: Model) -> float | str:
    """How large a model sees a picture, in words of a protocol."""
    return model.scale if model.side is None else f"shorter side {model.side}"


def _raw(model: Model, image: NDArray[np.uint8], inference: Inference) -> Tensor:
    """Raw scores (C, H, W) of one model by boxes, tiles or the whole picture, averaged over its symmetries."""
    network, size = pixel_network(model.network, "predict"), (image.shape[0], image.shape[1])
    symmetries = AVERAGES[inference.average][1]
    if inference.proposals:
        boxes = chosen(image, str(inference.proposals_by), str(inference.merge))
        counts = [inference.proposals]
        ((_, merged),) = merges(network, len(model.classes), image, boxes, counts, str(inference.merge), symmetries)
        return merged
    if inference.tile:
        full = np.empty((*size, len(model.classes)), np.float32)
        for window, part in _tiles(model, image, inference):
            top, left, bottom, right = window
            full[top:bottom, left:right] = part.interpolated(size, window)
        return _channels_first(full)
    seen = resized(image, model.scale_for(size))
    total = np.zeros((*size, len(model.classes)), np.float32)
    for symmetry in symmetries:
        found = scores_of(network.score_map, network, turned(seen, symmetry))
        total += turned_back(found.interpolated(size[::-1] if symmetry[0] else size), symmetry)
    return _channels_first(total / np.float32(len(symmetries)))


def _tiles(model: Model, image: NDArray[np.uint8], inference: Inference) -> Iterator[tuple[Window, Scores]]:
    size = image.shape[0], image.shape[1]
    seen = resized(image, model.scale_for(size))
    network = tiled(pixel_network(model.network, "tile"), inference.tile)
    return tiles(network, seen, size, inference.tile, AVERAGES[inference.average][1])


def _channels_first(scores: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(scores).movedim(2, 0)
