"""FCN as the papers and the authors' code have it: sizes, fields, crops and kernels of every version, on all three trunks."""

from functools import cache
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from perpixel import networks
from perpixel.backbones import AlexNet, GoogLeNet
from perpixel.backbones.alexnet import CeilPool, response_norm
from perpixel.backbones.places import PICTURE, Place, places
from perpixel.classes import ClassTable
from perpixel.networks import build, fcn
from perpixel.networks.fcn import Step, bilinear_kernel
from perpixel.sample import Targets
from perpixel.training.learner import network_of
from perpixel.training.recipe import Recipe

CLASSES, SMALL = 5, 0.05
SIDES = st.integers(1, 600)


def on_meta(name, classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build(name, classes, **arguments).eval()


def narrow(name, **arguments):
    """A network with score layers as after training: they start at zero."""
    torch.manual_seed(0)
    network = build(name, CLASSES, width=SMALL, **arguments).eval()
    for layer in network.score.values():
        nn.init.normal_(layer.weight, std=0.1)
        nn.init.normal_(layer.bias)
    return network


def pictures(size, seed=0):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Numbers of parameters


@pytest.mark.parametrize(
    ("name", "classes", "arguments", "count"),
    [
        ("fcn32s", 21, {}, 134_346_581),
        ("fcn16s", 21, {}, 134_357_354),
        ("fcn8s", 21, {}, 134_362_751),
        ("fcn8s_atonce", 21, {}, 134_362_751),
        ("fcn32s", 60, {}, 134_506_364),
        ("fcn16s", 60, {}, 134_537_144),
        ("fcn8s", 60, {}, 134_552_564),
        ("fcn32s", 40, {}, 134_424_424),
        ("fcn32s", 33 + 3, {}, 134_408_036),  # SIFT Flow has a head of 33 and one of 3 classes
        ("fcn16s", 33 + 3, {}, 134_426_504),
        ("fcn8s", 33 + 3, {}, 134_435_756),
        ("fcn32s", 21, {"backbone": "alexnet"}, 56_954_261),
        ("fcn32s", 21, {"backbone": "googlenet"}, 5_995_077),
        # conv1_1 to conv3_3, conv4_3 and conv5_3 have 1,735,488, 7,635,264 and 14,714,688; their heads 5,397, 10,773 and 10,773.
        ("fcn8s", 21, {"layer": "pool3"}, 1_740_885),
        ("fcn16s", 21, {"layer": "pool4"}, 7_646_037),
        ("fcn32s", 21, {"layer": "pool5"}, 14_725_461),
    ],
)
def test_it_has_the_published_number_of_parameters(name, classes, arguments, count):
    assert parameters(on_meta(name, classes, **arguments)) == count


def test_the_trunk_of_googlenet_is_bvlcs():
    with torch.device("meta"):
        assert parameters(GoogLeNet()) == 5_973_552


def test_at_once_adds_a_fixed_scale_for_each_channel_of_pool4_and_pool3():
    network = build("fcn8s_atonce", CLASSES, width=1 / 64)
    state, learned = network.state_dict(), dict(network.named_parameters())
    assert {name: tuple(state[name].shape) for name in state if "skip_scale" in name} == {
        "skip_scale.pool4": (8,),
        "skip_scale.pool3": (4,),
    }
    assert "skip_scale.pool4" not in learned
    assert (state["skip_scale.pool4"] == 0.01).all()
    assert (state["skip_scale.pool3"] == 0.0001).all()
    whole = on_meta("fcn8s_atonce").skip_scale
    assert [(name, len(scale)) for name, scale in whole.named_buffers()] == [("pool4", 512), ("pool3", 256)]


@pytest.mark.parametrize(
    ("name", "classes", "arguments", "stored"),
    [
        ("fcn32s", 21, {}, 1_806_336),
        ("fcn16s", 21, {}, 458_640),
        ("fcn8s", 21, {}, 127_008),
        ("fcn32s", 60, {}, 14_745_600),
        ("fcn16s", 60, {}, 3_744_000),
        ("fcn8s", 60, {}, 1_036_800),
        ("fcn32s", 21, {"backbone": "alexnet"}, 1_750_329),
    ],
)
def test_learned_kernels_have_the_size_of_caffes_blobs(name, classes, arguments, stored):
    fixed, learned = (on_meta(name, classes, learned_upsampling=kind, **arguments) for kind in ("none", "all"))
    assert parameters(learned) - parameters(fixed) == stored


# Sizes of blobs


def blobs(network, size):
    """Height and width of conv1 (conv1_1) and of every feature of the trunk."""
    found = {}
    first = next(layer for layer in network.trunk.modules() if isinstance(layer, nn.Conv2d))
    handle = first.register_forward_hook(lambda _layer, _inputs, output: found.update(conv1_1=output))
    found.update(network.trunk(torch.empty(1, 3, *size, device="meta")))
    handle.remove()
    return {name: tuple(blob.shape[-2:]) for name, blob in found.items()}


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((500, 500), [(698, 698), (349, 349), (175, 175), (88, 88), (44, 44), (22, 22), (16, 16)]),
        ((224, 224), [(422, 422), (211, 211), (106, 106), (53, 53), (27, 27), (14, 14), (8, 8)]),
        ((500, 375), [(698, 573), (349, 287), (175, 144), (88, 72), (44, 36), (22, 18), (16, 12)]),
    ],
)
def test_blobs_of_vgg16_have_the_published_sizes(size, sides):
    found = blobs(on_meta("fcn32s"), size)
    assert [found[blob] for blob in ("conv1_1", "pool1", "pool2", "pool3", "pool4", "pool5", "fc7")] == sides


