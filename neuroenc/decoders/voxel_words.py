"""What the captions of voxels speak of, region by region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from neuroenc.arrays import regions, same_neuroids
from neuroenc.datasets.reading import read_table
from neuroenc.words import content_words

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
    topics = split_topics()
    rows = []
    for name, inside in {"all": np.ones(len(table), bool), **regions(responses)}.items():
        mine = table[inside & table["confident"].to_numpy()]
        if mine.empty:
            continue
        listed = [set(w.split()) for w in mine["words"]]
        number_of = pd.Series([w for words in listed for w in words]).value_counts().sort_index()
        count = number_of.sort_values(ascending=False, kind="stable").head(n_words)
        found = [("word", str(word), int(number)) for word, number in count.items()]
        found += [("topic", t, sum(bool(w & known) for w in listed)) for t, known in topics.items()]
        for kind, word, number in found:
            low, high = np.quantile(rng.binomial(len(mine), number / len(mine), n_bootstraps), [0.025, 0.975])
            rows.append((name, len(mine), kind, word, number / len(mine), low / len(mine), high / len(mine)))
    columns = ["region", "n_voxels", "kind", "word", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns).round(5)


def topic_shares(
    table: pd.DataFrame, responses: xr.Dataset, captions: ArrayLike, *, column: str = "caption",
    topics: Mapping[str, Iterable[str]] | None = None, n_bootstraps: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Say how often captions of a region's confident voxels name a class of things, beside those of pictures.

    Parameters
    ----------
    table : DataFrame
        Of `caption_voxels`.
    responses : Dataset
        Of the same voxels, for their regions.
    captions : array of text, (n_pictures, n_captions)
        What people said of pictures; how often these name the class is what a voxel without any preference
        would be expected to.
    column : {"caption", "generated"}
    topics : mapping of name to words, optional
        Else `TOPICS`.
    n_bootstraps : int
        Of pictures.
    seed : int

    Returns
    -------
    DataFrame
        A row a region and topic: region, topic, n_voxels (confident), share of them whose caption holds a
        word of it, low, high (95 %, Wilson), base (of the captions of pictures), and `more`, share less base,
        with more_low, more_high (Newcombe 1998). Voxels are taken for independent, which neighbours are not:
        intervals are too narrow.
    """
    from scipy.stats import binomtest  # loads for a second

    same_voxels(table, responses)
    rng = np.random.default_rng(seed)
    known = {name: set(words) for name, words in (topics or split_topics()).items()}
    texts = np.asarray(captions, str)
    texts = texts.reshape(len(texts), -1)
    there = np.array([[bool(t.strip()) for t in row] for row in texts.tolist()])
    said = [set(content_words(str(c))) for c in table[column].fillna("")]
    people = [[set(content_words(t)) for t in row] for row in texts.tolist()]
    hits = np.array([[[bool(t & words) for words in known.values()] for t in row] for row in people])
    counts = np.column_stack(
        [(hits & there[:, :, None]).sum(1), there.sum(1)]
    )  # of pictures: topics, captions
    drawn = np.array([
        counts[rng.integers(len(counts), size=len(counts))].sum(0) for _ in range(n_bootstraps)
    ])  # fmt: skip
    total = counts.sum(0)
    rows = []
    for number, (topic, words) in enumerate(known.items()):
        base = total[number] / total[-1]
        bases = np.quantile(drawn[:, number] / drawn[:, -1], [0.025, 0.975])
        names = np.array([bool(s & words) for s in said])
        for region, inside in {"all": np.ones(len(table), bool), **regions(responses)}.items():
            mine = names[inside & table["confident"].to_numpy(bool)]
            if not len(mine):
                continue
            share = mine.mean()
            limits = binomtest(int(mine.sum()), len(mine)).proportion_ci(0.95, "wilson")
            low, high = limits.low, limits.high
            below, above = base - bases[0], bases[1] - base
            more = (share - base - np.hypot(share - low, above), share - base + np.hypot(high - share, below))
            rows.append((region, topic, len(mine), share, low, high, base, share - base, *more))
    columns = ["region", "topic", "n_voxels", "share", "low", "high", "base", "more", "more_low", "more_high"]
    return pd.DataFrame(rows, columns=columns).round(5)


def same_voxels(table: pd.DataFrame, responses: xr.Dataset) -> None:
    """Refuse captions of other voxels.

    Raises
    ------
    ContractError
        Naming the first that differs.
    """
    ids = table["neuroid_id"].to_numpy(str)
    same_neuroids(responses, xr.Dataset(coords={"neuroid_id": ("neuroid", ids)}, attrs={"kind": "captions"}))


def split_topics() -> dict[str, set[str]]:
    """Return the words of each of `TOPICS`."""
    return {name: set(text.split()) for name, text in TOPICS.items()}


def read_captions(path: str | Path) -> pd.DataFrame:
    """Read the table that `neuroenc caption voxels` wrote.

    Raises
    ------
    InputError
        A column is missing, or of another type.
    """
    table = read_table(path, "neuroid_id", "caption", "words", "confident", "test_r")
    texts = {c: table.text(c) for c in ("neuroid_id", "caption", "words", "generated") if c in table}
    known = ("test_r", "spearman", "spearman_null", "spearman_generated")
    numbers = {c: table.numbers(c, missing=True) for c in known if c in table}
    return pd.DataFrame(texts | {"confident": table.flags("confident")} | numbers)
