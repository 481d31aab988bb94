"""The probabilities that a prediction keeps: of which classes, and as which numbers. Memory never holds them in another form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.classes import ClassTable
from perpixel.errors import UsageError, did_you_mean

NUMBERS = {"float32": "probabilities", "float16": "probabilities, to 11 bits", "uint8": "255 x probability, rounded"}


@dataclass(frozen=True)
class KeptScores:
    """Probabilities of these `classes` by name, in this order, or of all; as numbers of the type `numbers`, a name of NUMBERS.

    Raises UnknownName for another type, UsageError for no class."""

    numbers: str = "float32"
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS:
            raise did_you_mean("type of scores", self.numbers, NUMBERS)
        if self.classes is not None and (not self.classes or len({*self.classes}) < len(self.classes)):
            raise UsageError(f"scores of {', '.join(self.classes) or 'no class'}: name one class or more, each once.")

    def ids(self, table: ClassTable) -> list[int]:
        """The ids of the classes. Raises UnknownName for a class that the table does not have."""
        return [*range(len(table))] if self.classes is None else [table.id_of(name) for name in self.classes]

    def empty(self, size: tuple[int, int], table: ClassTable) -> NDArray[Any]:
        """(classes, H, W), to be filled by `put`."""
        return np.empty((len(self.ids(table)), *size), self.numbers)

    def put(self, kept: NDArray[Any], part: tuple[slice, slice], probabilities: NDArray[np.float32], table: ClassTable) -> None:
        """Puts the probabilities (C, h, w) of all classes into a part of the picture."""
        for place, id in enumerate(self.ids(table)):
            of_class = probabilities[id]
            kept[place][part] = np.rint(of_class * np.float32(255)) if self.numbers == "uint8" else of_class

    def of(self, probabilities: NDArray[np.float32], table: ClassTable) -> NDArray[Any]:
        """(classes, H, W) of the probabilities (C, H, W) of all classes."""
        if self == KeptScores():
            return probabilities
        kept = self.empty(probabilities.shape[1:], table)
        self.put(kept, (slice(None), slice(None)), probabilities, table)
        return kept
