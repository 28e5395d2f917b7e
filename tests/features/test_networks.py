import hashlib
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from neuroenc.config import Model
from neuroenc.errors import InputError, NeuroencError
from neuroenc.features.networks import Network, describe_layers

PIXELS = [np.random.default_rng(i).integers(0, 255, (150, 130, 3), dtype=np.uint8) for i in range(3)]
TIMM = {
    "extractor": "timm",
    "network": "resnet10t",
    "weights": "random:0",
    "layers": ["layer1", "layer3.0.conv1"],
}
CLIP = {
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
    "embed_dim": 12,
}  # fmt: skip


def network(**changes):
    return Network(Model(**TIMM | changes))


def test_layers_equal_a_plain_forward_pass():
    found = network(pooling="tokens", layers=["layer1"])
    batch = found.source.prepare(PIXELS)["image"]
    plain = {}
    found.module.layer1.register_forward_hook(lambda m, i, o: plain.update(out=o))
    with torch.no_grad():
        found.module(batch)
    expected = plain["out"].flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(found(PIXELS)["layer1"], expected, atol=1e-6)


def test_several_layers_in_one_pass_and_poolings():
    both = network(pooling="mean")(PIXELS)
    one = network(pooling="mean", layers=["layer3.0.conv1"])(PIXELS)
    np.testing.assert_array_equal(both["layer3.0.conv1"], one["layer3.0.conv1"])
    tokens = network(pooling="tokens", layers=["layer1"])(PIXELS)["layer1"]
    np.testing.assert_allclose(both["layer1"], tokens.mean(1), atol=1e-6)
    side = int(tokens.shape[1] ** 0.5)
    grid = network(pooling="grid:2", layers=["layer1"])(PIXELS)["layer1"]
    quarter = tokens.reshape(3, side, side, -1)[:, : side // 2, side // 2 :].mean((1, 2))
    np.testing.assert_allclose(grid.reshape(3, 4, -1)[:, 1], quarter, atol=1e-5)


@pytest.fixture
def tiny_clip(tmp_path):
    (tmp_path / "tinyclip.json").write_text(json.dumps(CLIP))
    return str(tmp_path / "tinyclip.json")


def test_open_clip_from_a_configuration_file(tiny_clip):
    layers = ["visual.transformer.resblocks.1", "visual"]
    spec = {"extractor": "open_clip", "network": tiny_clip, "weights": "random:3", "layers": layers}
    found = Network(Model(**spec, pooling="mean"))(PIXELS)
    assert found["visual"].shape == (3, 12)
    assert found["visual.transformer.resblocks.1"].shape == (3, 32)
    cls = Network(Model(**spec | {"layers": layers[:1]}, pooling="cls"))(PIXELS)[layers[0]]
    tokens = Network(Model(**spec | {"layers": layers[:1]}, pooling="tokens"))(PIXELS)[layers[0]]
    assert tokens.shape == (3, 17, 32)
    np.testing.assert_array_equal(cls, tokens[:, 0])
    np.testing.assert_allclose(found[layers[0]], tokens[:, 1:].mean(1), atol=1e-6)


def test_random_weights_are_seeded_and_leave_torchs_seed_alone():
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    a, b, c = (network(weights=f"random:{s}")(PIXELS)["layer1"] for s in (0, 0, 1))
    assert torch.rand(1) == before
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_checkpoint_is_loaded_and_its_hash_recorded(tmp_path):
    source = network(weights="random:7")
    path = tmp_path / "net.safetensors"
    save_file(source.module.state_dict(), path)
    torch.save(source.module.state_dict(), tmp_path / "net.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = network(weights=str(path), sha256=digest)
    assert loaded.contract["weights"] == f"net.safetensors:{digest}"
    np.testing.assert_array_equal(loaded(PIXELS)["layer1"], source(PIXELS)["layer1"])
    other = network(weights=str(tmp_path / "net.pt"))
    np.testing.assert_array_equal(other(PIXELS)["layer1"], source(PIXELS)["layer1"])


@pytest.mark.parametrize(("key", "prefix"), [("state_dict_ema", ""), ("model_ema", "module.")])
def test_of_a_training_the_running_mean_of_the_weights_is_read(tmp_path, key, prefix):
    last, mean = (network(weights=f"random:{s}").module.state_dict() for s in (1, 2))
    kept = {f"{prefix}{k}": v for k, v in mean.items()} | ({"n_averaged": torch.tensor(9)} if prefix else {})
    torch.save({"state_dict": last, key: kept, "epoch": 3}, tmp_path / "last.pth")
    found = network(weights=str(tmp_path / "last.pth"))(PIXELS)["layer1"]
    np.testing.assert_array_equal(found, network(weights="random:2")(PIXELS)["layer1"])


@pytest.mark.parametrize("options", [{}, {"no_embed_class": True}])
def test_positions_are_resized_as_timm_does(tmp_path, options):
    about = {"network": "test_vit", "layers": ["blocks.1"], "options": options, "pooling": "tokens"}
    small = network(**about).module.state_dict() | {"pos_embed": torch.randn(1, 101 - bool(options), 64)}
    save_file(small, tmp_path / "vit.safetensors")
    found = network(**about, weights=str(tmp_path / "vit.safetensors"), input_size=192)
    net = timm.create_model("test_vit", img_size=192, **options)
    timm.models.load_checkpoint(
        net,
        str(tmp_path / "vit.safetensors"),
        filter_fn=timm.models.vision_transformer.checkpoint_filter_fn,
    )
    blocks = torch.nn.Sequential(net.blocks[0], net.blocks[1])
    with torch.no_grad():
        seen = net.eval().patch_embed(found.source.prepare(PIXELS)["image"])
        wanted = blocks(net.norm_pre(net._pos_embed(seen)))
    np.testing.assert_allclose(found(PIXELS)["blocks.1"], wanted, atol=1e-5)


def test_frozen_and_in_eval_mode():
    found = network()
    assert not any(p.requires_grad for p in found.module.parameters())
    found.module.layer1.train()
    with pytest.raises(NeuroencError, match="eval mode"):
        found(PIXELS)


def test_batches_are_sized_to_memory():
    found = network()
    small, large = found.batch_size(0.05), found.batch_size(0.5)
    assert 1 <= small < large <= 256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ["layer3.0.conv"]}, r"'layer': 'layer3.0.conv'.*did you mean 'layer3.0.conv.'"),
        ({"network": "resnet10"}, r"'network': 'resnet10'.*did you mean 'resnet1"),
        ({"weights": "nowhere.pt"}, "File not found: nowhere.pt"),
        ({"weights": None}, "No weights named for 'resnet10t'"),
        ({"layers": []}, "No layers named"),
    ],
)
def test_mistakes_are_explained(changes, message):
    with pytest.raises(InputError, match=message):
        network(**changes)