@pytest.mark.parametrize(("side", "sides"), [(500, [173, 86, 43, 21, 16]), (224, [104, 52, 26, 13, 8])])
def test_blobs_of_alexnet_have_the_published_sizes(side, sides):
    found = blobs(on_meta("fcn32s", backbone="alexnet"), (side, side))
    assert [found[blob][0] for blob in ("conv1_1", "pool1", "pool2", "pool5", "fc7")] == sides


def test_features_of_googlenet_have_the_sides_of_table_1():
    found = blobs(on_meta("fcn8s", backbone="googlenet"), (224, 224))
    assert {name: sides[0] for name, sides in found.items()} == {
        "conv1_1": 112, "inception_3b": 28, "inception_4e": 14, "inception_5b": 7,
    }  # fmt: skip


def crops(network, size):
    """What is cropped, in order: its size, the offset and the window."""
    found = []

    def crop(features, offset, window):
        found.append((tuple(features.shape[-2:]), offset, tuple(window)))
        return features[..., : window[0], : window[1]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcn, "crop", crop)
        network(torch.empty(1, 3, *size, device="meta"))
    return found


# Scores of pool4 and of pool3, then the enlarged scores.
CROPS = {
    ("fcn32s", (500, 500)): [((544, 544), 19, (500, 500))],
    ("fcn32s", (224, 224)): [((288, 288), 19, (224, 224))],
    ("fcn32s", (500, 375)): [((544, 416), 19, (500, 375))],
    ("fcn16s", (500, 500)): [((44, 44), 5, (34, 34)), ((560, 560), 27, (500, 500))],
    ("fcn16s", (224, 224)): [((27, 27), 5, (18, 18)), ((304, 304), 27, (224, 224))],
    ("fcn16s", (500, 375)): [((44, 36), 5, (34, 26)), ((560, 432), 27, (500, 375))],
    ("fcn8s", (500, 500)): [((44, 44), 5, (34, 34)), ((88, 88), 9, (70, 70)), ((568, 568), 31, (500, 500))],
    ("fcn8s", (224, 224)): [((27, 27), 5, (18, 18)), ((53, 53), 9, (38, 38)), ((312, 312), 31, (224, 224))],
    ("fcn8s", (500, 375)): [((44, 36), 5, (34, 26)), ((88, 72), 9, (70, 54)), ((568, 440), 31, (500, 375))],
}


