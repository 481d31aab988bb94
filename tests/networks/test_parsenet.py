"""ParseNet: the released network layer by layer, its normalisation and global context, and the variants of the paper."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from perpixel.backbones import VGG16
from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build
from perpixel.networks.fcn import bilinear_kernel
from perpixel.networks.parsenet import Normalize, ParseNet, score_layer
from perpixel.sample import Targets
from perpixel.training.recipe import Recipe

CLASSES = 5
ALL = ("pool6", "fc7", "conv5", "conv4", "conv3")


def on_meta(classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("parsenet", classes, **arguments).eval()


def small(seed=0, width=0.05, **arguments):
    """A narrow network in evaluation mode whose biases and scales are random too."""
    torch.manual_seed(seed)
    network = build("parsenet", CLASSES, width=width, **arguments).eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("bias", "scale")):
            nn.init.normal_(parameter, 1.0, 0.1)
    return network


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def seen_by(layer):
    """The inputs of `layer` in the passes from now on."""
    found = []
    layer.register_forward_hook(lambda _layer, inputs, _output: found.append(inputs[0].detach()))
    return found


# The released network


@pytest.mark.parametrize(
    ("classes", "arguments", "count"),
    [
        (21, {}, 20_534_399),
        (60, {}, 20_624_372),
        (33, {}, 20_562_083),
        (21, {"backbone": "vgg16"}, 134_526_847),
        (60, {"backbone": "vgg16"}, 135_006_196),
        (33, {"backbone": "vgg16"}, 134_674_339),
    ],
)
def test_the_number_of_parameters(classes, arguments, count):
    assert parameters(on_meta(classes, **arguments)) == count


def test_the_parts_of_the_count():
    network = on_meta()
    assert parameters(network.trunk) + parameters(network.score) == 20_526_954
    assert parameters(network.normalize) == 2_048
    assert parameters(network.upscore) == 21 * 16 * 16 + 21 == 5_397


def test_what_global_context_costs():
    # A scale for each of 1024 channels and a classifier of 1024 * 21 + 21 weights.
    assert parameters(on_meta()) - parameters(on_meta(features=("fc7",))) == 1_024 + 21_525


def test_early_fusion_has_one_bias_for_each_class_less():
    assert parameters(on_meta()) - parameters(on_meta(fusion="early")) == 21


def test_the_names_of_the_head_which_imported_weights_rely_on():
    names = [name for name in build("parsenet", CLASSES, width=0.05).state_dict() if not name.startswith("trunk.")]
    assert sorted(names) == [
        "normalize.fc7.scale", "normalize.pool6.scale", "score.fc7.bias", "score.fc7.weight", "score.pool6.bias",
        "score.pool6.weight", "upscore.bias", "upscore.weight",
    ]  # fmt: skip


BLOBS = ("pool1", "pool2", "pool3", "conv4", "pool4", "conv5", "pool5", "fc7")


@pytest.mark.parametrize(
    ("backbone", "side", "sides", "upscore"),
    [
        ("vgg16_reduced", 500, (250, 125, 63, 63, 63, 63, 63, 63), 504),
        ("vgg16_reduced", 224, (112, 56, 28, 28, 28, 28, 28, 28), 224),
        ("vgg16_reduced", 512, (256, 128, 64, 64, 64, 64, 64, 64), 512),
        ("vgg16", 500, (250, 125, 63, 63, 32, 32, 16, 16), 512),
    ],
)
def test_the_sides_of_the_maps(backbone, side, sides, upscore):
    network, enlarged = on_meta(backbone=backbone), []
    images = torch.empty(1, 3, side, side, device="meta")
    found = network.trunk(images)
    assert tuple(found[blob].shape[-1] for blob in BLOBS) == sides
    network.upscore.register_forward_hook(lambda _layer, _inputs, output: enlarged.append(tuple(output.shape)))
    assert network(images)["logits"].shape == (1, 21, side, side)
    assert enlarged == [(1, 21, upscore, upscore)]


def receptive_field(layers):
    """(pixels that one cell sees, its stride) after `layers`, of which convolutions and pools count."""
    field = stride = 1
    for layer in layers:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            kernel, step, dilation = (
                v if isinstance(v, int) else v[0] for v in (layer.kernel_size, layer.stride, layer.dilation)
            )
            field += (kernel - 1) * dilation * stride
            stride *= step
    return field, stride


def test_receptive_fields():
    trunk = on_meta().trunk
    last = {"conv4": 22, "pool5": 30}  # torchvision's positions of the ReLU of conv4_3 and of pool5
    assert receptive_field(trunk.features[: last["conv4"] + 1]) == (92, 8)
    assert receptive_field(trunk.features[: last["pool5"] + 1]) == (220, 8)
    assert receptive_field([*trunk.features, *trunk.fc]) == (412, 8)
    plain = on_meta(backbone="vgg16").trunk
    assert receptive_field([*plain.features, *plain.fc]) == (404, 32)
    for each in (trunk, plain):
        assert each.strides["fc7"] == receptive_field([*each.features, *each.fc])[1]


def as_in_the_table(state, images):
    """The released network, layer by layer as its definition lists them, on the weights of `state`."""
    x = (images - state["trunk.mean"]) * state["trunk.scale"]
    for block, layers in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)), start=1):
        for layer in layers:
            weight, bias = state[f"trunk.features.{layer}.weight"], state[f"trunk.features.{layer}.bias"]
            x = F.conv2d(x, weight, bias, padding=2, dilation=2) if block == 5 else F.conv2d(x, weight, bias, padding=1)
            x = x.relu()
        x = F.max_pool2d(x, 2, 2, ceil_mode=True) if block <= 3 else F.max_pool2d(x, 3, 1, 1)
    x = F.conv2d(x, state["trunk.fc.0.weight"], state["trunk.fc.0.bias"], padding=12, dilation=12).relu()
    fc7 = F.conv2d(x, state["trunk.fc.3.weight"], state["trunk.fc.3.bias"]).relu()
    score = 0
    for name, feature in (("fc7", fc7), ("pool6", F.adaptive_avg_pool2d(fc7, 1))):
        feature = F.normalize(feature, dim=1) * state[f"normalize.{name}.scale"].view(1, -1, 1, 1)
        score = score + F.conv2d(feature, state[f"score.{name}.weight"], state[f"score.{name}.bias"])
    weight, bias = state["upscore.weight"], state["upscore.bias"]
    score = F.conv_transpose2d(score, weight, bias, stride=8, padding=4, groups=CLASSES)
    return score[..., : images.shape[-2], : images.shape[-1]]


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (97, 150), (1, 9)])
@torch.inference_mode()
def test_it_computes_what_the_released_definition_lists(size):
    network, images = small(), pictures(size, count=2)
    nn.init.normal_(network.upscore.weight)
    found = network(images)["logits"]
    torch.testing.assert_close(found, as_in_the_table(network.state_dict(), images), rtol=1e-4, atol=1e-4)
    assert found.std() > 0.1


def test_pool6_is_taken_from_fc7_after_its_dropout():
    network = small().train()
    fc7, pool6 = seen_by(network.normalize["fc7"]), seen_by(network.normalize["pool6"])
    network(pictures((64, 64), count=2))
    assert (fc7[0] == 0).all((0, 2, 3)).sum() < fc7[0].shape[1]  # something is there
    torch.testing.assert_close(pool6[0], fc7[0].mean((2, 3), keepdim=True))


def test_three_tenths_of_the_normalised_pool6_are_dropped_in_training():
    network = small(width=0.5).train()
    pool6, scored = seen_by(network.normalize["pool6"]), seen_by(network.score["pool6"])
    network(pictures((33, 47), count=8))
    normalised = network.normalize["pool6"](pool6[0]).detach()
    there = normalised > 0
    kept = scored[0][there] != 0
    assert there.sum() > 1000
    assert kept.float().mean() == pytest.approx(0.7, abs=0.05)
    torch.testing.assert_close(scored[0][there][kept], normalised[there][kept] / 0.7)


# Initialisation


def test_classifiers_start_as_caffes_xavier_and_0():
    layer = score_layer(1024, 21)
    bound = (3 / 1024) ** 0.5  # uniform with the variance 1 / inputs
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.detach().std() == pytest.approx(1 / 32, rel=0.03)
    assert (layer.bias == 0).all()


def filler(side):
    """Caffe's bilinear filler: f = ceil(k / 2), c = (2 f - 1 - f % 2) / (2 f), w = (1 - |x / f - c|) (1 - |y / f - c|)."""
    f = -(-side // 2)
    line = 1 - np.abs(np.arange(side) / f - (2 * f - 1 - f % 2) / (2 * f))
    return np.outer(line, line)


@pytest.mark.parametrize(
    ("features", "side"),
    [(("pool6", "fc7"), 64), (("pool6", "conv5"), 32), (("fc7", "conv4"), 16), (ALL, 8)],
)
def test_upsampling_starts_as_caffes_filler_which_is_fcns_kernel(features, side):
    network = build("parsenet", CLASSES, backbone="vgg16", width=0.02, features=features)
    assert network.upscore.weight.shape == (CLASSES, 1, side, side)
    for kernel in network.upscore.weight[:, 0].detach():
        np.testing.assert_allclose(kernel, filler(side), rtol=1e-5)
        assert torch.equal(kernel, bilinear_kernel(side))
    assert (network.upscore.bias == 0).all()


def test_upsampling_starts_as_interpolation():
    # Away from the edge of the map: outside of it the transposed convolution sees zeros.
    scores, network = torch.randn(1, CLASSES, 6, 7), build("parsenet", CLASSES, width=0.02)
    assert network.upscore.weight.shape[-1] == 16
    expected = F.interpolate(scores, scale_factor=8.0, mode="bilinear")
    torch.testing.assert_close(network.upscore(scores)[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_upsampling_is_learned():
    network = small()
    sum(network.losses(pictures((16, 16)), Targets(torch.zeros(1, 16, 16, dtype=torch.int64))).values()).backward()
    for parameter in (network.upscore.weight, network.upscore.bias, network.normalize["pool6"].scale):
        assert (parameter.grad != 0).any()


@pytest.mark.parametrize("axis", [0, 1])
def test_imagenet_weights_are_thinned_out_as_by_the_authors(monkeypatch, axis):
    """Each weight tells its place on one axis; fc6 keeps the channels 0, 4, 8 ... and the taps 0, 3, 6, fc7 the same channels."""
    from torchvision.models import VGG16_Weights

    state = {name: torch.zeros_like(value) for name, value in VGG16(classifier=False).state_dict().items()}
    for layer, inputs in ((0, 512 * 7 * 7), (3, 4096)):
        place = torch.arange(4096.0)[:, None] if axis == 0 else torch.arange(float(inputs))[None]
        state[f"classifier.{layer}.weight"] = place.expand(4096, inputs)
        state[f"classifier.{layer}.bias"] = torch.arange(4096.0)
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda *_arguments, **_options: state)
    fc = VGG16(weights="imagenet", reduced=True).fc
    kept = torch.arange(0.0, 4096, 4)
    fc6, fc7 = fc[0].weight, fc[3].weight[..., 0, 0]
    if axis == 0:
        assert (fc6 == kept.view(-1, 1, 1, 1)).all()
        assert (fc7 == kept[:, None]).all()
    else:
        assert fc6[5, 2].tolist() == [[2 * 49 + 7 * y + x for x in (0, 3, 6)] for y in (0, 3, 6)]
        assert (fc7 == kept).all()
    assert torch.equal(fc[0].bias, kept)
    assert torch.equal(fc[3].bias, kept)


# Normalize


def test_normalize_by_hand():
    layer = Normalize(2)
    assert layer.scale.tolist() == [10, 10]
    layer.scale.data = torch.tensor([10.0, 20.0])
    assert layer(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)).flatten().tolist() == pytest.approx([6, 16])


def test_epsilon_stands_inside_the_root():
    assert Normalize(1, scale=1.0)(torch.full((1, 1, 1, 1), 1e-5)).item() == pytest.approx(0.5**0.5)
    assert (Normalize(4)(torch.zeros(1, 4, 2, 2)) == 0).all()


def test_half_precision_does_not_overflow():
    # 1024 squares of 100 are 10 million; float16 ends at 65,504.
    assert (Normalize(1024)(torch.full((1, 1024, 1, 1), 100.0, dtype=torch.float16)) == 10 / 32).all()


features_of_any_size = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.floats(1e-2, 1e4)
)


