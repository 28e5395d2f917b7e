"""Layers are read as their modules lay them out; the expected axis and leading tokens are written by hand."""

import numpy as np
import pytest
import torch

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features.layouts import Run, stated, tell
from neuroenc.features.networks import Network

PIXELS = [np.random.default_rng(i).integers(0, 255, (70, 60, 3), dtype=np.uint8) for i in range(2)]
SMALL_VIT = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}
FIRST, LAST = 1, -1
LAYERS = [  # extractor, network, options, layer, axis of the channels, tokens that lead
    ("timm", "resnet10t", {}, "layer1.0.bn1", FIRST, 0),
    ("torchvision", "squeezenet1_1", {}, "features.0", FIRST, 0),
    ("torchvision", "mobilenet_v3_small", {}, "features.0.1", FIRST, 0),
    ("torchvision", "regnet_y_400mf", {}, "trunk_output.block1", FIRST, 0),
    ("torchvision", "swin_t", {}, "features.1", LAST, 0),
    ("torchvision", "swin_t", {}, "permute", FIRST, 0),
    ("torchvision", "convnext_tiny", {}, "features.1.0.block.3", LAST, 0),
    ("torchvision", "convnext_tiny", {}, "features.1.0", FIRST, 0),
    ("timm", "convnext_atto", {}, "stages.0.blocks.0.mlp", FIRST, 0),
    ("timm", "convnext_atto", {"conv_mlp": False}, "stages.0.blocks.0.mlp", LAST, 0),
    ("timm", "swin_tiny_patch4_window7_224", {"depths": [1, 1], "num_heads": [2, 2]}, "patch_embed.proj", FIRST, 0),
    ("timm", "swin_tiny_patch4_window7_224", {"depths": [1, 1], "num_heads": [2, 2]}, "layers.0", LAST, 0),
    ("timm", "mambaout_femto", {}, "stem.conv1", FIRST, 0),
    ("timm", "mambaout_femto", {}, "stages.0", LAST, 0),
    ("timm", "pvt_v2_b0", {}, "stages.0.blocks.0", LAST, 0),
    ("timm", "pvt_v2_b0", {}, "stages.0", FIRST, 0),
    ("timm", "mixer_s32_224", {}, "blocks.0", LAST, 0),
    ("timm", "vit_tiny_patch16_224", SMALL_VIT, "blocks.0", LAST, 1),
    ("timm", "vit_tiny_patch16_224", SMALL_VIT | {"reg_tokens": 4}, "blocks.0", LAST, 5),
    ("timm", "vit_tiny_patch16_224", SMALL_VIT | {"class_token": False, "global_pool": "avg"}, "blocks.0", LAST, 0),
    ("timm", "deit_tiny_distilled_patch16_224", SMALL_VIT, "blocks.0", LAST, 2),
    ("open_clip", "nano", {}, "visual.transformer.resblocks.0", LAST, 1),
]  # fmt: skip


def open_network(extractor, network, options, layer, **changes):
    section = {"extractor": extractor, "network": network, "options": options, "layers": [layer]}
    return Network(Model(**section | {"weights": "random:0"} | changes))


