"""What a voxel wants, in words (after BrainSCUBA, Luo et al. 2024, arXiv 2310.04420).

The weights of a linear encoder on embeddings point somewhere no picture is. They are projected onto a bank of
natural pictures (a softmax over their cosines), and the voxel's words are those the bank's captions hold more
often under these weights than they do at large. Its caption is the bank's caption made of such words; and,
where a captioner takes these embeddings, one that is written from the projected embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import rankdata

from neuroenc import ranking, splits
from neuroenc.arrays import join, select_layers
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.encoders.missing import by_stimulus, fittable
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine
from neuroenc.evaluation.permutation import permutation_p
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import fdr
from neuroenc.words import content_words

if TYPE_CHECKING:
    from neuroenc.decoders.prefix_captioner import Captioner

Floats = NDArray[np.float64]
Writer = Callable[[NDArray[np.float32]], list[str]]
TEMPERATURE = 0.05  # of the softmax over cosines with the bank, its mean taken off
NEUROIDS_AT_ONCE = 2048
COLUMNS = (
    "caption", "words", "confident", "test_r", "q", "spearman", "spearman_null", "generated",
    "spearman_generated",
)  # fmt: skip
NUMBERS = ("test_r", "q", "spearman", "spearman_null", "spearman_generated")
CHUNK = 65_536  # pictures of the bank at a time
PSEUDO = 2.0  # pictures that every word is granted, so that rare words claim little


class Words(NamedTuple):
    """Which content words stand in the captions of each picture."""

    names: list[str]
    present: NDArray[np.float32]
    """(n_pictures, n_words), share of the picture's captions"""


def count_words(captions: ArrayLike, names: list[str] | None = None) -> Words:
    """Count the words of captions, (n_pictures, n_captions).

    Parameters
    ----------
    captions : array of text
    names : list of str, optional
        Words to count; else all content words.
    """
    table = np.asarray(captions, dtype=str)
    found = [[content_words(text) for text in row if text] for row in table]
    known = names if names is not None else sorted({w for row in found for text in row for w in text})
    column = {w: i for i, w in enumerate(known)}
    present = np.zeros((len(table), len(known)), np.float32)
    for i, row in enumerate(found):
        for text in row:
            for w in set(text):
                if w in column:
                    present[i, column[w]] += 1 / len(row)
    return Words(known, present)


def project(
    weight: ArrayLike, bank: ArrayLike, values: ArrayLike, *, temperature: float = TEMPERATURE
) -> Floats:
    """Average what is known of a bank's pictures under the softmax of their cosines with each weight.

    Parameters
    ----------
    weight : array of shape (n_neuroids, n_features)
        Of an encoder of centred embeddings.
    bank : array of shape (n_pictures, n_features)
        Centred embeddings; read in chunks, so that it may be mapped from disk.
    values : array of shape (n_pictures, n_values)
        E.g. which words stand in their captions, or the embeddings themselves.
    temperature : float

    Returns
    -------
    array of shape (n_neuroids, n_values)
    """
    w = np.asarray(weight, np.float64)
    w = w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12)
    pool: Any = bank
    known: Any = values
    highest = np.full((len(w), 1), -np.inf)
    total, norm = np.zeros((len(w), known.shape[1])), np.zeros((len(w), 1))
    for start in range(0, len(pool), CHUNK):
        e = np.asarray(pool[start : start + CHUNK], np.float64)
        e = e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12)
        logits = w @ e.T / temperature
        now = np.maximum(highest, logits.max(1, keepdims=True))
        share, kept = np.exp(logits - now), np.exp(highest - now)
        total = total * kept + share @ np.asarray(known[start : start + CHUNK], np.float64)
        norm = norm * kept + share.sum(1, keepdims=True)
        highest = now
    return np.asarray(total / norm)


def word_scores(
    weight: ArrayLike, bank: ArrayLike, present: ArrayLike, *, temperature: float = TEMPERATURE
) -> Floats:
    """Score words: log of how much oftener one stands in captions under a voxel's softmax than at large.

    Parameters
    ----------
    weight, bank, temperature
        As in `project`.
    present : array of shape (n_pictures, n_words)

    Returns
    -------
    array of shape (n_neuroids, n_words)
    """
    base = np.asarray(present, np.float64).mean(0)
    few = PSEUDO / len(np.asarray(present))
    return np.asarray(np.log((project(weight, bank, present, temperature=temperature) + few) / (base + few)))


