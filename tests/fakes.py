"""Data sets in their true folder shape, with tiny pictures that a network can learn something from."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES_CSV = "id,name,r,g,b\n0,ground,90,90,90\n1,box,200,40,40\n2,disc,40,40,200\n255,void,0,0,0\n"


def draw_sample(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise with a red box and a blue disc; void on the last column."""
    rng = np.random.default_rng(seed)
    height, width = size
    labels = np.zeros(size, np.uint8)
    top, left = rng.integers(1, height // 2), rng.integers(1, width // 2)
    labels[top : top + height // 3, left : left + width // 3] = 1
    rows, columns = np.mgrid[:height, :width]
    centre = rng.integers(4, height - 4), rng.integers(width // 2, width - 4)
    labels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (height // 6) ** 2] = 2
    colours = np.array([[90, 90, 90], [200, 40, 40], [40, 40, 200]])
    image = np.clip(colours[labels] + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    labels[:, -1] = 255
    return image, labels


def make_folder(root: Path, train: int = 8, val: int = 4, size: tuple[int, int] = (24, 32)) -> Path:
    """`images/{train,val}`, `masks/{train,val}` and `classes.csv` below `root`; JPEG pictures, grey PNG masks."""
    seed = 0
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = draw_sample(seed, size)
            Image.fromarray(image).save(root / "images" / split / f"p{number:02d}.jpg", quality=95)
            Image.fromarray(labels).save(root / "masks" / split / f"p{number:02d}.png")
            seed += 1
    (root / "classes.csv").write_text(CLASSES_CSV)
    return root
