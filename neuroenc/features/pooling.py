"""From what a layer gives for each stimulus to its features: tokens, one of them, their mean or a grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from neuroenc.errors import InputError, invalid
from neuroenc.features.layouts import Layout

if TYPE_CHECKING:
    import torch


def pool(
    output: torch.Tensor, pooling: str, layout: Layout, *, layer: str, reads: str,
    words: torch.Tensor | None = None, text_last: bool = False, aspect: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """Pool the output of a layer.

    Parameters
    ----------
    output : tensor of shape (n, ...)
    pooling : str
        As in the configuration.
    layout : Layout
    layer : str
        For messages.
    reads : str
        What the network is shown.
    words : tensor of shape (n, n_words), optional
        1 where there is a word, 0 where a text is filled up; for 'own:…' 1 where it is one of the stimulus.
    text_last : bool
        Whether the words stand behind the picture where a layer holds both.
    aspect : float
        Height of the picture by its width.

    Returns
    -------
    tensor of shape (n, channels), or (n, tokens, channels)
        'tokens' that fill up a text are NaN.

    Raises
    ------
    InputError
        The layer cannot be pooled so.
    """
    moved = output.movedim(layout.channels, -1)
    tokens = moved.flatten(1, -2) if moved.ndim > 2 else moved[:, None]
    if pooling == "tokens":
        if words is None or not layout.words or "text" not in reads:
            return tokens
        there = _among(words, tokens, text_last=text_last, others=True)
        return tokens.masked_fill(~there[..., None], float("nan"))
    prefix = layout.prefix
    if prefix is None or prefix > tokens.shape[1]:
        raise InputError(
            f"How many class and register tokens lead in layer {layer!r} cannot be told. Say so: "
            f"`layout: {{{layer.partition(':')[0]}: tokens:<number>}}`, or pool by 'tokens'."
        )
    words = words if layout.words else None
    own = pooling.startswith("own:")
    if own and words is None:
        raise InputError(f"Layer {layer!r} is not of text and has no words of a stimulus; pool by 'mean'.")
    pooling = pooling.removeprefix("own:")
    if pooling == "mean":
        if words is not None:
            counted = _among(words, tokens, text_last=text_last, others=not own)
            counted[:, :prefix] = False
            return (tokens * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)
        return tokens[:, prefix:].mean(1) if tokens.shape[1] > prefix else tokens.mean(1)
    if pooling == "cls":
        if "text" not in reads and not prefix:
            raise InputError(f"Layer {layer!r} has no class token; pool by 'mean' or 'grid:<k>'.")
        return tokens[:, 0]
    if pooling == "last":
        if words is None:
            raise InputError(f"Layer {layer!r} is not of text; pool by 'mean', 'cls' or 'grid:<k>'.")
        there = _among(words, tokens, text_last=text_last, others=False)
        last = there.shape[1] - 1 - there.flip(1).int().argmax(1)
        return tokens.take_along_dim(last[:, None, None], 1)[:, 0]
    if not pooling.startswith("grid:") or not pooling[5:].isdigit():
        raise invalid("pooling", pooling, ("mean", "tokens", "cls", "last", "grid:4"))
    if reads in ("sound", "clip"):
        raise InputError(
            f"Layer {layer!r} is of sounds or films and has no grid; pool by 'mean' or 'tokens'."
        )
    if words is not None:
        raise InputError(f"Layer {layer!r} is of text and has no grid; pool by 'mean', 'cls' or 'last'.")
    return _grid(moved, tokens, int(pooling[5:]), prefix, layer, aspect)


def _grid(
    moved: torch.Tensor, tokens: torch.Tensor, k: int, prefix: int, layer: str, aspect: float
) -> torch.Tensor:
    """Average within the cells of a grid of k x k over the picture."""
    import torch

    if moved.ndim == 4:
        sides = (moved.shape[1], moved.shape[2])
    else:
        n = max(tokens.shape[1] - prefix, 1)
        rows = round(math.sqrt(n * aspect))
        sides = (rows, n // max(rows, 1))
        if rows * sides[1] != n or round(sides[1] * aspect) != rows:
            raise InputError(
                f"Layer {layer!r} has {n} tokens beside {prefix} that lead, which are no grid of the "
                "picture. Pool by 'mean' or 'tokens'."
            )
        tokens = tokens[:, prefix:] if tokens.shape[1] > prefix else tokens
    grid = tokens.transpose(1, 2).unflatten(-1, sides)
    pooled = torch.nn.functional.adaptive_avg_pool2d(grid, (min(k, sides[0]), min(k, sides[1])))
    return pooled.flatten(2).transpose(1, 2)


def _among(words: torch.Tensor, tokens: torch.Tensor, *, text_last: bool, others: bool) -> torch.Tensor:
    """Tell which tokens are words that are there; tokens of the picture beside them are `others`."""
    import torch

    more = tokens.shape[1] - words.shape[1]
    return torch.nn.functional.pad(words.bool(), (more, 0) if text_last else (0, more), value=others)
