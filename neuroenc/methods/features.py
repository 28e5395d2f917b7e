"""Features, in words: the network, its layers, what is done with them."""

from __future__ import annotations

from neuroenc.config import Config, Model
from neuroenc.features.registry import ENTRIES, resolve
from neuroenc.methods.found import Found, sizes
from neuroenc.methods.text import Part, code, listed, plural

EXTRACTORS: dict[str, str] = {
    "open_clip": "pictures, read by the vision tower of {network} of OpenCLIP [@radford2021; @ilharco2021]",
    "open_clip_text": "texts, read by the text tower of {network} of OpenCLIP [@radford2021; @ilharco2021]",
    "timm": "pictures, read by {network} of PyTorch Image Models [@wightman2019]",
    "torchvision": "pictures, read by {network} of torchvision [@paszke2019]",
    "transformers": "{network} of Transformers [@wolf2020]",
    "gabor": "the energy of a pyramid of Gabor quadrature pairs, averaged in grids [@nishimoto2011]",
    "pixel": "the pixels of the picture, made small",
    "luminance": "the luminance of the picture",
    "spectral": "the power spectrum of the picture",
    "mel": "the mel spectrum of the sound",
    "motion_energy": "motion energy, of Gabor quadrature pairs in space and time [@nishimoto2011]",
    "category": "the table of categories",
    "caption": "counts of the words of the captions",
    "file": "features that were made elsewhere",
    "module": "a network of our own, {network}",
    "vae": "pictures, encoded to latents by the autoencoder {network} of diffusers [@rombach2022]",
}
# by the name in the registry
NETWORKS: dict[str, str] = {
    "dinov2-vitb14": "oquab2023",
    "vit-b16": "dosovitskiy2021; @steiner2021",
    "deit-b16": "touvron2021",
    "beit-b16": "bao2022",
    "convnext-b": "liu2022",
    "crossvit-18": "chen2021",
    "resnet50": "he2016",
    "alexnet": "krizhevsky2014",
    "vgg16": "simonyan2015",
    "squeezenet1-0": "iandola2016",
    "inception-v3": "szegedy2016",
    "efficientnet-b1": "tan2019",
    "swav-resnet50": "caron2020",
    "slip-vitb16": "mu2022",
    "clip-vitb16-yfcc": "mu2022",
    "simclr-vitb16": "chen2020; @mu2022",
    "nano": "",
    "nano-text": "",
    **{f"clip-{v}{t}": "radford2021" for v in ("vitb32", "vitb16", "vitl14") for t in ("", "-text")},
    **{f"clip-{v}{t}": "cherti2023" for v in ("vith14", "vitbigg14") for t in ("", "-text")},
    "visualbert": "li2019",
    "lxmert": "tan2019lxmert",
    "vilt": "kim2021",
    **{f"flava{h}": "singh2022" for h in ("", "-image", "-text")},
    **{f"blip{h}": "li2022" for h in ("", "-image", "-text")},
    "bert-base": "devlin2019",
    "gpt2": "radford2019",
    "gpt2-xl": "radford2019",
    "simcse": "gao2021",
    "roberta-base": "liu2019",
    "opt-125m": "zhang2022",
    "pythia-410m": "biderman2023",
    "smollm2-135m": "allal2025",
    "qwen2.5-0.5b": "qwen2024",
    "qwen3-0.6b": "qwen2025",
    "minilm": "wang2020; @reimers2019",
    "wav2vec2-base": "baevski2020",
    "hubert-base": "hsu2021",
    "whisper-tiny": "radford2023",
    "videomae-base": "tong2022",
    "vjepa2-vitl": "assran2025",
    **dict.fromkeys(
        ("gabor", "pixel", "luminance", "spectral", "motion_energy", "mel", "category", "caption"), ""
    ),
}
POOLING = {
    "mean": "the mean over tokens or places", "tokens": "all tokens", "cls": "the class token",
    "last": "the last token", "own:mean": "the mean over the tokens of the stimulus' own words",
    "own:last": "the last token of the stimulus' own words",
}  # fmt: skip
NORMALISED = {
    "imagenet": "the channel statistics of ImageNet",
    "half": "mean and deviation 0.5 in each channel",
}
TABLES = (
    "gabor", "pixel", "luminance", "spectral", "mel", "motion_energy", "category", "caption", "file", "vae"
)  # fmt: skip


