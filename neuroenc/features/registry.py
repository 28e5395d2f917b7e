"""The networks neuroenc knows by name: one line each, the rest from the libraries themselves.

Any other network of a library is as good: give `extractor` and `network` in the configuration. Of ALBEF
transformers has no class; its kin here are BLIP (the same authors), ViLT and FLAVA.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from neuroenc.config import Model
from neuroenc.errors import InputError, invalid

LIBRARIES = ("timm", "torchvision", "open_clip", "open_clip_text")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name on the hub
FOLDER = "~/.cache/neuroenc/weights"  # unless NEUROENC_WEIGHTS says otherwise


class Entry(NamedTuple):
    """A network and where its weights are published."""

    extractor: str
    network: str
    """Its name in the library; of transformers the type of its configuration"""
    published: str
    """Tag of the weights in the library, or repository on the Hugging Face hub"""
    layers: tuple[str, ...]
    """Worth having, early to late"""
    partner: tuple[str, ...] = ()
    """Networks that have one of its modalities alone"""
    options: tuple[tuple[str, Any], ...] = ()
    prefix: str = ""
    """Of the tensors of its tower in the checkpoint"""
    input_size: int | None = None
    """Side of the pictures, px, where it is not the library's"""
    sizes: tuple[tuple[str, Any], ...] = ()
    """In the configuration of a network of transformers, where its type's default is of another one"""


def _blocks(pattern: str, *numbers: int) -> tuple[str, ...]:
    return tuple(pattern.format(n) for n in numbers)


def _sizes(
    layers: int, hidden: int, intermediate: int, heads: int, **more: int
) -> tuple[tuple[str, int], ...]:
    return (("num_hidden_layers", layers), ("hidden_size", hidden), ("intermediate_size", intermediate),
            ("num_attention_heads", heads), *more.items())  # fmt: skip


