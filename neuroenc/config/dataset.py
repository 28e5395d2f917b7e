"""The sections `dataset` and `split`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from neuroenc.config.base import Name, Place, Region, Section, Seed, place
from neuroenc.errors import suggest

ATLASES = ("schaefer-400", "glasser-360")
"""Known by name"""
VOLUMES, SURFACES = (".nii", ".nii.gz"), (".label.gii", ".annot")
"""Ends of the names of label files; `.dlabel.nii` has both"""


def _atlas(value: str) -> str:
    if value in ATLASES:
        return value
    if not value.lower().endswith((*VOLUMES, *SURFACES)):
        ends = ", ".join((*VOLUMES, ".dlabel.nii", *SURFACES))
        raise ValueError(f"{suggest(value, ATLASES)} Or a file of labels ({ends})")
    place(re.sub(r"\{(hemi|subject)\}", "", value))
    if ("{hemi}" in value) != value.lower().endswith(SURFACES) and not value.lower().endswith(".dlabel.nii"):
        raise ValueError(
            f"{' and '.join(SURFACES)} are one file a hemisphere, and they alone: write {{hemi}} where their "
            "names say lh and rh, or L and R"
        )
    return value


def _or_atlas(schema: dict[str, Any]) -> None:
    """Let `regions` be {atlas: NAME} too."""
    of_list = {k: schema.pop(k) for k in ("items", "type")}
    of_atlas = {"type": "object", "properties": {"atlas": {"type": "string"}}, "required": ["atlas"],
                "additionalProperties": False}  # fmt: skip
    schema["anyOf"] = [of_list, of_atlas]


class Dataset(Section):
    """Which recordings are read, and how."""

    name: Literal[
        "nsd",
        "nsd_synthetic",
        "nsd_imagery",
        "v4",
        "majajhong2015",
        "freemanziemba2013",
        "haxby",
        "mtl",
        "n170",
        "algonauts2023",
        "bold5000",
        "things_fmri",
        "things_eeg2",
        "treebank",
        "stories",
        "pereira2018",
        "things_meg",
        "tvsd",
        "things_eeg1",
        "laion_fmri",
        "mosaic",
        "glmsingle",
        "custom",
    ]
    root: Place | None = Field(
        default=None, description="Folder of the dataset; null for nsd: simulate it. Environment variables "
        "and ~ are expanded."
    )  # fmt: skip
    space: Region = Field(default="func1pt8mm", description="nsd: func1pt8mm or fsaverage.")
    preparation: Region = Field(
        default="betas_fithrf_GLMdenoise_RR",
        description="nsd: which betas. bold5000: 'openneuro' reads ds001499, else release 2.0. "
        "glmsingle: TYPEB, TYPEC or TYPED, else the best that is there. tvsd: 'trials' reads time courses, "
        "else averages. pereira2018: 'concepts', or concepts_ with pictures, sentences or wordclouds, else "
        "sentences.",
    )
    mask: Region = Field(
        default="nsdgeneral", description="nsd: an atlas file whose values above 0 are kept, or 'brain' for "
        "all voxels with data. haxby: 'mask' or one of its masks. bold5000, laion_fmri: 'rois' or 'brain'. "
        "glmsingle: 'brain' or a NIfTI beside the betas, by its name."
    )  # fmt: skip
    regions: list[Region] = Field(
        default_factory=list, description="nsd: atlases to read; each of their regions becomes roi_<name>. "
        "glmsingle: masks beside the betas. laion_fmri: regions or categories of them; none: all. "
        "{atlas: NAME}: none but a parcellation.", json_schema_extra=_or_atlas,
    )  # fmt: skip
    atlas: Annotated[str, AfterValidator(_atlas)] | None = Field(
        default=None, description="A parcellation whose labels become the coordinate `parcel`: schaefer-400, "
        "glasser-360 or a file of labels on the grid or mesh of the recordings, with {hemi} in the name of "
        "files of one hemisphere and {subject} where each subject has its own."
    )  # fmt: skip
    atlas_labels: Place | None = Field(
        default=None, description="Names of the numbers of a volume of labels: .tsv (index, name), .txt (a "
        "colour table) or .json; null: a table of the volume's name beside it, else the numbers."
    )  # fmt: skip
    average: Literal["parcel"] | None = Field(
        default=None, description="'parcel': a neuroid is the mean of a parcel of `atlas`."
    )
    sessions: int | None = Field(
        default=None,
        ge=1,
        description="nsd, treebank, glmsingle, laion_fmri: read the first so many; null: all.",
    )
    events: Literal["words", "sentences", "scenes"] = Field(
        default="words", description="treebank: what is a stimulus."
    )
    task: Literal["vision", "imagery", "vision_concepts", "imagery_concepts"] = Field(
        default="vision", description="nsd_imagery: targets that are seen or imagined; of concepts there is "
        "a word and no picture."
    )  # fmt: skip
    partition: str = Field(
        default="ood", pattern="^(ood|(shared|sub-[0-9]{2})/[a-z0-9_]+)$", description="laion_fmri: which of "
        "its splits is the dataset's: 'ood', or 'shared/tau', 'sub-01/cluster_k5_0', …, read from `splits`."
    )  # fmt: skip
    reference: Literal["none", "bipolar", "laplacian"] = Field(
        default="laplacian", description="treebank: an electrode less its neighbours on the shank."
    )
    band: Literal["broadband", "high_gamma"] = Field(
        default="broadband", description="treebank: the potential, or the envelope from 70 to 150 Hz."
    )
    window: float = Field(default=0.2, gt=0, le=10, description="treebank: s that a time bin lasts.")
    step: float = Field(default=0.1, gt=0, le=10, description="treebank: s between time bins.")
    span: tuple[float, float] = Field(
        default=(-0.4, 1.0), description="treebank: s around an event within which time bins lie."
    )
    films: Place | None = Field(
        default=None, description="treebank: folder with one's own copies of the films, named as the "
        "annotations name them; null: stimuli are words alone."
    )  # fmt: skip
    clip: float = Field(
        default=0.5, gt=0, le=60, description="treebank, with films: s of the film from the onset of an "
        "event that networks are shown."
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _parcellation(cls, data: Any) -> Any:
        """Take `regions: {atlas: NAME}` for `atlas: NAME` without other regions."""
        regions = data.get("regions") if isinstance(data, dict) else None
        if not isinstance(regions, dict):
            return data
        wrong = set(regions) != {"atlas"} or regions["atlas"] is None
        if wrong or data.get("atlas") not in (None, regions["atlas"]):
            raise ValueError(
                "regions: a list, or {atlas: NAME} alone; beside a list the parcellation stands as "
                "`atlas: NAME`"
            )
        return data | {"atlas": regions["atlas"], "regions": []}

    @model_validator(mode="after")
    def _bins(self) -> Self:
        if self.span[1] - self.span[0] < self.window - 1e-9:
            raise ValueError(f"span {list(self.span)} holds no window of {self.window:g} s. Widen it")
        return self

    @model_validator(mode="after")
    def _parcels(self) -> Self:
        if self.average and self.atlas is None:
            raise ValueError("average: 'parcel' needs `atlas`, whose parcels they are. Name one")
        if self.atlas_labels and (self.atlas in (None, *ATLASES) or ".dlabel." in str(self.atlas).lower()
                                  or not str(self.atlas).lower().endswith(VOLUMES)):  # fmt: skip
            raise ValueError("atlas_labels: names are given to the numbers of a volume alone. Leave it out")
        return self


class Split(Section):
    """How stimuli are divided into training and test."""

    kind: Literal[
        "dataset", "stimulus", "kfold", "group", "chronological", "cluster", "distant", "category"
    ] = Field(
        default="dataset", description="'dataset': the test stimuli the dataset names; 'stimulus': a random "
        "share of the stimuli; 'kfold': random folds, each stimulus is tested once; 'group': each group "
        "(run, story, …) is the test set once; 'chronological': each film is cut into `n_folds` stretches, "
        "each tested once; 'cluster': `n_folds` clusters of the space of `features`, each tested once; "
        "'distant': "
        "a fold of the stimuli farthest from all others in that space, and one as large of stimuli that have "
        "near neighbours, with one training set; 'category': the categories are dealt into `n_folds` sets, "
        "each "
        "tested once."
    )  # fmt: skip
    features: Name | None = Field(
        default=None, description="Model in whose space distances are taken: of cluster and distant, and of "
            "any "
        "other kind to score against the distance to training."
    )  # fmt: skip
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    n_folds: int = Field(
        default=1, ge=1, description="Repetitions of a random split; folds of kfold; stretches of a film."
    )
    stratify: bool = Field(
        default=False, description="stimulus: each test set holds the same share of each category."
    )
    embargo: float = Field(
        default=5.0, ge=0, description="chronological: what lies within so many seconds of a test stretch, "
        "from onset to the end of its `duration`, is left out of training, and of an inner fold out of what "
        "is fitted beside it."
    )  # fmt: skip
    n_inner: int = Field(default=5, ge=2, description="Folds within training, for alpha and layer.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _space(self) -> Self:
        if self.kind in ("cluster", "distant") and self.features is None:
            raise ValueError(
                f"kind {self.kind!r} needs `features`, the model in whose space stimuli are near or far. "
                f"Name one"
            )
        if self.stratify and self.kind != "stimulus":
            raise ValueError(f"`stratify` is for kind 'stimulus', not {self.kind!r}. Leave it out")
        return self