@pytest.mark.parametrize(("name", "size"), CROPS)
def test_it_crops_as_published(name, size):
    assert crops(on_meta(name), size) == CROPS[name, size]
    if name == "fcn8s":
        assert crops(on_meta("fcn8s_atonce"), size) == CROPS[name, size]


@pytest.mark.parametrize(("side", "enlarged"), [(500, 543), (224, 287)])
def test_alexnet_crops_as_published(side, enlarged):
    assert crops(on_meta("fcn32s", backbone="alexnet"), (side, side)) == [((enlarged, enlarged), 18, (side, side))]


@cache
def thin(name):
    return on_meta(name, CLASSES, width=SMALL)


@given(height=SIDES, width=SIDES)
def test_sides_follow_the_closed_forms(height, width):
    size = (height, width)
    p = [ceil((side + 198) / 32) for side in size]
    found = blobs(thin("fcn32s"), size)
    assert found["pool5"] == tuple(p)
    assert found["fc7"] == tuple(n - 6 for n in p)

    def enlarged(name):
        return [window for _, _, window in crops(thin(name), size)[:-1]] + [crops(thin(name), size)[-1][0]]

    assert enlarged("fcn32s") == [tuple(32 * n - 160 for n in p)]
    assert enlarged("fcn16s") == [tuple(2 * n - 10 for n in p), tuple(32 * n - 144 for n in p)]
    assert enlarged("fcn8s") == [
        tuple(2 * n - 10 for n in p), tuple(4 * n - 18 for n in p), tuple(32 * n - 136 for n in p),
    ]  # fmt: skip
    for name in ("fcn32s", "fcn16s", "fcn8s"):
        whole, offset, window = crops(thin(name), size)[-1]
        assert window == size
        assert all(a >= b + 2 * offset for a, b in zip(whole, size, strict=True))


# Where windows look


def layers_until(trunk, feature):
    """The layers on the way to a feature that look furthest: of an inception block the 5x5 branch."""
    if feature == "fc7" and hasattr(trunk, "features"):
        return [*trunk.features, *trunk.fc]
    if hasattr(trunk, "features"):
        pools = [i for i, layer in enumerate(trunk.features) if isinstance(layer, nn.MaxPool2d)]
        return list(trunk.features)[: pools[int(feature[-1]) - 1] + 1]
    found = []
    for name, layer in trunk.named_children():
        for part, module in layer.named_modules():
            if not (name.startswith("inception") and part not in ("5x5_reduce", "5x5")):
                found.append(module)
        if name == feature:
            break
    return found


def seen(layers):
    """Side of what a cell behind `layers` sees, its stride, and the pixel on which cell 0 is centred."""
    field, stride, first, before = 1, 1, 0.0, 0
    for layer in layers:
        if isinstance(layer, nn.ZeroPad2d):
            before = layer.padding[0]
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            kernel, step, padding = (
                value if isinstance(value, int) else value[0] for value in (layer.kernel_size, layer.stride, layer.padding)
            )
            first += stride * ((kernel - 1) / 2 - padding - before)
            field, stride, before = field + (kernel - 1) * stride, stride * step, 0
    return field, stride, first


FIELDS = {
    "vgg16": {"pool3": (44, 8), "pool4": (100, 16), "pool5": (212, 32), "fc7": (404, 32)},
    "alexnet": {"pool1": (19, 8), "pool2": (67, 16), "pool5": (195, 32), "fc7": (355, 32)},
    # The paper prints 907: 715 and six strides more, which a 7x7 window behind it would see.
    "googlenet": {"inception_3b": (91, 8), "inception_4e": (427, 16), "inception_5b": (715, 32)},
}


