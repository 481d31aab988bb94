"""Trunks of ImageNet's classifiers: an independent engine runs the classifiers on the same files, and trainings start from them.

The engine is OpenCV's reader of Caffe networks; `caffe_files` makes the classifiers' texts and random weights for every blob."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_files import Rows, Weights, classifier, fcn, output_of_opencv, write_caffemodel
from fakes import make_folder, make_voc
from safetensors.torch import load_file, save_file
from torch import nn

import perpixel
from perpixel.backbones import TRUNKS
from perpixel.cli import main
from perpixel.errors import UnknownName, UntrustedFile, UsageError
from perpixel.files import CARD_FILE, MODEL_FILE, digest
from perpixel.prediction.score_maps import to_tensor
from perpixel.training.recipe import Recipe, find
from perpixel.training.stages import stages
from perpixel.training.train import train
from perpixel.weights import caffe_layers, model_file
from perpixel.weights.caffe_file import Layer
from perpixel.weights.caffe_layers import VOC_MEAN
from perpixel.weights.import_weights import import_trunk

WIDTH = 1 / 16
HEADS = {"fc8", *(f"loss{n}/{layer}" for n in (1, 2) for layer in ("conv", "fc", "classifier")), "loss3/classifier"}
# The last shared feature, by Caffe's name and ours, and a size of picture: where it is fully connected, the only one.
LAST = {
    "vgg16": ("drop7", "fc7", (224, 224)),
    "vgg16_reduced": ("drop7", "fc7", (224, 224)),
    "alexnet": ("drop7", "fc7", (227, 227)),
    "googlenet": ("inception_5b/output", "inception_5b", (224, 224)),
}
# The arguments of a trunk that ends before what is fully connected.
CONVOLUTIONS: dict[str, dict[str, Any]] = {"vgg16": {"classifier": False}, "alexnet": {"last": "pool5"}}


@cache
def weights_of(trunk: str) -> list[Weights]:
    return classifier(trunk, WIDTH).weights()


def import_(path: Path, trunk: str, out: Path) -> model_file.Stored:
    """What importing a file as that trunk leaves in a model file."""
    return model_file.read(import_trunk(path, trunk, out, width=WIDTH))


@pytest.fixture(scope="module", params=TRUNKS)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, model_file.Stored]:
    """The name of a trunk, a file of random weights of its classifier, and what comes of it."""
    folder = tmp_path_factory.mktemp("trunk")
    path = write_caffemodel(folder / "net.caffemodel", weights_of(request.param))
    return request.param, path, import_(path, request.param, folder / "model")


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trunk of VGG-16, at the width that the trainings of these tests have."""
    folder = tmp_path_factory.mktemp("vgg16")
    path = write_caffemodel(folder / "net.caffemodel", classifier("vgg16", 0.02).weights())
    return import_trunk(path, "vgg16", folder / "vgg16", width=0.02).parent


def as_classifier(trunk: str, tensors: dict[str, torch.Tensor], **arguments: Any) -> nn.Module:
    """The trunk with these weights and the classifier's paddings, which are not FCN's."""
    network = TRUNKS[trunk](width=WIDTH, **arguments).eval()
    network.load_state_dict({name: tensors[f"trunk.{name}"] for name in network.state_dict()})
    if trunk == "alexnet":
        network.conv1.padding = (0, 0)
    if trunk in ("vgg16", "alexnet") and not arguments:
        (network.fc[0] if trunk == "vgg16" else network.fc6).padding = (0, 0)
        network.pad6 = nn.Identity()  # AlexNet's, before fc6
    return network


def up_to(rows: Rows, last: str) -> Rows:
    """The layers that `last` needs: fully connected ones, even of auxiliary heads, would ask for one size of picture."""
    needed = {last}
    for row in reversed(rows):
        if row.name in needed:
            needed.update(row.bottoms)
    return Rows(row for row in rows if row.name in needed)


