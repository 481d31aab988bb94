"""A planned training against segmentation_models_pytorch.Unet in the script of its documentation, at equal wall time.

    python benchmarks/planned.py DATA --out FOLDER [--minutes 5] [--seeds 0 1 2] [--sets camvid nuclei ...]

DATA holds camvid, nuclei, membrane and coco as in tests of real data. `lines`, `spots` and `many` are drawn into FOLDER. Ours is
`perpixel train --data SET --minutes M --seed S`, from the start of the process to its end. The peer is the documentation's
example for several classes: the same ImageNet weights of efficientnet_lite0, Adam 2e-4 with cosine annealing, Dice loss, batches
of 8 crops of 256x256, flips, shifts, scales, perspective, noise, brightness, sharpness or blur, contrast or colour. It has the
same time, its start included, and its last weights count. Both write masks of val, which one judge reads. What is done stays."""

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import STUDENT, interval, machine, report
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from perpixel import evaluate, open_dataset
from perpixel.classes import ClassTable, distinct_colours
from perpixel.images import encode_labels
from perpixel.measures.objects import Objects

SETS = ("camvid", "nuclei", "membrane", "coco", "lines", "spots", "many")
CROP, BATCH, RATE, LAST_RATE = 256, 8, 2e-4, 1e-5
MEAN, STD = 127 / 255, 128 / 255  # of the trunk's weights
COLOURED = 0.9  # share of pictures that each group of the example's colour changes meets
VAL = 5  # every fifth picture of a set without splits is judged on


def prepared(name: str, data: Path, out: Path) -> Path:
    """The folder of a set; those that are drawn or have another form are written into `out` once."""
    if name in ("camvid", "nuclei"):
        return data / name
    folder = out / "sets" / name
    if not (folder / "classes.csv").exists():
        shutil.rmtree(folder, ignore_errors=True)
        {"membrane": membrane, "coco": coco}.get(name, drawn)(name, data, folder)
    return folder


def membrane(_: str, data: Path, folder: Path) -> None:
    shutil.copytree(data / "membrane", folder)
    ClassTable.of(["membrane", "inside"]).write_csv(folder / "classes.csv")


def coco(_: str, data: Path, folder: Path) -> None:
    """VOC's 21 classes in 100 pictures of COCO."""
    dataset = open_dataset("coco_voc21", root=data / "coco", split="train")
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        put(folder, "val" if index % VAL == 0 else "train", sample.name, sample.image, sample.labels, dataset.classes)
    dataset.classes.write_csv(folder / "classes.csv")


def drawn(name: str, _: Path, folder: Path) -> None:
    """`lines`: three lines of 1 to 3 pixels on 1000 x 1000; `spots`: 1 % of the pixels; `many`: 30 classes in 40 pictures."""
    sizes = {"lines": (60, 1000, 1000), "spots": (120, 320, 400), "many": (50, 320, 400)}
    names = [f"shape{i}" for i in range(29)] if name == "many" else [name[:-1]]
    classes = ClassTable.of(["background", *names])
    count, height, width = sizes[name]
    for number in range(count):
        draw = {"lines": lines, "spots": spots, "many": many}[name]
        image, labels = draw(np.random.default_rng([number, len(name)]), height, width)
        put(folder, "val" if number % VAL == 0 else "train", f"{number:03d}", image, labels, classes)
    classes.write_csv(folder / "classes.csv")


def put(folder: Path, split: str, name: str, image: np.ndarray, labels: np.ndarray, classes: ClassTable) -> None:
    for kind in ("images", "masks"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"images/{split}/{name}.png")
    (folder / f"masks/{split}/{name}.png").write_bytes(encode_labels(labels, classes))


