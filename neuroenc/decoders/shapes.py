"""From what was decoded to objects: the mesh of the nearest training picture, or one that Shap-E draws.

Two stages, as in Brain3D (Yang et al. 2024): the picture is decoded first and the object made of it. The mesh
of the nearest training picture needs no generator; it is the bound that one must beat.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc import ranking, splits
from neuroenc.arrays import same_contract, select_layers
from neuroenc.config import Shapes
from neuroenc.datasets.shapes import MeshFiles, seen_pictures
from neuroenc.decoders.choice import point_estimate
from neuroenc.decoders.target import target_of
from neuroenc.encoders.design import design
from neuroenc.errors import ContractError, InputError, suggest
from neuroenc.evaluation.identification import cosine

if TYPE_CHECKING:
    from neuroenc.decoders.shap_e import ShapE

SEEN = "seen"  # the condition of the pictures that were shown: the ceiling of what draws
SHOWN = ("brain", "shuffled", "true", SEEN)  # conditions that are made into objects unless told


class Objects(NamedTuple):
    """Meshes of stimuli in conditions."""

    stimulus_id: NDArray[np.str_]
    fold: NDArray[np.int64]
    meshes: Mapping[str, Any]
    """Condition to a mesh for each stimulus"""
    source: Mapping[str, list[str]]
    """Condition to where each is from"""


def nearest_meshes(
    embeddings: xr.Dataset, null: xr.Dataset, features: xr.Dataset, split: xr.Dataset,
    meshes: Mapping[str, Path], *, seed: int = 0,
) -> Objects:  # fmt: skip
    """Take for each test stimulus the mesh of the training picture that is nearest to what was decoded.

    Parameters
    ----------
    embeddings, null : Dataset
        Embeddings, decoded and decoded after shuffling.
    features, split : Dataset
        Features they were decoded to, Splits.
    meshes : mapping
        Stimulus to the file of its mesh; training stimuli that are not among them are not retrieved.
    seed : int
        Of the condition `random`.

    Returns
    -------
    Objects
        Conditions `brain`; `shuffled`; `true`, nearest to the true embedding, the ceiling of retrieval; and
        `random`, any training object.

    Raises
    ------
    ContractError
        The arrays disagree about what is embedded, or about the pictures.
    InputError
        No training stimulus of a fold has a mesh.
    """
    layers = str(embeddings.attrs["layer"]).split(",")
    same_contract(select_layers(features, layers).attrs, embeddings.attrs)
    same_contract(null.attrs, embeddings.attrs)
    found: dict[str, list[NDArray[np.str_]]] = {c: [] for c in ("brain", "shuffled", "true", "random")}
    rng = np.random.default_rng(seed)
    ids, folds = [], []
    for fold in np.unique(embeddings["fold"].values).tolist():
        tested = embeddings["stimulus_id"].values[embeddings["fold"].values == fold]
        if not np.array_equal(tested, null["stimulus_id"].values[null["fold"].values == fold]):
            raise ContractError(
                "The decoded and the shuffled embeddings are of other pictures. Fit both anew."
            )
        pool = split["stimulus_id"].values[split["side"].values[fold] == splits.TRAIN]
        pool = pool[np.isin(pool, list(meshes)) & np.isin(pool, features["stimulus_id"].values)]
        if not len(pool):
            raise InputError(
                f"No training stimulus of fold {fold} has a mesh. Is it the table of these stimuli?"
            )
        known = design(features, pool, layers).flattened()
        truth = target_of(embeddings, fold).transform(design(features, tested, layers).flattened())
        for name, of in (("brain", embeddings), ("shuffled", null), ("true", None)):
            decoded = truth if of is None else point_estimate(of)[of["fold"].values == fold]
            space = target_of(embeddings if of is None else of, fold)
            found[name].append(pool[ranking.best(cosine(decoded, space.transform(known)), 1)])
        found["random"].append(rng.choice(pool, len(tested)))
        ids.append(tested)
        folds.append(np.full(len(tested), fold))
    taken = {name: [str(s) for s in np.concatenate(parts)] for name, parts in found.items()}
    return Objects(
        np.concatenate(ids), np.concatenate(folds),
        {name: MeshFiles([meshes[s] for s in of]) for name, of in taken.items()},
        {name: [f"training stimulus {s}" for s in of] for name, of in taken.items()},
    )  # fmt: skip


def shap_e(folder: str | Path, device: str, *, batch_size: int = 1) -> ShapE:
    """Load Shap-E from a folder: `decoders.shap_e.ShapE.load`."""
    from neuroenc.decoders.shap_e import ShapE

    return ShapE.load(folder, device, batch_size=batch_size)


def draw_shapes(stimuli: xr.Dataset, pictures: xr.Dataset | None, decoder: ShapE, options: Shapes) -> Objects:
    """Draw a mesh of each picture, in each condition from the same seeds.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet, for the condition `seen`.
    pictures : Dataset, optional
        Reconstructed ones; without them the stimuli themselves are drawn.
    decoder : ShapE
    options : Shapes

    Raises
    ------
    InputError
        A condition that the pictures do not have.
    """
    if pictures is None:
        known = [SEEN]
        ids, fold = stimuli["stimulus_id"].values, np.zeros(stimuli.sizes["stimulus"], np.int64)
    else:
        known = [*pictures["condition"].values.tolist(), SEEN]
        ids, fold = pictures["stimulus_id"].values, pictures["fold"].values
    for asked in options.conditions:
        if asked not in known:
            raise InputError(f"The pictures have no condition {asked!r}. {suggest(asked, known)}")
    wanted: list[str] = [*options.conditions] or [c for c in SHOWN if c in known]
    from neuroenc.decoders.reconstruct import tested_rows

    rows = tested_rows(len(ids), options.n_test, options.seed)
    meshes, source = {}, {}
    for name in wanted:
        if name == SEEN or pictures is None:
            shown = seen_pictures(stimuli, ids[rows].tolist())
        else:
            shown = list(pictures["picture"].sel(condition=name).values[rows])
        meshes[name], seeds = decoder(
            decoder.tokens(shown), guidance=options.guidance, n_steps=options.n_steps, grid=options.grid,
            seed=options.seed, said=name,
        )  # fmt: skip
        source[name] = [f"shap_e, seed {s}, from the picture {name!r}" for s in seeds]
    return Objects(ids[rows], fold[rows], meshes, source)