def drawn(seed, channels, height, width, magnitude):
    """Features of the magnitudes of fc7 (about 1) to conv3 (thousands)."""
    random = np.random.default_rng(seed)
    return magnitude * random.normal(size=(2, channels, height, width)), random.normal(10, 3, channels)


@given(drawing=features_of_any_size)
def test_normalize_is_numpys_and_torchs(drawing):
    x, scale = drawn(*drawing)
    layer = Normalize(len(scale))
    layer.scale.data = torch.from_numpy(scale).float()
    found = layer(torch.from_numpy(x).float()).detach()
    np.testing.assert_allclose(
        found, scale[:, None, None] * x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-10), rtol=1e-4, atol=1e-5
    )
    theirs = F.normalize(torch.from_numpy(x), dim=1).float() * layer.scale.detach().view(1, -1, 1, 1)
    if np.linalg.norm(x, axis=1).min() > 1e-2:  # far above epsilon
        torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-5)


@given(drawing=features_of_any_size, scale=st.floats(0.1, 100))
def test_every_vector_gets_the_norm_that_the_scale_says(drawing, scale):
    x, _ = drawn(*drawing)
    x = x[:, :, (np.linalg.norm(x, axis=1) > 1e-2).all((0, 2))]
    found = Normalize(x.shape[1], scale)(torch.from_numpy(x).float())
    torch.testing.assert_close(found.norm(dim=1), torch.full(found[:, 0].shape, scale), rtol=1e-4, atol=0)


