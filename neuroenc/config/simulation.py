"""The section `simulate`, and the design of an experiment that is planned."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from neuroenc.config.base import Section, Seed


class Simulation(Section):
    """Sizes of the simulated NSD."""

    seed: Seed = Field(default=0, description="Of pictures, cortex and noise.")
    n_subjects: int = Field(default=2, ge=1, le=8)
    n_voxels: int = Field(
        default=2000,
        ge=200,
        description="Voxels of nsdgeneral of the first subject; each next has 6 % fewer.",
    )
    sessions: int = Field(default=6, ge=2, description="Sessions; all but the first subject lack the last.")
    n_shared: int = Field(default=120, ge=10, description="Pictures all subjects see, `repeats` times.")
    repeats: int = Field(default=3, ge=2, le=10)
    n_unique: int = Field(default=1140, ge=10, description="Pictures only one subject sees, once.")
    picture_size: int = Field(default=128, ge=96, multiple_of=32, description="Side, px.")
    ncsnr: float = Field(default=0.5, gt=0, description="Median noise-ceiling SNR of driven voxels.")
    ncsnr_spread: float = Field(default=0.35, ge=0, description="Standard deviation of its logarithm.")
    silent: float = Field(default=0.2, ge=0, lt=1, description="Share of voxels in areas without signal.")
    drift: float = Field(default=0.1, ge=0, description="Log-gain and half the offset between sessions.")

    @model_validator(mode="after")
    def _whole_sessions(self) -> Self:
        trials = self.n_shared * self.repeats + self.n_unique
        if trials % self.sessions:
            raise ValueError(
                f"n_shared * repeats + n_unique = {trials} trials do not divide into {self.sessions} sessions"
            )
        return self

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects, two digits as in NSD."""
        return [f"{s + 1:02d}" for s in range(self.n_subjects)]

    @property
    def trials_per_session(self) -> int:
        """Trials of one session."""
        return (self.n_shared * self.repeats + self.n_unique) // self.sessions

    def sessions_of(self, index: int) -> int:
        """Sessions recorded from a subject."""
        return self.sessions - (index > 0)

    def voxels_of(self, index: int) -> int:
        """Voxels in a subject's nsdgeneral."""
        return round(self.n_voxels * (1 - 0.06 * index))


class Plan(Section):
    """Design of an experiment, and what is assumed of the brain, the features and the noise."""

    pictures: int = Field(default=1000, ge=20, le=10**6, description="Training pictures.")
    repeats: int = Field(default=3, ge=1, le=100, description="Presentations of each picture.")
    train_repeats: int | None = Field(
        default=None, ge=1, le=100, description="Of training pictures; null: as many as of test pictures."
    )
    test_pictures: int = Field(default=100, ge=10, le=10**5)
    voxels: int = Field(default=1000, ge=10, le=10**6)
    ncsnr: float = Field(default=0.5, gt=0, description="Median of voxels with signal.")
    ncsnr_spread: float = Field(default=0.35, ge=0, description="Standard deviation of its logarithm.")
    silent: float = Field(default=0.2, ge=0, lt=1, description="Share of voxels without signal.")
    features: int = Field(default=200, ge=1, le=10**5, description="Features; the k-th has the variance 1/k.")
    explained: float = Field(
        default=0.5, ge=0, le=1, description="Share of the signal's variance that is linear in the features."
    )
    shared_noise: float = Field(
        default=0.2, ge=0, le=1, description="Share of the noise's variance in 20 patterns over all voxels."
    )
    experiments: int = Field(default=10, ge=3, le=1000, description="Simulated, for the intervals.")
    n_permutations: int = Field(default=200, ge=100)
    seed: Seed = 0
