"""SegFormer: its parameters, the names of the common hub, and its scores from such a state by an independent walk through it."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import perpixel
from perpixel.cli import main
from perpixel.errors import UnknownName, UntrustedFile, UsageError
from perpixel.networks import build
from perpixel.networks.segformer import SegFormer, hub_state

CHANNELS = {"b0": (32, 64, 160, 256), "b1": (64, 128, 320, 512), "b2": (64, 128, 320, 512)}
BLOCKS = {"b0": (2, 2, 2, 2), "b1": (2, 2, 2, 2), "b2": (3, 4, 6, 3)}
HEAD = {"b0": 256, "b1": 256, "b2": 768}
REDUCTION = (8, 4, 2, 1)


def on_meta(classes=150, **arguments):
    """The network without its memory: shapes and counts only."""
    with torch.device("meta"):
        return build("segformer", classes, **arguments).eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def pictures(size, count=1, seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def of_the_hub(variant, classes):
    """A state as SegformerForSemanticSegmentation of transformers saves it, with random numbers: names and shapes by hand."""
    random, state = torch.Generator().manual_seed(0), {}

    def put(name, *shape, start=0.0):
        state[f"{name}.weight"] = start + torch.randn(*shape, generator=random) / max(1, torch.Size(shape[1:]).numel()) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=random)

    channels = CHANNELS[variant]
    for stage, depth in enumerate(channels):
        kernel, inputs = (3, channels[stage - 1]) if stage else (7, 3)
        put(f"segformer.encoder.patch_embeddings.{stage}.proj", depth, inputs, kernel, kernel)
        put(f"segformer.encoder.patch_embeddings.{stage}.layer_norm", depth, start=1.0)
        for block in range(BLOCKS[variant][stage]):
            name = f"segformer.encoder.block.{stage}.{block}"
            put(f"{name}.layer_norm_1", depth, start=1.0)
            for part in ("query", "key", "value"):
                put(f"{name}.attention.self.{part}", depth, depth)
            if (ratio := REDUCTION[stage]) > 1:
                put(f"{name}.attention.self.sr", depth, depth, ratio, ratio)
                put(f"{name}.attention.self.layer_norm", depth, start=1.0)
            put(f"{name}.attention.output.dense", depth, depth)
            put(f"{name}.layer_norm_2", depth, start=1.0)
            put(f"{name}.mlp.dense1", 4 * depth, depth)
            put(f"{name}.mlp.dwconv.dwconv", 4 * depth, 1, 3, 3)
            put(f"{name}.mlp.dense2", depth, 4 * depth)
        put(f"segformer.encoder.layer_norm.{stage}", depth, start=1.0)
    head = HEAD[variant]
    for stage, depth in enumerate(channels):
        put(f"decode_head.linear_c.{stage}.proj", head, depth)
    put("decode_head.linear_fuse", head, 4 * head, 1, 1)
    del state["decode_head.linear_fuse.bias"]
    put("decode_head.batch_norm", head, start=1.0)
    state["decode_head.batch_norm.running_mean"] = 0.1 * torch.randn(head, generator=random)
    state["decode_head.batch_norm.running_var"] = 0.5 + torch.rand(head, generator=random)
    state["decode_head.batch_norm.num_batches_tracked"] = torch.tensor(7)
    put("decode_head.classifier", classes, head, 1, 1)
    return state


def walked(state, variant, images):
    """The logits from a state of the hub, written down from the paper: equation 1 (attention), 2 (Mix-FFN) and 4 (the head)."""

    def named(name):
        return state[f"{name}.weight"], state.get(f"{name}.bias")

    def normed(x, name, eps):
        return F.layer_norm(x, x.shape[-1:], *named(name), eps)

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x, maps = (images - mean) / std, []
    for stage, depth in enumerate(CHANNELS[variant]):
        stride, padding = (2, 1) if stage else (4, 3)
        x = F.conv2d(x, *named(f"segformer.encoder.patch_embeddings.{stage}.proj"), stride=stride, padding=padding)
        batch, _, height, width = x.shape
        x = normed(x.permute(0, 2, 3, 1), f"segformer.encoder.patch_embeddings.{stage}.layer_norm", 1e-5)
        for block in range(BLOCKS[variant][stage]):
            name, heads = f"segformer.encoder.block.{stage}.{block}", (1, 2, 5, 8)[stage]
            y = normed(x, f"{name}.layer_norm_1", 1e-6)
            seen = y
            if REDUCTION[stage] > 1:
                seen = F.conv2d(y.permute(0, 3, 1, 2), *named(f"{name}.attention.self.sr"), stride=REDUCTION[stage])
                seen = normed(seen.permute(0, 2, 3, 1), f"{name}.attention.self.layer_norm", 1e-5)
            query, key, value = (
                F.linear(tokens.flatten(1, 2), *named(f"{name}.attention.self.{part}"))
                for part, tokens in (("query", y), ("key", seen), ("value", seen))
            )
            side, attended = depth // heads, []
            for head in range(heads):
                part = slice(head * side, (head + 1) * side)
                weights = (query[..., part] @ key[..., part].mT / side**0.5).softmax(-1)
                attended.append(weights @ value[..., part])
            y = F.linear(torch.cat(attended, -1), *named(f"{name}.attention.output.dense"))
            x = x + y.view(batch, height, width, depth)
            y = F.linear(normed(x, f"{name}.layer_norm_2", 1e-6), *named(f"{name}.mlp.dense1"))
            y = F.conv2d(y.permute(0, 3, 1, 2), *named(f"{name}.mlp.dwconv.dwconv"), padding=1, groups=4 * depth)
            x = x + F.linear(F.gelu(y.permute(0, 2, 3, 1)), *named(f"{name}.mlp.dense2"))
        x = normed(x, f"segformer.encoder.layer_norm.{stage}", 1e-6)
        y = F.linear(x, *named(f"decode_head.linear_c.{stage}.proj")).permute(0, 3, 1, 2)
        maps.insert(0, F.interpolate(y, maps[-1].shape[-2:], mode="bilinear") if maps else y)
        x = x.permute(0, 3, 1, 2)
    x = F.conv2d(torch.cat(maps, 1), state["decode_head.linear_fuse.weight"])
    statistics = (state[f"decode_head.batch_norm.running_{kind}"] for kind in ("mean", "var"))
    x = F.relu(F.batch_norm(x, *statistics, *named("decode_head.batch_norm")))
    return F.interpolate(F.conv2d(x, *named("decode_head.classifier")), images.shape[-2:], mode="bilinear")


# Sizes


@pytest.mark.parametrize(
    ("variant", "millions", "count"),
    [
        ("b0", 3.8, 3_752_694), ("b1", 13.7, 13_715_798), ("b2", 27.5, 27_461_974), ("b3", 47.3, 47_337_814),
        ("b4", 64.1, 64_108_374), ("b5", 84.7, 84_708_694),
    ],
)  # fmt: skip
def test_the_number_of_parameters_with_150_classes(variant, millions, count):
    assert parameters(on_meta(variant=variant)) == count
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize(("size", "cells"), [((512, 1024), (128, 256)), ((33, 47), (9, 12)), ((1, 1), (1, 1))])
def test_scores_have_stride_4(size, cells):
    assert on_meta().score_map(torch.empty(1, 3, *size, device="meta")).scores.shape == (1, 150, *cells)


# States of the hub


@pytest.mark.parametrize(("variant", "size"), [("b0", (64, 96)), ("b0", (32, 32)), ("b0", (130, 71)), ("b2", (64, 64))])
@torch.inference_mode()
def test_a_state_of_the_hub_gives_the_papers_scores(variant, size):
    state, images = of_the_hub(variant, 11), pictures(size, count=2)
    network = build("segformer", 11, variant=variant).eval()
    network.load_state_dict(hub_state(network, state))
    expected = walked(state, variant, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(network(images)["logits"], expected, rtol=1e-3, atol=1e-3)


def test_every_tensor_of_ours_has_a_name_in_the_hub_and_the_other_way_round():
    for variant in CHANNELS:
        network = build("segformer", 11, variant=variant)
        taken = hub_state(network, of_the_hub(variant, 11))
        assert taken.keys() == network.state_dict().keys()
        assert parameters(network) == sum(
            tensor.numel() for name, tensor in of_the_hub(variant, 11).items() if "running" not in name and "tracked" not in name
        )


def test_what_is_missing_unknown_or_misshapen_is_told_by_name():
    network, state = build("segformer", 11), of_the_hub("b0", 12)
    state["decode_head.more.weight"] = state.pop("decode_head.batch_norm.weight")
    with pytest.raises(UntrustedFile) as caught:
        hub_state(network, state, "file.bin")
    for part in (
        "file.bin: is not of SegFormer-B0 (missing: decode_head.batch_norm.weight; unknown: decode_head.more.weight; misshapen: ",
        "decode_head.classifier.weight is (12, 256, 1, 1), not (11, 256, 1, 1)",
    ):
        assert part in str(caught.value)
    with pytest.raises(UntrustedFile, match=r"is not of SegFormer-B1 \(misshapen: segformer.encoder"):
        hub_state(build("segformer", 11, variant="b1"), of_the_hub("b0", 11))


def test_another_network_is_refused():
    with pytest.raises(UsageError, match="holds weights by the hub's names of SegFormer; name the network segformer"):
        hub_state(build("unet", 2, width=0.05), {})


def test_a_file_of_the_hub_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, file, out = of_the_hub("b0", 150), tmp_path / "pytorch_model.bin", tmp_path / "model"
    torch.save(state, file)
    main(["import", str(file), "--network", "segformer", "--classes", "ade20k", "--out", str(out), "--json"])
    assert json.loads(capsys.readouterr().out)["model"].startswith(str(out))
    model = perpixel.load(out)
    assert model.classes.names[0] == "wall"
    images = pictures((64, 64))
    with torch.inference_mode():
        torch.testing.assert_close(model.ready()(images)["logits"], walked(state, "b0", images), rtol=1e-3, atol=1e-3)


# Training and sizes


def test_a_map_that_is_smaller_than_its_reduction_is_padded_with_zeros():
    network = SegFormer(5).eval()
    reduce = network.trunk.stages[0].blocks[0].attention.reduce
    seen = []
    reduce.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(pictures((12, 40)))
    assert seen[0].shape[-2:] == (8, 10)
    assert not seen[0][:, :, 3:].any()
    assert seen[0][:, :, :3].any()


def test_some_pictures_skip_blocks_in_training_and_none_in_evaluation():
    torch.manual_seed(0)
    network = SegFormer(5)
    rates = [block.drop_path for stage in network.trunk.stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * place / 7 for place in range(8)])
    block = network.trunk.stages[3].blocks[1]
    x = torch.randn(4000, 4, 8)
    kept = block.train()._kept(x)
    dropped = (kept == 0).flatten(1).all(1)
    assert dropped.float().mean() == pytest.approx(0.1, abs=0.02)
    torch.testing.assert_close(kept[~dropped], x[~dropped] / 0.9)
    assert block.eval()._kept(x) is x


def test_an_unknown_variant():
    with pytest.raises(UnknownName, match="no variant of segformer 'b6'; did you mean 'b"):
        build("segformer", 5, variant="b6")
