"""perpixel: the review that runs. Semantic segmentation networks, trained as published and judged by one protocol.

    model = perpixel.load("runs/camvid")
    prediction = perpixel.predict(model, "street.jpg")     # labels (H, W), class table

Names are imported when they are first used, so that `perpixel --help` does not wait for torch."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perpixel.version import VERSION as __version__

if TYPE_CHECKING:
    from perpixel.checkpoint import load as load
    from perpixel.classes import ClassTable as ClassTable
    from perpixel.datasets import open_dataset as open_dataset
    from perpixel.evaluate import evaluate as evaluate
    from perpixel.inference import Inference as Inference
    from perpixel.metrics import ConfusionMatrix as ConfusionMatrix
    from perpixel.networks import build as build
    from perpixel.predict import predict as predict
    from perpixel.sample import Instances as Instances
    from perpixel.sample import Prediction as Prediction
    from perpixel.sample import Sample as Sample

_HOMES = {
    "ClassTable": "classes",
    "ConfusionMatrix": "metrics",
    "Inference": "inference",
    "Instances": "sample",
    "Prediction": "sample",
    "Sample": "sample",
    "build": "networks",
    "evaluate": "evaluate",
    "load": "checkpoint",
    "open_dataset": "datasets",
    "predict": "predict",
}
__all__ = ["__version__", *_HOMES]


class _Package(ModuleType):
    """Keeps `perpixel.predict` the function, although importing the module `perpixel/predict.py` binds its own name here."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"perpixel has no {name!r}; it has {', '.join(__all__)}.")
        value = getattr(import_module(f"perpixel.{_HOMES[name]}"), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*__all__, *super().__dir__()})

    def __setattr__(self, name: str, value: Any) -> None:
        is_verb = isinstance(value, ModuleType) and _HOMES.get(name) == name
        super().__setattr__(name, getattr(value, name) if is_verb else value)


sys.modules[__name__].__class__ = _Package
