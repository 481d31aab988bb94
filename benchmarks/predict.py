"""A folder of JPEGs -> written masks and overlays: `perpixel predict` against the usual eager script, same network.

    python benchmarks/predict.py RUN PICTURES [--runs 5]

The usual script opens a picture with Pillow, runs the network on it in eager mode, takes the argmax of the full-size logits,
and saves a palette mask and a half-and-half overlay as PNG with Pillow's defaults. Ours is `predict_all`, the whole of what
`perpixel predict` does after loading, legend and journal included. Each has a process of its own, with its model loaded before
the clock starts; they write to the same disk, in turn."""

import argparse
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from measure import alternately, machine, median, report
from PIL import Image

from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.weights.model_file import Model, load


@cache
def loaded(run: Path) -> Model:
    return load(run)


@torch.inference_mode()
def usual_script(run: Path, pictures: Path, out: Path) -> None:
    """What one writes in ten lines."""
    model = loaded(run)
    network, palette = model.network.eval(), model.classes.palette
    shutil.rmtree(out, ignore_errors=True)
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True)
    for path in sorted(pictures.iterdir()):
        image = Image.open(path).convert("RGB")
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        labels = network(x)["logits"].argmax(1)[0].numpy().astype(np.uint8)
        mask = Image.fromarray(labels)
        mask.putpalette(palette.tobytes())
        mask.save(out / "masks" / f"{path.stem}.png")
        Image.blend(image, Image.fromarray(palette[labels]), 0.5).save(out / "overlays" / f"{path.stem}.png")


def ours(run: Path, pictures: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    assert all(outcome.status == "done" for outcome in predict_all(loaded(run), find_pictures([str(pictures)]), out))


def peak_memory(run: Path, pictures: Path) -> int:
    """Largest resident size of the whole command, in MB."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "perpixel", "predict", str(run), str(pictures), "--out", f"{scratch}/out"]
        subprocess.run(command, check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    model = load(options.run)
    assert model.scale == 1, "the usual script knows no scale"
    names = [source.name for source in find_pictures([str(options.pictures)])]
    memory = peak_memory(options.run, options.pictures)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(1, spawn) as other:
        folders = {"usual": Path(scratch) / "usual", "ours": Path(scratch) / "ours"}
        seconds = alternately(
            options.runs,
            usual=lambda: one.submit(usual_script, options.run, options.pictures, folders["usual"]).result(),
            ours=lambda: other.submit(ours, options.run, options.pictures, folders["ours"]).result(),
        )
        differing = pixels = 0
        for name in names:
            a, b = (np.array(Image.open(folder / "masks" / f"{name}.png")) for folder in folders.values())
            differing, pixels = differing + int((a != b).sum()), pixels + a.size
    rates = {name: len(names) / median(values) for name, values in seconds.items()}
    report("predict", {
        "machine": machine("torch", "timm", "numpy", "numba", "pillow"),
        "network": [model.card.network, model.card.arguments],
        "pictures": len(names), "pictures per second": rates, "times faster": rates["ours"] / rates["usual"],
        "pixels that differ": differing, "pixels": pixels, "peak memory of perpixel predict, MB": memory,
    })  # fmt: skip


if __name__ == "__main__":
    main()
