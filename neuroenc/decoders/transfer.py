"""How many sessions of a new subject a decoder needs, with and without training on other subjects before.

MindEye2's question (Scotti et al. 2024, arXiv 2403.11207). All decoders read the same training stimuli of the
new subject, standardised by these alone, and decode into one space: components of the embeddings of the
training pictures of all subjects, for which no brain is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc import config, splits
from neuroenc.decoders.decode import make
from neuroenc.decoders.retrieve import hits, interval
from neuroenc.decoders.samples import Sides, lay_out, samples_of
from neuroenc.decoders.target import Target
from neuroenc.decoders.together import fit_together, guard
from neuroenc.encoders.design import Design
from neuroenc.errors import InputError, invalid
from neuroenc.evaluation.evaluate import alike
from neuroenc.evaluation.identification import cosine

Floats = NDArray[np.float64]
METHODS = {
    "pretrained": "network, trained on the others, then on the new subject",
    "frozen": "network, trained on the others; then the new subject's linear layers alone",
    "scratch": "network, trained on the new subject alone",
    "ridge": "exact ridge, on the new subject alone",
}
AGAINST = (("pretrained", "scratch"), ("pretrained", "ridge"), ("frozen", "ridge"), ("scratch", "ridge"))
DIRECTIONS = ("brain_to_image_top1", "image_to_brain_top1")
FOLD = 0


def transfer(
    responses: Mapping[str, xr.Dataset], new: str, features: xr.Dataset, split: xr.Dataset,
    network: config.NetworkDecoding, ridge: config.RidgeDecoding, sessions: Sequence[int], *,
    shuffle: int | None = None, n_bootstraps: int = 1000, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train on all subjects but one, then on the first sessions of that one; retrieve its test pictures.

    Of the first fold of the split. The others are trained on with all their sessions; what the new subject
    is tested on is trained on in no subject (`together.guard`).

    Parameters
    ----------
    responses : mapping
        Subject -> Responses.
    new : str
        One of the subjects.
    features, split : Dataset
        Features, Splits.
    network, ridge : NetworkDecoding, RidgeDecoding
        Their `subjects`, `sessions`, `prior` and `augment` are not read.
    sessions : sequence of int
        Numbers of first sessions.
    shuffle : int, optional
        Seed: deal the new subject's training embeddings anew, for the null.
    n_bootstraps, seed
        Of the test pictures; the candidates stay.

    Returns
    -------
    list of dict
        subject, sessions, n_train (pictures), method (`METHODS`, or 'A - B' for paired differences), metric
        (`DIRECTIONS`), value, low, high (95 %), chance, n (test pictures).

    Raises
    ------
    InputError
        No such subject, or no other; a network of single repetitions; fewer sessions than asked for; as
        `decode`.
    LeakError
        What the new subject is tested on is trained on in another.
    """
    from neuroenc.decoders.network import joined  # loads torch

    if new not in responses:
        raise invalid("new subject", new, responses)
    if len(responses) < 2:
        raise InputError(f"Responses of {new!r} alone. Give those of other subjects to train on first.")
    if network.repeats != "mean":
        raise InputError(
            f"Invalid value for 'repeats' of the network: {network.repeats!r}. Ridge reads the mean of "
            "repetitions, and all decoders the same. Use 'mean'."
        )
    network = network.model_copy(update={"subjects": [], "sessions": None, "prior": None, "augment": None})
    first = {n: _sides(responses[new], features, split, network, n) for n in dict.fromkeys(sessions)}
    others = {s: _sides(r, features, split, network, None) for s, r in responses.items() if s != new}
    for sides in first.values():
        sides.tested()  # before hours of work
        guard(others | {new: sides})
    known = [of.embedding.take(of.train)[:] for of in (*others.values(), first[max(first)])]
    target = Target.fit(joined(known), network.n_components)
    before = fit_together(others, network, target=target)
    rows = []
    for n, sides in tqdm(first.items(), f"sessions of {new}", disable=None):
        X, Y = sides.pairs(None if shuffle is None else (shuffle, FOLD))
        folds, test = splits.inner_folds(sides.inner), sides.tested()
        true, unit = target.transform(sides.embedding.take(sides.test)), alike(sides.group[sides.test])
        found = {"pretrained": tuned(before, X, Y, folds, new, freeze=False).predict_components(test, new)}
        found["frozen"] = tuned(before, X, Y, folds, new, freeze=True).predict_components(test, new)
        found["scratch"] = (
            make(network, folds, n_times=sides.n_times).fit(X, Y, target).predict_components(test)
        )
        found["ridge"] = make(ridge, folds).fit(X, Y, target).predict_components(test)
        about = {"subject": new, "sessions": n, "n_train": len(X)}
        rows += [about | row for row in compare(found, true, unit=unit, n_bootstraps=n_bootstraps, seed=seed)]
    return rows


def tuned(before: Any, X: Design, Y: Design, folds: list[Any], subject: str, *, freeze: bool) -> Any:
    """Fine-tune a copy of a network."""
    return deepcopy(before).set_params(cv={subject: folds}).fine_tune(X, Y, subject, freeze=freeze)


def _sides(
    responses: xr.Dataset, features: xr.Dataset, split: xr.Dataset, options: config.Embedding, n: int | None
) -> Sides:
    asked = options.model_copy(update={"sessions": n})
    return lay_out(samples_of(responses, split, asked)(FOLD), features, split, FOLD, asked)


def compare(
    found: Mapping[str, Any], true: Any, *, unit: Any = None, n_bootstraps: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Score retrieval by each decoder, and paired differences between them.

    Parameters
    ----------
    found : mapping
        Method -> decoded embeddings, (n, n_components).
    true : array of shape (n, n_components)
    unit : array of shape (n,), optional
        Pictures that are drawn together, e.g. their groups.
    n_bootstraps, seed
        Of the pictures, the same for all methods.
    """
    rows, n = [], len(true)
    for way in DIRECTIONS:
        each: dict[str, Floats] = {}
        for method, decoded in found.items():
            similarity = cosine(decoded, true)
            each[method] = hits(similarity if way == DIRECTIONS[0] else similarity.T, 1)
        each |= {f"{a} - {b}": each[a] - each[b] for a, b in AGAINST if a in each and b in each}
        for method, hit in each.items():
            low, high = interval(hit, unit, n_bootstraps=n_bootstraps, seed=seed)
            rows.append({
                "method": method, "metric": way, "value": float(hit.mean()), "low": low, "high": high,
                "chance": 0.0 if " - " in method else 1 / n, "n": n,
            })  # fmt: skip
    return rows