class TestFeatures:
    def compare(self, imported: Any, layer: str, feature: str, size: tuple[int, int], **arguments: Any) -> None:
        trunk, path, stored = imported
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        network = as_classifier(trunk, stored.tensors, **arguments)
        with torch.inference_mode():
            found = network(to_tensor(image))[feature][0].numpy()
        pixels = image[..., ::-1] - np.float32(VOC_MEAN)
        expected = output_of_opencv(up_to(classifier(trunk, WIDTH), layer), path, layer, pixels.transpose(2, 0, 1))
        assert found.size == expected.size
        assert expected.std() > 0.1
        assert abs(found.reshape(expected.shape) - expected).max() < 1e-4 * expected.std()

    def test_the_last_shared_feature_is_the_classifiers(self, imported) -> None:
        self.compare(imported, *LAST[imported[0]])

    @pytest.mark.parametrize("size", [(150, 211), (97, 64)], ids=str)
    def test_so_is_the_last_convolution_for_any_picture(self, imported, size: tuple[int, int]) -> None:
        convolutions = CONVOLUTIONS.get(imported[0], {})
        layer, feature = ("pool5", "pool5") if convolutions else LAST[imported[0]][:2]
        self.compare(imported, layer, feature, size, **convolutions)


class TestTensors:
    def test_files_in_the_old_format_give_the_same(self, imported, tmp_path: Path) -> None:
        trunk, _, stored = imported
        old = write_caffemodel(tmp_path / "old.caffemodel", weights_of(trunk), old=True, legacy=True)
        again = import_(old, trunk, tmp_path / "old").tensors
        assert again.keys() == stored.tensors.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in stored.tensors.items())

    def test_so_do_fully_connected_layers_that_are_convolutions_already(self, tmp_path: Path) -> None:
        """As in the files that FCN's and DeconvNet's trainings name."""
        convolutions = [
            (name, "Convolution", [blobs[0].reshape(256, -1, *((7, 7) if name == "fc6" else (1, 1))), blobs[1]])
            if name in ("fc6", "fc7") else (name, kind, blobs) for name, kind, blobs in weights_of("vgg16")
        ]  # fmt: skip
        files = [write_caffemodel(tmp_path / f"{kind}.caffemodel", weights)
                 for kind, weights in (("flat", weights_of("vgg16")), ("square", convolutions))]  # fmt: skip
        flat, square = (import_(path, "vgg16", path.with_suffix("")).tensors for path in files)
        assert all(torch.equal(square[name], tensor) for name, tensor in flat.items())

    def test_colours_and_names(self, imported) -> None:
        trunk, _, stored = imported
        first, given = {
            "alexnet": ("trunk.conv1.weight", "conv1"), "googlenet": ("trunk.conv1.7x7_s2.weight", "conv1/7x7_s2"),
        }.get(trunk, ("trunk.features.0.weight", "conv1_1"))  # fmt: skip
        blob = next(blobs[0] for name, _, blobs in weights_of(trunk) if name == given)
        assert torch.equal(stored.tensors[first], torch.from_numpy(blob[:, [2, 1, 0]]))  # BGR to RGB
        assert (255 * stored.tensors["trunk.mean"]).flatten().tolist() == pytest.approx([122.67892, 116.66877, 104.00699])
        assert stored.tensors["trunk.scale"].flatten().tolist() == [255, 255, 255]

    @pytest.mark.parametrize(
        ("trunk", "whole", "shared"),
        [
            ("vgg16", 138_357_544, 134_260_544),
            ("vgg16_reduced", 20_483_904, 20_483_904),
            ("alexnet", 60_965_224, 56_868_224),
            ("googlenet", 13_378_280, 5_973_552),
        ],
    )
    def test_at_the_authors_width_every_blob_but_the_heads_has_its_place(self, trunk: str, whole: int, shared: int) -> None:
        """On shapes alone. 138 and 61 million are known; the others follow from the classifiers' definitions."""
        layers = [Layer(row.name, row.type, [np.zeros(shape, np.float32) for shape in row.blobs]) for row in classifier(trunk)]
        assert sum(blob.size for layer in layers for blob in layer.blobs) == whole
        state = caffe_layers.convert_trunk(Path("net"), layers, trunk)
        assert sum(tensor.numel() for tensor in state.values()) == shared + 6  # mean and scale