def ground(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise at four scales, float (H, W, 3) about 120."""
    image = np.full((height, width, 3), 120.0)
    for size in (4, 16, 64, 256):
        small = random.normal(0, 14, (height // size + 2, width // size + 2, 3)).clip(-60, 60) + 128
        image += np.asarray(Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)) - 128.0
    return image + random.normal(0, 8, image.shape)


def lines(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    mask, decoys = Image.new("L", (width, height)), Image.new("L", (width, height))
    for page, count in ((mask, 8), (decoys, 12)):
        pen = ImageDraw.Draw(page)
        for _ in range(count):
            points = np.cumsum([random.uniform(0, (width, height)), *random.normal(0, 70, (8, 2))], axis=0)
            pixels = int(random.integers(1, 4)) if page is mask else int(random.integers(9, 16))  # decoys are bands
            pen.line([tuple(point) for point in points], 1, pixels, joint="curve")
    labels = np.asarray(mask)
    image = ground(random, height, width) + 25.0 * np.asarray(decoys)[..., None] - 45.0 * labels[..., None]
    return image.clip(0, 255).astype(np.uint8), labels


def spots(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs of a colour, beside squares of the same colour that are background."""
    mask, decoys = Image.new("L", (width, height)), Image.new("L", (width, height))
    for page, count in ((mask, 5), (decoys, 8)):
        pen = ImageDraw.Draw(page)
        for _ in range(count):
            x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(6, 12)
            (pen.ellipse if page is mask else pen.rectangle)((x - radius, y - radius, x + radius, y + radius), 1)
    labels = np.asarray(mask)
    shift = np.array([75.0, -20.0, -50.0])
    image = ground(random, height, width) + shift * np.maximum(labels, np.asarray(decoys))[..., None]
    return image.clip(0, 255).astype(np.uint8), labels


def many(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of 3 to 7 corners in six colours: colour and corners make the class."""
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for _ in range(14):
        class_id = int(random.integers(1, 30))
        corners, radius = 3 + (class_id - 1) % 5, random.uniform(18, 45)
        angles = random.uniform(0, math.tau) + math.tau * np.arange(corners) / corners
        x, y = random.uniform(0, width), random.uniform(0, height)
        pen.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], class_id)
    labels = np.asarray(mask)
    colours = (np.array(distinct_colours(6)) - 128.0)[(np.maximum(labels, 1) - 1) // 5] * (labels > 0)[..., None] * 0.5
    return (ground(random, height, width) + colours).clip(0, 255).astype(np.uint8), labels


# The peer.


def augmented(image: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The example's augmentation: each step with its probability there."""
    height, width = labels.shape
    picture, mask = Image.fromarray(image), Image.fromarray(labels)
    if random.random() < 0.5:
        picture, mask = (page.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for page in (picture, mask))
    scale, shift = random.uniform(0.5, 1.5), random.uniform(-0.1, 0.1, 2) * (width, height)
    corner = random.uniform(0, 1, 2) * np.maximum(0, np.array([width, height]) - CROP * np.minimum(1, 1 / scale))
    matrix = (1 / scale, 0.0, corner[0] + shift[0], 0.0, 1 / scale, corner[1] + shift[1])
    bend = random.uniform(-0.05, 0.05, 2) / CROP if random.random() < 0.5 else np.zeros(2)
    size, how = (CROP, CROP), Image.Transform.PERSPECTIVE
    picture = picture.transform(size, how, (*matrix, *bend), Image.Resampling.BILINEAR)
    mask = mask.transform(size, how, (*matrix, *bend), Image.Resampling.NEAREST, fillcolor=255)
    if random.random() < COLOURED:
        picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.8, 1.2))
    if random.random() < COLOURED:
        sharper = [ImageFilter.UnsharpMask(2, 60, 0), ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)), ImageFilter.BoxBlur(1)]
        picture = picture.filter(sharper[random.integers(3)])
    if random.random() < COLOURED:
        change = ImageEnhance.Contrast if random.random() < 0.5 else ImageEnhance.Color
        picture = change(picture).enhance(random.uniform(0.8, 1.2))
    pixels = np.asarray(picture).astype(np.float32)
    if random.random() < 0.2:
        pixels += random.normal(0, 10, pixels.shape)
    return pixels.clip(0, 255) / 255, np.asarray(mask)


