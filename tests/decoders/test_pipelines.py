"""Image decoders with tiny random components of the very classes the real weights load into."""

import json

import numpy as np
import pytest
import torch

from neuroenc.arrays import CONTRACT
from neuroenc.config import Model
from neuroenc.decoders import pipelines
from neuroenc.decoders.generator import make
from neuroenc.errors import ContractError, InputError
from neuroenc.features.extract import describe

SEEN = np.zeros((96, 96, 3), np.uint8)
HOW = {"n": 2, "init": None, "strength": 0.8, "guidance": 2.0, "n_steps": 2, "seed": 0}


def tokenizer(folder):
    """CLIP's tokenizer over single letters."""
    from transformers import CLIPTokenizer

    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=12)


def text_config(width, **more):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=60, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=12, bos_token_id=0, eos_token_id=1, pad_token_id=1, **more,
    )  # fmt: skip


def kandinsky(folder):
    from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=8, addition_embed_type="image", layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(16, 32), norm_num_groups=8,
        encoder_hid_dim=24, encoder_hid_dim_type="image_proj", cross_attention_dim=24, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift", class_embed_type=None,
    )  # fmt: skip
    movq = VQModel(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1, norm_num_groups=8,
        norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    )  # fmt: skip
    scheduler = DDPMScheduler(
        prediction_type="epsilon", variance_type="learned_range", num_train_timesteps=100
    )
    KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder / "decoder")
    CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16,
        patch_size=8, projection_dim=24,
    )).save_pretrained(folder / "prior" / "image_encoder")  # fmt: skip


def vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8, sample_size=16,
    )  # fmt: skip


def unclip(folder):
    from diffusers import DDIMScheduler, DDPMScheduler, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(16, 32), norm_num_groups=8,
        attention_head_dim=4, class_embed_type="projection", projection_class_embeddings_input_dim=48,
        cross_attention_dim=16, layers_per_block=1, use_linear_projection=True,
    )  # fmt: skip
    eye = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=24, projection_dim=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8,
    ))  # fmt: skip
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(), image_encoder=eye,
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=24),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer(folder / "words"), text_encoder=CLIPTextModel(text_config(16)), unet=unet,
        scheduler=DDIMScheduler(), vae=vae(),
    ).save_pretrained(folder / "pipeline")  # fmt: skip


def ip_adapter(folder, adapter=lambda: POOLED, file="ip-adapter_sdxl_vit-h"):
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=(16, 32), norm_num_groups=8,
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 1), layers_per_block=1,
        projection_class_embeddings_input_dim=64, cross_attention_dim=32,
    )  # fmt: skip
    words = tokenizer(folder / "words")
    StableDiffusionXLPipeline(
        vae=vae(), text_encoder=CLIPTextModel(text_config(16, projection_dim=16)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(16, projection_dim=16)), tokenizer=words,
        tokenizer_2=words, unet=unet, scheduler=EulerAncestralDiscreteScheduler(timestep_spacing="trailing"),
    ).to(torch.float16).save_pretrained(folder / "pipeline", variant="fp16")  # fmt: skip
    attention = [k for k in unet.attn_processors if "attn2" in k]
    numbers = {k: 2 * i + 1 for i, k in enumerate(attention)}
    tensors = {f"image_proj.{k}": v for k, v in adapter().items()}
    for name in attention:
        width = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{numbers[name]}.{part}.weight"] = torch.randn(width, 32)
    (folder / "adapter" / "sdxl_models").mkdir(parents=True)
    save_file(tensors, folder / "adapter" / "sdxl_models" / f"{file}.safetensors")


POOLED = {
    "proj.weight": torch.randn(4 * 32, 24, generator=torch.Generator().manual_seed(0)),
    "proj.bias": torch.zeros(4 * 32), "norm.weight": torch.ones(32), "norm.bias": torch.zeros(32),
}  # fmt: skip
N_TOKENS = 5  # of a class and 2 x 2 patches


def resampler():
    """The tensors of an IP-Adapter Plus, by the names its authors gave them."""
    made = torch.Generator().manual_seed(1)
    wide = {
        "latents": (1, 16, 64), "proj_in.weight": (64, 24), "proj_in.bias": (64,), "proj_out.weight": (32, 64),
        "proj_out.bias": (32,), "norm_out.weight": (32,), "norm_out.bias": (32,),
    }  # fmt: skip
    for k in range(4):
        wide |= {f"layers.{k}.0.{n}.{w}": (64,) for n in ("norm1", "norm2") for w in ("weight", "bias")}
        wide |= {
            f"layers.{k}.0.to_q.weight": (64, 64), f"layers.{k}.0.to_kv.weight": (128, 64),
            f"layers.{k}.0.to_out.weight": (64, 64), f"layers.{k}.1.0.weight": (64,),
            f"layers.{k}.1.0.bias": (64,), f"layers.{k}.1.1.weight": (256, 64),
            f"layers.{k}.1.3.weight": (64, 256),
        }  # fmt: skip
    return {name: torch.randn(shape, generator=made) / shape[-1] ** 0.5 for name, shape in wide.items()}


def vision(width=24):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(2)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=width, projection_dim=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        image_size=16, patch_size=8,
    ))  # fmt: skip


def ip_adapter_plus(folder):
    ip_adapter(folder, resampler, "ip-adapter-plus_sdxl_vit-h")
    vision().save_pretrained(folder / "adapter" / "models" / "image_encoder")


