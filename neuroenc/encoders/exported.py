"""Exported encoders, read and called: from pictures to responses, their intervals, and how far they reach."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import same_contract
from neuroenc.blocks import blocks
from neuroenc.config import Model, parse
from neuroenc.datasets.pixels import decode, read_bytes, rgb
from neuroenc.documents import read_json
from neuroenc.encoders import distance, intervals
from neuroenc.encoders.encode import Fit
from neuroenc.encoders.export import CARD, COLUMNS, FACTS, FORMAT, SCORES, components_of, digest
from neuroenc.encoders.hub import HUB, fetched, push
from neuroenc.encoders.stack import stack
from neuroenc.encoders.store import design_of, open_fits, predict_by
from neuroenc.errors import ContractError, InputError, InputWarning, invalid, reason
from neuroenc.features.extract import describer
from neuroenc.features.project import stored_projection
from neuroenc.files import existing, sha256

if TYPE_CHECKING:
    from typing import TypeAlias

    from PIL import Image

    Picture: TypeAlias = str | Path | Image.Image | NDArray[np.uint8]

Outside = Literal["warn", "nan", "refuse"]
OUTSIDE = ("warn", "nan", "refuse")
SHIPPED = Path(__file__).parent / "shipped" / "demo"  # made by config/shipped.yaml
BATCH = 256  # pictures whose features are in memory at a time
NEEDED = ("format", "name", "fold", "far", "members", "subjects", "files", "sha256", "time_bin")


class Member(NamedTuple):
    """What one network gives to a subject."""

    name: str
    fits: list[Fit]
    described: dict[str, Any]
    share: NDArray[np.float32]
    """(n_neuroids[, n_time_bins])"""


class Subject(NamedTuple):
    """One subject of an exported encoder."""

    about: dict[str, Any]
    members: list[Member]
    arrays: dict[str, NDArray[Any]]


class ExportedEncoder:
    """An encoder that is called with pictures.

    Made by `neuroenc.load`.

    Attributes
    ----------
    card : str
        What it is, how good, and for which pictures: Markdown.
    facts : dict
        The same as numbers.
    neuroids : Dataset
        `neuroid_id`, `subject`, `hemisphere`, position, regions (`roi_<name>`), `ceiling` (share of
        variance), test scores and the range of the training responses, of the neuroids that are predicted.
    outside : {"warn", "nan", "refuse"}
        What is done about pictures beyond the training pictures.
    """

    def __init__(
        self, folder: Path, facts: dict[str, Any], subjects: list[Subject], models: dict[str, Model],
        outside: Outside,
    ) -> None:  # fmt: skip
        self.folder, self.facts, self.outside = folder, facts, outside
        self._subjects, self._models = subjects, models
        self._describers: dict[str, Any] = {}
        self.neuroids = _neuroids(subjects, facts)
        self._kept = np.arange(self.neuroids.sizes["neuroid"])

    def __repr__(self) -> str:
        who = ", ".join(dict.fromkeys(self.neuroids["subject"].values.tolist()))
        return f"<{self.facts['name']} of {self.facts['dataset']}, subject {who}: {len(self._kept)} neuroids>"

    @property
    def card(self) -> str:
        """What it is, how good, and for which pictures."""
        return (self.folder / CARD).read_text()

    def select(
        self, *, subject: str | None = None, region: str | None = None, ceiling: float | None = None
    ) -> Self:
        """Return the same encoder of fewer neuroids.

        Parameters
        ----------
        subject, region : str, optional
        ceiling : float, optional
            Share of the variance that can be explained, at least; of time bins in any.

        Raises
        ------
        InputError
            There is no such subject or region, or no neuroid is left.
        """
        kept = np.ones(len(self._kept), bool)
        if subject is not None:
            known = self.neuroids["subject"].values
            if subject not in known:
                raise invalid("subject", subject, dict.fromkeys(known.tolist()))
            kept &= known == subject
        if region is not None:
            names = [str(c)[4:] for c in self.neuroids.coords if str(c).startswith("roi_")]
            if region not in names:
                raise invalid("region", region, names)
            kept &= self.neuroids[f"roi_{region}"].values
        if ceiling is not None:
            limit = self.neuroids["ceiling"].values
            kept &= np.where(np.isnan(limit), -np.inf, limit).reshape(len(kept), -1).max(1) >= ceiling
        if not kept.any():
            raise InputError(
                f"No neuroid is left of {len(kept)} (subject {subject!r}, region {region!r}, ceiling "
                f"{ceiling}). Ask for less."
            )
        few = object.__new__(type(self))
        few.__dict__.update(self.__dict__)
        few._kept, few.neuroids = self._kept[kept], self.neuroids.isel(neuroid=kept)
        return few

    def __call__(self, pictures: Picture | Sequence[Picture]) -> xr.DataArray:
        """Predict the responses to pictures.

        Parameters
        ----------
        pictures : path, PIL image, uint8 array (height, width, 3), or several
            Read as `docs/conventions.md` says.

        Returns
        -------
        DataArray
            (picture, neuroid[, time_bin]) with the coordinates of `neuroids`, and `distance` of each picture
            (`distance`; of several subjects the largest).

        Raises
        ------
        InputError
            Something that is no picture; with `outside="refuse"` pictures beyond the training pictures.
        ContractError
            The network has other weights than the one that was fitted.
        """
        return self._predict(pictures)

    def interval(self, pictures: Picture | Sequence[Picture], level: float = 0.9) -> xr.DataArray:
        """Return predictive intervals, from the residuals of validation pictures.

        Parameters
        ----------
        pictures
            As for a call.
        level : float
            Share of responses to pictures of the same kind, shown as often as validation pictures were, that
            lie within; kept in steps of 0.005.

        Returns
        -------
        DataArray
            (bound, picture, neuroid[, time_bin]), bound "low" and "high".
        """
        row = intervals.row_of(level)
        centre = self._predict(pictures)
        width = np.concatenate([s.arrays["half_width"][row] for s in self._subjects])[self._kept]
        found = xr.concat([centre - width, centre + width], "bound", coords="minimal", compat="override")
        return found.assign_coords(bound=["low", "high"]).assign_attrs(level=(row + 1) / intervals.STEPS)

    def distance(self, pictures: Picture | Sequence[Picture]) -> xr.DataArray:
        """Return how far pictures lie from the nearest training picture, in the features that are read.

        Returns
        -------
        DataArray
            (subject, picture), in units of the median distance of training pictures from one another; beyond
            the coordinate `farthest` a picture lies outside.
        """
        items, names = _items(pictures)
        found = np.concatenate([self._describe(items[b])[1] for b in blocks(len(items), BATCH)], 1)
        return self._mine(found, names)

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Upload the folder to OWNER/NAME on the hub, by the token of this machine; return its address."""
        return push(self.folder, name, private=private)

    def _mine(self, found: NDArray[np.float64], names: NDArray[np.str_]) -> xr.DataArray:
        """Keep the distances of subjects whose neuroids are predicted."""
        subjects = [s.about["subject"] for s in self._subjects]
        kept = np.isin(subjects, self.neuroids["subject"].values)
        return xr.DataArray(found[kept], {
            "subject": np.array(subjects)[kept], "picture": names,
            "farthest": ("subject", np.array([s.about["farthest"] for s in self._subjects])[kept]),
        }, ("subject", "picture"))  # fmt: skip

    def _predict(self, pictures: Any) -> xr.DataArray:
        items, names = _items(pictures)
        parts = [self._describe(items[b], predict=True) for b in blocks(len(items), BATCH)]
        values = np.concatenate([p[0] for p in parts])[:, self._kept]
        far = self._mine(np.concatenate([p[1] for p in parts], 1), names)
        values = self._outside(values, far)
        dims = ("picture", "neuroid", "time_bin")[: values.ndim]
        coords = {k: v.variable for k, v in self.neuroids.coords.items()}
        about = {k: str(self.facts[k]) for k in ("name", "dataset", "units", "space")}
        return xr.DataArray(
            values, coords | {"picture": names, "distance": ("picture", far.values.max(0))}, dims, attrs=about
        )

    def _outside(self, values: NDArray[np.float32], far: xr.DataArray) -> NDArray[np.float32]:
        """Warn of pictures beyond the training pictures, predict nothing of them, or refuse them."""
        beyond = (far > far["farthest"]).transpose("subject", "picture").values
        if not beyond.any():
            return values
        first = int(beyond.any(0).argmax())
        said = (
            f"{beyond.any(0).sum()} of {len(values)} pictures lie farther from the training pictures than "
            f"{self.facts['far']:.0%} of these from one another, first {str(far['picture'].values[first])!r} "
            f"(distance {far.values[:, first].max():.2f}, expected at most "
            f"{far['farthest'].values.min():.2f})"
        )
        if self.outside == "refuse":
            raise InputError(f"{said}. Leave them out, or load with outside='warn' or 'nan'.")
        if self.outside == "warn":
            warnings.warn(f"{said}; what is predicted of them may be wrong.", InputWarning, stacklevel=4)
            return values
        out = values.copy()
        subject = self.neuroids["subject"].values
        for name, rows in zip(far["subject"].values, beyond, strict=True):
            out[np.ix_(rows, subject == name)] = np.nan
        return out

    def _describe(
        self, items: list[NDArray[np.uint8]], *, predict: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return predictions, (n_pictures, n_neuroids[, n_bins]), and distances, (n_subjects, n_pictures)."""
        read = {m["name"]: self._features(m, items) for m in self.facts["members"]}
        predicted, far = [], []
        for subject in self._subjects:
            designs = [design_of(f, read[m.name]).flattened() for m in subject.members for f in m.fits]
            hashed = {k: subject.arrays[k] for k in ("place", "sign")}
            apart = distance.nearest(distance.sketch(designs, hashed), subject.arrays["points"])
            far.append(apart / subject.about["typical"])
            if predict:
                made = [
                    predict_by(m.fits, m.described, read[m.name], m.name).values.reshape(len(items), -1)
                    for m in subject.members
                ]
                share = np.stack([m.share for m in subject.members])
                mixed = stack(made, share.reshape(len(share), -1)).astype(np.float32)
                predicted.append(mixed.reshape(len(items), *share.shape[1:]))
        return np.concatenate(predicted, 1) if predict else np.zeros((0, 0), np.float32), np.stack(far)

    def _features(self, member: dict[str, Any], items: list[NDArray[np.uint8]]) -> xr.Dataset:
        """Describe pictures by the network of a member, which must be the one that was fitted."""
        name = member["name"]
        if name not in self._describers:
            model, projected = self._models[name], None
            if model.projection:
                path = self.folder / components_of(name)
                projected = stored_projection(model.projection, member["n_stimuli"], path)
            self._describers[name] = describer(model, projected=projected)
        found: xr.Dataset = self._describers[name](items)
        try:
            same_contract(found.attrs, member["contract"])
        except ContractError as error:
            raise ContractError(f"The network of {name!r} is not the one that was fitted. {error}") from None
        return found


def load(
    where: str | Path,
    *,
    outside: Outside = "warn",
    weights: Mapping[str, str | Path] | None = None,
    device: str = "auto",
    revision: str = "main",
) -> ExportedEncoder:
    """Read an exported encoder.

    Parameters
    ----------
    where : path, "hub:OWNER/NAME" or "demo"
        A folder of `neuroenc export`. Of the hub it is fetched once, and then read from the cache, offline.
        "demo" comes with the package: 300 voxels of a simulated subject (a folder of that name is "./demo").
    outside : {"warn", "nan", "refuse"}
        What is done about pictures farther from the training pictures than these are from one another.
    weights : mapping, optional
        Checkpoint of the network of a member, where it was fitted to one of its own.
    device : str
        Of torch, for the networks.
    revision : str
        Branch, tag or commit on the hub.

    Raises
    ------
    InputError
        It is no export, of another version, or was changed since it was written.
    """
    if outside not in OUTSIDE:
        raise invalid("outside", outside, OUTSIDE)
    name = str(where)
    if where == SHIPPED.name:  # as text; a path is a folder
        folder = SHIPPED
    else:
        folder = fetched(name.removeprefix(HUB), revision) if name.startswith(HUB) else existing(where)
    facts = _facts(folder)
    models = {m["name"]: _model(m, dict(weights or {}), device) for m in _members(facts, folder)}
    for given in weights or {}:
        if given not in models:
            raise invalid("member of weights", given, models)
    try:
        subjects = [_subject(folder, about, facts) for about in facts["subjects"]]
        made = ExportedEncoder(folder, facts, subjects, models, outside)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  of what somebody else wrote
        raise InputError(f"{folder} cannot be put together: {reason(error)}. Export it again.") from None
    return made


def _facts(folder: Path) -> dict[str, Any]:
    """Read what the folder says of itself, and compare all files with their hashes."""
    path = folder / FACTS
    if not path.is_file():
        raise InputError(
            f"{folder} is no exported encoder: it has no {FACTS}. Write one by `neuroenc export`."
        )
    facts: dict[str, Any] = read_json(path, *NEEDED)
    if facts["format"] != FORMAT:
        raise InputError(
            f"{path} has format {facts['format']!r}, expected {FORMAT}. Read it by the version that wrote it."
        )
    wrong = f"Export it again, or fetch it again, instead of editing {folder.name}"
    if digest(facts) != facts["sha256"]:
        raise InputError(
            f"{path} was changed after it was written: its facts have sha256 {digest(facts)}, expected "
            f"{facts['sha256']}. {wrong}."
        )
    for name, expected in facts["files"].items():
        if Path(name).name != name:
            raise InputError(f"{path} names the file {name!r}, expected one in its own folder. {wrong}.")
        found = sha256(existing(folder / name, made_by=f"{FACTS} names it. {wrong}."))
        if found != expected:
            raise InputError(
                f"{folder / name} was changed after it was written: sha256 {found}, expected {expected}. "
                f"{wrong}."
            )
    return facts


def _subject(folder: Path, about: dict[str, Any], facts: dict[str, Any]) -> Subject:
    from safetensors.numpy import load_file

    used = [about["arrays"], *about["weights"].values()]
    stray = [n for n in used if n not in facts["files"]]
    if stray:
        raise InputError(f"{folder / FACTS} names {stray[0]!r} without its hash. Export it again.")
    arrays = load_file(folder / about["arrays"])
    members = [
        Member(name, *open_fits(folder / path, facts["fold"]), arrays[f"share/{name}"])
        for name, path in about["weights"].items()
    ]
    return Subject(about, members, arrays)


def _members(facts: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return what is said of the members, whose names subjects refer to."""
    members: list[dict[str, Any]] = facts["members"]
    names = {m["name"] for m in members}
    unknown = [n for s in facts["subjects"] for n in s["weights"] if n not in names]
    if unknown:
        raise InputError(f"{folder / FACTS} says nothing of the member {unknown[0]!r}. Export it again.")
    return members


def _model(member: dict[str, Any], weights: dict[str, str | Path], device: str) -> Model:
    """Return the section of a member, with the place of its own checkpoint."""
    section = dict(member["model"]) | {"device": device}
    key = "network" if section.get("extractor") == "transformers" else "weights"
    named = section.get("weights")
    if member["name"] in weights:
        section[key] = str(weights[member["name"]])
    elif named is not None and not named.startswith("random:") and not Path(named).exists():
        raise InputError(
            f"The network of {member['name']!r} reads the checkpoint {named!r}, which does not come along. "
            f"Give weights={{{member['name']!r}: PATH}}."
        )
    return parse(Model, section, source=FACTS)


def _neuroids(subjects: Sequence[Subject], facts: dict[str, Any]) -> xr.Dataset:
    """Put together what is known of the neuroids of all subjects."""
    dims = ("neuroid", "time_bin")
    columns: dict[str, list[NDArray[Any]]] = {}
    sizes = [len(s.about["neuroid_id"]) for s in subjects]
    regions = list(dict.fromkeys(r for s in subjects for r in s.about["regions"]))
    for subject, n in zip(subjects, sizes, strict=True):
        known: dict[str, NDArray[Any]] = {
            "neuroid_id": np.array(subject.about["neuroid_id"], dtype=str),
            "hemisphere": np.array(subject.about["hemisphere"], dtype=str),
            "subject": np.full(n, subject.about["subject"]),
        }
        for region in regions:
            known[f"roi_{region}"] = subject.arrays.get(f"roi_{region}", np.zeros(n, bool))
        for name in (*COLUMNS, "ceiling", *SCORES, "training_low", "training_high"):
            if all(name in s.arrays for s in subjects):
                known[name] = subject.arrays[name]
        for name, values in known.items():
            columns.setdefault(name, []).append(values)
    joined = {k: np.concatenate(v) for k, v in columns.items()}
    coords: dict[str, Any] = {k: (dims[: v.ndim], v) for k, v in joined.items()}
    coords |= {k: ("time_bin", np.array(v)) for k, v in (facts["time_bin"] or {}).items()}
    return xr.Dataset(coords=coords)


def _items(pictures: Any) -> tuple[list[NDArray[np.uint8]], NDArray[np.str_]]:
    """Read pictures however they are given, one or several; name each by its path or number."""
    from PIL import Image

    single = isinstance(pictures, (str, Path, Image.Image))
    if not single and not hasattr(pictures, "__len__"):
        raise InputError(
            f"Pictures are {type(pictures).__name__}, expected a path, a PIL image, an array, or a list."
        )
    if single or (isinstance(pictures, np.ndarray) and pictures.ndim == 3):
        pictures = [pictures]
    if not len(pictures):
        raise InputError("No pictures were given, expected at least one.")
    items: list[Any] = []
    names: list[str] = []
    for number, picture in enumerate(pictures):
        names.append(str(picture) if isinstance(picture, (str, Path)) else str(number))
        if isinstance(picture, (str, Path)):
            path = existing(picture)
            if path.is_dir():
                raise InputError(f"{path} is a folder, expected a picture. Name its files.")
            items.append(decode(read_bytes(path), str(path)))
        elif isinstance(picture, Image.Image):
            try:
                items.append(rgb(picture))
            except InputError as error:
                raise InputError(f"Picture {number} cannot be read: {error}. Convert it to RGB.") from None
        else:
            items.append(picture)
    return items, np.array(names, dtype=str)
