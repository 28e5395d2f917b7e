"""How much of a prior is used, chosen on validation stimuli of the training set, for each use by itself.

A prior gives samples of what could have been seen. One of them is the right thing to draw from; where a
point estimate is asked for (which picture was it?), their mean is, or what was decoded before the prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.evaluation.identification import cosine
from neuroenc.ranking import ahead

Floats = NDArray[np.float32]
CANDIDATES = ("plain", "rescaled", "expected", "prior")
"""From which pictures are drawn and captions written, as `candidates` makes them"""
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the mean of samples in a mixture with what was decoded"""
HELD = ("embedding", "sampled", "expected", "true")
"""What is kept of validation stimuli, as `held_…`"""


class Choice(NamedTuple):
    """Which candidate is used."""

    name: str
    scores: dict[str, float]
    """Of each candidate on validation, the mean"""
    n: int
    """Validation stimuli"""

    def __str__(self) -> str:
        """Say what was chosen and why."""
        listed = ", ".join(f"{k} {v:.3f}" for k, v in self.scores.items())
        return f"{self.name} (of {self.n} validation stimuli: {listed})"


def choose(scores: Mapping[str, NDArray[np.float64]]) -> Choice:
    """Choose the best candidate; another than the first only if it is better by more than a standard error.

    Parameters
    ----------
    scores : mapping
        Candidate to a score of each validation stimulus, (n,); higher is better. The first is what is used
        without evidence.
    """
    first, *_ = scores
    mean = {name: float(each.mean()) for name, each in scores.items()}
    best = max(mean, key=lambda name: mean[name])
    gain = scores[best] - scores[first]
    if len(gain) < 2 or gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        best = first  # of a single stimulus there is no standard error
    return Choice(best, mean, len(gain))


def mixture(decoded: Floats, expected: Floats, share: float) -> Floats:
    """Mix what was decoded with the mean of samples, each (n, n_components)."""
    return np.asarray((1 - share) * decoded + share * expected, np.float32)


def choose_share(decoded: Floats, expected: Floats, true: Floats) -> tuple[float, Choice]:
    """Choose how much of the mean of samples serves retrieval, by the mean reciprocal rank of validation.

    Parameters
    ----------
    decoded, expected, true : arrays of shape (n, n_components)
        Of validation stimuli.

    Returns
    -------
    share : float
        One of `SHARES`; 0: the prior is not used.
    choice : Choice
    """
    found = {
        f"{share:g}": 1 / (1.0 + ahead(cosine(mixture(decoded, expected, share), true))) for share in SHARES
    }
    chosen = choose(found)
    return float(chosen.name), chosen


def nearest(samples: Floats, decoded: Floats) -> Floats:
    """Return of each row's samples that with the highest cosine with what was decoded.

    Parameters
    ----------
    samples : array of shape (n_samples, n, n_components)
    decoded : array of shape (n, n_components)

    Returns
    -------
    array of shape (n, n_components)
    """
    length = np.linalg.norm(samples, axis=2)
    alike = (samples * decoded).sum(2) / np.where(length == 0, 1, length)
    return np.asarray(samples[alike.argmax(0), np.arange(len(decoded))])


def rescaled(decoded: Floats) -> Floats:
    """Bring each row to the length that embeddings of pictures have: a root mean square of 1.

    What is decoded is an average of what could have been seen and so nearer to the mean than any picture, the
    more so the noisier the response; a generator draws from it as if little were known. Its direction stays.

    Parameters
    ----------
    decoded : array of shape (n, n_components)
        Whitened: each component has unit variance over training pictures.
    """
    size = np.sqrt((decoded**2).mean(1, keepdims=True))
    return np.asarray(decoded / np.where(size == 0, 1, size), np.float32)


def point_estimate(embeddings: xr.Dataset) -> NDArray[Any]:
    """Return what identifies a stimulus best, (presentation, component): with a prior the chosen mixture."""
    return np.asarray(embeddings["point" if "point" in embeddings else "embedding"].values)


def candidates(embeddings: xr.Dataset, fold: int, *, held: bool = False) -> dict[str, NDArray[Any]]:
    """Return what can be drawn from: `CANDIDATES` to (n, n_components).

    plain is what was decoded; rescaled the point estimate at the length of pictures; expected the mean of the
    prior's samples; prior that sample which is most like what was decoded. Without a prior plain alone.

    Parameters
    ----------
    embeddings : Dataset
    fold : int
    held : bool
        Of validation stimuli, else of test stimuli.
    """
    start = "held_" if held else ""
    mine = embeddings[f"{start}fold"].values == fold
    found = {n: embeddings[start + n].values[mine] for n in HELD if start + n in embeddings}
    if "sampled" not in found:
        return {"plain": found["embedding"]}
    share = float(np.atleast_1d(embeddings.attrs["prior_share"])[fold])
    point = mixture(found["embedding"], found["expected"], share)
    made = (found["embedding"], rescaled(point), found["expected"], found["sampled"])
    return dict(zip(CANDIDATES, made, strict=True))


def joined(choices: Sequence[object]) -> str:
    """Write the choices of folds as one text."""
    return "; ".join(f"fold {k}: {c}" for k, c in enumerate(choices))