_VIT = _blocks("blocks.{}", 2, 5, 8, 11)
_BERT = _blocks("encoder.layer.{}", 2, 5, 8, 11)
_IMAGE = "visual.transformer.resblocks.{}"
_TEXT = "transformer.resblocks.{}"
_SLIP = (("num_classes", 0),)
ENTRIES: dict[str, Entry] = {
    # pictures
    "dinov2-vitb14": Entry("timm", "vit_base_patch14_dinov2", "lvd142m", (*_blocks("blocks.{}.attn.qkv:q", 5, 8, 11), "blocks.11"), input_size=434),
    "vit-b16": Entry("timm", "vit_base_patch16_224", "augreg2_in21k_ft_in1k", _VIT),
    "deit-b16": Entry("timm", "deit_base_patch16_224", "fb_in1k", _VIT),
    "beit-b16": Entry("timm", "beit_base_patch16_224", "in22k_ft_in22k_in1k", _VIT),
    "convnext-b": Entry("timm", "convnext_base", "fb_in22k_ft_in1k", _blocks("stages.{}", 0, 1, 2, 3)),
    "crossvit-18": Entry("timm", "crossvit_18_dagger_408", "in1k", ("blocks.0.blocks.1.4", "blocks.1.blocks.1.4.norm2", "blocks.2.blocks.1.4")),
    "resnet50": Entry("torchvision", "resnet50", "IMAGENET1K_V2", ("layer1", "layer2", "layer3", "layer4")),
    "alexnet": Entry("torchvision", "alexnet", "IMAGENET1K_V1", ("features.2", "features.4", "features.11", "classifier.5")),
    "vgg16": Entry("torchvision", "vgg16", "IMAGENET1K_V1", ("features.9", "features.16", "features.30", "classifier.4")),
    "squeezenet1-0": Entry("torchvision", "squeezenet1_0", "IMAGENET1K_V1", ("features.5", "features.8", "features.12")),
    "inception-v3": Entry("torchvision", "inception_v3", "IMAGENET1K_V1", ("Mixed_5d", "Mixed_6e", "Mixed_7c", "avgpool")),
    "efficientnet-b1": Entry("torchvision", "efficientnet_b1", "IMAGENET1K_V1", ("features.3", "features.5", "features.7", "avgpool")),
    "swav-resnet50": Entry("timm", "resnet50", "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar", ("layer1", "layer2", "layer3", "layer4", "global_pool"), (), (("num_classes", 0),), "module."),
    "slip-vitb16": Entry("timm", "vit_base_patch16_224", "https://dl.fbaipublicfiles.com/slip/slip_base_100ep.pt", _VIT, ("simclr-vitb16",), _SLIP, "module.visual."),
    "clip-vitb16-yfcc": Entry("timm", "vit_base_patch16_224", "https://dl.fbaipublicfiles.com/slip/clip_base_25ep.pt", _VIT, ("simclr-vitb16",), _SLIP, "module.visual."),
    "simclr-vitb16": Entry("timm", "vit_base_patch16_224", "https://dl.fbaipublicfiles.com/slip/simclr_base_25ep.pt", _VIT, (), _SLIP, "module.visual."),
    "nano": Entry("open_clip", "nano", "comes with neuroenc", (*_blocks(_IMAGE, 0, 1, 2, 3), "visual"), ("nano-text",)),
    # pictures and text, one tower each
    "clip-vitb32": Entry("open_clip", "ViT-B-32-quickgelu", "openai", (*_blocks(_IMAGE, 2, 5, 8, 11), "visual"), ("clip-vitb32-text",)),
    "clip-vitb16": Entry("open_clip", "ViT-B-16-quickgelu", "openai", (*_blocks(_IMAGE, 2, 5, 8, 11), "visual"), ("clip-vitb16-text",)),
    "clip-vitl14": Entry("open_clip", "ViT-L-14-quickgelu", "openai", (*_blocks(_IMAGE, 5, 11, 17, 23), "visual"), ("clip-vitl14-text",)),
    "clip-vith14": Entry("open_clip", "ViT-H-14", "laion2b_s32b_b79k", (*_blocks(_IMAGE, 7, 15, 23, 31), "visual"), ("clip-vith14-text",)),
    "clip-vitbigg14": Entry("open_clip", "ViT-bigG-14", "laion2b_s39b_b160k", (*_blocks(_IMAGE, 11, 23, 35, 47), "visual"), ("clip-vitbigg14-text",)),
    "nano-text": Entry("open_clip_text", "nano", "comes with neuroenc", (*_blocks(_TEXT, 0, 1), "ln_final"), ("nano",)),
    "clip-vitb32-text": Entry("open_clip_text", "ViT-B-32-quickgelu", "openai", (*_blocks(_TEXT, 2, 5, 8, 11), "ln_final"), ("clip-vitb32",)),
    "clip-vitb16-text": Entry("open_clip_text", "ViT-B-16-quickgelu", "openai", (*_blocks(_TEXT, 2, 5, 8, 11), "ln_final"), ("clip-vitb16",)),
    "clip-vitl14-text": Entry("open_clip_text", "ViT-L-14-quickgelu", "openai", (*_blocks(_TEXT, 2, 5, 8, 11), "ln_final"), ("clip-vitl14",)),
    "clip-vith14-text": Entry("open_clip_text", "ViT-H-14", "laion2b_s32b_b79k", (*_blocks(_TEXT, 5, 11, 17, 23), "ln_final"), ("clip-vith14",)),
    "clip-vitbigg14-text": Entry("open_clip_text", "ViT-bigG-14", "laion2b_s39b_b160k", (*_blocks(_TEXT, 7, 15, 23, 31), "ln_final"), ("clip-vitbigg14",)),
    # pictures and text, joined
    "visualbert": Entry("transformers", "visual_bert", "uclanlp/visualbert-vqa-coco-pre", _BERT, ("bert-base",), (("visual_embedding_dim", 2048),)),
    "lxmert": Entry("transformers", "lxmert", "unc-nlp/lxmert-base-uncased", ("encoder.layer.8", "encoder.r_layers.4", "encoder.x_layers.2", "encoder.x_layers.4"), ("bert-base",)),
    "flava": Entry("transformers", "flava", "facebook/flava-full", _blocks("multimodal_model.encoder.layer.{}", 0, 2, 5), ("flava-image", "flava-text")),
    "flava-image": Entry("transformers", "flava", "facebook/flava-full", _blocks("image_model.encoder.layer.{}", 2, 5, 8, 11), (), (("half", "image"),)),
    "flava-text": Entry("transformers", "flava", "facebook/flava-full", _blocks("text_model.encoder.layer.{}", 2, 5, 8, 11), (), (("half", "text"),)),
    "blip": Entry("transformers", "blip", "Salesforce/blip-itm-base-coco", _blocks("text_encoder.encoder.layer.{}", 2, 5, 8, 11), ("blip-image", "blip-text")),
    "blip-image": Entry("transformers", "blip", "Salesforce/blip-itm-base-coco", _blocks("vision_model.encoder.layers.{}", 2, 5, 8, 11), (), (("half", "image"),)),
    "blip-text": Entry("transformers", "blip", "Salesforce/blip-itm-base-coco", _blocks("text_encoder.encoder.layer.{}", 2, 5, 8, 11), (), (("half", "text"),)),
    "vilt": Entry("transformers", "vilt", "dandelin/vilt-b32-mlm", _BERT, ("bert-base", "vit-b16")),
    # text
    "bert-base": Entry("transformers", "bert", "google-bert/bert-base-uncased", _BERT),
    "gpt2": Entry("transformers", "gpt2", "openai-community/gpt2", _blocks("h.{}", 2, 5, 8, 11)),
    "simcse": Entry("transformers", "bert", "princeton-nlp/sup-simcse-bert-base-uncased", _BERT),
    "roberta-base": Entry("transformers", "roberta", "FacebookAI/roberta-base", _BERT),
    "gpt2-xl": Entry("transformers", "gpt2", "openai-community/gpt2-xl", _blocks("h.{}", 11, 23, 35, 47), sizes=(("n_layer", 48), ("n_embd", 1600), ("n_head", 25))),
    "opt-125m": Entry("transformers", "opt", "facebook/opt-125m", _blocks("decoder.layers.{}", 2, 5, 8, 11)),
    "pythia-410m": Entry("transformers", "gpt_neox", "EleutherAI/pythia-410m", _blocks("layers.{}", 5, 11, 17, 23), sizes=_sizes(24, 1024, 4096, 16)),
    "smollm2-135m": Entry("transformers", "llama", "HuggingFaceTB/SmolLM2-135M", _blocks("layers.{}", 7, 14, 22, 29), sizes=_sizes(30, 576, 1536, 9, num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192)),
    "qwen2.5-0.5b": Entry("transformers", "qwen2", "Qwen/Qwen2.5-0.5B", _blocks("layers.{}", 5, 11, 17, 23), sizes=_sizes(24, 896, 4864, 14, num_key_value_heads=2, max_position_embeddings=32768)),
    "qwen3-0.6b": Entry("transformers", "qwen3", "Qwen/Qwen3-0.6B-Base", _blocks("layers.{}", 6, 13, 20, 27), sizes=_sizes(28, 1024, 3072, 16, num_key_value_heads=8, head_dim=128, max_position_embeddings=32768)),
    "minilm": Entry("transformers", "bert", "sentence-transformers/all-MiniLM-L6-v2", _blocks("encoder.layer.{}", 1, 3, 5)),
    # sounds and films
    "wav2vec2-base": Entry("transformers", "wav2vec2", "facebook/wav2vec2-base", _blocks("encoder.layers.{}", 2, 5, 8, 11)),
    "hubert-base": Entry("transformers", "hubert", "facebook/hubert-base-ls960", _blocks("encoder.layers.{}", 2, 5, 8, 11)),
    "whisper-tiny": Entry("transformers", "whisper", "openai/whisper-tiny", _blocks("encoder.layers.{}", 0, 1, 2, 3)),
    "videomae-base": Entry("transformers", "videomae", "MCG-NJU/videomae-base", _BERT),
    "vjepa2-vitl": Entry("transformers", "vjepa2", "facebook/vjepa2-vitl-fpc64-256", _blocks("encoder.layer.{}", 5, 11, 17, 23)),
    # classical
    "gabor": Entry("gabor", "", "", ("energy",)),
    "pixel": Entry("pixel", "", "", ("rgb",)),
    "luminance": Entry("luminance", "", "", ("luminance",)),
    "spectral": Entry("spectral", "", "", ("power",)),
    # classical, of films and sounds
    "motion_energy": Entry("motion_energy", "", "", ("energy",)),
    "mel": Entry("mel", "", "", ("mel",)),
    # of tables
    "category": Entry("category", "", "", ("table",)),
    "caption": Entry("caption", "", "", ("table",)),
}  # fmt: skip


