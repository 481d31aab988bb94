"""Overlap-tile: the same scores as a pass over the whole picture, whatever its size, in the memory of one tile."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import say_every_class
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.networks.unet import mirror
from perpixel.prediction.equal_labels import Comparison
from perpixel.prediction.inference import Inference
from perpixel.prediction.score_maps import resized, score_map
from perpixel.prediction.symmetries import ALL, turned, turned_back, turned_window
from perpixel.prediction.tiles import kept, labels_by_tiles, mirrored, resized_part, tiles
from perpixel.weights.model_file import Model, ModelCard

LEAST = 204  # the smallest tile: 16 pixels a side are kept


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = say_every_class(perpixel.build("unet", 3, width=0.03).eval())
    classes = ClassTable.of(["a", "b", "c"])
    return Model(network, classes, ModelCard("unet", {"width": 0.03}, classes.to_json(), {}, 1.0, 0, {}, "", ""), "digest")


@pytest.fixture
def shown(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes of all inputs of the network."""
    sizes: list[tuple[int, int]] = []
    run = model.network.valid_score_map
    monkeypatch.setattr(model.network, "valid_score_map", lambda images: (sizes.append(tuple(images.shape[-2:])), run(images))[1])
    return sizes


class TestEqual:
    @pytest.mark.parametrize("size", [(48, 32), (1, 1), (17, 45), (100, 3)], ids=str)
    def test_to_the_whole_picture(self, model: Model, size: tuple[int, int]) -> None:
        image = noise(*size)
        whole = perpixel.predict(model, image, scores=True)
        by_tiles = perpixel.predict(model, image, True, Inference(tile=LEAST))
        np.testing.assert_allclose(by_tiles.scores, whole.scores, atol=1e-4)
        alone = perpixel.predict(model, image, inference=Inference(tile=LEAST))
        assert alone.scores is None
        ranked = np.sort(whole.scores, axis=0)
        clear = ranked[-1] - ranked[-2] > 1e-3
        for found in (by_tiles, alone):
            assert (found.labels == whole.labels)[clear].all()
            assert found.labels.dtype == np.uint8

    def test_to_the_last_bit_where_convolutions_are_exact_enough(self, model: Model) -> None:
        """Sums of another order differ in the last bits of a float64, which the float32 that is kept does not show."""
        network = perpixel.build("unet", 3, width=0.03).eval()
        network.load_state_dict(model.network.state_dict())
        network.double()
        score, valid = network.score_map, network.valid_score_map
        network.score_map = lambda images: score(images.double())
        network.valid_score_map = lambda images: valid(images.double())
        image, seen = noise(40, 50), 0
        whole = score_map(network, image).scores
        for (top, left, bottom, right), (part,) in tiles(network, image, (40, 50), LEAST, ALL[:1]):
            assert np.array_equal(part.scores, whole[top:bottom, left:right])
            seen += part.scores[..., 0].size
        assert seen == 40 * 50

    @pytest.mark.parametrize("average", ["flips", "rotations"])
    def test_inside_averages(self, model: Model, average: str) -> None:
        image = noise(33, 50)
        whole = perpixel.predict(model, image, True, Inference(average=average))
        by_tiles = perpixel.predict(model, image, True, Inference(average=average, tile=LEAST))
        np.testing.assert_allclose(by_tiles.scores, whole.scores, atol=1e-4)

    @pytest.mark.parametrize("scale", [0.5, 1.7])
    def test_where_the_network_sees_another_size(self, model: Model, scale: float) -> None:
        image = noise(60, 41)
        scaled = replace(model, card=replace(model.card, scale=scale))
        whole = perpixel.predict(scaled, image, scores=True)
        by_tiles = perpixel.predict(scaled, image, True, Inference(tile=LEAST))
        np.testing.assert_allclose(by_tiles.scores, whole.scores, atol=1e-4)


def model_of(name: str, **arguments: object) -> Model:
    """A network with random weights, scores included, that tells three classes apart."""
    torch.manual_seed(0)
    network = perpixel.build(name, 3, **arguments).eval()
    for layer in network.score.values() if name.startswith("fcn") else ():
        nn.init.normal_(layer.weight)
    classes = ClassTable.of(["a", "b", "c"])
    return Model(network, classes, ModelCard(name, arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""), "digest")


def by_tiles(model: Model, image: np.ndarray, side: int) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """The labels of all windows in one array, and the windows that were read."""
    labels, reads = np.full(image.shape[:2], 255, np.uint8), []

    def read(window: tuple[int, int, int, int]) -> np.ndarray:
        top, left, bottom, right = window
        assert 0 <= top < bottom <= image.shape[0]
        assert 0 <= left < right <= image.shape[1]
        reads.append(window)
        return image[top:bottom, left:right]

    windows = []
    for window, part in labels_by_tiles(model, read, image.shape[:2], side):
        top, left, bottom, right = window
        assert (labels[top:bottom, left:right] == 255).all()
        labels[top:bottom, left:right] = part
        windows.append(window)
    assert windows == sorted(windows)
    return labels, reads


