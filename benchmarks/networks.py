"""Networks against those of torchvision and segmentation_models_pytorch: a picture, a training step, files, and memory.

    python benchmarks/networks.py PICTURES [--runs 7] [--pair unet]

A pair is the same network, or one that differs little; parameters are printed beside the ratios. Each contestant has a
process of its own, with its network built before the clock starts, and they take turns.

    picture   an array of 480x360 -> its labels, or its objects with masks: `perpixel.predict`, against the lines that the peer's
              documentation shows, in eager mode
    step      loss, gradient and AdamW of 4 crops of 160x192, or of 2 pictures of 240x320 with 6 objects each
    files     PICTURES, a folder of JPEGs -> masks and overlays on the disk, for networks of pixels
    memory    the largest resident size of the process, after all that"""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import alternately, machine, median, report
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel import build, open_dataset, predict
from perpixel.networks import as_network
from perpixel.networks.torchvision import torchvision_state
from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.sample import InstanceTargets, Targets
from perpixel.weights.model_file import Model, ModelCard

CLASSES = open_dataset("scenes").classes
TRUNK = "efficientnet_lite0"
PICTURE, CROP, SMALL = (360, 480), (160, 192), (240, 320)  # height, width
SHORT, LONG = 360, 480  # sides at which Mask R-CNN sees a picture


@dataclass(frozen=True)
class Pair:
    """Our network and the peer's: names and arguments."""

    ours: tuple[str, dict[str, Any]]
    package: str
    peer: str
    objects: bool = False
    more: dict[str, Any] = field(default_factory=dict)  # arguments of the peer


# FPN and PSPNet of segmentation_models_pytorch are others: a smaller head, and a trunk cut at stride 8 in place of dilation.
PAIRS = {
    "unet": Pair(("unet", {"backbone": TRUNK, "decoder": (256, 128, 64, 32)}), "segmentation_models_pytorch", "Unet"),
    "deeplabv3": Pair(
        ("deeplabv3", {"backbone": TRUNK}), "segmentation_models_pytorch", "DeepLabV3", more={"encoder_output_stride": 16}
    ),
    "deeplabv3plus": Pair(("deeplabv3plus", {"backbone": TRUNK}), "segmentation_models_pytorch", "DeepLabV3Plus"),
    "torchvision_fcn": Pair(("torchvision_fcn_resnet50", {}), "torchvision", "fcn_resnet50"),
    "torchvision_deeplabv3": Pair(("torchvision_deeplabv3_resnet50", {}), "torchvision", "deeplabv3_resnet50"),
    "mask_rcnn": Pair(
        ("mask_rcnn", {"min_size": (SHORT,), "max_size": LONG}), "torchvision", "maskrcnn_resnet50_fpn", objects=True
    ),
}


@cache
def our_model(pair: str) -> Model:
    """Randomly initialised; Mask R-CNN has the peer's weights."""
    torch.manual_seed(0)
    name, arguments = PAIRS[pair].ours
    network = build(name, len(CLASSES), **arguments)
    if PAIRS[pair].objects:
        network.load_state_dict(torchvision_state(network, their_network(pair).state_dict()))
    card = ModelCard(name, arguments, CLASSES.to_json(), {}, 1.0, 0, {}, "", "")
    return Model(as_network(network), CLASSES, card, "")


@cache
def their_network(pair: str) -> nn.Module:
    torch.manual_seed(0)
    if PAIRS[pair].package == "torchvision":
        from torchvision.models import detection, segmentation

        if PAIRS[pair].objects:
            made: nn.Module = detection.maskrcnn_resnet50_fpn(
                weights=None, weights_backbone=None, num_classes=len(CLASSES), min_size=SHORT, max_size=LONG
            )
            return made
        made = getattr(segmentation, PAIRS[pair].peer)(weights=None, weights_backbone=None, num_classes=len(CLASSES))
        return made
    import segmentation_models_pytorch as smp

    made = getattr(smp, PAIRS[pair].peer)(f"tu-{TRUNK}", encoder_weights=None, classes=len(CLASSES), **PAIRS[pair].more)
    return made