def resolve(model: Model) -> tuple[Model, Entry | None]:
    """Complete a section of the configuration that names a network of this registry.

    Parameters
    ----------
    model : Model
        With `extractor` left out, `network` is a name of the registry.

    Returns
    -------
    model : Model
        With extractor, network, options, and the registry's layers if none are named.
    entry : Entry or None
    """
    if model.extractor == "module":
        return model.model_copy(update={"network": model.module}), None
    if model.extractor is not None:
        return model, None
    if model.network not in ENTRIES:
        raise invalid("network", model.network, ENTRIES)
    entry = ENTRIES[model.network]
    for key in ("tag", "input_size"):
        if getattr(model, key) and entry.extractor not in LIBRARIES:
            raise InputError(f"{key!r} is for networks of {', '.join(LIBRARIES)}; {model.network!r} is none.")
    untold = model.weights is None or model.weights.startswith("random:")
    if entry.extractor == "transformers" and not untold:
        raise InputError(
            f"{model.network!r} reads its fetched weights. For weights of your own use extractor "
            "'transformers' and their folder as `network`."
        )
    tag = model.tag
    own = entry.published.startswith("https://")  # the authors', which no file of a library's can be
    if entry.extractor in LIBRARIES and entry.network != "nano" and (untold or own):
        tag = tag or entry.published
    own_options = dict(entry.options)
    if entry.sizes and not place(entry).is_dir():  # where it is, its own configuration says so
        own_options |= dict(entry.sizes)
    return model.model_copy(
        update={
            "extractor": entry.extractor,
            "network": entry.network or None,
            "tag": tag,
            "options": own_options | model.options,
            "input_size": model.input_size or entry.input_size,
            "layers": model.layers or list(entry.layers),
        }
    ), entry


