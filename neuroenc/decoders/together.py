"""One decoder of several subjects: a linear layer for each, the rest shared, trained on all at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from neuroenc import config, splits
from neuroenc.decoders.decode import DecodedFold, about, grouped, join_folds, make
from neuroenc.decoders.samples import Sides, lay_out, samples_of
from neuroenc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from neuroenc.decoders.network import BrainNetwork
    from neuroenc.decoders.target import Target


def decode_together(
    responses: Mapping[str, xr.Dataset], features: xr.Dataset, split: xr.Dataset,
    options: config.NetworkDecoding, *, shuffle: int | None = None,
    checkpoint: Callable[[int], Path] | None = None,
) -> dict[str, xr.Dataset]:  # fmt: skip
    """Fit one network to the training stimuli of all subjects, by fold, and decode their test stimuli.

    What is tested in one subject is trained on in none: the split parts stimuli, not presentations, and a
    stimulus or group that stands on both sides in two subjects is refused.

    Parameters
    ----------
    responses : mapping
        Subject -> Responses; two or more.
    features, split : Dataset
        Features, Splits.
    options : NetworkDecoding
    shuffle : int, optional
        Seed: deal the training embeddings of each subject anew, for the null.
    checkpoint : callable, optional
        From fold to the file a training run is resumed from.

    Returns
    -------
    dict
        Subject -> Embeddings as `decode` gives them; all are in one space of components, learned from the
        training pictures of all subjects (a picture that two of them saw counts twice).

    Raises
    ------
    InputError
        As `decode`; a prior or made pairs; other numbers of time bins or repetitions.
    LeakError
        What one subject is tested on is trained on in another.
    """
    if odd := [k for k in ("prior", "augment") if getattr(options, k) is not None]:
        raise InputError(f"One network of several subjects has no `{odd[0]}`. Leave it out.")
    each = {s: samples_of(r, split, options) for s, r in responses.items()}
    folds: list[dict[str, DecodedFold]] = []
    said: dict[str, list[str]] = {s: [] for s in responses}
    for fold in tqdm(
        range(split.sizes["fold"]), f"{options.name} of {len(responses)} subjects", disable=None
    ):
        sides = {}
        for s, of in each.items():
            samples = of(fold)
            said[s].append(samples.left_out)
            sides[s] = lay_out(samples, features, split, fold, options)
            sides[s].tested()  # before hours of work
        seed = None if shuffle is None else (shuffle, fold)
        model = fit_together(sides, options, shuffle=seed, checkpoint=checkpoint and checkpoint(fold))
        folds.append({s: decoded_by(model, s, of) for s, of in sides.items()})
    names = ", ".join(responses)
    return {
        s: grouped(
            join_folds(
                [of[s] for of in folds],
                about(r, features, split, options, said[s], shuffle) | {"subjects": names},
            ),
            split,
        )
        for s, r in responses.items()
    }


def fit_together(
    sides: Mapping[str, Sides], options: config.NetworkDecoding, *, target: Target | None = None,
    shuffle: tuple[int, int] | None = None, checkpoint: Any = None,
) -> BrainNetwork:  # fmt: skip
    """Fit one network to the training stimuli of subjects.

    Parameters
    ----------
    sides : mapping
        Subject -> training and test stimuli of a fold.
    options : NetworkDecoding
    target : Target, optional
        The space that is decoded into.
    shuffle : (seed, fold), optional
        Deal each subject's training embeddings anew.
    checkpoint : path, optional

    Raises
    ------
    InputError
        Other numbers of time bins or repetitions.
    LeakError
        What one subject is tested on is trained on in another.
    """
    guard(sides)
    bins = {s: of.n_times for s, of in sides.items()}
    if len(set(bins.values())) > 1 and options.front == "atm":
        raise InputError(f"Subjects have other numbers of time bins: {bins}. `front: atm` reads one number.")
    shapes = {s: of.response.shape[1:-1] for s, of in sides.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"Subjects have other numbers of repetitions: { {s: (*v, 1)[0] for s, v in shapes.items()} }. "
            "Use `repeats: mean`."
        )
    pairs = {
        s: of.pairs(None if shuffle is None else (*shuffle, number))
        for number, (s, of) in enumerate(sides.items())
    }
    folds = {s: splits.inner_folds(of.inner) for s, of in sides.items()}
    model = make(options, folds, n_times=next(iter(bins.values())), checkpoint=checkpoint)
    fitted: BrainNetwork = model.fit(
        {s: x for s, (x, _) in pairs.items()}, {s: y for s, (_, y) in pairs.items()}, target
    )
    return fitted


def guard(sides: Mapping[str, Sides]) -> None:
    """Refuse stimuli or groups that one subject is tested on and another is trained on."""
    splits.guard(
        *(np.concatenate([getattr(of, k) for of in sides.values()]) for k in ("ids", "side", "group"))
    )


def decoded_by(model: BrainNetwork, subject: str, sides: Sides) -> DecodedFold:
    """Decode the test stimuli of a subject."""
    found = model.predict_components(sides.tested(), subject)
    true = model.target_.transform(sides.embedding.take(sides.test))
    return DecodedFold(sides.ids[sides.test], found, true, model.target_)
