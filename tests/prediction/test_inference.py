"""How a picture becomes probabilities when the network is not simply run on it: each way, all together, and on record."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_folder, say_every_class
from PIL import Image

import perpixel
from perpixel.classes import ClassTable
from perpixel.commands.flags import InferenceFlags, OtherFlags
from perpixel.datasets import Dataset
from perpixel.errors import UnknownName, UsageError
from perpixel.judging.evaluate import evaluate
from perpixel.judging.protocol import RULES
from perpixel.networks import build
from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.prediction.by_boxes import chosen, merges
from perpixel.prediction.crf.refine import refine
from perpixel.prediction.crf.settings import CRFS
from perpixel.prediction.fuse import FUSES
from perpixel.prediction.inference import AVERAGES, PLAIN, Inference
from perpixel.prediction.journal import JOURNAL
from perpixel.prediction.predict import predict
from perpixel.prediction.proposals import METHODS
from perpixel.prediction.score_maps import score_map, to_tensor
from perpixel.prediction.symmetries import ALL, FLIPS
from perpixel.weights.model_file import Model, ModelCard, load, save_model

CLASSES = ClassTable.of(["ground", "box", "disc"])
SAME = {"convolutions": "same", "width": 0.05}
VALID = {"width": 0.03}
BOXES = Inference(proposals=6, proposals_by="sliding")
# Every setting with another value, and every value of those that have names.
OTHERS = [
    BOXES, replace(BOXES, proposals=7), *(replace(BOXES, merge=merge) for merge in ("sum", "released")),
    replace(BOXES, average="flips"), Inference(average="flips"), Inference(average="rotations"),
    Inference(crf="deeplab"), Inference(crf="deconvnet"), replace(BOXES, crf="deconvnet"),
    Inference(tile=204), Inference(tile=572), Inference(tile=204, average="flips"),
    *(Inference(scales=(0.5, 1), fuse=fuse) for fuse in FUSES), *(Inference(window=32, fuse=fuse) for fuse in FUSES),
    *(Inference(average="mirror", fuse=fuse) for fuse in FUSES), Inference(average="flips", fuse="probabilities"),
    Inference(scales=(0.5,)), Inference(scales=(0.5, 1, 2)), Inference(window=33), Inference(window=32, window_step=20),
    Inference(base=60), Inference(base=50), Inference(base=50, scales=(0.5, 1)), Inference(window=32, average="mirror"),
    Inference(tile=204, scales=(0.5, 1)), Inference(tile=204, base=60), Inference(window=32, scales=(0.5, 1), crf="deeplab"),
    replace(BOXES, average="mirror"),
]  # fmt: skip


def made(name: str = "unet", seed: int = 0, scale: float = 1.0, **arguments: object) -> Model:
    """An untrained model, told apart by its digest."""
    torch.manual_seed(seed)
    network = build(name, 3, **arguments).eval()
    if name == "unet":
        say_every_class(network)
    card = ModelCard(name, arguments, CLASSES.to_json(), {}, scale, 0, {}, "", "")
    return Model(network, CLASSES, card, f"{name} {seed}")


@pytest.fixture(scope="module")
def model() -> Model:
    return made(**SAME)


@pytest.fixture(scope="module")
def valid() -> Model:
    return made(**VALID)


@pytest.fixture(scope="module")
def other() -> Model:
    return made(seed=1, scale=0.5, **SAME)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return draw_sample(0, (37, 52))[0]


def logits(model: Model, image: np.ndarray) -> np.ndarray:
    """Raw scores (C, H, W) of the whole picture by `forward`."""
    with torch.inference_mode():
        return model.network(to_tensor(np.ascontiguousarray(image)))["logits"][0].numpy().copy()


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(0))
    return powers / powers.sum(0)


def whole(model: Model, image: np.ndarray) -> np.ndarray:
    """Raw scores (C, H, W) by the plain path, at the model's scale."""
    size = image.shape[:2]
    return np.moveaxis(score_map(model.network, image, model.scale_for(size)).interpolated(size), 2, 0)