def _image(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Blocks of colours with noise."""
    random = np.random.default_rng(0)
    blocks = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
    return np.clip(np.asarray(blocks).astype(int) + random.integers(-20, 20, (*size, 3)), 0, 255).astype(np.uint8)


def _tensor(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def _batch(objects: bool) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    """Images (B, 3, H, W), labels (B, H, W) and the objects of each: boxes, masks and labels from 1 on."""
    random = np.random.default_rng(0)
    size, number = (SMALL, 2) if objects else (CROP, 4)
    labels = torch.from_numpy(random.integers(0, len(CLASSES), (number, *size)))
    found = []
    for _ in range(number if objects else 0):
        corners = np.stack([random.integers(0, size[1] - 90, 6), random.integers(0, size[0] - 90, 6)], 1)
        boxes = np.concatenate([corners, corners + random.integers(20, 80, (6, 2))], 1)
        masks = np.zeros((6, *size), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[top:bottom, left:right] = 1
        kinds = torch.from_numpy(random.integers(1, len(CLASSES), 6))
        found.append({"boxes": torch.from_numpy(boxes).float(), "masks": torch.from_numpy(masks), "labels": kinds})
    return torch.stack([_tensor(_image(size))[0]] * number), labels, found


def _numbers(masks: Tensor) -> Tensor:
    """i + 1 at the pixels of mask i; of masks that overlap the last one has the pixel."""
    return (masks * torch.arange(1, 1 + len(masks), dtype=torch.int32)[:, None, None]).amax(0)


def picture(pair: str, side: str) -> None:
    image = _image(PICTURE)
    if side == "ours":
        predict(our_model(pair), image)
        return
    network = their_network(pair).eval()
    with torch.inference_mode():
        if PAIRS[pair].objects:
            (network(_tensor(image))[0]["masks"] > 0.5).numpy()
        else:
            _labels(network, image)


def _labels(network: nn.Module, image: Any) -> Any:
    """segmentation_models_pytorch takes multiples of 32 alone."""
    images = _tensor(image)
    height, width = images.shape[2:]
    result = network(F.pad(images, (0, -width % 32, 0, -height % 32)))
    logits = result["out"] if isinstance(result, dict) else result
    return logits[..., :height, :width].argmax(1)[0].numpy().astype(np.uint8)


@cache
def _optimiser(pair: str, side: str) -> torch.optim.Optimizer:
    network: Any = our_model(pair).network.to(memory_format=torch.channels_last) if side == "ours" else their_network(pair)
    return torch.optim.AdamW(network.train().parameters(), lr=1e-6)


def step(pair: str, side: str) -> None:
    images, labels, found = _batch(PAIRS[pair].objects)
    optimiser = _optimiser(pair, side)
    if side == "ours":
        network = our_model(pair).network.train()
        none = torch.zeros(6, dtype=torch.bool)
        objects = tuple(InstanceTargets(one["boxes"], _numbers(one["masks"]), one["labels"], none) for one in found)
        loss = sum(network.losses(images, Targets(labels, instances=objects or None)).values())
    elif PAIRS[pair].objects:
        loss = sum(their_network(pair).train()(list(images), found).values())
    else:
        result = their_network(pair).train()(images)
        loss = F.cross_entropy(result["out"] if isinstance(result, dict) else result, labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def files(pair: str, side: str, pictures: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    if side == "ours":
        assert all(outcome.status == "done" for outcome in predict_all(our_model(pair), find_pictures([str(pictures)]), out))
        return
    network, palette = their_network(pair).eval(), CLASSES.palette
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True)
    for path in sorted(pictures.iterdir()):
        image = Image.open(path).convert("RGB")
        with torch.inference_mode():
            labels = _labels(network, image)
        mask = Image.fromarray(labels)
        mask.putpalette(palette.tobytes())
        mask.save(out / "masks" / f"{path.stem}.png")
        Image.blend(image, Image.fromarray(palette[labels]), 0.5).save(out / "overlays" / f"{path.stem}.png")


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def size(pair: str, side: str) -> int:
    network: Any = our_model(pair).network if side == "ours" else their_network(pair)
    return sum(weight.numel() for weight in network.parameters())


def contest(pair: str, pictures: Path, runs: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(1, spawn) as other:
        pools = {"ours": one, "peer": other}

        def in_turn(function: Callable[..., object], *more: Callable[[str], object]) -> dict[str, float]:
            calls = {
                side: lambda side=side: pools[side].submit(function, pair, side, *(each(side) for each in more)).result()
                for side in pools
            }
            return {side: median(seconds) for side, seconds in alternately(runs, **calls).items()}

        seconds = {"picture": in_turn(picture), "step": in_turn(step)}
        if not PAIRS[pair].objects:
            seconds["files"] = in_turn(files, lambda _: pictures, lambda side: Path(scratch) / side)
        megabytes = {side: pool.submit(memory).result() for side, pool in pools.items()}
        parameters = {side: pool.submit(size, pair, side).result() for side, pool in pools.items()}
    ratios = {what: both["peer"] / both["ours"] for what, both in seconds.items()}
    return {
        "peer": f"{PAIRS[pair].package} {PAIRS[pair].peer}", "seconds": seconds, "times faster": ratios,
        "peak memory, MB": megabytes, "parameters": parameters,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--pair", choices=PAIRS, action="append")
    options = parser.parse_args()
    results = {}
    for pair in options.pair or PAIRS:
        results[pair] = contest(pair, options.pictures, options.runs)
        print(pair, {what: f"{ratio:.2f}" for what, ratio in results[pair]["times faster"].items()}, flush=True)
    report("networks", {
        "machine": machine("torch", "torchvision", "timm", "segmentation-models-pytorch"),
        "pictures": len(list(options.pictures.iterdir())), "results": results,
    })  # fmt: skip


if __name__ == "__main__":
    main()
