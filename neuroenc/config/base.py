"""What all sections share: the class that refuses unknown keys, and the types of names, places and seeds."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from neuroenc.devices import NAMES


def _name(value: str) -> str:
    if not re.fullmatch("[A-Za-z0-9]+", value):
        bare = value.removeprefix("sub-")
        hint = (
            f"; write {bare!r}, and call it so in recordings of your own"
            if bare != value and re.fullmatch("[A-Za-z0-9]+", bare)
            else ""
        )
        raise ValueError(
            f"Names are letters and digits, A to Z, a to z, 0 to 9: they become part of file names{hint}"
        )
    return value


def _region(value: str) -> str:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.+-]*", value):
        raise ValueError(
            "Regions and atlases begin with a letter or digit and hold A to Z, a to z, 0 to 9 and _ . + -: "
            "they become part of file names"
        )
    return value


def place(value: str) -> str:
    """Return a path that the workflow can use."""
    # a variable that is not set here may be where the job runs
    found = re.search(r"[{}\x00-\x1f\x7f]", re.sub(r"\$\{\w+\}", "", os.path.expandvars(value)))
    if found or not value.strip():
        what = f"with {found[0]!r}" if found else "that is empty"
        raise ValueError(f"The workflow cannot use a path {what}. Rename it, or make a link to it")
    return value


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": "^[A-Za-z0-9]+$"})]
"""Of a subject, model, encoder or decoder"""
Region = Annotated[
    str, AfterValidator(_region), Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.+-]*$"})
]
Place = Annotated[str, AfterValidator(place)]
"""A file or folder"""
Layer = Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_.:/+-]*$")]
"""Of a network, by its path in the module"""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy, scikit-learn and torch all take"""
Layout = Annotated[str, Field(pattern=r"^(channels_first|channels_last|tokens:[0-9]{1,4})$")]
Device = Annotated[
    str,
    Field(
        pattern=f"^({NAMES})$",
        description="Of torch: cpu, cuda, cuda:<number> or mps; auto: a GPU where there is one.",
    ),
]


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers(cls, data: Any) -> Any:
        """Refuse true and no where a number is expected: they would be 1 and 0."""
        for key, value in data.items() if isinstance(data, dict) else ():
            kinds = _kinds(cls.model_fields[key].annotation) if key in cls.model_fields else set()
            if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
                raise ValueError(f"{key}: {str(value).lower()} is no number. Give one, or leave {key!r} out")
        return data


def _kinds(annotation: Any) -> set[Any]:
    """List the types that an annotation consists of."""
    inside = getattr(annotation, "__args__", ())
    return {kind for part in inside for kind in _kinds(part)} or {annotation}
