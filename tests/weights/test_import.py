"""The authors' weights give the authors' scores: an independent engine runs their networks on the same files.

The engine is OpenCV's reader of Caffe networks; `caffe_files` makes the networks' texts and random weights for every blob."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from caffe_files import Rows, Weights, bilinear, fcn, output_of_opencv, parsenet, unet, write_caffemodel
from PIL import Image
from places import TESTS
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import perpixel
from perpixel import networks
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets.scenes import CLASSES as SCENES
from perpixel.errors import DataError, PerpixelError, UnknownName, UntrustedFile, UsageError
from perpixel.files import CARD_FILE, MODEL_FILE, digest
from perpixel.prediction.predict import predict
from perpixel.prediction.score_maps import to_tensor
from perpixel.weights import caffe_layers
from perpixel.weights.caffe_file import Layer
from perpixel.weights.caffe_layers import VOC_MEAN
from perpixel.weights.import_weights import class_table, import_weights
from perpixel.weights.model_file import Model

WIDTH = 1 / 16
SIZES = [(224, 224), (150, 211), (97, 64)]
# What each definition is called here: rows, network, backbone.
PUBLISHED: dict[str, tuple[Callable[[int, float], Rows], str, dict[str, Any]]] = {
    "voc-fcn32s": (lambda classes, width: fcn("fcn32s", classes, width), "fcn32s", {}),
    "voc-fcn16s": (lambda classes, width: fcn("fcn16s", classes, width), "fcn16s", {}),
    "voc-fcn8s": (lambda classes, width: fcn("fcn8s", classes, width), "fcn8s", {}),
    "voc-fcn8s-atonce": (lambda classes, width: fcn("fcn8s_atonce", classes, width), "fcn8s_atonce", {}),
    "voc-fcn-alexnet": (lambda classes, width: fcn("fcn_alexnet", classes, width), "fcn32s", {"backbone": "alexnet"}),
    "VGG_VOC2012ext": (parsenet, "parsenet", {}),
    "phseg_v5": (unet, "unet", {"variant": "release"}),
}
FCNS = [name for name in PUBLISHED if name.startswith("voc")]


@cache
def weights_of(name: str, classes: int = 21) -> list[Weights]:
    return PUBLISHED[name][0](classes, WIDTH).weights()


def import_(path: Path, name: str, out: Path, classes: int | str = 21) -> Model:
    """The model that comes of importing a file of the definition `name`."""
    _, network, arguments = PUBLISHED[name]
    return perpixel.load(import_weights(path, network, classes, out, width=WIDTH, **arguments))


@cache
def picture(size: tuple[int, int], grey: bool = False) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    return np.repeat(pixels[..., :1], 3, 2) if grey else pixels


def scores(model: Any, size: tuple[int, int], grey: bool = False) -> np.ndarray:
    with torch.inference_mode():
        return model.network(to_tensor(picture(size, grey)))["logits"][0].numpy()


def prepared(rows: Rows, size: tuple[int, int]) -> np.ndarray:
    """`picture` as the authors' data layers hand it over: BGR less its mean; grey from 0 to 1 and mirrored for U-Net."""
    if rows.inputs == 3:
        return (picture(size)[..., ::-1].astype(np.float32) - np.float32(VOC_MEAN)).transpose(2, 0, 1)
    most = [16 * (-(-(side + 124) // 16)) + 60 for side in size]  # segmentAndTrack: k = ceil((side + 124) / 16)
    margins = [(92, full - side - 92) for side, full in zip(size, most, strict=True)]
    return np.pad(picture(size)[..., 0] / np.float32(255), margins, mode="reflect")[None]


def scores_of_opencv(rows: Rows, path: Path, size: tuple[int, int]) -> np.ndarray:
    return output_of_opencv(rows, path, rows[-1].name, prepared(rows, size))[:, : size[0], : size[1]]


def assert_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert abs(ours - theirs).max() < 1e-4 * theirs.std()


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """The name of a definition, a file of random weights, and the model that it becomes."""
    folder = tmp_path_factory.mktemp("published")
    path = write_caffemodel(folder / "net.caffemodel", weights_of(request.param))
    return request.param, path, import_(path, request.param, folder / "model")


class TestScores:
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_random_weights_give_the_scores_of_the_published_network(self, published, size: tuple[int, int]) -> None:
        name, path, model = published
        rows = PUBLISHED[name][0](21, WIDTH)
        assert_alike(scores(model, size, rows.inputs == 1), scores_of_opencv(rows, path, size))

    @pytest.mark.parametrize("size", [(188, 188), (204, 236), (252, 220)], ids=str)
    def test_nothing_is_mirrored_where_u_net_is_given_the_surroundings(self, tmp_path: Path, size: tuple[int, int]) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("phseg_v5", 2))
        model = import_(path, "phseg_v5", tmp_path / "model", 2)
        seen = picture(size, grey=True)
        with torch.inference_mode():
            found = model.network.valid_score_map(to_tensor(seen)).scores[0].numpy()
        assert_alike(found, output_of_opencv(unet(2, WIDTH), path, "conv_u0d-score", seen[None, ..., 0] / np.float32(255)))

    @pytest.mark.parametrize("name", FCNS)
    def test_so_do_bilinear_interpolations(self, tmp_path: Path, name: str) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", bilinear(weights_of(name)))
        model = import_(path, name, tmp_path / "model")
        assert "learned_upsampling" not in model.card.arguments
        assert_alike(scores(model, (97, 64)), scores_of_opencv(PUBLISHED[name][0](21, WIDTH), path, (97, 64)))

    def test_so_do_files_in_the_old_format(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", drawn_in_v1(weights_of("voc-fcn16s")), old=True, legacy=True)
        model = import_(path, "voc-fcn16s", tmp_path / "model")
        assert_alike(scores(model, (97, 64)), scores_of_opencv(PUBLISHED["voc-fcn16s"][0](21, WIDTH), path, (97, 64)))

    def test_predictions_are_the_classes_of_the_highest_scores(self, published) -> None:
        found = predict(published[2], picture((97, 64))).labels
        expected = scores(published[2], (97, 64)).argmax(0)
        assert (found != expected).mean() < 1e-3


def drawn_in_v1(weights: list[Weights]) -> list[Weights]:
    """The layers that the old format has a number for: Crop came later, and has no weights."""
    return [layer for layer in weights if layer[1] != "Crop"]


class TestDefinitions:
    """At the authors' width, on shapes alone; figures: the papers' counts, recounted from the authors' files."""

    @pytest.mark.parametrize(
        ("name", "learned", "interpolating"),
        [
            ("voc-fcn32s", 134_346_581, 1_806_336),
            ("voc-fcn16s", 134_357_354, 458_640),
            ("voc-fcn8s", 134_362_751, 127_008),
            ("voc-fcn8s-atonce", 134_362_751 + 512 + 256, 127_008),
            ("voc-fcn-alexnet", 56_954_261, 1_750_329),
            ("VGG_VOC2012ext", 20_534_399 - 5_397, 5_397),
            ("phseg_v5", 31_100_354 + 19 * 65 - 2_819_072, 2_819_072),  # 2 classes, and 19 more; up-convolutions
        ],
    )
    def test_every_blob_has_its_place(self, name: str, learned: int, interpolating: int) -> None:
        build, network, arguments = PUBLISHED[name]
        rows = build(21, 1.0)
        sizes = {kind: 0 for kind in ("Deconvolution", "other")}
        layers = []
        for row in rows:
            blobs = [np.zeros(shape, np.float32) for shape in row.blobs]  # memory that is never touched is never taken
            layers.append(Layer(row.name, row.type, blobs))
            sizes["Deconvolution" if row.type == "Deconvolution" else "other"] += sum(blob.size for blob in blobs)
        assert sizes == {"Deconvolution": interpolating, "other": learned}
        found, state = caffe_layers.convert(Path("net"), layers, network, 21, **arguments)
        with torch.device("meta"):
            expected = perpixel.build(network, 21, **found).state_dict()
        assert {key: tensor.shape for key, tensor in state.items()} == {key: tensor.shape for key, tensor in expected.items()}
        for_pictures = 0 if name == "phseg_v5" else 6  # trunk.mean, trunk.scale
        assert sum(tensor.numel() for tensor in state.values()) == learned + interpolating + for_pictures

    @pytest.mark.parametrize(("name", "classes"), [("voc-fcn8s", 60), ("VGG_VOC2012ext", 60), ("voc-fcn32s", 1)])
    def test_any_number_of_classes(self, tmp_path: Path, name: str, classes: int) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of(name, classes))
        assert scores(import_(path, name, tmp_path / "model", classes), (40, 50)).shape == (classes, 40, 50)

    def test_a_number_in_a_layers_name_is_not_the_number_of_classes(self, tmp_path: Path) -> None:
        """A copy of ParseNet for PASCAL-Context has 60 classes in layers that are called 21."""
        renamed = [(name.replace("60", "21"), kind, blobs) for name, kind, blobs in weights_of("VGG_VOC2012ext", 60)]
        path = write_caffemodel(tmp_path / "net.caffemodel", renamed)
        assert len(import_(path, "VGG_VOC2012ext", tmp_path / "model", 60).classes) == 60


class TestState:
    def test_what_became_of_each_blob(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("voc-fcn8s-atonce"))
        found = import_(path, "voc-fcn8s-atonce", tmp_path / "model").network.state_dict()
        given = {name: [torch.from_numpy(blob) for blob in blobs] for name, _, blobs in weights_of("voc-fcn8s-atonce")}
        expected = {
            "trunk.features.0.weight": given["conv1_1"][0][:, [2, 1, 0]],  # BGR to RGB
            "trunk.features.0.bias": given["conv1_1"][1],
            "trunk.features.28.weight": given["conv5_3"][0],
            "trunk.fc.0.weight": given["fc6"][0],
            "trunk.fc.3.bias": given["fc7"][1],
            "score.fc7.weight": given["score_fr"][0],
            "score.pool4.bias": given["score_pool4"][1],
            "skip_scale.pool3": given["scale_pool3"][0],
            "upsample.fc7.weight": given["upscore2"][0],
            "upsample.pool4.weight": given["upscore_pool4"][0],
            "upsample.final.weight": given["upscore8"][0],
        }
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
        assert found["trunk.mean"].flatten().tolist() == pytest.approx([122.67892 / 255, 116.66877 / 255, 104.00699 / 255])
        assert found["trunk.scale"].flatten().tolist() == [255, 255, 255]

    def test_old_shapes_and_fully_connected_layers_are_the_same_weights(self, tmp_path: Path) -> None:
        weights = weights_of("voc-fcn8s")
        flat = [
            (name, "InnerProduct", [blobs[0].reshape(256, -1), blobs[1]]) if name in ("fc6", "fc7") else (name, kind, blobs)
            for name, kind, blobs in weights
        ]
        files = [
            write_caffemodel(tmp_path / "new.caffemodel", weights),
            write_caffemodel(tmp_path / "old.caffemodel", drawn_in_v1(flat), old=True, legacy=True),
            write_caffemodel(tmp_path / "unpacked.caffemodel", flat, packed=False),
        ]
        states = [import_(path, "voc-fcn8s", path.with_suffix("")).network.state_dict() for path in files]
        for state in states[1:]:
            assert all(torch.equal(state[name], tensor) for name, tensor in states[0].items())

    @pytest.mark.parametrize(("change", "learned"), [(0, None), (1e-7, None), (1e-3, "all")])
    @pytest.mark.parametrize("at", [(0, 0, 2, 2), (0, 1, 0, 0)], ids=["of a class", "between classes"])
    def test_interpolation_is_learned_where_it_is_not_bilinear(self, tmp_path: Path, change, learned, at) -> None:
        weights = bilinear(weights_of("voc-fcn8s"))
        kernel = next(blobs[0] for name, _, blobs in weights if name == "upscore_pool4")
        kernel[at] += change
        path = write_caffemodel(tmp_path / "net.caffemodel", weights)
        assert import_(path, "voc-fcn8s", tmp_path / "model").card.arguments.get("learned_upsampling") == learned

    def test_the_card_says_where_the_weights_are_from(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", bilinear(weights_of("voc-fcn32s")))
        card = import_(path, "voc-fcn32s", tmp_path / "model").card
        assert (card.network, card.arguments, card.step, card.score) == ("fcn32s", {"width": WIDTH}, 0, {})
        assert card.licence == f"that of the weights imported from net.caffemodel, SHA-256 {digest(path)}"
        assert ClassTable.from_json(card.classes).names[20] == "class 20"

    def test_importing_again_gives_the_same_bytes(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("voc-fcn32s"))
        import_(path, "voc-fcn32s", tmp_path / "model")
        before = (tmp_path / "model" / MODEL_FILE).read_bytes()
        (tmp_path / "model" / f".{MODEL_FILE}.7.partial").write_bytes(b"of a process that was killed")
        import_(path, "voc-fcn32s", tmp_path / "model")
        assert (tmp_path / "model" / MODEL_FILE).read_bytes() == before
        assert {item.name for item in (tmp_path / "model").iterdir()} == {MODEL_FILE, CARD_FILE}


KILLED = """
import os, shutil, signal, sys
from kill import TOUCHES
from perpixel import networks
from perpixel.weights import caffe_file, caffe_layers
from perpixel.weights.import_weights import import_weights
state = networks.build("fcn32s", 21, width=1 / 16).state_dict()  # once, for what reading takes
caffe_layers.convert = lambda *_, **arguments: (arguments, state)
caffe_file.read_caffemodel = lambda path: []

def run(kill_at):
    touched = 0
    def counting(function):
        def touch(*arguments, **keywords):
            nonlocal touched
            touched += 1
            if touched == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)
        return touch
    for module, name in TOUCHES:
        setattr(module, name, counting(getattr(module, name)))
    import_weights(sys.argv[1], "fcn32s", 21, sys.argv[2], width=1 / 16)
    return touched

point = 1
while True:
    pid = os.fork()
    if not pid:
        try:
            run(point)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(point, status, sorted(os.listdir(sys.argv[2])) if os.path.exists(sys.argv[2]) else "nothing", flush=True)
    if status >= 0:
        break
    if len(sys.argv) == 3:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
    point += 1
"""


@pytest.mark.parametrize("again", [False, True], ids=["new", "over an old one"])
def test_killed_anywhere_an_import_is_whole_or_not_there(tmp_path: Path, again: bool) -> None:
    """And the same command ends it, whatever lies there. Over an old model its weights are the old or the new ones."""
    path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("voc-fcn32s"))
    out = tmp_path / "models" / "fcn32s"
    if again:
        import_(path, "voc-fcn32s", out)
    command = [sys.executable, "-c", KILLED, str(path), str(out), *(["keep"] if again else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
    *killed, last = [line.split(" ", 2) for line in done.stdout.splitlines()]
    whole = [CARD_FILE, MODEL_FILE]
    assert len(killed) >= 6
    assert {status for _, status, _ in killed} == {"-9"}
    assert last[1:] == ["0", str(whole)]
    if not again:
        complete = ["nothing", str(whole), str([".lock", *whole])]  # the lock is removed last
        assert {found for _, _, found in killed} <= {*complete}
    assert all(MODEL_FILE in found or found == "nothing" for _, _, found in killed)
    perpixel.load(out)
    assert [item.name for item in out.parent.iterdir()] == ["fcn32s"]


def refusal(tmp_path: Path, weights: list[Weights], name: str = "voc-fcn8s-atonce", classes: int = 21) -> str:
    """The sentence that refuses a file; nothing is written."""
    path = write_caffemodel(tmp_path / "net.caffemodel", weights)
    with pytest.raises(UntrustedFile) as told:
        import_(path, name, tmp_path / "model", classes)
    assert not (tmp_path / "model").exists()
    text = str(told.value)
    assert text.startswith(f"{path}: does not hold {PUBLISHED[name][1]} with {classes} classes (")
    return text.partition("classes (")[2].rpartition(")")[0]


WITH_WEIGHTS = [(name, row.name) for name in ("voc-fcn8s-atonce", "voc-fcn-alexnet", "VGG_VOC2012ext", "phseg_v5")
                for row in PUBLISHED[name][0](21, WIDTH) if row.blobs]  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(("name", "layer"), WITH_WEIGHTS)
    def test_a_missing_layer_is_named(self, tmp_path: Path, name: str, layer: str) -> None:
        assert refusal(tmp_path, [row for row in weights_of(name) if row[0] != layer], name) == f"missing layers: {layer}"

    @pytest.mark.parametrize(("name", "layer"), WITH_WEIGHTS)
    def test_a_layer_of_another_shape_is_named(self, tmp_path: Path, name: str, layer: str) -> None:
        changed = [
            (row[0], row[1], [np.concatenate([blob, blob]) for blob in row[2]] if row[0] == layer else row[2])
            for row in weights_of(name)
        ]
        assert refusal(tmp_path, changed, name).startswith(f"layers of another shape: {layer} (")

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path: Path) -> None:
        weights = [row for row in weights_of("voc-fcn8s-atonce") if row[0] not in ("conv3_2", "fc7")]
        weights += [("ip2", "InnerProduct", [np.ones((2, 3), np.float32)]), ("bn", "BatchNorm", [np.ones(1, np.float32)])]
        weights = [(name, kind, blobs[:1] if name == "conv1_1" else blobs) for name, kind, blobs in weights]
        weights = [(name, kind, [blobs[0].T, blobs[1]] if name == "score_fr" else blobs) for name, kind, blobs in weights]
        assert refusal(tmp_path, weights) == (
            "unknown layers: ip2, bn; missing layers: conv3_2, fc7; "
            "layers of another shape: conv1_1 (4x3x3x3, not 4x3x3x3 and 4), score_fr (1x1x256x21 and 21, not 21x256x1x1 and 21)"
        )

    def test_as_many_weights_in_another_shape(self, tmp_path: Path) -> None:
        flat = [(name, kind, [blobs[0].reshape(4, 27), blobs[1]] if name == "conv1_1" else blobs)
                for name, kind, blobs in weights_of("voc-fcn8s-atonce")]  # fmt: skip
        assert refusal(tmp_path, flat) == "layers of another shape: conv1_1 (4x27 and 4, not 4x3x3x3 and 4)"

    def test_another_number_of_classes(self, tmp_path: Path) -> None:
        found = refusal(tmp_path, weights_of("voc-fcn8s"), "voc-fcn8s", 60)
        assert found.startswith("layers of another shape: score_fr (21x256x1x1 and 21, not 60x256x1x1 and 60), upscore2 (")
        assert all(layer in found for layer in ("score_pool4", "score_pool3", "upscore_pool4", "upscore8"))

    def test_another_network(self, tmp_path: Path) -> None:
        found = refusal(tmp_path, weights_of("voc-fcn32s"), "voc-fcn8s")
        assert found == "unknown layers: upscore; missing layers: score_pool4, score_pool3, upscore2, upscore_pool4, upscore8"

    def test_two_layers_for_one_place(self, tmp_path: Path) -> None:
        weights = weights_of("VGG_VOC2012ext")
        twice = [("upscore60", kind, blobs) for name, kind, blobs in weights if name == "upscore21"]
        assert refusal(tmp_path, weights + twice, "VGG_VOC2012ext") == "unknown layers: upscore60"

    @pytest.mark.parametrize(
        ("network", "arguments", "kind", "part"),
        [
            ("unet", {}, UsageError, "unet: there are no weights of its authors in Caffe's format; there are of fcn32s vgg16"),
            ("fcn8s", {"backbone": "alexnet"}, UsageError, "fcn8s alexnet: there are no weights of its authors"),
            ("unet", {"variant": "relase"}, UsageError, "unet relase: there are no weights of its authors"),
            ("unet", {"variant": "release", "channels": 3}, UsageError, "channels: the file decides that; leave it out."),
            ("unet", {"variant": "release", "norm": "batch"}, UsageError, "unet with {'channels': 1, 'variant': 'release',"),
            ("fcn8", {}, UnknownName, "no network 'fcn8'; did you mean 'fcn8s'?"),
            ("fcn8s", {"widht": 1}, UnknownName, "no argument of fcn8s 'widht'; did you mean 'width'?"),
            ("fcn8s", {"weights": "imagenet"}, UsageError, "weights: the file decides that; leave it out."),
        ],
    )
    def test_what_there_is_no_table_for(self, tmp_path: Path, network: str, arguments: Any, kind: Any, part: str) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", [("conv1_1", "Convolution", [np.ones(3, np.float32)])])
        with pytest.raises(kind) as told:
            import_weights(path, network, 21, tmp_path / "model", **arguments)
        assert str(told.value).startswith(part)
        assert not (tmp_path / "model").exists()

    def test_a_folder_of_other_things_is_left_alone(self, tmp_path: Path) -> None:
        path = write_caffemodel(tmp_path / "net.caffemodel", weights_of("voc-fcn32s"))
        with pytest.raises(UsageError, match="holds other things than an imported model; choose another --out"):
            import_(path, "voc-fcn32s", tmp_path)
        assert [item.name for item in tmp_path.iterdir()] == ["net.caffemodel"]


class TestClassTable:
    def test_names_and_numbers(self) -> None:
        assert class_table("scenes") == SCENES
        assert class_table("21") == class_table(21) == ClassTable.of([f"class {number}" for number in range(21)])
        assert len(class_table(300)) == 300

    def test_voc_and_context(self) -> None:
        assert class_table("voc2012").names[:2] == ("background", "aeroplane")
        assert [len(class_table(name)) for name in ("voc2012", "context59", "context60", "context33")] == [21, 59, 60, 33]

    @pytest.mark.parametrize("wrong", ["0", 0, 65536, "9" * 30, "voc", "-1", "1.5", ""])
    def test_anything_else(self, wrong: Any) -> None:
        with pytest.raises(PerpixelError, match=r"^(no class table|\d+ classes: give a number from 1 to 65535)"):
            class_table(wrong)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, weights of a thin AlexNet, and files that are no such weights."""
    folder = tmp_path_factory.mktemp("command")
    write_caffemodel(folder / "net.caffemodel", weights_of("voc-fcn-alexnet"))
    write_caffemodel(folder / "net.pth", weights_of("voc-fcn-alexnet"))
    (folder / "cut.caffemodel").write_bytes((folder / "net.caffemodel").read_bytes()[:-1])
    Image.fromarray(picture((97, 64))).save(folder / "street.png")
    return folder


class TestCommand:
    @pytest.fixture(autouse=True)
    def here(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(place)

    def test_import_then_predict(self, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        # The command knows the authors' width alone, which would be 230 MB; here all networks are built thin.
        monkeypatch.setattr(networks, "build", partial(networks.build, width=WIDTH))
        command = ["import", "net.caffemodel", "--network", "fcn32s", "--backbone", "alexnet", "--classes", "21"]
        main([*command, "--out", "thin"])
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err == f"{Path('thin', MODEL_FILE)}: written. Next: perpixel predict thin PICTURES --out masks\n"
        card = json.loads(Path("thin", CARD_FILE).read_text())
        assert card["arguments"] == {"backbone": "alexnet", "learned_upsampling": "all"}
        main(["predict", "thin", "street.png", "--out", "masks"])
        with Image.open("masks/masks/street.png") as mask:
            assert mask.size == (64, 97)
        main([*command, "--json"])
        assert json.loads(capsys.readouterr().out) == {"model": str(Path("models", "fcn32s", MODEL_FILE))}
        assert Path("models", "fcn32s", MODEL_FILE).read_bytes() == Path("thin", MODEL_FILE).read_bytes()

    def test_u_nets_release(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(networks, "build", partial(networks.build, width=WIDTH))
        path = write_caffemodel(tmp_path / "phseg_v5.caffemodel", weights_of("phseg_v5", 2))
        named = ["--network", "unet", "--variant", "release", "--classes", "2"]
        main(["import", str(path), *named, "--out", str(tmp_path / "model")])
        card = json.loads((tmp_path / "model" / CARD_FILE).read_text())
        assert (card["title"], card["arguments"]) == ("unet release", {"channels": 1, "variant": "release"})
        main(["predict", str(tmp_path / "model"), "street.png", "--out", str(tmp_path / "masks")])
        assert "1 predicted" in capsys.readouterr().err

    def test_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["import", "net.caffemodel", "--list"])
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert lines[0] == ["layer", "type", "shapes"]
        assert ["conv2", "Convolution", "16x3x5x5,", "16"] in lines
        assert ["relu_conv2", "ReLU"] in lines
        assert ["upscore", "Deconvolution", "21x21x63x63"] in lines

    def test_list_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["import", "net.caffemodel", "--list", "--json"])
        rows = json.loads(capsys.readouterr().out)
        assert rows[0] == {"name": "conv1", "type": "Convolution", "shapes": [[6, 3, 11, 11], [6]]}
        assert len(rows) == len(weights_of("voc-fcn-alexnet"))

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["net.caffemodel"], 2, "net.caffemodel: name its network with --network or its trunk with --trunk, or see"),
            (["net.caffemodel", "--network", "fcn8"], 2, "no network 'fcn8'; did you mean 'fcn8s'?"),
            (["net.caffemodel", "--network", "fcn8s", "--classes", "voc2021"], 2, "no class table 'voc2021'; did you mean"),
            (["net.caffemodel", "--network", "fcn8s", "--classes", "0"], 2, "0 classes: give a number from 1 to 65535"),
            (["net.caffemodel", "--list", "--network", "fcn8s"], 2, "--list only prints the layers of the file;"),
            (["net.caffemodel", "--network", "fcn8s", "--classes", "21", "--out", "no"], 4, "net.caffemodel: does not hold"),
            (["net.h5", "--network", "fcn8s"], 2, "net.h5: only .caffemodel, .index, .pb, .pth, .pt and .bin files can be"),
            (["none.caffemodel", "--list"], 3, "none.caffemodel: there is no such file; name a .caffemodel."),
            (["cut.caffemodel", "--list"], 4, "cut.caffemodel: is damaged or no .caffemodel (it ends "),
            (["cut.caffemodel", "--network", "fcn8s", "--classes", "21"], 4, "cut.caffemodel: is damaged or no .caffemodel"),
        ],
    )  # fmt: skip
    def test_mistakes(self, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, part: str) -> None:
        with pytest.raises(SystemExit) as left:
            main(["import", *arguments])
        told = capsys.readouterr()
        assert (left.value.code, told.out) == (code, "")
        assert told.err.startswith(f"perpixel: {part}")
        assert len(told.err.splitlines()) == 1


def test_no_file_is_a_mistake_of_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        import_weights(tmp_path / "none.caffemodel", "fcn8s", 21, tmp_path / "model")


class TestTorchvisionFiles:
    NETWORK = "torchvision_lraspp_mobilenet_v3_large"

    @pytest.fixture
    def theirs(self) -> torch.nn.Module:
        """torchvision's own network with random weights, statistics of batch normalisation included."""
        torch.manual_seed(3)
        network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
        return network

    def test_the_imported_model_gives_the_logits_of_torchvision(self, theirs: torch.nn.Module, tmp_path: Path) -> None:
        torch.save(theirs.state_dict(), tmp_path / "weights.pth")
        main(["import", str(tmp_path / "weights.pth"), "--network", self.NETWORK, "--out", str(tmp_path / "model")])
        model = perpixel.load(tmp_path / "model")
        assert model.classes.names[15] == "person"
        mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        for size in SIZES:
            with torch.inference_mode():
                expected = theirs((to_tensor(picture(size)) - mean) / std)["out"][0].numpy()
            assert np.abs(scores(model, size) - expected).max() < 1e-5

    def test_a_file_of_another_network_is_refused_by_name(
        self, theirs: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(theirs.state_dict(), tmp_path / "weights.pth")
        with pytest.raises(SystemExit) as left:
            main(["import", str(tmp_path / "weights.pth"), "--network", "torchvision_fcn_resnet50", "--out", str(tmp_path / "m")])
        assert left.value.code == UntrustedFile.exit_code
        error = capsys.readouterr().err
        assert "is not of torchvision's fcn_resnet50 (missing: " in error
        assert "; unknown: " in error
        assert not (tmp_path / "m").exists()

    def test_its_tensors_are_listed(self, theirs: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        torch.save(theirs.state_dict(), tmp_path / "weights.pt")
        main(["import", str(tmp_path / "weights.pt"), "--list", "--json"])
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["classifier.low_classifier.weight"] == {
            "name": "classifier.low_classifier.weight", "type": "float32", "shapes": [[21, 40, 1, 1]],
        }  # fmt: skip
