"""From JPEG files to masks and overlays on the disk: `perpixel predict` in each engine against scripts, with the same network.

    PYTHONPATH=FOLDER_OF_SMP python benchmarks/engines.py PICTURES [--size 480x360] [--network unet] [--runs 5] [--count 8]

PICTURES is a folder of JPEGs; the first `count` are resized to each size. Each contestant has a process of its own for each size,
imports what it needs itself, and is ready before the clock starts; they take turns.

    ours_torch, ours_onnx, ours_openvino     `predict_all` behind `in_engine`, as `perpixel predict --engine` calls them
    eager             Pillow, the network in eager mode, argmax of its full-size logits, Pillow: as torchvision's and
                      segmentation_models_pytorch's pages show it
    channels_last     the same with weights and pictures in that order
    smp               as `eager`, with segmentation_models_pytorch's own U-Net, which has other weights; for "unet" alone
    onnx_script       Pillow, a graph of this size from pictures to logits in ONNX Runtime, argmax in NumPy, Pillow
    openvino_script   the same graph in OpenVINO, by default with half precision where the processor has it
    openvino_float32  the same with float32, as ours computes

Labels are compared with those of `eager`. Memory is the largest resident size of the whole process. The table has times faster
and shares of memory: what ours takes over what the other takes."""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measure import alternately, machine, median, report
from PIL import Image

TRUNK, DECODER = "efficientnet_lite0", (256, 128, 64, 32)
NETWORKS: dict[str, dict[str, Any]] = {"unet": {"backbone": TRUNK, "decoder": DECODER}, "parsenet": {}}  # light, heavy
SIZES = ("480x360", "1024x512", "2048x1024")  # width x height
OURS = {"ours_torch": "torch", "ours_onnx": "onnx", "ours_openvino": "openvino"}
SCRIPTS = {"onnx_script": (), "openvino_script": (), "openvino_float32": (("INFERENCE_PRECISION_HINT", "f32"),)}  # settings
GRAPH = "logits.onnx"


@cache
def model_of(name: str) -> Any:
    """Randomly initialised, the same in every process."""
    import torch

    from perpixel import build, open_dataset
    from perpixel.networks import as_network
    from perpixel.weights.model_file import Model, ModelCard

    torch.manual_seed(0)
    classes = open_dataset("scenes").classes
    network = build(name, len(classes), **NETWORKS[name])
    card = ModelCard(name, NETWORKS[name], classes.to_json(), {}, 1.0, 0, {}, "", "")
    return Model(as_network(network.eval()), classes, card, name.ljust(64, "0"))


@cache
def ours(name: str, engine: str, beside: Path, picture: Path) -> Any:
    from perpixel.images import read_image
    from perpixel.prediction.engines import in_engine

    return in_engine(model_of(name), engine, read_image(picture), beside)


@cache
def eager(name: str, contestant: str) -> Any:
    if contestant == "smp":
        import segmentation_models_pytorch as smp

        return smp.Unet(f"tu-{TRUNK}", encoder_weights=None, classes=len(model_of(name).classes)).eval()
    import torch

    network = model_of(name).network
    return network.to(memory_format=torch.channels_last) if contestant == "channels_last" else network


