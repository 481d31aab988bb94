"""A model file that describes itself, and a run folder that survives a kill at any moment.

A model file is `model.safetensors`: tensors, and a header with one JSON text. The text has all that is needed to rebuild the
network (`ModelCard`), and the SHA-256 of the whole file, computed while the 64 digits of this digest are zeros. `model.json`
beside the file is the same text for people. Nothing that is loaded can name code. A model file may hold a trunk alone. Then the
card's network is a name of `TRUNKS`, there are no classes, and trainings can start from the trunk.

A run folder keeps the two newest states to resume from in `last/step-N/`: files, then a manifest with the SHA-256 of each,
written under another name and renamed when all is on disk. A state whose manifest does not match is not used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from perpixel import networks
from perpixel.backbones import TRUNKS
from perpixel.bands import Bands, count_of
from perpixel.classes import ClassTable
from perpixel.errors import DataError, PerpixelError, UntrustedFile, UsageError, printable
from perpixel.files import CARD_FILE, MODEL_FILE, digest, write_whole
from perpixel.limits import LARGEST_SCALE
from perpixel.machines.interrupts import interruptible
from perpixel.machines.memory import keep_freed_memory
from perpixel.networks import Network, as_network
from perpixel.networks.torchvision import LIGHTEST, PUBLISHED, fetch, torchvision_state
from perpixel.sample import Sample
from perpixel.terminal import say
from perpixel.version import VERSION
from perpixel.weights.exported_file import is_exported, opened, read_exported

SHIPPED = Path(__file__).parents[1] / "trunks"  # made by `perpixel review --make-trunks`
_HEADER_KEY, _DIGEST = "perpixel", "sha256"
_NO_DIGEST = "0" * 64
_LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it
_CHUNK = 1 << 22
# Errors that reading a damaged file raises.
DAMAGE = (
    SafetensorError, OSError, TypeError, ValueError, ArithmeticError, RuntimeError, KeyError, AttributeError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class ModelCard:
    """The description in a model file.

    `score` is the protocol and the figures of the last judgement, empty for a model that was never judged. `trained_on` is the
    fingerprint of the training split. `licence` is the text under which the weights may be used. `bands` are those of
    pictures with their ranges, as JSON; empty where pictures are RGB."""

    network: str
    arguments: dict[str, Any]
    classes: dict[str, Any]
    recipe: dict[str, Any]
    scale: float
    step: int
    score: dict[str, Any]
    trained_on: str
    licence: str
    version: str = VERSION
    bands: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the network, with all arguments that are not as published; or the name of the trunk."""
        return self.network if self.network in TRUNKS else networks.title(self.network, self.arguments)

    def to_json(self) -> dict[str, Any]:
        """The fields by name; bands where there are any, so that files of RGB stay as they were."""
        content = asdict(self)
        return content if self.bands else {name: value for name, value in content.items() if name != "bands"}

    @property
    def unfinished(self) -> str:
        """The step of a training that was stopped before the first judgement, such as "step 20 of 100"; else empty."""
        return f"step {self.step} of {self.recipe.get('steps')}" if self.recipe and not self.score else ""


