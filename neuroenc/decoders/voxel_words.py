"""What the captions of voxels speak of, region by region."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from neuroenc.arrays import regions

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
    topics = {name: set(text.split()) for name, text in TOPICS.items()}
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
