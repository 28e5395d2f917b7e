"""Retrieval by embeddings of several recordings: within each, across two modalities, of several together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.decoders.fused import fuse, modality_of, row_cosine
from neuroenc.decoders.retrieve import hits, interval, retrieval
from neuroenc.evaluation.identification import cosine

Floats = NDArray[Any]
Spoken = tuple[NDArray[np.str_], Floats, Floats]
"""Concepts of a modality, what is decoded of them, their true embeddings"""
FEWEST = 3  # concepts among which one is retrieved


def score_joint(
    embeddings: Mapping[str, xr.Dataset], null: Mapping[str, xr.Dataset] | None = None, *,
    n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Retrieve within recordings, across modalities, and by modalities together, each with its protocol.

    Parameters
    ----------
    embeddings : mapping
        Recording -> Embeddings (`recordings.decode_recordings`); 'fused' is not read.
    null : mapping, optional
        The same after dealing labels anew.
    n_bootstraps, seed
        Of the concepts that are asked for, with all their stimuli; intervals of folds are averaged.

    Returns
    -------
    list of dict
        `kind`: 'within', a recording and the pictures it was shown; 'across', a concept's response in one
        modality and in another, each the mean over recordings; 'joint', modalities together and pictures, and
        each of them alone among the same concepts; 'gain', how much the former exceeds the latter, paired
        over concepts. `of`, `metric` (its direction in the name), `value`, `low`, `high` (95 %), `chance`,
        `shuffled`, and the protocol: `gallery`, `repeats` averaged, `window`, `channels`, `subjects` (within
        or across), `adapter`, `unit`.
    """
    recordings = {n: e for n, e in embeddings.items() if ":" in n}
    trained = {n: e for n, e in recordings.items() if e.attrs["adapter"] == "its own"}
    how = {"n_bootstraps": n_bootstraps, "seed": seed}
    rows = []
    for number in _numbers(recordings):
        for name, e in recordings.items():
            if number is None or number < e.attrs["most_repeats"]:
                rows += _within(name, e, None if null is None else null[name], number, how)
        by_modality = _by_modality(trained, number)
        dealt = None if null is None else _by_modality({n: null[n] for n in trained}, number)
        for size in range(2, len(by_modality) + 1):
            for some in combinations(by_modality, size):
                protocol = _protocol(trained, some, number)
                if size == 2:
                    rows += _across(by_modality, dealt, some, protocol, how)
                rows += _joint(by_modality, dealt, some, protocol, how)
    return rows


def _numbers(recordings: Mapping[str, xr.Dataset]) -> list[int | None]:
    """Numbers of repetitions that are averaged, and None for all."""
    of_one = next(iter(recordings.values()))
    asked = [int(n) for n in of_one["n_repeats"].values] if "few" in of_one else []
    most = max(e.attrs["most_repeats"] for e in recordings.values())
    return [*(n for n in asked if n < most), None]


def _decoded(e: xr.Dataset, number: int | None) -> Floats:
    if number is None:
        return np.asarray(e["embedding"].values)
    return np.asarray(e["few"].values[int(np.flatnonzero(e["n_repeats"].values == number)[0])])


def _repeats(e: xr.Dataset, number: int | None) -> str:
    return str(e.attrs["repeats"]) if number is None or number >= e.attrs["most_repeats"] else str(number)


def _within(
    name: str, e: xr.Dataset, null: xr.Dataset | None, number: int | None, how: dict[str, Any]
) -> list[dict[str, Any]]:
    def tables(of: xr.Dataset) -> list[Floats]:
        decoded, true, fold = _decoded(of, number), of["true"].values, of["fold"].values
        return [cosine(decoded[fold == f], true[fold == f]) for f in np.unique(fold)]

    protocol = {
        "subjects": "within" if e.attrs["adapter"] == "its own" else "across", "adapter": e.attrs["adapter"],
        "repeats": _repeats(e, number), "window": e.attrs["window"], "channels": str(e.attrs["channels"]),
        "unit": "stimulus",
    }  # fmt: skip
    found, dealt = tables(e), None if null is None else tables(null)
    fold, concept = e["fold"].values, e["concept"].values
    units = [concept[fold == f] for f in np.unique(fold)]
    return _rows("within", name, found, dealt, protocol, how, units=units)


