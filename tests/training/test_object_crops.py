"""DeconvNet's examples: which objects there are, what a crop shows, how often rare ones come, the file that keeps the boxes."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import make_folder, make_voc
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file

from perpixel.classes import ClassTable
from perpixel.datasets import fingerprint, open_dataset
from perpixel.datasets.scenes import Scenes
from perpixel.datasets.voc import Voc2012
from perpixel.errors import DataError, Interrupted
from perpixel.files import MODEL_FILE
from perpixel.machines import team
from perpixel.masks.boxes import enlarge, overlaps
from perpixel.sample import Instances, Sample
from perpixel.training import object_crops, states
from perpixel.training.batches import batches
from perpixel.training.object_crops import FILE, Examples, ObjectCrops, objects_of, only, read_examples, write_examples
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY
from perpixel.training.train import train
from perpixel.weights import model_file

WITH = ClassTable.of(["background", "a", "b"])
WITHOUT = ClassTable.of(["ground", "a", "b"])
V = 255


class Pictures:
    """Samples in memory."""

    split, splits = "train", ("train",)

    def __init__(self, samples, classes=WITH):
        self.samples, self.classes = samples, classes

    def __len__(self):
        return len(self.samples)

    def name(self, index):
        return self.samples[index].name

    def sample(self, index):
        return self.samples[index]


def sample_of(labels, masks=None, class_ids=(), name="one"):
    labels = np.array(labels, np.uint8)
    image = np.repeat(np.arange(1, labels.size + 1, dtype=np.uint8).reshape(labels.shape)[..., None], 3, axis=2)
    instances = None if masks is None else Instances(np.array(masks, bool), np.array(class_ids, np.int64))
    return Sample(name, image, labels, instances)


# A car of four by four pixels with void on its left, and beside it, touching, a second thing of another class.
TRUTH = np.array([
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 2, 2],
    [0, 0, V, 1, 1, 1, 2, 2],
    [0, 0, V, 1, 1, 1, 2, 2],
    [0, 0, V, 1, 1, 1, 2, 2],
    [0, 0, V, 1, 1, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0, 0, 0],
])  # fmt: skip
CAR = (TRUTH == 1) & (np.arange(8)[:, None] < 7)
OTHER = TRUTH == 2


def view(sample, classes=WITH, size=(6, 6), enlarged=1.5, alone=True, balance=0.0, number=0):
    found = objects_of(sample, classes)
    box = object_crops._boxes_of(found.masks)[[number]]
    examples = Examples(np.zeros(1, np.int32), np.array([number], np.int32), found.class_ids[[number]].astype(np.int32), box)
    return ObjectCrops(Pictures([sample], classes), examples, size, enlarged, balance, alone)


class TestByHand:
    """The car's box is rows 2..5, columns 3..5; twice as large it is rows 0..7, columns 1.5 to 7.5; its own box is 4 x 3."""

    def test_the_object_keeps_its_class_and_all_else_is_background(self):
        crop = view(sample_of(TRUTH, [CAR, OTHER], (1, 2)), size=(4, 3), enlarged=1.0).sample(0)
        assert crop.labels.tolist() == [[1, 1, 1]] * 4
        crop = view(sample_of(TRUTH, [OTHER, CAR], (2, 1)), size=(8, 4), enlarged=2.0).sample(0)  # rows -1..6, columns 5..8
        assert crop.labels.tolist() == [
            [V, V, V, V],
            [0, 0, 0, V],
            [0, 2, 2, V],
            [0, 2, 2, V],
            [0, 2, 2, V],
            [0, 2, 2, V],
            [0, 0, 0, V],
            [0, 0, 0, V],
        ]
        assert crop.image[0].tolist() == [[0, 0, 0]] * 4  # black outside
        assert crop.image[1, :3, 0].tolist() == [6, 7, 8]
        assert crop.image[:, 3].tolist() == [[0, 0, 0]] * 8

    def test_void_stays_void(self):
        labels = only(sample_of(TRUTH), CAR, 1, WITH)
        assert np.array_equal(labels, np.where(TRUTH == V, V, np.where(CAR, 1, 0)))

    def test_without_a_background_all_else_is_void(self):
        labels = only(sample_of(TRUTH), CAR, 1, WITHOUT)
        assert np.array_equal(labels, np.where(CAR, 1, V))

    def test_a_proposal_shows_all_classes(self):
        crop = view(sample_of(TRUTH, [OTHER], (2,)), size=(8, 4), enlarged=2.0, alone=False).sample(0)
        assert crop.labels[1:, :3].tolist() == TRUTH[:7, 5:].tolist()

    def test_a_crop_is_resized(self):
        crop = view(sample_of(TRUTH, [CAR], (1,)), size=(12, 9), enlarged=1.0).sample(0)
        assert crop.labels.shape == (12, 9)
        assert crop.image.shape == (12, 9, 3)
        assert (crop.labels == 1).all()


