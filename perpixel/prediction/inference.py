"""How a picture becomes class probabilities, where more is done than one pass of the network over the whole picture.

The steps in order: the picture is scaled; cut into boxes, tiles or windows, or kept whole; turned; the network's scores are
joined; they are joined with those of a second network; a CRF refines them; the labels are merged with the objects of another
network into a panoptic map. Sources:

- Scales: DeepLab v2 and v3, PSPNet and EncNet; without windows the scores of a scale are read at the pixels of the picture.
- Boxes: DeconvNet (Noh et al., ICCV 2015) and its released code; see `by_boxes`.
- Tiles: U-Net (Ronneberger et al., MICCAI 2015, section 2), and any network whose reach is known; see `tiles`.
- Windows: the released code of PSPNet and EncNet; see `windows`.
- Averages: U-Net's released scripts average the scores of 4 flips. The paper averages "7 rotated versions" and does not say
  which. Here they are the seven ways to turn a square sheet: by 90, 180 and 270 degrees, and over its four axes. No turn needs
  interpolation, and the unturned picture is not among the seven. DeepLab v3, PSPNet and EncNet average over the picture and its
  mirror image.
- Joining turned pictures, windows and scales: see `fuse`.
- Output stride: DeepLab v3 (Chen et al., arXiv:1706.05587) is trained at 16 and judged at 8.
- Ensemble: the mean of two networks' probabilities (DeconvNet's paper), or the product of their scores, clipped at 0, with a
  softmax over it (its released code).
- Panoptic maps: see `panoptic`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perpixel.classes import ClassTable
from perpixel.errors import UsageError, did_you_mean
from perpixel.limits import LARGEST_SCALE, MAX_PIXELS
from perpixel.networks import (
    InstanceNetwork,
    Network,
    finds_objects,
    gives_labels,
    labels_pixels,
    pixel_network,
    with_output_stride,
)  # fmt: skip
from perpixel.prediction import panoptic
from perpixel.prediction.by_boxes import CONTEXT, MERGES, chosen, merged_parts, side_of
from perpixel.prediction.crf.refine import refine
from perpixel.prediction.crf.settings import CRFS
from perpixel.prediction.fuse import FUSES, Answer, Rule, in_step
from perpixel.prediction.instances import labels_of
from perpixel.prediction.kept_scores import KeptScores
from perpixel.prediction.proposals import METHODS, propose
from perpixel.prediction.score_maps import Scores, Window, resized, score_map, to_tensor
from perpixel.prediction.symmetries import ALL, FLIPS, Symmetry, read_back, scores_of_turned
from perpixel.prediction.tiles import tiles, tiling_of
from perpixel.prediction.windows import step_of, strips, windows
from perpixel.sample import Instances, Prediction, Sample
from perpixel.weights.model_file import Model, load

ENSEMBLES = {"mean": "mean of two networks' probabilities", "product": "softmax of the product of two networks' scores above 0"}
AVERAGES: dict[str, tuple[str, tuple[Symmetry, ...]]] = {
    "none": ("none", ALL[:1]),
    "mirror": ("as it is and left-right", FLIPS[:2]),
    "flips": ("as it is, left-right, up-down and both", FLIPS),
    "rotations": ("turned by 90, 180 and 270 degrees and over 4 axes", ALL[1:]),
}
MERGING = (*panoptic.MERGING, "things")  # settings that belong to objects_by
OF_OBJECTS = ("objects_by", *MERGING)
LONGEST = isqrt(MAX_PIXELS)  # side of the largest square picture


@dataclass(frozen=True)
class Inference:
    """Settings of prediction; by default the network is run once on the whole picture.

    `proposals`: boxes by the method `proposals_by` (default edge_boxes), enlarged 1.2 times, each resized to the network's
    `side`, merged by `merge`: max (equation 1, default), sum (equation 2) or released. `tile`: side of the parts of a picture
    that the network sees one by one, with the scores of the whole picture (`tiles`); 16 k + 60 of U-Net. `average`: none, mirror
    (2), flips (4) or rotations (7); of each box where there are boxes. `ensemble`: a second model, run on the whole picture,
    joined by `ensemble_by`: mean (default) or product. `crf`: deeplab or deconvnet.

    `scales`: factors of the size that the model sees pictures at, each once. `base`: with it the longer side of the scaled
    picture is `base` times the scale, whatever the model's own scale. `window`: side of the square windows that the network sees
    one by one, which begin at every `window_step` pixels (default two thirds of the side, rounded up). `fuse`: how turned
    pictures, windows and scales are joined, a name of FUSES; default probabilities, with flips and rotations scores.
    `output_stride`: of the network, where that has one to set, instead of its own.

    `objects_by`: a network of objects; with it predictions have a `panoptic` map, and its objects. Those of a score below
    `objects_score` (default 0.5) are left out, and those of which more than the share `objects_overlap` (default 0.5) is taken by
    others; so is stuff of fewer than `stuff_area` pixels (default 4096). `things`: names of the classes whose objects are told
    apart; without it those that the table of the network of objects says.

    Raises UsageError for a value that cannot work, or for a setting without the setting that it belongs to; UnknownName for a
    name."""

    proposals: int = 0
    proposals_by: str | None = None
    merge: str | None = None
    ensemble: Model | str | Path | None = None
    ensemble_by: str | None = None
    crf: str | None = None
    tile: int = 0
    average: str = "none"
    scales: tuple[float, ...] = (1.0,)
    base: int = 0
    window: int = 0
    window_step: int | None = None
    fuse: str | None = None
    output_stride: int = 0
    objects_by: Model | str | Path | None = None
    objects_score: float | None = None
    objects_overlap: float | None = None
    stuff_area: int | None = None
    things: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("proposals", "tile", "base", "window", "output_stride"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: must be 0 (without) or above.")
        if self.proposals and self.tile:
            raise UsageError(f"proposals = {self.proposals} and tile = {self.tile}: a box is no tile; give one of them.")
        self._check_scales()
        self._part("proposals_by", METHODS, "proposals", "edge_boxes")
        self._part("merge", MERGES, "proposals", "max")
        self._part("ensemble_by", ENSEMBLES, "ensemble", "mean")
        if self.average not in AVERAGES:
            raise did_you_mean("average", self.average, AVERAGES)
        if self.crf is not None and self.crf not in CRFS:
            raise did_you_mean("crf", self.crf, CRFS)
        self._check_fuse()
        for name in MERGING:
            if getattr(self, name) is not None and self.objects_by is None:
                raise UsageError(f"{name} = {getattr(self, name)!r}: belongs to objects_by, which is not given; give that too.")
        panoptic.refuse_merging(**self.merging)

    @property
    def merging(self) -> dict[str, Any]:
        """The numbers by which labels and objects are merged."""
        given = {name: getattr(self, name) for name in panoptic.MERGING}
        return {name: default if given[name] is None else given[name] for name, default in panoptic.MERGING.items()}

    def _check_scales(self) -> None:
        """Sorts `scales`; checks `scales`, `base` and `window`, and whether they go with boxes and tiles."""
        try:
            object.__setattr__(self, "scales", tuple(sorted(float(scale) for scale in self.scales)))
        except (TypeError, ValueError):
            raise UsageError(f"scales = {self.scales!r}: must be numbers, such as (0.5, 0.75, 1).") from None
        listed = ",".join(f"{scale:g}" for scale in self.scales)
        if not self.scales or not all(0 < scale <= LARGEST_SCALE for scale in self.scales):
            raise UsageError(f"scales = {listed}: must be numbers above 0 and at most {LARGEST_SCALE:g}, at least one.")
        if len(set(self.scales)) < len(self.scales):
            raise UsageError(f"scales = {listed}: name each scale once.")
        for name, side in (("window", self.window), ("base", round(self.base * self.scales[-1]))):
            if side > LONGEST:
                raise UsageError(f"{name}: {side} pixels a side are more than the {LONGEST} of the largest picture; give fewer.")
        if self.window and (self.proposals or self.tile):
            other = "proposals" if self.proposals else "tile"
            raise UsageError(f"window = {self.window} and {other} = {getattr(self, other)}: each cuts the picture; give one.")
        if self.proposals and (self.base or self.scales != (1.0,)):
            name = "base" if self.base else "scales"
            raise UsageError(f"proposals = {self.proposals}: each box is resized to the network's side; leave {name} out.")
        if self.window_step is not None and not self.window:
            raise UsageError(
                f"window_step = {self.window_step}: belongs to window, which is not given; give window too, or leave it out."
            )
        if self.window_step is not None and not 1 <= self.window_step <= self.window:
            raise UsageError(f"window_step = {self.window_step}: must be 1 to {self.window}, or windows leave pixels out.")

    def _check_fuse(self) -> None:
        if self.fuse is not None and self.fuse not in FUSES:
            raise did_you_mean("fuse", self.fuse, FUSES)
        if self.fuse is not None and self.proposals:
            raise UsageError(f"fuse = {self.fuse!r}: boxes are joined by merge; leave fuse out.")
        if self.fuse is not None and not self._several:
            raise UsageError(
                f"fuse = {self.fuse!r}: there is nothing to join in one pass; give average, scales or window, or leave it out."
            )
        if self.ensemble_by == "product" and self.rule not in (FUSES["scores"], FUSES["maximum"]):
            raise UsageError("ensemble_by = 'product': multiplies raw scores; give fuse = 'scores' or 'maximum' too.")

    @property
    def _several(self) -> bool:
        """Whether the network's scores of several passes are joined."""
        return self.average != "none" or len(self.scales) > 1 or self.window > 0

    @property
    def rule(self) -> Rule:
        """How turned pictures, windows and scales are joined."""
        raw = self.proposals or self.average in ("flips", "rotations") or not self._several
        return FUSES[self.fuse or ("scores" if raw else "probabilities")]

    @property
    def step(self) -> int:
        """The number of pixels from the start of a window to the start of the next."""
        return step_of(self.window) if self.window_step is None else self.window_step

    def factor(self, model: Model, size: tuple[int, int], scale: float) -> float:
        """The factor by which a picture of `size` is resized for the model at one of the scales."""
        if self.base:
            return max(1, round(self.base * scale)) / max(size)
        return min(model.scale_for(size) * scale, LARGEST_SCALE)

    def _part(self, name: str, known: Any, whole: str, default: str) -> None:
        """Checks the setting `name`, which belongs to the setting `whole`; sets it to `default` where only `whole` is given."""
        value = getattr(self, name)
        if value is not None and value not in known:
            raise did_you_mean(name, value, known)
        if value is not None and not getattr(self, whole):
            raise UsageError(f"{name} = {value!r}: belongs to {whole}, which is not given; give {whole} too, or leave it out.")
        if value is None and getattr(self, whole):
            object.__setattr__(self, name, default)

    @property
    def given(self) -> list[str]:
        """The names of the settings that differ from their defaults."""
        return [item.name for item in fields(self) if getattr(self, item.name) != item.default]

    @property
    def plain(self) -> bool:
        """Whether all settings have their defaults."""
        return not self.given

    @property
    def once(self) -> bool:
        """Whether the network is run once on the whole picture, perhaps scaled, and its scores are not changed."""
        return not (self.proposals or self.tile or self.ensemble or self.crf or self._several)

    def predictor(self, model: Model, scores: bool | KeptScores = False) -> Predictor:
        """The predictor of `model` with these settings: its network is ready, and the second model loaded on its device.

        `scores` asks for probabilities of pixels, of all classes as float32 where it is True. Raises UsageError for a setting
        that does not fit `model`, and the errors of `load`."""
        network = model.ready()
        of_pixels = [name for name in self.given if name not in OF_OBJECTS]
        if of_pixels and finds_objects(network):
            setting = of_pixels[0]
            raise UsageError(f"{setting}: {type(network).__name__} finds objects in the picture as it is; leave {setting} out.")
        if self.given and gives_labels(network):
            pixel_network(network, self.given[0])
        for name in ("tile", "output_stride"):
            if getattr(self, name) and hasattr(network, "engine"):
                raise UsageError(f"{name} = {getattr(self, name)}: torch alone runs that; leave engine out.")
        keeping = KeptScores() if scores is True else scores or None
        if keeping is not None:
            if not gives_labels(network):
                pixel_network(network, "scores")
            elif not network.gives_scores:
                raise UsageError("scores: this file was exported without them; `perpixel export --scores` adds them.")
            keeping.ids(model.classes)
        if self.tile:
            tiling_of(pixel_network(network, "tile"), self.tile)
        if self.proposals and model.bands is not None:
            raise UsageError(f"proposals: boxes are found in RGB, and the model takes {model.bands}; leave proposals out.")
        if self.proposals:  # raises before the first picture where the method needs a package that is not installed
            propose(np.zeros((8, 8, 3), np.uint8), str(self.proposals_by))
        if self.crf and len(model.classes) == 1:
            raise UsageError(f"crf = {self.crf!r}: a model of one class leaves nothing to refine; leave it out.")
        if not self.base and model.side is None and model.scale * self.scales[-1] > LARGEST_SCALE:
            raise UsageError(
                f"scales = {self.scales[-1]:g}: the model sees pictures at {model.scale:g} already, and both together must not "
                f"exceed {LARGEST_SCALE:g}."
            )
        if self.output_stride:
            model = replace(model, network=with_output_stride(network, self.output_stride))
        other = None if self.ensemble is None else self._second(model, self.ensemble)
        return Predictor(model, self, other, keeping, None if self.objects_by is None else self._objects(model, self.objects_by))

    def _second(self, model: Model, ensemble: Model | str | Path) -> Model:
        """The second model, ready to join `model`."""
        other = ensemble if isinstance(ensemble, Model) else load(ensemble)
        if other.classes.names != model.classes.names:
            raise UsageError(
                f"ensemble: the second model knows the classes {', '.join(other.classes.names)}, the first "
                f"{', '.join(model.classes.names)}; join models with the same classes."
            )
        _refuse_bands("ensemble", model, other)
        pixel_network(other.ready(), "ensemble").to(next(model.network.parameters()).device)
        return other

    def _objects(self, model: Model, objects_by: Model | str | Path) -> Objects:
        """The network of objects, ready to be merged with `model`."""
        pixel_network(model.network, "objects_by")
        other = objects_by if isinstance(objects_by, Model) else load(objects_by)
        if not finds_objects(other.ready()):
            raise UsageError(f"objects_by: {other.card.title} finds no objects; name a run of mask_rcnn or panet, say.")
        _refuse_bands("objects_by", model, other)
        other.network.to(next(model.network.parameters()).device)
        return Objects(other, panoptic.fitted(other.classes, model.classes, self.things))