def refusal(weights: list[Weights], trunk: str) -> str:
    """What is wrong with a file of these layers, in the sentence that refuses it."""
    with pytest.raises(UntrustedFile) as told:
        caffe_layers.convert_trunk(Path("net"), [Layer(*row) for row in weights], trunk, width=WIDTH)
    before, _, after = str(told.value).partition(" (")
    assert before == f"net: does not hold the trunk {trunk}"
    found, _, after = after.rpartition(")")
    assert after == "; name the trunk that it was made for."
    return found


SHARED = [(trunk, row.name) for trunk in ("vgg16", "alexnet", "googlenet")
          for row in classifier(trunk, WIDTH) if row.blobs and row.name not in HEADS]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(("trunk", "layer"), SHARED)
    def test_a_missing_layer_and_one_of_another_shape_are_named(self, trunk: str, layer: str) -> None:
        assert refusal([row for row in weights_of(trunk) if row[0] != layer], trunk) == f"missing layers: {layer}"
        twice = [(row[0], row[1], [np.concatenate([blob, blob]) for blob in row[2]] if row[0] == layer else row[2])
                 for row in weights_of(trunk)]  # fmt: skip
        assert refusal(twice, trunk).startswith(f"layers of another shape: {layer} (")

    @pytest.mark.parametrize("trunk", ["vgg16", "alexnet", "googlenet"])
    def test_heads_may_be_missing_or_of_any_shape(self, tmp_path: Path, trunk: str) -> None:
        whole = weights_of(trunk)
        without = [row for row in whole if row[0] not in HEADS]
        other = [(name, kind, [np.ones((7, 3), np.float32)] if name in HEADS else blobs) for name, kind, blobs in whole]
        assert len(without) < len(other)
        states = [import_(write_caffemodel(tmp_path / "net.caffemodel", weights), trunk, tmp_path / str(number)).tensors
                  for number, weights in enumerate((whole, without, other))]  # fmt: skip
        for state in states[1:]:
            assert all(torch.equal(state[name], tensor) for name, tensor in states[0].items())

    def test_an_unknown_layer_is_named(self) -> None:
        more = [*weights_of("vgg16"), ("fc9", "InnerProduct", [np.ones((2, 3), np.float32)])]
        assert refusal(more, "vgg16") == "unknown layers: fc9"

    def test_the_head_of_another_classifier_is_unknown(self) -> None:
        more = [*weights_of("vgg16"), ("loss3/classifier", "InnerProduct", [np.ones((2, 3), np.float32)])]
        assert refusal(more, "vgg16") == "unknown layers: loss3/classifier"

    def test_another_trunk(self) -> None:
        told = refusal(weights_of("vgg16"), "vgg16_reduced")
        assert told.startswith("layers of another shape: fc6 (256x1568 and 256, not 64x32x3x3 and 64), fc7 (")
        told = refusal(weights_of("alexnet"), "vgg16")
        assert told.startswith("unknown layers: conv1, conv2, conv3, conv4, conv5; missing layers: conv1_1, conv1_2, ")

    def test_a_whole_fcn_is_no_classifier(self) -> None:
        assert refusal(fcn("fcn32s", 21, WIDTH).weights(), "vgg16") == "unknown layers: score_fr, upscore"

    def test_a_trunk_that_there_is_not(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("alexnet"))
        with pytest.raises(UnknownName, match="no trunk 'alxnet'; did you mean 'alexnet'"):
            import_trunk(path, "alxnet", tmp_path / "model")
        with pytest.raises(UsageError, match="holds other things than an imported model"):
            import_trunk(path, "alexnet", tmp_path)
        with pytest.raises(UsageError, match=r"net\.pth: trunks are imported from \.caffemodel files"):
            import_trunk(tmp_path / "net.pth", "alexnet", tmp_path / "model")


