"""The networks of the review at laptop width: what each is, what it starts from, how it is trained and how it predicts.

One protocol holds for all: the same pictures, batch, schedule and number of steps. Learning rate, optimiser and what else
`Entry.choices` names are those that `perpixel review --tune` found with the same number of trials for each; its record is
`tuned.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perpixel.networks import title
from perpixel.prediction.inference import PLAIN, Inference

PROTOCOL: dict[str, Any] = {
    "weights": "none", "steps": 180, "batch": 8, "schedule": "one_cycle", "clip": 1.0, "validations": 1, "colour": 0.2,
    "class_weights": "inverse_square_root",
}  # fmt: skip
# Of trials: AdamW, and SGD with momentum as in the papers, each at two learning rates.
ADAMW: dict[str, Any] = {"optimiser": "adamw", "decay": 1e-2}
SGD: dict[str, Any] = {"optimiser": "sgd", "momentum": 0.9, "decay": 5e-4}
RATES: tuple[Mapping[str, Any], ...] = (
    {**ADAMW, "lr": 1e-3}, {**ADAMW, "lr": 3e-3}, {**SGD, "lr": 0.02}, {**SGD, "lr": 0.06},
)  # fmt: skip
UNTUNED: Mapping[str, Any] = {**ADAMW, "lr": 2e-3}
TUNED = Path(__file__).parent / "tuned.json"


@dataclass(frozen=True)
class Entry:
    """A row of the review: a network, its training and its inference.

    `starts_from` is a trunk of `trunks`, or None where the paper trains from scratch. `stages` are the settings of each stage
    of training; `share` in one of them is its share of all steps. `choices` are two settings that tuning tries with the best
    learning rate: of the network, or, as "share", of the first stage."""

    network: str
    arguments: Mapping[str, Any]
    starts_from: str | None = None
    stages: tuple[Mapping[str, Any], ...] = ({},)
    inference: Inference = PLAIN
    how: str = ""  # the inference in words, behind the network's title
    choices: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"lr": 0.6}, {"lr": 1.7})  # lr: times the best

    @property
    def title(self) -> str:
        return ", ".join(part for part in (title(self.network, self.arguments), self.how) if part)


# At laptop width, convolutions are padded, because the published borders of 92 and 100 pixels are larger than half a picture
# here. The statistics of DeconvNet's batch normalisation are measured anew before it is judged, as published. Its boxes slide,
# because edge boxes need OpenCV. It learns whole pictures before boxes: single objects, as published, are here but two of ten
# classes.
# Pictures of 128x160 have maps of 17x21 cells at stride 8 and 9x11 at 16, on which the published rates of the DeepLabs would see
# nothing but padding: theirs are a third to a sixth here. Statistics of batch normalisation follow within the few steps.
VGG, RESNET, DEEP, XCEPTION = "things_vgg16", "things_resnet50", "things_resnet50_deep", "things_xception41"
DECONVNET: dict[str, Any] = {"width": 0.125, "side": 128}
MEASURED: dict[str, Any] = {"statistics_batches": 20, "statistics_batch": 16}
FEW_STEPS: dict[str, Any] = {"rates": (1, 2, 3), "norm_momentum": 0.1}
FCN: dict[str, Any] = {"width": 0.25, "padding": 1}
OF_AUXILIARY = ({"auxiliary": 0.2}, {"auxiliary": 0.8})
ENTRIES: dict[str, Entry] = {
    "fcn32s": Entry("fcn32s", FCN, VGG),
    "fcn16s": Entry("fcn16s", FCN, VGG),
    "fcn8s": Entry("fcn8s", FCN, VGG),
    "parsenet": Entry("parsenet", {"width": 0.25}, VGG),
    "deconvnet": Entry("deconvnet", DECONVNET, "things_vgg16_eighth", (MEASURED,)),
    "deconvnet_boxes": Entry(
        "deconvnet", DECONVNET, "things_vgg16_eighth",
        (
            {"share": 0.5},
            {"crops": "proposals", "crop": (128, 128), "proposals": "sliding", **MEASURED},
        ),
        Inference(proposals=50, proposals_by="sliding"), "50 boxes", ({"share": 0.3}, {"share": 0.7}),
    ),
    "unet": Entry("unet", {"width": 0.25, "convolutions": "same", "norm": "batch"}),
    "fpn": Entry("fpn", {"width": 0.25}, RESNET),
    "pspnet": Entry("pspnet", {"backbone": "resnet50", "width": 0.25}, DEEP, choices=OF_AUXILIARY),
    "deeplabv1": Entry("deeplabv1", {"width": 0.25, "rate": 4}, VGG),
    "deeplabv2": Entry("deeplabv2", {"backbone": "vgg16_reduced", "width": 0.25, "rates": (1, 2, 3, 4)}, VGG),
    "deeplabv3": Entry("deeplabv3", {"backbone": "resnet50", "width": 0.25, **FEW_STEPS}, RESNET),
    "deeplabv3plus": Entry("deeplabv3plus", {"backbone": "xception41", "width": 0.25, **FEW_STEPS}, XCEPTION),
    "encnet": Entry("encnet", {"backbone": "resnet50", "width": 0.25}, DEEP, choices=OF_AUXILIARY),
}  # fmt: skip

# Networks that find objects, for cars and people: judged by AP and PQ, in a table of their own. Heads at a quarter of the width,
# anchors for small pictures, seen twice as large. U-Net has the weight map of its paper; its objects are connected regions.
REGIONS: dict[str, Any] = {
    "backbone": "resnet50", "width": 0.25, "norm": "batch", "anchors": (8, 16, 32, 64, 128), "min_size": (256,), "max_size": 320,
}  # fmt: skip
OF_REGIONS: dict[str, Any] = {**ADAMW, "decay": 0.0, "lr": 1e-3, "batch": 2, "clip": 5.0, "class_weights": "none"}
OBJECTS: dict[str, Entry] = {
    "mask_rcnn": Entry("mask_rcnn", REGIONS, RESNET, (OF_REGIONS,)),
    "panet": Entry("panet", REGIONS, RESNET, (OF_REGIONS,)),
    "unet_regions": Entry(
        "unet", ENTRIES["unet"].arguments, None, ({"separation_weights": 10.0},), how="connected regions"
    ),
}  # fmt: skip


def tuned() -> dict[str, dict[str, Any]]:
    """The settings that tuning chose, by the name of the entry; of entries that it does not have, none."""
    return {} if not TUNED.is_file() else json.loads(TUNED.read_text(encoding="utf-8"))["chosen"]
