"""Pictures reach a network exactly as its library, or its authors, prepare them for the weights that are used."""

import hashlib
import pickle

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from torchvision import models
from torchvision import transforms as T  # noqa: N812
from torchvision.transforms import InterpolationMode

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import preprocessing, registry
from neuroenc.features.libraries import build
from neuroenc.features.networks import Network, describe_layers

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (300, 90, 3), np.uint8)
PICTURES = [
    Image.fromarray(RGB),  # tall
    Image.fromarray(RNG.integers(0, 256, (60, 400, 3), np.uint8)),  # wide
    Image.fromarray(RNG.integers(0, 256, (5, 7, 3), np.uint8)),  # tiny
    Image.fromarray(RNG.integers(0, 256, (131, 97), np.uint8), "L").convert("RGB"),
    Image.fromarray(RGB).quantize(16).convert("RGB"),
    Image.fromarray(RNG.integers(0, 256, (80, 81, 4), np.uint8), "CMYK").convert("RGB"),
]
MODELS = [n for n, e in registry.ENTRIES.items() if e.extractor in ("timm", "torchvision", "open_clip")]
PAIRS = [
    n for n in models.list_models(models) if len(list(models.get_model_weights(n))) > 1
]  # several weights


def assert_prepared(model, transform):
    found = preprocessing.of(model)
    batch = found.prepare([np.asarray(p) for p in PICTURES])["image"]
    assert batch.shape[2:] == found.size
    for got, picture in zip(batch, PICTURES, strict=True):
        np.testing.assert_allclose(got, transform(picture), atol=1e-5)


def authors(resize, std):
    return T.Compose([
        T.Resize(resize, InterpolationMode.BILINEAR), T.CenterCrop(224), T.ToTensor(),
        T.Normalize((0.485, 0.456, 0.406), std),
    ])  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_of_the_registry(name):
    model, entry = registry.resolve(Model(network=name))
    if "/slip/" in entry.published:
        transform = authors(224, (0.229, 0.224, 0.225))
    elif "swav" in entry.published:
        transform = authors(256, (0.228, 0.224, 0.225))
    elif entry.extractor == "timm":
        config = timm.data.resolve_data_config(
            {"input_size": (3, 434, 434)} if "dinov2" in name else {},
            pretrained_cfg=timm.get_pretrained_cfg(f"{entry.network}.{entry.published}").to_dict(),
        )
        transform = timm.data.create_transform(**config, is_training=False)
    elif entry.extractor == "torchvision":
        transform = models.get_model_weights(entry.network)[entry.published].transforms()
    elif name == "nano":
        transform = T.Compose([
            T.Resize(96, InterpolationMode.BICUBIC), T.CenterCrop(96), T.ToTensor(), T.Normalize([0.5] * 3, [0.25] * 3)
        ])  # fmt: skip
    else:
        transform = open_clip.image_transform(224, is_train=False)  # OpenAI's statistics, as LAION's
    assert_prepared(model, transform)


@pytest.mark.parametrize("network", PAIRS)
def test_each_of_torchvisions_weights(network):
    for weights in models.get_model_weights(network):
        model = Model(extractor="torchvision", network=network, tag=weights.name)
        found, own = preprocessing.of(model), weights.transforms()
        assert found.geometry == (
            f"{own.interpolation.value} resize of the short side to {own.resize_size[0]}, "
            f"centre crop {own.crop_size[0]}"
        )
        np.testing.assert_allclose(
            found.prepare([np.asarray(PICTURES[3])])["image"][0], own(PICTURES[3]), atol=1e-5
        )


