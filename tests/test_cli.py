"""The command line: help without waiting, one sentence for every mistake, and the commands of the first hour."""

import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from fakes import CLASSES_CSV, draw_sample, make_folder, make_model
from hidden_torch import HAS_TORCH
from PIL import Image
from places import ROOT, python_path

from perpixel import terminal
from perpixel.classes import ClassTable
from perpixel.cli import _with_crf
from perpixel.terminal import announced
from perpixel.training.recipe import Recipe


def gpu_is_here() -> bool:
    import torch

    return torch.cuda.is_available()


SMALL = ["--network", "unet", "--convolutions", "same", "--width", "0.05", "--batch", "4", "--device", "cpu"]
VERBS = ["train", "evaluate", "predict", "check", "init", "networks", "datasets", "import", "review", "upper-bound",
         "receptive-field", "proposal-curve", "download", "explain-score", "compare", "submission", "convert",
         "claims", "export", "merge", "log", "serve"]  # fmt: skip


def put_flat(root: Path, names: str) -> Path:
    """`images/NAME.jpg` and `masks/NAME.png`, without a class table."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for seed, name in enumerate(names):
        image, labels = draw_sample(seed)
        Image.fromarray(image).save(root / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(labels).save(root / "masks" / f"{name}.png")
    return root


class TestHelp:
    def test_help_never_waits_for_torch(self) -> None:
        lines = ["import sys", "from perpixel.cli import main"]
        for arguments in (["--help"], ["--version"], [], *([verb, "--help"] for verb in VERBS)):
            lines += ["try:", f"    main({arguments!r})", "except SystemExit as left:", "    assert not left.code, left.code"]
        lines += ["heavy = {'torch', 'timm', 'numba', 'numpy', 'PIL'} & set(sys.modules)", "assert not heavy, heavy"]
        script = [sys.executable, "-c", "\n".join(lines)]
        done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert done.stdout.count("Usage: perpixel") == 2 + len(VERBS)

    @pytest.mark.parametrize(
        ("modules", "spared"),
        [
            ("measures.instances measures.panoptic judging.evaluate doctor.check formats.convert judging.submission", {"torch"}),
            pytest.param(
                "training.train prediction.predict", {"timm", "torchvision", "torch._dynamo"}, marks=pytest.mark.needs_torch
            ),
        ],
    )
    def test_no_verb_waits_for_what_it_does_not_need(self, modules: str, spared: set[str]) -> None:
        """They take seconds to import."""
        imports = ", ".join(f"perpixel.{module}" for module in modules.split())
        code = f"import sys, {imports}; found = {spared} & {{*sys.modules}}; assert not found, found"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_help_names_every_setting_with_its_default(self, command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "250")
        code, out, _ = command("train", "--help")
        assert code == 0
        for item in fields(Recipe):
            line = next(line for line in out.splitlines() if f"--{item.name.replace('_', '-')} " in line)
            assert item.metadata["help"].replace("`", "") in line
            assert item.default is None or "[default: " in line
        assert "[default: fcn8s]" in out
        assert "[default: 1.0 1.0]" in out

    def test_llms_txt_is_what_help_says(self) -> None:
        command = [sys.executable, str(ROOT / "docs/llms.py")]
        env = {**os.environ, "PYTHONPATH": python_path()}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        same = done.stdout == (ROOT / "llms.txt").read_text()
        assert same, "a verb, a flag or its help has changed; `make llms` writes llms.txt anew."
        assert [verb for verb in VERBS if f"\n## perpixel {verb}\n" not in done.stdout] == []

    def test_every_verb_has_its_help(self, command) -> None:
        listed = command("--help")[1]
        assert [verb for verb in VERBS if verb not in listed] == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a model, and much that is neither."""
    root = tmp_path_factory.mktemp("place")
    make_folder(root / "data", train=4, val=2)
    make_model(root / "run", ClassTable.of(["ground", "box", "disc"]))
    (root / "empty").mkdir()
    (root / "used").mkdir()
    (root / "used" / "letter.txt").write_text("dear")
    (root / "file").write_text("words")
    (root / "broken.toml").write_text("steps: 5\n")
    (root / "unknown.toml").write_text("step = 5\n")
    (root / "typed.toml").write_text('steps = "five"\n')
    (root / "other").mkdir()
    (root / "other" / "p00.png").write_bytes((root / "data" / "masks" / "val" / "p00.png").read_bytes())
    return root


