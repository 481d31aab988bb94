"""Noise moves an output exactly where the output depends on it, and the theoretical field is exact to the pixel."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_model
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import perpixel
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.errors import UsageError
from perpixel.images import read_image
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks import build
from perpixel.studies import receptive_field as module
from perpixel.studies.receptive_field import (
    CROSS,
    FIELD,
    HEAT,
    Probe,
    draw_probe,
    effective_receptive_field,
    receptive_field,
    theoretical_field,
)
from perpixel.weights.model_file import Model, ModelCard

PICTURE = draw_sample(0, (12, 15))[0]
BLACK = np.zeros((4, 5, 3), np.uint8)


class Net(nn.Module):
    """A network of one layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.loss = layer, PixelLoss()

    def score_map(self, images):
        return ScoreMap.of_cells(self.layer(images), 1)

    def forward(self, images):
        return {"logits": self.score_map(images).scores}

    def losses(self, images, targets):
        return self.loss(self(images)["logits"], targets)


class GlobalMean(nn.Module):
    def forward(self, images):
        return images.mean((2, 3), keepdim=True).expand(images.shape)


def convolution(side=3, dilation=1, classes=4, seed=0):
    torch.manual_seed(seed)
    return Net(nn.Conv2d(3, classes, side, padding=dilation * (side // 2), dilation=dilation))


def colours_to_scores(weights, biases):
    """A 1x1 convolution: each class has one weight for all three colours."""
    layer = nn.Conv2d(3, len(weights), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights)[:, None, None, None].expand_as(layer.weight))
        layer.bias.copy_(torch.tensor(biases))
    return Net(layer)


def seen(field):
    """(rows, columns) of the cells that move the output, each from first to last; the cells must fill that box."""
    rows, columns = np.nonzero(field)
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return (rows.min(), rows.max()), (columns.min(), columns.max())


class TestEffective:
    def test_a_3x3_convolution_sees_one_pixel_around_it(self):
        field = effective_receptive_field(convolution(), PICTURE, (5, 7), patch=1, step=1)
        assert field.shape == (12, 15)
        assert seen(field) == ((4, 6), (6, 8))

    def test_a_patch_of_three_is_seen_one_pixel_farther(self):
        field = effective_receptive_field(convolution(), PICTURE, (5, 7), patch=3, step=1)
        assert seen(field) == ((3, 7), (5, 9))

    def test_cells_of_four_tile_the_picture(self):
        field = effective_receptive_field(convolution(), PICTURE, (5, 7), patch=4, step=4)
        assert field.shape == (3, 4)
        assert seen(field) == ((1, 1), (1, 2))  # rows 4..6 lie in cell 1, columns 6..8 in cells 1 and 2

    def test_global_pooling_sees_everything(self):
        assert effective_receptive_field(Net(GlobalMean()), PICTURE, (0, 14), patch=5, step=2).all()

    def test_the_change_is_that_of_the_score(self):
        field = effective_receptive_field(colours_to_scores([2.0], [1.0]), BLACK, (1, 2), patch=1, step=1, seed=3)
        noise = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(3))
        assert field[1, 2] == pytest.approx(2 * float(noise.sum()))
        assert np.count_nonzero(field) == 1

    @pytest.mark.parametrize(("biases", "moves"), [([5.0, 0.0], False), ([0.0, 5.0], True)])
    def test_only_the_class_that_wins_without_noise_counts(self, biases, moves):
        field = effective_receptive_field(colours_to_scores([0.0, 9.0], biases), BLACK, (1, 2), patch=1, step=1)
        assert field.any() == moves

    def test_a_fall_counts_like_a_rise(self):
        rise, fall = (effective_receptive_field(colours_to_scores([w], [0.0]), BLACK, (1, 2), 1, 1) for w in (1.0, -1.0))
        assert (rise == fall).all()

    def test_dropout_is_off(self):
        network = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 2, 1)).train()
        assert seen(effective_receptive_field(Net(network), PICTURE, (5, 7), patch=1, step=1)) == ((5, 5), (7, 7))

    def test_one_picture_at_a_time_finds_the_same(self, monkeypatch: pytest.MonkeyPatch):
        together = effective_receptive_field(convolution(), PICTURE, (5, 7), patch=4, step=2)
        largest = []
        network = convolution()
        network.register_forward_pre_hook(lambda _, inputs: largest.append(len(inputs[0])))
        monkeypatch.setattr(module, "PIXELS_AT_ONCE", 1)
        assert effective_receptive_field(network, PICTURE, (5, 7), patch=4, step=2) == pytest.approx(together, abs=1e-6)
        assert max(largest) == 1

    def test_progress_ends_with_all_cells(self):
        calls = []
        effective_receptive_field(convolution(), PICTURE, (5, 7), 4, 4, progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (12, 12)

    @pytest.mark.parametrize("at", [(12, 0), (0, 15), (-1, 0)])
    def test_a_pixel_outside(self, at):
        with pytest.raises(UsageError, match=r"is outside the picture, which is 12x15 \(height x width\)\."):
            effective_receptive_field(convolution(), PICTURE, at)

    @pytest.mark.parametrize(("patch", "step"), [(4, 5), (4, 0), (0, 0)])
    def test_a_step_that_leaves_pixels_out(self, patch, step):
        with pytest.raises(UsageError, match="choose 1 <= step <= patch"):
            effective_receptive_field(convolution(), PICTURE, (0, 0), patch, step)


class TestTheoretical:
    def test_a_dilated_convolution_by_hand(self):
        assert theoretical_field(convolution(3, dilation=2), (12, 15), (5, 7)) == (3, 5, 8, 10)

    def test_the_picture_ends_it(self):
        assert theoretical_field(convolution(5), (12, 15), (0, 14)) == (0, 12, 3, 15)

    def test_weights_of_zero_see_as_far(self):
        network = convolution()
        nn.init.zeros_(network.layer.weight)
        assert theoretical_field(network, (12, 15), (5, 7)) == (4, 6, 7, 9)

    def test_global_pooling_reaches_everything(self):
        assert theoretical_field(Net(GlobalMean()), (12, 15), (5, 7)) == (0, 0, 12, 15)

    @pytest.mark.parametrize("padding", [1, 100])
    def test_fcn_sees_the_404_pixels_of_fc7_and_one_more_cell(self, padding):
        # ParseNet, section 3.1: fc7 sees 404x404. Bilinear interpolation reads two cells, 32 pixels apart.
        network = build("fcn32s", 2, width=0.02, padding=padding)
        top, left, bottom, right = theoretical_field(network, (600, 600), (300, 280))
        assert (bottom - top, right - left) == (404 + 32, 404 + 32)
        assert top < 300 < bottom
        assert left < 280 < right

    @given(st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(0, 8), st.integers(0, 10), st.data())
    def test_noise_moves_the_output_exactly_where_it_meets_the_field(self, side, dilation, row, column, data):
        patch = data.draw(st.integers(1, 6))
        step = data.draw(st.integers(1, patch))
        network = convolution(side, 1 if patch < dilation else dilation)  # a patch must not fit between two taps
        field = effective_receptive_field(network, PICTURE[:9, :11], (row, column), patch, step)
        top, left, bottom, right = theoretical_field(network, (9, 11), (row, column))
        for (i, j), change in np.ndenumerate(field):
            above, before = i * step - (patch - step) // 2, j * step - (patch - step) // 2
            meets = above < bottom and above + patch > top and before < right and before + patch > left
            assert (change > 0) == meets


class TestModel:
    def model(self, network, scale):
        return Model(network, ClassTable.of(["a"]), ModelCard("", {}, {}, {}, scale, 0, {}, "", ""), "")

    def test_a_model_sees_at_its_own_scale(self):
        # Twice as large, pixel (1, 2) is read at (3, 5) = (1.25, 2.25): between rows 1 and 2, columns 2 and 3.
        model = self.model(colours_to_scores([1.0], [0.0]), 2.0)
        assert theoretical_field(model, (4, 5), (1, 2)) == (1, 2, 3, 4)
        assert seen(effective_receptive_field(model, BLACK, (1, 2), 1, 1)) == ((1, 2), (2, 3))

    def test_both_fields_of_the_middle(self):
        probe = receptive_field(convolution(), PICTURE, patch=3)
        assert (probe.at, probe.size, probe.step) == ((6, 7), (12, 15), 3)
        assert probe.theoretical == (5, 6, 8, 9)
        assert probe.reach == 9 / 180
        assert seen(probe.field) == ((1, 2), (2, 2))
        assert probe.class_id == int(convolution()(to_batch(PICTURE))["logits"][0, :, 6, 7].argmax())


def to_batch(image):
    return torch.from_numpy(image).movedim(-1, 0)[None].float() / 255


class TestProbe:
    PROBE = Probe((2, 1), (3, 3), 0, 2, 2, np.array([[0, 1], [2, 4]], np.float32), (0, 0, 3, 3))

    def test_every_pixel_has_the_change_of_its_cell(self):
        assert self.PROBE.relative.tolist() == [[0, 0, 0.25], [0, 0, 0.25], [0.5, 0.5, 1]]

    def test_five_of_nine_pixels_move_it(self):
        assert self.PROBE.moved == 5 / 9

    def test_where_nothing_moves_it_no_pixel_counts(self):
        still = Probe((2, 1), (3, 3), 0, 2, 2, np.zeros((2, 2), np.float32), (3, 3, 0, 0))
        assert (still.moved, still.reach) == (0, 0)
        assert draw_probe(np.zeros((3, 3, 3), np.uint8), still).shape == (18 + 3 + 4, 3 + 4 + 3, 3)

    def test_the_picture_marks_output_and_fields(self):
        image = draw_sample(1, (20, 24))[0]
        field = np.zeros((5, 6), np.float32)
        field[1:4, 1:4] = 7  # rows and columns 4..15
        page = draw_probe(image, Probe((10, 12), (20, 24), 0, 4, 4, field, (2, 3, 18, 17)))
        left, right = page[18:38, :24], page[18:38, 28:]
        assert (left == image).all()
        assert right[10, 12].tolist() == list(CROSS)
        assert right[8, 8].tolist() == list(HEAT)
        assert [right[place].tolist() for place in ((4, 10), (15, 4))] == [[255, 255, 255]] * 2
        assert [right[place].tolist() for place in ((2, 3), (17, 16))] == [list(FIELD)] * 2
        assert (right[0] == right[0, :, :1]).all()  # where nothing moves it, grey


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights and a picture."""
    root = tmp_path_factory.mktemp("place")
    make_model(root / "run", ClassTable.of(["ground", "box", "disc"]))
    Image.fromarray(draw_sample(3, (32, 48))[0]).save(root / "street.png")
    return root


class TestCommand:
    def test_it_says_the_shares_and_leaves_a_picture(self, place, capsys, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(place)
        main(["receptive-field", "run", "street.png", "--at", "4", "40", "--patch", "8", "--step", "4", "--device", "cpu"])
        printed = capsys.readouterr()
        probe = receptive_field(perpixel.load("run"), read_image("street.png"), (4, 40), 8, 4)
        output, effective, theoretical = printed.out.splitlines()
        assert output == f"output: {('ground', 'box', 'disc')[probe.class_id]} at row 4, column 40"
        assert effective.startswith(f"effective field: {100 * probe.moved:.1f} % of the picture, which moves it by more than 10")
        assert theoretical.startswith(f"theoretical field: {100 * probe.reach:.1f} % of the picture, rows 0..")
        assert 0 < probe.moved < probe.reach
        assert "receptive-field.png: redder moves more" in printed.err
        assert (read_image("receptive-field.png")[18:50, :48] == read_image("street.png")).all()

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["run", "street.png", "--at", "32", "0"], 2, "row 32, column 0 is outside the picture, which is 32x48"),
            (["run", "street.png", "--step", "17"], 2, "patch 16, step 17: a step above the patch leaves pixels out"),
            (["run", "street.png", "--step", "0"], 2, "patch 16, step 0"),
            (["run", "street.png", "--out", "field.txt"], 2, "field.txt: is no name of a picture; end --out with"),
            (["run", "street.png", "--out", "run"], 2, "run: is no name of a picture"),
            (["run", "street.png", "--out", "street.png/field.png"], 2, "street.png: is a file, or lies below one"),
            (["run", "nowhere.png"], 3, "nowhere.png: there is no such file"),
            (["street.png", "street.png"], 4, "street.png: is damaged or no perpixel model"),
        ],
    )
    def test_one_sentence_for_a_mistake_and_nothing_written(self, place, capsys, monkeypatch, arguments, code, part):
        monkeypatch.chdir(place)
        before = sorted(place.rglob("*"))
        with pytest.raises(SystemExit) as left:
            main(["receptive-field", *arguments])
        printed = capsys.readouterr()
        assert left.value.code == code
        assert part in printed.err
        assert (printed.out, len(printed.err.splitlines())) == ("", 1)
        assert sorted(place.rglob("*")) == before

    def test_help_does_not_wait_for_torch(self):
        lines = ["import sys", "from perpixel.cli import main", "try:", "    main(['receptive-field', '--help'])",
                 "except SystemExit as left:", "    assert not left.code", "assert 'torch' not in sys.modules"]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "--patch" in done.stdout
