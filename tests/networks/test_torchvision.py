"""torchvision's networks: torchvision's numbers from torchvision's state, and its published weights by its own loader."""

import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_folder
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.models import get_model_builder, get_model_weights
from torchvision.transforms import functional as transforms

import perpixel
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.errors import DataError, ResourceError, UnknownName, UntrustedFile, UsageError
from perpixel.files import digest
from perpixel.images import read_labels
from perpixel.judging.protocol import protocol
from perpixel.layers.score_map import ScoreMap
from perpixel.networks import as_network, build
from perpixel.networks.papers import size_of
from perpixel.networks.torchvision import ARCHITECTURES, LIGHTEST, PUBLISHED, TorchvisionNetwork, fetch, torchvision_state
from perpixel.prediction.bulk import model_and_pictures
from perpixel.prediction.score_maps import Scores, score_map
from perpixel.sample import Targets
from perpixel.training.recipe import Recipe
from perpixel.training.train import train
from perpixel.weights.model_file import Model, ModelCard, save_model
from perpixel.weights.torch_files import read_state

SIZES = [(97, 64), (150, 211), (224, 224), (1, 1)]
LIGHT = ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]  # one with an auxiliary head, one without
VOID = 255


def theirs(architecture: str, classes: int = 21, seed: int = 0) -> nn.Module:
    """torchvision's own network as `weights=DEFAULT` makes it, with a random state that batch normalisation has seen too."""
    torch.manual_seed(seed)
    options = {} if architecture.startswith("lraspp") else {"aux_loss": True}
    network = get_model_builder(architecture)(weights=None, weights_backbone=None, num_classes=classes, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def ours(architecture: str, state: dict[str, torch.Tensor], classes: int = 21) -> nn.Module:
    network = build(f"torchvision_{architecture}", classes)
    network.load_state_dict(torchvision_state(network, state))
    return network.eval()


@pytest.fixture(scope="module", params=LIGHT)
def pair(request) -> tuple[nn.Module, nn.Module]:
    """torchvision's network and ours with the same state."""
    network = theirs(request.param)
    return network, ours(request.param, network.state_dict())


def pictures(size: tuple[int, int], count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))


