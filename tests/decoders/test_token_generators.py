"""Generators that read tokens: the right ones, as their own pipelines make them, and from decoded ones."""

import json

import numpy as np
import pytest
import torch
from decoders.test_pipelines import ip_adapter_plus, resampler, versatile, vision
from PIL import Image

from neuroenc.checks import check
from neuroenc.config import Config, Model, NetworkDecoding, Reconstruction, RidgeDecoding, parse
from neuroenc.decoders import pipelines
from neuroenc.decoders.decode import decode
from neuroenc.decoders.pretrained import IPAdapterPlus
from neuroenc.decoders.reconstruct import reconstruct
from neuroenc.decoders.scores import score
from neuroenc.decoders.token_generators import Versatile
from neuroenc.errors import ContractError, InputError
from neuroenc.features.extract import describe

HOW = {"n": 1, "init": None, "strength": 0.8, "guidance": 2.0, "n_steps": 3, "seed": 5}
PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
TOKENS = Model(network="nano", layers=["visual.transformer.resblocks.2"], pooling="tokens")


def pixels():
    from transformers import CLIPImageProcessor

    prepare = CLIPImageProcessor(size=16, crop_size=16)
    return prepare, prepare(images=Image.fromarray(PICTURE), return_tensors="pt").pixel_values


