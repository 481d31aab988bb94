"""A linear classifier on the tokens of a frozen plain vision transformer (Oquab et al., DINOv2, arXiv:2304.07193).

    image -> ViT, frozen -> patch tokens (B, D, H / patch, W / patch) -> batch normalisation -> 1x1 scores -> bilinear

A yardstick, no system of the review: it measures features that were not trained for the task. The trunk is any plain transformer
of timm, such as those of DINO, CLIP, MAE or ImageNet. Only the normalisation and the scores learn, so a step costs little more
than a prediction.
Differs: the tokens are those of the last layer alone. A picture whose sides are no multiple of the patch is padded with the mean
colour on the right and at the bottom; the authors pad on all sides."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from perpixel.backbones.vgg import IMAGENET_MEAN, IMAGENET_STD
from perpixel.errors import ResourceError, UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

NORMS = ("batch", "layer")


class ViTLinear(nn.Module):
    """A linear classifier of tokens; 768 + 385 C learned parameters with C classes on the trunk of 384 channels.

    `backbone`: any plain vision transformer of timm. `norm` of the tokens: "batch" as in DINOv2's code, or "layer".
    `weights`: "imagenet" for those that timm publishes under that name, whatever they learned from, or none.
    Raises UnknownName or UsageError for an argument that does not exist or a network that is no plain transformer, ResourceError
    for weights out of reach."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vit_small_patch14_dinov2",
        norm: str = "batch",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise did_you_mean("norm of vit_linear", norm, NORMS)
        self.trunk = PlainViT(backbone, weights).requires_grad_(False)
        depth = self.trunk.channels
        self.norm = nn.BatchNorm2d(depth) if norm == "batch" else LayerNorm(depth)
        self.score = nn.Conv2d(depth, classes, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        assert self.score.bias is not None
        nn.init.zeros_(self.score.bias)
        self.loss = PixelLoss()

    def train(self, mode: bool = True) -> Self:
        """Training mode for the layers that learn. The trunk stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores of the patches, before the interpolation."""
        return ScoreMap.of_cells(self.score(self.norm(self.trunk(images))), self.trunk.patch)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        size = images.shape[-2], images.shape[-1]
        return {"logits": enlarge(self.score_map(images).scores, self.trunk.patch, size)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


class PlainViT(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> the normalised tokens of the last layer (B, `channels`, rows, columns of patches)."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | None) -> None:
        import timm  # only now: it takes three seconds to import, with torchvision
        from timm.layers.patch_embed import PatchEmbed

        super().__init__()
        if not timm.is_model(name):
            raise did_you_mean("backbone", name, timm.list_models())
        if weights not in (None, "none", "imagenet"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))
        sizes: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True, "num_classes": 0}
        plain = "choose a plain vision transformer, such as vit_small_patch14_dinov2"
        try:
            self.body: Any = timm.create_model(name, **sizes)
        except (TypeError, RuntimeError, ValueError, AssertionError) as error:
            raise UsageError(f"timm's {name} takes no pictures of any size ({error}); {plain}.") from error
        patches = getattr(self.body, "patch_embed", None)
        if not isinstance(patches, PatchEmbed) or patches.patch_size[0] != patches.patch_size[1]:
            raise UsageError(f"timm's {name} does not cut pictures into square patches; {plain}.")
        if weights == "imagenet":
            try:
                self.body = timm.create_model(name, pretrained=True, **sizes)
            except Exception as error:  # timm's loaders raise the errors of their transport
                raise ResourceError(
                    f"weights of {name} cannot be fetched ({type(error).__name__}); connect to the network once, or use "
                    f"`--weights none`."
                ) from error
        self.channels: int = self.body.num_features
        self.patch: int = patches.patch_size[0]
        config: Any = timm.get_pretrained_cfg(name)
        mean, std = (config.mean, config.std) if config else (IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        tokens: list[Tensor] = self.body.forward_intermediates(
            (images - self.mean) / self.std, indices=1, norm=True, intermediates_only=True
        )
        return tokens[0]


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, h, w), at each position."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
