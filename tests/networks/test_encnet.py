"""EncNet: its parameters, the encoding layer against a loop, the SE-loss by hand, and the code's and the paper's variants."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from perpixel.errors import UnknownName, UsageError
from perpixel.networks import build
from perpixel.networks.encnet import ContextEncoding, Encoding, presence_loss
from perpixel.sample import Targets

CLASSES, VOID = 5, 255


def on_meta(classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("encnet", classes, **arguments).eval()


def small(seed=0, backbone="resnet50", width=0.05, **arguments):
    torch.manual_seed(seed)
    return build("encnet", CLASSES, backbone=backbone, width=width, **arguments).eval()


def parameters(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def outputs_of(layer):
    """What `layer` takes and gives from now on."""
    found = []
    layer.register_forward_hook(lambda _layer, inputs, output: found.append((inputs[0], output)))
    return found


# The published network


@pytest.mark.parametrize(
    ("backbone", "classes", "lateral", "head", "at_inference", "in_training"),
    [
        ("resnet50", 59, True, 17_908_438, 41_540_246, 43_915_217),
        ("resnet101", 59, True, 17_908_438, 60_532_374, 62_907_345),
        ("resnet50", 150, False, 10_134_412, 33_766_220, 36_164_578),
        ("resnet101", 150, False, 10_134_412, 52_758_348, 55_156_706),
        ("resnet101", 21, True, 17_869_450, 60_493_386, 62_858_591),
    ],
)
def test_the_number_of_parameters(backbone, classes, lateral, head, at_inference, in_training):
    whole, alone = (on_meta(classes, backbone=backbone, lateral=lateral, auxiliary=weight) for weight in (0.2, 0.0))
    assert parameters(alone) - parameters(alone.trunk) == head
    assert (parameters(alone), parameters(whole)) == (at_inference, in_training)


def test_the_context_module_alone_has_572_571_parameters_with_59_classes():
    network = on_meta(59)
    assert parameters(network.context, network.gate, network.presence) == 572_571


def test_the_laterals_are_of_512_and_1024_channels():
    network = on_meta()
    assert {name: tuple(layer[0].weight.shape) for name, layer in network.lateral.items()} == {
        "res3": (512, 512, 1, 1), "res4": (512, 1024, 1, 1),
    }  # fmt: skip
    assert network.fuse[0].weight.shape == (512, 1536, 3, 3)
    assert not on_meta(lateral=False).lateral


def test_the_first_block_of_a_dilated_stage_has_half_of_its_dilation():
    trunk = on_meta(backbone="resnet50").trunk
    assert [[block.conv2.dilation[0] for block in stage] for stage in (trunk.layer3, trunk.layer4)] == [[1] + [2] * 5, [2, 4, 4]]
    assert trunk.strides["res5"] == 8


def test_centres_and_scales_begin_as_the_authors():
    torch.manual_seed(0)
    layer = Encoding(512, 32)
    bound = (32 * 512) ** -0.5
    assert 0.99 * bound < layer.codewords.abs().max() <= bound
    assert layer.codewords.detach().std().item() == pytest.approx(bound / 3**0.5, rel=0.03)  # uniform
    assert -1 < layer.scale.min() < layer.scale.max() < 0


# The encoding layer


def by_loop(features, codewords, scale):
    """Codes (B, K, D) as section 3.1 writes them, one residual after the other."""
    codes = torch.zeros(len(features), *codewords.shape, dtype=features.dtype)
    for picture, cells in enumerate(features.flatten(2).transpose(1, 2)):
        for x in cells:
            residuals = [x - centre for centre in codewords]
            weights = [exp(float(s * (r * r).sum())) for s, r in zip(scale, residuals, strict=True)]
            for k, residual in enumerate(residuals):
                codes[picture, k] += weights[k] / sum(weights) * residual
    return codes


def drawn(depth, codewords, seed=0):
    torch.manual_seed(seed)
    layer = Encoding(depth, codewords).double()
    nn.init.normal_(layer.codewords)
    return layer


@given(*(st.integers(1, most) for most in (2, 7, 5, 3, 4)), st.integers(0, 2**32 - 1), st.floats(0.01, 3))
def test_the_encoding_layer_is_a_loop_in_double_precision(batch, depth, codewords, height, width, seed, magnitude):
    layer = drawn(depth, codewords, seed)
    x = magnitude * torch.randn(batch, depth, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = by_loop(x, layer.codewords, layer.scale)
        torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_gradients_of_the_encoding_layer_are_those_of_its_formula():
    layer = drawn(3, 4)
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)

    def codes(x, codewords, scale):
        return torch.func.functional_call(layer, {"codewords": codewords, "scale": scale}, (x,))

    assert torch.autograd.gradcheck(codes, (x, layer.codewords, layer.scale))


def test_codes_by_hand():
    layer = Encoding(1, 2).double()
    layer.codewords.data, layer.scale.data = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([-log(2), -log(2)]).double()
    # x = 0: squares 0 and 1, weights 1 and 1/2, shares 2/3 and 1/3. x = 1: the other way round.
    codes = layer(torch.tensor([0.0, 1.0]).double().view(1, 1, 1, 2))
    assert codes.flatten().tolist() == pytest.approx([1 / 3 * 1, 1 / 3 * -1])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_nearest_centre_has_the_largest_share(depth, codewords, seed):
    layer = drawn(depth, codewords, seed)
    layer.scale.data.fill_(float(layer.scale[0].detach()))  # as they begin: below 0
    x = torch.randn(1, 20, depth, dtype=torch.float64)
    shares = layer.shares(x)
    torch.testing.assert_close(shares.sum(2), torch.ones(1, 20, dtype=torch.float64))
    assert torch.equal(shares.argmax(2)[0], torch.cdist(x[0], layer.codewords).argmin(1))


def test_codes_do_not_depend_on_the_order_of_the_cells():
    layer, x = drawn(4, 3), torch.randn(1, 4, 3, 5, dtype=torch.float64)
    mixed = x.flatten(2)[..., torch.randperm(15)].view_as(x)
    torch.testing.assert_close(layer(x), layer(mixed))


def test_no_tensor_holds_every_residual():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, call, types, arguments=(), keywords=None):
            result = call(*arguments, **(keywords or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    self.numel = max(self.numel, tensor.numel())
            return result

    layer, x = Encoding(32, 16), torch.randn(1, 32, 12, 12, requires_grad=True)
    with Largest() as largest:
        layer(x).sum().backward()
    assert largest.numel == x.numel() < 12 * 12 * 16 * 32


def test_half_precision_around_it_does_not_reach_the_encoding_layer():
    layer, x = Encoding(64, 8), 10 * torch.randn(1, 64, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert torch.equal(found, layer(x))
    assert layer(x.half()).dtype == torch.float32


# The SE-loss


def test_the_se_loss_by_hand():
    scores = torch.tensor([[0.0, log(3), 0.0]])  # probabilities 1/2, 3/4, 1/2
    labels = torch.tensor([[[0, 0], [1, VOID]]])
    # classes 0 and 1 are there, 2 is not: -ln(1/2), -ln(3/4), -ln(1/2)
    assert presence_loss(scores, labels).item() == pytest.approx((2 * log(2) + log(4 / 3)) / 3)


def test_a_class_counts_the_same_at_any_size():
    scores, labels = torch.randn(1, 4), torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 0, 0] = 3
    half = labels.clone()
    half[:, :4] = 3
    assert presence_loss(scores, labels) == presence_loss(scores, half)


@pytest.mark.parametrize("void", [255, 65535])
def test_void_is_no_class_and_a_void_picture_counts_nowhere(void):
    scores = torch.randn(3, 4, requires_grad=True)
    labels = torch.randint(4, (3, 5, 5))
    labels[1] = void
    loss = presence_loss(scores, labels)
    torch.testing.assert_close(loss, presence_loss(scores[[0, 2]], labels[[0, 2]]))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert (gradient[1] == 0).all()
    assert (gradient[[0, 2]] != 0).all()
    assert presence_loss(scores, torch.full_like(labels, void)).item() == 0


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_se_loss_is_a_loop_over_pictures_and_classes(count, classes, seed):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, classes, dtype=torch.float64, generator=random)
    labels = torch.randint(classes + 1, (count, 2, 3), generator=random)
    labels[labels == classes] = VOID
    terms = []
    for one, picture in zip(scores.tolist(), labels.tolist(), strict=True):
        present = {label for row in picture for label in row} - {VOID}
        if present:
            signs = [1 if name in present else -1 for name in range(classes)]
            terms.append(sum(log(1 + exp(-sign * score)) for sign, score in zip(signs, one, strict=True)) / classes)
    assert presence_loss(scores, labels).item() == pytest.approx(sum(terms) / max(1, len(terms)), rel=1e-5)


# Variants


def test_the_code_adds_the_gated_map_and_the_paper_replaces_it():
    for variant in ("code", "paper"):
        network = small(variant=variant)
        before, gate, after = (outputs_of(layer) for layer in (network.fuse, network.gate, network.dropout))
        network(pictures((33, 33), count=2))
        x, gated = before[0][1], before[0][1] * gate[0][1].sigmoid()[..., None, None]
        torch.testing.assert_close(after[0][0], gated if variant == "paper" else F.relu(x + gated))
        assert x.std() > 0


def test_the_code_takes_the_mean_of_the_codes_and_the_paper_their_sum():
    torch.manual_seed(0)
    mean, summed = ContextEncoding(6, 6, 8).eval(), ContextEncoding(6, 6, 8, summed=True).eval()
    summed.load_state_dict(mean.state_dict())
    x = torch.rand(2, 6, 5, 5)
    torch.testing.assert_close(summed(x), 8 * mean(x))
    with torch.no_grad():
        codes = mean.encoding(mean.project(x))
        norm = mean.norm  # over each of the 8 codes, one statistic for all of its values
        expected = (codes / (1 + norm.eps) ** 0.5).relu().mean(1)
    assert norm.num_features == 8
    torch.testing.assert_close(mean(x), expected)
    assert [small(variant=variant).context.summed for variant in ("code", "paper")] == [False, True]


def trained_once(network, void=False):
    labels = torch.randint(CLASSES, (2, 33, 47), generator=torch.Generator().manual_seed(0))
    labels[:, :9] = VOID
    labels = torch.full_like(labels, VOID) if void else labels
    return network.train().losses(pictures((33, 47), count=2), Targets(labels)), labels


def test_the_losses_of_the_code():
    network = small(dropout=0.0)
    presence, auxiliary = outputs_of(network.presence), outputs_of(network.auxiliary)
    losses, labels = trained_once(network)
    assert list(losses) == ["cross_entropy", "se", "auxiliary_cross_entropy"]
    torch.testing.assert_close(losses["se"], 0.2 * presence_loss(presence[0][1], labels))
    assert auxiliary[0][0].shape[1] == network.trunk.channels["res4"]
    scores = F.interpolate(auxiliary[0][1], (33, 47), mode="bilinear", align_corners=True)
    torch.testing.assert_close(losses["auxiliary_cross_entropy"], 0.2 * F.cross_entropy(scores, labels, ignore_index=VOID))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_losses_of_the_paper_are_one_over_pixels_and_two_of_classes():
    network = small(variant="paper")
    inputs, auxiliary = outputs_of(network.auxiliary[0]), outputs_of(network.auxiliary)
    losses, labels = trained_once(network)
    assert list(losses) == ["cross_entropy", "se", "auxiliary_se"]
    assert inputs[0][0].shape[1] == network.trunk.channels["res4"]
    torch.testing.assert_close(losses["auxiliary_se"], 0.2 * presence_loss(auxiliary[0][1], labels))
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("arguments", "names"), [
    ({"se_loss": 0.0}, ["cross_entropy", "auxiliary_cross_entropy"]),
    ({"auxiliary": 0.0}, ["cross_entropy", "se"]),
    ({"se_loss": 0.0, "auxiliary": 0.0, "variant": "paper"}, ["cross_entropy"]),
])  # fmt: skip
def test_a_loss_without_weight_has_no_layers(arguments, names):
    network = small(**arguments)
    assert list(trained_once(network)[0]) == names
    assert (network.presence is None) == ("se" not in names)
    assert (network.auxiliary is None) == (len(names) == 1 or names[-1] == "se")


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_a_void_batch_teaches_nothing_in_training_either(variant):
    network = small(variant=variant)
    loss = sum(trained_once(network, void=True)[0].values())
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_a_batch_of_one_picture_trains(variant):
    network = small(variant=variant).train()
    loss = sum(network.losses(pictures((33, 33)), Targets(torch.zeros(1, 33, 33, dtype=torch.int64))).values())
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_what_training_looks_at_does_not_run_in_evaluation():
    for variant in ("code", "paper"):
        network, images = small(variant=variant), pictures((33, 33), count=2)
        calls = [outputs_of(layer) for layer in (network.presence, network.auxiliary)]
        network(images), network.score_map(images)
        assert list(network.losses(images, Targets(torch.zeros(2, 33, 33, dtype=torch.int64)))) == ["cross_entropy"]
        assert calls == [[], []]


@torch.inference_mode()
def test_without_codewords_the_context_is_the_mean_of_the_map():
    network, images = small(codewords=0), pictures((33, 33))
    project, context = outputs_of(network.context.project), outputs_of(network.context)
    network(images)
    torch.testing.assert_close(context[0][1], project[0][1].mean((2, 3)))


@pytest.mark.parametrize("size", [(33, 65), (40, 56)])
@torch.inference_mode()
def test_the_corners_of_the_scores_are_those_of_the_picture(size):
    network, images = small(), pictures(size)
    scores, logits = network.score_map(images).scores, network(images)["logits"]
    assert scores.shape[-2:] == (-(-size[0] // 8), -(-size[1] // 8))
    corners = [(..., slice(None, None, high - 1), slice(None, None, wide - 1)) for high, wide in (size, scores.shape[-2:])]
    torch.testing.assert_close(logits[corners[0]], scores[corners[1]])


@pytest.mark.parametrize("arguments", [{"codewords": -1}, {"se_loss": -0.2}, {"auxiliary": float("inf")}])
def test_a_value_that_cannot_work_is_told(arguments):
    (name,) = arguments
    with pytest.raises(UsageError, match=f"^{name} = "):
        small(**arguments)


def test_a_slip_in_the_variant_is_told():
    with pytest.raises(UnknownName, match="did you mean 'paper'"):
        small(variant="papers")
