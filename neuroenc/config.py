"""The one typed model of `config.yaml`; the schema Snakemake validates is written from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from neuroenc.errors import InputError, nearest, suggest
from neuroenc.sections import (
    PLS,
    Alphas,
    Attention,
    Banded,
    Classifying,
    Dataset,
    Decoder,
    DecoderChoice,
    DecoderSection,
    Delayed,
    Embedding,
    Encoder,
    EncoderChoice,
    EncoderSection,
    Evaluation,
    Factorised,
    Figures,
    Gaussian,
    Layerwise,
    Model,
    Name,
    NetworkDecoding,
    Prior,
    Reconstruction,
    Ridge,
    RidgeDecoding,
    Section,
    SemanticTransformer,
    Simulation,
    Split,
    Stack,
    Synthesis,
    Trained,
    VoxelCaptions,
)

__all__ = [
    "PLS",
    "Alphas",
    "Attention",
    "Banded",
    "Classifying",
    "Config",
    "Dataset",
    "Decoder",
    "DecoderChoice",
    "DecoderSection",
    "Delayed",
    "Embedding",
    "Encoder",
    "EncoderChoice",
    "EncoderSection",
    "Evaluation",
    "Factorised",
    "Figures",
    "Gaussian",
    "Layerwise",
    "Model",
    "NetworkDecoding",
    "Prior",
    "Reconstruction",
    "Ridge",
    "RidgeDecoding",
    "Section",
    "SemanticTransformer",
    "Simulation",
    "Split",
    "Stack",
    "Synthesis",
    "Trained",
    "VoxelCaptions",
    "load_config",
    "parse",
    "schema",
]
S = TypeVar("S", bound=Section)


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
    decoders: dict[Name, Decoder] = Field(
        default_factory=dict, description="Decoders by a label of your own; `name` says which, and may be "
        "left out where the label is the name."
    )  # fmt: skip
    reconstruction: Reconstruction | None = None
    captions: VoxelCaptions | None = None
    synthesis: Synthesis | None = None
    evaluation: Evaluation = Evaluation()
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
        for label, encoder in self.encoders.items():
            for name in set(encoder.models) - set(self.models):
                raise ValueError(f"encoders.{label}.models: no model {name!r}. {suggest(name, self.models)}")
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
        if self.captions and self.captions.model not in self.models:
            name = self.captions.model
            raise ValueError(f"captions.model: no model {name!r}. {suggest(name, self.models)}")
        known = self.fits()
        if self.synthesis:
            for key, name, among in (
                ("model", self.synthesis.model, self.models), ("judge", self.synthesis.judge, known)
            ):  # fmt: skip
                if name not in among:
                    raise ValueError(f"synthesis.{key}: no {name!r}. {suggest(name, among)}")
        if self.reconstruction:
            self._reconstruction(self.reconstruction, known)
        for name in set(self.stack.members if self.stack else []) - set(known):
            raise ValueError(f"stack.members: no encoder {name!r}. {suggest(name, known)}")
        return self

    def _distinct(self) -> None:
        """Refuse names that would share a file, also where the system does not tell upper from lower case."""
        regions = self.synthesis.regions if self.synthesis else []
        for key, names in (
            ("subjects", self.subjects), ("models", self.models), ("encoders", self.encoders),
            ("decoders", self.decoders), ("synthesis.regions", regions),
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
        if asked.model not in (self.embeddings[asked.decoder].models or self.models):
            raise ValueError(f"reconstruction.model: {asked.decoder!r} does not decode {asked.model!r}")
        if asked.low_level and len(self.embeddings[asked.low_level].models) != 1:
            raise ValueError("reconstruction.low_level: a decoder of one model, whose extractor is 'pixel'")

    @property
    def embeddings(self) -> dict[str, Embedding]:
        """The decoders that give embeddings, not classes."""
        return {k: v for k, v in self.decoders.items() if not isinstance(v, Classifying)}

    def fits(self) -> dict[str, tuple[str, str]]:
        """List what is fitted: name -> (encoder, model); the first encoder's go by the model alone."""
        first = next(iter(self.encoders))
        return {
            model if label == first else f"{model}-{label}": (label, model)
            for label, encoder in self.encoders.items()
            for model in self.models
            if not encoder.models or model in encoder.models
        }


def parse(section: type[S], data: Any, *, source: str = "") -> S:
    """Check `data` against a section.

    Raises
    ------
    InputError
        In one line: the key, what was found, what is allowed.
    """
    try:
        return section.model_validate(data)
    except ValidationError as error:
        # a misspelt key first: it explains a missing one
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        where = f" in {source}" if source else ""
        if first["type"] == "extra_forbidden":
            allowed = suggest(key, _siblings(section, first["loc"]))
            raise InputError(f"Unknown key {key!r}{where}. {allowed}") from None
        whole = first["type"] == "value_error" and isinstance(first["input"], (dict, Section))
        found = "" if whole or first["type"] == "missing" else f": {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        if first["type"] == "string_type" and isinstance(first["input"], (int, float)):
            message = "A name must be text: put it in quotes"
        if first["type"] == "literal_error":
            message += nearest(first["input"], re.findall("'([^']*)'", message))
        raise InputError(f"Invalid value for {key or 'config'!r}{where}{found}. {message}.") from None


def _siblings(section: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """List the valid keys beside the one at `loc`, with their path."""
    model: Any = section
    for part in loc[:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if annotation is None:  # a key of a dictionary of sections, or the tag of a union
            tagged = [k for k in getattr(model, "choices", ()) if k.model_fields["name"].default == part]
            model = tagged[0] if tagged else model
            continue
        found = _sections(annotation)
        model = found[0] if len(found) == 1 else _Choices(found)
    prefix = ".".join(map(str, loc[:-1]))
    return [f"{prefix}.{k}" if prefix else k for k in model.model_fields]


class _Choices:
    """A union of sections on the way to one of them."""

    model_fields: ClassVar[dict[str, Any]] = {}

    def __init__(self, choices: list[Any]) -> None:
        self.choices = choices


def _sections(annotation: Any) -> list[Any]:
    """List the sections inside an annotation."""
    if _is_section(annotation):
        return [annotation]
    return [s for a in getattr(annotation, "__args__", ()) for s in _sections(a)]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def load_config(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises
    ------
    InputError
        Missing file, not YAML or UTF-8, a key that stands twice or is unknown, a value out of range.
    """
    from neuroenc.documents import read_yaml

    return parse(Config, read_yaml(path), source=str(path))


def schema() -> str:
    """Return the JSON schema of the configuration."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(document | Config.model_json_schema(), indent=2) + "\n"
