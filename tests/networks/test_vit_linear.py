"""The linear classifier on a frozen plain transformer: what learns, which tokens are read, and which trunks fit."""

from pathlib import Path

import pytest
import torch
from fakes import make_folder
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from perpixel.errors import ResourceError, UnknownName, UsageError
from perpixel.files import MODEL_FILE
from perpixel.networks import NETWORKS, YARDSTICKS, build
from perpixel.sample import Targets
from perpixel.training.recipe import Recipe
from perpixel.training.train import train

CLASSES = 5


def on_meta(classes=21, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("vit_linear", classes, **arguments).eval()


def small(backbone="test_vit", **arguments):
    torch.manual_seed(0)
    return build("vit_linear", CLASSES, backbone=backbone, **arguments).eval()


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def learned(network):
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_scale_a_shift_and_a_classifier_learn(norm):
    network = on_meta(21, norm=norm)
    assert learned(network) == 2 * 384 + 21 * (384 + 1)
    assert not any(parameter.requires_grad for parameter in network.trunk.parameters())


@pytest.mark.parametrize(
    ("backbone", "channels", "patch"),
    [
        ("vit_small_patch14_dinov2", 384, 14), ("vit_base_patch14_reg4_dinov2", 768, 14), ("vit_small_patch16_dinov3", 384, 16),
        ("deit3_small_patch16_224", 384, 16), ("vit_base_patch16_clip_224", 768, 16), ("eva02_tiny_patch14_224", 192, 14),
    ],
)  # fmt: skip
def test_plain_transformers_of_timm_read_pictures_of_any_size(backbone, channels, patch):
    network = on_meta(21, backbone=backbone)
    found = network.score_map(torch.empty(1, 3, 65, 90, device="meta"))
    assert (network.trunk.channels, network.trunk.patch) == (channels, patch)
    assert found.scores.shape == (1, 21, -(-65 // patch), -(-90 // patch))
    assert found.stride == patch


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit2", "vit_tiny_patch16_224"])
@torch.inference_mode()
def test_the_tokens_are_those_of_the_patches_after_the_last_norm(backbone):
    network, images = small(backbone), pictures((48, 80), count=2)
    body = network.trunk.body
    tokens = body.forward_features((images - network.trunk.mean) / network.trunk.std)[:, body.num_prefix_tokens :]
    maps = tokens.transpose(1, 2).reshape(2, network.trunk.channels, 3, 5)
    torch.testing.assert_close(network.trunk(images), maps)
    nn.init.normal_(network.score.weight)
    nn.init.normal_(network.norm.running_mean)
    nn.init.uniform_(network.norm.running_var, 0.5, 2)
    normed = (maps - network.norm.running_mean[:, None, None]) / (network.norm.running_var[:, None, None] + 1e-5).sqrt()
    scores = F.conv2d(normed, network.score.weight, network.score.bias)
    expected = F.interpolate(scores, scale_factor=16, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images)["logits"], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_layer_norm_is_of_the_channels_of_a_token():
    network, images = small(norm="layer"), pictures((32, 32))
    tokens = network.trunk(images)
    expected = F.layer_norm(tokens[0, :, 1, 0], (64,))
    torch.testing.assert_close(network.norm(tokens)[0, :, 1, 0], expected)


@torch.inference_mode()
def test_what_is_padded_is_beyond_the_picture():
    network = small()
    seen = []
    network.trunk.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.shape[-2:]))
    for size in ((32, 32), (33, 47), (1, 1)):
        assert network(pictures(size))["logits"].shape[-2:] == size
    assert seen == [(2, 2), (3, 3), (1, 1)]


def test_the_trunk_stays_one_function_in_training():
    network = small().train()
    assert network.norm.training
    assert not any(module.training for module in network.trunk.modules())
    assert small().train(False).norm.training is False


def test_training_moves_the_head_alone(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    recipe = Recipe(data=str(data), network="vit_linear", backbone="test_vit", weights="none", steps=3, batch=4, lr=1e-2,
                    decay=0.1, ema=0.5, validations=1, device="cpu")  # fmt: skip
    train(recipe, tmp_path / "run", say=lambda _: None)
    torch.manual_seed(recipe.seed)
    fresh, found = build("vit_linear", 3, backbone="test_vit").state_dict(), load_file(tmp_path / "run" / MODEL_FILE)
    moved = {name for name in fresh if not torch.equal(fresh[name], found[name])}
    statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert moved == {"norm.weight", "norm.bias", "score.weight", "score.bias"} | statistics


def test_a_linear_head_learns_which_patches_are_bright():
    torch.manual_seed(0)
    network, images = small().train(), torch.zeros(4, 3, 64, 64)
    labels = torch.zeros(4, 64, 64, dtype=torch.int64)
    for picture in range(4):
        top = 16 * picture
        images[picture, :, top : top + 16] = 1
        labels[picture, top : top + 16] = 1
    optimiser = torch.optim.AdamW([parameter for parameter in network.parameters() if parameter.requires_grad], 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        sum(network.losses(images, Targets(labels)).values()).backward()
        optimiser.step()
    assert (network.eval()(images)["logits"].argmax(1) == labels).float().mean() > 0.85


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"norm": "group"}, UnknownName, "no norm of vit_linear 'group'"),
        ({"backbone": "vit_smal_patch14_dinov2"}, UnknownName, "did you mean 'vit_small_patch14_dinov2'"),
        ({"backbone": "test_vit", "weights": "imagnet"}, UnknownName, "no weights 'imagnet'; did you mean 'imagenet'"),
        ({"backbone": "resnet18"}, UsageError, "timm's resnet18 takes no pictures of any size .*; choose a plain"),
        ({"backbone": "vit_base_mci_224"}, UsageError, "does not cut pictures into square patches"),
    ],
)
def test_an_argument_that_does_not_fit(arguments, error, says):
    with pytest.raises(error, match=says):
        on_meta(**arguments)


def test_weights_out_of_reach_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    made = timm.create_model

    def create(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            raise OSError("no route")
        return made(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ResourceError, match=r"weights of test_vit cannot be fetched \(OSError\); connect to the network once"):
        small(weights="imagenet")


def test_timms_weights_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    made, asked = timm.create_model, []

    def create(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        asked.append(pretrained)
        body = made(name, **options)
        if pretrained:
            nn.init.constant_(body.norm.weight, 7)
        return body

    monkeypatch.setattr(timm, "create_model", create)
    assert (small(weights="imagenet").trunk.body.norm.weight == 7).all()
    assert asked == [False, True]


def test_yardsticks_stand_behind_the_reviews_systems() -> None:
    assert list(NETWORKS)[-len(YARDSTICKS) :] == list(YARDSTICKS)
