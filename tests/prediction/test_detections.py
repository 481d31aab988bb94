"""Objects that a network finds, in predictions, files and overlays, and judged. The network is a small one: it finds blobs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_networks import Blobs, BlobsAndPixels
from fakes import draw_rectangles, make_instances
from hypothesis import given
from hypothesis import strategies as st

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import DataError, UsageError
from perpixel.images import read_image, read_labels
from perpixel.networks import NETWORKS
from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.prediction.instances import encode_instances, labels_of, read_instances
from perpixel.prediction.journal import JOURNAL
from perpixel.sample import Instances
from perpixel.training.recipe import Recipe
from perpixel.training.train import train
from perpixel.weights.model_file import Model, ModelCard, load

CELLS = ClassTable.of(["background", "cell", "debris"])
STREET = ClassTable.of(["car", "person"])


@pytest.fixture(scope="module", autouse=True)
def names() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "blobs", Blobs)
        patch.setitem(NETWORKS, "blobs_and_pixels", BlobsAndPixels)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_instances(tmp_path_factory.mktemp("objects") / "data")


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """A run of the network of objects, which learned where bright begins."""
    recipe = Recipe(data=str(data), network="blobs", steps=60, batch=4, lr=0.1, validations=2, device="cpu")
    train(recipe, data.parent / "run", say=lambda _: None)
    return data.parent / "run"


def bright(network: Blobs, classes: ClassTable = CELLS, scale: float = 1.0) -> Model:
    """A model that finds what is brighter than the middle: class 1."""
    with torch.no_grad():
        network.colour.weight.zero_()
        network.colour.bias.fill_(-5)
        network.colour.weight[1], network.colour.bias[1] = 10 / 3, -5.0
    return Model(network, classes, ModelCard("blobs", {}, classes.to_json(), {}, scale, 0, {}, "", ""), "digest")


def bits(*rows: str) -> np.ndarray:
    return np.array([[mark == "#" for mark in row] for row in rows])


TWO = Instances(np.stack([bits("##..", "##.."), bits(".##.", ".##.")]), np.array([1, 2]), np.array([0.9, 0.5], np.float32))


class TestLabels:
    def test_the_highest_score_shows(self) -> None:
        assert labels_of(TWO, CELLS).tolist() == [[1, 1, 2, 0], [1, 1, 2, 0]]
        swapped = Instances(TWO.masks, TWO.class_ids, TWO.scores[::-1])
        assert labels_of(swapped, CELLS).tolist() == [[1, 2, 2, 0], [1, 2, 2, 0]]

    def test_without_a_background_the_rest_is_void(self) -> None:
        cars = Instances(TWO.masks[:1], np.array([0]), np.array([0.5], np.float32))
        assert labels_of(cars, STREET).tolist() == [[0, 0, 255, 255]] * 2

    def test_without_an_object_all_is_background(self) -> None:
        nothing = Instances(np.zeros((0, 2, 3), bool), np.zeros(0, np.int64), np.zeros(0, np.float32))
        assert labels_of(nothing, CELLS).tolist() == [[0, 0, 0]] * 2


class TestPredictions:
    def test_objects_and_the_labels_that_they_draw(self) -> None:
        image, numbers = draw_rectangles(1)
        found = perpixel.predict(bright(Blobs(3)), np.stack([image] * 3, -1))
        assert found.labels.dtype == np.uint8
        assert np.array_equal(found.labels, numbers > 0)
        assert np.array_equal(found.instances.masks.any(0), numbers > 0)
        assert set(found.instances.class_ids.tolist()) == {1}
        assert 0 <= found.instances.scores.min() <= found.instances.scores.max() <= 1
        assert found.scores is None

    def test_a_network_that_keeps_both_contracts_gives_both(self) -> None:
        network = BlobsAndPixels(3)
        image = np.stack([draw_rectangles(1)[0]] * 3, -1)
        found = perpixel.predict(bright(network), image, scores=True)
        with torch.no_grad():
            logits = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)["logits"][0]
        assert np.array_equal(found.labels, logits.argmax(0).numpy())
        assert np.allclose(found.scores, logits.softmax(0).numpy(), atol=1e-6)
        assert np.array_equal(found.instances.masks, perpixel.predict(bright(Blobs(3)), image).instances.masks)

    def test_masks_have_the_size_of_the_picture_at_any_scale(self) -> None:
        image = np.zeros((40, 60, 3), np.uint8)
        image[8:24, 12:32] = 255
        found = perpixel.predict(bright(Blobs(3), scale=0.25), image)
        assert found.instances.masks.shape == (1, 40, 60)
        assert abs(int(found.instances.masks.sum()) - 16 * 20) < 80

    def test_what_predictions_hold(self) -> None:
        provided = [PLAIN.predictor(bright(network)).provides for network in (Blobs(3), BlobsAndPixels(3))]
        assert provided == [{"labels", "instances"}, {"labels", "scores", "instances"}]
        pixels = perpixel.build("unet", 3, width=0.05)
        assert PLAIN.predictor(Model(pixels, CELLS, bright(Blobs(3)).card, "")).provides == {"labels", "scores"}

    @pytest.mark.parametrize(
        "settings",
        [
            {"average": "flips"},
            {"tile": 204},
            {"crf": "deeplab"},
            {"proposals": 3},
            {"scales": (0.5, 1)},
            {"base": 64},
            {"window": 8},
            {"output_stride": 8},
        ],
    )
    @pytest.mark.parametrize("network", [Blobs, BlobsAndPixels])
    def test_ways_to_predict_pixels_are_refused(self, settings: dict[str, object], network: type) -> None:
        (name,) = settings
        with pytest.raises(UsageError, match=f"{name}: {network.__name__} finds objects .*; leave {name} out"):
            perpixel.predict(bright(network(3)), np.zeros((8, 8, 3), np.uint8), inference=Inference(**settings))

    def test_probabilities_of_pixels_are_refused(self) -> None:
        with pytest.raises(UsageError, match="scores: Blobs finds objects and scores no pixels"):
            perpixel.predict(bright(Blobs(3)), np.zeros((8, 8, 3), np.uint8), scores=True)

    def test_a_second_model_of_objects_is_refused(self) -> None:
        pixels = Model(perpixel.build("unet", 3, width=0.05), CELLS, bright(Blobs(3)).card, "")
        with pytest.raises(UsageError, match="ensemble: Blobs finds objects and scores no pixels"):
            perpixel.predict(pixels, np.zeros((8, 8, 3), np.uint8), inference=Inference(ensemble=bright(Blobs(3))))


@st.composite
def objects(draw: st.DrawFn) -> Instances:
    """Up to 4 objects, some without a pixel, that overlap as they like."""
    count, (height, width) = draw(st.integers(0, 4)), draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    masks = np.random.default_rng(draw(st.integers(0, 99))).random((count, height, width)) < draw(st.floats(0, 1))
    of_each = st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
    scores = np.array(draw(of_each), np.float32) if draw(st.booleans()) else None
    class_ids = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), np.int64)
    return Instances(masks, class_ids, scores, np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool))


class TestFile:
    @given(objects())
    def test_what_is_read_is_what_was_written(self, tmp_path_factory: pytest.TempPathFactory, found: Instances) -> None:
        file = tmp_path_factory.mktemp("file") / "a.json"
        file.write_bytes(encode_instances(found, CELLS))
        again = read_instances(file, CELLS)
        assert np.array_equal(again.masks, found.masks)
        assert again.masks.shape == found.masks.shape
        assert again.class_ids.tolist() == found.class_ids.tolist()
        assert again.crowd.tolist() == found.crowd.tolist()
        if found.scores is None or not len(found.scores):
            assert again.scores is None or not len(again.scores)
        else:
            assert again.scores.dtype == np.float32
            assert again.scores.tolist() == found.scores.tolist()

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools, under NumPy 2
    def test_it_says_what_coco_says(self) -> None:
        content = json.loads(encode_instances(TWO, CELLS))
        assert content["size"] == [2, 4]
        first = content["objects"][0]
        assert (first["class"], first["bbox"], first["iscrowd"]) == ("cell", [0.0, 0.0, 2.0, 2.0], 0)
        decoder = pytest.importorskip("pycocotools.mask")
        assert np.array_equal(decoder.decode(first["segmentation"]), TWO.masks[0])

    @pytest.mark.parametrize(
        ("harm", "reason"),
        [
            (lambda text: text[:-3], "is no file of predicted objects"),
            (lambda text: "[" * 100_000, "is no file of predicted objects"),
            (lambda text: "[]", "is no file of predicted objects"),
            (lambda text: text.replace("0.5", "1.5"), "the score 1.5 is not in 0..1"),
            (lambda text: text.replace("0.5", "NaN"), "the score nan is not in 0..1"),
            (lambda text: text.replace("0.5", "null"), "some of its objects have a score and some have none"),
            (lambda text: text.replace('"iscrowd": 0', '"iscrowd": 2'), "iscrowd is 0 or 1"),
            (lambda text: text.replace('"segmentation": {"size": [2, 4]', '"segmentation": {"size": [4, 2]'), "another size"),
            (lambda text: text.replace("[2, 4]", "[2, 5]"), "the runs of the RLE sum to 8 pixels, but 2x5 are 10"),
            (lambda text: text.replace("[2, 4]", "[99999, 99999]"), "is no whole number 1..65535"),
        ],
    )
    def test_a_damaged_file_is_refused_in_a_sentence(self, tmp_path: Path, harm, reason: str) -> None:
        (tmp_path / "a.json").write_text(harm(encode_instances(TWO, CELLS).decode()))
        with pytest.raises(DataError, match=r"a\.json: .*; predict it again\.$") as caught:
            read_instances(tmp_path / "a.json", CELLS)
        assert reason in str(caught.value)

    def test_a_class_of_another_set_is_no_damage(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(encode_instances(TWO, CELLS))
        with pytest.raises(DataError, match=r"a\.json: has an object of the class 'cell', which the data set does not have"):
            read_instances(tmp_path / "a.json", STREET)

    def test_it_is_read_without_torch(self) -> None:
        script = "import sys; sys.modules['torch'] = None; import perpixel.prediction.instances"
        subprocess.run([sys.executable, "-c", script], check=True)


class TestCommand:
    def test_predict_writes_masks_overlays_and_objects(self, run: Path, data: Path, tmp_path: Path, command) -> None:
        code, _, said = command("predict", run, data / "images/val", "--out", tmp_path / "out")
        assert (code, "4 predicted" in said) == (0, True)
        model = load(run)
        for picture in sorted((data / "images/val").iterdir()):
            expected = perpixel.predict(model, picture)
            found = read_instances(tmp_path / f"out/instances/{picture.stem}.json", model.classes)
            assert len(found.class_ids) >= 1
            assert np.array_equal(found.masks, expected.instances.masks)
            assert found.scores.tolist() == expected.instances.scores.tolist()
            mask = tmp_path / f"out/masks/{picture.stem}.png"
            assert np.array_equal(model.classes.decode(read_labels(mask)), labels_of(found, model.classes))
            overlay, image = read_image(tmp_path / f"out/overlays/{picture.stem}.png"), read_image(picture)
            top, left = np.argwhere(found.masks[0])[0]
            assert tuple(overlay[top, left]) == model.classes.colours[1]  # the outline
            assert overlay.shape[0] > image.shape[0]  # the legend

    def test_what_is_done_is_skipped_and_a_damaged_file_is_made_again(
        self, run: Path, data: Path, tmp_path: Path, command
    ) -> None:
        line = ("predict", run, data / "images/val", "--out", tmp_path / "out")
        command(*line)
        files = sorted((tmp_path / "out/instances").iterdir())
        sound = [file.read_bytes() for file in files]
        assert "0 predicted, 4 done before" in command(*line)[2]
        files[1].write_bytes(sound[1][:-9])
        files[2].unlink()
        assert "2 predicted, 2 done before" in command(*line)[2]
        assert [file.read_bytes() for file in files] == sound
        head = json.loads((tmp_path / "out" / JOURNAL).read_text().splitlines()[0])
        assert head["folders"] == ["masks", "overlays", "instances"]

    def test_objects_from_elsewhere_are_left_alone(self, run: Path, data: Path, tmp_path: Path, command) -> None:
        (tmp_path / "out/instances").mkdir(parents=True)
        code, _, said = command("predict", run, data / "images/val", "--out", tmp_path / "out")
        assert (code, "from elsewhere; choose another --out" in said) == (2, True)

    def test_scores_of_pixels_are_refused_before_anything_is_written(
        self, run: Path, data: Path, tmp_path: Path, command
    ) -> None:
        code, _, said = command("predict", run, data / "images/val", "--out", tmp_path / "out", "--scores")
        assert (code, "scores: Blobs finds objects" in said) == (2, True)
        assert not any((tmp_path / "out").glob("*/*"))

    def test_a_network_of_pixels_writes_no_objects(self, data: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        pixels = Model(perpixel.build("unet", 3, convolutions="same", width=0.05), CELLS, bright(Blobs(3)).card, "")
        list(predict_all(pixels, find_pictures([str(data / "images/val")]), tmp_path))
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["masks", "overlays"]

    def test_pixels_and_objects_are_judged(self, run: Path, command) -> None:
        code, out, _ = command("evaluate", run, "--pixels", "--json")
        assert (code, json.loads(out)["figures"]["mIoU"] > 0.8) == (0, True)
        code, out, _ = command("evaluate", run, "--instances", "mask", "--json")
        assert (code, json.loads(out)["figures"]["AP50"] > 0.05) == (0, True)
        assert [*json.loads(out)["by_category"]] == ["object"]  # background is never an object

    def test_a_run_is_judged_by_the_measure_of_its_training(self, run: Path, data: Path, tmp_path: Path, command) -> None:
        code, out, said = command("evaluate", run, "--json")
        assert (code, json.loads(out)["figures"]) == (0, json.loads((run / "scores.json").read_text())["figures"])
        assert f"{run}: finds objects alone, so mask AP judges it; --pixels judges its pixels." in said
        recipe = Recipe(data=str(data), network="blobs", steps=1, batch=4, measure="objects=object", device="cpu")
        train(recipe, tmp_path / "other", say=lambda _: None)
        code, out, said = command("evaluate", tmp_path / "other", "--json")
        assert (code, "SEG" in json.loads(out)["figures"]) == (0, True)
        assert "other: judged by objects=object, as in its training; --pixels judges its pixels." in said
        code, out, said = command("evaluate", tmp_path / "other", "--pixels", "--json")
        assert (code, "mIoU" in json.loads(out)["figures"], "--pixels" in said) == (0, True, False)

    def test_files_are_judged_as_the_network_is(self, run: Path, data: Path, tmp_path: Path, command) -> None:
        command("predict", run, data / "images/val", "--out", tmp_path)
        scores = [
            json.loads(command("evaluate", judged, "--data", data, *more, "--json")[1])
            for judged in (run, tmp_path)
            for more in (("--pixels",), ("--instances", "mask"))
        ]
        assert [one["figures"] for one in scores[:2]] == [one["figures"] for one in scores[2:]]
        (tmp_path / "instances/c08.json").unlink()
        code, _, said = command("evaluate", tmp_path, "--data", data, "--instances", "mask")
        assert (code, "c08.json: there is no file of objects for the picture c08; predict it first." in said) == (3, True)

    def test_two_networks_are_compared(self, run: Path, data: Path, tmp_path: Path, command) -> None:
        train(Recipe(data=str(data), network="blobs", steps=1, batch=4, device="cpu"), tmp_path / "other", say=lambda _: None)
        line = ("compare", tmp_path / "other", run, "--samples", "20", "--json")
        code, out, _ = command(*line)
        assert (code, json.loads(out)["pairs"][0]["figures"]["mIoU"]["difference"] > 0.1) == (0, True), out
        code, out, _ = command(*line, "--instances", "mask")
        assert (code, json.loads(out)["pairs"][0]["figures"]["AP50"]["difference"] > 0) == (0, True), out
