"""Zones of cortex: of which feature space the unique variance of a neuroid is the largest, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import holds, regions
from neuroenc.blocks import columns
from neuroenc.errors import ContractError
from neuroenc.evaluation.effects import pooled
from neuroenc.evaluation.permutation import EQUAL
from neuroenc.evaluation.statistics import CONSTANT, Resampling, fdr

Floats = NDArray[np.float64]
TAILS = [0.025, 0.975]
UNDECIDED = "undecided"
COLUMNS = (
    "subject", "region", "space", "unique", "low", "high", "neuroids", "in_zone", "undecided", "method",
)  # fmt: skip

PARTITION = ("space_name", "region_name", "largest", "zone", "region_unique", "region_unique_sample")
"""What scores of `encode partition` hold beside those of other fits"""


class Held(NamedTuple):
    """Test stimuli of all folds, with what was predicted of them."""

    stimulus: NDArray[np.str_]
    fold: NDArray[np.int64]
    truth: Floats
    """(n_rows, n_neuroids), NaN where a value is missing or a neuroid was not fitted"""
    whole: Floats
    """Predicted from all spaces"""
    without: Floats
    """(n_spaces, n_rows, n_neuroids): from all but one"""


def unique_shares(
    held: Held, samples: Resampling, groups: Mapping[str, NDArray[np.bool_]], level: float
) -> dict[str, tuple[tuple[str, ...], NDArray[Any]]]:
    """Give the unique variance of each space with bootstrap intervals, and the zone of each neuroid.

    The unique variance of a space is R2 of all spaces less R2 of all but it, the mean over folds. All are
    taken in the same samples of test stimuli. A neuroid is of the zone whose share is the largest: p is the
    share of samples in which another one's is as large, or its own is not above 0, (1 + number) / (1 +
    samples), the largest over these, times the number of spaces, because the space was chosen by the data.

    Parameters
    ----------
    held : Held
    samples : Resampling
    groups : mapping of name to bool array of shape (n_neuroids,)
    level : float
        Of false discovery over neuroids.

    Returns
    -------
    dict
        Name to dimensions and values: `unique(space, neuroid, estimate)` (mean, low, high: 95 %), `largest`,
        the space whose share is the largest (-1: not fitted, or without a value in some sample), `zone`, the
        same where `zone_q` is within `level` (-1: undecided), `zone_p`, `lead(neuroid, estimate)`, by how
        much it is above the next; `region_unique(space, region, estimate)` and its
        `region_unique_sample(space, region, sample)`.
    """
    n_spaces, n_neuroids, n = len(held.without), held.truth.shape[1], len(samples.weight)
    unique, lead = np.full((n_spaces, n_neuroids, 3), np.nan), np.full((n_neuroids, 3), np.nan)
    largest, p = np.full(n_neuroids, -1), np.full(n_neuroids, np.nan)
    total, count = np.zeros((n_spaces, len(groups), n)), np.zeros(len(groups))
    value = np.zeros((n_spaces, len(groups)))
    members = np.stack(list(groups.values()))
    for cut in columns(max(len(held.fold), n) * (n_spaces + 1), n_neuroids):
        share, drawn = _drawn(held, samples, cut)
        known = np.isfinite(share).all(0) & np.isfinite(drawn).all((0, 1))
        at, share, drawn = cut.start + np.flatnonzero(known), share[:, known], drawn[:, :, known]
        unique[:, at, 0] = share
        unique[:, at, 1:] = np.moveaxis(np.quantile(drawn, TAILS, axis=1), 0, -1)
        first, second = np.argsort(-share, axis=0)[:2]
        each = np.arange(len(at))
        largest[at] = first
        own = drawn[first, :, each].T
        ahead = own - drawn[second, :, each].T
        lead[at, 0] = share[first, each] - share[second, each]
        lead[at, 1:] = np.quantile(ahead, TAILS, axis=0).T
        behind = np.stack([(own - one <= EQUAL).sum(0) for one in (*drawn, np.zeros_like(own))])
        behind[first, each] = 0  # itself
        p[at] = np.minimum(1, n_spaces * (1 + behind.max(0)) / (1 + n))
        inside = members[:, at].astype(float)
        value += share @ inside.T
        total += np.einsum("sbv,gv->sgb", drawn, inside)
        count += inside.sum(1)
    q = fdr(p)
    with np.errstate(invalid="ignore"):
        of_regions, value = total / count[:, None], value / count
    return {
        "unique": (("space", "neuroid", "estimate"), unique), "lead": (("neuroid", "estimate"), lead),
        "largest": (("neuroid",), largest), "zone": (("neuroid",), np.where(q <= level, largest, -1)),
        "zone_p": (("neuroid",), p), "zone_q": (("neuroid",), q),
        "region_unique": (
            ("space", "region", "estimate"),
            np.stack([value, *np.quantile(of_regions, TAILS, axis=-1)], -1),
        ),
        "region_unique_sample": (("space", "region", "sample"), of_regions),
    }  # fmt: skip


def _drawn(held: Held, samples: Resampling, cut: slice) -> tuple[Floats, Floats]:
    """Give the unique variance of some neuroids, (n_spaces, n), and in samples, (n_spaces, n_samples, n)."""
    y, whole = (v[:, cut].astype(np.float64) for v in (held.truth, held.whole))
    shares, drawn = [], []
    for without in held.without[:, :, cut].astype(np.float64):

        def weighted(k: NDArray[np.int64], weight: Floats, without: Floats = without) -> Floats:
            return _gain(y[k], whole[k], without[k], weight)

        of_folds = np.concatenate([weighted(k, np.ones((1, len(k)))) for k in samples.rows])
        shares.append(of_folds.mean(0))
        drawn.append(samples.of(of_folds, weighted))
    return np.stack(shares), np.stack(drawn)


def _gain(y: Floats, whole: Floats, without: Floats, weight: Floats) -> Floats:
    """R2 of a prediction less that of another under weights, (n_samples, n_neuroids)."""
    known = np.isfinite(y)
    centred = np.where(known, y - np.where(known, y, 0).sum(0) / np.maximum(known.sum(0), 1), 0)
    gain = np.where(known, (y - without) ** 2 - (y - whole) ** 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        power = weight @ centred**2
        total = power - (weight @ centred) ** 2 / (weight @ known)
        return np.asarray(np.where(total > CONSTANT * power, weight @ gain / total, np.nan))


def zone_rows(found: Mapping[str, xr.Dataset]) -> list[dict[str, Any]]:
    """List the unique variance of each space by subject and region, and how many neuroids are of its zone.

    Parameters
    ----------
    found : mapping
        Subject to what `partition` gives.

    Returns
    -------
    list of dict
        `COLUMNS`. `unique` is the mean over neuroids, with its 95 % interval; of `neuroids` that were
        fitted `in_zone` are decided for the space, and `undecided` for none. Subject `all`: a random effect
        (`effects.pooled`), and counts over all.

    Raises
    ------
    ContractError
        Scores of another kind; subjects were split into other spaces.
    """
    for subject, s in found.items():
        holds(s, f"scores of {subject!r}", PARTITION, "encode partition")
    spaces = list(dict.fromkeys(tuple(s["space_name"].values.astype(str).tolist()) for s in found.values()))
    if len(spaces) > 1:
        raise ContractError(
            f"Subjects were split into other spaces: {'; '.join(map(', '.join, spaces))}. Give the same of "
            "each."
        )
    parts = {subject: _of_subject(s) for subject, s in found.items()}
    rows = [{"subject": subject, **row} for subject, own in parts.items() for row in own.values()]
    if len(found) > 1:
        rows += _over_subjects(found, parts)
    return [{k: row[k] for k in COLUMNS} for row in rows]


def _of_subject(s: xr.Dataset) -> dict[tuple[str, str], dict[str, Any]]:
    rows = {}
    masks = {"all": np.ones(s.sizes["neuroid"], bool), **regions(s)}
    for r, region in enumerate(s["region_name"].values.astype(str)):
        inside = masks[region] & (s["largest"].values >= 0)
        for k, space in enumerate(s["space_name"].values.astype(str)):
            unique, low, high = s["region_unique"].values[k, r].astype(float).tolist()
            zone = s["zone"].values[inside]
            rows[str(region), str(space)] = {
                "region": str(region), "space": str(space), "unique": unique, "low": low, "high": high,
                "neuroids": int(inside.sum()), "in_zone": int((zone == k).sum()),
                "undecided": int((zone == -1).sum()), "method": "bootstrap of one subject's stimuli",
            }  # fmt: skip
    return rows


def _over_subjects(
    found: Mapping[str, xr.Dataset], parts: Mapping[str, dict[tuple[str, str], dict[str, Any]]]
) -> list[dict[str, Any]]:
    rows = []
    for key in dict.fromkeys(k for own in parts.values() for k in own):
        have = [s for s, own in parts.items() if key in own and np.isfinite(own[key]["unique"])]
        if len(have) < 2:
            continue
        own = [parts[s][key] for s in have]
        values = np.array([row["unique"] for row in own])
        samples = np.stack([_samples(found[s], *key) for s in have])
        effect = pooled(values, samples, 0)
        counts = {k: sum(row[k] for row in own) for k in ("neuroids", "in_zone", "undecided")}
        rows.append({
            "subject": "all", "region": key[0], "space": key[1], "unique": effect.mean,
            "low": effect.interval[0], "high": effect.interval[1], **counts, "method": effect.method,
        })  # fmt: skip
    return rows


def _samples(s: xr.Dataset, region: str, space: str) -> Floats:
    k, r = (int(np.flatnonzero(s[name].values == of)[0]) for name, of in
            (("space_name", space), ("region_name", region)))  # fmt: skip
    return np.asarray(s["region_unique_sample"].values[k, r], np.float64)
