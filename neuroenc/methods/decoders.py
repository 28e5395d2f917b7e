"""Decoders, retrieval, reconstructions, captions and objects, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuroenc.config import (
    Augmentation,
    Config,
    Contributions,
    ModelCaptioner,
    Prior,
    Reconstruction,
    Shapes,
    Synthesis,
    Transfer,
    VoxelCaptions,
)
from neuroenc.methods.encoders import by_gradient
from neuroenc.methods.text import Part, code, grid, listed, plural

Section = Any  # of one decoder
FRONTS = {
    "linear": "a linear layer", "atm": "attention between channels and convolutions over time [@li2024]",
    "graph": "convolutions over the graph of its sensors, each joined to those nearest to it [@kipf2017]",
}  # fmt: skip


def ridge(d: Section) -> str:
    """Describe ridge to embeddings."""
    return (
        "Ridge regression [@hoerl1970] goes from the responses to the embeddings, each component "
        f"with its own alpha, of {grid(d.alphas)}.{_target(d)}"
    )


def network(d: Section) -> str:
    """Describe the brain network."""
    whose = "each subject has a network of its own"
    if d.subjects:
        whose = "one network serves " + (
            "all subjects" if d.subjects == "all" else f"the subjects {listed(map(code, d.subjects))}"
        )
    repeats = (
        "the mean of a picture's repetitions"
        if d.repeats == "mean"
        else "one repetition of a picture at random in each step"
    )
    parts = "" if d.accumulate == 1 else f", each cut into {d.accumulate} parts"
    return (
        f"The decoding network [@scotti2023; @scotti2024] has {FRONTS[d.front]} for each subject "
        f"(weight decay {d.first_decay:g}) and a residual network "
        f"of {plural(d.n_blocks, 'block')} and {plural(d.n_hidden, 'hidden unit')} (dropout "
        f"{d.dropout:g}), beside a linear path that begins at ridge; {whose}. It is trained on "
        f"{repeats} by a contrastive loss and, with the weight {d.squared_error:g}, the squared "
        f"error{parts}.{by_gradient(d, 'validation cosine')}{_target(d)}"
    )


def classifier(d: Section) -> str:
    """Describe a classifier."""
    how = (
        f"exact ridge to an indicator of each class, with alphas of {grid(d.alphas)}"
        if d.estimator == "ridge"
        else "linear discriminants with a covariance shrunk as its data say [@ledoit2004]"
    )
    scale = (
        "by the training stimuli"
        if d.standardise == "training"
        else "within each run, which sees the test stimuli"
    )
    rows = "the mean of a stimulus' presentations" if d.repeats == "mean" else "each presentation"
    bins = ["all time bins together" if d.time == "joined" else "each time bin by itself"]
    if d.window:
        bins.append(f"between {d.window[0]:g} and {d.window[1]:g} s")
    if d.bin_width:
        bins.append(f"averaged to {d.bin_width:g} s")
    return (
        f"The classifier tells the classes {code(d.target)} of {rows} apart, by {how}, of "
        f"neuroids standardised {scale} and {', '.join(bins)}. Accuracy, balanced accuracy and "
        "AUC are means over folds, "
        f"with 95 % intervals over {plural(d.n_bootstraps, 'bootstrap sample')}; p is from "
        f"{plural(d.n_permutations, 'permutation')} of the labels, each fitted again "
        f"[@phipson2010] (seed {d.seed})."
    )


DECODERS: dict[str, Callable[[Section], str]] = {"ridge": ridge, "network": network, "classifier": classifier}
GENERATORS: dict[str, str] = {
    "nano": "the small diffusion decoder that comes with neuroenc, guided in all steps but the first and the "
    "last [@kynkaanniemi2024]",
    "kandinsky": "Kandinsky 2.2 [@razzhigaev2023]",
    "unclip": "Stable unCLIP [@ramesh2022]",
    "ip_adapter": "SDXL-turbo [@sauer2023] with an IP-Adapter [@ye2023]",
    "ip_adapter_plus": "SDXL-turbo [@sauer2023] with an IP-Adapter Plus [@ye2023], which reads all tokens,",
    "versatile": "the image flow of Versatile Diffusion [@xu2023]",
}
SHAPES: dict[str, str] = {
    "retrieval": "the mesh of the training picture that is nearest to what was decoded",
    "shap_e": "a mesh that Shap-E [@jun2023] draws from the reconstructed picture",
}


def _target(d: Section) -> str:
    """Say what is decoded, and from what."""
    most = "all" if d.n_components is None else f"the first {d.n_components:,}"
    text = f" Decoded are {most} whitened principal components of the embeddings of training pictures"
    text += (
        f", of the layers {listed(map(code, d.layers))} together"
        if len(d.layers) > 1
        else f", of the layer {code(d.layers[0])}"
        if d.layers
        else ""
    )
    text += "."
    if d.sessions:
        text += f" It is fitted to the first {plural(d.sessions, 'session')} of each subject."
    return text + (prior(d.prior) if d.prior else "") + (augmented(d.augment) if d.augment else "")


def prior(p: Prior) -> str:
    """Say how a diffusion prior is trained and sampled."""
    return (
        " A diffusion prior [@ramesh2022; @scotti2023] then samples embeddings that pictures "
        f"could have: a transformer of {plural(p.n_layers, 'layer')}, {plural(p.n_heads, 'head')} "
        f"of width {p.head_width} and dropout {p.dropout:g}, "
        "which learns from training stimuli that the decoder was not fitted to, without them in "
        f"a share of {p.drop_condition:g} of the steps. Of {plural(p.n_samples, 'sample')} of "
        f"{plural(p.n_steps, 'step')} [@song2021] with guidance {p.guidance:g}, "
        f"validation chooses what is used.{by_gradient(p, 'validation loss')}"
    )


def augmented(a: Augmentation) -> str:
    """Say which pairs are made up."""
    folder = code(a.pictures.rstrip("/").rpartition("/")[2])
    of = "pictures on the training side" if a.pictures == "pool" else f"pictures of the folder {folder}"
    return (
        f" A share of {a.share:g} of its training pairs is made up: responses that the encoder "
        f"{code(a.fit)} predicts for {of} that the subject did not see, with noise of the covariance of its "
        f"validation residuals (seed {a.seed})."
    )


def transfer(t: Transfer) -> str:
    """Say how sessions of a new subject are counted."""
    whom = listed(map(code, t.subjects)) if t.subjects else "each subject in turn"
    return (
        f"How many sessions a new subject needs was measured for {whom}: the network "
        f"{code(t.network)}, trained on the other subjects before, and {code(t.ridge)} decode "
        f"{code(t.model)} from the first {listed(map(str, t.sessions))} sessions [@scotti2024], "
        "in the first fold, with "
        f"{plural(t.n_bootstraps, 'bootstrap sample')} (seed {t.seed})."
    )


def _captioned(r: Reconstruction) -> str:
    """Say how captions are written and scored."""
    by = f" by {code(r.captioner)}" if r.captioner else ""
    return (
        f" Decoded embeddings were captioned as well{by} [@mokady2021], and captions scored "
        "against those people wrote by BLEU [@papineni2002], METEOR without synonyms "
        "[@lavie2007], ROUGE-L [@lin2004], CIDEr-D [@vedantam2015], and cosines of embeddings of "
        "sentences [@reimers2019] and of picture and caption [@hessel2021]."
    )


def reconstruction(r: Reconstruction) -> str:
    """Say how pictures are drawn and judged."""
    drawn = [
        f"{plural(r.n_draws, 'picture')} of each embedding"
        + (", of which the one whose own embedding is most like it is kept" if r.n_draws > 1 else "")
    ]
    if r.guidance is not None:
        drawn.append(f"guidance {r.guidance:g}")
    if r.n_steps is not None:
        drawn.append(plural(r.n_steps, "step"))
    start = (
        (
            f", beginning from what {code(r.low_level)} decoded as a small picture, a share of "
            f"{r.strength:g} of the way back to noise"
        )
        if r.low_level
        else ""
    )
    which = "All test stimuli" if r.n_test is None else f"{r.n_test} test stimuli of a fold, at random,"
    choice = (
        f"on {r.n_validation} validation stimuli was chosen what of a prior is drawn"
        if r.n_validation
        else "a sample of a prior is drawn where there is one"
    )
    judges = (
        (
            f" and by the layers of {listed(map(code, r.judges))}: two-way identification, among "
            "other pictures and among other reconstructions, and one minus the correlation"
        )
        if r.judges
        else ""
    )
    loop = (
        (
            f" The encoders {listed(map(code, r.closed_loop))} predicted the responses to the "
            "pictures, which were correlated with the measured ones."
        )
        if r.closed_loop
        else ""
    )
    return (
        f"{which} were reconstructed by {GENERATORS[r.generator]} from embeddings of "
        f"{code(r.model)} that {code(r.decoder)} decoded{start}: {', '.join(drawn)}; {choice}; "
        f"stored at {r.side} px (seed {r.seed}). Each picture stands between its bounds: the same "
        "generator on a decoder fitted to shuffled pairs, on the mean embedding, on none and on "
        "the true one, and the nearest training picture. "
        f"Pictures were scored by the correlation of pixels, by SSIM [@wang2004]{judges}.{loop}"
        f"{_captioned(r) if r.captions else ''}"
    )


def captioner(name: str, c: ModelCaptioner) -> str:
    """Say how a captioner is trained."""
    layer = f", layer {code(c.layer)}," if c.layer else ""
    rate = "" if c.learning_rate is None else f" with a learning rate of {c.learning_rate:g}"
    frozen = ", which stayed as it was" if c.frozen else ""
    return (
        f"The captioner {code(name)} [@mokady2021] maps embeddings of {code(c.model)}{layer} by "
        f"{'an MLP' if c.mapping == 'mlp' else 'a transformer'} to {plural(c.n_prefix, 'place')} "
        f"before the words of the language model {code(c.language)}{frozen}; captions have at "
        f"most {c.max_tokens} tokens. It was trained on pictures that no fold tests{rate}, "
        f"weight decay {c.weight_decay:g}, batches of {c.batch_size}, at most "
        f"{plural(c.max_epochs, 'epoch')}, patience {c.patience}, noise of at most {c.noise:g} "
        f"standard deviations on the embeddings and without them in a share of {c.dropped:g} of "
        f"the steps; a share of {c.validation:g} of the pictures chose the epoch (seed {c.seed})."
    )


def voxel_captions(v: VoxelCaptions) -> str:
    """Say how voxels are put in words."""
    layer = f", layer {code(v.layer)}," if v.layer else ""
    written = ""
    if v.generate:
        written = (
            f" Captions were also written{f' by {code(v.captioner)}' if v.captioner else ''} from the "
            "projected embedding [@mokady2021]."
        )
    return (
        "What each voxel wants was put in words [@luo2024]: the weights of its ridge on "
        f"embeddings of {code(v.model)}{layer} were projected onto pictures that no fold tests, "
        f"by a softmax of temperature {v.temperature:g} over their cosines, and its words are "
        f"those that captions of these pictures hold more often than at large.{written} Captions "
        "were scored as LaVCa scores them [@matsuyama2025]."
    )


def synthesis(s: Synthesis) -> str:
    """Say how pictures are drawn for regions."""
    return (
        f"Pictures were drawn for the regions {listed(map(code, s.regions))}, from the words of "
        f"their voxels [@luo2024] and by the gradient of an encoder on {code(s.model)} with the "
        f"scale {s.scale:g} [@luo2023], and judged by the encoder {code(s.judge)}, which took no "
        f"part (seed {s.seed})."
    )


def contributions(c: Contributions) -> str:
    """Say how regions are taken away."""
    which = listed(map(code, c.decoders)) if c.decoders else "each decoder of embeddings"
    regions = listed(map(code, c.regions)) if c.regions else "all regions"
    lesions = (
        (
            f" Test pictures were dealt into {plural(c.recordings, 'recording')}, each lesioned "
            "region by region, to see whether lesion and region are found."
        )
        if c.recordings
        else ""
    )
    return (
        f"What {which} loses was measured as each of {regions} is taken away and the decoder "
        f"fitted anew, silenced, alone, or given noise of {c.noise:g} training standard "
        "deviations, beside as many neuroids at random; with "
        f"{plural(c.n_bootstraps, 'bootstrap sample')} (seed {c.seed}).{lesions}"
    )


def shapes(s: Shapes) -> str:
    """Say how objects are made and scored."""
    of = [f"decoder {code(s.decoder)}"] if s.decoder else []
    of += [f"embeddings of {code(s.model)}"] if s.model else []
    if s.generator == "shap_e":
        of += [f"pictures of the conditions {listed(map(code, s.conditions))}"] if s.conditions else []
        of += [f"{s.n_test} of them, at random"] if s.n_test else []
        of += [f"guidance {s.guidance:g}"] if s.guidance is not None else []
        of += [plural(s.n_steps, "step")] if s.n_steps is not None else []
        of += [f"a grid of {s.grid} places along a side", f"seed {s.seed}"]
        of += [f"weights of {code(s.weights.rpartition('/')[2])}"] if s.weights else []
    scored = []
    if s.meshes:
        turned = ", turned about the vertical to where it fits best" if s.align else ""
        scored.append(f"against the true meshes by Chamfer distance and F-score [@tatarchenko2019]{turned}")
    if s.judge:
        scored.append(f"by how alike turning views are to {code(s.judge)}")
    return (
        f"An object in three dimensions is {SHAPES[s.generator]}"
        + (f" ({', '.join(of)})" if of else "")
        + f". Objects were scored {listed(scored)}."
    )


def part(config: Config) -> Part | None:
    """Describe what a run decodes; None where it decodes nothing.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Part or None
    """
    texts = []
    for label, d in config.decoders.items():
        of = "" if d.name == "classifier" else f" It decodes {listed(map(code, d.models or config.models))}"
        texts.append(f"{DECODERS[d.name](d)}{of or ' It is'} ({code(label)}).".replace(" It is (", " ("))
    if config.embeddings:
        pools = (
            (
                f" Retrieval was also from the pools of pictures {listed(map(code, config.pools))}, which "
                "nobody was shown."
            )
            if config.pools
            else ""
        )
        texts.append(
            "Decoded embeddings retrieve the picture of a response and the response to a picture, by "
            "their cosine, top-1 and top-5, with 95 % intervals over the test pictures, and so does "
            "a decoder that was fitted to shuffled pairs. Encoders retrieve by the likelihood of the "
            "response under what they predict, with noise of the "
            f"covariance of their validation residuals [@kay2008].{pools}"
        )
    asked: list[tuple[Any, Callable[[Any], str]]] = [
        (config.transfer, transfer), (config.reconstruction, reconstruction),
        (config.captions, voxel_captions), (config.synthesis, synthesis),
        (config.contributions, contributions), (config.shapes, shapes),
    ]  # fmt: skip
    texts += [said(section) for section, said in asked if section is not None]
    texts += [captioner(name, c) for name, c in config.captioners.items()]
    return Part("Decoding", texts) if texts else None
