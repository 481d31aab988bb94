"""PSPNet: its sizes and parameters, pooling by matrices against torch's, the auxiliary loss, and the ablations of the paper."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build
from perpixel.networks.pspnet import PyramidPooling, lengthened
from perpixel.sample import Targets

CLASSES, VOID = 5, 255


def on_meta(classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("pspnet", classes, **arguments).eval()


def small(seed=0, backbone="resnet50", width=0.05, **arguments):
    torch.manual_seed(seed)
    return build("pspnet", CLASSES, backbone=backbone, width=width, **arguments).eval()


def parameters(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


# The published network


@pytest.mark.parametrize(
    ("backbone", "classes", "head", "auxiliary", "at_inference", "in_training"),
    [
        ("resnet50", 150, 23_150_742, 2_398_358, 46_782_550, 49_180_908),
        ("resnet50", 21, 23_084_565, 2_365_205, 46_716_373, 49_081_578),
        ("resnet101", 21, 23_084_565, 2_365_205, 65_708_501, 68_073_706),
        ("resnet101", 19, 23_083_539, 2_364_691, 65_707_475, 68_072_166),
    ],
)
def test_the_number_of_parameters(backbone, classes, head, auxiliary, at_inference, in_training):
    network = on_meta(classes, backbone=backbone)
    assert parameters(network.pyramid, network.head, network.score) == head
    assert parameters(network.auxiliary) == auxiliary
    assert parameters(network) == in_training
    assert parameters(on_meta(classes, backbone=backbone, auxiliary=0)) == at_inference


@pytest.mark.parametrize(("side", "cells"), [(473, 60), (713, 90)])
def test_the_published_crops_have_cells_that_every_bin_divides(side, cells):
    network = on_meta(auxiliary=0)
    assert lengthened(torch.empty(1, 3, side, side, device="meta")).shape[-1] == side
    found = network.score_map(torch.empty(1, 3, side, side, device="meta"))
    assert found.scores.shape == (1, 21, cells, cells)
    assert (found.stride, found.shift) == ((8, 8), (0, 0))
    assert [cells % bins for bins in network.pyramid.bins] == [0, 0, 0, 0]


def test_the_pyramid_reduces_2048_channels_to_512_for_each_grid():
    pyramid = on_meta().pyramid
    assert [branch[0].weight.shape for branch in pyramid.branches] == [(512, 2048, 1, 1)] * 4
    assert pyramid.outputs == 4096


def conv_norm(state, name, x, **how):
    """A convolution and its batch normalisation, by the weights alone."""
    x = F.conv2d(x, state[f"{name}.0.weight"], **how)
    statistics = (state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *statistics).relu()


@pytest.mark.parametrize(("pooling", "pool"), [("average", F.adaptive_avg_pool2d), ("max", F.adaptive_max_pool2d)])
@torch.inference_mode()
def test_the_head_is_that_of_figure_3(pooling, pool):
    network, images = small(pooling=pooling), pictures((65, 97), count=2)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    state, x = network.state_dict(), network.trunk(images)["res5"]
    grids = [conv_norm(state, f"pyramid.branches.{place}", pool(x, bins)) for place, bins in enumerate((1, 2, 3, 6))]
    grids = [F.interpolate(grid, x.shape[-2:], mode="bilinear", align_corners=True) for grid in grids]
    assert all(grid.std() > 0 for grid in grids)
    x = conv_norm(state, "head.0", torch.cat([x, *grids], 1), padding=1)
    x = F.conv2d(x, state["score.weight"], state["score.bias"])
    expected = F.interpolate(x, (65, 97), mode="bilinear", align_corners=True)
    found = network(images)["logits"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(found[..., ::8, ::8], x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))  # cell j lies on pixel 8 j


# Pooling


@pytest.mark.parametrize(("pooling", "theirs"), [("average", F.adaptive_avg_pool2d), ("max", F.adaptive_max_pool2d)])
def test_an_exported_graph_pools_pictures_of_other_sizes_right(pooling, theirs):
    pyramid = PyramidPooling(2, (2, 3), pooling, reduce=False).eval()
    sizes = {2: torch.export.Dim("height", min=4, max=64), 3: torch.export.Dim("width", min=4, max=64)}
    graph = torch.export.export(pyramid, (torch.randn(1, 2, 12, 18),), dynamic_shapes=(sizes,)).module()
    x = torch.randn(1, 2, 23, 31)
    grids = [F.interpolate(theirs(x, bins), (23, 31), mode="bilinear", align_corners=True) for bins in (2, 3)]
    torch.testing.assert_close(graph(x), torch.cat([x, *grids], 1))


# Any size


@given(st.integers(1, 100), st.integers(1, 100))
def test_sides_become_8k_plus_1_by_repeating_the_last_row_and_column(height, width):
    images = pictures((height, width))
    seen = lengthened(images)
    for before, after in zip((height, width), seen.shape[-2:], strict=True):
        assert after % 8 == 1
        assert 0 <= after - before < 8
    assert torch.equal(seen[..., :height, :width], images)
    assert (seen[..., height:, :] == seen[..., height - 1 : height, :]).all()
    assert (seen[..., width:] == seen[..., width - 1 : width]).all()


@torch.inference_mode()
def test_what_a_picture_is_lengthened_by_is_cut_off_again():
    network, images = small(), pictures((34, 47))
    whole = network(lengthened(images))["logits"]
    assert whole.shape[-2:] == (41, 49)
    assert torch.equal(network(images)["logits"], whole[..., :34, :47])


# The auxiliary loss


def calls_of(layer):
    """How often `layer` runs from now on."""
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_the_auxiliary_head_runs_in_training_alone():
    network, images, targets = small(), pictures((33, 33), count=2), Targets(torch.zeros(2, 33, 33, dtype=torch.int64))
    calls = calls_of(network.auxiliary)
    network(images), network.score_map(images), network.losses(images, targets)
    assert calls == []
    network.train()
    network(images)
    assert calls == []
    network.losses(images, targets)
    assert calls == [1]


def test_the_auxiliary_loss_is_four_tenths_of_that_of_res4():
    network, images = small(dropout=0.0).train(), pictures((33, 47), count=2)
    labels = torch.randint(CLASSES, (2, 33, 47))
    labels[:, :10] = VOID
    seen = []
    network.auxiliary.register_forward_hook(lambda _layer, inputs, output: seen.append((inputs[0], output)))
    losses = network.losses(images, Targets(labels))
    assert list(losses) == ["cross_entropy", "auxiliary_cross_entropy"]
    ((features, scores),) = seen
    assert features.shape[1] == network.trunk.channels["res4"]
    scores = F.interpolate(scores, (33, 49), mode="bilinear", align_corners=True)[..., :47]
    expected = F.cross_entropy(scores, labels, ignore_index=VOID)
    torch.testing.assert_close(losses["auxiliary_cross_entropy"], 0.4 * expected)
    sum(losses.values()).backward()
    assert all((parameter.grad != 0).any() for name, parameter in network.named_parameters() if name.endswith("weight"))


def test_without_its_weight_the_auxiliary_head_is_left_out():
    network = small(auxiliary=0).train()
    assert not any("auxiliary" in name for name in network.state_dict())
    labels = torch.zeros(2, 33, 33, dtype=torch.int64)
    assert list(network.losses(pictures((33, 33), count=2), Targets(labels))) == ["cross_entropy"]


def test_a_void_batch_teaches_nothing_in_training_either():
    network = small().train()
    loss = sum(network.losses(pictures((33, 33), count=2), Targets(torch.full((2, 33, 33), VOID))).values())
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in network.parameters())


def test_a_batch_of_one_picture_trains_and_leaves_the_statistics_of_one_cell():
    network = small().train()
    first, second = (branch[1] for branch in network.pyramid.branches[:2])
    loss = sum(network.losses(pictures((33, 33)), Targets(torch.zeros(1, 33, 33, dtype=torch.int64))).values())
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert (network.pyramid.branches[0][0].weight.grad != 0).any()
    assert (first.running_mean == 0).all()
    assert (second.running_mean != 0).any()


# The paper's ablations


def test_without_reduction_pooled_maps_are_joined_as_they_are():
    pyramid = on_meta(reduce=False).pyramid
    assert (pyramid.outputs, parameters(pyramid)) == (2048 * 5, 0)
    x = torch.randn(1, 4, 6, 6)
    found = PyramidPooling(4, (1,), reduce=False)(x)
    torch.testing.assert_close(found, torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1))


@pytest.mark.parametrize(("bins", "everywhere"), [((), False), ((1,), True), ((1, 2, 3, 6), True)])
@torch.inference_mode()
def test_only_the_pyramid_sees_the_whole_picture(bins, everywhere):
    network, images = small(bins=bins), pictures((17, 1201))
    before = network(images)["logits"]
    images[..., -16:] = 1
    changed = (network(images)["logits"] != before).any(1)[0]
    assert changed[:, -16:].all()
    assert changed[:, :400].any() == everywhere


@pytest.mark.parametrize("arguments", [{"bins": (1, 0)}, {"auxiliary": -0.4}, {"auxiliary": float("inf")}])
def test_a_value_that_cannot_work_is_told(arguments):
    (name,) = arguments
    with pytest.raises(UsageError, match=f"^{name} = "):
        small(**arguments)


def test_a_slip_in_pooling_is_told():
    with pytest.raises(UnknownName, match="did you mean 'average'"):
        small(pooling="averag")


def test_a_trunk_without_stride_8_is_refused():
    with pytest.raises(UsageError, match=r"has no output stride of 8 \(.+\); choose another backbone"):
        small(backbone="vit_tiny_patch16_224", width=1.0)
