"""What Mask R-CNN and PANet keep of the contract of networks of objects, whatever pictures and objects they are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_networks import all_masks, targets_of
from fakes import make_instances
from safetensors.torch import load_file
from torch import Tensor, nn

from perpixel.classes import ClassTable
from perpixel.errors import Interrupted, UnknownName, UsageError
from perpixel.files import MODEL_FILE
from perpixel.layers.anchors import anchors, share_inside
from perpixel.networks import as_network, build, finds_objects, labels_pixels
from perpixel.networks.mask_rcnn import UNKNOWN_SHARE, Counts, Proposals, RegionNetwork
from perpixel.networks.papers import size_of
from perpixel.sample import InstanceTargets, Targets
from perpixel.training import train as training
from perpixel.training.recipe import Recipe
from perpixel.training.run import HISTORY
from perpixel.training.train import train
from perpixel.weights.model_file import ModelCard, load, save_model

CLASSES, VOID = 4, 255
SIDES: dict[str, Any] = {
    "width": 0.05, "min_size": (64,), "max_size": 96, "anchors": (8, 16, 32, 64, 96),
}  # fmt: skip
SMALL: dict[str, Any] = {**SIDES, "norm": "batch"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mask_rcnn": ("mask_rcnn", SMALL),
    "mask_rcnn, c4": ("mask_rcnn", {**SMALL, "variant": "c4"}),
    "mask_rcnn, pool": ("mask_rcnn", {**SMALL, "roi": "pool"}),
    "mask_rcnn on resnet18": ("mask_rcnn", {**SIDES, "backbone": "resnet18"}),
    "mask_rcnn on xception41": ("mask_rcnn", {**SIDES, "backbone": "xception41"}),
    "panet": ("panet", SMALL),
    "panet, sum, two fc": ("panet", {**SMALL, "pooling": "sum", "box_head": "two_fc"}),
    "panet, nothing of it": ("panet", {**SMALL, "pooling": "level", "fc_fusion": False, "bottom_up": False}),
}
FEW = Counts(Proposals(100, 60), Proposals(100, 60), 64)  # so that a test takes a second
REGIONS = torch.tensor([[0.0, 0, 50, 50], [10, 10, 40, 60], [40, 8, 70, 60]])
LOSSES = ["objectness", "rpn_box", "classifier", "box", "mask"]


def built(case: str, **more: Any) -> RegionNetwork:
    torch.manual_seed(0)
    name, arguments = CASES[case]
    network = build(name, CLASSES, **{**arguments, **more}).eval()
    assert isinstance(network, RegionNetwork)
    network.counts = FEW
    return network


def livened(case: str) -> RegionNetwork:
    """Its batch normalisation has the statistics of a picture, and its scores are so even that regions are objects."""
    network = built(case)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train().losses(pictures((60, 80), 2), Targets(*twice(squares())))
    return network.eval()


@pytest.fixture(scope="module", params=CASES)
def network(request: pytest.FixtureRequest) -> RegionNetwork:
    """Each case in evaluation mode; no test changes it."""
    return livened(request.param)


def pictures(size: tuple[int, int], count: int = 1) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))


def squares(size: tuple[int, int] = (60, 80), void: bool = False) -> Targets:
    """A picture with three rectangles, its lower half void if asked for."""
    masks, labels = torch.zeros(3, *size, dtype=torch.bool), torch.zeros(1, *size, dtype=torch.int64)
    for place, (top, left, bottom, right) in enumerate([(2, 3, 22, 30), (10, 40, 55, 70), (35, 5, 58, 25)]):
        masks[place, top:bottom, left:right] = True
        labels[0, masks[place]] = place + 1
    if void:
        labels[:, size[0] // 2 :] = VOID
    return Targets(labels, None, (targets_of(masks, [1, 2, 3]),))


def gradients(network: nn.Module, loss: Tensor) -> list[Tensor]:
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True))


def summed(network: RegionNetwork, images: Tensor, targets: Targets) -> Tensor:
    torch.manual_seed(0)
    return torch.stack(list(network.losses(images, targets).values())).sum()


def test_it_is_a_network_of_objects(network: RegionNetwork) -> None:
    assert as_network(network) is network
    assert (labels_pixels(network), finds_objects(network)) == (False, True)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (1, 300)])
def test_objects_have_the_size_of_the_picture_or_that_which_is_asked_for(network: RegionNetwork, size: tuple[int, int]) -> None:
    for asked in (None, (2 * size[0], 3 * size[1])):
        for objects in network.detect(pictures(size, 2), asked):
            assert objects.size == (asked or size)
            assert objects.masks.shape == (len(objects.class_ids), *(asked or size))
            assert objects.masks.any((1, 2)).all()
            assert objects.scores is not None
            assert objects.scores.dtype == np.float32
            assert ((objects.scores > 0.05) & (objects.scores <= 1)).all()
            assert (np.diff(objects.scores) <= 0).all()
            assert objects.class_ids.dtype == np.int64
            assert ((objects.class_ids > 0) & (objects.class_ids < CLASSES)).all()
            assert not objects.crowd.any()


def test_it_finds_as_many_objects_as_it_may(network: RegionNetwork) -> None:
    (objects,) = network.detect(pictures((60, 80)))
    assert len(objects.class_ids) > 20
    before, network.detections = network.detections, 7
    (_, scores, _, _), (few,) = network.objects(pictures((60, 80)), (60, 80))[0], network.detect(pictures((60, 80)))
    network.detections = before
    assert len(scores) == 7
    assert few.scores is not None
    assert objects.scores is not None
    found = few.scores.tolist()
    assert found == [score for score in scores.tolist() if score in found]  # without those whose mask has no pixel
    assert len(found) >= 5
    assert np.array_equal(few.scores, objects.scores[: len(found)])


def test_pictures_of_a_batch_do_not_meet(network: RegionNetwork) -> None:
    two = pictures((33, 47), 2)
    together, alone = network.objects(two, (33, 47))[1], network.objects(two[1:], (33, 47))[0]
    torch.testing.assert_close(together[1], alone[1], rtol=1e-4, atol=1e-4)
    equal = torch.isclose(together[0], alone[0], rtol=1e-3, atol=1e-2).all(1)  # either of two with one score may be first
    assert equal.float().mean() > 0.95
    torch.testing.assert_close(together[3][equal], alone[3][equal], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_same_losses_in_training_and_evaluation(case: str) -> None:
    network = built(case)
    for mode in (True, False):
        network.train(mode)
        losses = network.losses(pictures((60, 80), 2), Targets(*twice(squares())))
        assert list(losses) == LOSSES
        assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def twice(targets: Targets) -> tuple[Tensor, None, tuple[InstanceTargets, ...]]:
    assert targets.instances is not None
    return targets.labels.repeat(2, 1, 1), None, targets.instances * 2


@pytest.mark.parametrize("case", CASES)
def test_a_step_lowers_the_loss(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same regions, to which no gradient goes."""
    network, images, targets = livened(case), pictures((60, 80)), squares()
    monkeypatch.setattr(network, "_proposals", lambda *_: ([REGIONS], [torch.arange(3)]))
    before = summed(network, images, targets)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(before, learned)
    with torch.no_grad():
        norm = torch.stack([gradient.norm() for gradient in found]).norm()
        for parameter, gradient in zip(learned, found, strict=True):
            parameter -= 1e-4 * gradient / norm
    assert summed(network, images, targets) < before


