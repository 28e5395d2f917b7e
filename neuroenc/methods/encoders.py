"""Encoders, mixtures of them and partitions, each in words with its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neuroenc.config import Config, Partition, Stack
from neuroenc.methods.text import Part, code, grid, listed, plural

Section = Any  # of one encoder; each function below reads its own


def _selected(e: Section) -> str:
    if e.layers == "select":
        return " Of several layers each neuroid keeps the one with the highest validation R²."
    return (
        " Several layers are fitted one by one and mixed by weights learned on validation "
        "stimuli [@wolpert1992; @breiman1996]."
    )


def _delayed(e: Section) -> str:
    if not e.delays:
        return ""
    return (
        f" Features of the stimuli {listed(e.delays)} places (where onsets are "
        "even, steps of time) before each one stand side by side (a finite "
        "impulse response)."
    )


def by_gradient(e: Section, measure: str = "validation r") -> str:
    """Say how something is trained by gradient."""
    return (
        f" It is trained by AdamW [@loshchilov2019] with a learning rate of {e.learning_rate:g}, "
        "decaying with "
        f"a cosine, a weight decay of {e.weight_decay:g} and batches of {e.batch_size}, for at most "
        f"{plural(e.max_epochs, 'epoch')}; it stops after {plural(e.patience, 'epoch')} without a "
        f"better {measure}, and "
        f"the weights of the best epoch are kept (seed {e.seed})."
    )


def ridge(e: Section) -> str:
    """Describe ridge."""
    return (
        "Ridge regression [@hoerl1970] predicts each neuroid as a weighted sum of the features, the weights "
        "minimising the squared error plus alpha times their squared length. It is solved exactly by one "
        f"decomposition of the features, in {e.dtype}; each neuroid has its own alpha, of {grid(e.alphas)}."
        f"{_selected(e)}{_delayed(e)}"
    )


def mixtures(e: Section) -> str:
    """Say how banded ridge finds its strengths."""
    text = (
        f"{plural(e.n_candidates, 'mixture')} of the spaces, the even one and draws from "
        f"Dirichlet distributions (seed {e.seed}), "
        f"are tried with alphas of {grid(e.alphas)}, in {e.dtype}, and the best by validation R² "
        "is kept for each neuroid"
    )
    if e.n_gradient_steps:
        text += f", improved by {plural(e.n_gradient_steps, 'step')} of gradient descent"
    return text


def banded(e: Section) -> str:
    """Describe banded ridge."""
    return (
        "Banded ridge regression [@nunez2019; @dupre2022] predicts each neuroid as a weighted sum of all "
        "layers, or spaces, side by side, with a penalty of its own for the weights of each of them. "
        f"{mixtures(e)}.{_delayed(e)}"
    )


def pls(e: Section) -> str:
    """Describe partial least squares."""
    scale = "brought to unit variance" if e.standardise else "centred, and not scaled"
    return (
        "Partial least squares predicts all neuroids from combinations of the features that covary most with "
        f"combinations of the responses, {plural(e.n_components, 'component')}, as in Brain-Score "
        f"[@schrimpf2018]; features are {scale}."
        f"{_selected(e)}{_delayed(e)}"
    )


def factorised(e: Section) -> str:
    """Describe where times what."""
    return (
        "The factorised readout [@klindt2017] predicts each neuroid by one spatial mask over the grid of "
        "tokens times one weight for each channel. Mask and weights are solved by ridge in turn, "
        f"{plural(e.n_alternations, 'time')}, from the best rank-one approximation of ridge on "
        "all features; each neuroid has its own alpha, of "
        f"{grid(e.alphas)}.{_selected(e)}"
    )


def gaussian(e: Section) -> str:
    """Describe feature-weighted receptive field."""
    return (
        "The feature-weighted receptive field [@styves2018] predicts each neuroid by a weighted sum of the "
        f"channels under a Gaussian: {e.n_positions} x {e.n_positions} centres and sigmas of "
        f"{listed([f'{s:g}' for s in e.sizes])} picture widths, "
        "and one that sees the picture evenly. Ridge is solved for each field; each neuroid "
        "keeps the field and, "
        f"of {grid(e.alphas)}, the alpha with the highest validation R².{_selected(e)}"
    )


def semantic_transformer(e: Section) -> str:
    """Describe masks that move with the picture."""
    return (
        "The semantic spatial transformer [@saha2024] predicts each neuroid by a spatial mask times a weight "
        "for each channel, where affine maps that follow from the picture move the mask of each neuroid and "
        "the map of each channel; the picture is coded by "
        f"{plural(e.n_hidden, 'hidden unit')}.{by_gradient(e)}{_selected(e)}"
    )


READOUTS = {
    "factorised": "a free spatial mask and a weight for each channel [@klindt2017]",
    "gaussian": "a Gaussian mask, whose centre and width are learned, and a weight for each channel "
    "[@styves2018]",
    "semantic_transformer": "masks and channels that move with the picture [@saha2024]",
}


def response_core(e: Section) -> str:
    """Describe a core trained on responses."""
    turns = "" if e.n_rotations == 1 else " in four rotations by quarter turns [@cohen2016]"
    whom = (
        "one core serves all subjects, each with a readout of its own"
        if e.joint
        else "each subject has a core of its own"
    )
    hidden = f", {plural(e.n_hidden, 'hidden unit')}" if e.readout == "semantic_transformer" else ""
    return (
        f"The response-optimised core [@klindt2017; @khosla2022] is a convolutional network of "
        f"{plural(e.n_blocks, 'block')} of {plural(e.n_filters, 'filter')}{turns}, trained on the "
        f"responses alone; {whom}. "
        f"Each neuroid reads it by {READOUTS[e.readout]}{hidden}.{by_gradient(e)}{_selected(e)}"
    )


def random_attention(e: Section) -> str:
    """Describe frozen random queries."""
    return (
        f"Random attention pools the tokens by the softmax of their products with "
        f"{plural(e.n_queries, 'query', 'queries')} drawn at random and "
        f"frozen (seed {e.seed}), as random features are [@rahimi2007]; ridge reads the pooled "
        f"tokens, each neuroid with its own alpha, of {grid(e.alphas)}.{_selected(e)}"
    )


ASKING = {
    "region": "each region", "hemisphere": "each region of each hemisphere", "all": "all neuroids together",
    "voxel": "each neuroid",
}  # fmt: skip
SOLVED = {
    "best": "as trained or solved by ridge on what was routed, whichever is better on validation",
    "gradient": "as trained",
    "ridge": "solved by ridge on what was routed",
}
OVERLAPS = {
    "learned": "by a learned mixture of their tokens", "sum": "by the sum of their tokens",
}  # fmt: skip


def _routed(e: Section) -> str:
    groups = [f"{code(name)} ({listed(map(code, of))})" for name, of in e.networks.items()]
    together = f" Regions that ask together: {listed(groups)}." if groups else ""
    return (
        f" A neuroid of several regions reads {OVERLAPS[e.overlap]}. The linear readout is taken "
        f"{SOLVED[e.readout]}.{together}{by_gradient(e)}"
        f" Dropout is {e.dropout:g}."
    )


def attention(e: Section) -> str:
    """Describe attention routing."""
    mlp = f"and an MLP of {plural(e.n_hidden, 'hidden unit')}" if e.mlp else "and no MLP"
    return (
        f"Attention routing [@adeli2025] lets {ASKING[e.queries]} ask where to look: a learned "
        "query weighs the "
        "tokens of all layers by the softmax of its products with their keys, in which places stand too, and "
        "each neuroid is a linear readout of what its query sees. The decoder layer has "
        f"{plural(e.n_heads, 'head')}, {plural(e.n_dimensions, 'dimension')} {mlp}.{_routed(e)}"
    )


POOLED = {
    "whole": "all channels", "split": "its own part of the channels",
    "linear": "its own part of learned projections",
}  # fmt: skip


def probing(e: Section) -> str:
    """Describe efficient probing."""
    return (
        f"Efficient probing [@psomas2025] gives {ASKING[e.queries]} "
        f"{plural(e.n_queries, 'learned query', 'learned queries')}, each of which pools "
        f"{POOLED[e.values]} of the tokens of all layers "
        "by the softmax of its products with them and with their places "
        f"({plural(e.n_dimensions, 'dimension')}); each neuroid is a linear readout of "
        f"what its queries pool.{_routed(e)}"
    )


ENCODERS: dict[str, Callable[[Section], str]] = {
    "ridge": ridge, "banded": banded, "pls": pls, "factorised": factorised, "gaussian": gaussian,
    "semantic_transformer": semantic_transformer, "response_core": response_core,
    "random_attention": random_attention, "attention": attention, "probing": probing,
}  # fmt: skip

WEIGHTS = {
    "learned": "weights that are not negative, sum to one and minimise the squared error on validation "
    "stimuli "
    "[@wolpert1992; @breiman1996]",
    "equal": "equal weights",
    "softmax": "weights proportional to the exponential of their validation r, as transformer encoders "
    "of layers are [@adeli2025]",
}


def stacked(s: Stack, config: Config) -> str:
    """Say how encoders are mixed."""
    members = listed(code(m) for m in s.members or config.fits())
    if s.select:
        return (
            f"Of the fits {members} each neuroid takes the one that is best on validation stimuli (`stack`)."
        )
    return f"The fits {members} are mixed for each neuroid with {WEIGHTS[s.weights]} (`stack`)."


def parted(p: Partition) -> str:
    """Say how explained variance is split."""
    return (
        f"Which of the spaces {listed(map(code, p.models))} explains what no other does was "
        "measured by variance "
        "partitioning [@lescroart2015]: banded ridge [@dupre2022] is fitted to all subsets of "
        "them, and the unique "
        "variance of a space is the test R² of all spaces less that of all but it. "
        f"{mixtures(p)}.{_delayed(p)} A neuroid belongs to the space "
        "whose unique variance is the largest, where bootstrap samples of the stimuli say so "
        "after correction."
    )


def part(config: Config) -> Part:
    """Describe all encoders of a run.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Part
    """
    texts = [
        "Encoders were fitted for each subject to the training stimuli of each fold. Responses "
        "to repeated stimuli were "
        "averaged, and features standardised by the training stimuli. Everything an encoder chooses was "
        f"chosen on {config.split.n_inner} inner folds within training."
    ]
    for label, encoder in config.encoders.items():
        read = [" and ".join(map(code, m.split("+"))) for m in encoder.reads(config.models)]
        together = " side by side" if any("and" in r for r in read) else ""
        texts.append(
            f"{ENCODERS[encoder.name](encoder)} It read "
            f"{listed(read, 'and, apart from these,') if together else listed(read)}{together} "
            f"({code(label)})."
        )
    if config.stack:
        texts.append(stacked(config.stack, config))
    if config.partition:
        texts.append(parted(config.partition))
    if config.export:
        texts.append(
            f"The encoder {code(config.export)} was written as a folder for each subject that others "
            "can call, "
            "with intervals of its predictions from validation residuals [@lei2018]."
        )
    return Part("Encoding models", texts)
