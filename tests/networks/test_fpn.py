"""FPN: its parameters, its head as Panoptic FPN draws it, sizes that are no multiple of 32, and the paper's ablations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build
from perpixel.networks.fpn import head_block

CLASSES = 5


def on_meta(classes=19, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("fpn", classes, **arguments).eval()


def small(**arguments):
    torch.manual_seed(0)
    return build("fpn", CLASSES, **{"width": 0.25, **arguments}).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


# Sizes


@pytest.mark.parametrize(
    ("classes", "arguments", "count"),
    [
        (19, {}, 28_478_675),
        (19, {"backbone": "resnet101"}, 47_470_803),
        (19, {"norm": "batch"}, 28_478_675),
        (150, {}, 23_508_032 + 3_344_384 + 1_643_158),
    ],
)
def test_the_number_of_parameters(classes, arguments, count):
    assert parameters(on_meta(classes, **arguments)) == count


def test_the_parts_of_the_count():
    network = on_meta()
    assert parameters(network.trunk) == 23_508_032
    assert parameters(network.pyramid) == 3_344_384
    assert parameters(network.head) + parameters(network.score) == 1_626_259
    # Four first convolutions of 256 channels and three of 128, each with a scale and a shift; then 19 scores of 128 channels.
    assert parameters(network.head) == 4 * 256 * 128 * 9 + 3 * 128 * 128 * 9 + 7 * 2 * 128


def test_p2_and_p3_have_one_convolution_p4_two_and_p5_three():
    assert [len(blocks) for blocks in on_meta().head] == [1, 1, 2, 3]


def test_the_head_has_32_groups_and_four_channels_a_group_at_other_widths():
    assert {layer.num_groups for layer in on_meta().modules() if isinstance(layer, nn.GroupNorm)} == {32}
    for channels in range(1, 300):
        groups = head_block(8, channels, "group")[1].num_groups
        assert channels % groups == 0
        assert groups == 1 or channels // groups >= 4


@pytest.mark.parametrize(("size", "cells"), [((512, 1024), (128, 256)), ((33, 47), (9, 12)), ((1, 1), (1, 1))])
def test_scores_have_stride_4(size, cells):
    found = on_meta().score_map(torch.empty(1, 3, *size, device="meta"))
    assert found.scores.shape == (1, 19, *cells)
    assert (found.stride, found.shift) == (4, -3 / 8)  # a cell covers four pixels


# What it computes


def as_drawn(network, images):
    """Figure 3 of Panoptic FPN for a picture whose sides are multiples of 32, over torchvision's pyramid."""
    theirs = FeaturePyramidNetwork([network.trunk.channels[level] for level in network.levels], network.pyramid.depth)
    theirs.load_state_dict(network.pyramid.state_dict())
    found = network.trunk(images)
    levels = list(theirs({level: found[level] for level in network.levels}).values())
    total = 0
    for doublings, x in enumerate(levels):
        for convolution, norm, _ in network.head[doublings]:
            x = F.conv2d(x, convolution.weight, padding=1)
            x = F.relu(F.group_norm(x, norm.num_groups, norm.weight, norm.bias))
            if doublings:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    scores = F.conv2d(total, network.score.weight, network.score.bias)
    return F.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
@torch.inference_mode()
def test_it_computes_what_panoptic_fpn_draws(size):
    network, images = small(), pictures(size, count=2)
    torch.testing.assert_close(network(images)["logits"], as_drawn(network, images), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_picture_that_is_cut_keeps_its_scores_far_from_the_cut():
    """The first 160 rows of 256, 100 columns of 128: nothing shifts where no size is a multiple of 32. Of the levels below, the
    coarse ones see the cut, so that they are silenced."""
    network = small()
    for blocks in list(network.head)[1:]:
        for layer in blocks.modules():
            if isinstance(layer, nn.GroupNorm):
                nn.init.zeros_(layer.weight)
    network.pyramid.top_down = False
    first = network.head[0][0]
    first[1] = nn.Identity()  # group normalisation sees the whole map
    images = pictures((256, 128))
    whole, cut = network(images)["logits"], network(images[..., :165, :101])["logits"]
    assert cut.shape[-2:] == (165, 101)
    torch.testing.assert_close(cut[..., :100, :40], whole[..., :100, :40], rtol=1e-4, atol=1e-4)


def test_the_scores_of_the_head_come_from_every_level():
    network, images = small(), pictures((64, 64))
    features = {name: x.detach().requires_grad_() for name, x in network.trunk(images).items()}
    network.trunk.forward = lambda _images: features
    network(images)["logits"].square().sum().backward()
    assert all((features[level].grad != 0).any() for level in network.levels)


# Arguments


def test_without_laterals_three_are_missing_and_only_the_coarsest_feature_is_read():
    assert parameters(on_meta()) - parameters(on_meta(lateral=False)) == sum(256 * depth + 256 for depth in (256, 512, 1024))
    network, images = small(lateral=False), pictures((64, 64))
    features = {name: x.detach().requires_grad_() for name, x in network.trunk(images).items()}
    network.trunk.forward = lambda _images: features
    network(images)["logits"].square().sum().backward()
    assert [features[level].grad is not None for level in network.levels] == [False, False, False, True]


def test_without_the_top_down_path_nothing_is_missing_but_the_sums():
    assert parameters(on_meta(top_down=False)) == parameters(on_meta())
    network, images = small(), pictures((64, 64))
    with torch.inference_mode():
        whole = network(images)["logits"]
        network.pyramid.top_down = False
        assert not torch.allclose(network(images)["logits"], whole, atol=1e-3)


def test_dropout_is_that_of_the_heads_sum():
    network = small(dropout=0.5).train()
    dropped = []
    network.dropout.register_forward_hook(lambda _layer, inputs, output: dropped.append((inputs[0], output)))
    network(pictures((64, 64), count=2))
    before, after = dropped[0]
    assert before.shape == (2, 32, 16, 16)
    kept = (after != 0).flatten(2).any(2)  # of a channel all is dropped, or nothing
    torch.testing.assert_close(after, before * kept[..., None, None] * 2)
    assert 0.2 < kept.float().mean() < 0.8


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"norm": "batchnorm"}, UnknownName, "no norm of fpn 'batchnorm'; did you mean 'batch'"),
        ({"backbone": "resnet-50"}, UnknownName, "no backbone 'resnet-50'; did you mean 'resnet50'"),
        ({"backbone": "vit_tiny_patch16_224"}, UsageError, "no features of stride 4, stride 8, stride 32; choose"),
        ({"backbone": "resnet18", "width": 0.5}, UsageError, "width 0.5 is for our own trunks"),
        ({"width": 0.5, "weights": "imagenet"}, UsageError, "there are no ImageNet weights for resnet50 at width 0.5"),
    ],
)
def test_an_argument_that_does_not_fit(arguments, error, says):
    with pytest.raises(error, match=says):
        on_meta(**arguments)