def versatile(folder):
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(16, 32), norm_num_groups=8,
        attention_head_dim=4, cross_attention_dim=16, layers_per_block=1,
    ).save_pretrained(folder / "pipeline" / "image_unet")  # fmt: skip
    vae().save_pretrained(folder / "pipeline" / "vae")
    vision().save_pretrained(folder / "pipeline" / "image_encoder")
    DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False).save_pretrained(
        folder / "pipeline" / "scheduler"
    )


BUILD = {
    "kandinsky": kandinsky, "unclip": unclip, "ip_adapter": ip_adapter, "ip_adapter_plus": ip_adapter_plus,
    "versatile": versatile,
}  # fmt: skip


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A folder of weights as `weights fetch` leaves it."""
    folder = tmp_path_factory.mktemp("weights")
    for name, build in BUILD.items():
        build(folder / f"pipeline-{name}")
        (folder / f"pipeline-{name}" / "manifest.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", BUILD)
def test_a_pipeline_draws_from_embeddings(name, fetched, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(fetched))
    decoder = make(name)
    tokens = "pooling" in pipelines.TAKES[name]
    assert decoder.shape == ((N_TOKENS, 24) if tokens else (24,))
    embedding = np.random.default_rng(0).normal(size=(2, np.prod(decoder.shape))).astype("f4")
    made = decoder(embedding, **HOW)
    assert made.shape == (2, 16, 16, 3)
    assert made.dtype == np.uint8
    # a picture depends on its seed and embedding, not on its neighbours
    np.testing.assert_array_equal(decoder(embedding[:1], **HOW), made[:1])
    decoder.batch_size = 2
    start = np.full((2, 8, 8, 3), 128, np.uint8)
    together = decoder(embedding, **HOW)
    assert np.abs(together.astype(int) - made.astype(int)).max() <= 1  # rounding to whole numbers
    assert decoder(None, **HOW).shape == made.shape
    if decoder.starts:
        asked = HOW | {"init": start, "n_steps": 4}
        both = decoder(embedding, **asked)
        decoder.batch_size = 1
        assert np.abs(decoder(embedding, **asked).astype(int) - both.astype(int)).max() <= 1
    decoder.batch_size = 1
    assert (decoder(-3 * embedding, **HOW) != made).any()
    assert decoder(None, **HOW).shape == made.shape
    if decoder.starts:
        assert decoder(embedding, **HOW | {"init": start, "n_steps": 4}).shape == made.shape
    else:
        with pytest.raises(InputError, match="cannot start from a low-level picture"):
            decoder(embedding, **HOW | {"init": start})


def test_what_a_decoder_does_not_take_is_refused():
    decoder = make("nano")
    contract = dict.fromkeys(CONTRACT, "x") | dict(
        describe([SEEN], Model(network="nano", layers=["visual"])).attrs
    )
    pipelines.check_takes(decoder, contract, 64)
    untrained = describe([SEEN], Model(network="nano", layers=["visual"], weights="random:0")).attrs
    with pytest.raises(ContractError, match=r"untrained network \(random:0\)"):
        pipelines.check_takes(decoder, untrained, 64)
    with pytest.raises(ContractError, match=r"whose 'weights' is 'nano.safetensors:.*these have 'other:0'"):
        pipelines.check_takes(decoder, contract | {"weights": "other:0"}, 64)
    with pytest.raises(ContractError, match="whose 'model' is 'open_clip/nano'; these have 'timm/vit'"):
        pipelines.check_takes(decoder, contract | {"model": "timm/vit"}, 64)
    with pytest.raises(ContractError, match="whose 'layer' is 'visual'; these have 'visual,ln'"):
        pipelines.check_takes(decoder, contract | {"layer": "visual,ln"}, 64)
    with pytest.raises(ContractError, match="of 64 features; these have 128"):
        pipelines.check_takes(decoder, contract, 128)


def test_weights_that_are_not_here_say_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="neuroenc weights fetch kandinsky"):
        make("kandinsky")


def test_a_pipeline_is_fetched_in_parts_and_used(fetched, tmp_path, monkeypatch, run):
    """The same files from a hub of our own: listed by pattern, hashed, and loaded from where they land."""
    from layouts.server import serve

    from neuroenc.features import checkpoints

    source = fetched / "pipeline-ip_adapter"
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
        monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
        for part, repository, _ in checkpoints.PIPELINES["ip_adapter"]:
            files = {
                str(p.relative_to(source / part)): p.read_bytes()
                for p in (source / part).rglob("*")
                if p.is_file()
            }
            files |= {"unet/other.safetensors": b"not asked for", "README.md": b"words"}
            listed = [{"rfilename": n, "size": len(d)} for n, d in files.items()]
            about = {"sha": "0abcdef", "siblings": listed, "cardData": {"license": "other"}}
            server.files[f"api/models/{repository}/revision/main"] = json.dumps(about).encode()
            server.files |= {f"{repository}/resolve/0abcdef/{n}": d for n, d in files.items()}
        status, _, err = run("weights", "fetch", "ip_adapter")
        assert status == 0, err
    manifest = json.loads((tmp_path / "pipeline-ip_adapter" / "manifest.json").read_text())
    names = [f["file"] for f in manifest["files"]]
    assert "adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors" in names
    assert not any("other.safetensors" in n or "README" in n for n in names)
    assert manifest["licence"] == "stabilityai/sdxl-turbo: other; h94/IP-Adapter: other"
    assert run("weights", "verify", "ip_adapter")[0] == 0
    assert "ip_adapter" in run("weights", "list")[1]
    embedding = np.zeros((1, 24), np.float32)
    assert make("ip_adapter")(embedding, **HOW | {"n": 1}).shape == (1, 16, 16, 3)