def describe(name: str, model: Model, contract: dict[str, str]) -> str:
    """Describe a source of features.

    Parameters
    ----------
    name : str
        In the configuration.
    model : Model
    contract : dict
        Of its features, where the run has them; else empty.
    """
    asked, _ = resolve(model)
    extractor = str(asked.extractor)
    text = EXTRACTORS[extractor].format(network=code(asked.network))
    if paper := _paper(model, asked):
        text += f" [@{paper}]"
    if asked.network == "nano":
        text += ", the small network that comes with neuroenc"
    said = [f"{code(name)}: {text}"]
    if (model.weights or "").startswith("random:"):
        said.append(f"untrained, with weights drawn at random (seed {str(model.weights).partition(':')[2]})")
    elif weights := _weights(model, contract):
        said.append(weights)
    if asked.layers:
        said.append(f"{'layer' if len(asked.layers) == 1 else 'layers'} {listed(map(code, asked.layers))}")
    said += _kept(asked, extractor)
    said += _shown(asked)
    if contract:
        count = sizes(contract)
        each = set(count.values())
        said.append(f"{next(iter(each)):,} features a layer" if len(count) > 1 and len(each) == 1
                    else f"{listed(f'{n:,}' for n in count.values())} features")  # fmt: skip
        made = [contract[k] for k in ("preprocessing", "normalisation") if contract[k] not in ("none", "")]
        if made:
            said.append(f"prepared as {listed(map(code, made), 'with')}")
    return "; ".join(said) + "."


def _paper(model: Model, asked: Model) -> str:
    """Find what describes a network, by its name in the registry or in its library."""
    if model.extractor is None:
        return NETWORKS[str(model.network)]
    for name, entry in ENTRIES.items():
        own = entry.published if entry.extractor == "transformers" else entry.network
        if (asked.extractor, asked.network) == (entry.extractor, own) and "https" not in entry.published:
            return NETWORKS[name]
    return ""


def _weights(model: Model, contract: dict[str, str]) -> str:
    """Say which weights a network has."""
    at = contract.get("weights", "")
    said = []
    if model.weights:
        said.append(f"weights of {code(model.weights.rpartition('/')[2])}")
    if model.tag:
        said.append(f"published as {code(model.tag)}")
    if model.sha256 or at not in ("", "none"):
        said.append(f"checkpoint {code(model.sha256 or at)}")
    return ", ".join(said)


def _kept(m: Model, extractor: str) -> list[str]:
    """Say what is kept of a layer."""
    said = []
    if extractor not in TABLES or m.pooling != "mean":
        side = m.pooling.partition(":")[2]
        pooled = f"means in a grid of {side} x {side}" if m.pooling.startswith("grid") else POOLING[m.pooling]
        said.append(f"kept was {pooled}")
    if m.layout:
        said.append("layouts " + listed(f"{code(k)} {code(v)}" for k, v in m.layout.items()))
    if m.projection:
        kind, _, number = m.projection.partition(":")
        said.append(
            f"projected to {number} principal components of the training stimuli" if kind == "pca"
            else f"a sparse random projection that keeps squared distances within {number} [@li2006]"
        )  # fmt: skip
    if m.dtype:
        said.append(f"stored in {m.dtype}")
    if m.precision != "float32":
        said.append(f"run in {m.precision}")
    return said


def _shown(m: Model) -> list[str]:
    """Say what the network is shown."""
    said = []
    if m.context:
        said.append(f"read along with the {m.context} stimuli before each one")
    if m.window:
        said.append(f"of at most {m.window} tokens")
    if m.view:
        said.append(f"{m.view} before the network sees it")
    if m.frame_rate != 1:
        said.append(f"films at {m.frame_rate:g} frames a second or more")
    if m.lead:
        said.append(f"shown with the {m.lead:g} s before each stimulus")
    if m.misalign:
        what = "features" if m.misalign_of == "both" else m.misalign_of
        said.append(f"a control, whose {what} are those of {m.misalign:g} s later")
    if m.regions:
        said.append("with objects that were detected before")
    if m.texts:
        said.append(f"texts of {code(m.texts.rpartition('/')[2])}")
    if m.input_size:
        said.append(f"pictures of {m.input_size} px")
    if m.options:
        said.append("options " + listed(f"{code(k)} {code(v)}" for k, v in m.options.items()))
    if m.normalisation != "library":
        said.append(f"normalised with {NORMALISED[m.normalisation]}")
    if m.contract:
        said.append(listed(f"{k} {code(v)}" for k, v in m.contract.items()))
    return said


def part(config: Config, found: Found) -> Part:
    """Describe all features of a run."""
    first = f"{plural(len(config.models), 'set')} of features describe the stimuli."
    if len(config.models) == 1:
        first = "One set of features describes the stimuli."
    return Part(
        "Features", [first, *(describe(n, m, found.features.get(n, {})) for n, m in config.models.items())]
    )
