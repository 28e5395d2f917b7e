"""The sections `encoders` and `stack`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from neuroenc.config.base import Device, Name, Region, Section, Seed


def _rising(value: tuple[float, float, int]) -> tuple[float, float, int]:
    if value[0] > value[1]:
        raise ValueError("The smallest alpha comes first, then the largest")
    return value


def _each_once(value: list[int]) -> list[int]:
    if twice := [v for v in value if value.count(v) > 1]:
        raise ValueError(f"{twice[0]} stands twice. Name it once")
    return value


Delays = Annotated[list[int], AfterValidator(_each_once)]
Exponent = Annotated[float, Field(ge=-30, le=30)]  # within single precision
Alphas = Annotated[
    tuple[Exponent, Exponent, Annotated[int, Field(ge=1, le=1000)]],
    AfterValidator(_rising),
    Field(description="log10 of the smallest and largest alpha, and how many."),
]

JOINT = "+"  # between the models of a fit to several; no name holds it


class EncoderSection(Section):
    """What all encoders share."""

    models: list[str | list[str]] = Field(
        default_factory=list, description="Sources of features it reads, each by itself; a list of several "
        "is one fit to all of them side by side (ridge, banded, pls); empty: each there is."
    )  # fmt: skip

    def reads(self, known: Iterable[str]) -> list[str]:
        """List what it is fitted to, of the models there are: a model, or several as A+B."""
        alone = [m for m in known if not self.models or m in self.models]
        return alone + [JOINT.join(m) for m in self.models if isinstance(m, list)]


class Delayed(EncoderSection):
    """An encoder that may look back in time."""

    delays: Delays = Field(
        default_factory=list, description="Films and stories: read the stimuli so many places before each "
        "one in place of itself (finite impulse response), or steps where onsets go by even steps; 0 is "
        "itself; empty: no delays."
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


class Mixtures(Section):
    """How banded ridge looks for its strengths."""

    alphas: Alphas = (-1, 6, 15)
    n_candidates: int = Field(
        default=20, ge=1, description="Mixtures of the layers, or spaces, that are tried."
    )
    n_gradient_steps: int = Field(default=0, ge=0, description="Steps of descent from the best mixture.")
    dtype: Literal["float32", "float64"] = "float32"
    seed: Seed = 0


class Banded(Mixtures, Delayed):
    """Ridge with one strength for each layer and neuroid."""

    name: Literal["banded"] = "banded"


class Partition(Mixtures):
    """Which of several models explains what no other does, by banded ridge on all subsets of them."""

    models: list[Name] = Field(min_length=2, max_length=5, description="Two to five, a space each.")
    delays: Delays = Field(default_factory=list, description="As those of `encoders`.")

    @model_validator(mode="after")
    def _once(self) -> Self:
        if twice := next((n for n in self.models if self.models.count(n) > 1), None):
            raise ValueError(f"{twice!r} stands twice. Name each space once")
        return self


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


class ResponseCore(Trained, Layerwise):
    """A convolutional core trained on the responses alone; reads pictures on a grid (extractor `pixel`)."""

    name: Literal["response_core"] = "response_core"
    readout: Literal["factorised", "gaussian", "semantic_transformer"] = Field(
        default="factorised", description="Of each neuroid: a free mask, a Gaussian, or masks and channels "
        "that move with the picture."
    )  # fmt: skip
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    n_filters: int = Field(default=32, ge=1)
    n_blocks: int = Field(default=3, ge=1, le=8, description="Each but the last halves the side.")
    n_rotations: Literal[1, 4] = Field(default=1, description="4: filters stand in all quarter turns.")
    joint: bool = Field(
        default=False, description="Fit one core to all subjects of the run, each with a readout of its own."
    )
    n_hidden: int = Field(default=32, ge=1)


class RandomAttention(Layerwise):
    """Ridge on tokens that frozen random queries pool."""

    name: Literal["random_attention"] = "random_attention"
    n_queries: int = Field(default=32, ge=1)
    alphas: Alphas = (-1, 6, 15)
    seed: Seed = 0
    device: Device = "cpu"


class Routed(Trained):
    """What readouts that learn to route tokens to regions share."""

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
    dropout: float = Field(default=0.1, ge=0, lt=1)


class Attention(Routed):
    """Attention routing over all layers together; needs features of tokens."""

    name: Literal["attention"] = "attention"
    n_heads: int = Field(default=8, ge=1)
    n_hidden: int = Field(default=256, ge=1)
    mlp: bool = True


class Probing(Routed):
    """Efficient probing over all layers together: several queries a region; needs features of tokens."""

    name: Literal["probing"] = "probing"
    learning_rate: float = Field(default=3e-3, gt=0)
    n_queries: int = Field(default=8, ge=1, description="Of each region.")
    values: Literal["whole", "split", "linear"] = Field(
        default="split", description="What a query pools: all channels, its own part of them, or its own "
        "part of `n_dimensions` learned projections."
    )  # fmt: skip


Encoder = Annotated[
    Ridge
    | Banded
    | PLS
    | Factorised
    | Gaussian
    | SemanticTransformer
    | ResponseCore
    | Attention
    | Probing
    | RandomAttention,
    Field(discriminator="name"),
]

# their names, by what they read
ROUTED = ("attention", "probing")  # regions ask
SETS = (*ROUTED, "random_attention")  # of tokens, be they a grid or not
TOKENS = ("factorised", "gaussian", "semantic_transformer", "response_core", *SETS)
TOGETHER = (*ROUTED, "banded")  # read all layers side by side; the others one after the other
FUSING = ("ridge", "pls", "banded")  # read several models side by side
# fit each neuroid whatever the others do
ALONE = ("ridge", "banded", "factorised", "gaussian", "random_attention")


class EncoderChoice(Section):
    """One encoder with its options, by itself."""

    encoder: Encoder


class Stack(Section):
    """A mixture of encoders for each neuroid."""

    members: list[str] = Field(
        default_factory=list,
        description="MODEL, or MODEL+MODEL, for the first encoder, MODEL-ENCODER for others; empty: all.",
    )
    weights: Literal["learned", "equal", "softmax"] = Field(
        default="learned", description="Of the members, for each neuroid: of the least squared error on "
        "validation, all the same (the mean), or exp(40 r) of their validation r over its sum."
    )  # fmt: skip
    select: bool = Field(default=False, description="Take the single best member instead of a mixture.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.select and self.weights != "learned":
            raise ValueError(f"select takes one member and weights {self.weights!r} mix all. Leave one out")
        return self