def test_the_seed_decides_which_examples_are_drawn() -> None:
    network, images, targets = built("mask_rcnn"), pictures((60, 80)), squares()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(network.losses(images, targets))
    assert found[0] == found[1]
    assert found[0]["objectness"] != found[2]["objectness"]


# Void and crowds


def test_what_objects_have_under_void_changes_neither_loss_nor_gradient(network: RegionNetwork) -> None:
    """Of the second object a half, of the third all but a row."""
    images, targets = pictures((60, 80)), squares(void=True)
    assert targets.instances is not None
    masks = all_masks(targets.instances[0])
    masks[:, 30:] = torch.rand(3, 30, 80) < 0.5
    other = Targets(targets.labels, None, (targets_of(masks, [1, 2, 3]),))
    assert not torch.equal(other.instances[0].boxes, targets.instances[0].boxes)  # type: ignore[index]
    found = [summed(network, images, given) for given in (targets, other)]
    assert found[0] == found[1] > 0
    for ours, theirs in zip(*(gradients(network, loss) for loss in found), strict=True):
        assert torch.equal(ours, theirs)


def test_a_batch_that_is_all_void_gives_0(network: RegionNetwork) -> None:
    targets = squares()
    targets.labels.fill_(VOID)
    loss = summed(network, pictures((60, 80)), targets)
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients(network, loss))