@pytest.mark.parametrize(
    "name",
    ["resnet50.a1_in1k", "resnet50.tv_in1k", "vit_base_patch16_224.augreg2_in21k_ft_in1k",  # centre
     "convnext_tiny.fb_in22k_ft_in1k_384", "eva02_small_patch14_336.mim_in22k_ft_in1k",  # squash
     "vit_base_patch16_sapiens2.fb", "tf_efficientnetv2_s.in21k", "mobilenetv4_conv_small.e2400_r224_in1k",
     *[n for n in timm.list_pretrained() if timm.get_pretrained_cfg(n).crop_mode == "border"][:2]],
)  # fmt: skip
def test_each_crop_of_timm(name):
    network, _, tag = name.partition(".")
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    transform = timm.data.create_transform(**config, is_training=False)
    assert_prepared(Model(extractor="timm", network=network, tag=tag), transform)


@pytest.mark.parametrize(
    ("network", "tag"),
    [("ViT-B-16-SigLIP", "webli"), ("MobileCLIP-S1", "datacompdr"), ("ViT-L-14", "laion2b_s32b_b82k"),
     ("ViT-H-14-quickgelu", "dfn5b"), ("ViT-L-14-CLIPA", "datacomp1b"), ("RN50-quickgelu", "openai"),
     ("PE-Core-B-16", "meta"), ("ViT-SO400M-14-SigLIP-384", "webli")],
)  # fmt: skip
def test_each_resize_of_open_clip(network, tag):
    own = open_clip.get_pretrained_cfg(network, tag)
    size = open_clip.get_model_config(network)["vision_cfg"]["image_size"]
    transform = open_clip.image_transform(
        size, is_train=False,
        **{k: own[k] for k in ("mean", "std", "interpolation", "resize_mode") if k in own},
    )  # fmt: skip
    assert_prepared(Model(extractor="open_clip", network=network, tag=tag), transform)
    if network == "ViT-B-16-SigLIP":
        found = preprocessing.of(Model(extractor="open_clip", network=network))
        assert found.mean == found.std == (0.5, 0.5, 0.5) and "whatever the shape" in found.geometry


@pytest.mark.parametrize(
    "name",
    [n for n, e in registry.ENTRIES.items() if e.network in ("flava", "blip", "vilt") and "-text" not in n],
)
def test_of_transformers(name):
    model, entry = registry.resolve(Model(network=name, weights="random:0"))
    kind = entry.network
    with torch.device("meta"):
        source = build(model)
    if "text" in source.reads:
        items = [(np.asarray(p), [101, 102]) for p in PICTURES]
    else:
        items = [np.asarray(p) for p in PICTURES]
    own = getattr(transformers, f"{kind.capitalize()}ImageProcessor")()
    for item, picture in zip(items, PICTURES, strict=True):
        batch = source.prepare([item])
        expected = own(images=[picture], return_tensors="pt")["pixel_values"]
        np.testing.assert_allclose(batch["pixel_values"], expected, atol=1e-5)
    assert source.contract["normalisation"] == f"mean {tuple(own.image_mean)}, std {tuple(own.image_std)}"


def test_a_picture_that_looks_like_channels_first():
    with torch.device("meta"):
        source = build(Model(extractor="transformers", network="blip", weights="random:0",
                             options={"half": "image"}))  # fmt: skip
    thin = RNG.integers(0, 256, (3, 50, 3), np.uint8)
    own = transformers.BlipImageProcessor()(
        images=[thin], input_data_format="channels_last", return_tensors="pt"
    )
    np.testing.assert_allclose(source.prepare([thin])["pixel_values"], own["pixel_values"], atol=1e-5)