class TestPlain:
    def test_by_default(self, model: Model, image: np.ndarray) -> None:
        assert PLAIN.plain
        assert Inference() == PLAIN
        assert PLAIN.predictor(model).rules == {}
        assert not any(one.plain for one in OTHERS)

    def test_logits_of_full_size_are_never_made(self, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        """The argmax is taken of the coarse map."""
        model = made("parsenet", width=0.05)
        monkeypatch.setattr("perpixel.prediction.score_maps.Scores.interpolated", None)
        expected = score_map(model.network, image).labels(image.shape[:2])
        assert np.array_equal(predict(model, image).labels, expected)
        assert np.array_equal(PLAIN.predictor(model)(image).labels, expected)


class TestAverage:
    def test_flips_are_the_mean_of_four(self, model: Model, image: np.ndarray) -> None:
        versions = [(image, lambda s: s), (image[:, ::-1], lambda s: s[:, :, ::-1]), (image[::-1], lambda s: s[:, ::-1]),
                    (image[::-1, ::-1], lambda s: s[:, ::-1, ::-1])]  # fmt: skip
        expected = np.mean([back(logits(model, version)) for version, back in versions], axis=0)
        found = predict(model, image, True, Inference(average="flips"))
        np.testing.assert_allclose(found.scores, softmax(expected), atol=1e-5)
        assert (found.labels == expected.argmax(0)).mean() > 0.999

    def test_rotations_are_the_mean_of_seven_and_not_of_the_picture_as_it_is(self, model: Model, image: np.ndarray) -> None:
        quarters = [np.rot90(logits(model, np.rot90(image, k)), -k, (1, 2)) for k in (1, 2, 3)]
        over = [np.rot90(logits(model, np.rot90(image[:, ::-1], k)), -k, (1, 2))[:, :, ::-1] for k in range(4)]
        expected = np.mean([*quarters, *over], axis=0)
        found = predict(model, image, True, Inference(average="rotations"))
        np.testing.assert_allclose(found.scores, softmax(expected), atol=1e-5)

    def test_how_many(self) -> None:
        numbers = {name: len(symmetries) for name, (_, symmetries) in AVERAGES.items()}
        assert numbers == {"none": 1, "mirror": 2, "flips": 4, "rotations": 7}
        assert ALL[0] in FLIPS
        assert ALL[0] not in AVERAGES["rotations"][1]

    def test_the_mirror_is_the_mean_of_two_probabilities(self, model: Model, image: np.ndarray) -> None:
        expected = (softmax(logits(model, image)) + softmax(logits(model, image[:, ::-1])[:, :, ::-1])) / 2
        np.testing.assert_allclose(predict(model, image, True, Inference(average="mirror")).scores, expected, atol=1e-5)
        raw = (logits(model, image) + logits(model, image[:, ::-1])[:, :, ::-1]) / 2
        found = predict(model, image, True, Inference(average="mirror", fuse="scores"))
        np.testing.assert_allclose(found.scores, softmax(raw), atol=1e-5)

    @pytest.mark.parametrize("average", AVERAGES)
    @pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
    def test_sides_of_one_pixel(self, model: Model, size: tuple[int, int], average: str) -> None:
        found = predict(model, np.zeros((*size, 3), np.uint8), True, Inference(average=average))
        assert found.scores.shape == (3, *size)

    def test_coarse_maps_are_read_at_full_size_before_they_are_turned_back(self, image: np.ndarray) -> None:
        """37 x 52 is no multiple of the stride: cells of turned pictures lie elsewhere."""
        model = made("parsenet", width=0.05)
        expected = (logits(model, image) + logits(model, image[:, ::-1])[:, :, ::-1]
                    + logits(model, image[::-1])[:, ::-1] + logits(model, image[::-1, ::-1])[:, ::-1, ::-1]) / 4  # fmt: skip
        found = predict(model, image, True, Inference(average="flips"))
        np.testing.assert_allclose(found.scores, softmax(expected), atol=1e-5)


class TestBoxes:
    @pytest.mark.parametrize("merge", ["max", "sum", "released"])
    def test_a_softmax_over_the_merged_map(self, model: Model, image: np.ndarray, merge: str) -> None:
        big = np.asarray(Image.fromarray(image).resize((230, 160)))
        boxes = chosen(big, "sliding", merge)
        ((_, merged),) = merges(model.network, 3, big, boxes, [6], merge, ALL[:1])
        found = predict(model, big, True, replace(BOXES, merge=merge))
        np.testing.assert_allclose(found.scores, softmax(merged.numpy()), atol=1e-6)
        assert np.array_equal(found.labels, merged.numpy().argmax(0))

    def test_the_whole_picture_as_the_only_box(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        """A box of the network's own side that is the picture is the plain path."""
        monkeypatch.setattr("perpixel.prediction.by_boxes.propose", lambda image, method: np.array([[0.0, 0, 224, 224]]))
        monkeypatch.setattr("perpixel.prediction.by_boxes.CONTEXT", 1.0)
        image = draw_sample(3, (224, 224))[0]
        np.testing.assert_allclose(predict(model, image, True, BOXES).scores, softmax(whole(model, image)), atol=1e-5)

    def test_no_box_at_all_is_the_first_class(self, model: Model, image: np.ndarray) -> None:
        found = predict(model, image, True, replace(BOXES, merge="released"))  # 37 x 52 holds no box of 112
        assert not found.labels.any()
        np.testing.assert_allclose(found.scores, 1 / 3)


class TestEnsemble:
    def test_the_mean_of_probabilities(self, model: Model, other: Model, image: np.ndarray) -> None:
        expected = (softmax(whole(model, image)) + softmax(whole(other, image))) / 2
        found = predict(model, image, True, Inference(ensemble=other))
        np.testing.assert_allclose(found.scores, expected, atol=1e-6)
        assert (found.labels == expected.argmax(0)).mean() > 0.999

    def test_the_product_of_clipped_scores(self, model: Model, other: Model, image: np.ndarray) -> None:
        expected = np.maximum(whole(model, image), 0) * np.maximum(whole(other, image), 0)
        found = predict(model, image, True, Inference(ensemble=other, ensemble_by="product"))
        np.testing.assert_allclose(found.scores, softmax(expected), atol=1e-5)
        assert np.array_equal(found.labels, expected.argmax(0))

    def test_the_second_is_run_on_the_whole_picture(self, model: Model, other: Model, image: np.ndarray) -> None:
        boxes, second = predict(model, image, True, BOXES), predict(other, image, True)
        found = predict(model, image, True, replace(BOXES, ensemble=other))
        np.testing.assert_allclose(found.scores, (boxes.scores + second.scores) / 2, atol=1e-6)

    def test_a_path_is_the_model_there(self, model: Model, other: Model, image: np.ndarray, tmp_path: Path) -> None:
        save_model(tmp_path, other.network.state_dict(), other.card)
        by_path = predict(model, image, True, Inference(ensemble=tmp_path))
        assert np.array_equal(by_path.scores, predict(model, image, True, Inference(ensemble=other)).scores)


class TestCRF:
    @pytest.mark.parametrize("name", CRFS)
    def test_it_refines_the_probabilities(self, model: Model, image: np.ndarray, name: str) -> None:
        before = predict(model, image, True)
        expected = refine(image, np.ascontiguousarray(before.scores), CRFS[name])
        found = predict(model, image, True, Inference(crf=name))
        np.testing.assert_allclose(found.scores, expected, atol=1e-4)
        assert (found.labels == expected.argmax(0)).mean() > 0.99
        assert not np.array_equal(found.labels, before.labels)

    def test_it_comes_last(self, model: Model, other: Model, image: np.ndarray) -> None:
        joined = replace(BOXES, ensemble=other, average="flips")
        expected = refine(image, np.ascontiguousarray(predict(model, image, True, joined).scores), CRFS["deconvnet"])
        found = predict(model, image, True, replace(joined, crf="deconvnet"))
        np.testing.assert_allclose(found.scores, expected, atol=1e-4)

    def test_of_a_product_it_takes_the_softmax(self, model: Model, other: Model, image: np.ndarray) -> None:
        joined = Inference(ensemble=other, ensemble_by="product")
        expected = refine(image, np.ascontiguousarray(predict(model, image, True, joined).scores), CRFS["deconvnet"])
        found = predict(model, image, True, replace(joined, crf="deconvnet"))
        np.testing.assert_allclose(found.scores, expected, atol=1e-4)


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_probabilities_go_with_the_labels(valid: Model, image: np.ndarray, number: int) -> None:
    with_scores, without = (predict(valid, image, scores, OTHERS[number]) for scores in (True, False))
    assert without.scores is None
    assert with_scores.scores.dtype == np.float32
    assert with_scores.scores.shape == (3, 37, 52)
    np.testing.assert_allclose(with_scores.scores.sum(0), 1, atol=1e-5)
    assert (with_scores.labels == without.labels).mean() > 0.999
    assert with_scores.labels.dtype == without.labels.dtype == np.uint8
    ranked = np.sort(with_scores.scores, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5
    assert (with_scores.scores.argmax(0) == with_scores.labels)[clear].all()


REFUSED: dict[str, tuple[dict[str, object], type[UsageError], str]] = {
    "boxes below 0": ({"proposals": -1}, UsageError, "proposals = -1: must be 0"),
    "tiles below 0": ({"tile": -16}, UsageError, "tile = -16: must be 0"),
    "boxes and tiles": ({"proposals": 5, "tile": 572}, UsageError, "a box is no tile; give one of them"),
    "merged nothing": ({"merge": "max"}, UsageError, "merge = 'max': belongs to proposals, which is not given"),
    "a method for nothing": ({"proposals_by": "sliding"}, UsageError, "proposals_by = 'sliding': belongs to proposals"),
    "joined nothing": ({"ensemble_by": "mean"}, UsageError, "ensemble_by = 'mean': belongs to ensemble"),
    "a merge": ({"proposals": 5, "merge": "maxx"}, UnknownName, "no merge 'maxx'; did you mean 'max'?"),
    "a method": ({"proposals": 5, "proposals_by": "slide"}, UnknownName, "no proposals_by 'slide'; did you mean 'sliding'?"),
    "a way to join": ({"ensemble": "x", "ensemble_by": "sum"}, UnknownName, "no ensemble_by 'sum'"),
    "a CRF": ({"crf": "deepleb"}, UnknownName, "no crf 'deepleb'; did you mean 'deeplab'?"),
    "an average": ({"average": "flip"}, UnknownName, "no average 'flip'; did you mean 'flips'?"),
}  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_settings(self, case: str) -> None:
        given, kind, sentence = REFUSED[case]
        with pytest.raises(kind) as raised:
            Inference(**given)
        assert sentence in str(raised.value)

    def test_defaults_of_a_part_are_filled_in(self) -> None:
        assert Inference(proposals=5) == Inference(proposals=5, proposals_by="edge_boxes", merge="max")
        assert Inference(ensemble="x") == Inference(ensemble="x", ensemble_by="mean")
        assert "edge_boxes" in METHODS

    def test_a_second_model_of_other_classes(self, model: Model, other: Model, image: np.ndarray) -> None:
        foreign = replace(other, classes=ClassTable.of(["sea", "land", "sky"]))
        with pytest.raises(UsageError, match="the second model knows the classes sea, land, sky, the first ground, box, disc"):
            predict(model, image, inference=Inference(ensemble=foreign))

    def test_a_crf_over_one_class(self, image: np.ndarray) -> None:
        torch.manual_seed(0)
        one = replace(made(**SAME), network=build("unet", 1, **SAME).eval(), classes=ClassTable.of(["all"]))
        with pytest.raises(UsageError, match="crf = 'deeplab': a model of one class leaves nothing to refine"):
            predict(one, image, inference=Inference(crf="deeplab"))

    def test_masks_are_judged_as_they_are(self, tmp_path: Path) -> None:
        data = perpixel.open_dataset(make_folder(tmp_path / "data"))
        with pytest.raises(UsageError, match="masks are judged as they are; give crf, average with a model"):
            evaluate(tmp_path, data, inference=Inference(crf="deeplab", average="flips"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One picture with its truth."""
    return perpixel.open_dataset(make_folder(tmp_path_factory.mktemp("data"), train=1, val=1), split="val")


class TestProtocol:
    def test_that_of_plain_scores_says_what_it_said(self, model: Model, data: Dataset) -> None:
        protocol = evaluate(model, data).protocol
        assert {key: protocol[key] for key in RULES} == RULES
        assert set(protocol) == {"data", "split", "classes", *RULES, "scales", "perpixel", "weights"}
        assert (protocol["window"], protocol["flips"], protocol["weights"]) == ("whole picture", "none", "unet 0")

    def test_it_changes_when_any_setting_does_and_only_then(self, valid: Model, other: Model, data: Dataset) -> None:
        third = replace(made("parsenet", seed=2, width=0.05), side=40)
        settings = [PLAIN, *OTHERS, replace(BOXES, proposals_by="edge_boxes")]
        settings += [Inference(ensemble=other), Inference(ensemble=other, ensemble_by="product"), replace(BOXES, ensemble=other)]
        settings += [Inference(ensemble=third)]  # sees pictures at another size than `other`
        rules = [json.dumps(one.predictor(valid).rules, sort_keys=True) for one in settings]
        assert len(set(rules)) == len(settings)
        again = [replace(one, average=one.average) for one in settings]
        assert [json.dumps(one.predictor(valid).rules, sort_keys=True) for one in again] == rules

    def test_its_hash_is_of_the_rules_and_not_of_the_weights(self, valid: Model, other: Model, data: Dataset) -> None:
        fewer = [PLAIN, BOXES, Inference(crf="deconvnet"), Inference(tile=204), Inference(ensemble=other)]
        found = [evaluate(valid, data, inference=one) for one in fewer]
        assert len({scores.protocol_hash for scores in found}) == len(fewer)
        assert [scores.protocol["weights"] for scores in found] == ["unet 0"] * 4 + ["unet 0+unet 1"]
        assert len({json.dumps(scores.to_json()) for scores in found}) == len(fewer)
        twin = replace(other, digest="unet 7")
        second = evaluate(valid, data, inference=Inference(ensemble=twin))
        assert second.protocol_hash == found[-1].protocol_hash
        assert second.protocol != found[-1].protocol

    def test_in_words(self, valid: Model, other: Model, data: Dataset) -> None:
        inference = Inference(proposals=6, proposals_by="sliding", average="rotations", ensemble=other, crf="deconvnet")
        protocol = evaluate(valid, data, inference=inference).protocol
        assert protocol["window"] == "6 boxes by sliding, enlarged 1.2 times, merged by max: maximum, 0 outside of a box"
        assert protocol["flips"].startswith("mean of raw scores turned by 90, 180 and 270 degrees")
        assert protocol["scales"] == ["224 x 224", 0.5]
        assert protocol["ensemble"] == "mean of two networks' probabilities"
        assert protocol["crf"]["name"] == "deconvnet"
        assert protocol["crf"]["bilateral_xy_sd"] == 20
        assert set(RULES) < set(protocol)

    def test_windows_and_scales_in_words(self, model: Model, other: Model, data: Dataset) -> None:
        inference = Inference(scales=(1, 0.5), window=24, average="mirror", ensemble=other)
        protocol = evaluate(model, data, inference=inference).protocol
        assert protocol["scales"] == [0.5, 1.0, 0.5]
        assert protocol["window"].startswith(
            "24 x 24 at every 16 pixels, the last flush with the border; smaller pictures padded"
        )
        assert protocol["flips"] == "as it is and left-right"
        assert protocol["fuse"] == "mean of probabilities over turned pictures, windows and scales"
        by_base = Inference(scales=(0.5, 1), base=60, fuse="pspnet").predictor(model).rules
        assert by_base["scales"] == ["longer side 30", "longer side 60"]
        assert by_base["fuse"].startswith("raw scores of turned pictures added, then softmax")
        sided = replace(model, side=40)
        assert Inference(scales=(0.5, 1)).predictor(sided).rules["scales"] == ["0.5 x shorter side 40", "shorter side 40"]

    def test_one_scale_is_that_of_a_model_that_sees_pictures_so(self, model: Model, data: Dataset) -> None:
        smaller = replace(model, card=replace(model.card, scale=0.5))
        found, expected = evaluate(model, data, inference=Inference(scales=(0.5,))), evaluate(smaller, data)
        assert found.protocol == expected.protocol
        assert np.array_equal(found.totals.counts, expected.totals.counts)

    def test_the_labels_judged_are_those_predicted(self, valid: Model, data: Dataset) -> None:
        sample = data.sample(0)
        for inference in (BOXES, Inference(average="flips", tile=204), Inference(scales=(0.5, 1), window=24, average="mirror")):
            matrix = perpixel.ConfusionMatrix(3, 255)
            matrix.add(sample.labels, predict(valid, sample.image, inference=inference).labels)
            assert np.array_equal(evaluate(valid, data, inference=inference).totals.counts, matrix.counts)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, valid: Model, other: Model) -> Path:
    """Two models, a data set and three pictures."""
    root = tmp_path_factory.mktemp("place")
    make_folder(root / "data", train=1, val=2)
    for folder, one in (("run", valid), ("second", other)):
        (root / folder).mkdir()
        save_model(root / folder, one.network.state_dict(), one.card)
    (root / "pictures").mkdir()
    for seed, name in enumerate("abc"):
        Image.fromarray(draw_sample(seed)[0]).save(root / "pictures" / f"{name}.png")
    return root


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(place: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """Runs a command line in `place`; gives exit code, stdout and stderr."""
    monkeypatch.chdir(place)
    return command


class TestMany:
    def test_they_are_as_predicted_one_by_one(self, place: Path, tmp_path: Path) -> None:
        model = load(place / "run")
        inference = Inference(proposals=6, proposals_by="sliding", merge="sum", ensemble=place / "second", crf="deeplab")
        sources = find_pictures([str(place / "pictures")])
        assert [one.status for one in predict_all(model, sources, tmp_path, True, False, inference)] == ["done"] * 3
        for name in "abc":
            expected = predict(model, place / "pictures" / f"{name}.png", True, inference)
            np.testing.assert_allclose(np.load(tmp_path / "scores" / f"{name}.npy"), expected.scores, atol=1e-5)
            assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / f"{name}.png")), expected.labels)

    def test_the_journal_of_plain_prediction_is_as_before(self, place: Path, tmp_path: Path) -> None:
        model = load(place / "run")
        list(predict_all(model, find_pictures([str(place / "pictures")]), tmp_path))
        head = json.loads((tmp_path / JOURNAL).read_text().splitlines()[0])
        assert head == {"model": model.digest, "folders": ["masks", "overlays"]}

    def test_what_is_done_is_skipped_under_the_same_settings_alone(self, place: Path, tmp_path: Path, command) -> None:
        boxes = ["--proposals", 4, "--proposals-by", "sliding"]
        second = ["--ensemble", "second"]
        start = ["predict", "run", "pictures", "--out", tmp_path / "out", "--device", "cpu"]
        for counts in ("3 predicted, 0 done before", "0 predicted, 3 done before"):
            code, _, message = command(*start, *boxes, *second)
            assert code == 0, message
            assert message.splitlines()[-1] == f"{tmp_path / 'out'}: {counts}, 0 failed."
        assert command(*start, *boxes, *second, "--merge", "max")[0] == 0  # the default by name
        assert command(*start, *boxes, "--ensemble", "second/model.safetensors")[0] == 0  # the same model
        others = [[*boxes, *second, *more] for more in (["--merge", "sum"], ["--crf", "deconvnet"], ["--average", "flips"])]
        for flags in (*others, [*boxes, "--ensemble", "run"], boxes, second, []):
            code, _, message = command(*start, *flags)
            assert code == 2
            assert message.startswith(f"perpixel: {tmp_path / 'out'}: holds predictions of another model or with other options;")


class TestCommand:
    def test_evaluate_with_everything(self, command) -> None:
        start = ["evaluate", "run", "--data", "data", "--json", "--device", "cpu"]
        _, plain, _ = command(*start)
        boxes = ["--proposals", 5, "--proposals-by", "sliding", "--merge", "released", "--average", "flips"]
        second = ["--ensemble", "second", "--ensemble-by", "product"]
        code, out, message = command(*start, *boxes, *second, "--crf", "deconvnet")
        assert code == 0, message
        plain, found = json.loads(plain), json.loads(out)
        assert found["protocol_hash"] != plain["protocol_hash"]
        assert found["protocol"]["window"].startswith("5 boxes by sliding, enlarged 1.2 times, merged by released: ")
        assert found["protocol"]["data"] == plain["protocol"]["data"]

    def test_windows_and_scales(self, command, place: Path, tmp_path: Path) -> None:
        """Numbers with commas between, before a picture too; by Python the same masks; as a protocol the same words."""
        flags = [
            "--scales",
            "0.5,1,1.5",
            "--average",
            "mirror",
            "--window",
            24,
            "--window-step",
            15,
            "--base",
            40,
            "--fuse",
            "pspnet",
        ]
        code, _, message = command("predict", "run", *flags, "pictures/a.png", "--out", tmp_path / "out", "--device", "cpu")
        assert code == 0, message
        inference = Inference(scales=(0.5, 1, 1.5), average="mirror", window=24, window_step=15, base=40, fuse="pspnet")
        expected = predict(load(place / "run"), place / "pictures" / "a.png", inference=inference)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out/masks/a.png")), expected.labels)
        code, out, message = command("evaluate", "run", "--data", "data", "--json", "--device", "cpu", *flags)
        assert code == 0, message
        assert inference.predictor(load(place / "run")).rules.items() <= json.loads(out)["protocol"].items()

    def test_compared_with_other_scales(self, command) -> None:
        start = ["compare", "run", "run", "--data", "data", "--json", "--device", "cpu", "--samples", 5]
        code, out, message = command(*start, "--other-scales", "0.5,1", "--other-fuse", "maximum")
        assert code == 0, message
        first, second = json.loads(out)["protocol"]["predicted"]
        assert (first, second["scales"]) == ({}, [0.5, 1.0])
        assert second["fuse"].endswith("maximum over scales")

    def test_every_setting_is_a_flag(self) -> None:
        assert [item.name for item in fields(InferenceFlags)] == [item.name for item in fields(Inference)]
        assert [item.name for item in fields(OtherFlags)] == [f"other_{item.name}" for item in fields(Inference)]

    def test_tiles(self, command, tmp_path: Path) -> None:
        for name, more in (("whole", []), ("tiles", ["--tile", 204])):
            code, _, message = command("predict", "run", "pictures", "--out", tmp_path / name, "--device", "cpu", *more)
            assert code == 0, message
        for name in "abc":
            a, b = (np.asarray(Image.open(tmp_path / folder / "masks" / f"{name}.png")) for folder in ("whole", "tiles"))
            assert (a == b).mean() > 0.999

    @pytest.mark.parametrize(
        ("flags", "code", "sentence"),
        [
            (["--merge", "max"], 2, "merge = 'max': belongs to proposals, which is not given; give proposals too"),
            (["--crf", "deconvnett"], 2, "no crf 'deconvnett'; did you mean 'deconvnet'? Known: "),
            (["--proposals", "5", "--tile", "204"], 2, "proposals = 5 and tile = 204: a box is no tile; give one of them."),
            (["--tile", "200"], 2, "tile = 200: an input tile has 16 k + 60 pixels a side and at least 204, such as 204."),
            (["--ensemble", "nowhere"], 3, "nowhere: there is no model file"),
            (["--average", "rotation"], 2, "no average 'rotation'; did you mean 'rotations'?"),
            (["--scales", "0.5,half"], 2, "--scales 0.5,half: must be numbers with commas between, such as 0.5,0.75,1."),
            (["--scales", "0.5,"], 2, "--scales 0.5,: must be numbers with commas between, such as 0.5,0.75,1."),
            (["--scales", "1,2,1"], 2, "scales = 1,1,2: name each scale once."),
            (["--window", "473", "--tile", "204"], 2, "window = 473 and tile = 204: each cuts the picture; give one."),
            (["--window", "473", "--window-step", "474"], 2, "window_step = 474: must be 1 to 473, or windows leave pixels out."),
            (["--fuse", "pspnet"], 2, "fuse = 'pspnet': there is nothing to join in one pass; give average"),
            (["--output-stride", "8"], 2, "output_stride = 8: UNet has no output stride to set"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_mistakes(self, command, tmp_path: Path, flags: list[str], code: int, sentence: str) -> None:
        for start in (["predict", "run", "pictures", "--out", tmp_path / "out"], ["evaluate", "run", "--data", "data"]):
            found, out, message = command(*start, *flags)
            assert (found, out) == (code, "")
            assert sentence in message
            assert len(message.splitlines()) == 1
        assert not (tmp_path / "out" / "masks").exists()

    def test_a_mistyped_flag_of_inference(self, command) -> None:
        assert "no option '--proposal'; did you mean '--proposals'?" in command("predict", "run", "pictures", "--proposal")[2]