@pytest.mark.parametrize(("backbone", "feature"), [(backbone, feature) for backbone in FIELDS for feature in FIELDS[backbone]])
def test_receptive_fields_and_strides_are_the_papers(backbone, feature):
    trunk = on_meta("fcn8s", backbone=backbone).trunk
    assert seen(layers_until(trunk, feature))[:2] == FIELDS[backbone][feature]
    assert trunk.strides[feature] == FIELDS[backbone][feature][1]


@pytest.mark.parametrize(
    ("backbone", "padding"), [("vgg16", 100), ("vgg16", 1), ("alexnet", 100), ("alexnet", 1), ("googlenet", 1)]
)
def test_places_are_those_of_the_trunks_own_windows(backbone, padding):
    trunk = on_meta("fcn8s", backbone=backbone, padding=padding).trunk
    found = places(backbone, padding)
    assert set(FIELDS[backbone]) <= set(found)
    for feature, place in found.items():
        _, stride, first = seen(layers_until(trunk, feature))
        assert (place.stride, -place.shift * place.stride) == (stride, first)


def test_a_place_by_hand():
    # A 3x3 window at stride 2 without padding looks at pixels 1, 3, 5 ...; with padding 1 at 0, 2, 4 ...
    assert PICTURE.through(3, 2, 0) == Place(2, -0.5)
    assert PICTURE.through(3, 2, 1) == Place(2, 0.0)
    assert PICTURE.through(3, 2, 1).through(2, 2, 0) == Place(4, -0.25)  # between pixels 0 and 2


@pytest.mark.parametrize(
    ("backbone", "feature", "side", "offset"),
    [
        ("vgg16", "fc7", 64, 19),
        ("alexnet", "fc7", 63, 18),
        ("vgg16", "pool5", 64, 115),
        ("vgg16", "pool4", 32, 107),
        ("vgg16", "pool3", 16, 103),
        ("alexnet", "pool5", 63, 98),
    ],
)
def test_one_layer_alone_has_its_own_crop(backbone, feature, side, offset):
    step = Step.between("final", places(backbone, 100)[feature], PICTURE)
    assert (step.side, step.offset) == (side, offset)


def test_a_crop_starts_at_its_offset():
    assert fcn.crop(torch.arange(10.0).expand(1, 1, 10, 10), 3, (2, 4))[0, 0].tolist() == [[3, 4, 5, 6]] * 2


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_on_googlenet_cells_read_where_they_look(name):
    # Cell 0 of the strides 8, 16 and 32 is centred on the pixels 6, 14 and 30.
    network = narrow(name, backbone="googlenet")
    found = network.score_map(pictures((97, 64)))
    assert found.shift * found.stride == -{8: 6, 16: 14, 32: 30}[found.stride]
    logits = network(pictures((97, 64)))["logits"]
    first = -int(found.shift * found.stride)
    ours = logits[..., first :: found.stride, first :: found.stride]
    torch.testing.assert_close(ours, found.scores[..., : ours.shape[-2], : ours.shape[-1]])


# Kernels and first values


@pytest.mark.parametrize(
    ("side", "line"),
    [
        (4, [1 / 4, 3 / 4, 3 / 4, 1 / 4]),
        (16, [(2 * i + 1) / 16 for i in (*range(8), *reversed(range(8)))]),
        (64, [(2 * i + 1) / 64 for i in (*range(32), *reversed(range(32)))]),
        (3, [1 / 2, 1, 1 / 2]),
        (63, [i / 32 for i in (*range(1, 32), *range(32, 0, -1))]),
    ],
)
def test_bilinear_kernel_by_hand(side, line):
    np.testing.assert_allclose(bilinear_kernel(side), np.outer(line, line), rtol=1e-6)


