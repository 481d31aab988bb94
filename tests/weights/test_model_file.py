"""A model file gives back the very network that was saved, and nothing else is ever loaded in its place."""

import hashlib
import json
import pickle
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import perpixel
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.errors import DataError, PerpixelError, UntrustedFile
from perpixel.files import CARD_FILE, MODEL_FILE, digest
from perpixel.prediction.predict import predict
from perpixel.training.recipe import Recipe
from perpixel.weights import model_file
from perpixel.weights.model_file import ModelCard, load, save_model

CLASSES = ClassTable(("sea", "land"), ((0, 0, 200), (90, 60, 30)), ((3,), (5, 6)), (0,), (9, 9, 9))
ARGUMENTS = {"convolutions": "same", "norm": "batch", "width": 0.05, "dropout": 0.25}
RECIPE = json.loads(json.dumps(Recipe().to_json()))  # as it comes back: arrays for tuples
CARD = ModelCard("unet", ARGUMENTS, CLASSES.to_json(), RECIPE, 0.5, 12, {"mIoU": 0.75}, "f1ng3r", "CC0")


@pytest.fixture
def no_pickle_and_no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever is loaded, no pickle is opened and nobody is asked for anything."""
    with torch.device("meta"):  # what torch imports for that the first time has classes of pickle's
        perpixel.build("unet", 2, **ARGUMENTS)
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise AssertionError("a model file must not lead to a pickle or to the network")

    for module, name in ((pickle, "Unpickler"), (pickle, "load"), (pickle, "loads"), (torch, "load"), (socket, "getaddrinfo")):
        monkeypatch.setattr(module, name, refuse)
    yield
    assert not asked


def network() -> torch.nn.Module:
    """A small network whose buffers are no longer what they were built with."""
    torch.manual_seed(0)
    built = perpixel.build("unet", 2, **ARGUMENTS)
    for name, buffer in built.named_buffers():
        buffer.copy_(torch.full_like(buffer, 7) if name.endswith("tracked") else torch.rand_like(buffer))
    return built


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path, network().state_dict(), CARD)
    return tmp_path / MODEL_FILE


def with_card(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrites the card of a model file, with its digest; the change works on it, or returns another."""
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["perpixel"])
    if "sha256" in card:
        card["sha256"] = 64 * "0"
    replaced = change(card)
    save_file(load_file(path), path, {"perpixel": json.dumps(card if replaced is None else replaced)})
    whole = path.read_bytes()
    path.write_bytes(whole.replace(64 * b"0", hashlib.sha256(whole).hexdigest().encode(), 1))


