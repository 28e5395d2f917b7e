"""The sections `encoders` and `stack`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from neuroenc.config.base import Device, Region, Section, Seed


def _rising(value: tuple[float, float, int]) -> tuple[float, float, int]:
    if value[0] > value[1]:
        raise ValueError("The smallest alpha comes first, then the largest")
    return value


Exponent = Annotated[float, Field(ge=-30, le=30)]  # within single precision
Alphas = Annotated[
    tuple[Exponent, Exponent, Annotated[int, Field(ge=1, le=1000)]],
    AfterValidator(_rising),
    Field(description="log10 of the smallest and largest alpha, and how many."),
]


class EncoderSection(Section):
    """What all encoders share."""

    models: list[str] = Field(default_factory=list, description="Sources of features it reads; empty: all.")


class Delayed(EncoderSection):
    """An encoder that may look back in time."""

    delays: list[int] = Field(
        default_factory=list, description="Films and stories: read the stimuli so many places before each "
        "one in place of itself (finite impulse response); 0 is itself; empty: no delays."
    )  # fmt: skip


class Layerwise(EncoderSection):
    """An encoder that is fitted to each layer."""

    layers: Literal["select", "stack"] = Field(
        default="select", description="Keep the layer with the best validation R2 of each neuroid, or mix "
        "all layers by weights learned on validation."
    )  # fmt: skip


class Ridge(Layerwise, Delayed):
    """Exact ridge, one alpha per neuroid."""

    name: Literal["ridge"] = "ridge"
    alphas: Alphas = (-1, 6, 15)
    dtype: Literal["float32", "float64"] = "float32"
    device: Device = "cpu"


class PLS(Layerwise, Delayed):
    """Partial least squares."""

    name: Literal["pls"] = "pls"
    n_components: int = Field(default=25, ge=1)
    standardise: bool = Field(
        default=True, description="Bring features to unit variance; false: only centre them, as Brain-Score."
    )


class Factorised(Layerwise):
    """A spatial mask times feature weights; needs features on a grid of tokens."""

    name: Literal["factorised"] = "factorised"
    alphas: Alphas = (0, 4, 5)
    n_alternations: int = Field(default=4, ge=1, le=1000)


class Gaussian(Layerwise):
    """Ridge under the best Gaussian receptive field; needs features on a grid of tokens."""

    name: Literal["gaussian"] = "gaussian"
    alphas: Alphas = (-1, 5, 7)
    n_positions: int = Field(default=8, ge=1, le=256, description="Centres along each side of the picture.")
    sizes: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        default=(0.06, 0.12, 0.24), min_length=1, description="Sigmas in picture widths."
    )
    device: Device = "cpu"


class Banded(Delayed):
    """Ridge with one strength for each layer and neuroid."""

    name: Literal["banded"] = "banded"
    alphas: Alphas = (-1, 6, 15)
    n_candidates: int = Field(default=20, ge=1, description="Mixtures of the layers that are tried.")
    n_gradient_steps: int = Field(default=0, ge=0, description="Steps of descent from the best mixture.")
    dtype: Literal["float32", "float64"] = "float32"
    seed: Seed = 0


class Trained(EncoderSection):
    """What readouts trained by gradient share."""

    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch_size: int = Field(default=32, ge=1)
    max_epochs: int = Field(default=60, ge=1)
    patience: int = Field(default=10, ge=1, description="Epochs without a better validation r.")
    seed: Seed = 0
    device: Device = "auto"


class SemanticTransformer(Trained, Layerwise):
    """Masks and channels that move with the picture; needs features on a grid of tokens."""

    name: Literal["semantic_transformer"] = "semantic_transformer"
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    n_hidden: int = Field(default=32, ge=1)


class Attention(Trained):
    """Attention routing over all layers together; needs features on a grid of tokens."""

    name: Literal["attention"] = "attention"
    queries: Literal["region", "hemisphere", "all", "voxel"] = Field(
        default="region", description="What asks: each region, each region of each hemisphere, all neuroids "
        "together, or each neuroid."
    )  # fmt: skip
    networks: dict[Region, list[Region]] = Field(
        default_factory=dict, description="Regions that ask together; those named in none ask alone."
    )
    overlap: Literal["learned", "sum"] = Field(
        default="learned", description="How a neuroid of several regions takes their tokens: a learned "
        "mixture that starts at the mean, or the published sum."
    )  # fmt: skip
    readout: Literal["best", "gradient", "ridge"] = Field(
        default="best", description="Of the routed tokens: as trained, solved by ridge, or the better one."
    )
    n_dimensions: int = Field(default=128, ge=8)
    n_heads: int = Field(default=8, ge=1)
    n_hidden: int = Field(default=256, ge=1)
    mlp: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)


Encoder = Annotated[
    Ridge | Banded | PLS | Factorised | Gaussian | SemanticTransformer | Attention,
    Field(discriminator="name"),
]

# their names, by what they read
TOKENS = ("factorised", "gaussian", "semantic_transformer", "attention")
TOGETHER = ("attention", "banded")  # read all layers side by side; the others one after the other
ALONE = ("ridge", "banded", "factorised", "gaussian")  # fit each neuroid whatever the others do


class EncoderChoice(Section):
    """One encoder with its options, by itself."""

    encoder: Encoder


class Stack(Section):
    """A mixture of encoders for each neuroid, chosen on validation predictions."""

    members: list[str] = Field(
        default_factory=list, description="MODEL for the first encoder, MODEL-ENCODER for others; empty: all."
    )
    select: bool = Field(default=False, description="Take the single best member instead of a mixture.")