def _by_modality(recordings: Mapping[str, xr.Dataset], number: int | None) -> dict[str, list[Spoken]]:
    """Of each modality, by fold: the mean over its recordings of what is decoded of each concept."""
    out: dict[str, list[Spoken]] = {}
    for modality in dict.fromkeys(map(modality_of, recordings)):
        mine = {n: e for n, e in recordings.items() if modality_of(n) == modality}
        folds = np.unique(next(iter(mine.values()))["fold"].values)
        for f in folds:
            at = {n: e["fold"].values == f for n, e in mine.items()}
            label = {n: e["concept"].values[at[n]] for n, e in mine.items()}
            names, decoded = fuse(label, {n: _decoded(e, number)[at[n]] for n, e in mine.items()})
            true = fuse(label, {n: e["true"].values[at[n]] for n, e in mine.items()})[1]
            out.setdefault(modality, []).append((names, decoded, true))
    return out


def _shared(by_modality: Mapping[str, list[Spoken]], some: tuple[str, ...]) -> list[dict[str, Spoken]]:
    """Of each fold, modalities among the concepts that all of them were shown; too few are left out."""
    out = []
    for of_fold in zip(*(by_modality[m] for m in some), strict=True):
        common = of_fold[0][0]
        for names, *_ in of_fold[1:]:
            common = np.intersect1d(common, names)
        if len(common) >= FEWEST:
            rows = [np.searchsorted(names, common) for names, *_ in of_fold]
            out.append({
                m: (common, decoded[r], true[r])
                for m, r, (_, decoded, true) in zip(some, rows, of_fold, strict=True)
            })  # fmt: skip
    return out


def _protocol(
    trained: Mapping[str, xr.Dataset], some: tuple[str, ...], number: int | None
) -> dict[str, dict[str, str]]:
    """Say of each modality how it was recorded and averaged."""
    out = {}
    for modality in some:
        mine = {n: e for n, e in trained.items() if modality_of(n) == modality}
        values = {
            "repeats": [_repeats(e, number) for e in mine.values()],
            "window": [e.attrs["window"] for e in mine.values()],
            "channels": [str(e.attrs["channels"]) for e in mine.values()],
        }
        out[modality] = {k: ", ".join(dict.fromkeys(v)) for k, v in values.items()}
        out[modality]["recordings"] = str(len(mine))
    return out


def _told(protocol: dict[str, dict[str, str]], some: tuple[str, ...]) -> dict[str, str]:
    """Put the protocols of modalities into one row."""
    keys = ("repeats", "window", "channels", "recordings")
    found = {k: "; ".join(f"{m} {protocol[m][k]}" for m in some) for k in keys}
    return found | {"subjects": "within", "adapter": "its own", "unit": "concept"}


