"""Latents of an autoencoder, as diffusers itself makes them; wrong ones are refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from neuroenc.config import Model, parse
from neuroenc.errors import InputError
from neuroenc.features import checkpoints, registry
from neuroenc.features.extract import describe
from neuroenc.features.latents import Latents

SEEN = [np.random.default_rng(k).integers(0, 256, (40, 50, 3)).astype(np.uint8) for k in range(3)]


def tiny(**more):
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, **more,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    tiny(scaling_factor=0.5).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_latents_and_pictures_are_those_of_diffusers(folder):
    from diffusers import AutoencoderKL
    from diffusers.image_processor import VaeImageProcessor

    model = Model(extractor="vae", network=str(folder), input_size=16)
    found = describe(SEEN, model)
    vae, images = AutoencoderKL.from_pretrained(folder), VaeImageProcessor(vae_scale_factor=2)
    large = [Image.fromarray(p).resize((16, 16), Image.Resampling.BICUBIC) for p in SEEN]
    with torch.no_grad():
        own = vae.encode(images.preprocess(large)).latent_dist.mode() * 0.5
        shown = images.postprocess(vae.decode(own / 0.5).sample, output_type="pil")
    values = found["feature"].values
    assert values.shape == (3, 4 * 8 * 8)
    np.testing.assert_allclose(
        values.reshape(3, 8, 8, 4), own.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-5
    )
    made = Latents(model).pictures(values)
    assert np.abs(made.astype(int) - np.stack([np.asarray(p) for p in shown])).max() <= 1
    assert found.attrs["model"] == "vae/tiny" and "times 0.5" in found.attrs["preprocessing"]
    assert json.loads(found.attrs["shape"]) == {"latent": [256]}
    other = describe(SEEN, model.model_copy(update={"weights": "random:3"}))
    assert other.attrs["weights"] == "random:3" and np.abs(other["feature"].values - values).max() > 0.01


def test_it_is_fetched_by_name_and_read_from_there(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(InputError, match="weights fetch sd-vae"):
        Latents(Model(extractor="vae", network="sd-vae"))
    entry = registry.AUTOENCODERS["sd-vae"]
    asked = []
    monkeypatch.setattr(checkpoints, "_hub", lambda *a: asked.append(a) or ({}, "mit", []))
    checkpoints._files(entry, "main")
    assert asked[0][:2] == (
        "stabilityai/sd-vae-ft-mse", ("config.json", "diffusion_pytorch_model.safetensors")
    )  # fmt: skip
    assert checkpoints.needed("sd-vae")
    folder.rename(registry.place(entry).parent.mkdir() or registry.place(entry))
    assert Latents(Model(extractor="vae", network="sd-vae")).contract["model"] == "vae/sd-vae"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"network": "sd-vaee"}, "none of sd-vae, nor a folder"),
        ({"input_size": 15}, "15 px have no whole latents, each of 2 px"),
        ({"network": None}, "name a `network`"),
        ({"pooling": "tokens"}, "`pooling` is not for vae"),
        ({"weights": "w.safetensors"}, "vae reads weights from the folder"),
        ({"tag": "x"}, "`tag` is for timm"),
    ],
)
def test_what_makes_no_latents_is_refused(folder, asked, message):
    with pytest.raises(InputError, match=message):
        Latents(parse(Model, {"extractor": "vae", "network": str(folder)} | asked))