def _refuse_bands(setting: str, model: Model, other: Model) -> None:
    """Raises UsageError where two models that see one picture take other bands, or see other values as 0 and 1."""
    if model.bands != other.bands:
        words = ["RGB" if one.bands is None else f"{one.bands}, with its own ranges" for one in (model, other)]
        both = f"the first model takes {words[0]}, the second {words[1]}"
        raise UsageError(f"{setting}: {both}; join models of the same bands and ranges.")


PLAIN = Inference()


@dataclass(frozen=True, eq=False)
class Objects:
    """A network of objects whose `things`, its class ids, have these class ids of the semantic network."""

    model: Model
    things: dict[int, int]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with the settings of its predictions. `Inference.predictor` makes it, and has checked that the two go together.

    `other` is the second model of an ensemble. With `scores` predictions also have these probabilities (C, H, W), with
    `objects` a panoptic map."""

    model: Model
    inference: Inference
    other: Model | None
    scores: KeptScores | None
    objects: Objects | None = None

    def __call__(self, image: NDArray[Any]) -> Prediction:
        """The prediction for a picture, uint8 RGB (H, W, 3), or with the bands of the model (H, W, N) as files store them."""
        return self.begin(image)()

    def of(self, sample: Sample) -> Prediction:
        """The prediction for the picture of a sample. Raises UsageError where it lacks a band of the model."""
        return self(self.model.picture_of(sample))

    def begin(self, image: NDArray[Any]) -> Callable[[], Prediction]:
        """Runs the networks on a picture; calling the result makes the prediction, on any thread."""
        picture, image = image, self.model.seen(image)
        labelled = self._labelled(image, picture)
        if self.objects is None:
            return labelled
        model, things = self.objects.model, self.objects.things
        network = model.network
        assert finds_objects(network)
        objects = panoptic.in_classes(_objects(network, image, model.scale_for(image.shape[:2])), things)
        return lambda: panoptic.joined(labelled(), objects, frozenset(things.values()), **self.inference.merging)

    def _labelled(self, image: NDArray[Any], picture: NDArray[Any]) -> Callable[[], Prediction]:
        """The same without the network of objects."""
        model, inference, size = self.model, self.inference, (image.shape[0], image.shape[1])
        if inference.once:
            scale = inference.factor(model, size, inference.scales[0])
            return whole_picture(model.network, model.classes, image, scale, self.scores)
        if inference.tile and not (inference._several or self.other or inference.crf or self.scores):  # in the memory of a tile
            labels = np.empty(size, model.classes.dtype)
            for (top, left, bottom, right), (part,) in _tiles(inference.scales[0], model, image, inference):
                labels[top:bottom, left:right] = part.labels(size, (top, left, bottom, right))
            return lambda: Prediction(labels, model.classes)
        prediction = self._joined(image, picture)
        return lambda: prediction

    @property
    def rules(self) -> dict[str, Any]:
        """The entries of a score's protocol that differ from the rules of a whole picture; empty for default settings."""
        model, inference = self.model, self.inference
        rules: dict[str, Any] = {}
        if hasattr(model.network, "engine"):
            rules["engine"] = model.network.engine
        scales = [self._seen_at(scale) for scale in inference.scales]
        if inference.proposals:
            side = side_of(pixel_network(model.network, "proposals"))
            scales = [f"{side} x {side}"]
            rules["window"] = (
                f"{inference.proposals} boxes by {inference.proposals_by}, enlarged {CONTEXT} times, merged by "
                f"{inference.merge}: {MERGES[str(inference.merge)]}"
            )
        if inference.tile:
            words = tiling_of(pixel_network(model.network, "tile"), inference.tile).words
            rules["window"] = f"tiles of {inference.tile}, {words}"
        if inference.window:
            rules["window"] = (
                f"{inference.window} x {inference.window} at every {inference.step} pixels, the last flush with the border; "
                "smaller pictures padded at the bottom and right with the mean colour"
            )
        raw = inference.rule is FUSES["scores"]
        if inference.average != "none":
            rules["flips"] = ("mean of raw scores " if raw else "") + AVERAGES[inference.average][0]
        if not raw or len(inference.scales) > 1 or inference.window:
            rules["fuse"] = inference.rule.words
        if inference.output_stride:
            rules["output_stride"] = inference.output_stride
        if self.other is not None:
            rules["ensemble"] = ENSEMBLES[str(inference.ensemble_by)]
            scales.append(seen_at(self.other))
        if inference.crf is not None:
            rules["crf"] = {"name": inference.crf, **asdict(CRFS[inference.crf])}
        if self.objects is not None:
            names = [model.classes.names[id] for id in sorted(self.objects.things.values())]
            rules["panoptic_map"] = {"rule": panoptic.RULE, **inference.merging, "things": names}
            scales.append(seen_at(self.objects.model))
        return {**rules, **({"scales": scales} if scales != [seen_at(model)] else {})}

    def _seen_at(self, scale: float) -> float | str:
        """The size at which the model sees a picture at one of the scales, in the words of a protocol."""
        model, base = self.model, self.inference.base
        if base:
            return f"longer side {max(1, round(base * scale))}"
        if model.side is None:
            return model.scale * scale
        return seen_at(model) if scale == 1 else f"{scale:g} x {seen_at(model)}"

    @property
    def provides(self) -> frozenset[str]:
        """The parts of its predictions: labels, scores of pixels where asked for, instances, segments of panoptic maps."""
        parts = provides(self.model.network)
        return parts if self.objects is None else parts | {"instances", "segments"}

    @property
    def weights(self) -> str:
        """The digest of the model's weights, or the digests of all models joined by +."""
        models = [self.model, self.other, None if self.objects is None else self.objects.model]
        return "+".join(model.digest for model in models if model is not None)

    def _joined(self, image: NDArray[Any], picture: NDArray[Any]) -> Prediction:
        """Joined scores of the first network, and scores of the second network -> probabilities -> CRF.

        Scores of all pixels are in memory only where they are asked for, or a CRF refines them."""
        size, classes, crf = (image.shape[0], image.shape[1]), self.model.classes, self.inference.crf
        labels = np.empty(size, classes.dtype)
        kept = None if self.scores is None else self.scores.empty(size, classes)
        to_refine = np.empty((len(classes), *size), np.float32) if crf else None
        for (top, left, bottom, right), joined in self._parts(image, size):
            part = slice(top, bottom), slice(left, right)
            labels[part] = joined.argmax(0).numpy()
            if to_refine is not None or kept is not None:
                probabilities = (joined if self._is_probability else joined.softmax(0)).numpy()
                if to_refine is not None:
                    to_refine[:, *part] = probabilities
                elif kept is not None and self.scores is not None:
                    self.scores.put(kept, part, probabilities, classes)
        if to_refine is not None and crf is not None:
            refined = refine(self.model.shown(picture), to_refine, CRFS[crf])
            labels = refined.argmax(0).astype(classes.dtype)
            if kept is not None and self.scores is not None:
                self.scores.put(kept, (slice(None), slice(None)), refined, classes)
        return Prediction(labels, classes, kept)

    @property
    def _is_probability(self) -> bool:
        """Whether joined scores are probabilities; otherwise a softmax makes them."""
        return self.inference.rule.gives_probabilities or (self.other is not None and self.inference.ensemble_by == "mean")

    def _parts(self, image: NDArray[Any], size: tuple[int, int]) -> Iterator[tuple[Window, Tensor]]:
        """Parts that cover the picture, each with the joined scores (C, h, w) of all networks."""
        other, rule = self.other, self.inference.rule
        second = None
        if other is not None:
            second = score_map(pixel_network(other.network, "ensemble"), image, other.scale_for(size))
        for window, answer in _answer(self.model, image, self.inference):
            scores = _channels_first(answer)
            if second is not None:
                other_scores = _channels_first(second.interpolated(size, window))
                if self.inference.ensemble_by == "mean":
                    scores = ((scores if rule.gives_probabilities else scores.softmax(0)) + other_scores.softmax(0)) / 2
                else:
                    scores = scores.clamp(min=0) * other_scores.clamp(min=0)
            yield window, scores