TRAIN = ["train", "--data", "data", *SMALL]
MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "an unknown verb": (["trian"], 2, 'Did you mean "train"?'),
    "an unknown flag": ([*TRAIN, "--stpes", "4"], 2, "Did you mean --steps?"),
    "an unknown flag of predict": (["predict", "run", "data", "--scroes"], 2, "no option '--scroes'; did you mean '--scores'?"),
    "a word too many": ([*TRAIN, "quickly"], 2, "quickly"),
    "a word for a number": ([*TRAIN, "--steps", "many"], 2, 'unable to convert "many" into int'),
    "one number for two": ([*TRAIN, "--crop", "24"], 2, "--crop requires 2"),
    "a rate below 0": ([*TRAIN, "--lr", "-0.5"], 2, "lr = -0.5: must be above 0."),
    "an unknown optimiser": ([*TRAIN, "--optimiser", "sdg"], 2, "no optimiser 'sdg'; did you mean 'sgd'?"),
    "an unknown network": (["train", "--data", "data", "--network", "unett"], 2, "no network 'unett'; did you mean 'unet'?"),
    "an unknown backbone": (
        ["train", "--data", "data", "--network", "unet", "--backbone", "resnet19"], 2, "no backbone 'resnet19'; did you mean",
    ),
    "a flag of another network": ([*TRAIN, "--padding", "1"], 2, "no argument of unet 'padding'"),
    "an unknown data set": (["train", "--data", "scens", *SMALL], 2, "no data set or folder 'scens'; did you mean 'scenes'?"),
    "a missing folder": (["train", "--data", "./nowhere", *SMALL], 3, "nowhere: there is no such folder"),
    "a folder that is no data set": (["train", "--data", "empty", *SMALL], 3, "empty: has no classes.csv; `perpixel init empty`"),
    "a file for the run": ([*TRAIN, "--out", "file"], 2, "file: is a file"),
    "a run below a file": ([*TRAIN, "--out", "file/run"], 2, "file/run: is a file, or lies below one; choose a folder"),
    "a run where other things are": ([*TRAIN, "--out", "used"], 2, "used: is not empty and no run folder; choose another --out."),
    "no recipe": ([*TRAIN, "--recipe", "none.toml"], 2, "none.toml: there is no such file."),
    "a folder as recipe": ([*TRAIN, "--recipe", "empty"], 2, "empty: is a folder, not a file; give a file."),
    "a recipe that is no TOML": ([*TRAIN, "--recipe", "broken.toml"], 2, "broken.toml: is no TOML"),
    "an unknown key": ([*TRAIN, "--recipe", "unknown.toml"], 2, "no setting (unknown.toml) 'step'; did you mean 'steps'?"),
    "a key of another type": ([*TRAIN, "--recipe", "typed.toml"], 2, "steps = 'five' (typed.toml): is not of the type int."),
    "an unknown device": ([*TRAIN[:-1], "gpu"], 2, "no device 'gpu'; use auto, cpu, cuda, cuda:1 or mps."),
    "no model": (["predict", "empty", "data"], 3, "empty/model.safetensors: there is no model file"),
    "a file that is no model": (["predict", "file", "data"], 4, "file: is damaged or no perpixel model"),
    "no pictures": (["predict", "run"], 2, "run: is taken for the model; name pictures behind it"),
    "a folder without pictures": (["predict", "run", "empty"], 3, "empty: holds no PNG, JPEG, WEBP, TIFF, BMP or GIF pictures"),
    "a pattern that nothing fits": (["predict", "run", "no*.png"], 3, "no*.png: no file fits this pattern."),
    "a file for the masks": (["predict", "run", "data/images", "--out", "file"], 2, "file: is a file, or lies below one"),
    "masks below a file": (["predict", "run", "data/images", "--out", "file/x"], 2, "file/x: is a file, or lies below one"),
    "pictures of one name": (["predict", "run", "data/images/val", "other"], 2, "would both be written as p00"),
    "an unknown split": (["evaluate", "run", "--data", "data", "--split", "tset"], 2, "no split of data 'tset'. Known: train, "),
    "masks without their data": (["evaluate", "data/masks/val"], 2, "name the data set to judge by with --data."),
    "a model without its data": (["evaluate", "run"], 2, "name the data set to judge by with --data."),
    "a mask missing": (["evaluate", "empty", "--data", "data"], 3, "empty/p00.png: there is no mask for the picture p00"),
    "nothing to check": (["check", "nowhere"], 2, "no data set or folder 'nowhere'"),
    "a file to check": (["check", "file"], 3, "file: there is no such folder"),
    "nothing to begin with": (["init", "nowhere"], 3, "nowhere: there is no such folder"),
    "a word as a seed": (["review", "--seed", "x"], 2, 'unable to convert "x" into int'),
}  # fmt: skip