def test_a_fixed_scale_is_not_learned_and_none_is_the_feature_itself():
    learned, fixed, none = (small(normalize=normalize) for normalize in ("learned", "fixed", "none"))
    assert parameters(learned) - parameters(fixed) == 2 * 51  # round(1024 * 0.05) channels
    assert parameters(fixed) == parameters(none)
    assert fixed.state_dict()["normalize.fc7.scale"].tolist() == [10] * 51
    scored, found = seen_by(none.score["fc7"]), seen_by(none.normalize["fc7"])
    none(pictures((16, 16)))
    assert torch.equal(scored[0], found[0])


@pytest.mark.parametrize("normalize", ["learned", "fixed"])
def test_norm_scale_is_where_every_scale_starts(normalize):
    network = build("parsenet", CLASSES, width=0.05, norm_scale=20.0, normalize=normalize, features=ALL)
    assert {value for layer in network.normalize.values() for value in layer.scale.tolist()} == {20}


# Global context and fusion


@pytest.mark.parametrize(("features", "everywhere"), [(("fc7",), False), (("pool6", "fc7"), True)])
@torch.inference_mode()
def test_only_global_context_sees_beyond_the_receptive_field(features, everywhere):
    # The far side of a picture of 480 columns is outside of 412 / 2 pixels, and outside of the next cell's.
    network, images = small(features=features), pictures((16, 480))
    before = network(images)["logits"]
    images[..., -16:] = 1
    changed = (network(images)["logits"] != before).any(1)[0]
    assert changed[:, -16:].all()
    assert changed[:, :240].all() if everywhere else not changed[:, :240].any()