@pytest.mark.parametrize("kind", ["void", "crowd"])
def test_no_box_in_void_or_in_a_crowd_is_an_example_of_background(kind: str) -> None:
    network, images = built("mask_rcnn"), pictures((60, 80))
    region = torch.zeros(1, 60, 80, dtype=torch.bool)
    region[:, :, 30:] = True
    labels = torch.full((1, 60, 80), VOID).where(region, 0) if kind == "void" else torch.zeros(1, 60, 80, dtype=torch.int64)
    objects = targets_of(region, [1], [True]) if kind == "crowd" else targets_of(region[:0], [])
    kept: list[Tensor] = []
    hook = network.rpn.register_forward_hook(lambda _layer, _inputs, output: kept.extend(output[0]))
    loss = network.losses(images, Targets(labels, None, (objects,)))["objectness"]
    hook.remove()
    used = torch.cat([part.flatten() for part in torch.autograd.grad(loss, kept)]) != 0
    shapes = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    seen = torch.cat(anchors(shapes, (64, 96), network.sides, torch.device("cpu")))
    hidden = share_inside(seen * (60 / 64), region[0]) > UNKNOWN_SHARE
    assert hidden.float().mean() > 0.4
    assert not (used & hidden).any()
    assert (used & ~hidden).sum() == 256


def test_crowds_are_not_learned() -> None:
    network, images, targets = built("mask_rcnn"), pictures((60, 80)), squares()
    assert targets.instances is not None
    objects = targets.instances[0]
    crowded = InstanceTargets(objects.boxes, objects.numbers, objects.class_ids, torch.ones(3, dtype=torch.bool))
    losses = network.losses(images, Targets(targets.labels, None, (crowded,)))
    assert losses["rpn_box"] == losses["box"] == losses["mask"] == 0
    assert losses["objectness"] > 0


# Objects of any kind


ROW = torch.zeros(1, 40, 50, dtype=torch.bool)
ROW[0, 3, 4:20] = True
PIXEL = torch.zeros(1, 40, 50, dtype=torch.bool)
PIXEL[0, 39, 49] = True
NONE = torch.zeros(0, 40, 50, dtype=torch.bool)
ALL = torch.ones(1, 40, 50, dtype=torch.bool)


@pytest.mark.parametrize(
    ("masks", "class_ids", "crowd"),
    [
        (NONE, [], []),
        (ROW, [1], [False]),
        (PIXEL, [3], [False]),
        (ALL, [1], [False]),
        (ALL, [1], [True]),
        (torch.cat([ROW, PIXEL, ALL, ALL]), [1, 2, 2, 3], [False, False, False, True]),
        (torch.zeros_like(ALL), [1], [False]),  # a box without area
    ],
)  # fmt: skip
def test_objects_of_any_kind_give_finite_losses(
    network: RegionNetwork, masks: Tensor, class_ids: list[int], crowd: list[bool]
) -> None:
    targets = Targets(
        torch.zeros(2, 40, 50, dtype=torch.int64), None, (targets_of(masks, class_ids, crowd), targets_of(NONE, []))
    )
    loss = summed(network, pictures((40, 50), 2), targets)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(network, loss))


SIZES = [(1, 1), (1, 200), (200, 1), (2, 3), (33, 47)]


@pytest.mark.parametrize("size", SIZES)
def test_pictures_from_1_by_1_give_finite_losses(network: RegionNetwork, size: tuple[int, int]) -> None:
    objects = targets_of(torch.ones(1, *size, dtype=torch.bool), [1])
    loss = summed(network, pictures(size), Targets(torch.ones(1, *size, dtype=torch.int64), None, (objects,)))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(network, loss))
    assert len(network.detect(pictures(size))) == 1


