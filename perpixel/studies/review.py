"""The review: trains every network at laptop width under one protocol, and judges all side by side.

    REVIEW/runs/NAME/SEED/            the run folder of each training
    REVIEW/predictions/NAME/*.png     the labels of the first seed's network for each picture
    REVIEW/review.json                all figures, renewed after each training, from which the table and the page are made
    REVIEW/report.html                the article that runs, made of the record; report.csv, report.png
    REVIEW/table.md                   the figures of the networks, best first
    REVIEW/pictures.png               pictures, their truth, and the labels and errors of each network

A training that is done is not repeated, and one that was stopped goes on. A network that fails is told with the reason."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perpixel import draw
from perpixel.datasets import bands_of, open_dataset
from perpixel.errors import DataError, Interrupted, UntrustedFile, UsageError, did_you_mean, failure_of, printable
from perpixel.files import write_whole
from perpixel.images import read_labels, write_image
from perpixel.judging.answers import pairs_of
from perpixel.judging.evaluate import counted
from perpixel.judging.intervals import intervals_of
from perpixel.judging.scores import Scores
from perpixel.measures.measure import without_nan
from perpixel.measures.pixels import PixelCounts, Pixels
from perpixel.networks import YARDSTICKS, title
from perpixel.networks.papers import PAPERS, size_of
from perpixel.sample import Prediction, Sample
from perpixel.studies.entries import PROTOCOL, UNTUNED, Entry, tuned
from perpixel.studies.objects import FIGURES as OBJECT_FIGURES
from perpixel.studies.objects import figures_of, found_in, things_of
from perpixel.studies.seeds import EXCHANGES, Difference, Known, Mean, differences, rows_of
from perpixel.terminal import percent
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY, Say, minutes_of
from perpixel.training.train import Progress, train
from perpixel.version import VERSION
from perpixel.weights import model_file
from perpixel.weights.model_file import Model

SHOWN = 8
TABLE, RECORD, JUDGED = "table.md", "review.json", "judged.json"
SCRATCH = "_scratch"  # behind the name of an entry whose trunk is left out
HALVES = 1000  # of the pictures, for intervals
VALIDATIONS = 10
TIMED = 5, 15  # steps of two trainings; their difference is what ten steps take
CROP, SHORTER = (128, 160), 160  # pixels: the crops of other data than scenes, and the shorter side at which pictures are seen


@dataclass(frozen=True)
class Plan:
    """What is reviewed: the data set, the seeds of the trainings, and how long they are, in steps or in minutes.

    `names` are those of the entries, all where there are none; with `scratch` each that starts from a trunk has a second row
    without it."""

    data: str = "scenes"
    root: str | None = None
    seeds: tuple[int, ...] = (0,)
    steps: int = PROTOCOL["steps"]
    minutes: float | None = None
    names: tuple[str, ...] = ()
    scratch: bool = False

    @property
    def long(self) -> bool:
        """Whether trainings are longer than those of the quick review."""
        return self.steps > PROTOCOL["steps"] or self.minutes is not None

    def entries(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """Raises UnknownName for a name that no entry has, UsageError for no seed."""
        for name in self.names:
            if name not in entries:
                raise did_you_mean("network of the review", name, entries)
        if not self.seeds:
            raise UsageError("the review needs a seed at least; give --seeds 1 or more.")
        chosen = {name: entry for name, entry in entries.items() if not self.names or name in self.names}
        if self.scratch:
            chosen |= {
                f"{name}{SCRATCH}": replace(entry, starts_from=None, how=", ".join(filter(None, (entry.how, "from scratch"))))
                for name, entry in chosen.items()
                if entry.starts_from is not None
            }
        return chosen


@dataclass(frozen=True)
class Judged:
    """A trained network on `val`: its scores, the confusion matrix of each picture (N, C, C), the minutes of its training, and
    what validations said on the way: (step, mIoU)."""

    seed: int
    folder: Path
    scores: dict[str, Any]
    counts: NDArray[np.int64]
    minutes: float | None
    history: list[tuple[int, float]]


@dataclass(frozen=True)
class Kept(Pixels):
    """Counts pixels, and writes the class ids of each prediction into a folder."""

    folder: Path = Path()

    def count(self, truth: Sample, predicted: Prediction) -> tuple[PixelCounts, bytes]:
        write_image(self.folder, f"{truth.name}.png", predicted.labels.astype(np.uint8))
        return super().count(truth, predicted)


@dataclass
class Review:
    """A review in its folder. `rows` has what is judged by name, `failed` the sentence of each entry that failed."""

    out: Path
    plan: Plan
    entries: Mapping[str, Entry]
    objects: Mapping[str, Entry] = field(default_factory=dict)  # judged by the objects that they find
    rows: dict[str, list[Judged]] = field(default_factory=dict)
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tested: Known = field(default_factory=dict)
    page: Callable[[Path], object] | None = None  # makes the page of the record in this folder

    def __post_init__(self) -> None:
        self.dataset = open_dataset(self.plan.data, root=self.plan.root, split="val")
        if (bands := bands_of(self.dataset)) is not None:
            raise UsageError(f"{self.plan.data}: its pictures have {bands}, and a review is of networks on RGB; name another.")
        self.things = things_of(self.dataset) if self.objects else frozenset()

    def run(self, say: Say, progress: Callable[[str], Progress]) -> Path:
        """Trains and judges all, a seed after the other, and renews the record with each. Returns the path of the table.

        Raises UsageError where the folder holds a review of other data or another length, which stays as it is."""
        self.refuse_other_review()
        for seed in self.plan.seeds:
            for name, entry in self.entries.items():
                with self.failing(name, entry, say):
                    judged = self.judged(name, entry, seed, say, progress)
                    self.rows.setdefault(name, []).append(judged)
                    say(f"{entry.title}, seed {seed}: mIoU {percent(judged.scores['figures']['mIoU'])}.")
                self.write()
            for name, entry in self.objects.items() if self.things else ():
                with self.failing(name, entry, say):
                    run = self.judged_objects(name, entry, seed, say, progress)
                    self.found.setdefault(name, []).append(run)
                    say(f"{entry.title}, seed {seed}: mask AP {percent(run['figures']['AP'])}.")
                self.write()
        if not self.rows and not self.found:
            raise DataError(f"no network of the review could be trained. {next(iter(self.failed.values()))}")
        if self.rows:
            self.write_pictures()
        return self.out / TABLE

    def refuse_other_review(self) -> None:
        path = self.out / RECORD
        if not path.is_file():
            return
        try:
            known = json.loads(path.read_bytes())
            then = {"data": known["data"], "steps": known["conditions"]["steps"], "minutes": known["conditions"]["minutes"]}
        except (ValueError, KeyError, TypeError):
            raise UntrustedFile(f"{path}: is damaged; delete it, and the same command makes it anew of the runs.") from None
        for name, before in then.items():
            now = getattr(self.plan, name)
            if now != before:
                raise UsageError(f"{self.out}: holds a review with {name} {before}, not {now}; choose another --out.")

    @contextmanager
    def failing(self, name: str, entry: Entry, say: Say) -> Iterator[None]:
        """Notes why an entry fails, so that it never stops the others."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            raise
        except Exception as error:
            self.failed[name] = failure_of(entry.title, error) or f"{type(error).__name__}: {printable(str(error))}"
            say(f"{entry.title}: {self.failed[name]}")

    def trained(self, name: str, entry: Entry, seed: int, say: Say, progress: Callable[[str], Progress]) -> tuple[Path, Model]:
        folder = self.out / "runs" / name / str(seed)
        for recipe, stage in self.recipes(entry, folder, seed, self.steps(name, entry), settings_of(name)):
            train(recipe, stage, say=say, progress=progress(f"{entry.title}: step"))
        return folder, model_file.load(folder)

    def judged_objects(
        self, name: str, entry: Entry, seed: int, say: Say, progress: Callable[[str], Progress]
    ) -> dict[str, Any]:
        """The seed, the run folder, the minutes and the figures of a network that finds objects."""
        folder, model = self.trained(name, entry, seed, say, progress)
        kept = folder / JUDGED
        facts = json.loads(kept.read_bytes()) if kept.is_file() else {}
        if facts.get("weights") != model.digest:
            told, predictions = progress(f"{entry.title}: picture"), []
            for index in range(len(self.dataset)):
                predictions.append(found_in(model, self.dataset.sample(index).image, self.things))
                told(index + 1, len(self.dataset), "")
            facts = {"weights": model.digest, "figures": without_nan(figures_of(predictions, self.dataset, self.things))}
            write_whole(folder, JUDGED, json.dumps(facts).encode())
        place = str(folder.relative_to(self.out))
        return {"seed": seed, "folder": place, "minutes": minutes_of(folder), "figures": facts["figures"]}

    def judged(self, name: str, entry: Entry, seed: int, say: Say, progress: Callable[[str], Progress]) -> Judged:
        folder, model = self.trained(name, entry, seed, say, progress)
        kept = folder / JUDGED
        facts = json.loads(kept.read_bytes()) if kept.is_file() else {}
        if facts.get("weights") != model.digest:
            first = seed == self.plan.seeds[0]
            measure = Kept(folder=self.out / "predictions" / name) if first else Pixels()
            pairs = pairs_of(model, self.dataset, measure, entry.inference)
            told = progress(f"{entry.title}: picture")
            rows, digests = counted(pairs, lambda done, pictures: told(done, pictures, ""))
            summary = measure.summary(rows, pairs.classes, pairs.names)
            scores = Scores(Pixels(), summary, pairs.protocol(digests), len(rows))
            counts = [{"places": row.places.tolist(), "counts": row.counts.tolist()} for row in rows]
            facts = {"weights": model.digest, "scores": without_nan(scores.to_json()), "counts": counts}
            write_whole(folder, JUDGED, json.dumps(facts).encode())
        entries = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
        return Judged(
            seed, folder, facts["scores"], self._matrices(facts["counts"]), minutes_of(folder),
            [(one["step"], one["mIoU"]) for one in entries if one.get("mIoU") is not None],
        )  # fmt: skip

    def _matrices(self, counts: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
        classes = len(self.dataset.classes)
        matrices = np.zeros((len(counts), classes * classes), np.int64)
        for matrix, row in zip(matrices, counts, strict=True):
            matrix[row["places"]] = row["counts"]
        return matrices.reshape(-1, classes, classes)

    def recipes(
        self, entry: Entry, folder: Path, seed: int, steps: int, settings: Mapping[str, Any]
    ) -> list[tuple[Recipe, Path]]:
        """The recipe and the run folder of each stage. Each stage but the first starts from the stage before.

        `settings` are what tuning chooses; `share` among them is the share of the steps that the first of two stages has."""
        settings = dict(settings)
        share = settings.pop("share", entry.stages[0].get("share", 1))
        shares = [share, 1 - share] if len(entry.stages) == 2 else [1]
        folders = [folder / "stages" / str(number) for number in range(1, len(entry.stages))] + [folder]
        starts = [entry.starts_from, *map(str, folders)]
        common = {**PROTOCOL, **self.of_data(), "network": entry.network, "seed": seed, **entry.arguments, **settings}
        stages = [{key: value for key, value in stage.items() if key != "share"} for stage in entry.stages]
        return [
            (Recipe(**{**common, "steps": max(1, round(part * steps)), "starts_from": start, **stage}), stage_folder)
            for stage, part, start, stage_folder in zip(stages, shares, starts, folders, strict=False)
        ]

    def of_data(self) -> dict[str, Any]:
        """Settings that follow from the data set. On `scenes` a part of train chooses the weights, so that val is judged once."""
        if self.plan.data == "scenes":
            validations = VALIDATIONS if self.plan.long else 1
            return {"data": "scenes", "train_split": "fit", "val_split": "tune", "validations": validations}
        shorter = min(self.dataset.sample(0).image.shape[:2])
        return {"data": self.plan.data, "root": self.plan.root, "crop": CROP, "scale": min(1.0, SHORTER / shorter)}

    def steps(self, name: str, entry: Entry) -> int:
        """Of a training; those that take the plan's minutes are measured once and kept, so that a training can go on."""
        if self.plan.minutes is None:
            return self.plan.steps
        kept, of_step = self.out / "timed" / name / "seconds.json", "seconds of a step"
        if not kept.is_file():
            took = []
            for steps in TIMED:
                began = time.monotonic()
                for recipe, folder in self.recipes(entry, kept.parent / str(steps), 0, steps, settings_of(name)):
                    train(recipe, folder, say=lambda _: None)
                took.append(time.monotonic() - began)
            seconds = max(1e-3, (took[1] - took[0]) / (TIMED[1] - TIMED[0]))
            write_whole(kept.parent, kept.name, json.dumps({of_step: seconds}).encode())
        seconds = float(json.loads(kept.read_bytes())[of_step])
        return max(1, round(60 * self.plan.minutes / seconds))

    def write(self) -> None:
        """The record and what is made of it."""
        record = self.record()
        write_whole(self.out, RECORD, json.dumps(without_nan(record), indent=1).encode())
        write_whole(self.out, TABLE, table(record).encode())
        if self.page is not None:
            self.page(self.out)

    def record(self) -> dict[str, Any]:
        classes = self.dataset.classes
        first = next(iter(self.rows.values()))[0].scores if self.rows else {"protocol": None, "protocol_hash": None}
        whole = [runs[0].scores for name, runs in self.rows.items() if self.entries[name].inference.plain]
        one = whole[0] if whole else first
        return {
            "data": self.plan.data, "split": "val", "classes": classes.names, "colours": classes.colours,
            "conditions": {**PROTOCOL, **self.of_data(), "steps": self.plan.steps, "minutes": self.plan.minutes},
            "conditions_text": self.conditions(), "protocol": one["protocol"], "protocol_hash": one["protocol_hash"],
            "command": self.command(), "seeds": self.plan.seeds, "threads": torch.get_num_threads(),
            "versions": {"perpixel": VERSION, "torch": torch.__version__, "python": platform.python_version()},
            "rows": [self.row(name) for name in self.entries if name in self.rows or name in self.failed],
            "pairs": [pair.to_json() for pair in self.pairs()], "instances": self.instances(), "claims": [],
        }  # fmt: skip

    def described(self, name: str, entry: Entry, minutes: Sequence[float | None]) -> dict[str, Any]:
        """What a row says of its network, whatever judges it."""
        crop = CROP if "crop" in self.of_data() else self.dataset.sample(0).image.shape[:2]
        parameters, multiply_adds = size_of(entry.network, len(self.dataset.classes), crop, **entry.arguments)
        known = [one for one in minutes if one is not None]
        return {
            "name": name, "network": entry.network, "title": title(entry.network, entry.arguments),
            "arguments": entry.arguments, "how": entry.how,
            "group": "yardsticks" if entry.network in YARDSTICKS else "review",
            "pretrained": "none" if entry.starts_from is None else "things",
            "settings": settings_of(name),
            "parameters": parameters, "multiply_adds": multiply_adds, "minutes": sum(known) / len(known) if known else None,
            "paper": PAPERS[entry.network][0], "published": PAPERS[entry.network][1], "failed": self.failed.get(name),
        }  # fmt: skip

    def instances(self) -> dict[str, Any] | None:
        """The table of the networks that find objects; none where nothing finds any."""
        rows = []
        for name, entry in self.objects.items():
            runs = self.found.get(name, [])
            if not runs and name not in self.failed:
                continue
            values = {figure: [run["figures"][figure] for run in runs] for figure in OBJECT_FIGURES}
            rows.append({
                **self.described(name, entry, [run["minutes"] for run in runs]), "runs": runs,
                "figures": {name: mean_of(by_seed) for name, by_seed in values.items()} if runs else {},
            })  # fmt: skip
        return {"things": [self.dataset.classes.names[one] for one in sorted(self.things)], "rows": rows} if rows else None

    def row(self, name: str) -> dict[str, Any]:
        entry, runs = self.entries[name], self.rows.get(name, [])
        return {
            **self.described(name, entry, [judged.minutes for judged in runs]),
            "runs": [
                {"seed": one.seed, "folder": str(one.folder.relative_to(self.out)), "scores": one.scores, "history": one.history}
                for one in runs
            ],
            "figures": self.figures(runs) if runs else {},
        }  # fmt: skip

    def figures(self, runs: Sequence[Judged]) -> dict[str, Any]:
        """Mean over seeds with its interval; and the interval over pictures, whose counts are summed over seeds."""
        names = self.dataset.classes.names
        rows = rows_of(sum((judged.counts for judged in runs[1:]), runs[0].counts), self.dataset.classes.void)
        over_pictures = intervals_of(Pixels(), rows, names, HALVES, 0)
        of_classes = [{one["name"]: one["iou"] for one in judged.scores["classes"]} for judged in runs]
        values = {
            **{name: [judged.scores["figures"][name] for judged in runs] for name in ("mIoU", "pixel_accuracy")},
            **{name: [one[name] for one in of_classes] for name in names},
        }
        intervals = {**over_pictures.figures, **over_pictures.iou}
        return {
            name: {**mean_of(by_seed), "pictures": [intervals[name].low, intervals[name].high]}
            for name, by_seed in values.items()
        }

    def pairs(self) -> list[Difference]:
        """Of networks that have as many seeds as the others have."""
        seeds = max(map(len, self.rows.values()), default=0)
        counts = {name: [judged.counts for judged in runs] for name, runs in self.rows.items() if len(runs) == seeds}
        return differences(counts, self.dataset.classes.void, EXCHANGES, self.tested)

    def conditions(self) -> str:
        length = f"{self.plan.minutes:g} minutes" if self.plan.minutes else f"{self.plan.steps} steps"
        trunks = "trunks trained on `things`, as the cards in perpixel/trunks say, where the paper starts from ImageNet"
        untuned = [entry.title for name, entry in self.entries.items() if name.removesuffix(SCRATCH) not in tuned()]
        chosen = "learning rate and optimiser of each chosen by an equal number of trials on a part of the training set of scenes"
        return (
            f"{length} of {PROTOCOL['batch']} pictures for each network and seed; {trunks}; "
            f"{chosen if not untuned else 'not tuned: ' + ', '.join(untuned)}; class weights {PROTOCOL['class_weights']}; "
            f"{len(self.plan.seeds)} seed{'s' if len(self.plan.seeds) > 1 else ', so differences are those of one training'}."
        )

    def command(self) -> str:
        flags = [] if self.plan.data == "scenes" else ["--data", self.plan.data]
        flags += ["--minutes", f"{self.plan.minutes:g}"] if self.plan.minutes else ["--steps", str(self.plan.steps)]
        flags += ["--seeds", str(len(self.plan.seeds))] + (["--scratch"] if self.plan.scratch else [])
        return " ".join(["perpixel review", *flags, *(part for name in self.plan.names for part in ("--network", name))])

    def write_pictures(self) -> None:
        """A sheet of some pictures, with the labels and the errors of each network."""
        classes, rows = self.dataset.classes, []
        for index in np.linspace(0, len(self.dataset) - 1, min(SHOWN, len(self.dataset))).astype(int):
            sample = self.dataset.sample(int(index))
            assert sample.labels is not None
            row = [sample.image, draw.colours(sample.labels, classes)]
            for name in self.rows:
                labels = read_labels(self.out / "predictions" / name / f"{sample.name}.png")
                row += [draw.colours(labels, classes), draw.error_map(sample.labels, labels, classes.void)]
            rows.append(row)
        titles = ["picture", "truth", *(text for name in self.rows for text in (self.entries[name].title, "errors"))]
        write_image(self.out, "pictures.png", draw.sheet(rows, titles))


def table_of_objects(instances: Mapping[str, Any]) -> list[str]:
    """The networks that find objects in Markdown, best first; nothing where there are none."""
    judged = sorted((row for row in instances["rows"] if row["runs"]), key=lambda row: -(row["figures"]["AP"]["mean"] or 0))
    if not judged:
        return []
    lines = [
        f"| {named(row)} | {' | '.join(shown(row['figures'][figure]['mean']) for figure in OBJECT_FIGURES)} | {row['paper']} |"
        for row in judged
    ]
    header = ["network", *OBJECT_FIGURES, "paper"]
    things = " and ".join(instances["things"])
    return [
        f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *lines, "",
        f"Objects of {things}: AP, AP50 and AR of masks as COCO has them, PQ of things, in percent.", "",
    ]  # fmt: skip


def named(row: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (row["title"], row["how"])))