def checkpoint(path, network="squeezenet1_1"):
    """A file that stands for published weights: only its name and hash are read here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(network.encode())
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("extractor", "network", "file", "tag"),
    [("torchvision", "resnet50", "resnet50-0676ba61.pth", "IMAGENET1K_V1"),
     ("torchvision", "resnet50", "resnet50-11ad3fa6.pth", "IMAGENET1K_V2"),
     ("torchvision", "resnet50", "resnet50_IMAGENET1K_V1.pth", "IMAGENET1K_V1"),
     ("timm", "resnet50", "resnet50.tv_in1k.safetensors", "tv_in1k"),
     ("timm", "resnet50", "models--timm--resnet50.a1_in1k/snapshots/x/model.safetensors", "a1_in1k"),
     ("timm", "resnet50", "timm--resnet50--fb_swsl_ig1b_ft_in1k/model.safetensors", "fb_swsl_ig1b_ft_in1k"),
     ("open_clip", "ViT-B-32", "ViT-B-32-laion2b_s34b_b79k.bin", "laion2b_s34b_b79k")],
)  # fmt: skip
def test_a_file_tells_its_weights(extractor, network, file, tag, tmp_path):
    model = Model(extractor=extractor, network=network)
    path, digest = checkpoint(tmp_path / file)
    assert preprocessing.tell(model, path, digest).tag == tag
    with pytest.raises(InputError, match=f"holds the weights '{tag}', not "):
        other = next(t for t in preprocessing.tags(model) if t != tag)
        preprocessing.tell(model.model_copy(update={"tag": other}), path, digest)


def test_a_hash_tells_the_weights(tmp_path):
    url = models.ResNet50_Weights.IMAGENET1K_V1.url
    digest = url.rpartition("-")[2].partition(".")[0] + "0" * 56
    model = Model(extractor="torchvision", network="resnet50")
    assert preprocessing.tell(model, tmp_path / "renamed.pth", digest).tag == "IMAGENET1K_V1"
    openai = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")["url"].split("/")[-2]
    model = Model(extractor="open_clip", network="ViT-B-32")
    assert preprocessing.tell(model, tmp_path / "renamed.pt", openai).tag == "openai"


@pytest.mark.parametrize(
    ("spec", "file"),
    [({"extractor": "torchvision", "network": "resnet50"}, "mine.pth"),
     ({"network": "resnet50"}, "mine.pth"),
     ({"extractor": "timm", "network": "resnet50"}, "resnet50.pth"),
     ({"extractor": "open_clip", "network": "ViT-B-32"}, "open_clip_pytorch_model.bin")],
)  # fmt: skip
def test_a_file_that_does_not_tell_is_asked_for(spec, file, tmp_path):
    path, _ = checkpoint(tmp_path / file)
    with pytest.raises(InputError, match=r"does not tell which. Name .* as `tag`. Allowed: "):
        Network(Model(**spec, weights=str(path), layers=["visual"]))


def test_one_way_alone_needs_no_tag(tmp_path):
    path, digest = checkpoint(tmp_path / "mine.pth")
    for extractor, network in (("torchvision", "alexnet"), ("open_clip", "ViT-B-32-quickgelu")):
        model = Model(extractor=extractor, network=network)
        assert preprocessing.tell(model, path, digest).tag is None


def test_weights_trained_with_quickgelu_need_a_network_that_has_it():
    spec = {"extractor": "open_clip", "network": "ViT-B-32", "tag": "openai", "weights": "random:0"}
    with torch.device("meta"), pytest.raises(InputError, match="Use the network 'ViT-B-32-quickgelu'"):
        build(Model(**spec))
    with pytest.raises(InputError, match=r"'tag': 'opnai'.*did you mean 'openai'"):
        build(Model(**spec | {"tag": "opnai"}))


@pytest.mark.parametrize(("network", "side"), [("googlenet", 224), ("inception_v3", 299)])
def test_networks_that_read_minus_one_to_one(network, side, tmp_path):
    torch.manual_seed(0)
    own = models.get_model(network, weights=None, init_weights=False, transform_input=True).eval()
    torch.save(own.state_dict(), tmp_path / "net.pth")
    weights = models.get_model_weights(network).DEFAULT
    with torch.inference_mode():
        expected = own(weights.transforms()(PICTURES[0])[None]).numpy()
    spec = {
        "extractor": "torchvision",
        "network": network,
        "weights": str(tmp_path / "net.pth"),
        "layers": ["fc"],
    }
    got = Network(Model(**spec))([RGB])["fc"]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    half = Network(Model(**spec, normalisation="half"))
    assert half.source.prepare([RGB])["image"].shape == (1, 3, side, side)
    np.testing.assert_allclose(half([RGB])["fc"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("extractor", "network", "words"),
    [("torchvision", "resnet18", "short side to 109, centre crop 96"),
     ("torchvision", "vit_b_32", "short side to 109, centre crop 96"),
     ("timm", "resnet10t", "short side to 109, centre crop 96"),
     ("timm", "vit_tiny_patch16_224", "short side to 106, centre crop 96"),
     ("open_clip", "ViT-S-32", "short side to 96, centre crop 96")],
)  # fmt: skip
def test_another_size_of_pictures(extractor, network, words):
    model = Model(extractor=extractor, network=network, input_size=96, weights="random:0")
    with torch.device("meta"):
        source = build(model)
    assert source.contract["preprocessing"].endswith(words)
    batch = source.prepare([RGB])["image"]
    assert batch.shape == (1, 3, 96, 96)
    assert describe_layers(model)


def test_the_size_and_crop_of_timms_test():
    found = preprocessing.of(Model(extractor="timm", network="resnet50", tag="a1_in1k", input_size=288))
    assert found.geometry == "bicubic resize of the short side to 288, centre crop 288"  # 0.95 at 224


def test_a_network_whose_default_is_large():
    layers = describe_layers(Model(extractor="torchvision", network="vit_h_14"))
    assert layers["encoder"][1] == "1370 x 1280"  # 37 x 37 patches of 14 px and the class token


def test_workers_are_sent_the_preprocessing():
    for extractor, network in (("timm", "resnet10t"), ("torchvision", "alexnet"), ("open_clip", "RN50")):
        found = preprocessing.of(Model(extractor=extractor, network=network))
        again = pickle.loads(pickle.dumps(found.prepare))
        assert torch.equal(again([RGB])["image"], found.prepare([RGB])["image"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [({"extractor": "timm", "network": "resnet10t", "options": {"num_clases": 3}},
      "'resnet10t' has no option 'num_clases'.*did you mean 'num_classes'"),
     ({"extractor": "torchvision", "network": "alexnet", "options": {"img_size": 64}},
      "'alexnet' has no option 'img_size'. Allowed: 'num_classes', 'dropout'"),
     ({"extractor": "timm", "network": "resnet10t", "options": {"num_classes": "x"}}, "timm cannot build"),
     ({"extractor": "open_clip", "network": "ViT-S-32", "options": {"vision_cfg": {"widht": 3}}},
      "open_clip cannot build 'ViT-S-32' with "),
     ({"extractor": "open_clip", "network": "ViT-S-32", "options": {"vision_cfg": 3}},
      "open_clip cannot build 'ViT-S-32' with "),
     ({"extractor": "transformers", "network": "bert", "options": {"num_attention_heads": 7}},
      "Cannot build bert with {'num_attention_heads': 7}: The hidden size"),
     ({"extractor": "transformers", "network": "bert", "options": {"hiden_size": 16}},
      "'options': 'hiden_size'.*did you mean 'hidden_size'"),
     ({"extractor": "transformers", "network": "flava", "options": {"image_config": {"image_sise": 16}}},
      "'options.image_config': 'image_sise'.*did you mean 'image_size'"),
     ({"extractor": "torchvision", "network": "inception_v3", "input_size": 32},
      "'inception_v3' does not take pictures of 32 px")],
)  # fmt: skip
def test_options_the_library_does_not_take(spec, message):
    with torch.device("meta"), pytest.raises(InputError, match=message) as caught:
        source = build(Model(**spec, weights="random:0"))
        source.forward({"image": torch.empty(1, 3, 32, 32)})
    assert "\n" not in str(caught.value)