@cache
def session(graph: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@cache
def compiled(graph: Path, settings: tuple[tuple[str, str], ...]) -> Any:
    import openvino

    return openvino.Core().compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY", **dict(settings)})


def make_graph(name: str, size: tuple[int, int], file: Path) -> None:
    """Of pictures float32 (1, 3, H, W) in [0, 1] of one size, the logits: what a script exports."""
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model_of(name).network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(images)["logits"]
            return logits

    with torch.no_grad():
        torch.onnx.export(
            Logits().eval(), (torch.zeros(1, 3, *size),), file, input_names=["images"], output_names=["logits"], dynamo=True,
            verbose=False, external_data=False,
        )  # fmt: skip


def logits_of(contestant: str, name: str, image: Image.Image, graph: Path) -> Any:
    """(C, H, W), as an array or a tensor."""
    if contestant in SCRIPTS:
        images = np.ascontiguousarray((np.asarray(image, np.float32) / 255).transpose(2, 0, 1)[None])
        if contestant == "onnx_script":
            return session(graph).run(None, {"images": images})[0][0]
        return compiled(graph, SCRIPTS[contestant])(images)[0][0]
    import torch
    from torch.nn import functional as F

    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    height, width = tensor.shape[2:]
    if contestant == "smp":  # takes multiples of 32 alone
        tensor = F.pad(tensor, (0, -width % 32, 0, -height % 32))
    if contestant == "channels_last":
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = eager(name, contestant)(tensor)
    return (found["logits"] if isinstance(found, dict) else found)[0, :, :height, :width]


def run(contestant: str, name: str, pictures: Path, scratch: Path, palette: Any) -> None:
    """Predicts all pictures, into a new folder."""
    out = scratch / contestant
    shutil.rmtree(out, ignore_errors=True)
    if contestant in OURS:
        from perpixel.prediction.bulk import find_pictures, predict_all

        found = find_pictures([str(pictures)])
        model = ours(name, OURS[contestant], scratch / "engines", Path(found[0].path))
        assert all(outcome.status == "done" for outcome in predict_all(model, found, out))
        return
    for folder in ("masks", "overlays"):
        (out / folder).mkdir(parents=True)
    for path in sorted(pictures.iterdir()):
        image = Image.open(path).convert("RGB")
        logits = logits_of(contestant, name, image, scratch / GRAPH)
        labels = np.asarray(logits.argmax(0), np.uint8)  # torch's argmax of a tensor, NumPy's of an array
        mask = Image.fromarray(labels)
        mask.putpalette(palette.tobytes())
        mask.save(out / "masks" / f"{path.stem}.png")
        Image.blend(image, Image.fromarray(palette[labels]), 0.5).save(out / "overlays" / f"{path.stem}.png")


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(name: str, size: tuple[int, int], scratch: Path) -> Any:
    """Makes the graph of the scripts in a process that no contestant has; the palette of the classes."""
    make_graph(name, size, scratch / GRAPH)
    return model_of(name).classes.palette


def differing(scratch: Path, contestant: str) -> tuple[int, int]:
    """Pixels with another label than `eager` gives, and all pixels."""
    found = pixels = 0
    for file in sorted((scratch / "eager/masks").iterdir()):
        theirs, labels = (np.asarray(Image.open(path)) for path in (file, scratch / contestant / "masks" / file.name))
        found, pixels = found + int((theirs != labels).sum()), pixels + labels.size
    return found, pixels


def contest(name: str, size: tuple[int, int], pictures: list[Path], runs: int) -> dict[str, Any]:
    """All contestants with one network, on pictures of one size (height, width)."""
    contestants = [*OURS, "eager", "channels_last", *SCRIPTS]
    if name == "unet" and find_spec("segmentation_models_pytorch"):
        contestants.append("smp")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        scratch, resized = Path(folder), Path(folder) / "pictures"
        resized.mkdir()
        for number, path in enumerate(pictures):
            Image.open(path).convert("RGB").resize(size[::-1]).save(resized / f"{number:03}.jpg", quality=90)
        with ProcessPoolExecutor(1, spawn) as pool:
            palette = pool.submit(prepare, name, size, scratch).result()
        pools = {one: ProcessPoolExecutor(1, spawn) for one in contestants}
        calls = {
            one: lambda one=one: pools[one].submit(run, one, name, resized, scratch, palette).result() for one in contestants
        }
        try:
            seconds = {one: median(each) / len(pictures) for one, each in alternately(runs, **calls).items()}
            megabytes = {one: pools[one].submit(memory).result() for one in contestants}
        finally:
            for pool in pools.values():
                pool.shutdown()
        others = {one: differing(scratch, one) for one in contestants if one != "smp"}
    return {
        "seconds a picture": seconds, "peak memory, MB": megabytes,
        "pixels that differ from eager": {one: found for one, (found, _) in others.items()}, "pixels": others["eager"][1],
    }  # fmt: skip


COLUMNS = ("eager", "channels_last", "openvino_script", "openvino_float32")


def rows(name: str, size: str, result: dict[str, Any]) -> list[str]:
    """Lines of the table, one for each engine of ours."""
    seconds, megabytes = result["seconds a picture"], result["peak memory, MB"]
    lines = []
    for one in OURS:
        faster = [f"{seconds[other] / seconds[one]:.2f}x" for other in COLUMNS]
        shares = [f"{megabytes[one] / megabytes[other]:.2f}" for other in COLUMNS]
        differ = f"{result['pixels that differ from eager'][one]} of {result['pixels']}"
        lines.append(" | ".join(["", name, size, one, f"{1 / seconds[one]:.2f}", *faster, *shares, differ, ""]).strip())
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--size", action="append", help="width x height, such as 480x360")
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--count", type=int, default=8)
    options = parser.parse_args()
    pictures = sorted(path for path in options.pictures.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[: options.count]
    results: dict[str, Any] = {}
    heads = [*(f"faster than {other}" for other in COLUMNS), *(f"memory / {other}'s" for other in COLUMNS)]
    table = ["| " + " | ".join(["network", "size", "ours", "pictures a second", *heads, "pixels that differ"]) + " |"]
    for name in options.network or NETWORKS:
        for size in options.size or SIZES:
            width, height = (int(side) for side in size.split("x"))
            results[f"{name} {size}"] = contest(name, (height, width), pictures, options.runs)
            table += rows(name, size, results[f"{name} {size}"])
            print(table[0], *table[-len(OURS) :], sep="\n", flush=True)
    packages = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "pillow", "segmentation-models-pytorch")
    report("engines", {"machine": machine(*packages), "pictures": len(pictures), "results": results})
    print(*table, sep="\n")


if __name__ == "__main__":
    main()