@torch.inference_mode()
def test_the_score_of_pool6_is_repeated_at_every_cell():
    network, images = small(), pictures((33, 47), count=2)
    scores = seen_by(network.upscore)
    nn.init.zeros_(network.score["fc7"].weight)
    network(images)
    assert scores[0].shape == (2, CLASSES, 5, 6)
    assert torch.equal(scores[0], scores[0][..., :1, :1].expand(-1, -1, 5, 6))
    assert not torch.equal(scores[0][0], scores[0][1])


@torch.inference_mode()
def test_context_that_is_equal_everywhere_changes_all_pixels():
    network, images = small(), pictures((32, 40))
    before = network(images)["logits"]
    network.score["pool6"].bias += torch.arange(float(CLASSES))
    difference = network(images)["logits"] - before
    assert (difference[:, 1:] > 0).all()
    for number in range(CLASSES):  # towards the edges the upsampling fades
        torch.testing.assert_close(difference[:, number, 4:-4, 4:-4], torch.full((1, 24, 32), float(number)), rtol=0, atol=1e-4)


subsets = st.sets(st.sampled_from(ALL)).filter(lambda names: names & {"pool6", "fc7"}).map(sorted)


@given(
    seed=st.integers(0, 2**31),
    backbone=st.sampled_from(["vgg16", "vgg16_reduced"]),
    features=subsets,
    normalize=st.sampled_from(["learned", "fixed", "none"]),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
@torch.inference_mode()
def test_early_fusion_is_late_fusion_with_its_weights_side_by_side(seed, backbone, features, normalize, size):
    arguments = {"backbone": backbone, "features": features, "normalize": normalize, "width": 0.03}
    late, early = small(seed, **arguments), small(seed + 1, **arguments, fusion="early")
    state = {name: value for name, value in late.state_dict().items() if not name.startswith("score.")}
    state["score.early.weight"] = torch.cat([late.score[name].weight for name in features], 1)
    state["score.early.bias"] = sum(late.score[name].bias for name in features)
    early.load_state_dict(state)
    images = pictures(size, seed=seed)
    expected, found = late(images)["logits"], early(images)["logits"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("backbone", "strides"),
    [
        ("vgg16_reduced", {"pool6": 8, "fc7": 8, "conv5": 8, "conv4": 8, "conv3": 4}),
        ("vgg16", {"pool6": 32, "fc7": 32, "conv5": 16, "conv4": 8, "conv3": 4}),
        ("resnet18", {"pool6": 32, "fc7": 32, "conv5": 16, "conv4": 8, "conv3": 4}),
    ],
)
def test_the_finest_feature_sets_the_stride_of_the_upsampling(backbone, strides):
    assert on_meta(backbone=backbone, features=ALL).strides == strides
    for finer in ("conv5", "conv4", "conv3"):
        upscore = on_meta(backbone=backbone, features=("pool6", "fc7", finer)).upscore
        assert (upscore.stride[0], upscore.kernel_size[0]) == (strides[finer], 2 * strides[finer])


@pytest.mark.parametrize("size", [(1, 1), (33, 47)])
@torch.inference_mode()
def test_pool6_alone_says_the_same_of_every_cell(size):
    network = small(features=("pool6",))
    scores = seen_by(network.upscore)
    assert network(pictures(size))["logits"].shape == (1, CLASSES, *size)
    assert (scores[0] == scores[0][..., :1, :1]).all()


# Arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"features": ("pool6", "fc8")}, "no feature 'fc8'; did you mean 'fc7'"),
        ({"fusion": "eary"}, "no fusion 'eary'; did you mean 'early'"),
        ({"normalize": "learn"}, "no normalize 'learn'; did you mean 'learned'"),
        ({"backbone": "vgg16_reducd"}, "no backbone 'vgg16_reducd'; did you mean 'vgg16"),
    ],
)
def test_an_unknown_word_suggests_the_nearest(arguments, says):
    with pytest.raises(UnknownName, match=says):
        on_meta(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"features": ()}, r"features=\[\]: give pool6, fc7 or both"),
        ({"features": ("conv5", "conv4")}, "give pool6, fc7 or both"),
        ({"features": ("fc7", "fc7")}, "each once"),
        ({"normalize": "none", "norm_scale": 20.0}, "norm_scale=20.0 .* does not go with normalize='none'"),
        ({"features": ("fc7",), "dropout": 0.5}, "dropout=0.5 is that of pool6"),
        ({"backbone": "resnet18", "width": 0.5}, "width 0.5 is for our own trunks"),
        ({"backbone": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224 has no features of stride32"),
        ({"width": 0.05, "weights": "imagenet"}, "no ImageNet weights for VGG-16 at width 0.05"),
    ],
)
def test_an_argument_that_does_not_fit(arguments, says):
    with pytest.raises(UsageError, match=says):
        on_meta(**arguments)


def test_a_recipe_hands_the_arguments_over():
    recipe = Recipe(network="parsenet", width=0.05, features=("fc7",), fusion="early", normalize="fixed", norm_scale=20.0)
    network = build("parsenet", CLASSES, **recipe.network_arguments())
    assert isinstance(network, ParseNet)
    assert (network.features, network.fusion) == (("fc7",), "early")
    assert network.normalize["fc7"].scale.tolist() == [20] * 51
    assert not network.normalize["fc7"].scale.requires_grad
