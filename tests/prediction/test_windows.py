"""Windows: where they lie, and that a network which needs no more than a window sees the same through them."""

import numpy as np
import pytest
import torch
from coarse_networks import Coarse, model_of
from fakes import draw_sample, say_every_class
from hypothesis import given
from hypothesis import strategies as st

import perpixel
from perpixel.networks import mean_colour
from perpixel.prediction.fuse import FUSES
from perpixel.prediction.inference import Inference
from perpixel.prediction.windows import counts, padded, starts, step_of


class TestPlaces:
    def test_by_hand(self) -> None:
        """PSPNet's crops of 713 in a Cityscapes picture: 476 apart, the last flush with the border."""
        assert starts(1024, 713, step_of(713)) == [0, 311]
        assert starts(2048, 713, step_of(713)) == [0, 476, 952, 1335]
        assert starts(713, 713, 476) == starts(1, 713, 476) == [0]
        assert starts(714, 713, 476) == [0, 1]

    @given(side=st.integers(1, 200), window=st.integers(1, 90), data=st.data())
    def test_every_pixel_is_seen(self, side: int, window: int, data: st.DataObject) -> None:
        step = data.draw(st.integers(1, window))
        places = starts(side, window, step)
        assert places == sorted(set(places))
        assert places[-1] == max(0, side - window)
        assert all(place == number * step for number, place in enumerate(places[:-1]))
        assert counts(places, min(side, window), side).min() >= 1

    @pytest.mark.parametrize("window", range(1, 20))
    def test_steps_leave_a_third_to_the_neighbour(self, window: int) -> None:
        assert step_of(window) - 1 < window * 2 / 3 <= step_of(window)
        assert 1 <= step_of(window) <= window


class TestPadding:
    def test_the_colour_is_what_the_network_subtracts(self) -> None:
        for network, expected in (
            (Coarse(), [0.485, 0.456, 0.406]),
            (perpixel.build("fcn32s", 3, width=0.02), [0.481094, 0.457525, 0.407863]),
            (perpixel.build("deconvnet", 3, width=0.02), [0.481094, 0.457525, 0.407863]),
            (perpixel.build("unet", 3, width=0.02), [0.0]),
        ):
            np.testing.assert_allclose(mean_colour(network).flatten(), expected, atol=1e-5)

    def test_the_network_sees_zeros_at_the_bottom_and_right(self) -> None:
        network = Coarse()
        image = np.full((3, 5, 3), 200, np.uint8)
        full = padded(image, 8, mean_colour(network).flatten().numpy())
        seen = torch.from_numpy(full).permute(2, 0, 1) - network.trunk.mean
        assert seen.shape == (3, 8, 8)
        assert (seen[:, :3, :5] != 0).all()
        assert not seen[:, 3:].any()
        assert not seen[:, :, 5:].any()

    def test_a_picture_of_the_windows_size_stays(self) -> None:
        image = np.zeros((8, 9, 3), np.uint8)
        assert padded(image, 8, np.zeros(3, np.float32)) is image


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return say_every_class(perpixel.build("unet", 3, width=0.05, convolutions="same")).eval()


class TestAgainstTheWholePicture:
    @given(side=st.integers(1, 40), rule=st.sampled_from([None, *FUSES]), seed=st.integers(0, 9))
    def test_one_window_over_all_of_it(self, network: torch.nn.Module, side: int, rule: str | None, seed: int) -> None:
        model, image = model_of(network), np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        whole = perpixel.predict(model, image, True)
        found = perpixel.predict(model, image, True, Inference(scales=(1.0,), window=side, fuse=rule))
        np.testing.assert_allclose(found.scores, whole.scores, atol=1e-6)
        assert np.array_equal(found.labels, whole.labels)

    @given(
        size=st.tuples(st.integers(1, 30), st.integers(1, 30)), window=st.integers(1, 33), data=st.data(),
        rule=st.sampled_from([None, *FUSES]), average=st.sampled_from(["none", "mirror", "flips", "rotations"]),
    )  # fmt: skip
    def test_a_network_that_sees_pixels_one_by_one(
        self, size: tuple[int, int], window: int, data: st.DataObject, rule: str | None, average: str
    ) -> None:
        """Windows, their order and what is beyond the picture change nothing for it. Sums of turned scores do, so none here."""
        torch.manual_seed(0)
        model = model_of(Coarse(kernel=1, stride=1), sharpness=4)
        step = data.draw(st.integers(1, window))
        rule = rule if rule is None or average == "none" else data.draw(st.sampled_from(["probabilities", "scores", "maximum"]))
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        found = perpixel.predict(model, image, True, Inference(window=window, window_step=step, fuse=rule, average=average))
        np.testing.assert_allclose(found.scores, perpixel.predict(model, image, True).scores, atol=1e-6)

    def test_windows_are_a_part_of_the_picture_to_others(self, network: torch.nn.Module) -> None:
        model, image = model_of(network), draw_sample(2, (48, 48))[0]
        found = perpixel.predict(model, image, True, Inference(window=24)).scores
        assert np.abs(found - perpixel.predict(model, image, True).scores).max() > 1e-3