def caption(score: ArrayLike, names: list[str], candidates: list[str]) -> list[str]:
    """Choose for each voxel the candidate whose content words score highest on average.

    Parameters
    ----------
    score : array of shape (n_neuroids, n_words)
        A candidate with a word whose score is not a number is not chosen.
    names : list of str
        The words.
    candidates : list of str
        Texts; of equals the shorter one, then the earlier, is taken; "" where none can be chosen.
    """
    column = {w: i for i, w in enumerate(names)}
    texts = sorted(dict.fromkeys(t for t in candidates if content_words(t)), key=len)
    if not texts:
        return [""] * len(np.asarray(score))
    inside = [[column[w] for w in dict.fromkeys(content_words(t)) if w in column] for t in texts]
    number = [len(words) for words in inside]
    share = np.repeat([1 / max(1, n) for n in number], number)
    table = sparse.csr_array(  # a text has few of the words
        (share, np.concatenate([np.array(w, int) for w in inside]), np.cumsum([0, *number])),
        shape=(len(texts), len(names)),
    )
    score = np.asarray(score)
    said: list[str] = []
    for rows in blocks(len(score), max(1, BLOCK_BYTES // (8 * len(texts)))):
        known = np.isfinite(score[rows])
        value = (table @ np.where(known, score[rows], 0).T).T
        if not known.all():
            value[(table @ (~known).T.astype(float)).T > 0] = np.nan
        best = ranking.best(value, 1)
        said += [texts[i] if np.isfinite(v[i]) else "" for i, v in zip(best, value, strict=True)]
    return said


def caption_voxels(
    responses: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, *,
    layer: str | None = None, fold: int = 0, temperature: float = TEMPERATURE, level: float = 0.05,
    n_words: int = 5, generate: bool = False, captioner: Captioner | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Caption every voxel of a subject.

    An encoder (ridge, one alpha per voxel) goes from unit-norm embeddings to the responses of the training
    pictures. The bank is all pictures of the features that no fold tests. A caption is confident where the
    encoder predicts the test pictures, p after false discovery rate below `level`.

    Parameters
    ----------
    responses, features, stimuli, split : Dataset
        Responses, Features (one embedding a picture), StimulusSet with captions, Splits.
    layer : str, optional
        Of the features; else all.
    fold : int
    temperature : float
    level : float
    n_words : int
        Words listed for each voxel.
    generate : bool
        Also write captions, by beam search from the projected embedding.
    captioner : Captioner, optional
        What writes them, trained on these embeddings and on no test picture; None: the one that comes along.
    seed : int
        Of permutations and the null.

    Returns
    -------
    DataFrame
        A row a voxel: neuroid_id, caption, words, confident, test_r, q; `spearman`, the rank correlation of
        the caption's words with the words of the test pictures and their responses, and `spearman_null`, the
        same for weights whose features are dealt anew. With `generate` also `generated` and
        `spearman_generated`.

    Raises
    ------
    InputError
        The stimuli carry no captions; the captioner was trained on pictures that a fold tests.
    ContractError
        Captions are to be generated from embeddings the captioner does not take.
    """
    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    every = features["stimulus_id"].values
    chosen = select_layers(features, [] if layer is None else [layer])
    embedding = join(chosen, every)
    write = None
    if generate:
        write = _writer(captioner, chosen.attrs, embedding.shape[1], tested_by(split))
    length = np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    embedding /= length
    bank = make_bank(stimuli, split, every, embedding, length)
    texts = dict(zip(stimuli["stimulus_id"].values, stimuli["caption"].values, strict=True))
    rng = np.random.default_rng(seed)
    usable, found = [], []
    for neuroids in blocks(responses.sizes["neuroid"], NEUROIDS_AT_ONCE):
        encoder = fit_encoder(responses, embedding, every, split, fold, neuroids=neuroids, seed=seed)
        usable.append(encoder.usable)
        if encoder.usable.any():
            captions = np.array([texts[s] for s in encoder.test_ids])
            found.append(caption_block(encoder, bank, captions, rng, temperature, n_words, write))
    if not found:
        raise InputError(
            f"None of {responses.sizes['neuroid']} voxels varies over the training stimuli of fold {fold}. "
            "Check the responses."
        )
    columns = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    columns["q"] = fdr(columns.pop("p"))
    columns["confident"] = columns["q"] < level
    return voxel_table(responses["neuroid_id"].values, np.concatenate(usable), columns)


def caption_block(
    encoder: VoxelEncoder, bank: Bank, captions: NDArray[np.str_], rng: np.random.Generator,
    temperature: float, n_words: int, write: Writer | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Caption some voxels.

    Parameters
    ----------
    encoder : VoxelEncoder
    bank : Bank
    captions : array of text, (n_test, n_captions)
        Of the test pictures.
    rng : Generator
        Of the null.
    temperature, n_words
        As in `caption_voxels`.
    write : callable, optional
        From embeddings to captions.

    Returns
    -------
    dict
        Columns of the table of those that are usable, with `p` in place of `q` and `confident`.
    """
    shown = count_words(captions, bank.words.names).present
    centred = bank.embedding - encoder.centre

    def describe(weight: NDArray[Any]) -> tuple[Floats, list[str]]:
        score = word_scores(weight, centred, bank.words.present, temperature=temperature)
        return score, caption(score, bank.words.names, bank.texts)

    def agreement(said: list[str]) -> Floats:
        return caption_agreement(said, shown, bank.words, encoder.measured)

    score, said = describe(encoder.weight)
    null = describe(rng.permuted(encoder.weight, axis=1))[1]
    top = np.argsort(-score, axis=1)[:, :n_words]
    known = np.isfinite(encoder.measured)
    columns: dict[str, Any] = {
        "caption": np.array(said, object),
        "words": np.array([" ".join(bank.words.names[j] for j in t) for t in top], object),
        "test_r": pearson_r(encoder.measured, encoder.predicted, known),
        "p": encoder.p,
        "spearman": agreement(said), "spearman_null": agreement(null),
    }  # fmt: skip
    if write is not None:
        written = write(toward(encoder.weight, centred, bank, temperature))
        columns |= {"generated": np.array(written, object), "spearman_generated": agreement(written)}
    return columns


class VoxelEncoder(NamedTuple):
    """Ridge from unit-norm embeddings to the voxels that can be fitted, beside the test pictures."""

    usable: NDArray[np.bool_]
    """(n_neuroids,): these have a row below"""
    weight: NDArray[Any]
    """(n_usable, n_features), of centred embeddings"""
    centre: NDArray[np.float32]
    """(n_features,), mean of the training pictures"""
    test_ids: NDArray[np.str_]
    measured: NDArray[np.float32]
    """(n_test, n_usable), as `predicted`"""
    predicted: NDArray[Any]
    p: Floats
    """(n_usable,), of the correlation of both over the test pictures"""


def fit_encoder(
    responses: xr.Dataset, embedding: NDArray[np.float32], ids: NDArray[np.str_], split: xr.Dataset,
    fold: int, *, neuroids: slice, seed: int,
) -> VoxelEncoder:  # fmt: skip
    """Fit ridge, one alpha per voxel, to the training pictures of a fold and test it on the others.

    Parameters
    ----------
    responses : Dataset
    embedding : array of shape (n_pictures, n_features)
        Of unit norm.
    ids : array of text, (n_pictures,)
    split : Dataset
        Splits.
    fold : int
    neuroids : slice
        Which voxels.
    seed : int
        Of permutations.
    """
    shown = by_stimulus(responses, neuroids)
    side, inner = splits.sides(split, fold, shown.ids, shown.group)
    train, test = side == splits.TRAIN, side == splits.TEST
    row = {s: i for i, s in enumerate(ids)}
    seen = embedding[[row[s] for s in shown.ids]]
    centre = seen[train].mean(0)
    folds = splits.inner_folds(inner[train])
    response = shown.mean.reshape(len(shown.ids), -1)
    usable = fittable(response[train], folds)
    measured = response[test][:, usable]
    if not usable.any():
        none = np.empty((0, seen.shape[1]), np.float32)
        return VoxelEncoder(usable, none, centre, shown.ids[test], measured, measured, np.empty(0))
    model = RidgeCV(np.logspace(-3, 4, 15), cv=folds).fit(seen[train] - centre, response[train][:, usable])
    predicted = model.predict(seen[test] - centre)
    p = permutation_p(measured, predicted, shown.ids[test], np.zeros(test.sum()), seed=seed)
    return VoxelEncoder(usable, np.asarray(model.coef_), centre, shown.ids[test], measured, predicted, p)


class Bank(NamedTuple):
    """Captioned pictures that no fold tests."""

    embedding: NDArray[np.float32]
    """(n_pictures, n_features), of unit norm"""
    length: NDArray[np.float32]
    """(n_pictures, 1), by which they were divided"""
    words: Words
    texts: list[str]
    """Every caption"""


def make_bank(
    stimuli: xr.Dataset, split: xr.Dataset, ids: NDArray[np.str_], embedding: NDArray[np.float32],
    length: NDArray[np.float32],
) -> Bank:  # fmt: skip
    """Collect the pictures that have captions and that no fold tests.

    Parameters
    ----------
    stimuli, split : Dataset
        StimulusSet with captions, Splits.
    ids : array of text, (n_pictures,)
    embedding, length : arrays of shape (n_pictures, n_features), (n_pictures, 1)
    """
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    inside = ~np.isin(ids, tested_by(split)) & np.isin(ids, list(row))
    if not inside.any():
        raise InputError(
            f"None of {len(ids)} pictures with features has captions and is tested by no fold. Use a split "
            "that keeps some for training."
        )
    captions = stimuli["caption"].values[[row[s] for s in ids[inside]]]
    texts = [str(t) for t in captions.ravel() if t]
    return Bank(embedding[inside], length[inside], count_words(captions), texts)


def caption_agreement(
    said: list[str], shown: NDArray[np.float32], words: Words, measured: NDArray[np.float32]
) -> Floats:
    """Rank correlation of what a voxel's caption shares with those of test pictures and its response to them.

    Parameters
    ----------
    said : list of str
        A caption a voxel.
    shown : array of shape (n_test, n_words)
        Words of the test pictures.
    words : Words
        Of the bank, which say how rare each is: shared words count by their information, -log of their share.
    measured : array of shape (n_test, n_voxels)
        NaN where a value is missing.
    """
    known = np.isfinite(measured)
    rarity = -np.log(np.clip(words.present.mean(0), 1e-6, 1))
    alike = cosine(count_words(np.array(said)[:, None], words.names).present * rarity, shown * rarity)
    ranks = [rankdata(np.where(known, v, np.nan), axis=0, nan_policy="omit") for v in (alike.T, measured)]
    return pearson_r(ranks[0], ranks[1], known)


def tested_by(split: xr.Dataset) -> NDArray[np.str_]:
    """Return the stimuli that any fold tests."""
    return np.asarray(split["stimulus_id"].values[(split["side"].values == splits.TEST).any(0)])


def _writer(
    captioner: Captioner | None, contract: Mapping[str, Any], n_features: int, tested: NDArray[np.str_]
) -> Writer:
    """Return what writes captions of embeddings of this contract."""
    if captioner is not None:
        captioner.check(contract, n_features, tested)
        return captioner
    from neuroenc.decoders.nano import describe
    from neuroenc.decoders.pipelines import Nano, check_takes

    check_takes(Nano(), contract, n_features)
    return describe


def toward(
    weight: NDArray[Any], centred: NDArray[Any], bank: Bank, temperature: float
) -> NDArray[np.float32]:
    """Project weights onto the embeddings of the bank, (n_voxels, n_features).

    Of the pictures under each softmax the mean direction and the mean length, as BrainSCUBA has it.

    Parameters
    ----------
    weight : array of shape (n_voxels, n_features)
    centred : array of shape (n_pictures, n_features)
        Embeddings of the bank.
    bank : Bank
    temperature : float
    """
    found = project(weight, centred, bank.embedding, temperature=temperature)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    found *= project(weight, centred, bank.length, temperature=temperature)
    return found.astype(np.float32)


def voxel_table(
    neuroid_id: NDArray[np.str_], usable: NDArray[np.bool_], columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Lay out a row a neuroid; those that are not usable are empty and not confident."""
    table = pd.DataFrame({"neuroid_id": neuroid_id})
    for name in (k for k in COLUMNS if k in columns):
        column = pd.Series([None] * len(usable), dtype=object)
        column[usable] = list(columns[name])
        table[name] = column
        if name in NUMBERS:
            table[name] = column.astype(float).round(5)
    table["confident"] = table["confident"].fillna(value=False).astype(bool)
    return table