class TestObjects:
    def test_instances_come_first_and_then_parts_of_what_they_leave(self):
        found = objects_of(sample_of(TRUTH, [OTHER], (2,)), WITH)
        assert found.class_ids.tolist() == [2, 1, 1]
        assert [mask.sum() for mask in found.masks] == [8, 12, 2]

    def test_without_background_the_ground_is_an_object_too(self):
        found = objects_of(sample_of(TRUTH), WITHOUT)
        assert found.class_ids.tolist() == [0, 1, 1, 2]

    def test_parts_that_touch_at_a_corner_are_one(self):
        assert len(objects_of(sample_of(np.eye(8)), WITH).masks) == 1

    def test_specks_are_no_objects_but_small_instances_are(self):
        labels = np.zeros((100, 100), np.uint8)
        labels[5, 5:14] = 1  # nine pixels; a thousandth of the picture is ten
        labels[50, 5:15] = 2
        sample = Sample("one", np.zeros((100, 100, 3), np.uint8), labels)
        assert objects_of(sample, WITH).class_ids.tolist() == [2]
        found = objects_of(replace(sample, instances=Instances((labels == 1)[None], np.array([1]))), WITH)
        assert found.class_ids.tolist() == [1, 2]

    def test_an_instance_of_no_pixel_is_none(self):
        found = objects_of(sample_of(TRUTH, [CAR, np.zeros((8, 8)), OTHER], (1, 1, 2)), WITH)
        assert found.class_ids.tolist() == [1, 2, 1]

    def test_a_picture_of_void_has_none(self):
        found = objects_of(sample_of(np.full((8, 8), V)), WITH)
        assert found.masks.shape == (0, 8, 8)

    def test_scenes_have_their_cars_and_people_whole_and_the_rest_in_parts(self):
        sample = Scenes("train").sample(0)
        found, own = objects_of(sample, Scenes.classes), sample.instances
        assert np.array_equal(found.masks[: len(own.masks)], own.masks)
        assert {Scenes.classes.names[i] for i in found.class_ids[len(own.masks) :]} >= {"sky", "road", "building"}

    def test_voc_has_its_objects_and_nothing_more(self, tmp_path):
        dataset = Voc2012(make_voc(tmp_path), "trainvalaug").with_instances()
        for index in range(len(dataset)):
            sample = dataset.sample(index)
            found = objects_of(sample, dataset.classes)
            assert np.array_equal(found.masks, sample.instances.masks)
            assert np.array_equal(found.class_ids, sample.instances.class_ids)


labelled = arrays(np.uint8, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.sampled_from([0, 1, 2, V]))


@given(labels=labelled, enlarged=st.floats(1.0, 2.5), classes=st.sampled_from([WITH, WITHOUT]), data=st.data())
def test_labels_of_a_crop_are_the_object_background_and_void_and_the_object_is_there(labels, enlarged, classes, data):
    sample = sample_of(labels)
    found = objects_of(sample, classes)
    if not len(found.masks):
        return
    number = data.draw(st.integers(0, len(found.masks) - 1))
    crop = view(sample, classes, size=(40, 40), enlarged=enlarged, number=number).sample(0)  # larger: no pixel is skipped
    own = int(found.class_ids[number])
    assert set(np.unique(crop.labels)) <= {own, V, *([0] if classes is WITH else [])}
    assert (crop.labels == own).any()
    proposal = view(sample, classes, size=(40, 40), enlarged=enlarged, number=number, alone=False).sample(0)
    assert set(np.unique(proposal.labels)) <= {*np.unique(labels), V}
    assert (crop.labels[crop.labels == own] == proposal.labels[crop.labels == own]).all()