@pytest.mark.parametrize(("extractor", "network", "options", "layer", "axis", "prefix"), LAYERS)
def test_channels_are_channels(extractor, network, options, layer, axis, prefix):
    found = open_network(extractor, network, options, layer, pooling="mean")
    made = {}
    found.module.get_submodule(layer).register_forward_hook(lambda m, i, o: made.update(out=o.clone()))
    mean = found(PIXELS)[layer]
    own = made["out"].movedim(axis, -1)
    tokens = own.flatten(1, -2)
    np.testing.assert_allclose(mean, tokens[:, prefix:].mean(1).numpy(), atol=1e-5)
    side = own.shape[1] if own.ndim == 4 else int((own.shape[1] - prefix) ** 0.5)
    cells = tokens[:, prefix:].unflatten(1, (side, side))
    k = min(2, side)
    found.model = found.model.model_copy(update={"pooling": "grid:2"})
    quarter = cells[:, : -(-side // k), : -(-side // k)].mean((1, 2)).numpy()
    grid = found(PIXELS)[layer]
    assert grid.shape == (2, k * k, own.shape[-1])
    np.testing.assert_allclose(grid[:, 0], quarter, atol=1e-5)
    found.model = found.model.model_copy(update={"pooling": "tokens"})
    np.testing.assert_array_equal(found(PIXELS)[layer], tokens.numpy())


def test_a_layout_that_cannot_be_told_is_asked_for_and_taken():
    mixer = ("timm", "mixer_s32_224", {}, "blocks.0.mlp_tokens.fc2")  # Linear over places
    with pytest.raises(InputError, match=r"2 x 512 x 49, and which axis.*layout: {blocks.0.mlp_tokens.fc2"):
        open_network(*mixer)
    stated = open_network(*mixer, layout={mixer[-1]: "channels_first"})
    assert stated(PIXELS)[mixer[-1]].shape == (2, 512)
    with pytest.raises(InputError, match="layer of layout"):
        open_network(*mixer[:3], "blocks.0", layout={"blocks.1": "channels_first"})


def test_windows_and_attention_are_refused():
    with pytest.raises(InputError, match="its first axis is not the stimulus"):
        open_network("timm", "swin_tiny_patch4_window7_224", {}, "layers.0.blocks.0.attn")
    with pytest.raises(InputError, match="which axis holds the channels"):
        open_network("timm", "vit_tiny_patch16_224", SMALL_VIT | {"qk_norm": True}, "blocks.0.attn.q_norm")


def test_pictures_within_a_joint_network_are_not_taken_for_words():
    section = {"network": "blip", "weights": "random:0", "layers": ["vision_model.encoder.layers.0"]}
    small = {"num_hidden_layers": 1, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 24}
    sizes = {"vision_config": small, "text_config": small | {"encoder_hidden_size": 24}}
    found = Network(Model(**section, options=sizes, pooling="mean"))
    made = []
    layer = section["layers"][0]

    def keep(_module, _inputs, output):
        made.append((output[0] if isinstance(output, tuple) else output).clone())

    found.module.get_submodule(layer).register_forward_hook(keep)
    mean = found([(PIXELS[0], "a"), (PIXELS[1], "a much longer text of several words")])[layer]
    expected = torch.cat(made)[:, 1:].mean(1)  # without the class token, as in the half that sees pictures
    np.testing.assert_allclose(mean, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize(("part", "third"), [("q", 0), ("k", 1), ("v", 2)])
def test_queries_keys_and_values_are_thirds_of_their_projection(part, third):
    layer = "blocks.0.attn.qkv"
    found = open_network("timm", "vit_tiny_patch16_224", SMALL_VIT, f"{layer}:{part}", pooling="tokens")
    block, made = found.module.blocks[0], {}
    block.norm1.register_forward_hook(lambda m, i, o: made.update(seen=o.clone()))
    got = found(PIXELS)[f"{layer}:{part}"]
    rows = slice(24 * third, 24 * (third + 1))  # timm: qkv.reshape(B, N, 3, heads, width).unbind(2)
    own = made["seen"] @ block.attn.qkv.weight[rows].T + block.attn.qkv.bias[rows]
    np.testing.assert_allclose(got, own.detach().numpy(), atol=1e-5)


def test_parts_of_what_is_no_such_projection_are_refused():
    wide = SMALL_VIT | {"mlp_ratio": 3}  # three times as wide, and no attention
    with pytest.raises(InputError, match="are not queries, keys and values one after the other"):
        open_network("timm", "vit_tiny_patch16_224", wide, "blocks.0.mlp.fc1:q")
    with pytest.raises(InputError, match=r"part of layer blocks.0.attn.qkv': 'x'. Allowed: 'q', 'k', 'v'"):
        open_network("timm", "vit_tiny_patch16_224", SMALL_VIT, "blocks.0.attn.qkv:x")


def test_heads_that_each_have_their_queries_keys_and_values_are_refused(tmp_path):
    import transformers

    config = transformers.AutoConfig.for_model(
        "gpt_neox",
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        vocab_size=40,
    )
    config.save_pretrained(tmp_path)  # its projection is (heads, 3, width of a head)
    with pytest.raises(InputError, match="are not queries, keys and values one after the other"):
        open_network("transformers", str(tmp_path), {}, "layers.0.attention.query_key_value:k")


def test_tokens_in_nested_windows_have_a_mean_and_no_grid():
    hiera = ("timm", "hiera_tiny_224", {"stages": (1, 1, 1, 1), "embed_dim": 24, "num_heads": 1},
             "blocks.0")  # fmt: skip
    with pytest.raises(InputError, match=r"do not stand in the order of the picture. Pool by 'mean'"):
        open_network(*hiera, pooling="grid:2")
    found, made = open_network(*hiera, pooling="mean"), {}
    found.module.blocks[0].register_forward_hook(lambda m, i, o: made.update(out=o.clone()))
    np.testing.assert_allclose(found(PIXELS)["blocks.0"], made["out"].mean(1).numpy(), atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("patch", [14, 16, 32])
def test_leading_tokens_are_solved_where_sides_are_rounded(patch, prefix):
    def run(n, height, width):  # patches that do not fit are left out
        return Run(n, height * width / 100**2, {"x": (n, prefix + (height // patch) * (width // patch), 24)})

    runs = [run(2, 100, 100), run(3, 200, 100), run(3, 100, 200), run(3, 200, 200)]
    assert tell("x", torch.nn.Identity(), runs) == (2, prefix, False)
    square = [runs[0], runs[3]]  # squares alone: rounded sides leave no whole number, or the very one
    assert tell("x", torch.nn.Identity(), square).prefix in (None, prefix)


def test_a_stated_layout_of_text_still_leaves_padding_out():
    runs = [Run(2, 1, {"x": (2, 9, 9)}, 9), Run(3, 1, {"x": (3, 6, 9)}, 6)]
    assert stated("channels_last", "x", runs) == (-1, 0, True)
    assert stated(
        "channels_first", "x", [Run(2, 1, {"x": (2, 9, 9)}, 9), Run(3, 1, {"x": (3, 9, 6)}, 6)]
    ) == (1, 0, True)
    pairs = [Run(2, 1, {"x": (2, 4, 9, 9)}, 9), Run(3, 1, {"x": (3, 4, 6, 6)}, 6)]
    with pytest.raises(InputError, match="it holds pairs of words"):
        stated("channels_first", "x", pairs)
    assert stated("tokens:3", "x", [Run(2, 1, {"x": (2, 52, 24)})]) == (-1, 3, False)