def peer(data: Path, out: Path, seconds: float, seed: int) -> None:
    """Trains for so many seconds, of which the process has spent some, and writes masks of val into `out`."""
    began = time.monotonic()
    import segmentation_models_pytorch as smp
    import torch
    from torch.nn import functional as F

    from perpixel import build

    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    train, val = (open_dataset(data, split=split) for split in ("train", "val"))
    network = smp.Unet("tu-efficientnet_lite0", encoder_weights=None, classes=len(train.classes))
    trunk = build("fcn8s", 2, backbone="efficientnet_lite0", weights="imagenet").trunk.body
    network.encoder.model.load_state_dict(trunk.state_dict())
    loss = smp.losses.DiceLoss("multiclass", from_logits=True, ignore_index=train.classes.void)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    held: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def drawn_batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            images, labels = [], []
            for index in random.integers(len(train), size=BATCH).tolist():
                if index not in held:
                    sample = train.sample(index)
                    held[index] = sample.image, sample.labels
                image, mask = augmented(*held[index], random)
                images.append(image)
                labels.append(mask)
            x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) - MEAN) / STD
            yield x.contiguous(), torch.from_numpy(np.stack(labels)).long()

    network.train()
    steps = 0
    for images, labels in drawn_batches():
        done = min(1.0, (time.monotonic() - began) / seconds)
        optimiser.param_groups[0]["lr"] = LAST_RATE + (RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        optimiser.zero_grad()
        loss(network(images), labels).backward()
        optimiser.step()
        steps += 1
        if time.monotonic() - began >= seconds:
            break
    took = time.monotonic() - began
    network.eval()
    out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for index in range(len(val)):
            image = torch.from_numpy(val.sample(index).image).permute(2, 0, 1)[None].float() / 255
            height, width = image.shape[-2:]
            padded = F.pad((image - MEAN) / STD, (0, -width % 32, 0, -height % 32), mode="replicate")
            labels = network(padded)[0, :, :height, :width].argmax(0).numpy().astype(np.uint8)
            file = out / f"{val.name(index)}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_labels(labels, val.classes))
    (out / "training.json").write_text(json.dumps({"steps": steps, "seconds": took}))


# Both.


def judged(masks: Path, name: str, data: Path) -> dict[str, float]:
    val = open_dataset(data, split="val")
    figures = {"mIoU": evaluate(masks, val).mean_iou}
    if name == "nuclei":
        figures["AP of objects"] = evaluate(masks, val, Objects("object")).figures["AP"]
    return figures


def ours(data: Path, run: Path, minutes: float, seed: int) -> dict[str, float]:
    began = time.monotonic()
    command = [sys.executable, "-m", "perpixel"]
    flags = ["--data", str(data), "--minutes", f"{minutes:g}", "--seed", str(seed), "--out", str(run)]
    subprocess.run([*command, "train", *flags], check=True)
    took = time.monotonic() - began
    subprocess.run([*command, "predict", str(run), str(data), "--split", "val", "--out", str(run / "val")], check=True)
    return {"seconds": took, "steps": json.loads((run / "model.json").read_text())["recipe"]["steps"]}


def both(name: str, data: Path, out: Path, minutes: float, seed: int) -> dict[str, dict[str, float]]:
    """The figures of one set and seed, ours first."""
    ours_at, peer_at = (out / f"{who}-{name}-{minutes:g}min-{seed}" for who in ("ours", "peer"))
    training = ours(data, ours_at, minutes, seed)
    if not (peer_at / "training.json").exists():
        words = ["--peer", str(data), "--out", str(peer_at), "--minutes", f"{minutes:g}", "--seeds", str(seed)]
        subprocess.run([sys.executable, __file__, str(data), *words], check=True)
    return {
        "ours": {**judged(ours_at / "val" / "masks", name, data), **training},
        "peer": {**judged(peer_at, name, data), **json.loads((peer_at / "training.json").read_text())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer is not None:
        return peer(options.peer, options.out, 60 * options.minutes, options.seeds[0])
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "planned.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.sets:
        data = prepared(name, options.data, options.out)
        for seed in options.seeds:
            key = f"{name}, {options.minutes:g} min, seed {seed}"
            if key not in results:
                results[key] = both(name, data, options.out, options.minutes, seed)
                kept.write_text(json.dumps(results, indent=1))
            print(key, json.dumps(results[key]), flush=True)
    report(f"planned{options.minutes:g}", {
        "machine": machine("torch", "timm", "segmentation-models-pytorch", "numpy", "pillow"), "minutes": options.minutes,
        "seeds": options.seeds, "trainings": results, "points above": compared(results, options),
    })  # fmt: skip


def compared(results: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """By set and figure: the mean of ours minus the peer's, in points, and half of its 95 % interval over the seeds."""
    found = {}
    for name in options.sets:
        pairs = [results[f"{name}, {options.minutes:g} min, seed {seed}"] for seed in options.seeds]
        for figure in ("mIoU", "AP of objects"):
            if figure in pairs[0]["ours"]:
                differences = [100 * (pair["ours"][figure] - pair["peer"][figure]) for pair in pairs]
                half = interval(differences) if len(differences) in STUDENT else math.nan
                found[f"{name}: {figure}"] = {"mean": float(np.mean(differences)), "half of interval": half}
    return found


if __name__ == "__main__":
    main()