class TestModelFile:
    def test_its_card_says_what_it_is(self, imported) -> None:
        trunk, path, stored = imported
        card = stored.card
        assert (card.network, card.arguments, card.classes, card.score) == (trunk, {"width": WIDTH}, {}, {})
        assert card.licence == f"that of the weights imported from net.caffemodel, SHA-256 {digest(path)}"
        assert json.loads((path.parent / "model" / CARD_FILE).read_text())["network"] == trunk
        assert stored.digest == digest(path.parent / "model" / MODEL_FILE)

    def test_importing_again_gives_the_same_bytes(self, imported, tmp_path: Path) -> None:
        trunk, path, stored = imported
        assert import_(path, trunk, tmp_path / "model").digest == stored.digest

    def test_it_predicts_nothing(self, imported, capsys: pytest.CaptureFixture[str]) -> None:
        trunk, path, _ = imported
        sentence = f"{path.parent / 'model'}: is the trunk {trunk} alone, which tells no classes apart; train a network"
        with pytest.raises(UsageError) as told:
            perpixel.load(path.parent / "model")
        assert str(told.value).startswith(sentence)
        for command in (["predict", str(path.parent / "model"), "a.png"], ["evaluate", str(path.parent / "model")]):
            with pytest.raises(SystemExit) as left:
                main(command)
            assert left.value.code == UsageError.exit_code
            assert capsys.readouterr().err.startswith(f"perpixel: {sentence}")

    @pytest.mark.parametrize(
        "change",
        [{"network": "alexnet"}, {"network": "fcn32s"}, {"arguments": {"width": 1.0}}, {"arguments": {"weights": "imagenet"}},
         {"arguments": {"name": "resnet18"}}, {"arguments": [1]}, {"classes": None}],
        ids=str,
    )  # fmt: skip
    def test_cards_that_lie(self, vgg16: Path, tmp_path: Path, change: dict[str, Any]) -> None:
        card = json.loads((vgg16 / CARD_FILE).read_text()) | change
        save_file(load_file(vgg16 / MODEL_FILE), tmp_path / MODEL_FILE, {"perpixel": json.dumps(card)})
        with pytest.raises(UntrustedFile):
            model_file.read(tmp_path)

    def test_whether_a_file_is_a_trunk(self, vgg16: Path, tmp_path: Path) -> None:
        assert model_file.is_trunk(vgg16)
        assert model_file.is_trunk(vgg16 / MODEL_FILE)
        assert not model_file.is_trunk(tmp_path)
        (tmp_path / MODEL_FILE).write_bytes(b"scribbles")
        with pytest.raises(UntrustedFile, match="is damaged or no perpixel model"):
            model_file.is_trunk(tmp_path)