def provides(network: Network) -> frozenset[str]:
    """The parts that predictions of a network by itself can have: labels, scores of pixels, instances."""
    scores = labels_pixels(network) or (gives_labels(network) and network.gives_scores)
    parts = {"labels": True, "scores": scores, "instances": finds_objects(network)}
    return frozenset(part for part, provided in parts.items() if provided)


def whole_picture(
    network: Network, classes: ClassTable, image: NDArray[Any], scale: float, scores: KeptScores | None = None
) -> Callable[[], Prediction]:
    """Runs a network on a whole picture at `scale`; calling the result makes the prediction, on any thread."""
    size = image.shape[0], image.shape[1]
    if gives_labels(network):
        labels, probabilities = network.labels(image)
        kept = None if scores is None or probabilities is None else scores.of(probabilities, classes)
        return lambda: Prediction(labels, classes, kept)
    objects = _objects(network, image, scale) if finds_objects(network) else None
    if labels_pixels(network):
        cell_scores = score_map(network, image, scale)
        return lambda: Prediction(
            cell_scores.labels(size).astype(classes.dtype, copy=False), classes,
            None if scores is None else _kept(cell_scores, size, scores, classes), objects,
        )  # fmt: skip
    assert objects is not None, "a network labels pixels or finds objects"
    return lambda: Prediction(labels_of(objects, classes), classes, None, objects)