@given(st.integers(1, 64))
def test_bilinear_kernel_by_the_authors_formula(side):
    factor = (side + 1) // 2
    centre = factor - 1 if side % 2 == 1 else factor - 0.5
    i, j = np.ogrid[:side, :side]
    expected = (1 - abs(i - centre) / factor) * (1 - abs(j - centre) / factor)
    np.testing.assert_allclose(bilinear_kernel(side), expected, atol=1e-6)


def test_the_frozen_kernels_interpolate():
    # Away from the map's edge the transposed convolution is bilinear interpolation.
    scores, network = torch.randn(1, CLASSES, 6, 6), narrow("fcn8s")
    expected = F.interpolate(scores, scale_factor=8.0, mode="bilinear")[..., 8:-8, 8:-8]
    torch.testing.assert_close(network._transposed(scores, network.last)[..., 12:-12, 12:-12], expected)
    assert not [name for name, _ in network.named_parameters() if "bilinear" in name]


@pytest.mark.parametrize("backbone", ["vgg16", "alexnet", "googlenet"])
def test_scores_start_at_zero(backbone):
    network = build("fcn8s", CLASSES, backbone=backbone, width=SMALL).eval()
    assert (network(pictures((33, 47)))["logits"] == 0).all()


# The whole network, by the rows of the authors' definitions


def caffe_pool(x, kernel):
    return F.max_pool2d(x, kernel, 2, ceil_mode=True)


def caffe_deconvolution(x, kernel, stride):
    """All classes to all, zero but on the diagonal; not grouped."""
    weight = torch.zeros(x.shape[1], x.shape[1], kernel, kernel)
    factor = (kernel + 1) // 2
    line = 1 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / factor
    for c in range(x.shape[1]):
        weight[c, c] = torch.outer(line, line)
    return F.conv_transpose2d(x, weight, stride=stride)


def vgg16_by_rows(weights, x):
    def convolution(x, name, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding).relu()

    number = 0
    found = {}
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for _ in range(count):
            x = convolution(x, f"trunk.features.{number}", padding=1 if number else 100)
            number += 2
        x = found[f"pool{block}"] = caffe_pool(x, 2)
        number += 1
    found["fc7"] = convolution(convolution(x, "trunk.fc.0"), "trunk.fc.3")
    return found


def alexnet_by_rows(weights, x):
    def convolution(x, name, **how):
        return F.conv2d(x, weights[f"trunk.{name}.weight"], weights[f"trunk.{name}.bias"], **how).relu()

    def norm(x):
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
        around = sum(squares[:, i : i + x.shape[1]] for i in range(5))
        return x / (1 + 1e-4 / 5 * around) ** 0.75

    x = norm(caffe_pool(convolution(x, "conv1", stride=4, padding=100), 3))
    x = norm(caffe_pool(convolution(x, "conv2", padding=2, groups=2), 3))
    x = convolution(x, "conv3", padding=1)
    x = convolution(x, "conv4", padding=1, groups=2)
    x = caffe_pool(convolution(x, "conv5", padding=1, groups=2), 3)
    return {"fc7": convolution(convolution(x, "fc6"), "fc7")}


