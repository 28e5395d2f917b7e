"""Macaque V4 and IT seeing objects on backgrounds (Majaj, Hong et al. 2015), as Brain-Score packs it.

The public part: 3,200 pictures of 64 objects in 148,480 presentations, 88 sites of V4 and 168 of IT in two
animals; spikes from 70 to 170 ms. It names no test pictures: Brain-Score's benchmarks split at random.
"""

from __future__ import annotations

import xarray as xr

from neuroenc.config import Dataset
from neuroenc.datasets import brainscore

LICENCE = "as brain-score.org says of its public data; the pictures come with it"
CITATION = "Majaj, Hong, Solomon, DiCarlo (2015), Journal of Neuroscience 35, 13402-13418"
RELEASE = brainscore.Release(
    "MajajHong2015.public", "dicarlo_MajajHong2015_public", "dicarlo_hvm-public", (70, 170), "object_name",
    "firing rate from 70 to 170 ms, as published",
    {"presentations": 148_480, "pictures": 3200, "V4": 88, "IT": 168},
)  # fmt: skip


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  all saw the same
    """List the pictures; the object is caption and category."""
    return brainscore.stimuli(options, RELEASE)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the sites of one animal (`Chabo`, `Tito`), or of `all`."""
    return brainscore.responses(options, subject, RELEASE)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare presentations, pictures and sites with the record."""
    return brainscore.check(options, subjects, RELEASE)
