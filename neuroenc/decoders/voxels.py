"""What a voxel wants, in words (after BrainSCUBA, Luo et al. 2024, arXiv 2310.04420).

The weights of a linear encoder on embeddings point somewhere no picture is. They are projected onto a bank of
natural pictures (a softmax over their cosines), and the voxel's words are those the bank's captions hold more
often under these weights than they do at large. Its caption is the bank's caption made of such words; and,
where a captioner takes these embeddings, one that is written from the projected embedding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from neuroenc import ranking, splits
from neuroenc.arrays import join, regions, select_layers
from neuroenc.encoders.missing import by_stimulus, fittable
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.errors import InputError
from neuroenc.evaluation.identification import cosine
from neuroenc.evaluation.scores import pearson_r
from neuroenc.evaluation.statistics import fdr, permutation_p
from neuroenc.words import content_words

Floats = NDArray[np.float64]
TEMPERATURE = 0.05  # of the softmax over cosines with the bank, its mean taken off
CHUNK = 65_536  # pictures of the bank at a time
# what the literature asks of regions: are their words about people, places, food?
TOPICS = {
    "person": """
        baby boy boys child children crowd face family figure girl girls guy hand head kid
        kids lady man men people person players player portrait skier snowboarder somebody
        surfer woman women
    """,
    "place": """
        airport apartment bathroom beach bedroom bridge building buildings city cottage
        field home house indoors kitchen meadow mountain mountains office park restaurant
        road room sea skyscraper station street tower town
    """,
    "food": """
        apple apples banana bananas bowl bread breakfast broccoli cake carrots cheese
        dinner dish donut eat food fruit lunch meal meat orange oranges pizza plate plates
        salad sandwich soup vegetables
    """,
}
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
    table = np.zeros((len(texts), len(names)))
    for i, text in enumerate(texts):
        inside = [column[w] for w in dict.fromkeys(content_words(text)) if w in column]
        table[i, inside] = 1 / max(1, len(inside))
    known = np.isfinite(score)
    value = np.where(known, score, 0) @ table.T
    value[(~known).astype(float) @ table.T > 0] = np.nan
    best = ranking.best(value, 1)
    return [texts[i] if np.isfinite(row[i]) else "" for i, row in zip(best, value, strict=True)]


def caption_voxels(
    responses: xr.Dataset, features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset, *,
    layer: str | None = None, fold: int = 0, temperature: float = TEMPERATURE, level: float = 0.05,
    n_words: int = 5, generate: bool = False, seed: int = 0,
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
        Also write captions, by beam search from the projected embedding; the captioner must take these
        embeddings.
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
        The stimuli carry no captions.
    ContractError
        Captions are to be generated from embeddings the captioner does not take.
    """
    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    ids, mean, group, _ = by_stimulus(responses)
    side, inner = splits.sides(split, fold, ids, group)
    train, test = side == splits.TRAIN, side == splits.TEST
    every = features["stimulus_id"].values
    chosen = select_layers(features, [] if layer is None else [layer])
    embedding = join(chosen, every)
    if generate:
        from neuroenc.decoders.pipelines import Nano, check_takes

        check_takes(Nano(), chosen.attrs, embedding.shape[1])
    length = np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    embedding /= length
    row = {s: i for i, s in enumerate(every)}
    seen = embedding[[row[s] for s in ids]]
    centre = seen[train].mean(0)
    folds = splits.inner_folds(inner[train])
    response = mean.reshape(len(ids), -1)
    usable = fittable(response[train], folds)
    measured = response[test][:, usable]
    known = np.isfinite(measured)
    model = RidgeCV(np.logspace(-3, 4, 15), cv=folds).fit(seen[train] - centre, response[train][:, usable])
    weight = np.asarray(model.coef_)
    predicted = model.predict(seen[test] - centre)
    p = permutation_p(measured, predicted, ids[test], np.zeros(test.sum()), seed=seed)
    q = fdr(p)

    tested = split["stimulus_id"].values[(split["side"].values == splits.TEST).any(0)]
    in_bank = ~np.isin(every, tested)
    order = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    in_bank &= np.isin(every, stimuli["stimulus_id"].values)
    texts = stimuli["caption"].values
    bank_texts = texts[[order[s] for s in every[in_bank]]]
    words = count_words(bank_texts)
    bank = embedding[in_bank] - centre
    candidates = [str(t) for t in bank_texts.ravel() if t]
    shown = count_words(texts[[order[s] for s in ids[test]]], words.names).present
    rarity = -np.log(np.clip(words.present.mean(0), 1e-6, 1))

    def fits(said: list[str]) -> Floats:
        alike = cosine(count_words(np.array(said)[:, None], words.names).present * rarity, shown * rarity)
        ranks = [rankdata(np.where(known, v, np.nan), axis=0, nan_policy="omit") for v in (alike.T, measured)]
        return pearson_r(ranks[0], ranks[1], known)

    def describe(w: NDArray[Any]) -> tuple[Floats, list[str]]:
        score = word_scores(w, bank, words.present, temperature=temperature)
        return score, caption(score, words.names, candidates)

    score, said = describe(weight)
    rank = fits(said)
    null = fits(describe(np.random.default_rng(seed).permuted(weight, axis=1))[1])
    top = np.argsort(-score, axis=1)[:, :n_words]
    n = response.shape[1]
    table = pd.DataFrame({"neuroid_id": responses["neuroid_id"].values})
    filled: dict[str, Any] = {
        "caption": said, "words": [" ".join(words.names[j] for j in t) for t in top], "confident": q < level,
        "test_r": pearson_r(measured, predicted, known), "q": q, "spearman": rank,
        "spearman_null": null,
    }  # fmt: skip
    if generate:
        from neuroenc.decoders.nano import describe as write

        # the mean direction and the mean length of the bank's pictures, as BrainSCUBA has it
        toward = project(weight, bank, embedding[in_bank], temperature=temperature)
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        toward *= project(weight, bank, length[in_bank], temperature=temperature)
        written = write(toward.astype(np.float32))
        filled |= {"generated": written, "spearman_generated": fits(written)}
    for name, values in filled.items():
        column = pd.Series([None] * n, dtype=object)
        column[usable] = list(values)
        table[name] = column
    table["confident"] = table["confident"].fillna(value=False).astype(bool)
    for name in (
        k for k in ("test_r", "q", "spearman", "spearman_null", "spearman_generated") if k in filled
    ):
        table[name] = table[name].astype(float).round(5)
    return table