@dataclass
class Model:
    """A network with its class table; `digest` is the SHA-256 of its file.

    The network sees pictures at `scale` times their size. With `side` their shorter side has that many pixels instead."""

    network: Network
    classes: ClassTable
    card: ModelCard
    digest: str
    side: int | None = None

    @property
    def scale(self) -> float:
        return self.card.scale

    @cached_property
    def bands(self) -> Bands | None:
        """The bands that the network takes. None where it takes RGB."""
        return Bands.from_json(self.card.bands) if self.card.bands else None

    def picture_of(self, sample: Sample) -> NDArray[Any]:
        """The picture of a sample with the model's bands in the model's order, found by their names, as files store them.

        Raises UsageError where the sample lacks one of them."""
        bands = self.bands
        if bands is None or sample.bands is None:
            return sample.image
        image, given = sample.image, sample.bands
        if given.names != bands.names:
            bands.refuse(given.names, sample.name)
            known = [name.casefold() for name in given.names]
            places = [known.index(name.casefold()) for name in bands.names]
            image = np.ascontiguousarray(image[..., places])
            given = given.chosen([given.names[place] for place in places])
        return image if given.nodata == bands.nodata else given.with_nan(image)

    def seen(self, image: NDArray[Any]) -> NDArray[Any]:
        """What the network sees of a picture at its size: RGB as it is; the model's bands, as files store them, float32 in
        [0, 1]. Raises DataError for a picture of other bands."""
        bands = self.bands
        if bands is None and (image.dtype != np.uint8 or image.shape[2] != 3):
            raise DataError(f"the picture has {count_of(image.shape[2])} of {image.dtype}, and the model takes RGB of uint8.")
        if bands is not None and image.shape[2] != len(bands):
            raise DataError(f"the picture has {count_of(image.shape[2])}, and the model takes {bands}; give those.")
        return image if bands is None else bands.scaled(image)[0]

    def shown(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """The same picture for people, uint8 RGB (H, W, 3)."""
        bands = self.bands
        return image if bands is None else bands.shown(image)

    def ready(self) -> Network:
        """The network ready for predictions: in evaluation mode, channels last, with freed memory kept between pictures."""
        keep_freed_memory()
        return self.network.eval().to(memory_format=torch.channels_last)

    def scale_for(self, size: Sequence[int]) -> float:
        """The scale at which the network sees a picture of `size` = (height, width)."""
        return self.scale if self.side is None else min(self.side / min(size), LARGEST_SCALE)


@dataclass(frozen=True)
class Stored:
    """The contents of a model file: its card, and its tensors by their names in the network. `digest` is the file's SHA-256."""

    card: ModelCard
    tensors: dict[str, Tensor]
    digest: str


def refuse_bands(model: Model, purpose: str) -> None:
    """Raises UsageError, whose message begins with the `purpose`, for a model of other bands than RGB."""
    if model.bands is not None:
        raise UsageError(f"{purpose}: is for RGB alone, and the model takes {model.bands}; name a model of RGB.")


def save_model(folder: Path, network: Mapping[str, Tensor], card: ModelCard) -> None:
    """Writes the model file whole, then its card for people. Raises PerpixelError for a weight that is not finite."""
    bad = first_not_finite(network)
    if bad is not None:
        raise PerpixelError(f"{folder / MODEL_FILE}: not written, for weight {bad} is not finite; lower the learning rate.")
    tensors, text = plain(network), json.dumps({"title": card.title, _DIGEST: _NO_DIGEST, **card.to_json()}, indent=1)
    file_digest = hashlib.sha256(to_safetensors(tensors, {_HEADER_KEY: text})).hexdigest()
    text = text.replace(_NO_DIGEST, file_digest, 1)
    write_whole(folder, MODEL_FILE, to_safetensors(tensors, {_HEADER_KEY: text}))
    write_whole(folder, CARD_FILE, (text + "\n").encode())


def load(run_or_file: str | Path, say: Callable[[str], None] = say, engine: str | None = None) -> Model:
    """The model of a run folder or of a model file, on the CPU and ready to predict. Loads nothing from the network.

    `say` receives two messages: that the training is unfinished, and that the file is too old to have a digest.
    A file that `perpixel export` wrote is run by an engine beside torch: by `engine`, "onnx" or "openvino", or that of its form.
    A name such as "torchvision_lraspp_mobilenet_v3_large" that no file has stands for that network with the weights of
    torchvision, which are fetched once. Raises DataError when there is no file, UntrustedFile when it is
    damaged or no perpixel model, UsageError for a trunk alone, ResourceError when published weights cannot be fetched."""
    if _is_published(run_or_file):
        return _published(str(run_or_file))
    if is_exported(run_or_file):
        return _exported(Path(run_or_file), engine)
    stored = read(run_or_file, say)
    card = stored.card
    if card.unfinished:
        say(f"{printable(run_or_file)}: unfinished, {printable(card.unfinished)}.")
    if card.network in TRUNKS:
        raise UsageError(
            f"{run_or_file}: is the trunk {card.network} alone, which tells no classes apart; train a network that starts from "
            f"it, with --starts-from."
        )
    classes = ClassTable.from_json(card.classes)
    network = networks.build(card.network, len(classes), **card.arguments)
    network.load_state_dict(stored.tensors)
    return Model(as_network(network.eval()), classes, card, stored.digest)


def read(run_or_file: str | Path, say: Callable[[str], None] = say) -> Stored:
    """The contents of a file that `load` would load, or of a trunk alone. Names and shapes are checked against the card.

    Raises the errors of `load`, but not for trunks."""
    if _is_published(run_or_file):
        model = _published(str(run_or_file))
        return Stored(model.card, model.network.state_dict(), model.digest)
    if is_exported(run_or_file):
        raise UsageError(f"{printable(run_or_file)}: is an exported file, from which nothing can start; name the run of it.")
    path = _model_file(run_or_file)
    if not os.path.isfile(path):
        raise DataError(
            f"{printable(path)}: there is no model file; name a run folder of `perpixel train`, a model.safetensors, or a "
            f"network with published weights such as {LIGHTEST}."
        )
    with _opened(path) as opened:
        sizes = {name: tuple(opened.file.get_slice(name).get_shape()) for name in opened.file.keys()}  # noqa: SIM118 - no mapping
        with torch.device("meta"):  # costs no memory, whatever the card claims
            expected = _built(opened.card).state_dict()
        if sizes != {name: tuple(tensor.shape) for name, tensor in expected.items()}:
            raise ValueError("its tensors are not those of the network that its card names")
        whole, zeroed = _digests(opened.raw, opened.digest)
        if opened.digest is None:
            say(f"{printable(path)}: has no digest, as files of before; if it is damaged, no one can tell.")
        elif zeroed != opened.digest:
            raise ValueError("its bytes are not those that were written")
        tensors = {name: opened.file.get_tensor(name) for name in sizes}
        replaced = not os.path.samestat(os.fstat(opened.raw.fileno()), path.stat())  # by a training, meanwhile
    return read(run_or_file, say) if replaced else Stored(opened.card, tensors, whole)


def is_trunk(run_or_file: str | Path) -> bool:
    """Whether there is a model file that holds a trunk alone. Raises UntrustedFile when it is no perpixel model."""
    path = _model_file(run_or_file)
    if not os.path.isfile(path):
        return False
    with _opened(path) as opened:
        pass
    return opened.card.network in TRUNKS


def _is_published(name: str | Path) -> bool:
    return str(name) in PUBLISHED and not os.path.exists(name)


def _model_file(run_or_file: str | Path) -> Path:
    """The file of a run folder, a model file or, where there is none, of the shipped trunk of this name."""
    path = Path(run_or_file)
    if not os.path.exists(path) and path.name == str(run_or_file) and os.path.isdir(SHIPPED / path.name):
        path = SHIPPED / path.name
    return path / MODEL_FILE if os.path.isdir(path) else path


@dataclass(frozen=True)
class _Opened:
    """A model file: its bytes, its tensors, its card, and the digest in its header, if there is one."""

    raw: BinaryIO
    file: Any
    card: ModelCard
    digest: str | None


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """The model file `path`, open. Raises UntrustedFile for every fault of the file."""
    with interruptible():
        try:
            with path.open("rb") as raw, safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get(_HEADER_KEY)
                if header is None:
                    raise UntrustedFile(f"{path}: its header has no perpixel card; only files that perpixel wrote can be loaded.")
                values = json.loads(header)
                values.pop("title", None)  # follows from network and arguments
                stated_digest = values.pop(_DIGEST, None)
                card = _sound(ModelCard(**values))
                if "weights" in card.arguments:  # would fetch weights that the file's own tensors replace
                    raise ValueError("its card asks for other weights")
                if not 0 < card.scale <= LARGEST_SCALE:
                    raise ValueError(f"its card names the scale {card.scale}")
                yield _Opened(raw, file, card, stated_digest)
        except DAMAGE as error:
            reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
            raise UntrustedFile(f"{printable(path)}: is damaged or no perpixel model ({reason}); use another copy.") from error
        except UntrustedFile:
            raise
        except PerpixelError as error:
            reason = printable(str(error))  # it quotes values of the card
            raise UntrustedFile(f"{printable(path)}: its card does not fit this version of perpixel: {reason}") from error


def _digests(file: BinaryIO, stated_digest: object) -> tuple[str, str]:
    """SHA-256 of a model file, and SHA-256 of the same file with zeros in the place of `stated_digest` in its header."""
    length = min(int.from_bytes(file.read(8), "little"), _LARGEST_HEADER)
    file.seek(0)
    header = file.read(8 + length)
    digits = stated_digest.encode() if isinstance(stated_digest, str) and len(stated_digest) == len(_NO_DIGEST) else b""
    whole, zeroed = hashlib.sha256(header), hashlib.sha256(header.replace(digits, _NO_DIGEST.encode(), 1) if digits else header)
    while chunk := file.read(_CHUNK):
        whole.update(chunk)
        zeroed.update(chunk)
    return whole.hexdigest(), zeroed.hexdigest()


def _built(card: ModelCard) -> nn.Module:
    """The network that a card names, or the trunk that it names, as a module with the attribute `trunk`."""
    if card.network in TRUNKS:
        return nn.ModuleDict({"trunk": TRUNKS[card.network](**card.arguments)})
    return networks.build(card.network, len(ClassTable.from_json(card.classes)), **card.arguments)


def _published(name: str) -> Model:
    """The network `name` with torchvision's published weights."""
    published = fetch(name)
    network = networks.build(name, len(published.classes))
    network.load_state_dict(torchvision_state(network, published.state, str(published.file)))
    card = ModelCard(name, {}, published.classes.to_json(), {}, 1.0, 0, {}, "COCO, pictures with VOC's classes", "torchvision's")
    return Model(as_network(network.eval()), published.classes, card, digest(published.file), published.side)


def _exported(path: Path, engine: str | None) -> Model:
    """The graph of an exported file, as a model. Raises the errors of `read_exported` and `opened`."""
    exported = read_exported(path)
    try:
        card = _sound(ModelCard(**exported.card.model))
        classes = ClassTable.from_json(card.classes)
        networks.title(card.network, card.arguments)
    except (TypeError, PerpixelError) as error:
        reason = printable(str(error))
        raise UntrustedFile(f"{printable(path)}: its card does not fit this version of perpixel: {reason}") from error
    return Model(opened(path, exported, engine), classes, card, exported.digest, exported.card.side)


def _sound(card: ModelCard) -> ModelCard:
    """`card`, if its values are of the types that `save_model` writes. Raises TypeError otherwise."""
    for name, hint in get_type_hints(ModelCard).items():
        kind = get_origin(hint) or hint
        if not isinstance(getattr(card, name), (int, float) if kind is float else kind):
            raise TypeError(f"{name} of its card is {getattr(card, name)!r}")
    if card.bands and not (bands := Bands.from_json(card.bands)).complete:
        raise ValueError(f"its {bands} have no ranges")
    if card.bands and card.arguments.get("channels") != len(bands):
        raise ValueError(f"its card names {bands}, and {card.arguments.get('channels')} channels")
    return card


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds nan or infinity."""
    return next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in the form that safetensors needs: on the CPU, dense in memory, each with its own storage."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
