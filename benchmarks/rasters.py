"""A drawn raster of 60,000 x 60,000 pixels -> its mask, by `perpixel predict --memory 1.5GB` in a process of its own, whose peak
is watched; and polygons of a mask of 4,096 x 4,096 beside those of rasterio, which holds the whole mask.

    python benchmarks/rasters.py                # 10 minutes; --side 16000 for less
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from measure import alternately, machine, median, report
from rasterio.features import shapes
from rasterio.windows import Window
from scipy import ndimage

import perpixel
from perpixel.classes import ClassTable
from perpixel.masks.regions import regions, rows_of_band
from perpixel.weights.model_file import ModelCard, save_model

MEMORY = "1.5GB"
NETWORK, ARGUMENTS = "fcn32s", {"backbone": "alexnet", "width": 0.05}
PLACE = rasterio.Affine(0.5, 0, 500000, 0, -0.5, 4649776)


def draw(path: Path, side: int) -> None:
    """A raster of black with a bright box in some tiles; the other tiles are not stored."""
    size = {"height": side, "width": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32632", "transform": PLACE}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True, "bigtiff": "YES"}
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", driver="GTiff", photometric="RGB", **size, **layout) as file:
        for _ in range(max(1, side * side // 10**6)):
            height, width = rng.integers(20, 400, 2)
            top, left = rng.integers(0, side - 400, 2)
            box = np.broadcast_to(rng.integers(60, 256, (3, 1, 1), dtype=np.uint8), (3, height, width))
            file.write(box, window=Window(left, top, width, height))


def make_model(folder: Path) -> None:
    torch.manual_seed(0)
    classes = ClassTable.of(("ground", "box"))
    network = perpixel.build(NETWORK, len(classes), **ARGUMENTS)
    folder.mkdir()
    save_model(folder, network.state_dict(), ModelCard(NETWORK, ARGUMENTS, classes.to_json(), {}, 1.0, 0, {}, "", ""))


def watched(command: list[str]) -> tuple[float, int]:
    """The seconds of a command, and the bytes of memory that it held at most, looked at a hundred times a second."""
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                break
            held = [int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "VmHWM:"))]
            peak = max([peak, *(1024 * value for value in held)])
            time.sleep(0.01)
    assert process.returncode == 0, process.returncode
    return time.perf_counter() - began, peak


def polygons(side: int) -> dict[str, float]:
    """Seconds of ours and of rasterio for the regions of a mask of blobs, with equal numbers and areas."""
    rng = np.random.default_rng(0)
    labels = (ndimage.gaussian_filter(rng.normal(size=(side, side)).astype(np.float32), 24) > 0).astype(np.uint8)
    rows = rows_of_band(side)

    def ours() -> list[int]:
        return sorted(region.pixels for region in regions((labels[top : top + rows] for top in range(0, side, rows)), 255))

    def theirs() -> list[dict[str, object]]:
        return [shape for shape, _ in shapes(labels, connectivity=4)]

    found, count = ours(), len(theirs())
    assert (len(found), sum(found)) == (count, side * side)
    seconds = alternately(3, ours=ours, rasterio=theirs)
    return {"regions": count, **{f"{name} s": round(median(each), 2) for name, each in seconds.items()}}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--side", type=int, default=60_000)
    side = flags.parse_args().side
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw(root / "map.tif", side)
        make_model(root / "run")
        command = [sys.executable, "-m", "perpixel", "predict", str(root / "run"), str(root / "map.tif"), "--out",
                   str(root / "out"), "--memory", MEMORY, "--device", "cpu"]  # fmt: skip
        seconds, peak = watched(command)
        mask = root / "out/masks/map.tif"
        with rasterio.open(mask) as file:
            assert file.shape == (side, side)
        figures = {
            "side": side, "network": f"{NETWORK} {ARGUMENTS}", "memory": MEMORY, "peak MB": round(peak / 1e6),
            "minutes": round(seconds / 60, 2), "Mpx/s": round(side * side / seconds / 1e6, 1),
            "mask MB": round(mask.stat().st_size / 1e6, 1),
        }  # fmt: skip
    report("rasters", {**figures, "polygons 4096": polygons(4096), "machine": machine("torch", "rasterio")})


if __name__ == "__main__":
    main()