def test_a_box_without_area_or_outside_the_picture_is_that_of_the_pixels() -> None:
    """The pixels of an object tell where it is, whatever its box says."""
    network, images, targets = built("mask_rcnn"), pictures((60, 80)), squares()
    assert targets.instances is not None
    objects, found = targets.instances[0], []
    for boxes in (objects.boxes, torch.zeros(3, 4), objects.boxes + 1000, objects.boxes - 1000):
        other = InstanceTargets(boxes, objects.numbers, objects.class_ids, objects.crowd)
        found.append(summed(network, images, Targets(targets.labels, None, (other,))))
    assert found[0].isfinite()
    assert all(loss == found[0] for loss in found)


def thousands() -> Targets:
    """10,000 objects of one pixel each."""
    numbers = torch.arange(1, 10_001, dtype=torch.int32).view(100, 100)
    rows, columns = torch.arange(10_000) // 100, torch.arange(10_000) % 100
    boxes = torch.stack([columns, rows, columns + 1, rows + 1], 1).float()
    objects = InstanceTargets(boxes, numbers, torch.ones(10_000, dtype=torch.int64), torch.zeros(10_000, dtype=torch.bool))
    return Targets(torch.ones(1, 100, 100, dtype=torch.int64), None, (objects,))


@pytest.mark.parametrize("case", ["mask_rcnn", "panet"])
def test_10_000_objects(case: str) -> None:
    losses = built(case).losses(pictures((100, 100)), thousands())
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["mask"] > 0


def test_a_network_of_regions_must_have_levels() -> None:
    assert RegionNetwork.__abstractmethods__ == {"levels"}


def test_an_object_of_class_0_is_refused() -> None:
    targets = Targets(torch.zeros(1, 40, 50, dtype=torch.int64), None, (targets_of(ALL, [0]),))
    with pytest.raises(UsageError, match="an object has class 0, which is background to this network"):
        built("mask_rcnn").losses(pictures((40, 50)), targets)


# Arguments


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("mask_rcnn", {"variant": "c5"}, "no variant of mask_rcnn 'c5'; did you mean 'c4'"),
        ("mask_rcnn", {"roi": "alin"}, "no roi 'alin'; did you mean 'align'"),
        ("mask_rcnn", {"norm": "frozn"}, "no norm 'frozn'; did you mean 'frozen'"),
        ("mask_rcnn", {"norm": "batch", "backbone": "resnet18"}, "norm = 'batch': is for our ResNets, not resnet18, whose"),
        ("mask_rcnn", {"anchors": (32, 64)}, "FPN has 5 levels; give a side for each"),
        ("mask_rcnn", {"anchors": (0, 1, 2, 3, 4)}, "anchors = .*: sides in pixels are 1 or more"),
        ("mask_rcnn", {"min_size": ()}, "min_size = .*: sides in pixels are 1 or more"),
        ("mask_rcnn", {"max_size": 0}, "max_size = .*: sides in pixels are 1 or more"),
        ("mask_rcnn", {"detections": 0}, "detections = 0: must be 1 or more"),
        ("mask_rcnn", {"classes": 1}, "needs background and a class of objects, not 1 class"),
        ("mask_rcnn", {"variant": "c4", "backbone": "resnet18"}, "variant = 'c4' needs the stages of our ResNets, not resnet18"),
        ("mask_rcnn", {"width": 0.5, "weights": "imagenet"}, "no ImageNet weights for resnet50 at width 0.5"),
        ("panet", {"pooling": "mean"}, "no pooling 'mean'"),
        ("panet", {"box_head": "two_fcs"}, "no box_head 'two_fcs'; did you mean 'two_fc'"),
        ("panet", {"anchors": (32,)}, "FPN has 5 levels"),
    ],
)
def test_arguments_that_do_not_fit(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises((UsageError, UnknownName), match=says), torch.device("meta"):
        build(name, **arguments)


def test_training_draws_a_shorter_side_and_test_takes_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sides = built("mask_rcnn", min_size=(32, 48, 64), max_size=1000), []
    seen = network._seen
    monkeypatch.setattr(network, "_seen", lambda images, shorter: (sides.append(shorter), seen(images, shorter))[1])
    for seed in range(12):
        torch.manual_seed(seed)
        network.losses(pictures((60, 80)), squares())
    assert set(sides) == {32, 48, 64}
    sides.clear()
    network.detect(pictures((60, 80)))
    assert sides == [64]


@pytest.mark.parametrize(
    ("size", "seen", "padded"),
    [((480, 640), (800, 1066), (800, 1088)), ((400, 1200), (444, 1333), (448, 1344)), ((1, 5000), (1, 1333), (32, 1344))],
)
def test_pictures_are_resized_and_padded_as_published(
    size: tuple[int, int], seen: tuple[int, int], padded: tuple[int, int]
) -> None:
    """The shorter side is 800, unless the longer were above 1333; a border of the mean colour makes sides multiples of 32."""
    with torch.device("meta"):
        network = build("mask_rcnn")
    assert isinstance(network, RegionNetwork)
    images, inner = network._seen(torch.empty(1, 3, *size, device="meta"), 800)
    assert (inner, tuple(images.shape[-2:])) == (seen, padded)
    images, inner = built("mask_rcnn")._seen(pictures((50, 64)), 64)
    assert (images[..., inner[0] :, :] == network_mean()).all()


def network_mean() -> Tensor:
    return torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)