def check(models: Mapping[str, Model], *, libraries: bool = False) -> None:
    """Refuse models whose network is named neither in this registry nor with an extractor.

    Parameters
    ----------
    models : mapping of name to Model
    libraries : bool
        Also ask timm, torchvision and open_clip, which takes seconds, for networks and tags of theirs.

    Raises
    ------
    InputError
        Names the section and the nearest network.
    """
    for name, model in models.items():
        if model.extractor is None and model.network not in ENTRIES:
            raise invalid(f"models.{name}.network", model.network, ENTRIES)
        asked, _ = resolve(model)
        own = model.extractor is not None or model.tag is not None
        if libraries and own and asked.extractor in LIBRARIES:
            from neuroenc.features import preprocessing

            preprocessing.of(asked)


def reads_text(model: Model) -> bool:
    """Tell whether a model reads text; of a folder of transformers only the network itself can say."""
    from neuroenc.features import streams

    found, _ = resolve(model)
    if found.extractor != "transformers":
        return found.extractor in ("open_clip_text", "caption")
    return found.options.get("half") != "image" and streams.reads(str(found.network)) is None


DETECTOR = Entry("torchvision", "fasterrcnn_resnet50_fpn", "COCO_V1", ())
DETECTORS = {"faster-rcnn": DETECTOR}
"""Of objects, for networks that are shown these: `features.objects`, no models of their own"""
CAPTIONERS = {
    "blip2-opt-2.7b": Entry("transformers", "", "Salesforce/blip2-opt-2.7b", ()),
    "blip2-flan-t5-xl": Entry("transformers", "", "Salesforce/blip2-flan-t5-xl", ()),
    "florence2-base": Entry("transformers", "", "florence-community/Florence-2-base", ()),
    "florence2-large": Entry("transformers", "", "florence-community/Florence-2-large", ()),
}
"""That write texts of pictures: `features.captioners`, no models of their own; read by repository"""
AUTOENCODERS = {"sd-vae": Entry("vae", "sd-vae", "stabilityai/sd-vae-ft-mse", ())}
"""Of `extractor: vae`: `features.latents`"""
HELPERS = DETECTORS | CAPTIONERS | AUTOENCODERS


def name_of(entry: Entry) -> str:
    """Return the name of an entry."""
    return next(k for k, v in (ENTRIES | HELPERS).items() if v is entry)


def entry_of(name: str) -> Entry:
    """Return the entry of a network, or one for a repository on the hub that transformers can read."""
    return (ENTRIES | HELPERS).get(name) or Entry("transformers", "", name, ())