def by_rows(name, backbone, weights, images):
    """The logits of the authors' network `name` of perpixel's weights, written out from their rows."""
    height, width = images.shape[-2:]
    blobs = (vgg16_by_rows if backbone == "vgg16" else alexnet_by_rows)(
        weights, (images - weights["trunk.mean"]) * weights["trunk.scale"]
    )

    def score(blob, scale=1.0):
        return F.conv2d(blobs[blob] * scale, weights[f"score.{blob}.weight"], weights[f"score.{blob}.bias"])

    score_fr = score("fc7")
    if backbone == "alexnet":
        return caffe_deconvolution(score_fr, 63, 32)[..., 18 : 18 + height, 18 : 18 + width]
    if name == "fcn32s":
        return caffe_deconvolution(score_fr, 64, 32)[..., 19 : 19 + height, 19 : 19 + width]
    upscore2 = caffe_deconvolution(score_fr, 4, 2)
    h, w = upscore2.shape[-2:]
    fuse_pool4 = upscore2 + score("pool4", 0.01 if name == "fcn8s_atonce" else 1.0)[..., 5 : 5 + h, 5 : 5 + w]
    if name == "fcn16s":
        return caffe_deconvolution(fuse_pool4, 32, 16)[..., 27 : 27 + height, 27 : 27 + width]
    upscore_pool4 = caffe_deconvolution(fuse_pool4, 4, 2)
    h, w = upscore_pool4.shape[-2:]
    fuse_pool3 = upscore_pool4 + score("pool3", 0.0001 if name == "fcn8s_atonce" else 1.0)[..., 9 : 9 + h, 9 : 9 + w]
    return caffe_deconvolution(fuse_pool3, 16, 8)[..., 31 : 31 + height, 31 : 31 + width]


@pytest.mark.parametrize("size", [(1, 1), (97, 64), (150, 211)])
@pytest.mark.parametrize(
    ("name", "backbone"),
    [("fcn32s", "vgg16"), ("fcn16s", "vgg16"), ("fcn8s", "vgg16"), ("fcn8s_atonce", "vgg16"), ("fcn32s", "alexnet")],
)
@torch.inference_mode()
def test_it_computes_what_the_authors_rows_say(name, backbone, size):
    network = narrow(name, backbone=backbone)
    if name == "fcn8s_atonce":  # large enough that the scales are seen
        nn.init.normal_(network.score["pool3"].weight, std=1000)
        nn.init.normal_(network.score["pool4"].weight, std=10)
    expected = by_rows(name, backbone, network.state_dict(), pictures(size))
    found = network(pictures(size))["logits"]
    assert found.shape[-2:] == size
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.std() if expected.numel() > 9 else 1))


# Variants


LEARNED = [
    ("fcn8s", {}),
    ("fcn16s", {"padding": 1}),
    ("fcn8s", {"backbone": "alexnet"}),
    ("fcn8s", {"backbone": "alexnet", "padding": 1}),
    ("fcn8s", {"backbone": "googlenet"}),
    ("fcn16s", {"layer": "pool4"}),
    ("fcn16s", {"layer": "pool4", "padding": 1}),
]


@cache
def learned_and_fixed(case):
    name, arguments = LEARNED[case]
    learned, fixed = narrow(name, learned_upsampling="all", **arguments), narrow(name, **arguments)
    assert not learned.load_state_dict(fixed.state_dict(), strict=False).unexpected_keys
    return learned, fixed


@given(case=st.sampled_from(range(len(LEARNED))), height=st.integers(1, 130), width=st.integers(1, 130))
def test_learned_upsampling_starts_as_the_fixed_one(case, height, width):
    learned, fixed = learned_and_fixed(case)
    with torch.inference_mode():
        ours, theirs = (network(pictures((height, width)))["logits"] for network in (learned, fixed))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind", "names"),
    [
        ("fcn8s", "none", []),
        ("fcn8s", "intermediate", ["upsample.fc7.weight", "upsample.pool4.weight"]),
        ("fcn8s", "all", ["upsample.fc7.weight", "upsample.pool4.weight", "upsample.final.weight"]),
        ("fcn16s", "intermediate", ["upsample.fc7.weight"]),
        ("fcn32s", "intermediate", []),
        ("fcn32s", "all", ["upsample.final.weight"]),
    ],
)
def test_what_is_learned(name, kind, names):
    network = on_meta(name, learned_upsampling=kind)
    found = [parameter for parameter, _ in network.named_parameters()]
    assert [parameter for parameter in found if not parameter.startswith(("trunk.", "score."))] == names
    assert all(network.get_parameter(parameter).shape[:2] == (21, 21) for parameter in names)