def mean_of(by_seed: Sequence[float | None]) -> dict[str, float | None]:
    """The mean of a figure over seeds and half of its interval; none where a seed has no figure."""
    known = [value for value in by_seed if value is not None]
    if len(known) < len(by_seed):
        return {"mean": None, "seeds": None}
    mean = Mean.of(known)
    return {"mean": mean.mean, "seeds": mean.half}


def settings_of(name: str) -> dict[str, Any]:
    """The tuned settings of an entry; those of the row from scratch are the same."""
    return {**UNTUNED, **tuned().get(name.removesuffix(SCRATCH), {})}


def table(record: Mapping[str, Any]) -> str:
    """The networks in Markdown, best first; those that failed last, with the reason."""
    judged = sorted((row for row in record["rows"] if row["runs"]), key=lambda row: -row["figures"]["mIoU"]["mean"])
    header = ["network", "parameters", "multiply-adds", "minutes", "mIoU", "pixel accuracy", *record["classes"], "paper"]
    lines = []
    for row in judged:
        figures = row["figures"]
        half = figures["mIoU"]["seeds"]
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.1f}"
        cells = [
            named(row), f"{row['parameters'] / 1e6:.2f} M", f"{row['multiply_adds'] / 1e9:.2f} G", minutes,
            shown(figures["mIoU"]["mean"]) + ("" if half is None or math.isnan(half) else f" ± {shown(half)}"),
            *(shown(figures[name]["mean"]) for name in ("pixel_accuracy", *record["classes"])),
            row["paper"],
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    others = [
        f"{named(row)}: protocol {row['runs'][0]['scores']['protocol_hash']}, "
        f"{row['runs'][0]['scores']['protocol']['window']}; multiply-adds are those of a box."
        for row in judged
        if row["runs"][0]["scores"]["protocol_hash"] != record["protocol_hash"]
    ]
    instances = record["instances"] or {"rows": []}
    failed = [f"{named(row)}: {row['failed']}" for row in [*record["rows"], *instances["rows"]] if row["failed"]]
    protocol = record["protocol"] or {}
    rules = "; ".join(str(protocol[key]) for key in ("void", "empty_class", "resize") if key in protocol)
    return "\n".join([
        f"# The review on `{record['data']}` {record['split']}", "",
        f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *lines, "",
        f"IoU in percent, protocol {record['protocol_hash']}: {rules}.", *others, *failed, record["conditions_text"], "",
        *table_of_objects(instances),
    ])  # fmt: skip


def shown(value: float | None) -> str:
    return percent(math.nan if value is None else value)
