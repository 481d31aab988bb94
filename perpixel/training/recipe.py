"""Recipe: all settings of a training, in one flat list. Its fields are the keys of a TOML file, the flags of `perpixel train`
and, in capitals behind PERPIXEL_, the environment variables. A flag wins over a variable, a variable over the file, the file
over the default."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from perpixel.errors import DataError, UsageError, did_you_mean, printable
from perpixel.files import read_text
from perpixel.limits import LARGEST_SCALE
from perpixel.measures import named

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("constant", "poly", "one_cycle", "step", "milestones")
LOSS_MEANS = ("pixels", "pictures", "parts")
SAMPLINGS = ("shuffled", "replacement")
CROPS = ("none", "objects", "proposals")
PROPOSALS = ("edge_boxes", "selective_search", "sliding")
FILLS = ("mirror", "mean")
ENVIRONMENT = "PERPIXEL_"
RECIPES = Path(__file__).parents[1] / "recipes"
LARGEST_FILE = 1 << 16  # bytes of a recipe; the time that tomllib takes grows with their square
LARGEST_WIDTH = 64.0
LARGEST_SIDE = 1 << 16  # pixels of a crop; channels of a layer
LARGEST_BATCH = 1 << 20
LARGEST_NUMBER = 10**15
LONGEST_TEXT = 4096  # of a path
LONGEST_SHOWN = 100
LARGEST_SIGMA = 100.0  # pixels
# Settings that may differ when a run is continued. They change the speed, the reporting or the place of the data, but no weight;
# fingerprints tell whether the data are the same.
FREE = frozenset({"save_every", "cache_mb", "root"})
PLACES = ("data", "root", "starts_from")  # settings that may be paths, in which ~ is home
PLAN = "plan"  # the origin of a setting that `plan` chose; the reason follows it, behind a colon
LENGTHS = ("steps", "minutes", "epochs")  # settings that say how long a training is; of the strongest origin one counts
COUNTED = ("step_size", "milestones", "warm_up")  # settings that are steps of a training


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _argument(help: str) -> Any:
    """An argument of networks. Where it has no value, the default of the network's constructor holds."""
    return field(default=None, metadata={"help": help, "argument": True})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    data: str = _setting("scenes", "Data set: a name or a folder (see `perpixel datasets`).")
    root: str | None = _setting(None, "Folder that holds the data set of that name.")
    train_split: str = _setting("train", "Split that is trained on.")
    val_split: str = _setting("val", "Split that is judged on, in training and after.")
    network: str = _setting("fcn8s", "Network (see `perpixel networks`).")
    # arguments of the network's constructor, and the weights at the start
    backbone: str | None = _argument("vgg16, alexnet, googlenet, vgg16_reduced, resnet50, xception65 ... or any timm name.")
    weights: str = _setting("auto", "imagenet, none, or auto: imagenet for a full-size trunk without starts_from.")
    starts_from: str | None = _setting(None, "Run, model file, trunk or recipe whose weights it starts with.")
    stem: str | None = _argument("Classifier: stem of its ResNet, plain as published, or deep as PSPNet and EncNet have it.")
    width: float | None = _argument("Scales every layer; 1 is the paper's.")
    padding: int | None = _argument("FCN: padding of the first convolution, 100 as published or 1.")
    layer: str | None = _argument("FCN: score this feature alone, such as pool3, pool4 or pool5.")
    learned_upsampling: str | None = _argument("FCN: none as released, intermediate as in CVPR 2015, or all.")
    features: tuple[str, ...] | None = _argument("ParseNet: pool6 (the global context), fc7, conv5, conv4, conv3.")
    fusion: str | None = _argument("ParseNet: late, which adds scores, or early, which joins features.")
    normalize: str | None = _argument("ParseNet: L2 norm of features with a learned or fixed scale, or none.")
    norm_scale: float | None = _argument("ParseNet: scale of normalised features at the start.")
    side: int | None = _argument("DeconvNet: side of the square that it sees, 224 as published, or a multiple of 32.")
    unpooling: str | None = _argument("DeconvNet: switches as published, corner or bilinear.")
    batch_norm: bool | None = _argument("DeconvNet: batch normalisation, as published.")
    variant: str | None = _argument(
        "U-Net: paper, or release, its authors'. EncNet: code, or paper. Mask R-CNN: fpn, or c4. SegFormer: b0 to b5."
    )
    channels: int | None = _argument("Bands of a picture: as many as the data have; of RGB 3, or U-Net's 1 for grey.")
    convolutions: str | None = _argument("U-Net: valid as published, or same.")
    norm: str | None = _argument(
        "Normalisation. U-Net: batch, or none as published. DeepLab v2, Mask R-CNN, PANet on our ResNets: frozen or batch. "
        "FPN: group or batch. "
        "vit_linear: batch or layer."
    )
    top_down: bool | None = _argument("FPN: the path that takes coarse maps down to fine ones, as published.")
    kernels: tuple[int, ...] | None = _argument("FPN's proposals: 5, 7 or both, sides of the convolutions that see an object.")
    mask_side: int | None = _argument("FPN's proposals: cells of a mask in a row, 28 as in the final model or 14.")
    skips: bool | None = _argument("U-Net: join the decoder with the encoder's maps, as published.")
    decoder: tuple[int, ...] | None = _argument("U-Net on a backbone: channels of the decoder, deepest first.")
    bins: tuple[int, ...] | None = _argument("PSPNet: sides of the grids that features are pooled to, 1 2 3 6 as published.")
    pooling: str | None = _argument("PSPNet: average as published, or max. PANet, of levels: max, sum, or level, the own alone.")
    reduce: bool | None = _argument("PSPNet: reduce the channels of pooled features, as published.")
    lateral: bool | None = _argument(
        "FPN: read every level of the trunk, as published. EncNet: join res3 and res4 to res5, as its authors do for PASCAL."
    )
    codewords: int | None = _argument("EncNet: centres of the encoding layer, 32 as published; 0 is the mean over pixels.")
    se_loss: float | None = _argument("EncNet: weight of the loss of which classes occur, 0.2 as published.")
    auxiliary: float | None = _argument("PSPNet, EncNet: weight of the loss on res4; 0 leaves its head out.")
    head: str | None = _argument("DeepLab v1: large_fov as published, 7x7 or 4x4.")
    rate: int | None = _argument("DeepLab v1: dilation of fc6.")
    msc: bool | None = _argument("DeepLab v1: MSc, which adds scores of the picture and of four pools.")
    rates: tuple[int, ...] | None = _argument("DeepLab v2, v3, v3+: dilations of the pyramid; those of v3 at output stride 16.")
    scales: tuple[float, ...] | None = _argument("DeepLab v2: scales at which the picture is seen, 1 0.75 0.5 as published.")
    stride_in: str | None = _argument("DeepLab v2: the convolution of a ResNet's blocks that has the stride, 3x3 or 1x1.")
    output_stride: int | None = _argument("DeepLab v3, v3+: 16 as published, or 8, 4, 32.")
    multi_grid: tuple[int, ...] | None = _argument("DeepLab v3, v3+: factors of the dilations in the last stage.")
    image_pooling: bool | None = _argument("DeepLab v3, v3+: the mean of the picture as a branch, as published.")
    norm_momentum: float | None = _argument(
        "DeepLab v3, v3+: by how much statistics of batch normalisation move in a step, 0.0003 as published; few steps need 0.1."
    )
    separable: bool | None = _argument("DeepLab v3+: separable convolutions in pyramid and decoder, as published.")
    low_level: int | None = _argument("DeepLab v3+: channels of the low-level feature, 48 as published.")
    dropout: float | None = _argument("Dropout ratio.")
    roi: str | None = _argument("Mask R-CNN: align, or pool, which rounds the sides of regions.")
    anchors: tuple[int, ...] | None = _argument("Mask R-CNN, PANet: sides of anchors in pixels, one for each level.")
    min_size: tuple[int, ...] | None = _argument("Mask R-CNN, PANet: shorter sides of resized pictures; test takes the last.")
    max_size: int | None = _argument("Mask R-CNN, PANet: longest side of resized pictures.")
    detections: int | None = _argument("Mask R-CNN, PANet: objects of a picture at most.")
    bottom_up: bool | None = _argument("PANet: the path from fine levels to coarse ones, as published.")
    box_head: str | None = _argument("PANet: convolutions, or two_fc for two fully connected layers.")
    fc_fusion: bool | None = _argument("PANet: a fully connected branch is added to masks, as published.")
    # what the network sees
    bands: tuple[str, ...] | None = _setting(
        None, "Of a folder with bands.csv: the bands to learn from, by name or by number from 1, in this order. Without, all."
    )
    band_ranges: tuple[float, ...] | None = _setting(
        None, "The values of these bands that become 0 and 1, low and high of each in turn. Without, those of bands.csv."
    )
    scale: float = _setting(1.0, "Size at which the network sees pictures, in training and after, relative to their own.")
    crop: tuple[int, int] | None = _setting(None, "Height and width of training crops; without, whole pictures of one size.")
    scale_jitter: tuple[float, float] = _setting((1.0, 1.0), "Range of the random scale of training crops, on top of scale.")
    scale_steps: float = _setting(0.0, "Steps of that scale, such as DeepLab's 0.25, each as likely; 0 for any scale between.")
    short_sides: tuple[int, ...] | None = _setting(
        None, "Whole training pictures of any size: the shorter side is one of these, in place of scale."
    )
    long_side: int | None = _setting(None, "With short_sides: the most that the longer side has.")
    group_by_aspect: bool = _setting(False, "With short_sides: a batch holds wide pictures, or tall ones.")
    flip: bool = _setting(True, "Mirror half of the training pictures left to right.")
    colour: float = _setting(0.0, "Strength of random brightness, contrast, saturation and hue, 0 to 1.")
    blur: float = _setting(0.0, "Share of training pictures that a Gaussian of 5 x 5 pixels blurs; PSPNet's authors blur half.")
    class_crops: float = _setting(0.0, "Share of crops centred on a pixel of a class drawn evenly from those in the picture.")
    flip_vertical: bool = _setting(False, "Mirror half of the training pictures top to bottom.")
    rotate: float = _setting(0.0, "Largest angle of a random rotation, in degrees; `fill` says what shows at its corners.")
    elastic: float = _setting(0.0, "Elastic deformation: standard deviation of displacements in pixels, 10 for U-Net; 0 is off.")
    fill: str = _setting(
        "mirror", "Outside a rotated or deformed picture: mirror, its mirror image, or mean, the mean colour and void."
    )
    crops: str = _setting(
        "none", "none: pictures; objects: boxes of true objects, all else background; proposals: boxes that overlap an object."
    )
    crop_enlarge: float = _setting(1.2, "Crops: by what their sides are lengthened, for context.")
    crop_balance: float = _setting(0.5, "Crops: those of rare classes repeat; 0 never, 1 until all classes have equally many.")
    proposals: str = _setting("edge_boxes", "Crops of proposals: edge_boxes, selective_search or sliding.")
    proposal_overlap: float = _setting(0.5, "Crops of proposals: least overlap (IoU) of box and object.")
    # how it learns
    steps: int = _setting(1000, "Optimiser steps.")
    minutes: float | None = _setting(
        None, "About how long all of it takes: the steps follow from the time of a step, measured before the first."
    )
    epochs: float | None = _setting(None, "How often each training picture is seen, on average: the steps follow from it.")
    patience: int | None = _setting(None, "Ends after so many validations in a row without a better figure.")
    batch: int = _setting(8, "Pictures per step, over all processes and accumulated parts.")
    sampling: str = _setting("shuffled", "shuffled, epoch after epoch, or replacement: each picture drawn from all.")
    accumulate: int = _setting(1, "Parts into which a process splits its share of the batch to save memory.")
    optimiser: str = _setting("adamw", "sgd or adamw.")
    lr: float = _setting(1e-3, "Learning rate; the highest one of one_cycle.")
    trunk_lr: float = _setting(1.0, "Factor of the learning rate for the trunk; 0 freezes it.")
    trunk_frozen: int = _setting(0, "Parts of the trunk that do not learn: 0 none, 1 the stem, 2 up to res2, ... 5 up to res5.")
    freeze_norm: bool = _setting(False, "Batch normalisation keeps statistics, scale and shift, as in DeepLab v3's second stage.")
    score_lr: float = _setting(1.0, "Factor of the learning rate for score layers.")
    bias_lr: float = _setting(1.0, "Factor of the learning rate for biases, on top of the others.")
    momentum: float = _setting(0.9, "Momentum of sgd; beta 1 of adamw.")
    decay: float = _setting(1e-4, "Weight decay; biases and normalisation have none.")
    bias_decay: bool = _setting(False, "Decay biases as well.")
    schedule: str = _setting(
        "poly", "constant, poly (power 0.9), one_cycle, step (times gamma after each step_size steps), or milestones."
    )
    step_size: int | None = _setting(None, "Schedule step: steps at one learning rate.")
    milestones: tuple[int, ...] | None = _setting(None, "Schedule milestones: steps after which the rate is multiplied by gamma.")
    gamma: float = _setting(0.1, "Schedules step and milestones: by what the learning rate is multiplied.")
    warm_up: int = _setting(0, "Steps in which the learning rate rises linearly to that of the schedule; 0 is off.")
    warm_up_from: float = _setting(1 / 3, "Warm-up: factor of the learning rate at the first step.")
    loss: str = _setting(
        "cross_entropy", "cross_entropy, ohem_cross_entropy (hard pixels alone), dice, lovasz_softmax, or a sum of some by +."
    )
    loss_mean: str = _setting(
        "pixels", "The loss is a mean over: pixels; pictures (of sums over their pixels); parts (of means over their pixels)."
    )
    class_weights: str = _setting("none", "none, inverse_square_root, inverse, enet, or pole=3,sign=2.")
    statistics_batches: int = _setting(
        0, "Batches by which batch normalisation is measured anew before it is judged; 0 keeps running averages."
    )
    statistics_batch: int = _setting(28, "Pictures in each of those batches, over all processes.")
    separation_weights: float = _setting(0.0, "Weight of the gap between two touching objects, U-Net's w0, there 10; 0 is off.")
    separation_sigma: float = _setting(5.0, "Distance in pixels over which that weight falls off, U-Net's sigma.")
    separation_class: str | None = _setting(None, "Class whose connected regions are the objects; without, the data set's own.")
    ema: float = _setting(0.0, "Decay of the moving average of weights that is judged and kept; 0 is off.")
    clip: float = _setting(0.0, "Largest norm of the gradient; 0 is off.")
    mixed_precision: bool = _setting(True, "Half precision on GPUs (bfloat16 where there is, else float16 with scaling).")
    channels_last: bool = _setting(True, "Memory layout that most convolutions are faster in.")
    seed: int = _setting(0, "Seed of every random choice.")
    device: str = _setting("auto", "auto, cpu, cuda ...")
    # what it reports and keeps
    validations: int = _setting(10, "How often val is judged, evenly spread; the best weights are kept.")
    val_pictures: int | None = _setting(
        None, "Pictures of val, evenly spread, that are judged in training; without, all. At its end all are judged."
    )
    measure: str | None = _setting(
        None, "Measure of val: pixels, instances, objects=CLASS, surfaces ...; without, pixels; of objects alone, instances."
    )
    figure: str | None = _setting(None, "Figure of it that chooses the best weights, such as AP50; without, the main one.")
    log_every: int = _setting(10, "Steps between lines of history.jsonl.")
    save_every: int = _setting(100, "Steps between states to resume from.")
    cache_mb: int = _setting(1024, "Decoded training pictures kept in memory, in MiB.")

    def __post_init__(self) -> None:
        """`~` in paths becomes the home folder. Raises UsageError for a value that cannot work, naming the setting."""
        for item in fields(self):
            _require_sane(item.name, getattr(self, item.name))
        for name in PLACES:
            object.__setattr__(self, name, _with_home(getattr(self, name)))
        for name in ("steps", "batch", "accumulate", "statistics_batch", "log_every", "save_every", "validations"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("patience", "val_pictures"):
            count = getattr(self, name)
            _require(count is None or count >= 1, name, count, "1 or more")
        for name in ("minutes", "epochs"):
            length = getattr(self, name)
            _require(length is None or 0 < length < math.inf, name, length, "above 0")
        _require(0 < self.lr < math.inf, "lr", self.lr, "above 0")
        _require(0 < self.scale <= LARGEST_SCALE, "scale", self.scale, f"above 0 and at most {LARGEST_SCALE:g}")
        for name in (
            "decay", "clip", "trunk_lr", "score_lr", "bias_lr", "statistics_batches", "cache_mb", "elastic", "separation_weights",
            "warm_up",
        ):  # fmt: skip
            _require(0 <= getattr(self, name) < math.inf, name, getattr(self, name), "0 or more")
        for name in ("momentum", "ema"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 or more and below 1")
        for name in ("colour", "class_crops", "crop_balance", "warm_up_from", "blur"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")
        _require(0 <= self.rotate <= 180, "rotate", self.rotate, "between 0 and 180 degrees")
        sigma = self.separation_sigma
        _require(0 < sigma <= LARGEST_SIGMA, "separation_sigma", sigma, f"above 0 and at most {LARGEST_SIGMA:g}")
        _require(0 <= self.trunk_frozen <= 5, "trunk_frozen", self.trunk_frozen, "between 0 and 5")
        low, high = self.scale_jitter
        _require(0 < low <= high < math.inf, "scale_jitter", self.scale_jitter, "two numbers above 0, the smaller first")
        steps = (high - low) / self.scale_steps if self.scale_steps > 0 else 0
        whole = self.scale_steps == 0 or (self.scale_steps > 0 and steps >= 1 - 1e-6 and abs(steps - round(steps)) < 1e-6)
        _require(whole, "scale_steps", self.scale_steps, "0, or what divides the range of scale_jitter into whole steps")
        crop, side = self.crop, LARGEST_SIDE
        _require(crop is None or 1 <= min(crop) <= max(crop) <= side, "crop", crop, f"two sizes of 1 to {side}")
        width = self.width
        _require(width is None or 0 < width <= LARGEST_WIDTH, "width", width, f"above 0 and at most {LARGEST_WIDTH:g}")
        for name in ("batch", "statistics_batch"):
            _require(getattr(self, name) <= LARGEST_BATCH, name, getattr(self, name), f"at most {LARGEST_BATCH}")
        _require(self.dropout is None or 0 <= self.dropout <= 1, "dropout", self.dropout, "between 0 and 1")
        bins = self.bins or (1,)
        _require(1 <= min(bins) <= max(bins) <= side, "bins", bins, f"sides of 1 to {side}")
        _require(self.codewords is None or 0 <= self.codewords <= side, "codewords", self.codewords, f"0 to {side}")
        for name in ("se_loss", "auxiliary"):
            weight = getattr(self, name)
            _require(weight is None or 0 <= weight < math.inf, name, weight, "0 or more")
        _require(self.norm_scale is None or 0 < self.norm_scale < math.inf, "norm_scale", self.norm_scale, "above 0")
        decoder = self.decoder or (1,)
        _require(1 <= min(decoder) <= max(decoder) <= side, "decoder", decoder, f"channels of 1 to {side}")
        for name in ("rates", "multi_grid"):
            given = getattr(self, name)
            _require(given is None or 1 <= min(given, default=0) <= max(given) <= side, name, given, f"dilations of 1 to {side}")
        _require(self.rate is None or 1 <= self.rate <= side, "rate", self.rate, f"a dilation of 1 to {side}")
        _require(self.low_level is None or 1 <= self.low_level <= side, "low_level", self.low_level, f"channels of 1 to {side}")
        for name in ("anchors", "min_size"):
            sides = getattr(self, name) or (1,)
            _require(1 <= min(sides) <= max(sides) <= side, name, sides, f"sides of 1 to {side}")
        _require(self.max_size is None or 1 <= self.max_size <= side, "max_size", self.max_size, f"1 to {side}")
        _require(0 < self.crop_enlarge < math.inf, "crop_enlarge", self.crop_enlarge, "above 0")
        _require(0 < self.proposal_overlap <= 1, "proposal_overlap", self.proposal_overlap, "above 0 and at most 1")
        _require(self.step_size is None or self.step_size >= 1, "step_size", self.step_size, "1 or more")
        stones = self.milestones or ()
        rising = all(before < after for before, after in zip((0, *stones), (*stones, self.steps), strict=True))
        rule = f"steps of 1 to {self.steps - 1} that rise, for {self.steps} steps in all"
        _require(not stones or rising, "milestones", stones, rule)
        _require(0 < self.gamma <= 1, "gamma", self.gamma, "above 0 and at most 1")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        self._require_sides()
        for name, known in (
            ("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("weights", ("auto", "imagenet", "none")),
            ("loss_mean", LOSS_MEANS), ("sampling", SAMPLINGS), ("crops", CROPS), ("proposals", PROPOSALS),
            ("fill", FILLS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise did_you_mean(name, getattr(self, name), known)
        if self.measure is not None:
            named(self.measure)
        if self.crops != "none" and self.crop is None:
            raise UsageError(f"crops = {self.crops!r}: needs crop, the height and width at which the network sees them.")
        if self.schedule == "step" and self.step_size is None:
            raise UsageError("schedule = 'step': needs step_size, after how many steps the learning rate falls.")
        if self.schedule == "milestones" and not self.milestones:
            raise UsageError("schedule = 'milestones': needs milestones, the steps after which the learning rate falls.")
        if self.loss_mean == "pictures" and self.loss != "cross_entropy":
            raise UsageError(f"loss_mean = 'pictures' sums over pixels, which only cross_entropy does; loss is {self.loss!r}.")
        if self.separation_class is not None and not self.separation_weights:
            raise UsageError(f"separation_class = {self.separation_class!r}: needs separation_weights above 0, such as 10.")
        if self.separation_weights and self.loss != "cross_entropy":
            raise UsageError(f"separation_weights weigh pixels, which only cross_entropy does; loss is {self.loss!r}.")

    def _require_sides(self) -> None:
        """Raises UsageError for sides of whole pictures that cannot work."""
        short, long = self.short_sides, self.long_side
        if short is not None:
            sides = f"sides of 1 to {LARGEST_SIDE} pixels"
            _require(len(short) > 0 and 1 <= min(short) <= max(short) <= LARGEST_SIDE, "short_sides", short, sides)
            _require(long is None or max(short) <= long <= LARGEST_SIDE, "long_side", long, "no less than short_sides")
            if self.crop is not None:
                raise UsageError(f"short_sides = {short}: are of whole pictures; leave crop out, or short_sides.")
            return
        for name in ("long_side", "group_by_aspect"):
            if getattr(self, name):
                raise UsageError(f"{name} = {getattr(self, name)}: belongs to short_sides; give these too, or leave it out.")

    def network_arguments(self) -> dict[str, Any]:
        """The arguments of `networks.build` that were set."""
        return {name: getattr(self, name) for name in argument_names() if getattr(self, name) is not None}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def argument_names() -> list[str]:
    """The settings that are arguments of networks."""
    return [item.name for item in fields(Recipe) if "argument" in item.metadata]


def find(name_or_file: str) -> Path:
    """The file of a recipe of perpixel by its name, or a TOML file by its path. Raises UnknownName when it is neither."""
    own = _own()
    path = own.get(name_or_file, Path(_with_home(name_or_file)))
    if path.suffix != ".toml" and not os.path.exists(path):
        raise did_you_mean("recipe", name_or_file, own)
    return path


def is_recipe(name_or_file: str) -> bool:
    """Whether this names a recipe, and not a run folder or a model file."""
    return name_or_file.endswith(".toml") or name_or_file in _own()


def _own() -> dict[str, Path]:
    return {path.stem: path for path in RECIPES.glob("*.toml")}


def merge(
    file: Path | None, flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> tuple[Recipe, dict[str, str]]:
    """The recipe and the origin of each setting: "default", the file's name, the variable's name, or "flag".

    Of `LENGTHS` only those of the strongest origin count. Raises UsageError or UnknownName, with the name of the setting and its
    origin."""
    hints = get_type_hints(Recipe)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(hints, "default")
    given: list[tuple[str, dict[str, Any]]] = []
    if file is not None:
        given.append((str(file), read_toml(file)))
    for key, text in environment.items():
        if key.startswith(ENVIRONMENT):
            name = key.removeprefix(ENVIRONMENT).lower()
            given.append((key, {name: _from_text(text, hints[name], key) if name in hints else text}))
    given.append(("flag", dict(flags)))
    for origin, settings in given:
        if not settings.keys().isdisjoint(LENGTHS):  # weaker lengths give way; steps stay as what milestones are a part of
            values |= dict.fromkeys(LENGTHS[1:])
            origins |= dict.fromkeys(LENGTHS, "default")
        for name, value in settings.items():
            if name not in hints:
                raise did_you_mean(f"setting ({printable(origin)})", name[:LONGEST_SHOWN], hints)
            values[name], origins[name] = _fitted(value, hints[name], name, origin), origin
    lengths = [name for name in LENGTHS if origins[name] != "default"]
    decided = file is not None and origins["steps"] == str(file)  # by the plan of the run that the file is of
    if len(lengths) > 1 and not decided:
        first, second = lengths[:2]
        both = " and ".join(f"{name} = {values[name]:g}" for name in (first, second))
        raise UsageError(f"{both} are two lengths of a training; give one of them.")
    return Recipe(**values), origins


def read_toml(path: Path) -> dict[str, Any]:
    """The flat keys of a recipe file. Raises UsageError when it is missing, no plain file, or no TOML."""
    try:
        text = read_text(path)
    except DataError as error:
        raise UsageError(str(error)) from error
    if len(text) > LARGEST_FILE:
        raise UsageError(f"{printable(path)}: is no recipe, for it has more than {LARGEST_FILE >> 10} KiB; name a recipe file.")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: of TOML, and of a number with thousands of digits
        reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
        raise UsageError(f"{printable(path)}: is no TOML ({printable(reason)}); write one `key = value` per line.") from error


def to_toml(recipe: Recipe, origins: Mapping[str, str]) -> str:
    """The recipe as a file that `merge` reads back, each line with its origin; settings left to the network are left out."""
    lines = []
    for item in fields(recipe):
        value = getattr(recipe, item.name)
        if value is not None:
            # JSON writes strings, numbers, booleans and arrays of them as TOML does, but for one control character.
            written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{item.name} = {written}  # {printable(origins[item.name])}")
    return "\n".join(lines) + "\n"


def left_open(origins: Mapping[str, str]) -> set[str]:
    """The settings that a plan may choose: those of no origin; and where a length other than steps is given, those that a file
    counts in its own steps."""
    strong = {name for name, origin in origins.items() if origin == "flag" or origin.startswith(ENVIRONMENT)}
    counted = {*COUNTED} - strong if origins["steps"] == "default" else set()
    return {name for name, origin in origins.items() if origin == "default"} | counted


def origins_in(path: Path) -> dict[str, str]:
    """The origin of each setting in a file that `to_toml` wrote; no file has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    return {line.split(" = ", 1)[0]: line.rsplit("  # ", 1)[1] for line in lines if "  # " in line}


def first_difference(old: Recipe, new: Recipe) -> str | None:
    """The first setting, by name and both values, in which two recipes train differently."""
    for item in fields(old):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if item.name not in FREE and before != after:
            return f"{item.name} was {before!r} and is now {after!r}"
    return None


def _require(condition: bool, name: str, value: Any, rule: str) -> None:
    if not condition:
        raise UsageError(f"{name} = {_shown(value)}: must be {rule}.")


def _require_sane(name: str, value: Any) -> None:
    """Raises UsageError for whole numbers that are too large for floats or for memory, and for text that no file can hold."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, int):
            _require(abs(item) <= LARGEST_NUMBER, name, item, f"at most {LARGEST_NUMBER:.0e}")
        if isinstance(item, str):
            _require(len(item) <= LONGEST_TEXT, name, item, f"at most {LONGEST_TEXT} characters")
            _require(not any("\ud800" <= mark <= "\udfff" for mark in item), name, item, "text in UTF-8")


def _with_home(place: Any) -> Any:
    return os.path.expanduser(place) if isinstance(place, str) and place.startswith("~") else place


def _shown(value: Any) -> str:
    """A value as messages show it: one line, cut at `LONGEST_SHOWN` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with thousands of digits, tables in tables
        return f"(too long to show, {type(value).__name__})"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _from_text(text: str, hint: Any, key: str) -> Any:
    """The value of an environment variable: the text itself for a setting that may be text, else the TOML value."""
    if str in _members(hint):
        return text
    try:
        table = tomllib.loads(f"value = {text}") if len(text) <= LARGEST_FILE else {}
    except (ValueError, RecursionError):
        table = {}
    if list(table) != ["value"]:
        raise UsageError(f"{key}={_shown(text)[1:-1]}: is not a value of the type {getattr(hint, '__name__', hint)}.")
    return table["value"]


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _fitted(value: Any, hint: Any, name: str, origin: str) -> Any:
    """`value` as the type of the field: an array becomes a tuple, and a whole number a float for a field of floats."""
    for member in _members(hint):
        if get_origin(member) is tuple and isinstance(value, (list, tuple)):
            inner = get_args(member)
            if inner[-1] is not Ellipsis and len(inner) != len(value):
                break
            return tuple(_fitted(item, inner[0], name, origin) for item in value)
        if member is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            _require_sane(name, value)
            return float(value)
        if member is type(value) or (member is type(None) and value is None):
            return value
    raise UsageError(f"{name} = {_shown(value)} ({printable(origin)}): is not of the type {getattr(hint, '__name__', hint)}.")
