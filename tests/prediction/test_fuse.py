"""Scales, mirror and windows, joined by each rule, against the same in plain torch; and that they need little memory."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from coarse_networks import Coarse, model_of
from fakes import draw_sample
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

import perpixel
from perpixel.errors import UsageError
from perpixel.prediction import inference as inference_module
from perpixel.prediction import windows
from perpixel.prediction.fuse import FUSES
from perpixel.prediction.inference import AVERAGES, Inference, Predictor
from perpixel.weights.model_file import Model

SCALES = (0.5, 1.0, 1.25)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return model_of(Coarse(), sharpness=8)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return draw_sample(0, (29, 40))[0]


def scaled(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    picture = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def stretched(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(scores, size, mode="bilinear", align_corners=False)


def joined_turned(rule: str, answers: list[torch.Tensor]) -> torch.Tensor:
    """What is averaged over windows."""
    if rule == "probabilities":
        return torch.stack([answer.softmax(1) for answer in answers]).mean(0)
    if rule == "pspnet":
        return torch.stack(answers).sum(0).softmax(1)
    if rule == "encnet":
        return torch.stack(answers).sum(0).exp()
    return torch.stack(answers).mean(0)


def joined_scales(rule: str, answers: list[torch.Tensor]) -> torch.Tensor:
    """Probabilities (C, H, W)."""
    each = torch.stack(answers)[:, 0]
    if rule == "encnet":
        return each.sum(0) / each.sum((0, 1))
    if rule == "maximum":
        return each.amax(0).softmax(0)
    return each.mean(0).softmax(0) if rule == "scores" else each.mean(0)


@torch.no_grad()
def reference(
    network: Coarse, image: np.ndarray, rule: str, sizes: list[tuple[int, int]], mirror: bool, window: int = 0, step: int = 0
) -> np.ndarray:
    """Probabilities (C, H, W) of a picture seen at each of `sizes`."""
    network, full, answers = network.double(), image.shape[:2], []
    for height, width in sizes:
        seen = scaled(image, (height, width)).double()
        if not window:
            turned = [stretched(network.trunk(seen), full)]
            if mirror:
                turned.append(stretched(network.trunk(seen.flip(3)), full).flip(3))
            answers.append(joined_turned(rule, turned))
            continue
        padded = network.trunk.mean.double()[None].repeat(1, 1, max(height, window), max(width, window))
        padded[..., :height, :width] = seen
        total = torch.zeros(1, 3, *padded.shape[2:], dtype=torch.float64)
        count = torch.zeros_like(total)
        across = 1 + max(0, -(-(width - window) // step))
        down = 1 + max(0, -(-(height - window) // step))
        for i in range(down):
            for j in range(across):
                top, left = (min(k * step, side - window) for k, side in zip((i, j), padded.shape[2:], strict=True))
                crop = padded[..., top : top + window, left : left + window]
                turned = [network(crop)["logits"]]
                if mirror:
                    turned.append(network(crop.flip(3))["logits"].flip(3))
                total[..., top : top + window, left : left + window] += joined_turned(rule, turned)
                count[..., top : top + window, left : left + window] += 1
        answers.append(stretched((total / count)[..., :height, :width], full))
    found = joined_scales(rule, answers)
    network.float()
    return found.numpy()


def sizes_of(image: np.ndarray, scales: tuple[float, ...]) -> list[tuple[int, int]]:
    return [(round(image.shape[0] * scale), round(image.shape[1] * scale)) for scale in scales]


class TestAgainstPlainTorch:
    @pytest.mark.parametrize("window", [0, 16, 24], ids=lambda side: f"window {side}")
    @pytest.mark.parametrize("average", ["none", "mirror"])
    @pytest.mark.parametrize("rule", FUSES)
    def test_every_rule(self, model: Model, image: np.ndarray, rule: str, average: str, window: int) -> None:
        """At half its size the picture has 14 x 20 pixels: lower than any window, and wider than the smaller one."""
        inference = Inference(scales=SCALES, average=average, window=window, fuse=rule)
        sizes, step = sizes_of(image, SCALES), -(-2 * window // 3)
        expected = reference(model.network, image, rule, sizes, average == "mirror", window, step)
        found = perpixel.predict(model, image, True, inference)
        np.testing.assert_allclose(found.scores, expected, atol=2e-5)
        assert (found.labels == expected.argmax(0)).mean() > 0.998
        assert (perpixel.predict(model, image, False, inference).labels == found.labels).mean() > 0.998

    def test_rules_differ(self, model: Model, image: np.ndarray) -> None:
        found = [
            perpixel.predict(model, image, True, Inference(scales=SCALES, average="mirror", fuse=rule)).scores for rule in FUSES
        ]
        assert min(np.abs(one - other).max() for i, one in enumerate(found) for other in found[:i]) > 1e-3

    @pytest.mark.parametrize("rule", FUSES)
    def test_strips_leave_no_seams(self, model: Model, image: np.ndarray, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
        inferences = [Inference(scales=SCALES, average="mirror", fuse=rule, window=window) for window in (0, 16)]
        at_once = [perpixel.predict(model, image, True, inference).scores for inference in inferences]
        monkeypatch.setattr(windows, "PIECE", 1)  # a row of pixels at a time
        for inference, expected in zip(inferences, at_once, strict=True):
            np.testing.assert_allclose(perpixel.predict(model, image, True, inference).scores, expected, atol=1e-6)

    def test_a_step_of_its_own(self, model: Model, image: np.ndarray) -> None:
        expected = reference(model.network, image, "pspnet", [(29, 40)], True, 16, 5)
        inference = Inference(window=16, window_step=5, average="mirror", fuse="pspnet")
        np.testing.assert_allclose(perpixel.predict(model, image, True, inference).scores, expected, atol=2e-5)


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)), scales=st.sets(st.sampled_from([0.05, 0.4, 1, 2.3]), min_size=1),
    window=st.integers(0, 24), base=st.integers(0, 30), average=st.sampled_from(sorted(AVERAGES)),
    rule=st.sampled_from(sorted(FUSES)), seed=st.integers(0, 9),
)  # fmt: skip
def test_pictures_of_any_size(
    model: Model, size: tuple[int, int], scales: set[float], window: int, base: int, average: str, rule: str, seed: int
) -> None:
    several = window or len(scales) > 1 or average != "none"
    inference = Inference(scales=tuple(scales), window=window, base=base, average=average, fuse=rule if several else None)
    found = perpixel.predict(model, np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8), True, inference)
    assert found.labels.shape == size
    np.testing.assert_allclose(found.scores.sum(0), 1, atol=1e-5)
    assert found.scores.min() >= 0


class TestScales:
    @pytest.mark.parametrize("rule", [None, *FUSES])
    def test_base_is_the_longer_side(self, model: Model, image: np.ndarray, rule: str | None) -> None:
        """Of 29 x 40 pixels: 32 and 64 of the longer side are factors of 0.8 and 1.6; also of the picture on its side."""
        inference = Inference(scales=(0.5, 1), base=64, fuse=rule)
        for picture, sizes in ((image, [(23, 32), (46, 64)]), (image.transpose(1, 0, 2), [(32, 23), (64, 46)])):
            expected = reference(model.network, np.ascontiguousarray(picture), rule or "probabilities", sizes, False)
            np.testing.assert_allclose(perpixel.predict(model, picture, True, inference).scores, expected, atol=2e-5)

    def test_base_takes_the_place_of_the_models_own_scale(self, model: Model, image: np.ndarray) -> None:
        own = model_of(model.network, scale=0.5)
        inference = Inference(base=48)
        assert np.array_equal(*(perpixel.predict(one, image, True, inference).scores for one in (model, own)))

    @pytest.mark.parametrize("more", [{}, {"average": "mirror"}, {"crf": "deeplab"}, {"window": 16}])
    def test_they_are_factors_of_the_models_own_scale(self, model: Model, image: np.ndarray, more: dict[str, object]) -> None:
        own = model_of(model.network, scale=0.5)
        expected = perpixel.predict(own, image, True, Inference(**more)).scores
        found = perpixel.predict(model, image, True, Inference(scales=(0.5,), **more)).scores
        assert np.array_equal(found, expected)
        twice = perpixel.predict(own, image, True, Inference(scales=(2,), **more)).scores
        assert np.array_equal(twice, perpixel.predict(model, image, True, Inference(**more)).scores)

    def test_a_model_that_sees_a_shorter_side(self, model: Model, image: np.ndarray) -> None:
        sided = model_of(model.network)
        sided.side = 58
        expected = reference(model.network, image, "probabilities", [(29, 40), (58, 80)], False)
        np.testing.assert_allclose(perpixel.predict(sided, image, True, Inference(scales=(0.5, 1))).scores, expected, atol=2e-5)

    def test_their_order_is_one(self) -> None:
        assert Inference(scales=(1, 0.5)) == Inference(scales=(0.5, 1.0))
        assert Inference(scales=[1]).plain

    def test_with_an_ensemble_and_a_crf(self, model: Model, image: np.ndarray) -> None:
        several = Inference(scales=SCALES, average="mirror", window=24)
        first = perpixel.predict(model, image, True, several).scores
        second = perpixel.predict(model, image, True).scores
        joined = perpixel.predict(model, image, True, Inference(scales=SCALES, average="mirror", window=24, ensemble=model))
        np.testing.assert_allclose(joined.scores, (first + second) / 2, atol=1e-6)
        raw = perpixel.predict(
            model, image, True, Inference(scales=SCALES, fuse="maximum", ensemble=model, ensemble_by="product", crf="deeplab")
        )
        assert raw.scores.shape == first.shape
        np.testing.assert_allclose(raw.scores.sum(0), 1, atol=1e-5)

    def test_with_tiles(self, image: np.ndarray) -> None:
        """Tiles leave no seams, so at each scale they are the whole picture."""
        torch.manual_seed(0)
        network = model_of(perpixel.build("unet", 3, width=0.03))
        for more in ({}, {"average": "mirror"}, {"average": "flips"}, {"average": "mirror", "fuse": "pspnet"}):
            whole, tiles = (
                perpixel.predict(network, image, True, Inference(scales=(0.5, 1), tile=tile, **more)).scores for tile in (0, 204)
            )
            np.testing.assert_allclose(tiles, whole, atol=1e-5)


def test_great_scores_stay_finite(image: np.ndarray) -> None:
    """Twice a score of some hundreds, as a power of e, is beyond any float: logarithms of the sums are compared."""
    torch.manual_seed(1)
    model, logarithms = model_of(Coarse(), sharpness=4000), []
    assert model.network(scaled(image, (29, 40)))["logits"].abs().max() > 800
    with torch.no_grad():
        for size in sizes_of(image, SCALES):
            seen = scaled(image, size)
            mirrored = stretched(model.network.trunk(seen.flip(3)), (29, 40)).flip(3)
            logarithms.append((stretched(model.network.trunk(seen), (29, 40)) + mirrored)[0].double())
    expected = torch.stack(logarithms).logsumexp(0).softmax(0).numpy()
    for window in (0, 16):
        with np.errstate(over="raise", invalid="raise"):
            inference = Inference(scales=SCALES, average="mirror", window=window, fuse="encnet")
            found = perpixel.predict(model, image, True, inference)
        assert np.isfinite(found.scores).all()
        np.testing.assert_allclose(found.scores.sum(0), 1, atol=1e-5)
        if not window:
            np.testing.assert_allclose(found.scores, expected, atol=1e-3)


@pytest.mark.parametrize(("settings", "most"), [
    ({"scales": (1, 1.75), "average": "mirror", "fuse": "probabilities"}, 0.3),
    ({"scales": (1, 1.75), "average": "mirror", "fuse": "encnet"}, 0.3),
    ({"scales": (1, 1.75), "average": "mirror", "window": 89, "fuse": "encnet"}, 2.6),  # whose rows are those of the picture
    ({"scales": (1, 1.75), "average": "mirror", "window": 40, "fuse": "encnet"}, 1.2),
    ({"window": 40}, 0.5), ({"average": "flips"}, 0.15), ({"ensemble": True}, 0.15),
])  # fmt: skip
def test_labels_need_no_array_of_all_scores(settings: dict[str, Any], most: float) -> None:
    """In arrays of all scores. The greatest scale has three times the pixels of the picture. NumPy's memory alone is measured,
    and everything is an eighth of a Cityscapes picture and its windows of 713."""
    classes = 19
    torch.manual_seed(0)
    model = model_of(Coarse(classes, 9, 8), classes)
    image = np.zeros((128, 256, 3), np.uint8)
    predictor = Inference(**{key: model if value is True else value for key, value in settings.items()}).predictor(model)
    predictor(image[:16, :16])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "PIECE", windows.PIECE // 64)
        tracemalloc.start()
        predictor(image)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < most * 4 * classes * 128 * 256


@pytest.mark.parametrize("settings", [
    {"scales": (0.5, 1, 1.5)}, {"scales": (0.5, 1), "average": "flips"}, {"scales": (0.6, 1.3), "window": 24, "fuse": "pspnet"},
    {"scales": (0.5, 1, 1.5), "fuse": "maximum"}, {"scales": (0.5, 1), "fuse": "encnet", "ensemble": True},
])  # fmt: skip
def test_strips_give_what_arrays_of_all_scores_give(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's map is so fine that strips would need more memory; then whole arrays are joined, with the same values."""
    torch.manual_seed(1)
    model = model_of(Coarse(5, 5, 2), 5)
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    predictor = Inference(**{key: model if value is True else value for key, value in settings.items()}).predictor(model, True)
    parts: list[int] = []
    before = Predictor._parts

    def counted(*words: Any) -> Iterator[Any]:
        for part in before(*words):
            parts[-1] += 1
            yield part

    monkeypatch.setattr(Predictor, "_parts", counted)
    found = []
    for piece, size in ((64, 10**6), (64, 0)):
        parts.append(0)
        monkeypatch.setattr(windows, "PIECE", piece)
        monkeypatch.setattr(inference_module, "_room", lambda _, size=size: size)
        found.append(predictor(image))
    assert parts[0] > 10
    assert parts[1] == 1
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-6)