def test_a_learned_kernel_joins_classes():
    network = narrow("fcn8s", learned_upsampling="all")
    network(pictures((33, 47)))["logits"][:, 0].square().sum().backward()
    gradient = network.upsample["final"].weight.grad
    assert all(gradient[c, 0].abs().max() > 0 for c in range(CLASSES))


@pytest.mark.parametrize(
    ("arguments", "stride"),
    [({}, 8), ({"learned_upsampling": "intermediate"}, 8), ({"learned_upsampling": "all"}, 1), ({"layer": "pool4"}, 16)],
)
def test_the_score_map_is_what_comes_before_the_fixed_interpolation(arguments, stride):
    assert narrow("fcn8s", **arguments).score_map(pictures((33, 47))).stride == stride


def test_the_scales_of_at_once_can_be_folded_into_the_score_layers():
    at_once, plain = narrow("fcn8s_atonce"), narrow("fcn8s")
    state = at_once.state_dict()
    for name, scale in (("pool4", 0.01), ("pool3", 0.0001)):
        assert (state.pop(f"skip_scale.{name}") == scale).all()
        state[f"score.{name}.weight"] = state[f"score.{name}.weight"] * scale
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(pictures((33, 47)))["logits"], at_once(pictures((33, 47)))["logits"])


def test_scales_from_elsewhere_count():
    network = narrow("fcn8s_atonce")
    before = network(pictures((33, 47)))["logits"]
    network.load_state_dict(network.state_dict() | {"skip_scale.pool4": torch.ones_like(network.skip_scale.pool4)})
    assert (network(pictures((33, 47)))["logits"] - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [("vgg16", "pool3"), ("vgg16", "pool4"), ("vgg16", "pool5"), ("alexnet", "pool2"), ("googlenet", "inception_4e")],
)
def test_one_layer_alone_leaves_nothing_that_no_loss_reaches(backbone, layer):
    network = narrow("fcn16s", backbone=backbone, layer=layer)
    assert list(network.score) == [layer]
    loss = sum(network.losses(pictures((64, 64)), Targets(torch.zeros(1, 64, 64, dtype=torch.int64))).values())
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in found)


@pytest.mark.parametrize(
    ("backbone", "features"),
    [
        ("vgg16", ["fc7", "pool4", "pool3"]),
        ("alexnet", ["fc7", "pool2", "pool1"]),
        ("googlenet", ["inception_5b", "inception_4e", "inception_3b"]),
        ("resnet18", ["stride32", "stride16", "stride8"]),
    ],
)
def test_each_finer_network_scores_a_feature_more(backbone, features):
    for count, (name, stride) in enumerate([("fcn32s", 32), ("fcn16s", 16), ("fcn8s", 8)], start=1):
        network = on_meta(name, backbone=backbone)
        assert list(network.score) == features[:count]
        assert [network.trunk.strides[feature] for feature in features[:count]] == [32, 16, 8][:count]
        assert network.score_map(torch.empty(1, 3, 64, 64, device="meta")).stride == stride


# The trunks


def test_alexnet_has_caffes_names_and_shapes():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in AlexNet(padding=100).named_parameters() if value.ndim > 1}
    assert shapes == {
        "conv1.weight": (96, 3, 11, 11),
        "conv2.weight": (256, 48, 5, 5),
        "conv3.weight": (384, 256, 3, 3),
        "conv4.weight": (384, 192, 3, 3),
        "conv5.weight": (256, 192, 3, 3),
        "fc6.weight": (4096, 256, 6, 6),
        "fc7.weight": (4096, 4096, 1, 1),
    }


def test_googlenet_has_caffes_names_and_shapes():
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in GoogLeNet().named_parameters() if value.ndim > 1}
    assert len(shapes) == 57
    assert shapes["conv1.7x7_s2.weight"] == (64, 3, 7, 7)
    assert shapes["conv2.3x3_reduce.weight"] == (64, 64, 1, 1)
    assert shapes["inception_3a.5x5.weight"] == (32, 16, 5, 5)
    assert shapes["inception_5b.pool_proj.weight"] == (128, 832, 1, 1)