def _kept(cell_scores: Scores, size: tuple[int, int], scores: KeptScores, classes: ClassTable) -> NDArray[Any]:
    """The probabilities at each pixel, in the memory of those that are kept and of a strip."""
    kept = scores.empty(size, classes)
    for strip in strips(size, len(classes)):
        scores.put(kept, (slice(strip[0], strip[2]), slice(None)), cell_scores.probabilities(size, strip), classes)
    return kept


@torch.inference_mode()
def _objects(network: InstanceNetwork, image: NDArray[Any], scale: float) -> Instances:
    """The objects of a picture that the network sees at `scale`; their masks have the picture's size."""
    seen = to_tensor(resized(image, scale)).to(next(network.parameters()).device)
    (objects,) = network.detect(seen, (image.shape[0], image.shape[1]))
    return objects


def seen_at(model: Model) -> float | str:
    """The size at which a model sees a picture, in the words of a protocol."""
    return model.scale if model.side is None else f"shorter side {model.side}"


def _answer(model: Model, image: NDArray[Any], inference: Inference) -> Iterator[tuple[Window, Answer]]:
    """Parts that cover a picture, each with the joined scores (h, w, C) of one model: raw scores, or probabilities where the rule
    gives them.

    Memory holds the network's scores at each scale, before they are interpolated, and a part. Where these are more than the
    scores of all pixels, it holds those instead, and the scores of one scale."""
    size, rule = (image.shape[0], image.shape[1]), inference.rule
    if inference.proposals:
        network, symmetries = pixel_network(model.network, "predict"), AVERAGES[inference.average][1]
        boxes = chosen(image, str(inference.proposals_by), str(inference.merge))
        boxes = boxes[: inference.proposals]
        yield from merged_parts(network, len(model.classes), image, boxes, str(inference.merge), symmetries)
        return
    total = None
    if inference.window or inference.tile:
        parts = [_cut(scale, model, image, inference) for scale in inference.scales]
        if len(parts) == 1 or _rows_held(model, size, inference) * size[1] <= _room(size):
            for window, answers in in_step(parts, size):
                yield window, rule.over_all(answers)
            return
        for answers_of_scale in parts:
            total = rule.with_parts(total, answers_of_scale, (*size, len(model.classes)))
    else:
        network, symmetries = pixel_network(model.network, "predict"), AVERAGES[inference.average][1]
        held: list[list[Scores]] = []
        for scale in inference.scales:
            held.append(scores_of_turned(network, resized(image, inference.factor(model, size, scale)), symmetries))
            cells = sum(each.scores.shape[0] * each.scores.shape[1] for scores in held for each in scores)
            if total is not None or (len(inference.scales) > 1 and cells > _room(size)):
                for scores in held:
                    of_scale = ((strip, rule.turned(read_back(scores, symmetries, size, strip)))
                                for strip in strips(size, len(model.classes)))  # fmt: skip
                    total = rule.with_parts(total, of_scale, (*size, len(model.classes)))
                held.clear()
        if total is None:
            for strip in strips(size, len(model.classes)):
                yield strip, rule.over_all([rule.turned(read_back(scores, symmetries, size, strip)) for scores in held])
            return
    assert total is not None
    rule.finish(total, len(inference.scales))
    yield (0, 0, *size), total


