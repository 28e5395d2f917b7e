"""What a dataset holds, in a few lines: read before anything is fitted to it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

EQUAL = float(np.finfo(np.float32).eps)  # a range of values below this share of the largest is none


def report_stimuli(stimuli: xr.Dataset) -> list[str]:
    """Say how many stimuli, groups, texts and categories there are."""
    n = stimuli.sizes["stimulus"]
    groups = len(np.unique(stimuli["group"].values))
    parts = [f"{n} stimuli, {int((stimuli['split'] == 'test').sum())} of them for testing"]
    parts.append("each a group of its own" if groups == n else f"{groups} groups")
    if "caption" in stimuli:
        texts = (stimuli["caption"].values != "").sum(1)
        parts.append(f"{int((texts > 0).sum())} with text (at most {texts.max()} each)")
    if "category" in stimuli:
        parts.append(f"{stimuli.sizes['category_index']} categories")
    if "film" in stimuli.coords:
        parts.append(f"{len(np.unique(stimuli['film'].values))} films")
    same = stimuli.attrs.get("n_same_pictures", 0)
    more = [f"{same} pictures stand under more than one id; no split parts them"] if same else []
    return [", ".join(parts), *more]


def report_responses(responses: xr.Dataset, subject: str) -> list[str]:
    """Say what is missing or constant, how often stimuli were shown, and where a noise ceiling comes from."""
    values = responses["response"].values
    values = values.reshape(*values.shape[:2], -1)
    shape = " x ".join(map(str, responses["response"].shape))
    bins = " x bins" if responses["response"].ndim == 3 else ""
    ids, neuroid = responses["stimulus_id"].values, responses["neuroid_id"].values
    finite = np.isfinite(values)
    some = finite.any((0, 2))
    low = np.where(finite, values, np.inf).min((0, 2))
    high = np.where(finite, values, -np.inf).max((0, 2))
    with np.errstate(invalid="ignore"):
        constant = some & (high - low <= EQUAL * np.maximum(np.abs(high), np.abs(low)))
    there = finite.any((1, 2))
    _, repeats = np.unique(ids[there], return_counts=True)
    return [
        f"subject {subject}: {shape} (presentations x neuroids{bins}), "
        + ", ".join((
            _count(ids, ~there, "presentations without any value"),
            _count(ids, there & ~finite.all((1, 2)), "presentations with missing values"),
            _count(neuroid, ~some, "neuroids without any value"),
            _count(neuroid, constant, "constant neuroids"),
        )),
        f"subject {subject}: {_repeats(repeats)}, {_sessions(responses)}, {_ceiling(responses, repeats)}",
        *(f"subject {subject}: {n} neuroids have no data, or one value throughout, in session {session}"
          for session, n in _without_data(responses["response"])),
    ]  # fmt: skip


def _count(names: NDArray[np.str_], which: NDArray[np.bool_], what: str) -> str:
    found = names[which]
    return f"{len(found)} {what}" + (f" (first {str(found[0])!r})" if len(found) else "")


def _repeats(repeats: NDArray[np.int64]) -> str:
    if not len(repeats):
        return "no stimulus has a response"
    low, median, high = repeats.min(), np.median(repeats), repeats.max()
    if low == high:
        return f"each stimulus {low} time{'s' if low > 1 else ''}"
    return f"each stimulus {low} to {high} times (median {median:g})"


def _sessions(responses: xr.Dataset) -> str:
    names = list(dict.fromkeys(map(str, responses["session"].values)))
    shown = ", ".join(map(repr, names if len(names) <= 6 else [*names[:3], *names[-1:]]))
    shown = shown.replace(f", {names[-1]!r}", f", …, {names[-1]!r}") if len(names) > 6 else shown
    return f"{len(names)} session{'s' if len(names) > 1 else ''} ({shown})"


def _ceiling(responses: xr.Dataset, repeats: NDArray[np.int64]) -> str:
    name = "noise_ceiling" if "noise_ceiling" in responses.coords else "ncsnr"
    given = int(np.isfinite(responses[name].values).sum())
    if given:
        return f"noise ceiling given ({name}, {given} of {responses.sizes['neuroid']} neuroids)"
    again = int((repeats > 1).sum())
    if again:
        return f"noise ceiling from repeats of {again} stimuli"
    return "no noise ceiling: none is given and no stimulus was shown twice"


def _without_data(responses: xr.DataArray) -> list[tuple[str, int]]:
    """Count, in each session of two or more presentations, the neuroids silent there but not elsewhere."""
    values, session = responses.values, responses["session"].values
    silent = {}
    for name in np.unique(session):
        here = values[session == name]
        low, high = (f.reduce(f.reduce(here.reshape(*here.shape[:2], -1), 2), 0) for f in (np.fmin, np.fmax))
        if len(here) > 1:
            silent[str(name)] = ~(high > low)
    always = np.all(list(silent.values()), axis=0) if silent else False
    return [(k, int(n)) for k, v in silent.items() if (n := (v & ~always).sum())]