def test_features_of_googlenet_have_the_channels_of_table_1():
    assert on_meta("fcn8s", backbone="googlenet").trunk.channels == {
        "inception_3b": 480, "inception_4e": 832, "inception_5b": 1024,
    }  # fmt: skip


@pytest.mark.parametrize(("backbone", "ratios"), [("vgg16", [0.5, 0.5]), ("alexnet", [0.5, 0.5]), ("googlenet", [0.4])])
def test_dropout_is_the_classifiers_or_what_is_asked_for(backbone, ratios):
    def found(**more):
        network = on_meta("fcn32s", backbone=backbone, **more)
        return [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)]

    assert found() == ratios
    assert found(dropout=0.1) == [0.1] * len(ratios)


@pytest.mark.parametrize("trunk", [AlexNet, GoogLeNet])
def test_a_trunk_takes_the_mean_of_ilsvrc(trunk):
    network = trunk(width=SMALL)
    assert (network.mean.flatten() * 255).tolist() == pytest.approx([122.67892, 116.66877, 104.00699])
    assert network.mean.shape == network.scale.shape == (3, 1, 1)
    images = network.mean.expand(1, 3, 64, 64)
    assert all((feature == 0).all() for feature in network.eval()(images).values())  # biases are 0


def test_the_response_norm_divides_alpha_by_its_size():
    # Five channels of 100: the middle one sees five squares of 10,000, those beside it four, the outermost three.
    found = response_norm()(torch.full((1, 5, 1, 1), 100.0)).flatten()
    expected = [100 / (1 + 1e-4 / 5 * n * 1e4) ** 0.75 for n in (3, 4, 5, 4, 3)]
    assert found.tolist() == pytest.approx(expected)


@given(st.integers(2, 300))
def test_pools_round_up(side):
    assert CeilPool()(torch.empty(1, 1, side, side, device="meta")).shape[-1] == ceil((side - 3) / 2) + 1


def test_a_pool_keeps_a_side_of_1():
    line = torch.tensor([[[[1.0, 5, 2, 3, 4]]]])
    assert CeilPool()(line).tolist() == [[[[5, 4]]]]
    assert CeilPool()(line.mT).flatten().tolist() == [5, 4]
    assert CeilPool()(torch.full((1, 1, 1, 1), 7.0)).tolist() == [[[[7]]]]


@cache
def thin_trunk(backbone):
    return on_meta("fcn8s", CLASSES, backbone=backbone, width=SMALL, padding=1).trunk


@given(backbone=st.sampled_from(["alexnet", "googlenet"]), side=SIDES)
def test_ordinary_paddings_leave_out_at_most_a_part_of_a_cell(backbone, side):
    trunk = thin_trunk(backbone)
    for feature, blob in trunk(torch.empty(1, 3, side, side, device="meta")).items():
        stride = trunk.strides[feature]
        assert max(1, side // stride) <= blob.shape[-1] <= ceil(side / stride)


@pytest.mark.parametrize(
    ("arguments", "weights"),
    [
        ({"backbone": "alexnet"}, None),
        ({"backbone": "googlenet"}, None),
        ({}, "imagenet"),
        ({"backbone": "resnet18"}, "imagenet"),
        ({"width": 0.25}, None),
        ({"starts_from": "models/vgg16"}, None),
    ],
)
def test_auto_starts_from_imagenet_where_there_are_such_weights(monkeypatch, arguments, weights):
    given, network = {}, on_meta("fcn32s", width=SMALL)
    monkeypatch.setattr(networks, "build", lambda _name, _classes, **arguments: given.update(arguments) or network)
    network_of(Recipe(network="fcn32s", **arguments), ClassTable.of(["a", "b"]))
    assert given.get("weights") == weights
