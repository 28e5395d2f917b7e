"""Recordings and what was shown: one module per dataset, each with the same three functions.

`load_stimuli(options, subjects)`, `load_responses(options, subject)` and
`check_tree(options, subjects)`; `options` is the `dataset` section of the configuration.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from neuroenc.lazy import face

if TYPE_CHECKING:
    import xarray as xr

    from neuroenc.config import Dataset
    from neuroenc.datasets.arrays import from_arrays
    from neuroenc.datasets.pixels import read_pixels

HOMES = {
    "from_arrays": "arrays",
    "read_pixels": "pixels",
}

__all__ = [
    "DatasetModule",
    "from_arrays",
    "module",
    "read_pixels",
]


class DatasetModule(Protocol):
    """What every module of a dataset offers."""

    LICENCE: str
    CITATION: str

    def load_stimuli(self, options: Dataset, subjects: list[str]) -> xr.Dataset:
        """Return the StimulusSet of the subjects."""

    def load_responses(self, options: Dataset, subject: str) -> xr.Dataset:
        """Return the Responses of one subject."""

    def check_tree(self, options: Dataset, subjects: list[str]) -> list[str]:
        """Compare the tree with its record; raise on the first difference."""


def module(options: Dataset) -> DatasetModule:
    """Return the module of the dataset the options name."""
    return cast(DatasetModule, import_module(f"neuroenc.datasets.{options.name}"))


face(__name__, HOMES)
