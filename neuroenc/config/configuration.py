"""The one typed model of `config.yaml`: its sections joined, and what they say of one another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field, model_validator

from neuroenc.config.base import Name, Place, Section
from neuroenc.config.dataset import Dataset, Split
from neuroenc.config.decoders import (
    Classifying,
    Contributions,
    Decoder,
    Embedding,
    ModelCaptioner,
    NetworkDecoding,
    Reconstruction,
    RidgeDecoding,
    Shapes,
    Synthesis,
    Transfer,
    VoxelCaptions,
)
from neuroenc.config.encoders import FUSING, JOINT, Encoder, Partition, Ridge, Stack
from neuroenc.config.evaluation import Comparison, Evaluation, Figures, LearningCurve, Similarity
from neuroenc.config.features import BLIND, Model
from neuroenc.config.simulation import Simulation
from neuroenc.errors import suggest


class Config(Section):
    """Everything the workflow is told: science only."""

    label: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Folder of the results.")
    dataset: Dataset
    simulate: Simulation = Simulation()
    subjects: list[Name] = Field(min_length=1)
    split: Split = Split()
    models: dict[Name, Model] = Field(min_length=1)
    encoders: dict[Name, Encoder] = Field(
        default={"ridge": Ridge()}, min_length=1,
        description="Encoders by a label of your own; `name` says which, and may be left out where the label "
        "is the name."
    )  # fmt: skip
    stack: Stack | None = None
    export: str | None = Field(
        default=None, description="Encoder that is written as a folder `neuroenc.load` reads, for each "
        "subject: 'stack', MODEL of the first encoder, MODEL-ENCODER of others."
    )  # fmt: skip
    decoders: dict[Name, Decoder] = Field(
        default_factory=dict, description="Decoders by a label of your own; `name` says which, and may be "
        "left out where the label is the name."
    )  # fmt: skip
    transfer: Transfer | None = None
    reconstruction: Reconstruction | None = None
    shapes: Shapes | None = None
    captioners: dict[Name, ModelCaptioner] = Field(
        default_factory=dict, description="What writes captions, by a label of your own: trained on the "
        "pictures that no fold tests."
    )  # fmt: skip
    captions: VoxelCaptions | None = None
    synthesis: Synthesis | None = None
    contributions: Contributions | None = None
    pools: dict[Name, Place] = Field(
        default_factory=dict, description="Folders of pictures that nobody was shown, each by a name of your "
        "own: decoders of embeddings retrieve from them too."
    )  # fmt: skip
    evaluation: Evaluation = Evaluation()
    comparisons: dict[Name, Comparison] = Field(
        default_factory=dict, description="Fits against others, each by a label of your own."
    )
    partition: Partition | None = None
    learning_curve: LearningCurve | None = None
    similarity: Similarity | None = None
    figures: Figures = Figures()

    @model_validator(mode="before")
    @classmethod
    def _labels(cls, data: Any) -> Any:
        """Let the label of an encoder or decoder be its name."""
        for key in ("encoders", "decoders"):
            found = data.get(key) if isinstance(data, dict) else None
            if isinstance(found, dict):
                named = {k: {"name": k} | v if isinstance(v, dict) else v for k, v in found.items()}
                data = data | {key: named}
        return data

    @model_validator(mode="after")
    def _names(self) -> Self:
        self._distinct()
        for name, model in self.models.items():
            if 0 < model.misalign <= self.split.embargo:
                raise ValueError(
                    f"models.{name}.misalign is {model.misalign:g} s, expected more than split.embargo, "
                    f"{self.split.embargo:g} s: what is nearer in time is alike"
                )
        for label, encoder in self.encoders.items():
            self._models_of(label, encoder)
        for label, decoder in self.decoders.items():
            if isinstance(decoder, Classifying):
                name = decoder.target
                if name in self.models and (name != "category" or self.models[name].extractor != "category"):
                    raise ValueError(
                        f"decoders.{label}.target: {name!r} is a model. A classifier reads labels of the "
                        "stimuli: 'category', 'category:NAME' or a column of their table."
                    )
                continue
            for name in set(decoder.models) - set(self.models):
                raise ValueError(f"decoders.{label}.models: no model {name!r}. {suggest(name, self.models)}")
            for name in decoder.models or self.models:
                if self.models[name].extractor == "category":
                    raise ValueError(
                        f"decoders.{label}: {name!r} is a table of categories, which stimuli share, so that "
                        f"none can be retrieved by it. Use a decoder with `name: classifier, "
                        f"target: category`"
                        + (", or name the `models` that are decoded." if not decoder.models else ".")
                    )
            self._subjects_of(label, decoder)
            self._augment(label, decoder)
        if self.transfer:
            self._transfer(self.transfer)
        if (space := self.split.features) is not None:
            if space not in self.models:
                raise ValueError(f"split.features: no model {space!r}. {suggest(space, self.models)}")
            if (self.models[space].projection or "").startswith("pca"):
                raise ValueError(
                    f"split.features: {space!r} is projected ({self.models[space].projection!r}) by what is "
                    f"fitted "
                    "to training stimuli, which the split is yet to choose. Name a model without it"
                )
        for name in self.similarity.models if self.similarity else []:
            if name not in self.models:
                raise ValueError(f"similarity.models: no model {name!r}. {suggest(name, self.models)}")
        for name in self.partition.models if self.partition else []:
            if name not in self.models:
                raise ValueError(f"partition.models: no model {name!r}. {suggest(name, self.models)}")
        if self.captions and self.captions.model not in self.models:
            name = self.captions.model
            raise ValueError(f"captions.model: no model {name!r}. {suggest(name, self.models)}")
        for label, captioner in self.captioners.items():
            if captioner.model not in self.models:
                raise ValueError(
                    f"captioners.{label}.model: no model {captioner.model!r}. "
                    f"{suggest(captioner.model, self.models)}"
                )
        for name in self.contributions.decoders if self.contributions else []:
            if name not in self.embeddings:
                raise ValueError(f"contributions.decoders: no {name!r}. {suggest(name, self.embeddings)}")
        if self.pools:
            self._pools()
        if self.contributions and not self.embeddings:
            raise ValueError("contributions: needs `decoders` of embeddings, whose scores fall")
        for name in (self.contributions.decoders or self.embeddings) if self.contributions else []:
            read = self.embeddings[name].model_dump()
            if odd := [k for k in ("subjects", "sessions", "augment") if read.get(k)]:
                raise ValueError(
                    f"contributions: {name!r} has `{odd[0]}`, which is not read there. Name other `decoders`"
                )
        known = self.fits()
        if self.synthesis:
            for key, name, among in (
                ("model", self.synthesis.model, self.models), ("judge", self.synthesis.judge, known)
            ):  # fmt: skip
                if name not in among:
                    raise ValueError(f"synthesis.{key}: no {name!r}. {suggest(name, among)}")
        if self.reconstruction:
            self._reconstruction(self.reconstruction, known)
        if self.shapes:
            self._shapes(self.shapes)
        exports = [*known, *(["stack"] if self.stack else [])]
        if self.export is not None and self.export not in exports:
            raise ValueError(f"export: no encoder {self.export!r}. {suggest(self.export, exports)}")
        for label, comparison in self.comparisons.items():
            for name in (comparison.better, *comparison.than):
                if name not in exports:
                    raise ValueError(f"comparisons.{label}: no fit {name!r}. {suggest(name, exports)}")
        for name in self.learning_curve.fits if self.learning_curve else []:
            if name not in known:
                raise ValueError(f"learning_curve.fits: no fit {name!r}. {suggest(name, known)}")
        for name in set(self.stack.members if self.stack else []) - set(known):
            raise ValueError(f"stack.members: no encoder {name!r}. {suggest(name, known)}")
        return self

    def _models_of(self, label: str, encoder: Encoder) -> None:
        """Refuse models that are not there or stand twice, and several where an encoder reads one."""
        seen: set[frozenset[str]] = set()
        for item in encoder.models:
            names = [item] if isinstance(item, str) else item
            for name in names:
                if name not in self.models:
                    raise ValueError(
                        f"encoders.{label}.models: no model {name!r}. {suggest(name, self.models)}"
                    )
            if not isinstance(item, str) and len(names) < 2:
                raise ValueError(
                    f"encoders.{label}.models: [{', '.join(names)}] is a list of {len(names)}, expected two "
                    "models or more that are read side by side. Name one model without brackets"
                )
            if len(names) > 1 and encoder.name not in FUSING:
                raise ValueError(
                    f"encoders.{label}.models: {encoder.name!r} reads one model at a time, found "
                    f"[{', '.join(names)}]. Name them one by one, or use {', '.join(FUSING)}"
                )
            if len(set(names)) < len(names):
                raise ValueError(
                    f"encoders.{label}.models: [{', '.join(names)}] names a model twice. Name it once"
                )
            if frozenset(names) in seen:
                raise ValueError(
                    f"encoders.{label}.models: {' and '.join(names)} stand twice, in whatever order. Name "
                    "them once"
                )
            seen.add(frozenset(names))

    def _subjects_of(self, label: str, decoder: Embedding) -> None:
        """Refuse a network of subjects that are not there, that is of one alone, or that has a prior."""
        if not isinstance(decoder, NetworkDecoding) or not decoder.subjects:
            return
        key = f"decoders.{label}.subjects"
        together = self.subjects if decoder.subjects == "all" else decoder.subjects
        for name in together:
            if name not in self.subjects:
                raise ValueError(f"{key}: no subject {name!r}. {suggest(name, self.subjects)}")
        if len(set(together)) < max(2, len(together)):
            raise ValueError(f"{key}: {', '.join(together)}, expected two subjects or more, each once")
        if decoder.prior:
            raise ValueError(
                f"decoders.{label}.prior: a network of several subjects has none. Leave it or `subjects` out"
            )

    def _augment(self, label: str, decoder: Embedding) -> None:
        """Refuse an encoder that is not there, and what does not go with made pairs."""
        if decoder.augment is None:
            return
        key, known = f"decoders.{label}.augment", [k for k, (_, m) in self.fits().items() if JOINT not in m]
        if decoder.augment.fit not in known:
            raise ValueError(f"{key}.fit: no fit {decoder.augment.fit!r} to one model. "
                             f"{suggest(decoder.augment.fit, known)}")  # fmt: skip
        options = decoder.model_dump()
        for other, why in (
            ("sessions", "the encoder read all sessions"), ("subjects", "an encoder is of one subject"),
            ("prior", "a prior learns from measured pairs"),
        ):  # fmt: skip
            if options.get(other):
                raise ValueError(f"{key}: not with `{other}`: {why}. Leave one out")
        if options.get("repeats", "mean") != "mean" or options.get("front", "linear") != "linear":
            raise ValueError(
                f"{key}: needs `repeats: mean` and `front: linear`. Leave these or `augment` out"
            )
        if decoder.augment.pictures != "pool":
            read = [*(decoder.models or self.models), self.fits()[decoder.augment.fit][1]]
            if name := next(filter(self._bound, read), None):
                raise ValueError(
                    f"{key}.pictures: {name!r} has features that pictures of a folder cannot have (a file, "
                    "texts, a projection fitted to training stimuli). Use 'pool', or other models"
                )

    def _bound(self, name: str) -> bool:
        """Say whether a model's features are of the dataset's stimuli alone."""
        model = self.models[name]
        projected = (model.projection or "").startswith("pca")
        return projected or model.extractor in ("file", *BLIND) or model.texts is not None

    def _transfer(self, asked: Transfer) -> None:
        for key, name, kind in (
            ("network", asked.network, NetworkDecoding),
            ("ridge", asked.ridge, RidgeDecoding),
        ):
            known = [k for k, v in self.decoders.items() if isinstance(v, kind)]
            if name not in known:
                raise ValueError(f"transfer.{key}: no {key} {name!r}. {suggest(name, known)}")
        layers = [self.embeddings[name].layers for name in (asked.network, asked.ridge)]
        if layers[0] != layers[1]:
            raise ValueError(
                f"transfer: {asked.network!r} decodes layers {layers[0]}, {asked.ridge!r} {layers[1]}. Give "
                "both the same"
            )
        if asked.model not in self.models:
            raise ValueError(f"transfer.model: no model {asked.model!r}. {suggest(asked.model, self.models)}")
        for name in asked.subjects:
            if name not in self.subjects:
                raise ValueError(f"transfer.subjects: no subject {name!r}. {suggest(name, self.subjects)}")
        if len(self.subjects) < 2:
            raise ValueError("transfer: one subject, expected others to train on first. Name more `subjects`")

    def _pools(self) -> None:
        """Refuse pools that nothing looks into, and embeddings that other pictures cannot have."""
        if not self.embeddings:
            raise ValueError("pools: needs `decoders` of embeddings, which are looked for in them")
        for label, decoder in self.embeddings.items():
            for name in decoder.models or self.models:
                model = self.models[name]
                if (model.projection or "").startswith("pca") or model.extractor in ("file", "caption"):
                    raise ValueError(
                        f"pools: decoders.{label} decodes {name!r}, whose features other pictures cannot "
                        "have (a file, texts, a projection fitted to training stimuli). Name other `models`"
                    )

    def _distinct(self) -> None:
        """Refuse names that would share a file, also where the system does not tell upper from lower case."""
        regions = self.synthesis.regions if self.synthesis else []
        for key, names in (
            ("subjects", self.subjects), ("models", self.models), ("encoders", self.encoders),
            ("decoders", self.decoders), ("comparisons", self.comparisons), ("pools", self.pools),
            ("synthesis.regions", regions),
        ):  # fmt: skip
            seen: dict[str, str] = {}
            for name in names:
                if (other := seen.get(name.casefold())) == name:
                    raise ValueError(f"{key}: {name!r} stands twice. Name it once")
                if seen.setdefault(name.casefold(), name) != name:
                    raise ValueError(
                        f"{key}: {other!r} and {name!r} differ in case alone, which some disks cannot tell "
                        "apart. Rename one"
                    )
        if "all" in self.subjects and len(self.subjects) > 1:
            raise ValueError(
                "subjects: 'all' is what all subjects together go by. Name the subject otherwise"
            )
        if self.stack and "stack" in {*self.models, *self.encoders}:
            raise ValueError("'stack' is the name of the mixture. Give the model or encoder another")

    def _reconstruction(self, asked: Reconstruction, fits: dict[str, tuple[str, str]]) -> None:
        for key, names, known in (
            ("decoder", [asked.decoder], self.embeddings), ("model", [asked.model], self.models),
            ("low_level", [asked.low_level] if asked.low_level else [], self.embeddings),
            ("judges", asked.judges, self.models), ("closed_loop", asked.closed_loop, fits),
        ):  # fmt: skip
            for name in names:
                if name not in known:
                    raise ValueError(f"reconstruction.{key}: no {name!r}. {suggest(name, known)}")
        for name in filter(None, (asked.decoder, asked.low_level)):
            lacking = set(self.subjects) - set(self.decoded_subjects(name))
            if lacking:
                raise ValueError(
                    f"reconstruction: {name!r} does not decode {', '.join(sorted(lacking))}. Name all in "
                    "its `subjects`"
                )
        if asked.model not in (self.embeddings[asked.decoder].models or self.models):
            raise ValueError(f"reconstruction.model: {asked.decoder!r} does not decode {asked.model!r}")
        if asked.low_level and len(self.embeddings[asked.low_level].models) != 1:
            raise ValueError(
                "reconstruction.low_level: a decoder of one model, whose extractor is 'pixel' or 'vae'"
            )

    def _shapes(self, asked: Shapes) -> None:
        drawn, pictures = asked.generator == "shap_e", self.reconstruction
        if drawn and (pictures is None or asked.decoder or asked.model):
            raise ValueError(
                "shapes: shap_e makes objects of what `reconstruction` drew. Give that, and neither a "
                "decoder nor a model here"
            )
        if not (asked.meshes or (drawn and asked.judge)):
            raise ValueError(
                "shapes: nothing to score by. Name a table of true `meshes`, which retrieval needs, or for "
                "shap_e a `judge`"
            )
        if asked.judge and asked.judge not in self.models:
            raise ValueError(f"shapes.judge: no {asked.judge!r}. {suggest(asked.judge, self.models)}")
        label = asked.decoder or (pictures.decoder if pictures else "")
        model = asked.model or (pictures.model if pictures else "")
        known: dict[str, Iterable[str]] = {"decoder": self.embeddings, "model": self.models}
        for key, name in (("decoder", label), ("model", model)):
            if name not in known[key]:
                raise ValueError(f"shapes.{key}: no {name!r}. {suggest(name, known[key])}")
        if model not in (self.embeddings[label].models or self.models):
            raise ValueError(f"shapes.model: {label!r} does not decode {model!r}")
        lacking = set(self.subjects) - set(self.decoded_subjects(label))
        if lacking:
            raise ValueError(
                f"shapes: {label!r} does not decode {', '.join(sorted(lacking))}. Name all in its `subjects`"
            )

    @property
    def embeddings(self) -> dict[str, Embedding]:
        """The decoders that give embeddings, not classes."""
        return {k: v for k, v in self.decoders.items() if not isinstance(v, Classifying)}

    def decoded_subjects(self, label: str) -> list[str]:
        """List the subjects a decoder decodes."""
        chosen = getattr(self.decoders[label], "subjects", None) or "all"
        return self.subjects if chosen == "all" else list(chosen)

    def fits(self) -> dict[str, tuple[str, str]]:
        """List what is fitted: name -> (encoder, model); the first encoder's go by the model alone.

        Of a fit to several models the model is A+B (`models_of`).
        """
        first = next(iter(self.encoders))
        return {
            model if label == first else f"{model}-{label}": (label, model)
            for label, encoder in self.encoders.items()
            for model in encoder.reads(self.models)
        }


def models_of(fitted: str) -> list[str]:
    """Return the models of what an encoder is fitted to: of 'A+B' A and B."""
    return fitted.split(JOINT)
