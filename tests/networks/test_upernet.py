"""UPerNet: its parameters part by part, its pooling, and its scores by an independent walk through the weights."""

import pytest
import torch
from torch.nn import functional as F

from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build

CLASSES = 5
RESNET = (256, 512, 1024, 2048)


def on_meta(classes=150, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("upernet", classes, **arguments).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def convolution(inputs, kernel):
    """Parameters of a convolution to 512 channels without bias, and of its normalisation."""
    return inputs * 512 * kernel**2 + 2 * 512


@pytest.mark.parametrize(("backbone", "trunk"), [("resnet50", 23_508_032), ("resnet101", 42_500_160)])
def test_the_number_of_parameters(backbone, trunk):
    pooling = 4 * convolution(2048, 1) + convolution(2048 + 4 * 512, 3)
    pyramid = sum(convolution(depth, 1) for depth in RESNET[:-1]) + 3 * convolution(512, 3)
    expected = trunk + pooling + pyramid + convolution(4 * 512, 3) + 150 * 512 + 150
    assert parameters(on_meta(backbone=backbone)) == expected
    assert backbone != "resnet50" or expected == 64_098_518


def walked(network, images):
    """The logits, written down from figure 4 of the paper and the authors' layers."""

    def block(x, layers):
        layer, norm, _ = layers
        x = F.conv2d(x, layer.weight, padding=layer.kernel_size[0] // 2)
        return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias))

    def resized(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=False)

    features = network.trunk(images)
    c2, c3, c4, c5 = (features[level] for level in network.levels)
    pooled = [resized(block(F.adaptive_avg_pool2d(c5, bins), layers), c5.shape[-2:])
              for bins, layers in zip((1, 2, 3, 6), network.pooled, strict=True)]  # fmt: skip
    m5 = block(torch.cat([c5, *pooled], 1), network.context)
    m4 = block(c4, network.laterals[2]) + resized(m5, c4.shape[-2:])
    m3 = block(c3, network.laterals[1]) + resized(m4, c3.shape[-2:])
    m2 = block(c2, network.laterals[0]) + resized(m3, c2.shape[-2:])
    p2, p3, p4 = (block(m, layers) for m, layers in zip((m2, m3, m4), network.smooth, strict=True))
    x = block(torch.cat([p2, *(resized(p, c2.shape[-2:]) for p in (p3, p4, m5))], 1), network.fuse)
    return resized(F.conv2d(x, network.score.weight, network.score.bias), images.shape[-2:])


@pytest.mark.parametrize("arguments", [{"width": 0.05}, {"backbone": "resnet18"}])
@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
@torch.inference_mode()
def test_it_computes_what_the_paper_draws(arguments, size):
    torch.manual_seed(0)
    network, images = build("upernet", CLASSES, **arguments).eval(), pictures(size, count=2)
    found = network(images)["logits"]
    torch.testing.assert_close(found, walked(network, images), rtol=1e-3, atol=1e-3)
    assert found.std() > 0.01


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"backbone": "resnet-50"}, UnknownName, "no backbone 'resnet-50'; did you mean 'resnet50'"),
        ({"backbone": "resnet18", "width": 0.5}, UsageError, "width 0.5 is for our own trunks"),
        ({"backbone": "vit_tiny_patch16_224"}, UsageError, "has no features of stride 4, stride 8, stride 32"),
    ],
)
def test_an_argument_that_does_not_fit(arguments, error, says):
    with pytest.raises(error, match=says):
        on_meta(**arguments)
