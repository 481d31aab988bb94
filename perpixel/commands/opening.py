"""The models, data sets and files that a command line names, opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perpixel.commands.flags import InferenceFlags
from perpixel.errors import UsageError


def open_model(run: Path, device: str) -> Any:
    """The model of a run folder or file; none for a folder without one, which holds masks."""
    from perpixel.weights.model_file import MODEL_FILE

    return load_on(run, device) if run.is_file() or (run / MODEL_FILE).exists() or not run.is_dir() else None


def inference_of(flags: InferenceFlags) -> Any:
    from perpixel.prediction.inference import Inference

    return Inference(**{name: value for name, value in vars(flags).items() if value is not None})


def load_on(run: Path | str, device: str) -> Any:
    from perpixel.machines import device as machine
    from perpixel.weights.model_file import load

    model = load(run)
    model.network.to(machine.choose(device))
    return model


def open_data(run: Path, model: Any, data: str | None, root: str | None, split: str | None) -> tuple[Any, str]:
    """The data set that is named, or the one that the model was trained on, and its name."""
    from perpixel.datasets import open_dataset
    from perpixel.training.run import data_of

    if model is not None:
        trained = model.card.recipe
        place, its_root = data_of(run, trained)
        root = root or its_root
        if data is None and place is not None:  # a split belongs to a data set
            return open_dataset(place, root=root, split=split or trained.get("val_split") or "val"), trained["data"]
    if data is None:
        raise UsageError(f"{run}: does not say which data set it is for; name the data set to judge by with --data.")
    return open_dataset(data, root=root, split=split or "val"), data


def annotation_file(data: str | None, root: str | None, split: str | None, kind: str | None) -> Path:
    """COCO's, by the name of the view or as a file, for instances of a kind, or panoptic maps without one."""
    view = "coco_panoptic" if kind is None else "coco"
    if data == view:
        from perpixel.datasets.coco import Coco

        if root is None:
            raise UsageError(f"--data {view} needs the folder that holds it, with --root or PERPIXEL_ROOT.")
        return Path(Coco(root, split or "val", view).annotations)
    if data is None or not data.endswith(".json"):
        raise UsageError(
            f"{'--panoptic' if kind is None else '--instances'} judges a results file by an annotation file; name with --data "
            f"{view}, or the file, as annotations/{'panoptic' if kind is None else 'instances'}_val2017.json."
        )
    if split is not None:
        raise UsageError(f"{data}: is one split by itself; leave --split out, or name the file of {split}.")
    return Path(data)