class TestMistakes:
    @pytest.fixture(autouse=True)
    def here(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(place)

    def assert_one_sentence(self, output: tuple[int, str, str], code: int, part: str) -> None:
        assert output[0] == code, output[2]
        assert output[1] == ""
        assert part in output[2]
        *before, last = output[2].splitlines()
        assert last.startswith("perpixel: ")
        assert [line for line in before if not line.startswith("judged ")] == []
        assert output[2].endswith((".\n", "`.\n"))

    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_one_sentence_and_nothing_written(self, place: Path, command, mistake: str) -> None:
        before = sorted(place.rglob("*"))
        arguments, code, part = MISTAKES[mistake]
        self.assert_one_sentence(command(*arguments), code, part)
        assert sorted(place.rglob("*")) == before

    @pytest.mark.parametrize(
        ("variable", "value", "part"),
        [
            ("PERPIXEL_STEPS", "many", "PERPIXEL_STEPS=many: is not a value of the type"),
            ("PERPIXEL_STEPS", "1.5", "steps = 1.5 (PERPIXEL_STEPS): is not of the type int."),
            ("PERPIXEL_LR", "-1", "lr = -1.0: must be above 0."),
            ("PERPIXEL_STPES", "4", "no setting (PERPIXEL_STPES) 'stpes'; did you mean 'steps'?"),
        ],
    )
    def test_in_the_environment(self, command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str) -> None:
        monkeypatch.setenv(variable, value)
        self.assert_one_sentence(command(*TRAIN), 2, part)

    @pytest.mark.skipif(HAS_TORCH and gpu_is_here(), reason="there is a GPU here")
    @pytest.mark.parametrize("arguments", [[*TRAIN[:-1], "cuda"], ["predict", "run", "data/images", "--device", "cuda"]])
    def test_a_device_that_is_not_here(self, command, arguments: list[str]) -> None:
        self.assert_one_sentence(command(*arguments), 5, "device 'cuda' is not available here")

    def test_an_unsound_data_set_lists_everything(self, tmp_path: Path, command) -> None:
        data = make_folder(tmp_path / "data", train=2, val=1)
        (data / "images" / "train" / "alone.png").write_bytes((data / "masks" / "train" / "p00.png").read_bytes())
        (data / "masks" / "train" / "p01.png").write_bytes(b"words")
        code, out, err = command("check", data)
        assert code == 3
        assert len([line for line in out.splitlines() if line.startswith("error: ")]) == 2
        assert err.splitlines()[-1] == f"{data}: 3 pictures, 2 errors, 0 warnings."
        code, out, _ = command("check", data, "--json")
        assert code == 3
        assert len(json.loads(out)["problems"]) == 2


class TestSettings:
    def test_flags_over_environment_over_recipe_over_defaults(
        self, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_folder(tmp_path / "data", train=4, val=1)
        monkeypatch.chdir(tmp_path)
        settings = [
            'data = "data"',
            'network = "unet"',
            'convolutions = "same"',
            "width = 0.05",
            "lr = 0.2",
            "batch = 1",
            "steps = 9",
        ]
        Path("street.toml").write_text("\n".join(settings))
        monkeypatch.setenv("PERPIXEL_BATCH", "2")
        monkeypatch.setenv("PERPIXEL_STEPS", "8")
        flags = ["--steps", "1", "--device", "cpu", "--crop", "16", "16", "--no-flip", "--no-skips"]
        code, _, err = command("train", "--recipe", "street.toml", *flags)
        assert code == 0, err
        lines = Path("runs/street/recipe.toml").read_text().splitlines()
        for line in ("steps = 1  # flag", "crop = [16, 16]  # flag", "flip = false  # flag", "skips = false  # flag",
                     "batch = 2  # PERPIXEL_BATCH", "lr = 0.2  # street.toml", "seed = 0  # default"):  # fmt: skip
            assert line in lines
        assert len(Path("runs/street/history.jsonl").read_text().splitlines()) == 2  # one step, one validation


class TestFirstHour:
    def test_init_check_train_evaluate_predict_as_typed(self, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
        put_flat(tmp_path / "street", "abcdef")
        monkeypatch.chdir(tmp_path)
        code, out, err = command("init", "street")
        assert code == 0
        assert out
        assert err == "Next: edit street/classes.csv where needed, then perpixel check street\n"
        code, out, err = command("check", "street")
        assert code == 0
        assert err.splitlines() == ["checked 6/6", "street: 6 pictures, 0 errors, 0 warnings."]
        code, out, err = command("train", "--data", "street", *SMALL, "--steps", "1")
        assert code == 0
        assert out.splitlines()[0].split()[:2] == ["class", "IoU"]
        assert "Next: perpixel predict runs/street-unet PICTURES --out masks" in err
        code, out, err = command("evaluate", "runs/street-unet")
        assert code == 0
        assert "runs/street-unet: unet width 0.05, same on street, val." in err
        code, out, err = command("predict", "runs/street-unet", "street/images", "--out", "masks")
        assert code == 0
        assert "masks: 6 predicted, 0 done before, 0 failed." in err
        assert len(list(Path("masks/overlays").iterdir())) == 6

    def test_a_class_table_that_was_written_by_hand_is_kept(self, tmp_path: Path, command) -> None:
        table = put_flat(tmp_path / "street", "abcdef") / "classes.csv"
        table.write_text(CLASSES_CSV)
        command("init", tmp_path / "street")
        assert table.read_text() == CLASSES_CSV

    def test_train_prints_json_alone_on_stdout(self, tmp_path: Path, command) -> None:
        data = make_folder(tmp_path / "data", train=4, val=1)
        code, out, _ = command("train", "--data", data, *SMALL, "--steps", "1", "--out", tmp_path / "run", "--json")
        assert code == 0
        assert json.loads(out) == json.loads((tmp_path / "run" / "scores.json").read_text())


class TestFirstLine:
    def test_a_silence_is_broken_after_some_seconds_and_a_mistake_found_at_once_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal, "SOON", 0.0)
        with announced("getting ready"):
            while not capsys.readouterr().err:
                time.sleep(0.01)
        monkeypatch.setattr(terminal, "SOON", 0.2)
        with announced("getting ready") as cancels_timer:
            cancels_timer(terminal.say)("here I am")
            time.sleep(0.4)
        with announced("getting ready"):
            pass
        time.sleep(0.4)
        assert capsys.readouterr().err == "here I am\n"


class TestLists:
    def test_networks(self, command) -> None:
        code, out, err = command("networks")
        assert (code, err) == (0, "")
        row = next(line for line in out.splitlines() if line.startswith("fcn8s "))
        assert "134,362,751" in row
        assert "Long et al., CVPR 2015" in row
        assert "For 21 classes and pictures of 512x512" in out
        found = {row["name"]: row for row in json.loads(command("networks", "--json")[1])}
        assert found["fcn8s"]["parameters"] == 134_362_751

    def test_datasets(self, command) -> None:
        code, out, err = command("datasets")
        assert (code, err) == (0, "")
        assert next(line for line in out.splitlines() if line.startswith("scenes ")).split()[1] == "10"
        assert json.loads(command("datasets", "--json")[1])[0]["pictures"] == {"train": 600, "val": 100, "test": 100}

    def test_a_pipe_gets_no_colours(self) -> None:
        forcing = ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE")
        environment = {key: value for key, value in os.environ.items() if key not in forcing} | {"TERM": "xterm-256color"}
        listing = [sys.executable, "-m", "perpixel", "datasets"]
        done = subprocess.run(listing, capture_output=True, timeout=60, env=environment, check=True)
        assert b"scenes" in done.stdout
        assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("--crf", "--crf deconvnet"), ("--crf --json", "--crf deconvnet --json"), ("--crf deeplab", "--crf deeplab"),
        ("--crf street.jpg", "--crf deconvnet street.jpg"), ("--crf depelab a.png", "--crf depelab a.png"),
        ("run a.png", "run a.png"),
    ],
)  # fmt: skip
def test_a_crf_without_a_word_is_that_of_deconvnet(given: str, read: str) -> None:
    assert _with_crf(given.split()) == read.split()
