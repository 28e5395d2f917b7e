"""The sections `evaluation`, `similarity` and `figures`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from neuroenc.config.base import Name, Section, Seed


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
    pairs: bool = Field(
        default=False, description="Also score patterns over neuroids, by region: two stimuli against each "
        "other (2V2) and the correlation of each."
    )  # fmt: skip
    n_bootstraps: int = Field(default=1000, ge=100)
    stretch: float = Field(
        default=20.0, gt=0, description="Films and stories: seconds that are resampled together, because "
        "neighbours in time are alike."
    )  # fmt: skip
    n_permutations: int = Field(default=1000, ge=100)
    fdr_level: float = Field(default=0.05, gt=0, lt=1, description="Of what is called significant.")
    brainscore: bool = Field(
        default=False, description="Also give Brain-Score's statistic of each region; for ten random splits "
        "of 90 to 10 by stimulus."
    )  # fmt: skip
    seed: Seed = 0


class Comparison(Section):
    """Whether one fit beats others on the same test stimuli."""

    better: str = Field(description="MODEL for the first encoder, MODEL-ENCODER for others, or stack.")
    than: list[str] = Field(min_length=1, description="Its rivals; all of them must be beaten.")
    metric: Literal["pearson_r", "r2"] = Field(
        default="pearson_r", description="What is tested: of r predictions are exchanged, of R2 the "
        "differences of squared errors change their signs."
    )  # fmt: skip
    delta: float = Field(
        default=0.01, gt=0, description="Equivalent: the 90 % interval of the difference is within it."
    )

    @model_validator(mode="after")
    def _others(self) -> Self:
        names = [self.better, *self.than]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise ValueError(f"{twice!r} stands twice. Compare a fit with others, each once")
        return self


class LearningCurve(Section):
    """Fits to fewer training stimuli: the first of a seeded order, the same tests."""

    sizes: list[Annotated[int, Field(ge=2)]] = Field(
        min_length=1, description="Numbers of training stimuli of each fold; all of them come last by "
        "themselves."
    )  # fmt: skip
    fits: list[str] = Field(
        default_factory=list, description="MODEL for the first encoder, MODEL-ENCODER for others; empty: all."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for values in (self.sizes, self.fits):
            if len(set(values)) < len(values):
                raise ValueError(f"[{', '.join(map(str, values))}] names one twice. Name it once")
        return self


class Similarity(Section):
    """Dissimilarity matrices of layers held against those of regions, over all subjects."""

    models: list[Name] = Field(default_factory=list, description="Models that are compared; empty: all.")
    distance: Literal["correlation", "euclidean", "crossnobis"] = Field(
        default="correlation", description="Of two patterns; 'crossnobis': of responses between repeats, "
            "whose "
        "noise adds nothing, and squared Euclidean of features."
    )  # fmt: skip
    measure: Literal["spearman", "kendall", "pearson", "cosine", "whitened_cosine", "cka"] = Field(
        default="spearman", description="Of two matrices; 'kendall': tau a; 'cka': debiased linear CKA, for "
            "which "
        "`distance` is 'euclidean'."
    )  # fmt: skip
    n_bootstraps: int = Field(default=1000, ge=100, description="Half samples of stimuli, for the interval.")
    n_halves: int = Field(
        default=20, ge=1, description="Halvings of the repeats, for reliability in a subject."
    )
    brain_to_brain: bool = Field(
        default=False, description="Predict each subject from the others by ridge: a ceiling that any model "
        "may be held against."
    )  # fmt: skip
    seed: Seed = 0

    @model_validator(mode="after")
    def _debiased(self) -> Self:
        if self.measure == "cka" and self.distance != "euclidean":
            raise ValueError(f"measure 'cka' is of distance 'euclidean', found {self.distance!r}. Set it")
        return self


class Figures(Section):
    """What is drawn."""

    surface: bool = Field(
        default=False, description="Draw and write maps on the fsaverage surface; nsd only."
    )
    volume: bool = Field(default=False, description="Write NIfTI maps on the subject's grid.")
    time_course: bool = Field(default=False, description="Draw accuracy over time; responses with time bins.")
    electrodes: bool = Field(
        default=False, description="Draw scores and comparisons at the electrodes of all subjects, and list "
        "which electrodes each comparison's fit wins; neuroids with places."
    )  # fmt: skip
