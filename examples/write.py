"""Writes the notebooks of this folder from the cells below, and executes them in folders of their own.

`python examples/write.py` needs nbclient and ipykernel, and `perpixel` with the extras `torch` and `export`. A line that begins
with `# %%` begins a cell; one with `# %% text` begins a cell of text. All data is drawn, so the notebooks run anywhere, in a few
minutes on one core."""

import sys
import tempfile
from pathlib import Path

OWN_PICTURES = """# %% text
# Your own pictures
A folder of pictures and masks becomes a network. Here the folder is drawn; yours may have
[almost any shape](../docs/init.md).
# %%
from pathlib import Path
from PIL import Image
import perpixel

drawn = perpixel.open_dataset("scenes", split="train")
for kind in ("photos", "labels"):
    Path("pictures", kind).mkdir(parents=True, exist_ok=True)
for index in range(80):
    sample = drawn.sample(index)
    Image.fromarray(sample.image).save(f"pictures/photos/{index}.jpg")
    Image.fromarray(sample.labels).save(f"pictures/labels/{index}.png")
drawn
# %% text
`perpixel.train` pairs the files, checks them, plans and trains. Without the settings below it plans about a quarter of an hour of
training by itself, on a pretrained network.
# %%
scores = perpixel.train(
    "pictures", out="runs/mine", network="unet", convolutions="same", norm="batch", width=0.125, lr=5e-3, batch=8, steps=60,
    validations=1, say=lambda line: None,
)
scores
# %% text
A picture is a path, bytes, a picture of Pillow, or an array of NumPy or torch. A prediction shows itself.
# %%
model = perpixel.load("runs/mine")
prediction = perpixel.predict(model, "pictures/photos/3.jpg")
prediction
# %% text
Other tools take its regions: rings and holes, COCO's annotations, or detections of `supervision`.
# %%
print({name: len(polygons) for name, polygons in prediction.polygons().items()})
prediction.to_coco(category_ids={name: number for number, name in enumerate(model.classes.names, start=1)})[0]
"""
JUDGE_MASKS = """# %% text
# Judge a paper's masks
Someone sends masks and a score. What are they worth under one protocol? This needs no torch: `pip install perpixel`.
Here the masks of two methods are drawn: the truth with blurred borders, and the truth without its thin things.
# %%
from pathlib import Path
import numpy as np
import perpixel
from perpixel.images import write_labels

truth = perpixel.open_dataset("scenes", split="val")
road = truth.classes.id_of("road")
thin = [truth.classes.id_of(name) for name in ("pole", "sign", "person")]
for index in range(len(truth)):
    sample = truth.sample(index)
    labels = np.where(sample.labels == truth.classes.void, road, sample.labels).astype(np.uint8)
    coarse = labels[::4, ::4].repeat(4, 0).repeat(4, 1)
    without = np.where(np.isin(labels, thin), np.roll(labels, 8, axis=1), labels)
    for method, mask in (("coarse", coarse), ("without-thin", without)):
        write_labels(Path(method), f"{sample.name}.png", mask, truth.classes)
truth
# %%
scores = perpixel.evaluate("coarse", truth, bootstrap=200)
scores
# %% text
The hash of the protocol says with which other scores this one may be compared. A comparison tests every difference:
# %%
perpixel.compare(["coarse", "without-thin"], truth, samples_drawn=500)
# %% text
Another measure of the same masks: the distance between borders.
# %%
from perpixel.measures.boundary_iou import BoundaryIou

perpixel.evaluate("coarse", truth, BoundaryIou())
# %% text
Where do they differ from the truth?
# %%
from PIL import Image
from perpixel import draw
from perpixel.images import read_labels

sample = truth.sample(0)
panels = [sample.image] + [
    draw.error_map(sample.labels, truth.classes.decode(read_labels(f"{method}/{sample.name}.png")), truth.classes.void)
    for method in ("coarse", "without-thin")
]
Image.fromarray(draw.sheet([panels], ["picture", "coarse: errors", "without-thin: errors"]))
"""
REPEAT_A_CLAIM = """# %% text
# Repeat a claim
FCN's paper says what bounds a network of coarse stride: the best mean IU that labels of stride 32, 16, 8 ... can reach. The bound
needs no network, so it can be repeated on any data set in seconds.
# %%
import perpixel
from perpixel.studies.upper_bound import PAPER, upper_bound

dataset = perpixel.open_dataset("scenes", split="val")
for bound in upper_bound(dataset, (128, 64, 32, 16, 8, 4)):
    print(f"stride {bound.factor:3d}: {100 * bound.mean_iou:5.1f} here, {100 * PAPER[bound.factor]:5.1f} in the paper (VOC)")
# %% text
The paper then says that a skip from pool4 sharpens what a stride of 32 leaves coarse. A claim is tried by two trainings that
differ in that part alone. One seed and 40 steps show how it goes; a verdict needs three seeds and all steps
([docs/claims.md](../docs/claims.md)).
# %%
!perpixel claims fcn-pool4 --seeds 1 --steps 40 2>/dev/null
"""
DEPLOY = """# %% text
# Deploy
A trained network as a file for ONNX Runtime: bytes of RGB in, labels out, at any size, without torch.
# %%
import perpixel

perpixel.train(
    "scenes", out="runs/scenes", network="unet", convolutions="same", norm="batch", width=0.125, lr=3e-3, batch=8, steps=60,
    validations=1, say=lambda line: None,
)
# %% text
The file is written only when its labels are torch's, pixel by pixel.
# %%
from pathlib import Path
from perpixel.export.export import export

model = perpixel.load("runs/scenes")
written = export(model, Path("model.onnx"))
print(f"{written.proof.comparison}; {Path('model.onnx').stat().st_size / 1e6:.1f} MB")
# %% text
Any program runs it:
# %%
import numpy as np
import onnxruntime

sample = perpixel.open_dataset("scenes", split="test").sample(7)
session = onnxruntime.InferenceSession("model.onnx")
for entry in (*session.get_inputs(), *session.get_outputs()):
    print(entry.name, entry.type, entry.shape)
# %% text
and perpixel takes it like a run: the same labels, the same protocol of a score.
# %%
exported = perpixel.load("model.onnx")
same = perpixel.predict(exported, sample.image)
print("equal labels:", np.array_equal(same.labels, perpixel.predict(model, sample.image).labels))
same
"""
NOTEBOOKS = {
    "own_pictures": OWN_PICTURES, "judge_masks": JUDGE_MASKS, "repeat_a_claim": REPEAT_A_CLAIM, "deploy": DEPLOY,
}  # fmt: skip


def parts(text: str) -> list[tuple[str, str]]:
    """The cells of a notebook: "markdown" or "code", and the source."""
    cells = [part.partition("\n") for part in text.split("# %%")[1:]]
    return [("markdown" if kind.strip() == "text" else "code", source.strip()) for kind, _, source in cells]


def main(names: list[str]) -> None:
    import nbformat
    from nbclient import NotebookClient

    makers = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    for name in names or NOTEBOOKS:
        cells = [makers[kind](source, id=f"cell-{number}") for number, (kind, source) in enumerate(parts(NOTEBOOKS[name]))]
        notebook = nbformat.v4.new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}})
            client.execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times differ from run to run
        (Path(__file__).parent / f"{name}.ipynb").write_text(nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
