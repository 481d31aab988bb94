"""The output stride, changed for prediction alone."""

import copy

import numpy as np
import pytest
import torch
from coarse_networks import Coarse, Dilated, model_of
from fakes import draw_sample

import perpixel
from perpixel.errors import UsageError
from perpixel.networks import with_output_stride
from perpixel.prediction.inference import PLAIN, Inference
from perpixel.weights.model_file import Model


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return model_of(Dilated(output_stride=16))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return draw_sample(0, (45, 70))[0]


def test_the_network_has_that_stride(model: Model, image: np.ndarray) -> None:
    finer = Dilated(output_stride=8).eval()
    finer.load_state_dict(model.network.state_dict())
    for more in ({}, {"scales": (0.5, 1)}, {"average": "mirror", "window": 40}):
        expected = perpixel.predict(model_of(finer), image, True, Inference(**more)).scores
        found = perpixel.predict(model, image, True, Inference(output_stride=8, **more)).scores
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - perpixel.predict(model, image, True, Inference(**more)).scores).max() > 1e-5


def test_the_model_stays_as_it_is(model: Model, image: np.ndarray) -> None:
    before, state = perpixel.predict(model, image, True).scores, copy.deepcopy(model.network.state_dict())
    settled = Inference(output_stride=8).predictor(model)
    settled(image)
    assert (model.network.output_stride, settled.model.network.output_stride) == (16, 8)
    assert settled.weights == PLAIN.predictor(model).weights
    assert np.array_equal(perpixel.predict(model, image, True).scores, before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items())


def test_weights_are_in_memory_once(model: Model) -> None:
    ours = model.network.state_dict(keep_vars=True)
    theirs = with_output_stride(model.network, 8).state_dict(keep_vars=True)
    assert ours.keys() == theirs.keys()
    assert all(theirs[name] is tensor for name, tensor in ours.items())


def test_it_is_in_the_protocol(model: Model) -> None:
    assert Inference(output_stride=8).predictor(model).rules == {"output_stride": 8}


@pytest.mark.parametrize("network", [Coarse(), perpixel.build("unet", 3, width=0.03)], ids=lambda one: type(one).__name__)
def test_networks_without_one_are_refused(network: torch.nn.Module, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match=f"output_stride = 8: {type(network).__name__} has no output stride to set.*leave"):
        perpixel.predict(model_of(network), image, inference=Inference(output_stride=8))


def test_a_stride_that_the_network_does_not_have(model: Model, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="output_stride = 12: must be 4, 8, 16 or 32"):
        perpixel.predict(model, image, inference=Inference(output_stride=12))
    assert model.network.output_stride == 16