def test_a_checkpoint_of_another_hash_or_network_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"has sha256 [0-9a-f]{64}, expected 00"):
        network(weights=str(path), sha256="0" * 64)
    with pytest.raises(InputError, match=r"does not fit: \d+ tensors differ, first"):
        network(weights=str(path))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="Cannot read the checkpoint"):
        network(weights=str(path))


def test_pooling_that_a_layer_cannot_give():
    with pytest.raises(InputError, match="no class token"):
        network(pooling="cls")(PIXELS)


def test_layer_names_need_no_weights():
    names = describe_layers(Model(extractor="torchvision", network="alexnet"))
    assert names["features.0"] == ("Conv2d", "64 x 55 x 55")


PHONES = [487, 528, 590, 605, 620, 707, 761]  # ImageNet's classes of phones and what looks like one


@pytest.mark.real
@pytest.mark.parametrize("name", ["mobilenetv2_100.tf_in1k", "squeezenet1_0.deepcompression_in1k"])
def test_real_weights_name_what_is_shown(real, name):
    weights = str(real / f"weights/{name}.safetensors")
    spec = {"weights": weights, "layers": ["classifier"], "network": "squeezenet1-0"}
    if name.startswith("mobilenet"):
        spec |= {"extractor": "timm", "network": "mobilenetv2_100", "normalisation": "half",
                 "options": {"pad_type": "same"}}  # fmt: skip
    found = Network(Model(**spec))

    def top5(folder):
        paths = sorted((real / "mtl/images" / folder).glob("*.jpg"))
        pixels = [np.asarray(Image.open(p).convert("RGB")) for p in paths]
        return np.argsort(-found(pixels)["classifier"], 1)[:, :5]

    animals, phones = top5("smallAnimal"), top5("phones")
    assert (animals[:, 0] < 398).mean() > 0.8  # the first 398 classes are animals
    assert (phones[:, 0] < 398).mean() < 0.1
    assert np.isin(phones, PHONES).any(1).mean() > 0.5
