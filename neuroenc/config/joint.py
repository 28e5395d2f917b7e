"""The configuration of a study over several sets of recordings: one space for all."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from neuroenc.config.base import Name, Section
from neuroenc.config.configuration import Config
from neuroenc.config.dataset import Dataset, Split
from neuroenc.config.decoders import JointDecoding, Reconstruction
from neuroenc.config.features import Model
from neuroenc.errors import suggest


class Recordings(Section):
    """One set of recordings, called as its modality."""

    dataset: Dataset
    subjects: list[Name] = Field(min_length=1)


class SharedSplit(Split):
    """How the stimuli of all sets are divided together (`neuroenc split union`)."""

    by: str = Field(
        default="caption", min_length=1, description="Label that sets share: caption, category or a column "
        "of their tables; group: none, each keeps its own."
    )  # fmt: skip
    pixels: bool = Field(default=True, description="Also match pictures by their content.")

    @model_validator(mode="after")
    def _kind(self) -> Self:
        if self.kind not in ("dataset", "stimulus", "kfold"):
            raise ValueError(
                f"kind {self.kind!r} is of one set. Several are split by dataset, stimulus or kfold"
            )
        return self


class JointReconstruction(Reconstruction):
    """Pictures and captions of what was decoded from each recording."""

    decoder: str = "joint"
    model: str = "target"

    @model_validator(mode="after")
    def _one_set_alone(self) -> Self:
        for key in ("low_level", "judges", "closed_loop"):
            if getattr(self, key):
                raise ValueError(f"{key}: it is of one set of recordings. Leave it out")
        return self


class JointStudy(Section):
    """Everything the workflow is told of several sets of recordings that are decoded into one space."""

    label: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Folder of the results.")
    sets: dict[Name, Recordings] = Field(min_length=2, description="By modality: eeg, meg, fmri.")
    model: Model = Field(description="Whose embeddings of the stimuli all recordings are decoded into.")
    texts: Model | None = Field(
        default=None, description="Whose embeddings of the stimuli's texts they are held against too."
    )
    split: SharedSplit = SharedSplit()
    joint: JointDecoding = JointDecoding()
    leave_out: list[str] = Field(
        default_factory=list, description="Recordings, SET:SUBJECT, each of which is also read by a space "
        "that was trained without it."
    )  # fmt: skip

    reconstruction: JointReconstruction | None = None

    @property
    def recordings(self) -> list[str]:
        """List SET:SUBJECT."""
        return [f"{name}:{subject}" for name, of in self.sets.items() for subject in of.subjects]

    @property
    def members(self) -> dict[str, Config]:
        """The configuration of each set alone."""
        models = {"target": self.model} | ({"texts": self.texts} if self.texts else {})
        split = Split(**self.split.model_dump(exclude={"by", "pixels"}))
        return {
            name: Config(label=f"{self.label}-{name.lower()}", dataset=of.dataset, subjects=of.subjects,
                         models=models, split=split)
            for name, of in self.sets.items()
        }  # fmt: skip

    @model_validator(mode="after")
    def _known(self) -> Self:
        lower = [name.lower() for name in self.sets]
        if len(set(lower)) < len(lower):
            raise ValueError(f"sets: {', '.join(self.sets)} would share a folder. Name them otherwise")
        for name in self.leave_out:
            if name not in self.recordings:
                raise ValueError(f"leave_out: no recording {name!r}. {suggest(name, self.recordings)}")
            modality = name.partition(":")[0]
            if len(self.sets[modality].subjects) < 2:
                raise ValueError(
                    f"leave_out: {name!r} is read through the adapters of others of {modality!r}, and there "
                    "is none. Leave out another"
                )
        for key in ("front", "window"):
            for name in getattr(self.joint, key):
                if name not in self.sets:
                    raise ValueError(f"joint.{key}: no set {name!r}. {suggest(name, self.sets)}")
        for key, model in (("model", self.model), ("texts", self.texts)):
            if model is not None and (model.projection or "").startswith("pca"):
                raise ValueError(
                    f"{key}.projection: {model.projection!r} is fitted to training stimuli, of each set by "
                    "itself: the sets would have spaces of their own. Use `joint.n_components`"
                )
        return self