REFUSED = {
    "no scale": ({"scales": ()}, "scales = : must be numbers above 0 and at most 16, at least one."),
    "a scale of 0": ({"scales": (0, 1)}, "scales = 0,1: must be numbers above 0"),
    "a scale that is no number": ({"scales": ("half",)}, "scales = ('half',): must be numbers, such as (0.5, 0.75, 1)."),
    "nan": ({"scales": (float("nan"),)}, "scales = nan: must be numbers above 0"),
    "one number": ({"scales": 0.5}, "scales = 0.5: must be numbers, such as (0.5, 0.75, 1)."),
    "a scale twice": ({"scales": (1, 0.5, 1)}, "scales = 0.5,1,1: name each scale once."),
    "a great base": ({"base": 10_000, "scales": (2,)}, "base: 20000 pixels a side are more than the 16384"),
    "a great window": ({"window": 16_385}, "window: 16385 pixels a side are more than the 16384"),
    "below 0": ({"window": -1}, "window = -1: must be 0 (without) or above."),
    "windows and tiles": ({"window": 64, "tile": 204}, "window = 64 and tile = 204: each cuts the picture; give one."),
    "windows and boxes": ({"window": 64, "proposals": 5}, "window = 64 and proposals = 5: each cuts the picture; give one."),
    "scales of boxes": ({"scales": (1, 2), "proposals": 5}, "each box is resized to the network's side; leave scales"),
    "base of boxes": ({"base": 64, "proposals": 5}, "each box is resized to the network's side; leave base out"),
    "a rule for boxes": ({"fuse": "scores", "average": "flips", "proposals": 5}, "fuse = 'scores': boxes are joined by merge"),
    "a step without windows": ({"window_step": 3}, "window_step = 3: belongs to window, which is not given"),
    "a step with gaps": ({"window": 8, "window_step": 9}, "window_step = 9: must be 1 to 8, or windows leave pixels out."),
    "no step": ({"window": 8, "window_step": 0}, "window_step = 0: must be 1 to 8"),
    "a rule for one answer": ({"fuse": "maximum", "scales": (0.5,)}, "fuse = 'maximum': there is nothing to join in one pass"),
    "a rule": ({"fuse": "pspnett", "scales": (0.5, 1)}, "no fuse 'pspnett'; did you mean 'pspnet'?"),
    "a product of probabilities": ({"ensemble": "x", "ensemble_by": "product", "scales": (1, 2)}, "multiplies raw scores; give"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    settings, sentence = REFUSED[case]
    with pytest.raises(UsageError) as raised:
        Inference(**settings)
    assert sentence in str(raised.value)


def test_scales_beyond_the_models_own(model: Model, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="scales = 8: the model sees pictures at 4 already, and both together must not"):
        perpixel.predict(model_of(model.network, scale=4.0), image, inference=Inference(scales=(1, 8)))
