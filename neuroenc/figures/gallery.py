"""One page of all test pictures of a subject, which opens from disk: seen, retrieved, drawn and said."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from neuroenc.errors import InputError
from neuroenc.evaluation.decoded import seen_pictures
from neuroenc.figures.reconstructions import DRAWN, ROWS
from neuroenc.files import atomic

SIDE = 128  # px: larger pictures are shown so
LOSSLESS = 64  # px: up to here as PNG; natural pictures above would make a page of hundreds of MB
LOWER = ("correlation_distance",)  # measures of which less is better
# columns of the table, from the worst to be expected to the best to be had
BOUNDS = {
    "chance": "chance", "shuffled": "shuffled brain", "retrieved": "retrieved", "low_level": "low-level",
    "brain": "brain", "true": "true embedding",
}  # fmt: skip
NAMES = {
    "pixcorr": "correlation of pixels", "ssim": "SSIM", "two_way_images": "two-way, other pictures",
    "two_way_reconstructions": "two-way, other reconstructions", "correlation_distance": "1 - r of features",
    "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr-D", "clip_score": "CLIP score",
}  # fmt: skip
"""As people call the measures; others go by their own"""
Floats = NDArray[np.float64]


class Measure(NamedTuple):
    """A score of each picture, and of all between its bounds."""

    name: str
    lower: bool
    each: Floats
    """NaN where a picture has none"""
    of: Mapping[str, float | None]
    """Mean in each condition, and by chance"""
    interval: tuple[float, float] | None


def measures(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[tuple[str, int]], wanted: Sequence[tuple[str, int]]
) -> list[Measure]:
    """Gather the scores that each picture has, with their bounds.

    Parameters
    ----------
    rows : list of dict
        Of `evaluate pictures` or `evaluate captions`.
    keys : list of (stimulus, fold)
        In the order of the scores of single pictures.
    wanted : list of (stimulus, fold)
        In the order of the page.

    Returns
    -------
    list of Measure
    """
    at = {key: i for i, key in enumerate(keys)}
    out = []
    for row in rows:
        if row["condition"] != "brain" or row.get("each") is None:
            continue
        if len(row["each"]) != len(keys):
            raise InputError(
                f"The scores are of {len(row['each'])} pictures, expected {len(keys)}. Give scores of these."
            )
        same = [r for r in rows if _name(r) == _name(row)]
        each = np.array([row["each"][at[k]] if k in at else np.nan for k in wanted], float)
        of = {r["condition"]: r["value"] for r in same} | {"chance": row["chance"]}
        limits = None if row["low"] is None else (row["low"], row["high"])
        out.append(Measure(_name(row), row["metric"] in LOWER, each, of, limits))
    return out


def _name(row: Mapping[str, Any]) -> str:
    by = [str(row[k]) for k in ("network", "layer") if row.get(k)]
    return NAMES.get(row["metric"], row["metric"].replace("_", " ")) + (f" ({', '.join(by)})" if by else "")


def write_gallery(
    pictures: xr.Dataset,
    stimuli: xr.Dataset,
    scores: list[dict[str, Any]],
    out: str | Path,
    *,
    captions: xr.Dataset | None = None,
    caption_scores: list[dict[str, Any]] | None = None,
    title: str = "",
) -> None:
    """Write a page of all test pictures, sortable by each score.

    It asks nothing of a network: pictures are in it, and its policy forbids all else. Names and captions are
    text there, whatever they hold.

    Parameters
    ----------
    pictures, stimuli : Dataset
        Pictures, StimulusSet.
    scores : list of dict
        Of `evaluate pictures`.
    out : path
        HTML.
    captions : Dataset, optional
        Captions of the same pictures.
    caption_scores : list of dict, optional
        Of `evaluate captions`.
    title : str

    Raises
    ------
    InputError
        The scores are of other pictures, or none is of single ones.
    """
    wanted = _keys(pictures)
    found = measures(scores, wanted, wanted)
    said: dict[tuple[str, int], str] = {}
    if captions is not None:
        mine = captions.sel(condition="brain")
        said = dict(zip(_keys(mine), mine["caption"].values.tolist(), strict=True))
        found += measures(caption_scores or [], _keys(mine), wanted)
    if not found:
        raise InputError("The scores are of no single picture. Run `neuroenc evaluate pictures` again.")
    title = title or f"Decoded pictures: {pictures.attrs['dataset']}"
    images = _images(pictures, seen_pictures(pictures, stimuli))
    written = _written(stimuli)
    first = _first(found)
    order = np.argsort(_rank(found[first]), kind="stable")
    cards = [
        _card(i, wanted[i], images, found, first, said.get(wanted[i]), written.get(wanted[i][0], ""))
        for i in order
    ]
    with atomic(out) as partial:
        partial.write_text(_page(title, pictures, found, first, cards), encoding="utf-8")


def _keys(dataset: xr.Dataset) -> list[tuple[str, int]]:
    return list(zip(dataset["stimulus_id"].values.tolist(), dataset["fold"].values.tolist(), strict=True))


def _first(found: Sequence[Measure]) -> int:
    """Choose what the page is sorted by at first: as the figure, by the last layer of the first network."""
    judged = [i for i, m in enumerate(found) if m.name.startswith(NAMES["two_way_images"])]
    networks = [found[i].name.rpartition("(")[2].partition(",")[0] for i in judged]
    return max((i for i, n in zip(judged, networks, strict=True) if n == networks[0]), default=0)


def _rank(measure: Measure) -> Floats:
    """Return what is sorted by, the best first; pictures without a score come last."""
    return np.where(np.isnan(measure.each), np.inf, measure.each if measure.lower else -measure.each)


def _written(stimuli: xr.Dataset) -> dict[str, str]:
    """Take the first caption that people wrote of each stimulus."""
    if "caption" not in stimuli:
        return {}
    texts = stimuli["caption"].values[:, 0].tolist()
    return dict(zip(stimuli["stimulus_id"].values.tolist(), texts, strict=True))


def _images(pictures: xr.Dataset, seen: list[NDArray[np.uint8]]) -> dict[str, list[str]]:
    """Encode the pictures that are shown, by condition."""
    known = pictures["condition"].values.tolist()
    shown = {"seen": [_data(p) for p in seen]}
    for condition in ROWS:
        if condition in known:
            values = pictures["picture"].values[known.index(condition)]
            shown[condition] = [_data(p) for p in values]
    return shown


def _data(picture: NDArray[np.uint8]) -> str:
    """Encode a picture as a URL of its own bytes."""
    image = Image.fromarray(picture)
    small = max(image.size) <= LOSSLESS
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    kind = "png" if small else "jpeg"
    image.save(buffer, kind, **({} if small else {"quality": 88}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _card(
    i: int,
    key: tuple[str, int],
    images: Mapping[str, list[str]],
    found: Sequence[Measure],
    first: int,
    said: str | None,
    written: str,
) -> str:
    figures = []
    for condition, encoded in images.items():
        label = "seen" if condition == "seen" else ROWS[condition].replace("\n", " ")
        mark = "<b>generated</b>" if condition in DRAWN else ""
        figures.append(
            f'<figure class="{condition}"><span><img alt="{escape(label)}" src="{encoded[i]}">{mark}</span>'
            f"<figcaption>{escape(label)}</figcaption></figure>"
        )
    values = ",".join("" if np.isnan(m.each[i]) else f"{m.each[i]:.4g}" for m in found)
    texts = [f"<p><i>decoded</i> {escape(said)}</p>"] if said is not None else []
    texts += [f"<p><i>a person</i> {escape(written)}</p>"] if written else []
    value = found[first].each[i]
    shown = "–" if np.isnan(value) else f"{value:.3f}"
    return (
        f'<article data-values="{values}"><header><span class="id">{escape(key[0])}</span>'
        f'<output>{shown}</output></header><div class="pictures">{"".join(figures)}</div>'
        f"{''.join(texts)}</article>"
    )


def _table(found: Sequence[Measure]) -> str:
    """Lay the scores out between their bounds, a row each."""
    there = [k for k in BOUNDS if any(m.of.get(k) is not None for m in found)]
    heads = "".join(f"<th>{escape(BOUNDS[k])}</th>" for k in there)
    rows = []
    for m in found:
        cells = []
        for k in there:
            value = m.of.get(k)
            text = "–" if value is None else f"{value:.3f}"
            if k == "brain" and m.interval:
                text += f" <small>[{m.interval[0]:.3f}, {m.interval[1]:.3f}]</small>"
            cells.append(f'<td class="{k}">{text}</td>')
        less = " <small>less is better</small>" if m.lower else ""
        rows.append(f"<tr><th>{escape(m.name)}{less}</th>{''.join(cells)}</tr>")
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _page(title: str, pictures: xr.Dataset, found: Sequence[Measure], first: int, cards: list[str]) -> str:
    style, script = (
        files("neuroenc.figures").joinpath(f"gallery.{end}").read_text(encoding="utf-8")
        for end in ("css", "js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    options = "".join(
        f'<option value="{i}" data-lower="{int(m.lower)}"{" selected" * (i == first)}>'
        f"{escape(m.name)}</option>"
        for i, m in enumerate(found)
    )
    about = pictures.attrs
    notice = str(about.get("notice", "Generated: a guess by a generator, not what the brain saw."))
    what = (
        f"{about['dataset']} · {len(cards)} test pictures · embeddings of {about['model']} decoded by "
        f"{about['decoder']} · drawn by {about['generator']} · neuroenc {about['neuroenc_version']}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><h1>{escape(title)}</h1><p>{escape(what)}</p>"
        f'<p class="notice">{escape(notice)} Pictures marked <b>generated</b> come from a generator; '
        "the shuffled brain and the true embedding go through the same one: they are what to hold the "
        "brain's against. Decoded captions are written by a captioner, a guess as well.</p>"
        f"<details open><summary>All scores between their bounds</summary>{_table(found)}</details>"
        f'<form><label>Sort by <select id="by">{options}</select></label> <label><select id="order">'
        '<option value="best">best first</option><option value="worst">worst first</option></select></label>'
        "</form>"
        f"<main>{''.join(cards)}</main><script>{script}</script></body></html>\n"
    )