def near(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max() <= 1  # rounding to whole numbers


def test_an_adapter_draws_from_tokens_what_its_pipeline_draws_from_the_picture(tmp_path):
    ip_adapter_plus(tmp_path)
    decoder, (prepare, shown) = IPAdapterPlus.load(tmp_path, "cpu"), pixels()
    with torch.inference_mode():
        tokens = vision()(shown, output_hidden_states=True).hidden_states[-2]
    decoder.pipe.register_modules(image_encoder=vision(), feature_extractor=prepare)
    for guidance in (2.0, 1.0):
        own = decoder.pipe(
            prompt=[""], ip_adapter_image=Image.fromarray(PICTURE), num_inference_steps=3,
            guidance_scale=guidance, generator=[torch.Generator().manual_seed(5)],
        ).images[0]  # fmt: skip
        made = decoder(tokens.flatten(1).numpy(), **HOW | {"guidance": guidance})
        assert near(made[0], np.asarray(own))
    vision(32).save_pretrained(tmp_path / "adapter" / "models" / "image_encoder")
    with pytest.raises(InputError, match="reads tokens of 24 channels, its image encoder gives 32"):
        IPAdapterPlus.load(tmp_path, "cpu")


def test_versatile_diffusion_draws_from_tokens_what_its_pipeline_draws_from_the_picture(tmp_path):
    from diffusers import VersatileDiffusionImageVariationPipeline

    versatile(tmp_path)
    decoder, (prepare, shown) = Versatile.load(tmp_path, "cpu"), pixels()
    eye = vision()
    with torch.inference_mode():
        tokens = eye.vision_model.post_layernorm(eye.vision_model(shown).last_hidden_state)
    pipe = VersatileDiffusionImageVariationPipeline(
        prepare, eye, decoder.unet, decoder.vae, decoder.scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    grey = Image.new("RGB", (16, 16), (128, 128, 128))  # as good as the half it takes by itself
    for guidance in (2.0, 1.0):
        own = pipe(
            Image.fromarray(PICTURE), num_inference_steps=3, guidance_scale=guidance, negative_prompt=grey,
            generator=[torch.Generator().manual_seed(5)],
        ).images[0]  # fmt: skip
        made = decoder(tokens.flatten(1).numpy(), **HOW | {"guidance": guidance})
        assert np.abs(made[0].astype(int) - np.asarray(own).astype(int)).max() <= 2
    start = np.full((1, 8, 8, 3), 200, np.uint8)
    flat = tokens.flatten(1).numpy()
    kept = [decoder(flat, **HOW | {"n_steps": 20, "init": start, "strength": s})[0] for s in (0.05, 1.0)]
    through = decoder.images.postprocess(
        decoder.vae.decode(decoder._latents([Image.fromarray(start[0])]) / 0.18215).sample.detach(), "pil"
    )[0]
    off = [np.abs(k.astype(float) - np.asarray(through)).mean() for k in kept]
    assert off[0] < off[1]  # a short way back leaves more of the start


def as_transformers(visual):
    """The weights of an image tower of open_clip under the names of transformers."""
    of = visual.state_dict()
    out = {
        "vision_model.embeddings.class_embedding": of["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": of["conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": of["positional_embedding"],
        "visual_projection.weight": of["proj"].T,
    }
    names = {"ln_pre": "vision_model.pre_layrnorm", "ln_post": "vision_model.post_layernorm"}
    for k in range(len(visual.transformer.resblocks)):
        a, b = f"transformer.resblocks.{k}", f"vision_model.encoder.layers.{k}"
        names |= {
            f"{a}.ln_1": f"{b}.layer_norm1", f"{a}.ln_2": f"{b}.layer_norm2", f"{a}.mlp.c_fc": f"{b}.mlp.fc1",
            f"{a}.mlp.c_proj": f"{b}.mlp.fc2", f"{a}.attn.out_proj": f"{b}.self_attn.out_proj",
        }  # fmt: skip
        for w in ("weight", "bias"):
            parts = of[f"{a}.attn.in_proj_{w}"].chunk(3)
            out |= {f"{b}.self_attn.{n}_proj.{w}": p for n, p in zip("qkv", parts, strict=True)}
    return out | {f"{b}.{w}": of[f"{a}.{w}"] for a, b in names.items() for w in ("weight", "bias")}


def test_layers_of_open_clip_are_the_hidden_states_that_adapters_were_trained_on():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from neuroenc.features.networks import Network

    layers = ["visual.transformer.resblocks.2", "visual.ln_post"]  # the last but one of four; behind the last
    network = Network(TOKENS.model_copy(update={"layers": layers}))
    visual = network.module.visual
    width, blocks = visual.conv1.out_channels, visual.transformer.resblocks
    twin = CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=width, intermediate_size=blocks[0].mlp.c_fc.out_features, num_hidden_layers=len(blocks),
        num_attention_heads=blocks[0].attn.num_heads, image_size=visual.image_size[0],
        patch_size=visual.patch_size[0], projection_dim=visual.proj.shape[1], hidden_act="gelu",
        layer_norm_eps=1e-5,
    )).eval()  # fmt: skip
    twin.load_state_dict(as_transformers(visual), strict=True)
    seen = [np.random.default_rng(k).integers(0, 256, (64, 64, 3)).astype(np.uint8) for k in range(2)]
    ((_, batch),) = network.source.alike(seen)
    with torch.inference_mode():
        found = twin(next(iter(batch.values())), output_hidden_states=True)
        last = twin.vision_model.post_layernorm(found.hidden_states[-1])
    made = network(seen)
    np.testing.assert_allclose(made[layers[0]], found.hidden_states[-2].numpy(), atol=2e-5)
    np.testing.assert_allclose(made[layers[1]], last.numpy(), atol=2e-5)


@pytest.fixture(scope="module")
def tokens(drawn):
    """All tokens of a layer of the small network, of the drawn pictures."""
    from neuroenc.datasets.pixels import read_pixels

    ids = drawn.stimuli["stimulus_id"].values
    seen = read_pixels(drawn.stimuli, np.arange(len(ids)))
    return describe(seen, TOKENS).assign_coords(stimulus_id=("stimulus", ids))


RIDGE = RidgeDecoding(n_components=40)
NETWORK = NetworkDecoding(n_components=40, n_hidden=32, n_blocks=1, max_epochs=3, device="cpu")


def test_tokens_are_decoded_and_drawn_from(drawn, tokens, tmp_path):
    of = {"model": "open_clip/nano", "layer": TOKENS.layers[0], "pooling": "tokens"}
    n_tokens, width = tokens["feature"].shape[1:]
    for options in (RIDGE, NETWORK):
        found = decode(drawn.responses, tokens, drawn.split, options)
        assert json.loads(found.attrs["shape"]) == {of["layer"]: [n_tokens, width]}
        top = score(found, n_bootstraps=10)["brain_to_image_top1"]
        assert top["value"] > 5 * top["chance"]
    found, null = (decode(drawn.responses, tokens, drawn.split, RIDGE, shuffle=s) for s in (None, 0))
    ip_adapter_plus_of(tmp_path, width)
    decoder = IPAdapterPlus.load(tmp_path, "cpu")
    decoder.takes, decoder.null = of, torch.zeros(1, n_tokens, width)
    decoder.shape = (n_tokens, width)
    asked = Reconstruction(decoder="r", model="m", generator="ip_adapter_plus", n_test=2, side=16, n_steps=2)
    made = reconstruct(found, null, tokens, drawn.stimuli, drawn.split, decoder, asked)
    rows = made["stimulus_id"].values
    at = [tokens["stimulus_id"].values.tolist().index(s) for s in rows]
    own = decoder(
        tokens["feature"].values[at].reshape(2, -1),
        **HOW | {"n": 2, "guidance": 1.0, "n_steps": 2, "seed": 0},
    )
    np.testing.assert_array_equal(made["picture"].sel(condition="true").values, own)
    assert (made["picture"].sel(condition="brain").values != own).any()
    with pytest.raises(ContractError, match=r"'pooling' is 'tokens'; these have 'mean'.*versatile takes"):
        pipelines.check_takes(decoder, found.attrs | {"pooling": "mean"}, n_tokens * width)
    with pytest.raises(ContractError, match=f"of {n_tokens} x {width} features; these have 7"):
        pipelines.check_takes(decoder, found.attrs, 7)


def wider(width):
    made = resampler()
    return made | {"proj_in.weight": torch.randn(64, width, generator=torch.Generator().manual_seed(3)) / 8}


def ip_adapter_plus_of(folder, width):
    from decoders.test_pipelines import ip_adapter

    ip_adapter(folder, lambda: wider(width), "ip-adapter-plus_sdxl_vit-h")
    vision(width).save_pretrained(folder / "adapter" / "models" / "image_encoder")


PLUS = {"network": "clip-vith14", "layers": ["visual.transformer.resblocks.30"], "pooling": "tokens"}
MINDEYE1 = {"network": "clip-vitl14", "layers": ["visual.ln_post"], "pooling": "tokens"}
MINDEYE2 = {"network": "clip-vitbigg14", "layers": ["visual.ln_post"], "pooling": "grid:16"}


@pytest.mark.parametrize(
    ("generator", "eye", "message"),
    [
        ("ip_adapter_plus", PLUS, None),
        ("versatile", MINDEYE1, None),
        (
            "ip_adapter_plus",
            PLUS | {"pooling": "mean"},
            "pooled by 'mean', expected 'tokens'. Set models.eye",
        ),
        (
            "ip_adapter_plus",
            PLUS | {"layers": ["visual"]},
            r"expected 'visual.transformer.resblocks.30' alone",
        ),
        ("ip_adapter_plus", MINDEYE1, "expected 'open_clip/ViT-H-14'.*versatile takes open_clip/ViT-L-14"),
        (
            "ip_adapter_plus",
            PLUS | {"input_size": 336},
            "sees pictures of 336 px, expected the network's own size",
        ),
        ("ip_adapter", PLUS, "expected 'visual' alone.*ip_adapter_plus takes"),
        (
            "versatile",
            MINDEYE2,
            "'open_clip/ViT-bigG-14', expected.*kandinsky takes open_clip/ViT-bigG-14 visual;",
        ),
    ],
)
def test_a_target_that_a_generator_does_not_read_is_refused_before_anything_runs(generator, eye, message):
    config = parse(Config, {
        "label": "x", "dataset": {"name": "nsd", "root": None}, "subjects": ["01"], "split": {"kind": "dataset"}, "models": {"eye": eye},
        "decoders": {"ridge": {"models": ["eye"]}},
        "reconstruction": {"decoder": "ridge", "model": "eye", "generator": generator},
    })  # fmt: skip
    if message is None:
        check(config)
        return
    with pytest.raises(InputError, match=message) as refused:
        check(config)
    assert "\n" not in str(refused.value)


def test_a_gpu_that_is_too_small_is_refused_before_weights_are_read(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from neuroenc.decoders.generator import make

    (tmp_path / "pipeline-ip_adapter_plus").mkdir()
    (tmp_path / "pipeline-ip_adapter_plus" / "manifest.json").write_text("{}")
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    small = SimpleNamespace(total_memory=12e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: small)
    with pytest.raises(InputError, match=r"takes 18\.0 GB of a GPU, 1 at a time; cuda:0 has 12\.0 GB"):
        make("ip_adapter_plus", device="cuda:0")


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_generators_are_counted_on_their_configurations():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.models.embeddings import IPAdapterPlusImageProjection
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from neuroenc.decoders.generator_memory import GENERATORS, SDXL

    with torch.device("meta"):
        sdxl = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20), projection_class_embeddings_input_dim=2816,
            addition_embed_type="text_time", addition_time_embed_dim=256, use_linear_projection=True,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2,
        )  # fmt: skip
        resampler = IPAdapterPlusImageProjection(1280, 2048, 1280, heads=20, num_queries=16)
        eyes = [
            CLIPVisionModelWithProjection(CLIPVisionConfig(
                hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth,
                num_attention_heads=16, patch_size=14, projection_dim=projected,
            )) for width, depth, projected in ((1280, 32, 1024), (1024, 24, 768))
        ]  # fmt: skip
        image_unet = UNet2DConditionModel(cross_attention_dim=768)
    across = [sdxl.get_submodule(k.removesuffix(".processor")) for k in sdxl.attn_processors if "attn2" in k]
    read = sum(2 * 2048 * a.to_k.out_features for a in across)
    words = 123_060_480 + 694_659_840
    assert parameters(sdxl) + parameters(vae) + words == SDXL
    assert GENERATORS["ip_adapter_plus"][:2] == (SDXL + parameters(resampler) + read, parameters(eyes[0]))
    assert GENERATORS["versatile"][:2] == (parameters(image_unet) + parameters(vae), parameters(eyes[1]))
    published = 848e6  # bytes of ip-adapter-plus_sdxl_vit-h.safetensors, in half precision
    assert 2 * (parameters(resampler) + read) == pytest.approx(published, rel=1e-3)


def as_published(file):
    """Bytes of a file, tensors pickled under their older names, as Versatile Diffusion is published."""
    import io

    from safetensors.torch import load_file

    if file.suffix != ".safetensors":
        return file.name, file.read_bytes()
    held = io.BytesIO()
    torch.save(load_file(file), held)
    name = "pytorch_model.bin" if file.name == "model.safetensors" else f"{file.stem}.bin"
    return name, held.getvalue()


@pytest.mark.parametrize("name", ["ip_adapter_plus", "versatile"])
def test_what_is_published_is_fetched_and_drawn_with(name, tmp_path, monkeypatch, run):
    from decoders.test_pipelines import BUILD
    from layouts.server import serve

    from neuroenc.decoders.generator import make
    from neuroenc.features import checkpoints

    source = tmp_path / "source"
    BUILD[name](source)
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for part, repository, _ in checkpoints.PIPELINES[name]:
            files = {"text_unet/diffusion_pytorch_model.bin": b"not asked for", "README.md": b"words"}
            for path in filter(lambda p: p.is_file(), (source / part).rglob("*")):
                called, data = (path.name, path.read_bytes()) if name != "versatile" else as_published(path)
                files[str(path.relative_to(source / part).with_name(called))] = data
            listed = [{"rfilename": n, "size": len(d)} for n, d in files.items()]
            about = {"sha": "0abcdef", "siblings": listed, "cardData": {"license": "mit"}}
            server.files[f"api/models/{repository}/revision/main"] = json.dumps(about).encode()
            server.files |= {f"{repository}/resolve/0abcdef/{n}": d for n, d in files.items()}
        status, _, err = run("weights", "fetch", name)
        assert status == 0, err
    here = {
        str(p.relative_to(tmp_path / "weights")) for p in (tmp_path / "weights").rglob("*") if p.is_file()
    }
    assert not any("text_unet" in p or "README" in p or p.endswith(".bin") for p in here)
    decoder, embedding = make(name), np.ones((1, 5 * 24), np.float32)
    made = decoder(embedding, **HOW)
    kind = {"ip_adapter_plus": IPAdapterPlus, "versatile": Versatile}[name]
    np.testing.assert_array_equal(made, kind.load(source, "cpu")(embedding, **HOW))