def _across(
    by_modality: Mapping[str, list[Spoken]], dealt: Mapping[str, list[Spoken]] | None, some: tuple[str, ...],
    protocol: dict[str, dict[str, str]], how: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    a, b = some

    def tables(of: Mapping[str, list[Spoken]]) -> list[Floats]:
        return [cosine(fold[a][1], fold[b][1]) for fold in _shared(of, some)]

    null = None if dealt is None else tables(dealt)
    renamed = {"brain_to_image": f"{a}_to_{b}", "image_to_brain": f"{b}_to_{a}"}
    return _rows("across", f"{a}, {b}", tables(by_modality), null, _told(protocol, some), how, renamed)


def _joint(
    by_modality: Mapping[str, list[Spoken]], dealt: Mapping[str, list[Spoken]] | None, some: tuple[str, ...],
    protocol: dict[str, dict[str, str]], how: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    def pairs(of: Mapping[str, list[Spoken]], who: tuple[str, ...]) -> list[tuple[Floats, Floats]]:
        """Return what is decoded and true, the mean over modalities, of concepts that all of `some` show."""
        return [
            (np.mean([fold[m][1] for m in who], 0), np.mean([fold[m][2] for m in who], 0))
            for fold in _shared(of, some)
        ]

    rows = []
    together = pairs(by_modality, some)
    for who in [some, *((m,) for m in some)]:
        found = [cosine(*p) for p in pairs(by_modality, who)]
        null = None if dealt is None else [cosine(*p) for p in pairs(dealt, who)]
        told = _told(protocol, who) | {"among": "+".join(some)}
        rows += _rows("joint", "+".join(who), found, null, told, how)
    for m in some if together else ():
        alone = pairs(by_modality, (m,))
        rows += _gains("+".join(some), m, together, alone, _told(protocol, some), how)
    return rows


def _gains(
    of: str, than: str, together: list[tuple[Floats, Floats]], alone: list[tuple[Floats, Floats]],
    protocol: dict[str, str], how: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """Compare two decodings of the same concepts, paired."""
    scores: dict[str, Callable[[Floats, Floats], Floats]] = {
        "brain_to_image_top1": lambda decoded, true: hits(cosine(decoded, true), 1), "cosine": row_cosine,
    }  # fmt: skip
    rows = []
    for metric, of_each in scores.items():
        gain = np.concatenate([of_each(*a) - of_each(*b) for a, b in zip(together, alone, strict=True)])
        low, high = interval(gain, **how)
        values: dict[str, Any] = {"kind": "gain", "of": of, "over": than, "metric": metric}
        values |= {"value": float(gain.mean()), "low": low, "high": high, "chance": 0.0}
        rows.append(values | {"gallery": len(gain) // len(together)} | protocol)
    return rows


def _rows(
    kind: str, of: str, tables: list[Floats], null: list[Floats] | None, protocol: dict[str, str],
    how: dict[str, Any], renamed: Mapping[str, str] | None = None, units: list[Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score the tables of similarity of all folds, both directions; units are drawn as wholes."""
    if not tables:
        return []
    scored = [retrieval(t, unit=u, **how) for t, u in zip(tables, units or [None] * len(tables), strict=True)]
    dealt = None if null is None else [retrieval(t, n_bootstraps=1, seed=how["seed"]) for t in null]
    rows = []
    for metric in scored[0]:
        of_folds = [t[metric] for t in scored]
        values: dict[str, Any] = {k: float(np.mean([v[k] for v in of_folds])) for k in of_folds[0]}
        if dealt is not None:
            values["shuffled"] = float(np.mean([t[metric]["value"] for t in dealt]))
        direction, _, top = metric.rpartition("_")
        name = f"{(renamed or {}).get(direction, direction)}_{top}"
        size = round(float(np.mean([len(t) for t in tables])))
        rows.append({"kind": kind, "of": of, "metric": name} | values | {"gallery": size} | protocol)
    return rows


def spoken(row: Mapping[str, Any]) -> str:
    """Return a score and its protocol in one line."""
    null = f", shuffled {row['shuffled']:.3f}" if "shuffled" in row else ""
    than = f" over {row['over']}" if "over" in row else f" among {row['among']}" if "among" in row else ""
    protocol = (
        f"{row['gallery']}-way ({row['unit']}), repeats {row['repeats']}, window {row['window']}, channels "
        f"{row['channels']}, {row['subjects']} subjects, adapter {row['adapter']}"
    )
    return (
        f"{row['kind']:6s} {row['of'] + than:28s} {row['metric']:22s} {row['value']:+.3f} "
        f"[{row['low']:+.3f}, {row['high']:+.3f}]  chance {row['chance']:.3f}{null}; {protocol}"
    )