def _room(size: tuple[int, int]) -> int:
    """The scores of a class that may be in memory, before it is better to hold those of all pixels."""
    return size[0] * size[1]


def _rows_held(model: Model, size: tuple[int, int], inference: Inference) -> float:
    """The rows of the picture that have as many scores as the parts at all scales that are in memory together."""
    rows = 0.0
    for scale in inference.scales:
        factor = inference.factor(model, size, scale)
        rows += min(inference.window, size[0] * factor) * factor if inference.window else inference.tile / factor
    return rows


def _cut(scale: float, model: Model, image: NDArray[Any], inference: Inference) -> Iterator[tuple[Window, Answer]]:
    """Parts that cover the picture, each with its scores (h, w, C) at one scale: by windows or by tiles."""
    size, classes, rule = (image.shape[0], image.shape[1]), len(model.classes), inference.rule
    if inference.window:
        network, symmetries = pixel_network(model.network, "predict"), AVERAGES[inference.average][1]
        seen = resized(image, inference.factor(model, size, scale))
        yield from windows(network, classes, seen, size, inference.window, inference.step, symmetries, rule)
        return
    for window, scores in _tiles(scale, model, image, inference):
        yield window, rule.turned(read_back(scores, AVERAGES[inference.average][1], size, window))


def _tiles(scale: float, model: Model, image: NDArray[Any], inference: Inference) -> Iterator[tuple[Window, list[Scores]]]:
    """Windows that cover the picture, each with its scores from every turned picture, at one scale."""
    size, symmetries = (image.shape[0], image.shape[1]), AVERAGES[inference.average][1]
    seen = resized(image, inference.factor(model, size, scale))
    return tiles(pixel_network(model.network, "tile"), seen, size, inference.tile, symmetries)


def _channels_first(scores: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(scores).movedim(2, 0)
