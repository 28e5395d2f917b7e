"""Texts of about one length in one pass: the shorter are filled up, where that changes nothing for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuroenc.features.source import Alike, Batch

SLACK = 1.1  # times the length of the shortest text of a pass
CUT = 3  # tokens that are cut off a text to see what fills it up


def fill(texts: Alike, *, most: int, pad: int | None) -> Alike:
    """Put texts of about one length together, the shortest first.

    Parameters
    ----------
    texts : list of (rows, batch)
        Batches of one length each: `input_ids`, `attention_mask` and perhaps `own`, (n, n_tokens).
    most : int
        Tokens in one pass, but at least one text.
    pad : int or None
        Token that fills up a text at its end, where the mask is 0. None: none is filled up.

    Returns
    -------
    list of (rows, batch)
    """
    each = [
        (batch["input_ids"].shape[1], row, {name: values[i] for name, values in batch.items()})
        for rows, batch in texts for i, row in enumerate(rows)
    ]  # fmt: skip
    groups: list[list[tuple[int, int, Batch]]] = []
    for text in sorted(each, key=lambda t: t[:2]):
        shortest = groups[-1][0][0] if groups else 0
        alike = text[0] <= (shortest if pad is None else SLACK * shortest)
        if alike and text[0] * (len(groups[-1]) + 1) <= most:
            groups[-1].append(text)
        else:
            groups.append([text])
    return [([row for _, row, _ in g], _stacked([one for *_, one in g], pad or 0)) for g in groups]


def probes(text: Batch, pad: int) -> list[Batch]:
    """Return two batches of a text and of its beginning, which differ in the tokens that fill that up."""
    longer = {name: values[0] for name, values in text.items()}
    short = {name: values[:-CUT] for name, values in longer.items()}
    one, other = (_stacked([short, longer], pad) for _ in range(2))
    other["input_ids"][0, -CUT:] = longer["input_ids"][:CUT]
    return [one, other]


def _stacked(texts: list[Batch], pad: int) -> Batch:
    """Stack texts, filled up to the longest."""
    import torch

    longest = max(len(text["input_ids"]) for text in texts)
    return {
        name: torch.stack([
            torch.nn.functional.pad(
                text[name], (0, longest - len(text[name])), value=pad if name == "input_ids" else 0
            )
            for text in texts
        ])
        for name in texts[0]
    }  # fmt: skip
