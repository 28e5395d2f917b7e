"""One's own copies of films that are not distributed: found by name, held against length and cuts."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.films import ENDINGS, Film
from neuroenc.errors import InputError, nearest

CREDITS = 1200.0  # s that a film may run on behind the last that is annotated
STRETCH = 120.0  # s that are looked through for cuts at the beginning, in the middle and at the end
REACH = 10.0  # s by which a copy is looked for to be early or late
TOLERANCE = 0.25  # s that its cuts may be off
SAME = 0.06  # s within which a cut of the copy is the annotated one
ALIKE = 0.9  # of the pairs at the best difference: about as good
SHARE = 0.5  # of the annotated cuts that the copy must have
SPEEDS = (25 / 24, 24 / 25)  # of films that European television shows
FEWEST = 5  # annotated cuts that say something of a stretch
AROUND = 3  # frames on either side of a cut that it stands out from
FASTEST = 60.0  # frames/s that are looked at
JUMP, RATIO = 8.0, 3.0  # of grey levels (0 to 255), and against the frames around

Floats = NDArray[np.float64]


class Copy(NamedTuple):
    """A copy of a film that fits its annotations."""

    path: Path
    duration: float
    """s"""
    offset: tuple[tuple[float, float], ...]
    """(s of the film, s by which the copy is late there), where cuts could tell"""

    def __str__(self) -> str:
        late = ", ".join(f"{o:+.2f} s at {t:.0f} s" for t, o in self.offset)
        return f"{self.path.name}, {self.duration:.1f} s, cuts off by {late or '? (none are annotated)'}"


def find_copy(folder: Path, film: str, *, last: float, cuts: Floats) -> Copy:
    """Find the copy of a film, and hold it against what is annotated.

    Parameters
    ----------
    folder : path
        Of films; capitals, blanks and signs in their names do not matter.
    film : str
        Name as the annotations have it.
    last : float
        s: end of the last that is annotated.
    cuts : array of shape (n_cuts,)
        s: annotated cuts; empty: they are not checked.

    Raises
    ------
    InputError
        No copy, or several; one that is too short or too long; whose cuts are others, or off by more than
        `TOLERANCE` somewhere.
    """
    there = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)
    found = [p for p in there if _plain(p.stem) == _plain(film)]
    if len(found) != 1:
        names = [p.name for p in found or there]
        near = nearest(film, [p.stem for p in there])
        raise InputError(
            f"{folder} has {len(found)} copies of the film {film!r}, expected one; it has {len(there)} films"
            f"{': ' + ', '.join(names[:8]) if names else ''}{near}. Name yours {film}{ENDINGS[0]}."
        )
    path, opened = found[0], Film(found[0])
    duration = opened.duration
    if not last <= duration <= last + CREDITS:
        raise InputError(
            f"{path} lasts {duration:.1f} s, expected {last:.1f} s, where the annotations of {film!r} end, "
            f"to {last + CREDITS:.1f} s. Is it the same cut of the film, at its own speed?"
        )
    offset = []
    for begin in np.unique([0.0, max(last / 2 - STRETCH / 2, 0), max(last - STRETCH, 0)]):
        stretch = (float(begin), min(float(begin) + STRETCH, last))
        inside = cuts[(cuts > stretch[0] + 0.5) & (cuts < stretch[1] - 0.5)]
        if len(inside) < FEWEST:
            continue
        window = (max(stretch[0] - REACH, 0.0), min(stretch[1] + REACH, duration - 0.2))
        seen, at = find_cuts(opened, *window), float(np.mean(stretch))
        late, share = offset_of(seen, inside)
        if share < SHARE:
            fits = [k for k in SPEEDS if offset_of(seen * k, inside)[1] >= SHARE]
            what = (
                f"Play it at {1 / fits[0]:.3f} of its speed." if fits else "Is it the same cut of the film?"
            )
            raise InputError(
                f"{path} has {share:.0%} of the {len(inside)} annotated cuts around {at:.0f} s, expected "
                f"{SHARE:.0%} or more. {what}"
            )
        offset.append((at, late))
    off = [o for o in offset if abs(o[1]) > TOLERANCE]
    if off:
        said = " and ".join(f"{o:+.2f} s at {t:.0f} s" for t, o in offset)
        raise InputError(
            f"{path} is late by {said} against the annotated cuts, expected within {TOLERANCE:g} s. Cut its "
            "beginning, or change its speed, so that both agree."
        )
    return Copy(path, duration, tuple(offset))


def _plain(name: str) -> str:
    """Leave letters and digits of a name, whatever their case or Unicode form."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name).casefold())


def find_cuts(film: Film, begin: float, end: float) -> Floats:
    """Find the cuts in a stretch of a film, s.

    A frame is the first of a shot where its mean absolute difference to the one before, in grey levels of
    about 32 x 18 places, is `JUMP` or more and `RATIO` times the mean of the differences around.
    """
    rate = min(float(film.stream.average_rate or 25), FASTEST)
    times = np.arange(np.ceil(begin * rate), np.floor(end * rate)) / rate
    seen = []
    for time in times:
        frame = film.frame(time + 0.25 / rate)
        step = [max(n // k, 1) for n, k in zip(frame.shape, (18, 32), strict=False)]
        seen.append(frame[step[0] // 2 :: step[0], step[1] // 2 :: step[1]].astype(np.float32).mean(2))
    change = np.array([np.abs(b - a).mean() for a, b in pairwise(seen)])
    if len(change) < 2 * AROUND + 1:
        return np.empty(0)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(change, AROUND, mode="reflect"), 2 * AROUND + 1)
    around = (windows.sum(1) - change) / (2 * AROUND)
    return np.asarray(times[1:][(change >= JUMP) & (change >= RATIO * around)])


def offset_of(found: Floats, annotated: Floats) -> tuple[float, float]:
    """Return by how many seconds cuts are late, and the share of the annotated ones that are found so.

    The difference, within `REACH`, at which most pairs of cuts agree, the smallest where several are about as
    good; then the median of those that do.
    """
    pairs = (found[:, None] - annotated).ravel()
    pairs = np.sort(pairs[np.abs(pairs) <= REACH])
    if not len(pairs):
        return 0.0, 0.0
    first, last = np.searchsorted(pairs, pairs - SAME), np.searchsorted(pairs, pairs + SAME, "right")
    count = last - first
    good = np.flatnonzero(count >= ALIKE * count.max())
    best = good[np.abs(pairs[good]).argmin()]
    late = float(np.median(pairs[first[best] : last[best]]))
    gap = np.abs(found[:, None] - late - annotated).min(0)
    return late, float((gap <= SAME).mean())