STILL = {
    "weights": "none", "width": 0.02, "steps": 1, "batch": 1, "validations": 1, "lr": 1e-30, "optimiser": "sgd", "decay": 0.0,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


class TestStartingFromATrunk:
    @pytest.mark.parametrize(
        ("arguments", "unused"),
        [
            ({"network": "fcn16s"}, ()),
            ({"network": "fcn32s", "padding": 1}, ()),
            ({"network": "fcn8s", "layer": "pool3"}, ("features.17", "features.28", "fc.0", "fc.3")),
            ({"network": "parsenet", "backbone": "vgg16"}, ()),
            ({"network": "unet", "backbone": "vgg16", "decoder": (4, 4)}, ("fc.0", "fc.3")),
        ],
        ids=str,
    )
    def test_every_layer_that_the_network_has_is_the_classifiers(self, data, vgg16, tmp_path, arguments, unused) -> None:
        said: list[str] = []
        train(Recipe(data=str(data), starts_from=str(vgg16), **STILL | arguments), tmp_path / "run", say=said.append)
        given, found = load_file(vgg16 / MODEL_FILE), load_file(tmp_path / "run" / MODEL_FILE)
        for name, tensor in given.items():
            if name in found:
                assert torch.allclose(found[name], tensor, rtol=1e-6, atol=0), name
        left = {name.removeprefix("trunk.").rsplit(".", 1)[0] for name in given.keys() - found.keys()}
        assert left >= set(unused)
        assert bool(left) == bool(unused)
        told = f"starts from {vgg16} (vgg16, {digest(vgg16 / MODEL_FILE)[:12]}); new: "
        assert "trunk." not in next(text for text in said if text.startswith(told))

    def test_scores_start_as_they_do_without_it(self, data, vgg16, tmp_path) -> None:
        """A trunk holds nothing that a seed decides."""
        for name, start in (("with", str(vgg16)), ("without", None)):
            recipe = Recipe(data=str(data), network="parsenet", backbone="vgg16", starts_from=start, seed=3, **STILL)
            train(recipe, tmp_path / name, say=lambda _: None)
        ours, theirs = (load_file(tmp_path / name / MODEL_FILE) for name in ("with", "without"))
        assert torch.equal(ours["score.fc7.weight"], theirs["score.fc7.weight"])
        assert not torch.equal(ours["trunk.features.0.weight"], theirs["trunk.features.0.weight"])

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [
            ({"network": "parsenet"}, "is the vgg16 of another network (trunk.fc.0.bias is (82,), not (20,)); import"),
            ({"network": "fcn32s", "width": 0.03}, "is the vgg16 of another network (trunk.f"),
            ({"network": "fcn32s", "backbone": "alexnet"}, "nothing of its vgg16 fits this network"),
            ({"network": "fcn32s", "backbone": "googlenet"}, "nothing of its vgg16 fits this network"),
            ({"network": "unet"}, "nothing of its vgg16 fits this network"),
        ],
        ids=str,
    )
    def test_a_network_with_another_trunk_does_not(self, data, vgg16, tmp_path, arguments, part) -> None:
        with pytest.raises(UsageError) as told:
            train(Recipe(data=str(data), starts_from=str(vgg16), **STILL | arguments), tmp_path / "run", say=lambda _: None)
        assert str(told.value).startswith(f"{vgg16}: {part}")


