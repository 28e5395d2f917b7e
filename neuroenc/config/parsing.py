"""Check what a configuration says; a mistake is one line that names the key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from neuroenc.config.base import Section
from neuroenc.config.configuration import Config
from neuroenc.config.joint import JointStudy
from neuroenc.documents import read_yaml
from neuroenc.errors import InputError, nearest, suggest

S = TypeVar("S", bound=Section)


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
    return parse(Config, read_yaml(path), source=str(path))


def load_study(path: str | Path) -> Config | JointStudy:
    """Read and check a configuration file, of one set of recordings or, with `sets`, of several.

    Raises
    ------
    InputError
        As `load_config`.
    """
    return parse_study(read_yaml(path), source=str(path))


def parse_study(asked: Any, *, source: str = "") -> Config | JointStudy:
    """Check a configuration, of one set of recordings or, with `sets`, of several.

    Raises
    ------
    InputError
        As `parse`.
    """
    if isinstance(asked, dict) and "sets" in asked:
        return parse(JointStudy, asked, source=source)
    return parse(Config, asked, source=source)


def schema(section: type[Section] = Config) -> str:
    """Return the JSON schema of the configuration, or of a `JointStudy`."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(document | section.model_json_schema(), indent=2) + "\n"