class TestBalance:
    def order(self, counts, balance):
        class_ids = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
        zeros = np.zeros(len(class_ids), np.int32)
        examples = Examples(zeros, zeros, class_ids, np.tile([0.0, 0, 1, 1], (len(class_ids), 1)))
        crops = ObjectCrops(Pictures([sample_of(TRUTH)]), examples, (6, 6), 1.2, balance, alone=True)
        assert len(crops) == len(crops.order)
        return np.bincount(class_ids[crops.order]).tolist()

    def test_examples_of_rare_classes_repeat(self):
        assert self.order([0, 100, 25, 4], 0.0) == [0, 100, 25, 4]
        assert self.order([0, 100, 25, 4], 0.5) == [0, 100, 2 * 25, 5 * 4]
        assert self.order([0, 100, 25, 4], 1.0) == [0, 100, 4 * 25, 25 * 4]


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "data")


def recipe_for(folder, **changes):
    settings = {
        "data": str(folder), "network": "fcn8s", "padding": 1, "width": 0.02, "crop": (32, 32), "crops": "objects", "steps": 4,
        "batch": 4, "validations": 1, "save_every": 1, "device": "cpu", "proposals": "sliding",
    }  # fmt: skip
    return Recipe(**{**settings, **changes})


def crops_of(recipe, out, say=None, data="digest"):
    messages = []
    out.mkdir(exist_ok=True)
    dataset = open_dataset(recipe.data, root=recipe.root, split="train")
    with team.join("cpu") as alone:
        found = object_crops.object_crops(dataset, recipe, data, out, alone, say or messages.append)
    return found, messages


