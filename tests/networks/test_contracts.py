"""The contract of networks that find objects, and of those that keep both, by small ones; `test_networks` has the papers' own."""

import numpy as np
import pytest
import torch
from fake_networks import Blobs, BlobsAndPixels, targets_of
from torch import nn

from perpixel.classes import ClassTable
from perpixel.errors import UsageError
from perpixel.networks import NETWORKS, as_network, build, finds_objects, labels_pixels, pixel_network
from perpixel.sample import Targets
from perpixel.weights.model_file import Model, ModelCard, load, save_model

VOID = 255


def targets(void: bool = False) -> Targets:
    """A picture of 6 x 8 with an object of class 1 on the left, and its lower half void if asked for."""
    labels = torch.zeros(1, 6, 8, dtype=torch.int64)
    masks = torch.zeros(1, 6, 8, dtype=torch.bool)
    masks[0, :, :4] = True
    labels[masks] = 1
    if void:
        labels[:, 3:] = VOID
    return Targets(labels, None, (targets_of(masks, [1]),))


def test_a_network_of_objects_is_told_from_one_of_pixels() -> None:
    assert as_network(network := Blobs()) is network
    assert [(labels_pixels(one), finds_objects(one)) for one in (Blobs(), BlobsAndPixels(), build("unet", width=0.05))] == [
        (False, True), (True, True), (True, False),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["losses", "score_map", "loss"])
def test_half_a_contract_is_none(missing: str) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in {"losses", "score_map", "loss"} - {missing}:
                setattr(self, name, nn.Identity())

    with pytest.raises(UsageError, match="Half is no network: it needs losses, and"):
        as_network(Half())


def test_what_needs_pixels_says_who_asks() -> None:
    with pytest.raises(UsageError, match=r"^proposal-curve: Blobs finds objects and scores no pixels; name a model that scores"):
        pixel_network(Blobs(), "proposal-curve")
    assert pixel_network(network := BlobsAndPixels(), "proposal-curve") is network


@pytest.mark.parametrize("kind", [Blobs, BlobsAndPixels])
class TestLosses:
    def test_void_influences_neither_loss_nor_gradient(self, kind: type[Blobs]) -> None:
        torch.manual_seed(0)
        network, images = kind(2), torch.rand(1, 3, 6, 8)
        other = images.clone()
        other[..., 3:, :] = 1 - other[..., 3:, :]
        found = []
        for seen in (images, other):
            network.zero_grad()
            loss = sum(network.losses(seen, targets(void=True)).values())
            loss.backward()
            found.append([loss, *(parameter.grad.clone() for parameter in network.parameters())])
        assert all(torch.equal(one, another) for one, another in zip(*found, strict=True))
        assert found[0][0] > 0

    def test_a_batch_that_is_all_void_gives_0(self, kind: type[Blobs]) -> None:
        network, void = kind(2), targets()
        void.labels.fill_(VOID)
        loss = sum(network.losses(torch.rand(1, 3, 6, 8), void).values())
        loss.backward()
        assert loss.item() == 0
        assert not any(parameter.grad.any() for parameter in network.parameters())


def test_detect_gives_the_objects_of_each_picture_at_the_size_that_is_asked_for() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 6, 8)
    for size in (None, (12, 16)):
        found = Blobs(2).detect(images, size)
        assert [objects.size for objects in found] == [size or (6, 8)] * 2
        assert all(objects.masks.dtype == np.bool_ and objects.scores.dtype == np.float32 for objects in found)


@pytest.mark.parametrize("kind", [Blobs, BlobsAndPixels])
def test_a_model_file_gives_the_network_back(kind: type[Blobs], tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "blobs", kind)
    classes, network = ClassTable.of(["background", "blob"]), kind(2)
    save_model(tmp_path, network.state_dict(), ModelCard("blobs", {}, classes.to_json(), {}, 1.0, 0, {}, "", ""))
    model = load(tmp_path)
    assert isinstance(model, Model)
    assert finds_objects(model.network)
    assert labels_pixels(model.network) == (kind is BlobsAndPixels)
    images = torch.rand(1, 3, 6, 8)
    (ours,), (theirs,) = network.detect(images), model.network.detect(images)
    assert np.array_equal(ours.masks, theirs.masks)
