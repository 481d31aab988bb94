"""perpixel: the review that runs. Semantic segmentation networks, trained as published and judged by one protocol.

    perpixel.train("street", out="runs/street", minutes=5)  # a folder of pictures and masks
    model = perpixel.load("runs/street")
    prediction = perpixel.predict(model, "street.jpg")     # labels (H, W), class table

Names are imported when they are first used, so that `perpixel --help` does not wait for torch, and the core works without it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from perpixel.version import VERSION as __version__

if TYPE_CHECKING:
    from perpixel.classes import ClassTable as ClassTable
    from perpixel.datasets import open_dataset as open_dataset
    from perpixel.folder_to_run import train as train
    from perpixel.judging.compare import compare as compare
    from perpixel.judging.comparison import Comparison as Comparison
    from perpixel.judging.evaluate import evaluate as evaluate
    from perpixel.judging.scores import Scores as Scores
    from perpixel.measures.confusion_matrix import ConfusionMatrix as ConfusionMatrix
    from perpixel.networks import build as build
    from perpixel.prediction.inference import Inference as Inference
    from perpixel.prediction.predict import predict as predict
    from perpixel.sample import Instances as Instances
    from perpixel.sample import Prediction as Prediction
    from perpixel.sample import Sample as Sample
    from perpixel.weights.model_file import load as load

_HOMES = {
    "ClassTable": "classes",
    "Comparison": "judging.comparison",
    "ConfusionMatrix": "measures.confusion_matrix",
    "Inference": "prediction.inference",
    "Instances": "sample",
    "Prediction": "sample",
    "Sample": "sample",
    "Scores": "judging.scores",
    "build": "networks",
    "compare": "judging.compare",
    "evaluate": "judging.evaluate",
    "load": "weights.model_file",
    "open_dataset": "datasets",
    "predict": "prediction.predict",
    "train": "folder_to_run",
}
__all__ = ["__version__", *_HOMES]


if not TYPE_CHECKING:  # so that type checkers see a wrong name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"perpixel has no {name!r}; it has {', '.join(__all__)}.")
        try:
            home = import_module(f"perpixel.{_HOMES[name]}")
        except ModuleNotFoundError as error:
            from perpixel.errors import without_torch

            raise without_torch(error, f"perpixel.{name}") or error from None
        value = getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