def test_the_work_is_that_of_as_many_regions_as_there_may_be() -> None:
    """A class more costs, of 1,000 regions, five numbers of 1,024 features each, and of 100 masks of 28 x 28 a channel of 256."""
    work = [size_of("mask_rcnn", classes, (256, 320), min_size=(64,))[1] for classes in (5, 6)]
    assert work[1] - work[0] == 1000 * 5 * 1024 + 100 * 28 * 28 * 256


# Files and training


@pytest.mark.parametrize("case", ["mask_rcnn", "panet"])
def test_a_model_file_gives_the_network_back(case: str, tmp_path: Path) -> None:
    network, (name, arguments) = built(case), CASES[case]
    classes = ClassTable.of(["background", "a", "b", "c"])
    save_model(tmp_path, network.state_dict(), ModelCard(name, arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""))
    again = load(tmp_path).network
    assert isinstance(again, RegionNetwork)
    again.counts = FEW
    images = pictures((60, 80))
    (ours,), (theirs,) = network.detect(images), again.detect(images)
    assert np.array_equal(ours.masks, theirs.masks)
    assert np.array_equal(ours.class_ids, theirs.class_ids)


def recipe_of(data: Path, **changes: Any) -> Recipe:
    settings = {
        "network": "mask_rcnn", "weights": "none", "batch": 2, "steps": 4, "validations": 1, "device": "cpu", "save_every": 2,
        "crop": (24, 32), **SMALL, "min_size": (32,), "max_size": 64, "clip": 1.0,
    }  # fmt: skip
    return Recipe(**{"data": str(data), **settings, **changes})


class Stop(list[int]):
    """True from the third step on."""

    asked = 0

    def __bool__(self) -> bool:
        self.asked += 1
        return self.asked >= 3

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("name", ["mask_rcnn"])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = make_instances(tmp_path / "data")
    recipe = recipe_of(data, network=name)
    assert train(recipe, tmp_path / "whole", say=lambda _: None) is not None
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_after_step", lambda *_: Stop())
        with pytest.raises(Interrupted, match="stopped after step 3 of 4"):
            train(recipe, tmp_path / "parts", say=lambda _: None)
    train(recipe, tmp_path / "parts", say=lambda _: None)
    for file in (MODEL_FILE, HISTORY):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    assert set(load_file(tmp_path / "whole" / MODEL_FILE)) == set(built(name).state_dict())


def test_background_that_is_not_the_first_class_is_refused(tmp_path: Path) -> None:
    data = make_instances(tmp_path / "data")
    (data / "classes.csv").write_text("id,name\n1,object\n0,background\n")
    with pytest.raises(UsageError, match="background is class 1, and class 0 to mask_rcnn; name it first"):
        train(recipe_of(data), tmp_path / "run", say=lambda _: None)