class TestView:
    def test_without_crops_it_is_the_data_set_itself(self, folder, tmp_path):
        recipe = recipe_for(folder, crops="none")
        found, _ = crops_of(recipe, tmp_path)
        assert type(found).__name__ == "Folder"
        assert not (tmp_path / FILE).exists()

    def test_it_keeps_the_contract_of_a_data_set(self, folder, tmp_path):
        crops, _ = crops_of(recipe_for(folder), tmp_path)
        assert (crops.split, crops.splits) == ("train", ("train", "val"))
        assert crops.classes == open_dataset(folder, split="train").classes
        names = [crops.name(index) for index in range(len(crops))]
        assert len(set(names)) == len(crops.examples)
        sample = crops.sample(len(crops) - 1)
        assert sample.name == names[-1]
        assert sample.labels.dtype == np.uint8
        assert sample.labels.shape == sample.image.shape[:2] == (36, 36)  # 32 x 250 / 224

    def test_at_224_boxes_are_resized_to_250_as_published(self, folder, tmp_path):
        crops, _ = crops_of(recipe_for(folder, crop=(224, 224)), tmp_path)
        assert crops.sample(0).labels.shape == (250, 250)

    def test_proposals_overlap_an_object_enough_and_there_are_more_at_a_lower_bar(self, folder, tmp_path):
        counts = []
        for overlap in (0.3, 0.5, 0.7):
            crops, _ = crops_of(recipe_for(folder, crops="proposals", proposal_overlap=overlap), tmp_path / str(overlap))
            dataset, examples = open_dataset(folder, split="train"), crops.examples
            for picture, number, box in list(zip(examples.pictures, examples.objects, examples.boxes, strict=True))[::50]:
                masks = objects_of(dataset.sample(int(picture)), dataset.classes).masks
                shared = overlaps(box[None], object_crops._boxes_of(masks))[0]
                assert shared.max() == shared[number] >= overlap
            counts.append(len(examples))
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] > 0

    def test_the_object_fills_what_its_box_fills(self, folder, tmp_path):
        """Enlarged 1.2 times, the object's box is the middle 1 / 1.2 of each side."""
        crops, _ = crops_of(recipe_for(folder, crop_balance=0.0), tmp_path)
        boxes = [index for index, class_id in enumerate(crops.examples.class_ids) if class_id == 1]
        dataset = open_dataset(folder, split="train")
        whole = 0
        for index in boxes:
            examples = crops.examples
            mask = objects_of(dataset.sample(int(examples.pictures[index])), dataset.classes).masks[examples.objects[index]]
            top, left, bottom, right = examples.boxes[index].astype(int)
            if not mask[top:bottom, left:right].all():
                continue
            whole += 1
            rows, columns = np.nonzero(crops.sample(index).labels == 1)
            assert abs(rows.min() - 3) <= 1
            assert abs(rows.max() - 32) <= 1
            assert abs(columns.min() - 3) <= 1
            assert abs(columns.max() - 32) <= 1
        assert whole > 0

    def test_a_set_without_objects_is_refused(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(object_crops, "SMALLEST", 2.0)
        with pytest.raises(DataError, match="holds no object to crop; train with crops none"):
            crops_of(recipe_for(folder), tmp_path)
        with pytest.raises(DataError, match="holds no proposal that overlaps an object to crop"):
            crops_of(recipe_for(folder, crops="proposals"), tmp_path)

    def test_objects_that_changed_are_told(self, folder, tmp_path, monkeypatch):
        crops, _ = crops_of(recipe_for(folder), tmp_path)
        monkeypatch.setattr(object_crops, "SMALLEST", 0.2)
        with pytest.raises(DataError, match=r"p\d\d: its objects changed since the run began; choose another --out"):
            [crops.sample(index) for index in range(len(crops))]

    def test_batches_of_it_are_those_of_any_data_set(self, folder, tmp_path):
        recipe = recipe_for(folder)
        crops, _ = crops_of(recipe, tmp_path)
        ((first,), *_) = batches(crops, recipe, 0)
        assert first.images.shape == (4, 3, 32, 32)
        assert all(" crop " in name for name in first.names)


class TestFile:
    def test_it_is_found_once(self, folder, tmp_path, monkeypatch):
        recipe = recipe_for(folder, crops="proposals")
        first, messages = crops_of(recipe, tmp_path)
        assert messages == []
        monkeypatch.setattr(object_crops, "propose", None)
        second, messages = crops_of(recipe, tmp_path)
        assert messages == []
        for name, values in vars(first.examples).items():
            assert np.array_equal(values, vars(second.examples)[name])

    @pytest.mark.parametrize(
        "change", [{"crops": "objects"}, {"proposal_overlap": 0.6}, {"proposals": "selective_search"}, {"data": "other"}]
    )
    def test_it_is_made_anew_for_other_settings_or_data(self, folder, tmp_path, change):
        if "selective_search" in change.values():
            pytest.importorskip("cv2", reason="OpenCV, which makes these proposals, is not installed")
        recipe = recipe_for(folder, crops="proposals")
        crops_of(recipe, tmp_path)
        before = (tmp_path / FILE).read_bytes()
        data = change.pop("data", "digest")
        _, messages = crops_of(replace(recipe, **change), tmp_path, data=data)
        assert messages == [f"{tmp_path / FILE}: is damaged or of other data; it is made anew."]
        assert (tmp_path / FILE).read_bytes() != before

    def test_it_says_every_twenty_seconds_how_far_it_is(self, folder, tmp_path, monkeypatch):
        ticks = count(0, 15)
        monkeypatch.setattr(object_crops, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        _, messages = crops_of(recipe_for(folder), tmp_path)
        assert [line.split(", ")[0] for line in messages] == [f"looking for what to crop: {n}/8 pictures" for n in (2, 4, 6, 8)]

    def test_what_is_not_in_it_changes_nothing(self, folder, tmp_path):
        recipe = recipe_for(folder)
        crops_of(recipe, tmp_path)
        _, messages = crops_of(replace(recipe, crop_enlarge=2.0, crop_balance=1.0, crop=(64, 64)), tmp_path)
        assert messages == []

    def test_a_damaged_file_is_made_anew(self, folder, tmp_path):
        recipe = recipe_for(folder)
        crops_of(recipe, tmp_path)
        whole = (tmp_path / FILE).read_bytes()
        for place in range(0, len(whole), 97):
            harmed = bytearray(whole)
            harmed[place] ^= 1
            (tmp_path / FILE).write_bytes(harmed)
            assert crops_of(recipe, tmp_path)[1] != []
            assert (tmp_path / FILE).read_bytes() == whole
        (tmp_path / FILE).write_bytes(whole[:-1])
        assert crops_of(recipe, tmp_path)[1] != []

    @given(length=st.integers(0, 200), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_any_flipped_bit_is_seen_or_changes_nothing(self, tmp_path_factory, length, place, bit):
        random = np.random.default_rng(length)
        numbers = [random.integers(0, 99, length, dtype=np.int32) for _ in range(3)]
        examples, path = Examples(*numbers, random.random((length, 4))), tmp_path_factory.mktemp("flip") / FILE
        write_examples(path, examples, "key")
        assert np.array_equal(read_examples(path, "key").boxes, examples.boxes)
        assert read_examples(path, "another") is None
        harmed = bytearray(path.read_bytes())
        harmed[int(place * len(harmed))] ^= 1 << bit
        path.write_bytes(harmed)
        found = read_examples(path, "key")
        assert found is None or all(np.array_equal(vars(found)[name], values) for name, values in vars(examples).items())


def finished(run):
    files = [run / FILE, run / MODEL_FILE, run / HISTORY, *sorted((run / states.STATES).rglob("*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files if path.is_file()}


@pytest.mark.parametrize("crops", ["objects", "proposals"])
class TestTraining:
    def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(self, folder, tmp_path, crops):
        def stop(done, _total, _text):
            if done == 2:
                os.kill(os.getpid(), 15)

        recipe = recipe_for(folder, crops=crops)
        train(recipe, tmp_path / "whole", say=lambda _: None)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "stopped", say=lambda _: None, progress=stop)
        (tmp_path / "stopped" / FILE).unlink()  # nothing that cannot be found again
        train(recipe, tmp_path / "stopped", say=lambda _: None)
        assert finished(tmp_path / "stopped") == finished(tmp_path / "whole")

    def test_the_run_says_what_it_was_trained_on(self, folder, tmp_path, crops):
        train(recipe_for(folder, crops=crops), tmp_path / "run", say=lambda _: None)
        card = model_file.load(tmp_path / "run").card
        assert card.recipe["crops"] == crops
        assert card.trained_on == fingerprint(open_dataset(folder, split="train"))


def test_each_of_three_processes_looks_at_its_share_and_has_all(folder, tmp_path):
    """Threads in the place of processes; the slow test below has real ones."""
    alone, _ = crops_of(recipe_for(folder), tmp_path)
    looked, shares, barrier = [[], [], []], [None] * 3, threading.Barrier(3)

    class Member(team.Team):
        def from_first(self, value):
            return value

        def gather(self, value):
            shares[self.rank] = value
            barrier.wait(20)
            return shares

    def share(rank):
        dataset = open_dataset(folder, split="train")
        sample = dataset.sample
        dataset.sample = lambda index: (looked[rank].append(index), sample(index))[1]
        out = tmp_path / str(rank)
        out.mkdir()
        return object_crops.object_crops(dataset, recipe_for(folder), "digest", out, Member(rank, 3, torch.device("cpu")), print)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(share, range(3)))
    assert [sorted(numbers) for numbers in looked] == [[0, 3, 6], [1, 4, 7], [2, 5]]
    for crops in found:
        for name, values in vars(alone.examples).items():
            assert np.array_equal(values, vars(crops.examples)[name])
    assert [(tmp_path / str(rank) / FILE).exists() for rank in range(3)] == [True, False, False]


@pytest.mark.slow
def test_two_processes_find_the_boxes_and_the_weights_of_one(folder, tmp_path):
    flags = ["--data", str(folder), "--network", "unet", "--convolutions", "same", "--width", "0.05", "--dropout", "0",
             "--steps", "3", "--batch", "4", "--crop", "24", "24", "--crops", "proposals", "--proposals", "sliding",
             "--optimiser", "sgd", "--lr", "0.001", "--validations", "1"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = [sys.executable, "-m", "perpixel", "train", *flags, "--out", str(tmp_path / "one")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    two = [*torchrun, "-m", "perpixel", "train", *flags, "--out", str(tmp_path / "two")]
    for command in (one, two):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()
    alone, together = (load_file(tmp_path / name / MODEL_FILE) for name in ("one", "two"))
    for name, tensor in alone.items():
        assert np.allclose(tensor, together[name], atol=1e-5), name


def test_the_box_of_a_voc_object_is_enlarged_about_its_middle(tmp_path):
    """Cells of 4 x 4 pixels: 1.2 times as large they are 4.8 x 4.8, so 250 / 1.2 of the 250 pixels are the object's."""
    root = make_voc(tmp_path / "data")
    recipe = recipe_for("voc2012", root=str(root), train_split="train", crop=(224, 224), crop_balance=0.0)
    crops, _ = crops_of(recipe, tmp_path)
    assert crops.examples.class_ids.min() > 0
    index = next(i for i, box in enumerate(crops.examples.boxes) if box.tolist()[:2] == [4, 4])
    assert enlarge(crops.examples.boxes[[index]], 1.2).tolist() == pytest.approx(np.array([[3.6, 3.6, 8.4, 8.4]]))
    labels = crops.sample(index).labels
    own = crops.examples.class_ids[index]
    assert set(np.unique(labels)) == {0, own}
    rows, columns = np.nonzero(labels == own)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == pytest.approx((208, 208), abs=1)
