"""The sections `evaluation` and `figures`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from neuroenc.config.base import Section, Seed


class Evaluation(Section):
    """Ceilings and statistics."""

    ceiling: Literal["ncsnr", "split_half", "explainable_variance", "given"] = Field(
        default="ncsnr", description="How it is estimated from repeats; 'given': the `noise_ceiling` that "
        "comes with the data, which is also taken where no test stimulus is repeated."
    )  # fmt: skip
    threshold: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Ceilings below this share of variance give no normalised score.",
    )
    n_bootstraps: int = Field(default=1000, ge=100)
    stretch: float = Field(
        default=20.0, gt=0, description="Films and stories: seconds that are resampled together, because "
        "neighbours in time are alike."
    )  # fmt: skip
    n_permutations: int = Field(default=1000, ge=100)
    fdr_level: float = Field(default=0.05, gt=0, lt=1, description="Of what is called significant.")
    seed: Seed = 0


class Figures(Section):
    """What is drawn."""

    surface: bool = Field(
        default=False, description="Draw and write maps on the fsaverage surface; nsd only."
    )
    volume: bool = Field(default=False, description="Write NIfTI maps on the subject's grid.")
    time_course: bool = Field(default=False, description="Draw accuracy over time; responses with time bins.")
