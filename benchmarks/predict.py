"""A folder of JPEGs -> written masks and overlays: `perpixel predict` against the usual eager script, same network.

    python benchmarks/predict.py RUN PICTURES [--runs 5]

The usual script opens a picture with Pillow, runs the network on it in eager mode, takes the argmax of the full-size logits,
and saves a palette mask and a half-and-half overlay as PNG with Pillow's defaults. Ours is `predict_all`, the whole of what
`perpixel predict` does after loading, legend and journal included. Both write to the same disk."""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import alternately, machine, median, report
from PIL import Image

from perpixel.checkpoint import load
from perpixel.predict import find_sources, predict_all


@torch.inference_mode()
def usual_script(run: Path, pictures: list[Path], out: Path) -> None:
    """What one writes in ten lines."""
    model = load(run)
    network, palette = model.network.eval(), model.classes.palette
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True)
    for path in pictures:
        image = Image.open(path).convert("RGB")
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        if model.scale != 1:
            size = [round(side * model.scale) for side in x.shape[-2:]]
            x = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        logits = network(x)["logits"]
        if model.scale != 1:
            logits = torch.nn.functional.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
        labels = logits.argmax(1)[0].numpy().astype(np.uint8)
        mask = Image.fromarray(labels)
        mask.putpalette(palette.tobytes())
        mask.save(out / "masks" / f"{path.stem}.png")
        Image.blend(image, Image.fromarray(palette[labels]), 0.5).save(out / "overlays" / f"{path.stem}.png")


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
    sources = find_sources([str(options.pictures)])
    pictures = [Path(source.path) for source in sources]
    model = load(options.run)
    with tempfile.TemporaryDirectory() as scratch:
        usual, ours = Path(scratch) / "usual", Path(scratch) / "ours"

        def call_usual() -> None:
            shutil.rmtree(usual, ignore_errors=True)
            usual_script(options.run, pictures, usual)

        def call_ours() -> None:
            shutil.rmtree(ours, ignore_errors=True)
            assert all(outcome.status == "done" for outcome in predict_all(model, sources, ours))

        seconds = alternately(options.runs, usual=call_usual, ours=call_ours)
        differing = pixels = 0
        for source in sources:
            a, b = (np.array(Image.open(folder / "masks" / f"{source.name}.png")) for folder in (usual, ours))
            differing, pixels = differing + int((a != b).sum()), pixels + a.size
    rates = {name: len(sources) / median(values) for name, values in seconds.items()}
    report("predict", {
        "machine": machine("torch", "timm", "numpy", "numba", "pillow"),
        "network": [model.card.network, model.card.arguments, f"scale {model.scale}"],
        "pictures": len(sources), "pictures per second": rates, "times faster": rates["ours"] / rates["usual"],
        "pixels that differ": differing, "pixels": pixels,
        "peak memory of perpixel predict, MB": peak_memory(options.run, options.pictures),
    })  # fmt: skip


if __name__ == "__main__":
    main()
