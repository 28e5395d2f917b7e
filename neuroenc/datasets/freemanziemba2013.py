"""Macaque V1 and V2 seeing textures and their noise (Freeman, Ziemba et al. 2013), as Brain-Score packs it.

The public part: 135 pictures through an aperture, 20 repeats, 102 neurons of V1 and 103 of V2; spikes in bins
of 1 ms, of which those from 50 to 200 ms are averaged, as Brain-Score's benchmark does. The assembly names no
animals, so that the one subject is `all`.
"""

from __future__ import annotations

import xarray as xr

from neuroenc.config import Dataset
from neuroenc.datasets import brainscore

LICENCE = "as brain-score.org says of its public data; the pictures come with it"
CITATION = "Freeman, Ziemba, Heeger, Simoncelli, Movshon (2013), Nature Neuroscience 16, 974-981"
RELEASE = brainscore.Release(
    "FreemanZiemba2013.public", "movshon_FreemanZiemba2013_public",
    "movshon_FreemanZiemba2013_aperture-public", (50, 200), "texture_type",
    "spikes in 1 ms, mean from 50 to 200 ms",
    {"presentations": 2700, "pictures": 135, "V1": 102, "V2": 103},
)  # fmt: skip


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  all saw the same
    """List the pictures; texture or noise is caption and category."""
    return brainscore.stimuli(options, RELEASE)


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the neurons, of the subject `all`."""
    return brainscore.responses(options, subject, RELEASE)


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Compare presentations, pictures and neurons with the record."""
    return brainscore.check(options, subjects, RELEASE)
