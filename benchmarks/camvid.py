"""CamVid at equal wall time: perpixel against segmentation_models_pytorch.Unet in a plain loop.

    python benchmarks/camvid.py DATA --out FOLDER [--minutes 15]

Both start from the same ImageNet weights of efficientnet_lite0, train for the same time on the same cores, and are judged on
`val` at the pictures' own size by one confusion matrix. The peer sees pictures at half size (240x180), crops of 160x192,
batches of 8, flips, AdamW, one-cycle 2e-3; its pictures are decoded before its clock starts. Ours is one `perpixel train`
command, reading and validation included."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from measure import machine, report
from PIL import Image
from torch.nn import functional as F

from perpixel import ConfusionMatrix, build, load, open_dataset
from perpixel.judging.evaluate import evaluate

OURS = [
    "--network", "unet", "--backbone", "efficientnet_lite0", "--decoder", "96", "64", "48",
    "--crop", "240", "320", "--scale-jitter", "0.6", "1.6", "--batch", "8", "--lr", "2e-3", "--trunk-lr", "0.5",
    "--schedule", "one_cycle", "--colour", "0.4", "--class-crops", "0.3", "--class-weights", "inverse_square_root",
    "--ema", "0.99", "--decay", "0.02", "--validations", "1",
]  # fmt: skip
HALF, CROP, BATCH, RATE = (180, 240), (160, 192), 8, 2e-3
MEAN, STD = 127 / 255, 128 / 255
PROBE = 12  # steps that are timed to find how many fit


class Peer:
    """segmentation_models_pytorch.Unet with the plainest loop that does it justice."""

    def __init__(self, data: Path) -> None:
        train = open_dataset(data, split="train")
        samples = [train.sample(index) for index in range(len(train))]
        self.images = np.stack([resize(s.image, Image.Resampling.BILINEAR) for s in samples])
        self.labels = np.stack([resize(s.labels, Image.Resampling.NEAREST) for s in samples])
        self.network = smp.Unet("tu-efficientnet_lite0", encoder_weights=None, classes=len(train.classes))
        trunk = build("fcn8s", 2, backbone="efficientnet_lite0", weights="imagenet").trunk.body
        self.network.encoder.model.load_state_dict(trunk.state_dict())

    def step(self, random: np.random.Generator) -> torch.Tensor:
        images, labels = [], []
        for index in random.integers(len(self.images), size=BATCH):
            top, left = (random.integers(a - b + 1) for a, b in zip(HALF, CROP, strict=True))
            window = np.s_[top : top + CROP[0], left : left + CROP[1]]
            turn = -1 if random.random() < 0.5 else 1
            images.append(self.images[index][window][:, ::turn])
            labels.append(self.labels[index][window][:, ::turn])
        x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
        return F.cross_entropy(self.network(x.contiguous()), torch.from_numpy(np.stack(labels)).long(), ignore_index=255)

    def train(self, seconds: float) -> dict[str, float]:
        """Trains to the end of the one-cycle schedule, which is made as long as the time allows by the first steps' speed.

        If later steps are slower it takes longer than ours may: a schedule that is cut would judge the clock, not the network."""
        random = np.random.default_rng(0)
        self.network.train()
        began = time.perf_counter()
        for number in range(PROBE):
            self.step(random).backward()
            self.network.zero_grad()
            if number == 1:
                second = time.perf_counter()
        each = (time.perf_counter() - second) / (PROBE - 2)
        steps = int((seconds - (time.perf_counter() - began)) / each)
        optimiser = torch.optim.AdamW(self.network.parameters(), RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        for _ in range(steps):
            optimiser.zero_grad()
            self.step(random).backward()
            optimiser.step()
            rate.step()
        return {"seconds": time.perf_counter() - began, "steps": steps}

    @torch.inference_mode()
    def judge(self, data: Path, half: bool) -> ConfusionMatrix:
        """Scores from pictures at the training's half size, or at their own, enlarged to their own size."""
        self.network.eval()
        val = open_dataset(data, split="val")
        matrix = ConfusionMatrix(len(val.classes))
        for index in range(len(val)):
            sample = val.sample(index)
            image = resize(sample.image, Image.Resampling.BILINEAR) if half else sample.image
            x = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255 - MEAN) / STD
            height, width = x.shape[-2:]
            logits = self.network(F.pad(x, (0, -width % 32, 0, -height % 32), mode="replicate"))[..., :height, :width]
            logits = F.interpolate(logits, size=sample.labels.shape, mode="bilinear", align_corners=False)
            matrix.add(sample.labels, logits.argmax(1)[0].numpy().astype(np.uint8))
        return matrix


def resize(array: np.ndarray, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((HALF[1], HALF[0]), how))


def ours(data: Path, out: Path, seconds: float) -> dict[str, float]:
    """One `perpixel train` whose number of steps is found by a short run of the same command."""
    command = [sys.executable, "-m", "perpixel", "train", "--data", str(data), *OURS]
    spent = {}
    for steps in (PROBE // 2, PROBE // 2 + 30):
        spent[steps] = timed([*command, "--steps", str(steps), "--out", str(out / f"probe{steps}")])
    few, more = spent
    each = (spent[more] - spent[few]) / (more - few)
    steps = int((0.97 * seconds - (spent[few] - few * each)) / each)
    took = timed([*command, "--steps", str(steps), "--out", str(out / "ours")])
    return {"seconds": took, "steps": steps}


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    peer = Peer(options.data)
    peer_training = peer.train(options.minutes * 60)
    judged = {half: peer.judge(options.data, half) for half in (True, False)}
    best = max(judged.values(), key=lambda matrix: matrix.mean_iou())
    our_training = ours(options.data, options.out, options.minutes * 60)
    scores = evaluate(load(options.out / "ours"), open_dataset(options.data, split="val"))
    names = scores.classes.names
    report("camvid", {
        "machine": machine("torch", "timm", "segmentation-models-pytorch", "numpy", "pillow"),
        "minutes": options.minutes,
        "command": " ".join(["perpixel train --data DATA", *OURS, "--steps", str(our_training["steps"]), "--out RUN"]),
        "ours": {"mIoU": scores.mean_iou, **our_training, "IoU": dict(zip(names, scores.confusion.iou().tolist(), strict=True))},
        "peer": {
            "mIoU": best.mean_iou(), **peer_training, "IoU": dict(zip(names, best.iou().tolist(), strict=True)),
            "mIoU from half-size pictures": judged[True].mean_iou(),
            "mIoU from pictures of own size": judged[False].mean_iou(),
        },
        "points above": 100 * (scores.mean_iou - best.mean_iou()),
    })  # fmt: skip


if __name__ == "__main__":
    main()