class TestStages:
    @pytest.mark.parametrize("by", ["flag", "environment"])
    def test_a_trunk_is_where_the_first_stage_starts(self, vgg16: Path, by: str) -> None:
        given = {"flag": ({"starts_from": str(vgg16)}, {}), "environment": ({}, {"PERPIXEL_STARTS_FROM": str(vgg16)})}[by]
        planned = stages(find("fcn8s_voc2012"), *given)
        assert [stage.name for stage in planned] == ["fcn32s_voc2012", "fcn16s_voc2012", ""]
        assert [stage.recipe.starts_from for stage in planned] == [str(vgg16), "fcn32s_voc2012", "fcn16s_voc2012"]
        assert [stage.origins["starts_from"] == ("flag" if by == "flag" else "PERPIXEL_STARTS_FROM") for stage in planned] == [
            True, False, False,
        ]  # fmt: skip

    def test_a_recipe_alone_and_no_recipe(self, vgg16: Path) -> None:
        for file in (find("fcn32s_voc2012"), None):
            (only,) = stages(file, {"starts_from": str(vgg16)}, {})
            assert (only.name, only.recipe.starts_from, only.origins["starts_from"]) == ("", str(vgg16), "flag")

    def test_a_recipe_may_name_a_trunk_itself(self, vgg16: Path, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_text(f'network = "fcn32s"\nstarts_from = "{vgg16}"\n')
        (tmp_path / "b.toml").write_text(f'network = "fcn16s"\nstarts_from = "{tmp_path / "a.toml"}"\n')
        planned = stages(tmp_path / "b.toml", {}, {})
        assert [stage.recipe.starts_from for stage in planned] == [str(vgg16), str(tmp_path / "a.toml")]

    def test_the_authors_chain(self, vgg16: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = make_voc(tmp_path / "data")
        command = ["train", "--recipe", "fcn16s_voc2012", "--root", str(root), "--starts-from", str(vgg16), "--width", "0.02",
                   "--steps", "1", "--validations", "1", "--device", "cpu", "--out", str(tmp_path / "run")]  # fmt: skip
        main(command)
        first = tmp_path / "run" / "stages" / "fcn32s_voc2012"
        started = [json.loads((run / "run.json").read_text())["started_from"]["path"] for run in (first, tmp_path / "run")]
        assert started == [str(vgg16), str(first)]
        moved = load_file(first / MODEL_FILE)
        for name, tensor in load_file(vgg16 / MODEL_FILE).items():
            assert torch.allclose(moved[name], tensor, rtol=1e-3, atol=1e-6), name
        capsys.readouterr()
        main(command)
        assert f"{first}: is done." in capsys.readouterr().err


class TestCommand:
    def test_import_then_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The command knows the authors' width alone, which would be 240 MB; here the trunk is built thin.
        monkeypatch.setitem(TRUNKS, "alexnet", partial(TRUNKS["alexnet"], width=WIDTH))
        monkeypatch.chdir(tmp_path)
        write_caffemodel(tmp_path / "net.caffemodel", weights_of("alexnet"))
        main(["import", "net.caffemodel", "--trunk", "alexnet", "--json"])
        told = capsys.readouterr()
        folder = Path("models", "alexnet")
        assert json.loads(told.out) == {"model": str(folder / MODEL_FILE)}
        assert told.err == f"{folder / MODEL_FILE}: written. Next: perpixel train --recipe RECIPE --starts-from {folder}\n"
        main(["import", "net.caffemodel", "--trunk", "alexnet", "--out", "mine"])
        assert digest(Path("mine", MODEL_FILE)) == digest(folder / MODEL_FILE)
        make_folder(tmp_path / "data")
        main(["train", "--data", "data", "--network", "fcn32s", "--backbone", "alexnet", "--width", str(WIDTH), "--batch", "1",
              "--starts-from", "mine", "--steps", "1", "--validations", "1", "--device", "cpu", "--out", "run"])  # fmt: skip
        assert "starts from mine (alexnet, " in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["--trunk", "vgg", "--out", "no"], 2, "no trunk 'vgg'; did you mean 'vgg16'?"),
            (["--trunk", "vgg16", "--network", "fcn8s"], 2, "--trunk takes only the trunk, without classes; leave"),
            (["--trunk", "vgg16", "--classes", "21"], 2, "--trunk takes only the trunk, without classes; leave"),
            (["--trunk", "vgg16", "--list"], 2, "--list only prints the layers of the file; leave out --network, --trunk"),
            (["--trunk", "vgg16", "--out", "no"], 4, "net.caffemodel: does not hold the trunk vgg16 (unknown layers: conv1, "),
        ],
    )
    def test_mistakes(self, tmp_path, monkeypatch, capsys, arguments: list[str], code: int, part: str) -> None:
        monkeypatch.chdir(tmp_path)
        write_caffemodel(tmp_path / "net.caffemodel", weights_of("alexnet"))
        with pytest.raises(SystemExit) as left:
            main(["import", "net.caffemodel", *arguments])
        told = capsys.readouterr()
        assert (left.value.code, told.out) == (code, "")
        assert told.err.startswith(f"perpixel: {part}")
        assert not Path("no").exists()