class TestNetworksThatPad:
    """Every network of the contract table is compared in `test_tiles_of_networks.py`."""

    @pytest.mark.parametrize("size", [(260, 301), (90, 250), (241, 40), (17, 9)], ids=str)
    def test_labels_and_reads(self, size: tuple[int, int]) -> None:
        model, image = model_of("unet", width=0.03, convolutions="same"), noise(*size)
        labels, reads = by_tiles(model, image, 240)
        comparison = Comparison()
        comparison.add(model, "noise", image, labels)
        assert comparison.equal, str(comparison)
        assert comparison.ties < 10
        assert max(bottom - top for top, _, bottom, _ in reads) <= 240
        assert max(right - left for _, left, _, right in reads) <= 240
        assert (len(reads) == 1) == (max(size) <= 240)

    @pytest.mark.parametrize("scale", [0.5, 0.7, 1.6, 3.0])
    def test_parts_of_a_resized_picture_are_read_as_it(self, scale: float) -> None:
        image = noise(97, 83)
        whole = resized(image, scale)
        height, width = whole.shape[:2]
        for window in ((0, 0, height, width), (0, 0, 5, 7), (height - 9, width - 3, height, width), (7, 11, 32, 30)):
            shown = resized_part(lambda w: image[w[0] : w[2], w[1] : w[3]], (97, 83), (height, width), window)
            assert np.array_equal(shown, whole[window[0] : window[2], window[1] : window[3]])

    def test_where_the_network_sees_another_size(self) -> None:
        model = model_of("unet", width=0.03, convolutions="same")
        model = replace(model, card=replace(model.card, scale=1.7))
        image = noise(150, 201)
        labels, reads = by_tiles(model, image, 240)
        assert len(reads) > 4
        comparison = Comparison()
        comparison.add(model, "noise", image, labels)
        assert comparison.equal, str(comparison)

    @pytest.mark.parametrize("average", ["none", "mirror", "flips", "rotations"])
    def test_averages_and_scores(self, average: str) -> None:
        model, image = model_of("unet", width=0.03, convolutions="same"), noise(80, 270)
        whole = perpixel.predict(model, image, True, Inference(average=average))
        tiled = perpixel.predict(model, image, True, Inference(average=average, tile=240))
        np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-4)

    def test_scales(self) -> None:
        model, image = model_of("unet", width=0.03, convolutions="same"), noise(170, 180)
        whole = perpixel.predict(model, image, True, Inference(scales=(1, 1.5)))
        tiled = perpixel.predict(model, image, True, Inference(scales=(1, 1.5), tile=240))
        np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-4)

    def test_a_side_too_small_is_told_with_one_that_works(self) -> None:
        model, image = model_of("fcn32s", width=0.03), noise(600, 500)
        with pytest.raises(UsageError, match=r"^tile = 100: scores of FCN reach 224 pixels .* has 512 pixels a side or more"):
            by_tiles(model, image, 100)
        by_tiles(model, image, 512)

    def test_a_network_whose_scores_cannot_be_followed(self) -> None:
        with pytest.raises(UsageError, match=r"^tile = 512: tiles of SegFormer have other scores than the whole picture"):
            by_tiles(model_of("segformer"), noise(600, 600), 512)


class TestMemory:
    def test_no_pass_sees_more_than_a_tile(self, model: Model, shown: list[tuple[int, int]]) -> None:
        perpixel.predict(model, noise(64, 80), inference=Inference(tile=220))  # 32 pixels a side are kept
        assert len(shown) == 2 * 3
        assert max(shown) == (220, 220)

    def test_nor_a_little_more_when_turned(self, model: Model, shown: list[tuple[int, int]]) -> None:
        perpixel.predict(model, noise(41, 53), inference=Inference(tile=220, average="rotations"))
        assert max(max(size) for size in shown) <= 220 + 32
        assert all((side - 60) % 16 == 0 for size in shown for side in size)  # nothing is left to pad


class TestRefusals:
    @pytest.mark.parametrize("side", [1, 188, 203, 205, 570])
    def test_a_side_that_is_none_of_the_network(self, model: Model, side: int) -> None:
        with pytest.raises(UsageError, match=rf"^tile = {side}: an input tile has 16 k \+ 60 pixels a side and at least 204"):
            perpixel.predict(model, noise(4, 4), inference=Inference(tile=side))

    @pytest.mark.parametrize(("side", "keeps"), [(204, 16), (572, 384)])
    def test_what_a_tile_gives(self, model: Model, side: int, keeps: int) -> None:
        assert kept(model.network, side) == keeps


@given(side=st.integers(1, 9), before=st.integers(0, 30), after=st.integers(0, 30))
def test_mirrored_is_numpys_reflect(side: int, before: int, after: int) -> None:
    rows = np.arange(side)
    expected = np.pad(rows, (before, after), mode="reflect")
    assert mirrored(side, -before, side + after).tolist() == expected.tolist()
    there = mirror(torch.arange(side).view(1, 1, side, 1), before, after, 0, 0)
    assert there.flatten().tolist() == expected.tolist()


@settings(max_examples=30)
@given(height=st.integers(1, 5), width=st.integers(1, 5), symmetry=st.sampled_from(ALL), data=st.data())
def test_a_turned_window_shows_the_same_pixels(height: int, width: int, symmetry, data: st.DataObject) -> None:
    picture = np.arange(height * width).reshape(height, width)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    there = turned(picture, symmetry)
    window = turned_window((top, left, bottom, right), (height, width), symmetry)
    shown = there[window[0] : window[2], window[1] : window[3]]
    assert np.array_equal(turned_back(shown, symmetry), picture[top:bottom, left:right])
    assert np.array_equal(turned_back(there, symmetry), picture)


def test_the_symmetries_are_those_of_a_square() -> None:
    picture = np.arange(9).reshape(3, 3)
    found = {turned(picture, symmetry).tobytes() for symmetry in ALL}
    expected = {np.ascontiguousarray(np.rot90(side, k)).tobytes() for k in range(4) for side in (picture, picture.T)}
    assert found == expected
    assert len(found) == 8
    assert np.array_equal(turned(picture, ALL[0]), picture)
