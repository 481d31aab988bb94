"""DeconvNet as published: its counts and sides, switches by hand, its start, and the authors' weights, which give the scores that
an interpreter of their definition gives (`caffe_deconvnet.run`), and OpenCV."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_deconvnet import deconvnet, random_weights, run
from caffe_files import write_caffemodel
from fakes import make_folder
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import perpixel
from perpixel.backbones import VGG16
from perpixel.cli import main
from perpixel.errors import UnknownName, UntrustedFile, UsageError
from perpixel.networks.deconvnet import unpool
from perpixel.prediction.score_maps import to_tensor
from perpixel.training.optimiser import optimiser_of
from perpixel.training.recipe import Recipe
from perpixel.training.train import train
from perpixel.weights import caffe_layers
from perpixel.weights.caffe_file import Layer, read_caffemodel
from perpixel.weights.caffe_layers import VOC_MEAN
from perpixel.weights.import_weights import import_weights
from perpixel.weights.model_file import Model

WIDTH = 1 / 16


def on_meta(**arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return perpixel.build("deconvnet", 21, **arguments)


def parameters(modules: Any) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


class TestPublished:
    """Counts and sides of the authors' prototxt."""

    def test_the_number_of_parameters(self) -> None:
        network = on_meta()
        kinds = {
            kind: [module for module in network.modules() if isinstance(module, kind)]
            for kind in (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
        }
        assert [len(found) for found in kinds.values()] == [16, 14, 29]
        assert [parameters(found) for found in kinds.values()] == [134_261_909, 117_510_336, 33_408]
        assert parameters([network]) == 251_805_653
        assert parameters([on_meta(batch_norm=False)]) == 251_772_245

    def test_the_two_kernels_of_7x7_hold_most_of_them(self) -> None:
        network = on_meta()
        assert parameters([network.trunk.fc[0]]) == 102_764_544
        assert parameters([network.fc6_deconv.layer]) == 102_760_960

    def test_channels_and_sides_of_every_layer(self) -> None:
        network, found = on_meta(), []
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.register_forward_hook(lambda _layer, _inputs, output: found.append(tuple(output.shape[1:])))
        logits = network.eval()(torch.empty(1, 3, 224, 224, device="meta"))["logits"]
        encoder = [(64, 224)] * 2 + [(128, 112)] * 2 + [(256, 56)] * 3 + [(512, 28)] * 3 + [(512, 14)] * 3 + [(4096, 1)] * 2
        decoder = [
            (512, 7), *[(512, 14)] * 3, *[(512, 28)] * 2, (256, 28), *[(256, 56)] * 2, (128, 56), (128, 112), (64, 112),
            *[(64, 224)] * 2, (21, 224),
        ]  # fmt: skip
        assert found == [(channels, side, side) for channels, side in encoder + decoder]
        assert logits.shape == (1, 21, 224, 224)

    def test_there_is_no_dropout(self) -> None:
        assert {module.p for module in on_meta().modules() if isinstance(module, nn.Dropout)} == {0}

    @pytest.mark.parametrize(("side", "cells"), [(32, 1), (64, 2), (224, 7), (320, 10)])
    def test_the_kernels_of_fc6_have_as_many_cells_as_pool5(self, side: int, cells: int) -> None:
        network = on_meta(side=side, width=WIDTH)
        assert network.trunk.fc[0].kernel_size == network.fc6_deconv.layer.kernel_size == (cells, cells)
        assert network.eval()(torch.empty(2, 3, side, side, device="meta"))["logits"].shape == (2, 21, side, side)

    @pytest.mark.parametrize("side", [0, 16, 100, -32])
    def test_no_other_side(self, side: int) -> None:
        with pytest.raises(UsageError, match=f"side {side}: DeconvNet sees squares whose side is a multiple of 32"):
            on_meta(side=side)

    def test_unknown_unpooling(self) -> None:
        with pytest.raises(UnknownName, match="no unpooling 'switch'; did you mean 'switches'"):
            on_meta(unpooling="switch")


class TestStart:
    def test_deconvolutions_and_scores_are_gaussian_of_a_hundredth(self) -> None:
        torch.manual_seed(0)
        network = perpixel.build("deconvnet", 21, width=1 / 8)
        layers = [module for module in network.modules() if isinstance(module, nn.ConvTranspose2d)]
        for layer in (network.score, *layers):
            few = 4 / layer.weight.numel() ** 0.5
            assert layer.weight.std().item() == pytest.approx(0.01, rel=few)
            assert abs(layer.weight.mean().item()) < 0.01 * few
            assert not layer.bias.any()

    def test_batch_normalisation(self) -> None:
        for layer in perpixel.build("deconvnet", 21, width=WIDTH).modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.eps == 1e-9
                assert (layer.weight == 1).all()
                assert (layer.bias == torch.tensor(0.001)).all()

    @pytest.mark.parametrize("side", [224, 64])
    def test_imagenet_weights_are_those_of_vgg16(self, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
        """Here a thin VGG-16 stands for torchvision's; fc6 of another side cannot be its."""
        torch.manual_seed(1)
        vgg, asked = VGG16(width=WIDTH), []
        nn.init.constant_(vgg.mean, 0.4)
        theirs = {name: tensor.clone() for name, tensor in vgg.state_dict().items()}
        monkeypatch.setattr("perpixel.networks.deconvnet.VGG16", lambda width, dropout, weights: asked.append(weights) or vgg)
        ours = perpixel.build("deconvnet", 21, side=side, width=WIDTH, weights="imagenet").trunk.state_dict()
        assert asked == ["imagenet"]
        assert len(theirs) == 2 * 15 + 2
        differ = {name for name, tensor in theirs.items() if not torch.equal(ours[name], tensor)}
        assert differ == (set() if side == 224 else {"fc.0.weight"})

    def test_weights_of_an_fcn_fit_its_encoder_by_name(self) -> None:
        """As those of any network on VGG-16 do: the authors begin with VGG_ILSVRC_16_layers."""
        fcn = perpixel.build("fcn32s", 21, width=WIDTH).state_dict()
        ours = perpixel.build("deconvnet", 21, width=WIDTH).state_dict()
        fitting = [name for name, tensor in fcn.items() if name in ours and ours[name].shape == tensor.shape]
        assert [name for name in fcn if name.startswith("trunk.")] == fitting

    def test_shifts_of_batch_normalisation_learn_at_the_rate_of_weights(self) -> None:
        network = on_meta(width=WIDTH)
        groups = optimiser_of(network, Recipe(network="deconvnet", bias_lr=2.0, bias_decay=True)).param_groups
        told = {id(parameter): (group["factor"], group["weight_decay"] > 0) for group in groups for parameter in group["params"]}
        assert told[id(network.score.weight)] == (1, True)
        assert told[id(network.score.bias)] == (2, True)
        assert told[id(network.fc6_deconv.norm.weight)] == told[id(network.fc6_deconv.norm.bias)] == (1, False)


class TestUnpooling:
    PLANE = ((1, 5, 0, 0), (2, 3, 0, 0), (7, 7, 1, 2), (7, 7, 4, 3))  # 5, the first of four zeros, the first of four sevens, 4
    SWITCHES = ((0, 5, 0, 0), (0, 0, 0, 0), (7, 0, 0, 0), (0, 0, 4, 0))
    CORNER = ((5, 0, 0, 0), (0, 0, 0, 0), (7, 0, 4, 0), (0, 0, 0, 0))

    def test_by_hand(self) -> None:
        pooled, switches = nn.MaxPool2d(2, return_indices=True)(torch.tensor(self.PLANE, dtype=torch.float)[None, None])
        assert switches.flatten().tolist() == [1, 2, 8, 14]
        for how, expected in (("switches", self.SWITCHES), ("corner", self.CORNER)):
            assert unpool(pooled, switches, how)[0, 0].tolist() == [list(map(float, row)) for row in expected]
        assert unpool(pooled, switches, "bilinear")[0, 0, 0].tolist() == [5, 3.75, 1.25, 0]

    @given(st.integers(0, 2**32), st.booleans())
    def test_switches_give_the_maxima_back_and_nothing_else(self, seed: int, channels_last: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(1, 4, (2, 3, 8, 6), generator=generator).float()  # with many ties
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        pooled, switches = nn.MaxPool2d(2, return_indices=True)(x)
        found = unpool(pooled, switches, "switches")
        assert torch.equal(F.max_pool2d(found, 2), pooled)
        assert ((found == x) | (found == 0)).all()
        windows = found.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        assert ((windows != 0).sum(-1) == 1).all()
        of_x = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        assert torch.equal((windows != 0).float().argmax(-1), (of_x == pooled[..., None]).float().argmax(-1))  # the first

    @pytest.mark.parametrize("how", ["switches", "corner", "bilinear"])
    def test_only_switches_tell_the_decoder_where_things_are(self, how: str) -> None:
        """All of fc7 being equal, the decoder sees the picture through its switches alone."""
        torch.manual_seed(0)
        network = perpixel.build("deconvnet", 5, width=WIDTH, side=64, unpooling=how, batch_norm=False).eval()
        nn.init.zeros_(network.trunk.fc[3].weight)
        nn.init.ones_(network.trunk.fc[3].bias)
        with torch.inference_mode():
            one, other = network(torch.rand(2, 3, 64, 64))["logits"]
        assert torch.equal(one, other) == (how != "switches")


class TestWarping:
    def test_a_picture_of_another_size_is_warped_to_the_side_and_its_scores_back(self) -> None:
        torch.manual_seed(0)
        network = perpixel.build("deconvnet", 5, width=WIDTH, side=64, batch_norm=False).eval()
        images = torch.rand(2, 3, 100, 50)
        warped = F.interpolate(images, (64, 64), mode="bilinear", antialias=True)
        with torch.inference_mode():
            expected = F.interpolate(network(warped)["logits"], (100, 50), mode="bilinear")
            found, scores = network(images)["logits"], network.score_map(images)
        assert torch.equal(found, expected)
        assert scores.scores.shape == (2, 5, 64, 64)
        assert scores.stride == (100 / 64, 50 / 64)

    def test_training_on_one_picture_is_refused_in_a_sentence(self, tmp_path: Path) -> None:
        data = str(make_folder(tmp_path / "data"))
        recipe = Recipe(data=data, network="deconvnet", width=WIDTH, side=32, batch=2, accumulate=2, steps=1, device="cpu")
        with pytest.raises(UsageError, match=r"of 1 picture of 24x32 it has one value; give --accumulate 1, for parts of two"):
            train(recipe, tmp_path / "run", say=lambda _: None)

    def test_the_command_hands_its_arguments_over(self, tmp_path: Path) -> None:
        flags = ["--network", "deconvnet", "--width", "0.05", "--side", "32", "--unpooling", "corner", "--no-batch-norm"]
        data = str(make_folder(tmp_path / "data"))
        main(["train", "--data", data, *flags, "--steps", "1", "--validations", "1", "--out", str(tmp_path / "run")])
        arguments = perpixel.load(tmp_path / "run").card.arguments
        assert arguments == {"width": 0.05, "side": 32, "unpooling": "corner", "batch_norm": False}


# The authors' weights

ROWS = deconvnet(21, WIDTH)
WEIGHTS = random_weights(ROWS)
PICTURE = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)


def import_(path: Path, out: Path, **arguments: Any) -> Model:
    return perpixel.load(import_weights(path, "deconvnet", "voc2012", out, width=WIDTH, **arguments))


class Unpooling:
    """The authors' own layer: values go to their places on a plane of zeros."""

    def __init__(self, *_: Any) -> None:
        pass

    def getMemoryShapes(self, shapes: list[Any]) -> list[Any]:
        batch, depth, height, width = shapes[0]
        return [[batch, depth, 2 * height, 2 * width]]

    def forward(self, maps: list[np.ndarray]) -> list[np.ndarray]:
        x, places = maps
        batch, depth, height, width = x.shape
        found = np.zeros((batch, depth, 4 * height * width), np.float32)
        np.put_along_axis(found, places.reshape(batch, depth, -1).astype(int), x.reshape(batch, depth, -1), axis=2)
        return [found.reshape(batch, depth, 2 * height, 2 * width)]


def scores_of_opencv(prototxt: str, path: Path, pixels: np.ndarray) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason="OpenCV, which reads Caffe's networks too, is not installed")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV no longer reads Caffe's networks")
    text = path.with_suffix(".prototxt")
    text.write_text(prototxt)
    cv2.dnn_registerLayer("Unpooling", Unpooling)
    try:
        net = cv2.dnn.readNetFromCaffe(str(text), str(path))
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableWinograd(False)  # which is less exact
        net.enableFusion(False)  # which takes a Scale after a deconvolution for something else
        net.setInput(pixels[None].astype(np.float32))
        return np.array(net.forward("seg-score-voc")[0])
    finally:
        cv2.dnn_unregisterLayer("Unpooling")


def assert_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() < 1e-4 * theirs.std()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in every blob, in the old format, as Caffe wrote it when the authors used it."""
    return write_caffemodel(tmp_path_factory.mktemp("authors") / "net.caffemodel", WEIGHTS, old=True, legacy=True)


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    return import_(file, file.with_name("model"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return (PICTURE[..., ::-1] - np.array(VOC_MEAN)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def expected(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return run(ROWS, WEIGHTS, pixels)


class TestAuthorsWeights:
    def test_the_file_gives_the_scores_of_the_published_network(self, model: Any, expected: dict[str, np.ndarray]) -> None:
        theirs = expected["seg-score-voc"]
        assert theirs.std((1, 2)).min() > 0.1 * theirs.std()  # no class is the same everywhere
        with torch.inference_mode():
            assert_alike(model.network(to_tensor(PICTURE))["logits"][0].numpy(), theirs)

    def test_so_does_every_layer_before(self, model: Any, expected: dict[str, np.ndarray]) -> None:
        norms = [row.name for row in ROWS if row.type == "BN"]
        found = []
        hooks = [
            module.register_forward_hook(lambda _layer, _inputs, output: found.append(output[0].clone().numpy()))
            for module in model.network.modules() if isinstance(module, nn.BatchNorm2d)
        ]  # fmt: skip
        with torch.inference_mode():
            model.network(to_tensor(PICTURE))
        for hook in hooks:
            hook.remove()
        for ours, name in zip(found, norms, strict=True):
            assert_alike(ours, expected[name])

    def test_opencv_gives_the_same(self, tmp_path: Path, pixels: np.ndarray, expected: dict[str, np.ndarray]) -> None:
        """Its Scale with a bias stands for BN, which it does not have, and a pool's second result is where its maxima were."""
        text, weights = ROWS.prototxt(224, 224), []
        for (name, kind, blobs), row in zip(WEIGHTS, ROWS, strict=True):
            if kind == "BN":
                kind, blobs = "Scale", [blob.ravel() for blob in blobs]
                text = text.replace(f'"{name}" type: "BN"', f'"{name}" type: "Scale" scale_param {{ bias_term: true }}')
            elif kind == "Pooling":
                text = text.replace(f'top: "{name}"', f'top: "{name}" top: "{name}_switches"')
            elif kind == "Unpooling":
                switches = f'bottom: "{row.bottoms[1]}'
                text = text.replace(f'{switches}" top: "{name}"', f'{switches}_switches" top: "{name}"')
            weights.append((name, kind, blobs))
        theirs = scores_of_opencv(text, write_caffemodel(tmp_path / "net.caffemodel", weights), pixels)
        assert_alike(theirs, expected["seg-score-voc"])

    def test_every_layer_of_the_definition_has_its_place(self) -> None:
        """At the authors' width, on shapes alone."""
        layers = [Layer(row.name, row.type, [np.zeros(shape, np.float32) for shape in row.blobs]) for row in deconvnet(21)]
        assert sum(blob.size for layer in layers for blob in layer.blobs) == 251_805_653
        assert sum(1 for layer in layers if layer.blobs) == 16 + 14 + 29
        found, state = caffe_layers.convert(Path("net"), layers, "deconvnet", 21)
        assert found == {}
        assert {key: tensor.shape for key, tensor in state.items()} == {
            key: tensor.shape for key, tensor in on_meta().state_dict().items()
        }

    def test_what_became_of_each_blob(self, model: Any) -> None:
        given = {name: [torch.from_numpy(blob) for blob in blobs] for name, _, blobs in WEIGHTS}
        state = model.network.state_dict()
        for ours, theirs in {
            "trunk.features.0.weight": given["conv1_1"][0][:, [2, 1, 0]],  # BGR to RGB
            "trunk.features.28.weight": given["conv5_3"][0],
            "trunk.norm.2.weight": given["bn2_1"][0].flatten(),
            "trunk.fc.0.bias": given["fc6"][1],
            "trunk.norm.13.bias": given["bnfc6"][1].flatten(),
            "trunk.norm.14.weight": given["bnfc7"][0].flatten(),
            "fc6_deconv.layer.weight": given["fc6-deconv"][0],
            "fc6_deconv.norm.bias": given["fc6-deconv-bn"][1].flatten(),
            "deconv.0.0.layer.weight": given["deconv5_1"][0],
            "deconv.1.2.norm.weight": given["debn4_3"][0].flatten(),
            "deconv.4.1.layer.bias": given["deconv1_2"][1],
            "score.weight": given["seg-score-voc"][0],
        }.items():
            assert torch.equal(state[ours], theirs), ours
        for name, tensor in state.items():  # y = scale x + shift
            if "running" in name:
                assert (tensor == (1 if name.endswith("var") else 0)).all(), name

    def test_types_of_the_old_format_have_names(self, file: Path) -> None:
        found = Counter(layer.type for layer in read_caffemodel(file))
        assert (found["BN"], found["Unpooling"], found["Deconvolution"]) == (29, 5, 14)

    def test_the_card_says_what_may_be_done_with_them(self, model: Any) -> None:
        assert model.classes.names[15] == "person"
        assert "; its authors' repository allows individual research use alone, and redistribution" in model.card.licence

    @pytest.mark.parametrize("layer", [row.name for row in ROWS if row.blobs])
    def test_a_missing_layer_is_named(self, layer: str) -> None:
        layers = [Layer(name, kind, blobs) for name, kind, blobs in WEIGHTS if name != layer]
        with pytest.raises(UntrustedFile, match=rf"does not hold deconvnet with 21 classes \(missing layers: {layer}\)"):
            caffe_layers.convert(Path("net"), layers, "deconvnet", 21, width=WIDTH)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"unpooling": "corner"}, "unpooling: the file decides that; leave it out."),
            ({"batch_norm": False}, "is no network of the authors in Caffe's format; leave arguments out."),
        ],
    )
    def test_no_other_network_is_made_of_them(self, file: Path, tmp_path: Path, arguments: Any, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            import_(file, tmp_path / "model", **arguments)

    def test_training_from_folded_weights_is_warned_of(self, model: Any, file: Path, tmp_path: Path) -> None:
        messages: list[str] = []
        recipe = Recipe(data=str(make_folder(tmp_path / "data")), network="deconvnet", width=WIDTH, side=64, batch=2, steps=1,
                        validations=1, device="cpu", starts_from=str(file.with_name("model")))  # fmt: skip
        train(recipe, tmp_path / "run", say=messages.append)
        warning, *_ = [text for text in messages if text.startswith("warning")]
        assert "model has batch normalisation without statistics; where they are folded into scale and shift" in warning
        messages.clear()
        train(Recipe(**{**recipe.to_json(), "starts_from": str(tmp_path / "run")}), tmp_path / "again", say=messages.append)
        assert not [text for text in messages if text.startswith("warning")]