def as_torchvision_wants(images: torch.Tensor) -> torch.Tensor:
    return transforms.normalize(images, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


class TestTheNetwork:
    @pytest.mark.parametrize("size", SIZES)
    @torch.inference_mode()
    def test_logits_are_torchvisions(self, pair: tuple[nn.Module, nn.Module], size: tuple[int, int]) -> None:
        images = pictures(size, count=2)
        expected, found = pair[0](as_torchvision_wants(images)), pair[1](images)
        assert list(found) == ["logits", *(["auxiliary"] if "aux" in expected else [])]
        for name, theirs_name in zip(found, ("out", "aux"), strict=False):
            torch.testing.assert_close(found[name], expected[theirs_name], rtol=1e-5, atol=1e-5)
        assert found["logits"].std() > 1e-3

    @pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in LIGHT])
    @torch.inference_mode()
    def test_logits_of_the_larger_ones(self, architecture: str) -> None:
        network, images = theirs(architecture), pictures((35, 50))
        expected, found = network(as_torchvision_wants(images)), ours(architecture, network.state_dict())(images)
        torch.testing.assert_close(found["logits"], expected["out"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["auxiliary"], expected["aux"], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("size", [*SIZES, (8, 333)])
    def test_the_score_map_tells_the_argmax_of_the_logits(self, pair: tuple[nn.Module, nn.Module], size: tuple[int, int]) -> None:
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        with torch.inference_mode():
            logits = pair[1](torch.from_numpy(image).permute(2, 0, 1)[None] / 255)["logits"][0]
        found = score_map(as_network(pair[1]), image)
        assert found.scores.size < logits.numel() or size == (1, 1)
        differ = torch.from_numpy(found.labels(size).astype(np.int64)) != logits.argmax(0)
        first, second = logits.topk(2, dim=0).values[:, differ]
        assert (first - second < 1e-4 * logits.std()).all()
        np.testing.assert_allclose(found.probabilities(size), logits.softmax(0).numpy(), atol=1e-4)

    @pytest.mark.parametrize(
        ("architecture", "parameters"),
        [
            ("fcn_resnet50", 35_322_218),
            ("fcn_resnet101", 54_314_346),
            ("deeplabv3_resnet50", 42_004_074),
            ("deeplabv3_resnet101", 60_996_202),
            ("deeplabv3_mobilenet_v3_large", 11_029_328),
            ("lraspp_mobilenet_v3_large", 3_221_538),
        ],
    )
    def test_the_published_number_of_parameters(self, architecture: str, parameters: int) -> None:
        meta = get_model_weights(architecture).DEFAULT.meta
        found, multiply_adds = size_of(f"torchvision_{architecture}", size=(520, 520))
        assert found == parameters == meta["num_params"]
        assert multiply_adds / 1e9 == pytest.approx(meta["_ops"], rel=0.01)


class TestTraining:
    def test_the_same_keys_in_training_and_evaluation(self, pair: tuple[nn.Module, nn.Module]) -> None:
        network, images = pair[1], pictures((33, 47), count=2)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with torch.no_grad():
            keys = list(network(images))
            assert list(network.train()(images)) == keys
        network.eval().load_state_dict(before)

    def test_the_auxiliary_loss_counts_half(self, pair: tuple[nn.Module, nn.Module]) -> None:
        images, targets = pictures((33, 47)), torch.randint(21, (1, 33, 47), generator=torch.Generator().manual_seed(1))
        targets[..., ::3] = VOID
        with torch.no_grad():
            logits, losses = pair[1](images), pair[1].losses(images, Targets(targets))
            expected = {"cross_entropy": F.cross_entropy(logits["logits"], targets, ignore_index=VOID)}
            if "auxiliary" in logits:
                expected["auxiliary_cross_entropy"] = 0.5 * F.cross_entropy(logits["auxiliary"], targets, ignore_index=VOID)
        assert list(losses) == list(expected)
        torch.testing.assert_close(losses, expected)

    def test_the_trunk_has_a_learning_rate_of_its_own(self) -> None:
        with torch.device("meta"):
            for name in PUBLISHED:
                assert {n.split(".")[0] for n, _ in build(name).named_parameters()} >= {"trunk", "classifier"}

    def test_it_trains_and_comes_back(self, tmp_path: Path) -> None:
        data = make_folder(tmp_path / "data", train=4, val=1)
        settings = {"network": LIGHTEST, "weights": "none", "batch": 4, "steps": 2, "validations": 1, "device": "cpu", "ema": 0.5}
        recipe = Recipe(data=str(data), **settings)
        train(recipe, tmp_path / "run", say=lambda _: None)
        model = perpixel.load(tmp_path / "run")
        assert perpixel.predict(model, draw_sample(0)[0]).labels.shape == (24, 32)
        assert model.scale_for((24, 32)) == 1


def changed(state: dict[str, torch.Tensor], **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The state with tensors replaced or, for None, left out; dots of names as double underscores."""
    named = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in {**state, **named}.items() if tensor is not None}


@pytest.fixture(scope="module")
def network() -> TorchvisionNetwork:
    return build(LIGHTEST, 5)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return theirs("lraspp_mobilenet_v3_large", 5).state_dict()


class TestState:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_every_name_is_torchvisions(self, name: str) -> None:
        with torch.device("meta"):
            network, state = build(name), theirs(name.removeprefix("torchvision_")).state_dict()
        assert list(torchvision_state(network, state)) == list(network.state_dict())
        assert {n.replace("trunk.", "backbone.", 1) for n in network.state_dict()} == set(state)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"classifier__low_classifier__bias": None}, "(missing: classifier.low_classifier.bias)"),
            ({"classifier__more": torch.ones(1)}, "(unknown: classifier.more)"),
            ({"trunk__0__0__weight": torch.ones(1)}, "(unknown: trunk.0.0.weight)"),
            (
                {"backbone__0__0__weight": torch.ones(16, 3, 3)},
                "(misshapen: backbone.0.0.weight is (16, 3, 3), not (16, 3, 3, 3))",
            ),
            (
                {"classifier__cbr__1__bias": None, "b": torch.ones(1), "classifier__high_classifier__bias": torch.ones(6)},
                "(missing: classifier.cbr.1.bias; unknown: b; misshapen: classifier.high_classifier.bias is (6,), not (5,))",
            ),
            ({f"layer{i}": torch.ones(1) for i in range(10)}, "layer6, layer7 and 2 more)"),
            ({"\x1b[2J": torch.ones(1)}, r"(unknown: '\x1b[2J')"),
        ],
    )
    def test_what_does_not_fit_is_listed_by_name(self, network, state, changes, says: str) -> None:
        with pytest.raises(UntrustedFile) as error:
            torchvision_state(network, changed(state, **changes), "weights.pth")
        assert str(error.value).startswith("weights.pth: is not of torchvision's lraspp_mobilenet_v3_large (")
        assert says in str(error.value)

    def test_weights_for_other_classes(self, network: TorchvisionNetwork) -> None:
        with pytest.raises(UntrustedFile, match=r"low_classifier\.weight is \(21, 40, 1, 1\), not \(5, 40, 1, 1\)"):
            torchvision_state(network, theirs("lraspp_mobilenet_v3_large").state_dict())

    def test_counters_of_old_files_may_be_missing(self, network: TorchvisionNetwork, state: dict[str, torch.Tensor]) -> None:
        old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
        assert len(old) < len(state)
        network.load_state_dict(torchvision_state(network, old))

    def test_half_precision_becomes_single(self, network: TorchvisionNetwork, state: dict[str, torch.Tensor]) -> None:
        half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        for name, tensor in torchvision_state(network, half).items():
            assert tensor.dtype == network.state_dict()[name].dtype

    def test_a_file_becomes_a_model_folder(self, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
        """The steps of an import: read in a child process, named and checked, saved, loaded."""
        torch.save({"model": state, "epoch": 29}, tmp_path / "weights.pth")
        network = build(LIGHTEST, 5)
        named = torchvision_state(network, read_state(tmp_path / "weights.pth"), "weights.pth")
        save_model(tmp_path, named, ModelCard(LIGHTEST, {}, ClassTable.of("abcde").to_json(), {}, 1.0, 0, {}, "", ""))
        expected = theirs("lraspp_mobilenet_v3_large", 5)
        expected.load_state_dict(state)
        with torch.inference_mode():
            found = perpixel.load(tmp_path).network(pictures((97, 64)))["logits"]
            torch.testing.assert_close(found, expected(as_torchvision_wants(pictures((97, 64))))["out"], rtol=1e-5, atol=1e-5)

    def test_another_kind_of_network(self, state: dict[str, torch.Tensor]) -> None:
        with pytest.raises(UsageError, match=r"weights by torchvision's names; name a network of torchvision_fcn_resnet50, "):
            torchvision_state(build("unet", 5, width=0.05), state, "weights.pth")


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch keeps what it fetched: an empty place; and no way to the network but to this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = get_model_weights("lraspp_mobilenet_v3_large").DEFAULT
    monkeypatch.setattr(weights.value, "url", f"http://127.0.0.1:{closed_port()}/{Path(weights.url).name}")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .pth of a random state; its name carries its hash, as torchvision's do."""
    folder = tmp_path_factory.mktemp("server")
    torch.save(theirs("lraspp_mobilenet_v3_large").state_dict(), folder / "made.pth")
    return (folder / "made.pth").rename(folder / f"lraspp-{digest(folder / 'made.pth')[:8]}.pth")


@pytest.fixture
def served(made: Path) -> Iterator[Callable[[str], str]]:
    """A server on this machine for the folder of `made`: name -> URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(made.parent)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield lambda name: f"http://127.0.0.1:{server.server_port}/{name}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Lets torchvision publish its LRASPP at another URL; gives the place in the cache."""

    def at(url: str) -> Path:
        monkeypatch.setattr(get_model_weights("lraspp_mobilenet_v3_large").DEFAULT.value, "url", url)
        return cache / Path(url).name

    return at


class TestPublished:
    def assert_is_made(self, model: Model, made: Path) -> None:
        image = draw_sample(0)[0]
        network = theirs("lraspp_mobilenet_v3_large")
        network.load_state_dict(torch.load(made, weights_only=True))
        with torch.inference_mode():
            expected = network(as_torchvision_wants(pictures((97, 64))))["out"]
            torch.testing.assert_close(model.network(pictures((97, 64)))["logits"], expected, rtol=1e-5, atol=1e-5)
        assert model.digest == hashlib.sha256(made.read_bytes()).hexdigest()
        assert perpixel.predict(model, image).labels.shape == image.shape[:2]

    def test_fetched_once_and_kept(self, made, served, publish, capfd: pytest.CaptureFixture[str]) -> None:
        kept = publish(served(made.name))
        self.assert_is_made(perpixel.load(LIGHTEST), made)
        assert kept.read_bytes() == made.read_bytes()
        output = capfd.readouterr()
        assert output.out == ""
        assert "Downloading" in output.err
        publish(f"http://127.0.0.1:{closed_port()}/{made.name}")
        self.assert_is_made(perpixel.load(LIGHTEST), made)
        assert capfd.readouterr().err == ""
        assert socket.getdefaulttimeout() is None

    def test_by_a_file_url(self, made: Path, publish) -> None:
        publish(made.as_uri())
        self.assert_is_made(perpixel.load(LIGHTEST), made)

    def test_another_file_than_published(self, made: Path, served, publish) -> None:
        (made.parent / "lraspp-01234567.pth").write_bytes(made.read_bytes())
        kept = publish(served("lraspp-01234567.pth"))
        with pytest.raises(UntrustedFile, match=r"sent another file than torchvision published \(invalid hash value"):
            perpixel.load(LIGHTEST)
        assert list(kept.parent.iterdir()) == []

    @pytest.mark.parametrize("content", ["cut short", "code", "another network"])
    def test_what_lies_damaged_in_the_cache(self, made: Path, publish, tmp_path: Path, content: str) -> None:
        kept = publish(f"http://127.0.0.1:{closed_port()}/{made.name}")
        kept.parent.mkdir(parents=True)
        if content == "cut short":
            kept.write_bytes(made.read_bytes()[:5000])
        elif content == "code":
            torch.save(nn.Linear(1, 1), kept)
        else:
            torch.save({"a": torch.ones(1)}, kept)
        with pytest.raises(UntrustedFile, match=rf"^{kept}: ") as error:
            perpixel.load(LIGHTEST)
        assert ("missing: " if content == "another network" else "is damaged or cannot be read; delete it") in str(error.value)

    @pytest.mark.parametrize("trouble", ["nobody listens", "no such file", "no such machine"])
    def test_without_network_access(self, served, publish, trouble: str) -> None:
        publish({
            "nobody listens": f"http://127.0.0.1:{closed_port()}/lraspp-01234567.pth",
            "no such file": served("none-01234567.pth"),
            "no such machine": "http://machine.invalid/lraspp-01234567.pth",
        }[trouble])  # fmt: skip
        with pytest.raises(ResourceError) as error:
            perpixel.load(LIGHTEST)
        sentence = str(error.value)
        assert sentence.startswith(f"the weights of {LIGHTEST} cannot be fetched (")
        assert "connect to the network once, or get http://" in sentence
        assert f"`perpixel import FILE --network {LIGHTEST} --classes voc2012 --out FOLDER`." in sentence

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_classes_are_those_of_voc(self, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        weights = get_model_weights(architecture).DEFAULT
        place = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
        place.parent.mkdir(parents=True)
        torch.save({"a": torch.ones(1)}, place)
        found = fetch(f"torchvision_{architecture}")
        assert len(found.classes) == 21
        assert found.classes.names[:3] == ("background", "aeroplane", "bicycle")
        assert found.classes.names[1:] == tuple(weights.meta["categories"][1:])
        assert found.classes.colours[:3] + found.classes.colours[20:] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (0, 64, 128))
        assert found.side == 520

    def test_pictures_are_seen_with_a_shorter_side_of_520(self, made: Path, publish) -> None:
        publish(made.as_uri())
        model = perpixel.load(LIGHTEST)
        assert [model.scale_for(size) for size in ((520, 900), (3000, 1040), (260, 400), (1, 5))] == [1, 0.5, 2, 16]
        big = np.asarray(Image.fromarray(draw_sample(3, (40, 60))[0]).resize((1560, 1040)))
        seen = np.asarray(Image.fromarray(big).resize((780, 520), Image.Resampling.BILINEAR))
        with torch.inference_mode():
            logits = model.network(torch.from_numpy(seen.copy()).permute(2, 0, 1)[None] / 255)["logits"]
            scores = model.network.score_map(torch.from_numpy(seen.copy()).permute(2, 0, 1)[None] / 255).scores
        assert logits.shape[-2:] == (520, 780)
        expected = F.interpolate(scores, (1040, 1560), mode="bilinear")[0]
        differ = torch.from_numpy(perpixel.predict(model, big).labels.astype(np.int64)) != expected.argmax(0)
        first, second = expected.topk(2, dim=0).values[:, differ]
        assert (first - second < 1e-4 * expected.std()).all()

    def test_the_protocol_says_so(self, made: Path, publish, tmp_path: Path) -> None:
        publish(made.as_uri())
        model = perpixel.load(LIGHTEST)
        data = make_folder(tmp_path / "data", train=1, val=1)
        names = ["id,name", *(f"{i},{name}" for i, name in enumerate(model.classes.names)), "255,void"]
        (data / "classes.csv").write_text("\n".join(names))
        dataset = perpixel.open_dataset(str(data), split="val")
        assert perpixel.evaluate(model, dataset).protocol["scales"] == ["shorter side 520"]
        assert protocol(dataset, [], "", 1.0)["scales"] == [1.0]

    def test_imagenet_weights_of_the_trunk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        classifier = get_model_builder("mobilenet_v3_large")(weights=None)
        place = tmp_path / "hub" / "checkpoints" / Path(get_model_weights("mobilenet_v3_large").IMAGENET1K_V1.url).name
        place.parent.mkdir(parents=True)
        torch.save(classifier.state_dict(), place)
        for architecture in LIGHT:
            trunk = build(f"torchvision_{architecture}", 5, weights="imagenet").trunk
            for name, tensor in trunk.state_dict().items():
                assert torch.equal(tensor, classifier.state_dict()[f"features.{name}"])
        with pytest.raises(UnknownName, match="no weights 'imagnet'; did you mean 'imagenet'"):
            build(LIGHTEST, 5, weights="imagnet")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs `perpixel predict` beside street.jpg and photos/a.png; gives exit code and the lines on stderr."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(draw_sample(0)[0]).save("street.jpg")
    Path("photos").mkdir()
    Image.fromarray(draw_sample(1)[0]).save("photos/a.png")
    Path("run").mkdir()

    def run(*arguments: str) -> tuple[int, list[str]]:
        code = 0
        try:
            main(["predict", *arguments])
        except SystemExit as left:
            code = left.code
        return code, capsys.readouterr().err.splitlines()

    return run


PICTURES = (["street.jpg"], ["street.jpg", "photos"], ["photos"], ["*.jpg"])


class TestTheCommand:
    @pytest.mark.parametrize("inputs", [*PICTURES, [LIGHTEST, "street.jpg"]])
    def test_pictures_without_a_run(self, made: Path, publish, command, inputs: list[str]) -> None:
        kept = publish(f"http://127.0.0.1:{closed_port()}/{made.name}")
        kept.parent.mkdir(parents=True)
        kept.write_bytes(made.read_bytes())
        code, output = command(*inputs)
        assert code == 0, output
        announced = f"No model is named: {LIGHTEST} is used, with weights of torchvision for VOC's 21 classes." in output
        assert announced == (LIGHTEST not in inputs)
        names = {name for name, place in (("a", "photos"), ("street", "street.jpg"), ("street", "*.jpg")) if place in inputs}
        assert {path.stem for path in Path("masks/masks").iterdir()} == names
        for name in names:
            mask = read_labels(Path(f"masks/masks/{name}.png"))
            assert mask.shape == (24, 32)
            assert mask.max() < 21

    @pytest.mark.parametrize("inputs", [["street.jpg"], [LIGHTEST, "street.jpg"]])
    def test_without_network_access_it_says_how(self, cache: Path, command, inputs: list[str]) -> None:
        code, output = command(*inputs)
        assert code == 5
        assert output[-1].startswith(f"perpixel: the weights of {LIGHTEST} cannot be fetched (")
        assert output[-1].endswith(f"run `perpixel import FILE --network {LIGHTEST} --classes voc2012 --out FOLDER`.")
        assert not Path("masks").exists()

    @pytest.mark.parametrize(
        ("inputs", "code", "says"),
        [
            (["run", "street.jpg"], 3, "run/model.safetensors: there is no model file; name a run folder of `perpixel train`, a "
             f"model.safetensors, or a network with published weights such as {LIGHTEST}."),
            (["torchvision_lrasp", "street.jpg"], 3, "torchvision_lrasp: there is no model file"),
            ([LIGHTEST], 2, f"{LIGHTEST}: is taken for the model; name pictures behind it"),
            (["run"], 3, "run: holds no PNG, JPEG, WEBP, TIFF, BMP or GIF pictures"),
            (["no*.jpg"], 3, "no*.jpg: no file fits this pattern."),
            (["--scroes", "street.jpg"], 2, "no option '--scroes'; did you mean '--scores'?"),
        ],
    )  # fmt: skip
    def test_one_sentence_for_a_mistake(self, cache: Path, command, inputs: list[str], code: int, says: str) -> None:
        left, output = command(*inputs)
        assert left == code
        assert len(output) == 1
        assert says in output[0]

    def test_a_folder_of_the_name_comes_first(self, cache: Path, command) -> None:
        Path(LIGHTEST).mkdir()
        with pytest.raises(DataError, match="there is no model file"):
            perpixel.load(LIGHTEST)

    def test_pictures_from_standard_input(self, made: Path, publish, command, monkeypatch: pytest.MonkeyPatch) -> None:
        publish(made.as_uri())
        with Path("street.jpg").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            code, output = command("-")
        assert code == 0, output
        assert Path("masks/masks/stdin.png").exists()


def test_models_and_pictures_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("run", "photos", "shots.jpg"):
        Path(folder).mkdir()
    for file in ("run/model.safetensors", "a[1]", "shots.jpg/model.safetensors"):
        Path(file).touch()
    for inputs, model in {
        ("run", "photos"): "run",
        ("photos", "street.jpg"): "photos",
        ("run/model.safetensors", "*.png"): "run/model.safetensors",
        ("a[1]", "street.jpg"): "a[1]",
        ("shots.jpg", "street.jpg"): "shots.jpg",
        (LIGHTEST, "-"): LIGHTEST,
        ("photos",): None,
        ("none.JPG", "photos"): None,
        ("*", "photos"): None,
        ("-",): None,
    }.items():
        assert model_and_pictures(inputs) == (model, list(inputs if model is None else inputs[1:]))
    for alone in ("run", "none", LIGHTEST, "shots.jpg"):
        with pytest.raises(UsageError, match="is taken for the model"):
            model_and_pictures([alone])


@pytest.mark.parametrize(("cells", "size"), [((3, 4), (7, 9)), ((13, 8), (97, 64)), ((5, 5), (5, 5)), ((4, 3), (2, 1))])
def test_a_stretched_map_is_torchs_interpolation(cells: tuple[int, int], size: tuple[int, int]) -> None:
    scores = torch.randn(1, 4, *cells, generator=torch.Generator().manual_seed(0))
    found = ScoreMap.stretched(scores, size)
    values = Scores(scores[0].movedim(0, -1).numpy(), found.stride, found.shift, size)
    expected = F.interpolate(scores, size, mode="bilinear", align_corners=False)[0].softmax(0).numpy()
    np.testing.assert_allclose(values.probabilities(size), expected, atol=1e-5)
