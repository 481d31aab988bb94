"""The DeepLabs: parameters to the unit, grids, the losses of v1 and v2 by hand, the pyramids and the decoder by an independent
computation, and the output stride of v3 and v3+ at test time."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import make_folder
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from perpixel.backbones import VGG16
from perpixel.backbones.resnet import FrozenBatchNorm, ResNet
from perpixel.classes import ClassTable
from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build
from perpixel.networks.deeplabv2 import smaller
from perpixel.networks.deeplabv3 import ImagePooling, Pyramid
from perpixel.sample import Targets
from perpixel.training.learner import lagging_statistics, network_of
from perpixel.training.recipe import Recipe
from perpixel.training.train import train

CLASSES, VOID = 5, 255
SMALL = 0.05
V3 = {"backbone": "resnet50", "width": SMALL}
PLUS = {"backbone": "xception41", "width": SMALL}


def on_meta(name: str, classes: int = 21, **arguments: Any) -> nn.Module:
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build(name, classes, **arguments).eval()


def small(name: str, **arguments: Any) -> Any:
    """A narrow network in evaluation mode, whose statistics and scores are not those of the start."""
    torch.manual_seed(0)
    network = build(name, CLASSES, **{"width": SMALL, **arguments}).eval()
    for called, tensor in network.state_dict().items():
        if called.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        if called.endswith("running_var"):
            tensor.uniform_(1.5, 2.5)
        if called.startswith("score") and called.endswith("bias"):
            tensor.normal_()
    return network


def pictures(size: tuple[int, int], count: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Parameters


@pytest.mark.parametrize(("name", "arguments", "count"), [
    ("deeplabv1", {}, 20_505_429),
    ("deeplabv1", {"head": "7x7"}, 134_346_581),
    ("deeplabv1", {"head": "4x4"}, 65_140_565),
    ("deeplabv1", {"head": "4x4", "rate": 8}, 65_140_565),
    ("deeplabv1", {"msc": True}, 20_505_429 + 1_206_121),
    ("deeplabv2", {"backbone": "vgg16_reduced"}, 37_877_652),
    ("deeplabv2", {"backbone": "vgg16_reduced", "rates": (12,)}, 20_505_429),  # LargeFOV
    ("deeplabv2", {"norm": "batch"}, 44_048_532),
    ("deeplabv3", {}, 58_040_661),
    ("deeplabv3", {"backbone": "resnet50"}, 39_048_533),
    ("deeplabv3plus", {}, 41_055_413),
    ("deeplabv3plus", {"separable": False}, 54_711_461),
    ("deeplabv3plus", {"backbone": "resnet101", "separable": False}, 59_344_309),
    ("deeplabv3plus", {"backbone": "resnet50", "separable": False}, 40_352_181),
    ("deeplabv3plus", {"backbone": "resnet101"}, 45_688_261),
    ("deeplabv3plus", {"backbone": "resnet50"}, 26_696_133),
])  # fmt: skip
def test_the_number_of_parameters(name: str, arguments: dict[str, Any], count: int) -> None:
    assert parameters(on_meta(name, **arguments)) == count


def test_scale_and_shift_of_frozen_normalisation_are_counted_and_not_learned() -> None:
    network = on_meta("deeplabv2")
    frozen = [layer for layer in network.modules() if isinstance(layer, FrozenBatchNorm)]
    affine = sum(layer.weight.numel() + layer.bias.numel() for layer in frozen)
    assert affine == 105_344
    assert parameters(network) + affine == 44_048_532
    assert not [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize(("arguments", "count"), [({"separable": False}, 16_844_149), ({"separable": True}, 3_188_101)])
def test_the_head_of_v3_plus(arguments: dict[str, Any], count: int) -> None:
    network = on_meta("deeplabv3plus", backbone="resnet50", **arguments)
    assert parameters(network) - parameters(network.trunk) == count


def test_the_head_of_v3() -> None:
    network = on_meta("deeplabv3", backbone="resnet50")
    assert parameters(network) - parameters(network.trunk) == 15_540_501


# Grids


@pytest.mark.parametrize(("name", "arguments", "side", "cells"), [
    ("deeplabv1", {}, 321, 41), ("deeplabv2", {"scales": (1.0,)}, 321, 41), ("deeplabv2", {}, 321, 41),
    ("deeplabv3", {}, 513, 33), ("deeplabv3", {"output_stride": 8}, 513, 65), ("deeplabv3", {}, 769, 49),
    ("deeplabv3plus", {}, 513, 129), ("deeplabv3plus", {"backbone": "resnet101", "output_stride": 8}, 513, 129),
])  # fmt: skip
def test_the_published_crops_have_the_published_maps(name: str, arguments: dict[str, Any], side: int, cells: int) -> None:
    found = on_meta(name, **arguments).score_map(torch.empty(1, 3, side, side, device="meta"))
    assert found.scores.shape == (1, 21, cells, cells)
    assert (found.stride, found.shift) == ((side - 1) / (cells - 1), 0)


@pytest.mark.parametrize(("name", "arguments"), [
    ("deeplabv1", {}), ("deeplabv2", {"backbone": "vgg16_reduced"}), ("deeplabv3", V3), ("deeplabv3plus", PLUS),
])  # fmt: skip
@torch.inference_mode()
def test_logits_are_the_map_enlarged_with_corners_aligned(name: str, arguments: dict[str, Any]) -> None:
    network, images = small(name, **arguments), pictures((49, 33))
    scores = network.score_map(images).scores
    expected = F.interpolate(scores, (49, 33), mode="bilinear", align_corners=True)
    torch.testing.assert_close(network(images)["logits"], expected)


@pytest.mark.parametrize(("name", "arguments"), [
    ("deeplabv1", {}), ("deeplabv2", {"backbone": "vgg16_reduced"}), ("deeplabv3", V3), ("deeplabv3plus", PLUS),
])  # fmt: skip
@torch.inference_mode()
def test_other_sizes_are_padded_with_the_mean_colour(name: str, arguments: dict[str, Any]) -> None:
    network = small(name, **arguments)
    colour = network.trunk.mean
    images = colour.expand(1, 3, 49, 33).clone()
    images[..., :42, :30] = pictures((42, 30))
    found, whole = network(images[..., :42, :30])["logits"], network(images)["logits"]
    torch.testing.assert_close(found, whole[..., :42, :30], rtol=1e-4, atol=1e-5)


# v1


@torch.inference_mode()
def test_v1_is_its_prototxt() -> None:
    network, images = small("deeplabv1"), pictures((41, 33))
    state = network.state_dict()
    x, index = (images - state["trunk.mean"]) * state["trunk.scale"], 0
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        hole = 2 if block == 5 else 1
        for _ in range(convolutions):
            name = f"trunk.features.{index}"
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=hole, dilation=hole).relu()
            index += 2
        x = F.max_pool2d(x, 3, stride=1 if block > 3 else 2, padding=1)
        index += 1
    x = F.avg_pool2d(x, 3, stride=1, padding=1)
    x = F.conv2d(x, state["trunk.fc.0.weight"], state["trunk.fc.0.bias"], padding=12, dilation=12).relu()
    x = F.conv2d(x, state["trunk.fc.3.weight"], state["trunk.fc.3.bias"]).relu()
    x = F.conv2d(x, state["score.weight"], state["score.bias"])
    torch.testing.assert_close(network.score_map(images).scores, x)


@pytest.mark.parametrize(("head", "rate", "kernel", "dilation"), [
    ("large_fov", None, 3, 12), ("7x7", None, 7, 4), ("4x4", None, 4, 4), ("4x4", 8, 4, 8), ("large_fov", 5, 3, 5),
])  # fmt: skip
def test_fc6_keeps_the_size_whatever_its_kernel(head: str, rate: int | None, kernel: int, dilation: int) -> None:
    network = small("deeplabv1", width=0.02, head=head, rate=rate)
    fc6 = network.trunk.fc[0]
    assert (fc6.kernel_size[0], fc6.dilation[0]) == (kernel, dilation)
    assert network.score_map(pictures((41, 33))).scores.shape[-2:] == (6, 5)


def test_the_loss_of_v1_is_at_stride_8() -> None:
    network, images = small("deeplabv1"), pictures((41, 33), count=2)
    labels = torch.randint(CLASSES, (2, 41, 33))
    labels[:, 8:24] = VOID
    scores, truth = network.score_map(images).scores, labels[:, ::8, ::8]
    pixels = [(place, int(truth[place])) for place in torch.cartesian_prod(*map(torch.arange, truth.shape)).unbind()
              for place in [tuple(place.tolist())] if truth[place] != VOID]  # fmt: skip
    assert len(pixels) == 2 * 4 * 5
    by_hand = sum(-scores[b, :, y, x].log_softmax(0)[label] for (b, y, x), label in pixels) / len(pixels)
    torch.testing.assert_close(network.losses(images, Targets(labels)), {"cross_entropy": by_hand})
    labels[:, 1::8] = (labels[:, 1::8] + 1) % CLASSES  # of no cell
    torch.testing.assert_close(network.losses(images, Targets(labels)), {"cross_entropy": by_hand})


def test_the_parameters_of_msc_by_hand() -> None:
    """Of each path a 3x3 from its feature to 128 channels, a 1x1, and the classifier."""
    paths = [9 * inputs * 128 + 128 + 128 * 128 + 128 + 128 * 21 + 21 for inputs in (3, 64, 128, 256, 512)]
    assert sum(paths) == 1_206_121
    assert parameters(on_meta("deeplabv1", msc=True).msc) == sum(paths)


def test_msc_is_its_prototxt() -> None:
    """At test 3x3 of stride 1, and every score map enlarged by Interp; in training 3x3 of the strides 8, 4, 2, 1, 1."""
    network, images = small("deeplabv1", msc=True).double(), pictures((41, 33)).double()
    state = network.state_dict()
    for name, tensor in state.items():
        if name.startswith("msc") and "score" not in name:
            tensor.normal_(std=0.5)
    with torch.inference_mode():
        plain = small("deeplabv1").double()
        plain.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("msc")})
        features = plain.trunk(images)
        features["image"] = (images - state["trunk.mean"]) * state["trunk.scale"]
        fine = F.interpolate(plain.score_map(images).scores, (41, 33), mode="bilinear", align_corners=True)
        coarse = plain.score_map(images).scores
        for name, stride in (("image", 8), ("pool1", 4), ("pool2", 2), ("pool3", 1), ("pool4", 1)):
            def path(x: Tensor, stride: int, name: str = name) -> Tensor:
                conv, fc, score = ((state[f"msc.{name}.{layer}.weight"], state[f"msc.{name}.{layer}.bias"])
                                   for layer in ("conv", "fc", "score"))  # fmt: skip
                return F.conv2d(F.conv2d(F.conv2d(x, *conv, stride=stride, padding=1).relu(), *fc).relu(), *score)

            fine = fine + F.interpolate(path(features[name], 1), (41, 33), mode="bilinear", align_corners=True)
            coarse = coarse + path(features[name], stride)
        found = network.score_map(images)
        assert (found.stride, found.shift) == (1, 0)
        torch.testing.assert_close(found.scores, fine)
        torch.testing.assert_close(network(images)["logits"], fine)
    labels = torch.randint(CLASSES, (1, 41, 33), generator=torch.Generator().manual_seed(0))
    by_hand = F.cross_entropy(coarse, labels[:, ::8, ::8]).float()
    torch.testing.assert_close(network.losses(images, Targets(labels)), {"cross_entropy": by_hand})


def test_msc_starts_as_released() -> None:
    torch.manual_seed(0)
    weights = dict(build("deeplabv1", 21, width=0.5, msc=True).msc.named_parameters())
    expected = {"conv.weight": 0.001, "fc.weight": 0.001, "score.weight": 0.01}
    for name, weight in weights.items():
        assert weight.std().item() == pytest.approx(expected.get(name.partition(".")[2], 0), rel=0.1)


def test_scores_start_as_released() -> None:
    for name, arguments in (("deeplabv1", {"width": 0.5}), ("deeplabv2", {"backbone": "resnet50", "width": 0.25})):
        torch.manual_seed(0)
        network = build(name, 21, **arguments)
        weights = [p.detach().flatten() for called, p in network.named_parameters() if called.startswith("score") and p.ndim > 1]
        assert torch.cat(weights).std().item() == pytest.approx(0.01, rel=0.03)
        assert not any(p.any() for called, p in network.named_parameters() if called.startswith("score") and p.ndim == 1)


@pytest.mark.parametrize(("arguments", "taps", "channels"), [
    ({}, [0, 3, 6], 4), ({"head": "4x4"}, [0, 2, 4, 6], 1), ({"head": "7x7"}, [*range(7)], 1), ({"rates": (6, 12)}, [0, 3, 6], 4),
])  # fmt: skip
def test_imagenet_weights_are_thinned_out(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], taps: list[int], channels: int
) -> None:
    """Each weight of the classifier tells its tap; every branch gets the same."""
    from torchvision.models import VGG16_Weights

    with torch.device("meta"):
        shapes = VGG16(classifier=False).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in shapes.items()}
    state["classifier.0.weight"] = torch.arange(49.0).repeat(512).expand(4096, -1)
    state["classifier.3.weight"] = torch.arange(4096.0).expand(4096, 4096)
    state |= {f"classifier.{layer}.bias": torch.arange(4096.0) for layer in (0, 3)}
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda *_arguments, **_options: state)
    trunk = VGG16(weights="imagenet", reduced=True, overlapping=True, **arguments)
    assert len(trunk.branches) == len(arguments.get("rates", (12,)))
    for fc in trunk.branches:
        assert fc[0].weight[-1, 7].tolist() == [[7 * y + x for x in taps] for y in taps]
        assert fc[3].weight[0, :, 0, 0].tolist() == [*range(0, 4096, channels)]
        assert fc[0].bias.tolist() == fc[3].bias.tolist() == [*range(0, 4096, channels)]


# v2


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16_reduced"])
@torch.inference_mode()
def test_the_branches_of_v2_are_summed(backbone: str) -> None:
    network, images = small("deeplabv2", backbone=backbone, scales=(1.0,), rates=(1, 2, 3)), pictures((41, 33))
    features = network.trunk(images)
    state, total = network.state_dict(), torch.zeros(())
    for branch, rate in enumerate((1, 2, 3)):
        weight, bias = (state[f"score.{branch}.{kind}"] for kind in ("weight", "bias"))
        if backbone == "resnet50":
            total = total + F.conv2d(features["res5"], weight, bias, padding=rate, dilation=rate)
        else:
            fc6, fc7 = ([state[f"trunk.fc.{branch}.{layer}.{kind}"] for kind in ("weight", "bias")] for layer in (0, 3))
            x = F.conv2d(features["pool5"], *fc6, padding=rate, dilation=rate).relu()
            total = total + F.conv2d(F.conv2d(x, *fc7).relu(), weight, bias)
    torch.testing.assert_close(network.score_map(images).scores, total)


@pytest.mark.parametrize(
    ("side", "scale", "becomes"), [(321, 0.75, 241), (321, 0.5, 161), (513, 0.75, 385), (9, 0.5, 9), (1, 0.5, 1)]
)
def test_smaller_copies_have_the_published_sides(side: int, scale: float, becomes: int) -> None:
    images = torch.rand(1, 3, side, side)
    found = smaller(images, scale)
    assert found.shape[-1] == becomes
    assert torch.equal(found[..., 0, 0], images[..., 0, 0])
    torch.testing.assert_close(found[..., -1, -1], images[..., -1, -1])


SCALES = (1.0, 0.75, 0.5)


def three(**arguments: Any) -> Any:
    return small("deeplabv2", backbone="vgg16_reduced", rates=(1, 2), **arguments)


def maps_by_hand(one: Any, images: Tensor) -> list[Tensor]:
    """The scores of each scale of 65 x 33 pixels, by a network that sees one."""
    sizes = ((65, 33), (49, 25), (33, 17))
    seen = [F.interpolate(images, size, mode="bilinear", align_corners=True) for size in sizes]
    return [one.score_map(x).scores for x in seen]


@torch.inference_mode()
def test_v2_takes_the_largest_score_of_its_scales() -> None:
    network, one, images = three(scales=SCALES), three(scales=(1.0,)), pictures((65, 33))
    assert parameters(network) == parameters(one)  # they share their weights
    one.load_state_dict(network.state_dict())
    maps = maps_by_hand(one, images)
    enlarged = [F.interpolate(scores, (9, 5), mode="bilinear", align_corners=True) for scores in maps]
    found = network.score_map(images).scores
    torch.testing.assert_close(found, torch.stack(enlarged).amax(0))
    assert not any(torch.equal(found, scores) for scores in enlarged)


def test_the_loss_of_v2_has_a_term_for_each_scale_and_one_for_the_largest() -> None:
    network, one, images = three(scales=SCALES), three(scales=(1.0,)), pictures((65, 33))
    one.load_state_dict(network.state_dict())
    labels = torch.randint(CLASSES, (1, 65, 33))
    labels[:, 30:] = VOID
    maps = maps_by_hand(one, images)
    rows = {1.0: [*range(0, 65, 8)], 0.75: [0, 11, 21, 32, 43, 53, 64], 0.5: [*range(0, 65, 16)]}  # 64 / 6 pixels apart at 0.75
    columns = {1.0: [*range(0, 33, 8)], 0.75: [0, 11, 21, 32], 0.5: [0, 16, 32]}
    expected = {
        f"cross_entropy_at_{scale:g}": F.cross_entropy(scores, labels[:, rows[scale]][:, :, columns[scale]], ignore_index=VOID)
        for scale, scores in zip(SCALES, maps, strict=True)
    }
    largest = network.score_map(images).scores
    expected["cross_entropy"] = F.cross_entropy(largest, labels[:, ::8, ::8], ignore_index=VOID)
    torch.testing.assert_close(network.losses(images, Targets(labels)), expected)


def test_void_changes_no_term_of_v2() -> None:
    network = three(scales=SCALES)
    images, labels = pictures((47, 33)), torch.full((1, 47, 33), VOID)
    losses = network.losses(images, Targets(labels))
    assert len(losses) == 4
    assert not any(loss.item() for loss in losses.values())
    sum(losses.values()).backward()
    assert not any(p.grad.any() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (33, 47)])
@torch.inference_mode()
def test_three_scales_of_any_size(size: tuple[int, int]) -> None:
    network, images = three(scales=SCALES), pictures(size, count=2)
    together, alone = network(images)["logits"], network(images[1:])["logits"]
    assert together.shape == (2, CLASSES, *size)
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_deep_resnet_without_statistics_stays_in_bounds() -> None:
    torch.manual_seed(0)
    features = build("deeplabv2", CLASSES, width=SMALL).trunk(pictures((65, 65)))
    assert features["res5"].std() < 30 * features["res2"].std()


# v3: the pyramid


def pairs(ours: nn.Module, theirs: nn.Module) -> dict[str, Tensor]:
    """The state of `ours`, by the order in which both list their layers."""
    return dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))


def filled(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.3)
    return module.eval()


@torch.inference_mode()
def test_the_pyramid_is_torchvisions() -> None:
    theirs = filled(ASPP(12, [6, 12, 18], 8))
    ours = Pyramid(12, 8, (6, 12, 18), image_pooling=True, dropout=0.5).eval()
    ours.load_state_dict(pairs(ours, theirs))
    x = torch.randn(2, 12, 9, 13)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(("output_stride", "rates"), [(4, [24, 48, 72]), (8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus"])
def test_rates_follow_the_output_stride(name: str, output_stride: int, rates: list[int]) -> None:
    network = on_meta(name)
    for one in (network, on_meta(name, output_stride=output_stride)):
        one.output_stride = output_stride
        dilated = [next(layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)) for branch in one.aspp.atrous]
        assert [layer.dilation[0] for layer in dilated] == [layer.padding[0] for layer in dilated] == rates
        assert one.output_stride == one.trunk.output_stride == output_stride
        assert list(one.state_dict()) == list(network.state_dict())


@pytest.mark.parametrize(("name", "arguments"), [("deeplabv3", V3), ("deeplabv3plus", PLUS)])
@torch.inference_mode()
def test_a_smaller_output_stride_sees_the_same_at_more_places(name: str, arguments: dict[str, Any]) -> None:
    """Atrous convolution: without the mean of the picture, every second cell of the pyramid is the cell of output stride 16."""
    network, images = small(name, image_pooling=False, **arguments), pictures((65, 97))
    seen = []
    network.aspp.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    for output_stride in (16, 8, 4, 16):
        network.output_stride = output_stride
        network(images)
    assert [x.shape[-1] for x in seen] == [7, 13, 25, 7]
    for step, x in ((2, seen[1]), (4, seen[2]), (1, seen[3])):
        torch.testing.assert_close(x[..., ::step, ::step], seen[0], rtol=1e-4, atol=1e-5)


def test_multi_grid_is_that_of_the_paper() -> None:
    trunk = on_meta("deeplabv3").trunk
    assert isinstance(trunk, ResNet)
    assert [block.conv2.dilation[0] for block in trunk.layer4] == [2, 4, 8]
    assert {block.conv2.dilation[0] for block in trunk.layer3} == {1}
    trunk.output_stride = 8
    assert [block.conv2.dilation[0] for block in trunk.layer4] == [4, 8, 16]
    assert [block.conv2.dilation[0] for block in trunk.layer3] == [1, *[2] * 22]  # the strided 3x3 reads what it was trained on
    plain = on_meta("deeplabv3", multi_grid=(1, 1, 1)).trunk
    assert [block.conv2.dilation[0] for block in plain.layer4] == [2, 2, 2]
    exit_flow = on_meta("deeplabv3plus").trunk.blocks[-1]
    assert {separable.conv_dw.dilation[0] for separable in exit_flow.stack.values()} == {2}


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus"])
def test_statistics_move_by_the_published_share(name: str) -> None:
    for arguments, momentum in (({}, 0.0003), ({"norm_momentum": 0.1}, 0.1)):
        network = on_meta(name, **arguments)
        layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        assert {layer.momentum for layer in layers} == {momentum}
        released = {layer.eps for layer in network.trunk.modules() if isinstance(layer, nn.BatchNorm2d)}
        assert released == ({0.001} if name == "deeplabv3plus" else {0.00001})
        assert {layer.eps for layer in network.aspp.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.00001}


def test_one_picture_is_pooled_with_running_statistics() -> None:
    layer = filled(ImagePooling(6, 4))
    before, x = copy.deepcopy(layer.state_dict()), torch.randn(1, 6, 5, 7)
    expected = layer(x)
    assert torch.equal(layer.train()(x), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    layer(torch.randn(2, 6, 5, 7))
    assert not torch.equal(layer.state_dict()["norm.running_mean"], before["norm.running_mean"])


def test_one_picture_can_be_learned_from() -> None:
    for name, arguments in (("deeplabv3", V3), ("deeplabv3plus", PLUS)):
        network = small(name, **arguments).train()
        network.losses(pictures((33, 33)), Targets(torch.zeros(1, 33, 33, dtype=torch.int64)))["cross_entropy"].backward()
        assert network.aspp.pooled.conv.weight.grad.isfinite().all()


@torch.inference_mode()
def test_only_the_mean_of_the_picture_sees_all_of_it() -> None:
    """With a trunk that hands on its picture, a cell of the pyramid sees its rates, and with the mean everything."""
    for image_pooling in (True, False):
        aspp = filled(Pyramid(3, 4, (2, 3), image_pooling, 0.1))
        aspp.output_stride = 16
        x = torch.randn(1, 3, 9, 9)
        before = aspp(x)
        x[..., -1, -1] += 10
        changed = (aspp(x) != before).any(1)[0]
        assert changed[-1, -1]
        assert changed[-3, -3]
        assert changed[0, 0] == image_pooling


def test_few_steps_of_slow_statistics_are_told(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data", train=2, val=1)
    short: dict[str, Any] = {
        "data": str(data), "network": "deeplabv3", **V3, "weights": "none", "steps": 2, "batch": 2, "validations": 1,
        "device": "cpu",
    }  # fmt: skip
    told = []
    for number, more in enumerate(({}, {"norm_momentum": 0.1}, {"statistics_batches": 1, "statistics_batch": 2})):
        lines: list[str] = []
        train(Recipe(**short, **more), tmp_path / str(number), say=lines.append)
        told.append([line for line in lines if line.startswith("warning: ")])
    assert told[1:] == [[], []]
    assert told[0] == [
        "warning: batch normalisation moves its statistics by 0.0003 a step, so that after 2 steps 100% of what they began "
        "with is left and scores mislead; give `--norm-momentum 0.1` or `--statistics-batches 20`, or more steps."
    ]
    long = Recipe(**{**short, "steps": 30_000})
    assert lagging_statistics(network_of(long, ClassTable.read_csv(data / "classes.csv")), long) is None


# v3+: the decoder


@pytest.mark.parametrize("separable", [True, False])
@torch.inference_mode()
def test_the_decoder_by_hand(separable: bool) -> None:
    network = small("deeplabv3plus", backbone="resnet50", separable=separable)
    images = pictures((65, 33))
    features = network.trunk(images)
    low, deep = network.low_level(features["res2"]), network.aspp(features["res5"])
    x = torch.cat([F.interpolate(deep, low.shape[-2:], mode="bilinear", align_corners=True), low], 1)
    assert (low.shape, deep.shape, x.shape) == ((1, 2, 17, 9), (1, 13, 5, 3), (1, 15, 17, 9))
    state = network.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (state[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias).relu()

    for layer in ("decoder.0", "decoder.1"):
        if separable:
            x = norm(F.conv2d(x, state[f"{layer}.0.weight"], padding=1, groups=x.shape[1]), f"{layer}.1")
            x = norm(F.conv2d(x, state[f"{layer}.3.weight"]), f"{layer}.4")
        else:
            x = norm(F.conv2d(x, state[f"{layer}.0.weight"], padding=1), f"{layer}.1")
    x = F.conv2d(x, state["score.weight"], state["score.bias"])
    torch.testing.assert_close(network.score_map(images).scores, x)


def test_channels_of_the_decoder() -> None:
    network = on_meta("deeplabv3plus", separable=False)
    convolutions = [layer for layer in network.decoder.modules() if isinstance(layer, nn.Conv2d)]
    assert network.low_level[0].out_channels == 48
    shapes = [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in convolutions]
    assert shapes == [(304, 256, 3), (256, 256, 3)]


@pytest.mark.parametrize(("arguments", "low"), [({"backbone": "resnet101"}, 256), ({}, 256), ({"backbone": "xception71"}, 256)])
def test_the_low_level_feature_has_stride_4_and_256_channels(arguments: dict[str, Any], low: int) -> None:
    network = on_meta("deeplabv3plus", **arguments)
    name = network.trunk.levels[4]
    assert network.trunk.channels[name] == network.low_level[0].in_channels == low
    assert network.trunk(torch.empty(1, 3, 513, 513, device="meta"))[name].shape[-1] == 129


def test_separable_convolutions_take_a_third_less_of_the_work() -> None:
    """33 to 41 % less with Xception, and the published multiply-adds at two output strides (paper, section 4 and table 5)."""
    from perpixel.networks.papers import size_of

    ordinary, separable = (size_of("deeplabv3plus", size=(513, 513), separable=kind)[1] for kind in (False, True))
    assert 0.33 < 1 - separable / ordinary < 0.41
    assert separable == pytest.approx(54.2e9, rel=0.005)
    assert size_of("deeplabv3plus", size=(513, 513), output_stride=8)[1] == pytest.approx(177.1e9, rel=0.005)


def released_multiply_adds(output_stride: int, decoder: bool, released: bool = True) -> int:
    """Multiply-adds of ResNet-101 v3, or v3+ with ordinary convolutions, for 513x513 pixels and 21 classes.

    The released network (core/resnet_v1_beta.py) has a stem of three 3x3, and the stride of res2, res3 and res4 in the 3x3 of
    their last block. TensorFlow of that time computes an atrous convolution on a batch of smaller maps: sides are padded by
    the rate and rounded up to a multiple of it. Without `released`: a stem of 7x7, strides in the first block of res3, res4
    and res5, and no rounding, as here."""

    def cells(side: int, rate: int) -> int:
        if not released or rate == 1:
            return side * side
        return (-(-(side + 2 * rate) // rate) - 2) ** 2 * rate**2

    total = 257**2 * (9 * (3 * 64 + 64 * 64 + 64 * 128) if released else 49 * 3 * 64)
    inputs, side, stride, rate = 128 if released else 64, 129, 4, 1
    for stage, blocks in enumerate((3, 4, 23, 3)):
        inner = 64 << stage
        for block in range(blocks):
            strided = (stage < 3 and block == blocks - 1) if released else (stage > 0 and block == 0)
            grid = (1, 2, 4)[block] if stage == 3 else 1
            before, here = side, rate * grid
            if strided and stride == output_stride:
                rate *= 2
            elif strided:
                side, stride = (side - 1) // 2 + 1, 2 * stride
            middle = cells(side, here) if side == before else side * side
            total += before**2 * inputs * inner + middle * 9 * inner * inner + side**2 * inner * 4 * inner
            total += side**2 * inputs * 4 * inner if inputs != 4 * inner else 0
            inputs = 4 * inner
    branches = side**2 + 9 * sum(cells(side, rate * 16 // output_stride) for rate in (6, 12, 18))
    total += 256 * (2048 * branches + 2048 + side**2 * 5 * 256)
    return total + (129**2 * 256 * (48 + 9 * 304 + 9 * 256 + 21) if decoder else side**2 * 256 * 21)


@pytest.mark.parametrize(("output_stride", "decoder", "published"), [(16, False, 81.0e9), (8, True, 297.9e9)])
def test_the_published_multiply_adds_of_resnet_are_those_of_the_released_network(
    output_stride: int, decoder: bool, published: float
) -> None:
    assert released_multiply_adds(output_stride, decoder) == pytest.approx(published, rel=0.003)


def test_at_output_stride_16_v3_plus_is_published_with_a_hundredth_less() -> None:
    """101.3 G of the paper; 102.6 G here, and 101.2 G without multi-grid, by whose rates alone the rounding differs."""
    assert released_multiply_adds(16, True) / 101.3e9 == pytest.approx(1.0127, abs=5e-4)


@pytest.mark.parametrize(("name", "output_stride"), [("deeplabv3", 16), ("deeplabv3", 8), ("deeplabv3plus", 16)])
def test_ours_differ_by_the_stem_the_place_of_strides_and_the_rounding(name: str, output_stride: int) -> None:
    from perpixel.networks.papers import size_of

    arguments = {"backbone": "resnet101", "separable": False} if name == "deeplabv3plus" else {}
    found = size_of(name, size=(513, 513), output_stride=output_stride, **arguments)[1]
    assert found == released_multiply_adds(output_stride, name == "deeplabv3plus", released=False)


# Arguments


@pytest.mark.parametrize(("name", "arguments", "says"), [
    ("deeplabv1", {"rate": 3, "head": "4x4"}, "rate 3: the dilation of an fc6 of 4x4 must be an even number"),
    ("deeplabv1", {"msc": True, "backbone": "resnet18"}, "msc is for vgg16_reduced, not for resnet18; leave it out"),
    ("deeplabv1", {"rate": 0}, "rate 0: the dilation of an fc6 of 3x3 must be 1 or more"),
    ("deeplabv2", {"rates": ()}, r"rates = \[\]: give dilations of 1 or more"),
    ("deeplabv2", {"scales": (1.0, 2.0)}, r"scales = \[1.0, 2.0\]: give scales above 0 and at most 1"),
    ("deeplabv2", {"backbone": "vgg16_reduced", "norm": "batch"}, "norm is for .*resnet101.*, not for vgg16_reduced"),
    ("deeplabv2", {"backbone": "resnet18", "stride_in": "1x1"}, "stride_in is for .*resnet101.*, not for resnet18"),
    ("deeplabv2", {"dropout": 0.1}, "dropout is for vgg16_reduced, not for resnet101"),
    ("deeplabv3", {"rates": (0, 1)}, r"rates = \[0, 1\]: give dilations of 1 or more"),
    ("deeplabv3", {"output_stride": 12}, "output_stride = 12: must be 4, 8, 16 or 32"),
    ("deeplabv3", {"multi_grid": (1, 2)}, "give three factors"),
    ("deeplabv3", {"backbone": "resnet18", "multi_grid": (1, 2, 4)}, "multi_grid is for .*, not for resnet18 of timm"),
    ("deeplabv3", {"norm_momentum": 0.0}, "norm_momentum = 0.0: must be above 0"),
    ("deeplabv3plus", {"low_level": 0}, "low_level = 0"),
    ("deeplabv3plus", {"backbone": "vit_tiny_patch16_224"}, "choose another backbone"),
])  # fmt: skip
def test_an_argument_that_does_not_fit(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        on_meta(name, **arguments)


@pytest.mark.parametrize(("name", "arguments", "says"), [
    ("deeplabv1", {"head": "large_fow"}, "no head 'large_fow'; did you mean 'large_fov'"),
    ("deeplabv1", {"backbone": "resnet18", "head": "8x8"}, "no head '8x8'"),
    ("deeplabv2", {"norm": "frosen"}, "no norm 'frosen'; did you mean 'frozen'"),
    ("deeplabv3", {"backbone": "resnet1001"}, "no backbone 'resnet1001'; did you mean 'resnet101'"),
    ("deeplabv3plus", {"backbone": "xception6"}, "no backbone 'xception6'; did you mean 'xception"),
])  # fmt: skip
def test_an_unknown_word_suggests_the_nearest(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        on_meta(name, **arguments)


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus"])
def test_the_output_stride_of_a_timm_trunk_is_fixed(name: str) -> None:
    network = build(name, CLASSES, backbone="resnet18", output_stride=32)
    network.output_stride = 32
    with pytest.raises(UsageError, match="output_stride = 8: a trunk of timm keeps the 32 that it was built with"):
        network.output_stride = 8
    assert network.aspp.output_stride == 32


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "mobilenetv3_small_050"])
def test_other_trunks_of_timm(backbone: str) -> None:
    for name, arguments in (("deeplabv1", {"rate": 2}), ("deeplabv2", {}), ("deeplabv3", {}), ("deeplabv3plus", {})):
        network = build(name, CLASSES, backbone=backbone, **arguments).eval()
        with torch.inference_mode():
            assert network(pictures((40, 33)))["logits"].shape == (1, CLASSES, 40, 33)