def region_words(
    table: pd.DataFrame, responses: xr.Dataset, *, n_words: int = 10, n_bootstraps: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Count the words and topics of each region's confident voxels.

    Parameters
    ----------
    table : DataFrame
        Of `caption_voxels`.
    responses : Dataset
        Of the same voxels, for their regions.
    n_words : int
        The most frequent of each region.
    n_bootstraps : int
        Of the voxels.
    seed : int

    Returns
    -------
    DataFrame
        region, n_voxels (confident), kind, word, share of them that list it, low, high (95 %). Of the kind
        "topic" are person, place and food (`TOPICS`): the share that lists a word of it.
    """
    rng = np.random.default_rng(seed)
    topics = {name: set(text.split()) for name, text in TOPICS.items()}
    rows = []
    for name, inside in {"all": np.ones(len(table), bool), **regions(responses)}.items():
        mine = table[inside & table["confident"].to_numpy()]
        if mine.empty:
            continue
        listed = [set(w.split()) for w in mine["words"]]
        count = pd.Series([w for words in listed for w in words]).value_counts().head(n_words)
        found = [("word", str(word), int(number)) for word, number in count.items()]
        found += [("topic", t, sum(bool(w & known) for w in listed)) for t, known in topics.items()]
        for kind, word, number in found:
            low, high = np.quantile(rng.binomial(len(mine), number / len(mine), n_bootstraps), [0.025, 0.975])
            rows.append((name, len(mine), kind, word, number / len(mine), low / len(mine), high / len(mine)))
    columns = ["region", "n_voxels", "kind", "word", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns).round(5)
