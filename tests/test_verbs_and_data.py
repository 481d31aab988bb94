"""The product of verbs and data sets: each works on each, or says in one sentence why that has no meaning.

A verb was once made for sets that nobody had tried it on. So a new data set, or a new verb, adds a row or a column here, and a
cell that is neither 0 nor a sentence of `MEANINGLESS` fails."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets.test_datasets import FOLDERS, MAKERS
from fakes import make_model
from hidden_torch import HAS_TORCH

from perpixel.datasets import DATASETS, ON_DISK, Dataset, bands_of, open_dataset, with_objects
from perpixel.images import write_labels
from perpixel.measures import DEFAULT, MEASURES

MAKERS_HERE = {name: maker for name, maker in MAKERS.items() if name not in DATASETS}  # drawn, hundreds of pictures: minutes

# Words of a command line: DATA names the set, FIRST and SECOND are models for it, MASKS its truth as masks, CLASS one that has
# objects, else its last.
VERBS: dict[str, list[str]] = {
    "check": ["check", "SET"],
    "train": ["train", "DATA", "--network", "unet", "--width", "0.05", "--convolutions", "same", "--crop", "16", "16", "--batch",
              "1", "--steps", "1", "--device", "cpu", "SPLITS", "--out", "OUT"],
    "train --separation-weights": ["train", "DATA", "--network", "unet", "--width", "0.05", "--convolutions", "same", "--crop",
                                   "16", "16", "--batch", "1", "--steps", "1", "--device", "cpu", "SPLITS", "--out", "OUT",
                                   "--separation-weights", "10"],
    "train --crops": ["train", "DATA", "--network", "unet", "--width", "0.05", "--convolutions", "same", "--crop", "16", "16",
                      "--batch", "1", "--steps", "1", "--device", "cpu", "SPLITS", "--out", "OUT", "--crops", "objects"],
    "evaluate": ["evaluate", "FIRST", "DATA", "SPLIT", "--bootstrap", "2"],
    "evaluate masks": ["evaluate", "MASKS", "DATA", "SPLIT"],
    "evaluate masks --shard": ["evaluate", "MASKS", "DATA", "SPLIT", "--shard", "0/1", "--out", "OUT"],
    "check --shard": ["check", "SET", "--shard", "0/1", "--out", "OUT"],
    "convert --shard": ["convert", "SET", "OUT", "--splits", "JUDGED", "--shard", "0/1"],
    "explain-score": ["explain-score", "FIRST", "SET", "SPLIT"],
    "compare": ["compare", "FIRST", "SECOND", "DATA", "SPLIT", "--samples", "2"],
    "compare --other-average": ["compare", "FIRST", "FIRST", "DATA", "SPLIT", "--samples", "2", "--other-average", "flips"],
    "convert": ["convert", "SET", "OUT", "--splits", "JUDGED"],
    "submission": ["submission", "MASKS", "DATA", "SPLIT", "--out", "OUT.zip"],
    "claims --list": ["claims", "fcn-pool4", "DATA", "--list"],
    "upper-bound": ["upper-bound", "SET", "SPLIT", "--factors", "4"],
    "proposal-curve": ["proposal-curve", "FIRST", "DATA", "SPLIT", "--counts", "1", "--proposals-by", "sliding", "--out", "OUT"],
}  # fmt: skip
# Every measure of the table: of a model, of masks, and to compare by.
VALUES = {"class_name": "CLASS", "kind": "mask"}
for measure, entry in MEASURES.items():
    flag = [f"--{measure.replace('_', '-')}", *([VALUES[entry.first]] if entry.first else [])]
    if measure != DEFAULT:
        VERBS[f"evaluate {flag[0]}"] = ["evaluate", "FIRST", "DATA", "SPLIT", *flag]
        VERBS[f"evaluate masks {flag[0]}"] = ["evaluate", "MASKS", "DATA", "SPLIT", *flag]
        VERBS[f"compare {flag[0]}"] = ["compare", "FIRST", "SECOND", "DATA", "SPLIT", "--samples", "2", *flag]
WITHOUT_OBJECTS = {"folder", "bands", "context59", "context60", "context33", "siftflow", "siftflow_geometric", "nyud", "ade20k",
                   "camvid32", "camvid11", "coco_stuff92"}  # fmt: skip
WITHOUT_VOID = {"instances", "context60", "coco", "coco_voc21", "isbi2012", "nuclei2018"}  # in the splits of the fakes
ARCHIVES = {"voc2012": "out.tar.gz", "cityscapes": "out.zip", "cityscapes30": "out.zip",
            "coco_stuff92": "stuff_val2017_mine_results.zip"}  # fmt: skip
# What has no meaning: by verb the sets, and what is said, as a pattern. Every other cell works.
MEANINGLESS: dict[str, tuple[Callable[[str], bool], str]] = {
    "train --separation-weights": (lambda name: name in WITHOUT_OBJECTS, "numbers no objects in"),
    "submission": (lambda name: name not in ARCHIVES, "server"),
    "train --crops": (lambda name: name == "bands", r"crops = 'objects': are made of RGB pictures, and these have 5 bands"),
    "convert": (lambda name: name == "bands", "its pictures have 5 bands .*; convert takes RGB alone"),
    "convert --shard": (lambda name: name == "bands", "its pictures have 5 bands .*; convert takes RGB alone"),
    "claims --list": (lambda name: name == "bands", "its pictures have 5 bands .*, and the claims are of networks on RGB"),
    "proposal-curve": (lambda name: name == "bands", "boxes are found in RGB, and the model takes 5 bands"),
}
BY_FILES = "judges a results file by an annotation file|is a folder, not a file"
for words in ("evaluate", "evaluate masks", "compare"):
    of_files = BY_FILES if "masks" in words else f"{BY_FILES}|there is no such file"  # where torch is hidden no models are made
    by_files = "masks" in words or not HAS_TORCH
    MEANINGLESS |= {
        f"{words} --objects": (lambda name: name in WITHOUT_OBJECTS, "has no instances to judge objects by"),
        f"{words} --membranes": (lambda name: name not in WITHOUT_VOID, "has void pixels, for which these measures have no rule"),
        f"{words} --cityscapes": (lambda name: name not in ("cityscapes", "cityscapes30"), "judge"),
        f"{words} --instances": (lambda name: True, of_files if by_files else "predicts no instances"),
        f"{words} --panoptic": (lambda name: True, of_files if by_files else "predicts no segments|judge on coco_panoptic"),
    }
MEANINGLESS["evaluate masks --calibration"] = lambda name: True, "hold no probabilities"


class Place:
    """A data set on disk, two models for it, and masks of its truth."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        maker = MAKERS_HERE[name]
        assert maker is not None
        data = maker(root / "data")
        self.named = name not in FOLDERS
        self.data, self.below = (name, ["--root", str(data)]) if self.named else (str(data), [])
        self.judged = ON_DISK[name].judged if self.named else ("train", "val")
        self.set: Dataset = open_dataset(self.data, root=data if self.named else None, split=self.judged[1])
        classes = self.set.classes
        for seed, folder in enumerate(("FIRST", "SECOND")):
            bands = bands_of(self.set)
            make_model(root / folder, classes, seed, None if bands is None else bands.with_ranges((0, 4000) * len(bands)))
        for index in range(len(self.set)):
            labels = self.set.sample(index).labels
            write_labels(root / "MASKS", f"{self.set.name(index)}.png", np.where(labels == classes.void, 0, labels), classes)
        objects = with_objects(self.set).sample(0).instances
        self.class_name = classes.names[-1 if objects is None or not len(objects.class_ids) else int(objects.class_ids[0])]

    def line(self, verb: str) -> list[str]:
        words = {
            "DATA": ["--data", self.data, *self.below], "SET": [self.data, *self.below], "SPLIT": ["--split", self.judged[1]],
            "SPLITS": ["--train-split", self.judged[0], "--val-split", self.judged[1]], "JUDGED": [self.judged[1]],
            "CLASS": [self.class_name], "OUT": [str(self.root / f"out of {verb}")],
            "OUT.zip": [str(self.root / ARCHIVES.get(self.name, "out.zip"))],
            **{name: [str(self.root / name)] for name in ("FIRST", "SECOND", "MASKS")},
        }  # fmt: skip
        return [word for part in VERBS[verb] for word in words.get(part, [part])]


@pytest.fixture(scope="module", params=MAKERS_HERE)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("verb", VERBS)
def test_it_works_or_says_why_it_has_no_meaning(place: Place, verb: str, command) -> None:
    code, out, err = command(*place.line(verb))
    assert "Traceback" not in err
    applies, sentence = MEANINGLESS.get(verb, (lambda name: False, ""))
    if applies(place.name):
        assert code in (2, 3)
        assert re.search(sentence, err), err
    else:
        assert code == 0, out + err