def set_(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda card: card.update(values)


class TestRoundTrip:
    @pytest.mark.usefixtures("no_pickle_and_no_network")
    @pytest.mark.parametrize("name", ["folder", "file", "text"])
    def test_every_bit_comes_back(self, saved: Path, name: str) -> None:
        model = load({"folder": saved.parent, "file": saved, "text": str(saved)}[name])
        expected, found = network().state_dict(), model.network.state_dict()
        assert list(found) == list(expected)
        assert any(key.endswith("running_var") for key in found)
        for key, tensor in expected.items():
            assert found[key].dtype == tensor.dtype
            assert torch.equal(found[key], tensor), key

    def test_it_is_ready_to_predict(self, saved: Path) -> None:
        model = load(saved)
        assert not model.network.training
        assert (model.classes, model.card, model.scale) == (CLASSES, CARD, 0.5)
        assert model.digest == digest(saved)
        assert set(np.unique(predict(model, np.zeros((20, 30, 3), np.uint8)).labels)) <= {0, 1}

    def test_saving_twice_gives_the_same_bytes(self, saved: Path) -> None:
        before = saved.read_bytes()
        save_model(saved.parent, load(saved).network.state_dict(), CARD)
        assert saved.read_bytes() == before

    def test_weights_in_any_layout(self, saved: Path) -> None:
        before = saved.read_bytes()
        save_model(saved.parent, network().to(memory_format=torch.channels_last).state_dict(), CARD)
        assert saved.read_bytes() == before

    def test_the_card_beside_it_is_the_one_inside(self, saved: Path) -> None:
        with safe_open(saved, framework="pt") as file:
            inside = json.loads(file.metadata()["perpixel"])
        assert inside == json.loads((saved.parent / CARD_FILE).read_text())
        assert len(inside.pop("sha256")) == 64
        assert inside == {"title": "unet width 0.05, same, batch, dropout 0.25", **json.loads(json.dumps(CARD.to_json()))}
        assert "bands" not in inside, "files of RGB are as they were"

    def test_the_card_beside_it_is_not_needed(self, saved: Path) -> None:
        (saved.parent / CARD_FILE).write_text("scribbles")
        assert load(saved).card == CARD

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_a_weight_that_is_not_finite_is_not_written(self, saved: Path, value: float) -> None:
        before = {path: path.read_bytes() for path in saved.parent.iterdir()}
        broken = network().state_dict()
        broken["classify.bias"][1] = value
        with pytest.raises(PerpixelError, match=r"not written, for weight classify\.bias is not finite"):
            save_model(saved.parent, broken, CARD)
        assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before

    def test_nothing_there(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none.safetensors"):
            with pytest.raises(DataError, match="there is no model file"):
                load(path)


@pytest.mark.usefixtures("no_pickle_and_no_network")
class TestDamage:
    def test_cut_short_anywhere(self, saved: Path) -> None:
        whole = saved.read_bytes()
        for length in sorted({0, 1, 7, 8, 9, len(whole) - 1, *range(0, len(whole), len(whole) // 40)}):
            saved.write_bytes(whole[:length])
            with pytest.raises(UntrustedFile, match="is damaged or no perpixel model"):
                load(saved)

    def test_longer_than_it_was(self, saved: Path) -> None:
        saved.write_bytes(saved.read_bytes() + b"\0")
        with pytest.raises(UntrustedFile):
            load(saved)

    def test_random_bytes(self, saved: Path) -> None:
        random = np.random.default_rng(0)
        for length in (1, 8, 16, 100, 5000):
            noise = random.bytes(length)
            for content in (noise, length.to_bytes(8, "little") + noise, (2).to_bytes(8, "little") + b"{}" + noise):
                saved.write_bytes(content)
                with pytest.raises(UntrustedFile):
                    load(saved)

    def test_a_flipped_bit_anywhere_is_told_with_the_file(self, saved: Path) -> None:
        """Of the length, the tensors' names, the card, the digest itself and the weights."""
        whole, random = saved.read_bytes(), np.random.default_rng(0)
        header = 8 + int.from_bytes(whole[:8], "little")
        places = [*range(8), *random.integers(8, header, 150), *random.integers(header, len(whole), 50), len(whole) - 1]
        for place in places:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << int(random.integers(8))
            saved.write_bytes(flipped)
            with pytest.raises(UntrustedFile, match=rf"^{saved}: "):
                load(saved)

    def test_every_digit_of_the_digest_counts(self, saved: Path) -> None:
        whole = saved.read_bytes()
        place = whole.index(b"sha256") + len(r"sha256\": \"")
        assert int(whole[place : place + 64], 16)
        for digit in range(64):
            changed = bytearray(whole)
            changed[place + digit] = ord("0") if changed[place + digit] != ord("0") else ord("1")
            saved.write_bytes(changed)
            with pytest.raises(UntrustedFile, match="its bytes are not those that were written"):
                load(saved)

    def test_a_file_without_a_digest_is_loaded_with_a_sentence(
        self, saved: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As files were before they had one. One that lost it does not pass for a new one: the sentence is said too."""
        with_card(saved, lambda card: card.pop("sha256") and None)
        assert load(saved).card == CARD
        assert capsys.readouterr().err == f"{saved}: has no digest, as files of before; if it is damaged, no one can tell.\n"

    def test_a_new_file_that_takes_its_place_while_it_is_read_is_not_damage(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when a training keeps better weights: what is read is one of the two, whole."""
        real, replaced = model_file._digests, []

        def slow(*arguments: Any) -> tuple[str, str]:
            if not replaced:
                replaced.append(save_model(saved.parent, network().state_dict(), replace(CARD, step=13)))
            return real(*arguments)

        monkeypatch.setattr(model_file, "_digests", slow)
        model = load(saved)
        assert (model.card.step, model.digest) == (13, digest(saved))

    def test_the_command_leaves_with_4(self, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
        saved.write_bytes(saved.read_bytes()[:1000])
        for verb in (["predict", str(saved), "a.png"], ["evaluate", str(saved)]):
            with pytest.raises(SystemExit) as left:
                main(verb)
            assert left.value.code == 4
            assert capsys.readouterr().err.startswith(f"perpixel: {saved}: is damaged")


CARDS = {
    "no object": lambda card: [card],
    "a text": lambda card: "unet",
    "a key missing": lambda card: {key: value for key, value in card.items() if key != "classes"},
    "a key more": set_(_target_="os.system"),
    "an unknown network": set_(network="unett"),
    "code as a network": set_(network="os:system"),
    "a list as a network": set_(network=["unet"]),
    "no classes": set_(classes=None),
    "a class too many": set_(classes=ClassTable.of(["a", "b", "c"]).to_json()),
    "endless values": set_(classes={**CLASSES.to_json(), "values": [[float("inf")], [1]]}),
    "an unknown argument": set_(arguments={"depth": 3}),
    "arguments in a list": set_(arguments=[1]),
    "classes as an argument": set_(arguments={**ARGUMENTS, "classes": 2}),
    "another width": set_(arguments={**ARGUMENTS, "width": 0.1}),
    "a text as width": set_(arguments={**ARGUMENTS, "width": "0.05"}),
    "a list as width": set_(arguments={**ARGUMENTS, "width": [0.05]}),
    "an infinite width": set_(arguments={**ARGUMENTS, "width": float("inf")}),
    "a width that is no number": set_(arguments={**ARGUMENTS, "width": float("nan")}),
    "a text as dropout": set_(arguments={**ARGUMENTS, "dropout": "much"}),
    "a number as backbone": set_(arguments={"backbone": 5}),
    "a backbone from elsewhere": set_(arguments={"backbone": "hf-hub:someone/model"}),
    "a decoder that is no list": set_(arguments={"backbone": "vgg16", "width": 0.05, "decoder": 5}),
    "weights to fetch": set_(network="fcn8s", arguments={"backbone": "resnet18", "weights": "imagenet"}),
    "weights to fetch for vgg16": set_(network="fcn8s", arguments={"weights": "imagenet"}),
    "a text as scale": set_(scale="1"),
    "no scale": set_(scale=None),
    "a scale of 0": set_(scale=0),
    "a scale below 0": set_(scale=-1.0),
    "a gigantic scale": set_(scale=1e9),
    "an infinite scale": set_(scale=float("inf")),
    "a scale that is no number": set_(scale=float("nan")),
    "no recipe": set_(recipe=None),
    "a text as step": set_(step="last"),
    "a list as score": set_(score=[0.5]),
}


@pytest.mark.usefixtures("no_pickle_and_no_network")
class TestUntrusted:
    def test_tensors_without_a_card(self, saved: Path) -> None:
        save_file(load_file(saved), saved)
        with pytest.raises(UntrustedFile, match="its header has no perpixel card"):
            load(saved)

    def test_a_pickle_is_not_opened(self, tmp_path: Path) -> None:
        for name in ("model.pth", MODEL_FILE):
            torch.save(network().state_dict(), tmp_path / name)
            with pytest.raises(UntrustedFile):
                load(tmp_path / name)
        (tmp_path / MODEL_FILE).write_bytes(pickle.dumps(Path))
        with pytest.raises(UntrustedFile):
            load(tmp_path)

    @pytest.mark.parametrize("harm", ["another shape", "one missing", "one more", "another name"])
    def test_tensors_of_another_network(self, saved: Path, harm: str) -> None:
        state = network().state_dict()
        bias = state.pop("classify.bias")
        if harm == "another shape":
            state["classify.bias"] = torch.zeros(3)
        elif harm == "one more":
            state.update({"classify.bias": bias, "classify.more": bias.clone()})
        elif harm == "another name":
            state["classify.bais"] = bias
        save_model(saved.parent, state, CARD)
        with pytest.raises(UntrustedFile, match="its tensors are not those of the network that its card names"):
            load(saved)

    @pytest.mark.parametrize("change", CARDS.values(), ids=CARDS)
    def test_cards_that_lie(self, saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        with_card(saved, change)
        with pytest.raises(UntrustedFile, match=rf"^{saved}: "):
            load(saved)

    @pytest.mark.parametrize(
        "change", [set_(network="\x1b[31m"), set_(arguments={"channels": "\x1b[31m\nerror: 0"}), set_(scale="\x1b[2J")]
    )
    def test_what_a_card_says_reaches_no_terminal_as_it_is(self, saved: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        with_card(saved, change)
        with pytest.raises(UntrustedFile) as told:
            load(saved)
        assert str(told.value).isprintable()

    def test_a_whole_number_is_a_scale(self, saved: Path) -> None:
        with_card(saved, set_(scale=1))
        assert load(saved).scale == 1

    @pytest.mark.parametrize("width", [50, 1e6, 1e30])
    @pytest.mark.parametrize("name", ["unet", "fcn8s"])
    def test_a_claim_of_gigantic_width_costs_nothing(self, saved: Path, name: str, width: float) -> None:
        """U-Net at width 50 would take 310 GB."""
        with_card(saved, set_(network=name, arguments={"width": width}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UntrustedFile):
            load(saved)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
