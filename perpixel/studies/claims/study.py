"""The claims of the papers: trains the arms of each, judges them, and writes effect, interval, p and verdict.

    OUT/claims.json, claims.md       the table; it is written anew after each arm
    OUT/runs/NETWORK-DIGEST-SEED/    the run folder of an arm, by the digest of its settings, which arms may share
    OUT/runs/.../predicted-DIGEST/   its predictions, by the digest of the way to predict and of the judged pictures
    OUT/data/first-N/                the first pictures of the training split, for claims of few pictures

The same command continues. What was trained and predicted in OUT is not done again, also not for other names of claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from perpixel.datasets import Dataset, open_dataset, with_objects
from perpixel.errors import Interrupted, PerpixelError, UsageError, did_you_mean, failure_of, is_full, printable
from perpixel.files import locked, read_bytes, write_whole
from perpixel.images import encode_image, encode_labels
from perpixel.judging.answers import pairs_of
from perpixel.judging.comparison import holm
from perpixel.judging.evaluate import counted
from perpixel.measures.measure import without_nan
from perpixel.prediction.inference import Inference
from perpixel.prediction.instances import INSTANCES, encode_instances
from perpixel.studies.claims import (
    deconvnet,
    deeplab,
    encnet,
    fcn,
    fpn,
    mask_rcnn,
    panet,
    parsenet,
    pspnet,
    unet,
)
from perpixel.studies.claims.claim import Arm, Claim, digest
from perpixel.studies.claims.conditions import Conditions
from perpixel.studies.claims.figures import FIGURES, LEAST_SEEDS, Difference, Rows, difference
from perpixel.training.recipe import Recipe
from perpixel.training.run import STAGES, Say, minutes_of
from perpixel.training.train import Progress, train
from perpixel.weights import model_file

SYSTEMS: Mapping[str, Callable[..., list[Claim]]] = {  # in the article's order
    "fcn": fcn.claims,
    "parsenet": parsenet.claims,
    "deconvnet": deconvnet.claims,
    "unet": unet.claims,
    "fpn": fpn.claims,
    "pspnet": pspnet.claims,
    "mask_rcnn": mask_rcnn.claims,
    "deeplab": deeplab.claims,
    "panet": panet.claims,
    "encnet": encnet.claims,
}
TABLE, PAGE = "claims.json", "claims.md"
WAITING = "is not trained yet"


def claims_of(conditions: Conditions, names: Sequence[str] = ()) -> list[tuple[str, Claim]]:
    """The claims of these names, each with its system; a name is that of a system or of a claim, and no name is all.

    Raises UnknownName for a name that is neither."""
    every = [(system, claim) for system, of in SYSTEMS.items() for claim in of(conditions.base)]
    known = {claim.name for _, claim in every} | SYSTEMS.keys()
    for name in names:
        if name not in known:
            raise did_you_mean("claim or system", name, known)
    return [(system, claim) for system, claim in every if not names or {system, claim.name} & {*names}]


@dataclass
class Study:
    """A run of claims in its folder. `failed` has the reasons why arms could not be trained or judged, by arm and seed."""

    conditions: Conditions
    chosen: list[tuple[str, Claim]]
    seeds: int
    out: Path
    say: Say
    progress: Callable[[str], Progress]
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    predicted: dict[tuple[str, int], Path] = field(default_factory=dict)  # folders of predictions, by arm and seed
    _rows: dict[tuple[Path, str], Rows] = field(default_factory=dict)  # of the pictures, by predictions and measure
    _differences: dict[tuple[str, tuple[int, ...]], Difference] = field(default_factory=dict)  # by claim and its judged seeds

    def run(self) -> list[dict[str, Any]]:
        """Trains and judges arm after arm, all of a seed before the next; returns the rows of the table."""
        tried = [claim for _, claim in self.chosen if self.conditions.lacks(claim) is None]
        arms = {key(arm): arm for claim in tried for arm in claim.arms}
        work = [(seed, arm) for seed in range(self.seeds) for arm in arms.values()]
        self.predicted = {(key(arm), seed): folder for seed, arm in work if (folder := self._done(arm, seed)) is not None}
        work = [(seed, arm) for seed, arm in work if (key(arm), seed) not in self.predicted]
        self.say(
            f"{len(tried)} claims, {len(work)} trainings or predictions to do; {self.out / PAGE} is written anew after each."
        )
        for number, (seed, arm) in enumerate(work, start=1):
            name = f"{number} of {len(work)}: {arm.settings['network']}, {arm.title}, seed {seed}"
            try:
                self.predicted[key(arm), seed] = self.predict(arm, seed, name)
            except Interrupted:
                raise
            except Exception as error:  # an arm never stops the others, but a full disk stops all
                if is_full(error):
                    raise
                reason = failure_of(self.out, error) or f"{type(error).__name__}: {printable(str(error))}"
                self.failed[key(arm), seed] = reason
                self.say(f"{name}: failed. {reason}")
            self.write()
        return self.write()

    def predict(self, arm: Arm, seed: int, name: str) -> Path:
        """Trains an arm and predicts the judged split, as far as that was not done before; returns the folder of predictions.

        `name` stands in the lines of progress. Raises what training and prediction do."""
        folder = self._done(arm, seed)
        if folder is not None:
            return folder
        folder, inference = self._folder(arm, seed), dict(arm.inference)
        self._train(arm, seed, name)
        if arm.ensemble is not None:
            self._train(arm.ensemble, seed, f"{name}, {arm.ensemble.title}")
            inference["ensemble"] = self._run(arm.ensemble, seed)
        shown = self.progress(f"{name}: picture")
        predict_split(self._run(arm, seed), self.conditions.judged, Inference(**inference), folder, shown)
        return folder

    def _run(self, arm: Arm, seed: int) -> Path:
        return self.out / "runs" / arm.run(seed)

    def _folder(self, arm: Arm, seed: int) -> Path:
        """The folder of its predictions, by the way to predict and the judged pictures."""
        described = {**arm.inference, "data": self.conditions.fingerprint}
        if arm.ensemble is not None:
            described["ensemble"] = arm.ensemble.run(seed)
        return self._run(arm, seed) / f"predicted-{digest(described)}"

    def _done(self, arm: Arm, seed: int) -> Path | None:
        """The folder of its predictions if every picture has one."""
        folder = self._folder(arm, seed)
        return None if missing(folder, self.conditions.judged) else folder

    def _train(self, arm: Arm, seed: int, name: str) -> None:
        """Trains the stages that are not trained yet."""
        folder, recipes = self._run(arm, seed), arm.recipes()
        place = self.conditions.place if arm.pictures is None else {"data": str(self._first(arm.pictures))}
        start: Path | None = None
        for number, settings in enumerate(recipes, start=1):
            into = folder if number == len(recipes) else folder / STAGES / str(number)
            begun = {} if start is None else {"starts_from": str(start)}
            recipe = Recipe(**{**settings, **place, **begun, "seed": seed})
            stage = f", stage {number}" if len(recipes) > 1 else ""
            scores = train(recipe, into, say=_nothing, progress=self.progress(f"{name}{stage}: step"))
            assert scores is not None, "claims are trained in one process"
            start = into

    def _first(self, pictures: int) -> Path:
        """A folder with the first pictures of the training split, and all of the split that chooses the weights."""
        folder, place = self.out / "data" / f"first-{pictures}", self.conditions.place
        for split, most in (("train", pictures), ("val", None)):
            dataset = open_dataset(place["data"], root=place.get("root"), split=place.get(f"{split}_split", split))
            write_folder(with_objects(dataset), folder, split, len(dataset) if most is None else most)
        return folder

    def write(self) -> list[dict[str, Any]]:
        """Writes the table from what is trained and judged so far."""
        rows = [self._row(system, claim) for system, claim in self.chosen]
        corrected = holm([_number(row["p_alone"]) for row in rows])
        for row, p_value in zip(rows, corrected, strict=True):
            if row["reason"] is None:
                judged = self._differences[row["name"], tuple(range(self.seeds))]
                row["p"], row["verdict"] = p_value, judged.verdict(p_value, FIGURES[row["figure"]].larger)
        plain: list[dict[str, Any]] = without_nan(rows)
        write_whole(self.out, TABLE, json.dumps(plain, indent=1).encode())
        write_whole(self.out, PAGE, page(plain, self.conditions.title, self.seeds).encode())
        return plain

    def _row(self, system: str, claim: Claim) -> dict[str, Any]:
        row: dict[str, Any] = {
            "system": system, "name": claim.name, "claim": claim.text, "source": claim.source, "prose": _plain(claim.prose),
            "better": claim.better.title, "worse": claim.worse.title,
            "than": None if claim.than is None else [arm.title for arm in claim.than],
            "figure": claim.figure, "larger_is_better": FIGURES[claim.figure].larger,
            "difference": None, "interval": None, "by_seed": [], "figures": {"better": [], "worse": []},
            "p": None, "p_alone": None, "verdict": None, "reason": self._why_not(claim),
            "data": self.conditions.data, "conditions": self._described(claim),
        }  # fmt: skip
        if self.conditions.lacks(claim) is None:
            row |= self._judged(claim)
        return row

    def _why_not(self, claim: Claim) -> str | None:
        """Why the claim has no verdict (yet)."""
        lacks = self.conditions.lacks(claim)
        if lacks is not None:
            return lacks
        for arm in claim.arms:
            for seed in range(self.seeds):
                if reason := self.failed.get((key(arm), seed)):
                    return f"{arm.title}, seed {seed}, failed: {reason}"
        for arm in claim.arms:
            for seed in range(self.seeds):
                if (key(arm), seed) not in self.predicted:
                    return f"{arm.title}, seed {seed}, {WAITING}"
        return None

    def _judged(self, claim: Claim) -> dict[str, Any]:
        """The figures of the seeds that all arms of the claim have."""
        ready = tuple(seed for seed in range(self.seeds) if all((key(arm), seed) in self.predicted for arm in claim.arms))
        if not ready:
            return {}
        figure = FIGURES[claim.figure]
        measure = figure.measure(self.conditions.judged)
        complete = len(ready) == self.seeds
        judged = self._differences.get((claim.name, ready))
        if judged is None:
            rows = [[self._counted(arm, seed, measure) for arm in claim.arms] for seed in ready]
            than = [(of[2], of[3]) for of in rows] if claim.than is not None else []
            rare = self.conditions.rare if "rare classes" in claim.needs else ()
            exchanges = figure.exchanges if complete else 0  # p is that of all seeds
            judged = difference(figure, measure, [(of[0], of[1]) for of in rows], than, rare, exchanges)
            self._differences[claim.name, ready] = judged
        return {
            "difference": judged.mean, "interval": judged.half,
            "by_seed": list(judged.by_seed), "figures": {"better": list(judged.better), "worse": list(judged.worse)},
            "p_alone": judged.p_value if complete else None,
        }  # fmt: skip

    def _counted(self, arm: Arm, seed: int, measure: Any) -> Rows:
        """The rows of all pictures. They are kept, but those of objects, whose masks need much memory."""
        folder = self.predicted[key(arm), seed]
        rows = self._rows.get((folder, repr(measure)))
        if rows is None:
            rows = counted(pairs_of(folder, self.conditions.judged, measure))[0]
            if measure.needs != "instances":
                self._rows[folder, repr(measure)] = rows
        return rows

    def _described(self, claim: Claim) -> dict[str, Any]:
        """What both arms share, what each has of what differs, and how long a training takes."""
        arms = [arm.conditions() for arm in claim.arms]
        shared = {name: value for name, value in arms[0].items() if all(name in o and o[name] == value for o in arms)}
        minutes = [minutes_of(self._run(arm, 0)) if (key(arm), 0) in self.predicted else None for arm in claim.arms]
        return {
            "seeds": self.seeds, "varied": list(claim.varied), "shared": shared,
            "arms": [{name: value for name, value in described.items() if name not in shared} for described in arms],
            "minutes": minutes,
        }  # fmt: skip


def study(
    conditions: Conditions, names: Sequence[str], seeds: int, out: Path, say: Say, progress: Callable[[str], Progress]
) -> Study:
    """Runs the claims of these names, all without a name; returns the study, whose table is in `out`.

    Raises UnknownName for a name; UsageError for no seed, where none of the claims can be tried on the data, where `out` holds
    claims on other data, or another process writes there."""
    if seeds < 1:
        raise UsageError(f"seeds = {seeds}: must be 1 or more, and verdicts need {LEAST_SEEDS}.")
    chosen = claims_of(conditions, names)
    reasons = [conditions.lacks(claim) for _, claim in chosen]
    if all(reasons):
        raise UsageError(f"{chosen[0][1].name}: {reasons[0]}; none of {len(chosen)} claims can be tried on {conditions.title}.")
    _refuse_other_data(out, conditions)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        made = Study(conditions, chosen, seeds, out, say, progress)
        made.run()
    return made


def predict_split(run: Path, dataset: Dataset, inference: Inference, folder: Path, progress: Progress) -> None:
    """Writes the masks of a split, and the objects where the network finds any, as `perpixel predict` does; a picture whose mask
    is there is done."""
    left = missing(folder, dataset)
    predictor = inference.predictor(model_file.load(run))
    for done, index in enumerate(left, start=1):
        prediction, name = predictor.of(dataset.sample(index)), dataset.name(index)
        if prediction.instances is not None:
            objects = encode_instances(prediction.instances, dataset.classes)
            write_whole(folder / INSTANCES, f"{name}.json", objects, durable=False)
        write_whole(folder / "masks", f"{name}.png", encode_labels(prediction.labels, dataset.classes), durable=False)
        progress(done, len(left), "")


def missing(folder: Path, dataset: Dataset) -> list[int]:
    """The numbers of the pictures without a predicted mask."""
    return [index for index in range(len(dataset)) if not (folder / "masks" / f"{dataset.name(index)}.png").exists()]


def write_folder(dataset: Dataset, folder: Path, split: str, most: int) -> None:
    """The first pictures of a split with masks and numbers of objects, as a folder that `Folder` reads."""
    if not (folder / "classes.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        dataset.classes.write_csv(folder / "classes.csv")
    for index in range(min(len(dataset), most)):
        sample = dataset.sample(index)
        name = f"{split}/{sample.name}.png"
        if (folder / "images" / name).exists():
            continue
        assert sample.labels is not None, "a data set to train on has labels"
        write_whole(folder / "masks", name, encode_labels(sample.labels, dataset.classes), durable=False)
        if sample.instances is not None:
            numbers = Image.fromarray(sample.instances.numbers.astype("uint16"))
            write_whole(folder / "instances", name, encode_image(numbers, ".png"), durable=False)
        write_whole(folder / "images", name, encode_image(Image.fromarray(sample.shown), ".png"), durable=False)


def key(arm: Arm) -> str:
    """What arms share that are the same training and prediction."""
    return f"{arm.run(0)} {digest(arm.conditions())}"


def page(rows: Sequence[Mapping[str, Any]], data: str, seeds: int) -> str:
    """The table as Markdown: one line a claim, then what each claim is."""
    judged = [row for row in rows if row["verdict"] is not None]
    lines = [
        f"# Claims of the papers on {data}", "",
        f"{len(judged)} of {len(rows)} claims are judged, with {seeds} seeds each. A claim is shown where the 95 % interval of "
        "its difference over seeds leaves out 0 and p < 0.05, after Holm's correction over the judged claims; fewer than "
        f"{LEAST_SEEDS} seeds show nothing.", "",
        "| system | claim | source | figure | better | worse | difference | by seed | p | verdict |", f"|{'---|' * 10}",
        *(_line(row) for row in rows), "",
    ]  # fmt: skip
    for row in rows:
        verdict = f"Source: {row['source']}. Verdict: {told(row)[1]}."
        lines += [f"## {row['name']}: {row['claim']}", "", row["prose"], "", verdict, ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> str:
    sides = [" ".join(_shown(value) for value in row["figures"][side]) for side in ("better", "worse")]
    titles = [row["better"], row["worse"]]
    if row["than"]:
        titles = [f"{row['better']} less {row['worse']}", f"{row['than'][0]} less {row['than'][1]}"]
    difference, verdict = told(row)
    cells = [
        row["system"], row["claim"], row["source"], row["figure"],
        *(f"{title}: {side}" if side else title for title, side in zip(titles, sides, strict=True)),
        difference, " ".join(_shown(value, signed=True) for value in row["by_seed"]),
        "" if row["p"] is None else f"{row['p']:.4f}", verdict,
    ]  # fmt: skip
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def told(row: Mapping[str, Any]) -> tuple[str, str]:
    """The difference of a row with half of its interval, and its verdict or the reason why it has none."""
    verdict = row["verdict"] or f"none: {row['reason']}"
    if row["difference"] is None:
        return "", verdict
    half = "" if row["interval"] is None else f" ± {_shown(row['interval'])}"
    return f"{_shown(row['difference'], signed=True)}{half}", verdict


def _shown(value: float | None, signed: bool = False) -> str:
    """In percent."""
    return "nan" if value is None else f"{100 * value:{'+' if signed else ''}.1f}"


def _plain(prose: str) -> str:
    return " ".join(prose.split())


def _number(p_value: float | None) -> float:
    return float("nan") if p_value is None else p_value


def _nothing(_: str) -> None: ...


def _refuse_other_data(out: Path, conditions: Conditions) -> None:
    try:
        data = json.loads(read_bytes(out / TABLE))[0]["data"]
    except (PerpixelError, ValueError, KeyError, IndexError, TypeError, RecursionError):  # no table, or a damaged one
        return
    if data != conditions.data:
        raise UsageError(f"{out}: holds claims on {data}; choose another --out for {conditions.data}.")