def folder() -> Path:
    """Return the folder of fetched weights: NEUROENC_WEIGHTS, or in the user's cache."""
    return Path(os.environ.get("NEUROENC_WEIGHTS", FOLDER)).expanduser()


def place(entry: Entry) -> Path:
    """Return the folder of an entry's files; networks that share a checkpoint share it."""
    if not entry.network:  # a repository by its name
        return folder() / f"{entry.extractor}--{entry.published.replace('/', '--')}"
    return folder() / "--".join(
        p
        for p in (entry.extractor.removesuffix("_text"), entry.network, entry.published.rpartition("/")[2])
        if p
    )


def stored(entry: Entry) -> Path | None:
    """Return the checkpoint of an entry, for transformers its folder.

    Raises
    ------
    InputError
        It was not fetched.
    """
    from neuroenc.features import language, nano

    if entry.network == "nano":
        return nano.CHECKPOINT
    where = place(entry)
    if entry.extractor == "transformers":
        if where.is_dir():
            return where
        if name_of(entry) == "minilm":
            return language.minilm()
        return None
    found = sorted(p for p in where.glob("*") if p.suffix in (".safetensors", ".pt", ".pth", ".bin"))
    if not found:
        raise InputError(
            f"The weights of {name_of(entry)!r} are not in {where}. Run `neuroenc weights fetch "
            f"{name_of(entry)}` where there is a network, or use 'random:<seed>' for the untrained twin."
        )
    return found[0]


def describe(name: str) -> dict[str, str]:
    """Describe a network: input, range, grid of tokens, weights, licence, as its library has them.

    Parameters
    ----------
    name : str
        Of the registry.
    """
    if name not in ENTRIES:
        raise invalid("network", name, ENTRIES)
    from neuroenc.features import language, preprocessing

    entry = ENTRIES[name]
    made = {"extractor": entry.extractor, "network": entry.network, "weights": entry.published or "none"}
    model, _ = resolve(Model(network=name))
    if entry.extractor == "open_clip_text":
        import open_clip

        config = open_clip.get_model_config(preprocessing.open_clip_name(model))
        made["input"] = f"{config['text_cfg'].get('context_length', 77)} tokens of text"
    elif entry.extractor in ("timm", "torchvision", "open_clip"):
        seen = preprocessing.of(model)
        low, high = seen.range
        made |= {"input": f"{seen.size[0]} px RGB", "preprocessing": seen.geometry,
                 "range": f"{low:.2f} to {high:.2f}"}  # fmt: skip
        if patch := _patch(entry):
            made["tokens"] = " x ".join(str(side // patch) for side in seen.size)
    elif entry.extractor == "transformers":
        options = dict((*entry.options, *entry.sizes))
        half = options.pop("half", None)
        made |= language.describe(entry.network, half, options)
    elif entry.extractor in ("gabor", "pixel", "luminance", "spectral"):
        made["input"] = "RGB of any size"
    elif entry.extractor in ("mel", "motion_energy"):
        made["input"] = "sound of films or sound files" if name == "mel" else "films"
    made |= {
        "layers": ", ".join(entry.layers),
        "partner": ", ".join(entry.partner),
        "licence": _licence(entry),
    }
    return {k: v for k, v in made.items() if v}


def _patch(entry: Entry) -> int | None:
    """Return the side of a vision transformer's patches, px."""
    if entry.extractor == "open_clip":
        import open_clip

        side: int = open_clip.get_model_config(entry.network)["vision_cfg"]["patch_size"]
        return side
    found = re.search(r"patch(\d+)", entry.network)
    return int(found[1]) if found else None


def _licence(entry: Entry) -> str:
    """Return the licence of an entry's weights, as their library or authors state it."""
    if entry.published.startswith("https://"):
        return (
            "CC-BY-NC-4.0 (facebookresearch/swav)"
            if "swav" in entry.published
            else "MIT (facebookresearch/SLIP)"
        )
    if entry.extractor == "timm":
        import timm

        return timm.get_pretrained_cfg(f"{entry.network}.{entry.published}").license or "unstated"
    if entry.extractor == "transformers":
        return "as its repository on the hub says"
    if entry.extractor == "torchvision" or entry.network == "nano":
        return "BSD-3-Clause"
    return "MIT" if entry.extractor.startswith("open_clip") else ""
