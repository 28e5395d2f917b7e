"""The sections `decoders`, `captioners`, `captions`, `reconstruction`, `shapes` and `synthesis`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from neuroenc.config.base import Device, Layer, Name, Place, Region, Section, Seed
from neuroenc.config.encoders import Alphas


class Prior(Section):
    """A diffusion prior: from decoded embeddings to embeddings that pictures have."""

    n_layers: int = Field(default=2, ge=1)
    n_heads: int = Field(default=4, ge=1)
    head_width: int = Field(default=32, ge=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    drop_condition: float = Field(
        default=0.2, ge=0, lt=1, description="Share of training steps that see the learned null embedding."
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    batch_size: int = Field(default=64, ge=2)
    max_epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=10, ge=1)
    guidance: float = Field(default=1.0, ge=0, description="Away from the null embedding; 1: none.")
    n_steps: int = Field(default=20, ge=1, le=100, description="Of sampling.")
    n_samples: int = Field(
        default=16, ge=1, description="Samples of each stimulus: their mean, and the one most like what was "
        "decoded."
    )  # fmt: skip
    seed: Seed = 0
    device: Device = "auto"


class Augmentation(Section):
    """Training pairs made by an encoder, beside the measured ones."""

    fit: str = Field(
        description="MODEL (of the first encoder) or MODEL-ENCODER: what predicts the responses; one model."
    )
    pictures: Place = Field(
        default="pool", description="'pool': pictures on the training side of the split that the subject did "
        "not see, of other subjects for example; or a folder of pictures, of which those that are tested "
        "are left out."
    )  # fmt: skip
    share: float = Field(default=0.5, gt=0, lt=1, description="Of made pairs among all.")
    seed: Seed = Field(default=0, description="Of pictures and noise.")


class DecoderSection(Section):
    """What all decoders share."""

    models: list[str] = Field(default_factory=list, description="Sources of embeddings; empty: all.")
    layers: list[Layer] = Field(default_factory=list, description="Layers decoded together; empty: all.")
    n_components: int | None = Field(
        default=100, ge=1, description="Whitened principal components of the embeddings of training "
        "pictures; null: all."
    )  # fmt: skip
    prior: Prior | None = Field(
        default=None, description="Sample embeddings by a diffusion prior, trained on what the decoder makes "
        "of responses it was not fitted to."
    )  # fmt: skip

    sessions: int | None = Field(
        default=None, ge=1, description="Train on the first sessions of a subject alone, in the order of "
        "their names; null: all."
    )  # fmt: skip
    augment: Augmentation | None = Field(
        default=None, description="Add pairs that an encoder of the subject makes up."
    )


class RidgeDecoding(DecoderSection):
    """Exact ridge to embeddings, one alpha per component."""

    name: Literal["ridge"] = "ridge"
    alphas: Alphas = (0, 6, 13)


class NetworkDecoding(DecoderSection):
    """A linear layer for each subject and a shared residual network, trained by contrast."""

    name: Literal["network"] = "network"
    subjects: Literal["all"] | list[Name] = Field(
        default_factory=list, description="One network of these subjects, trained on all of them at once; "
        "empty: each subject has its own."
    )  # fmt: skip
    n_hidden: int = Field(default=512, ge=8)
    n_blocks: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    front: Literal["linear", "atm"] = Field(
        default="linear", description="First layer of a subject: linear, or for epochs attention between "
        "channels and convolutions over time."
    )  # fmt: skip
    repeats: Literal["mean", "random"] = Field(
        default="mean", description="Train on the mean of a picture's repetitions, or on one at random in "
        "each step; validation and test take the mean."
    )  # fmt: skip
    squared_error: float = Field(default=1.0, ge=0, description="Weight beside the contrastive loss.")
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    first_decay: float = Field(default=1e-1, ge=0, description="Weight decay of the subjects' linear layers.")
    batch_size: int = Field(default=64, ge=2)
    accumulate: int = Field(
        default=1, ge=1, description="Parts into which a batch is cut to save memory; contrasts are within "
        "a part."
    )  # fmt: skip
    max_epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=10, ge=1)
    seed: Seed = 0
    device: Device = "auto"


class Transfer(Section):
    """How many sessions of a new subject a decoder needs, with and without training on others before.

    Of the first fold of the split.
    """

    network: str = Field(description="Of `decoders`: a network, trained on the other subjects first.")
    ridge: str = Field(description="Of `decoders`: ridge, on the same sessions.")
    model: str = Field(description="Of `models`: the embeddings that are decoded.")
    subjects: list[Name] = Field(default_factory=list, description="Who is new; empty: each subject in turn.")
    sessions: list[Annotated[int, Field(ge=1)]] = Field(
        min_length=1, description="Numbers of first sessions of the new subject, e.g. 1, 5, 10, 40."
    )
    n_bootstraps: int = Field(default=1000, ge=100)
    seed: Seed = Field(default=0, description="Of the bootstrap.")


class Classifying(Section):
    """Classes of held-out stimuli, straight from the responses."""

    name: Literal["classifier"] = "classifier"
    target: str = Field(
        default="category", description="Of the stimuli: 'category', the strongest in the table "
        "of categories; "
        "'category:NAME', whether NAME is there; or a column of labels, e.g. 'group'."
    )  # fmt: skip
    estimator: Literal["ridge", "lda"] = Field(
        default="ridge", description="Exact ridge to an indicator of each class, or linear "
        "discriminants with "
        "a shrunk covariance (Ledoit-Wolf)."
    )  # fmt: skip
    alphas: Alphas = (0, 6, 13)
    repeats: Literal["mean", "single"] = Field(
        default="mean", description="Classify the mean of a stimulus's presentations, or each of them."
    )
    standardise: Literal["training", "run"] = Field(
        default="training", description="Neuroids by the training stimuli, or before that each "
        "run by itself, "
        "where recordings drift; this sees the test stimuli, and the scores say so."
    )  # fmt: skip
    window: tuple[float, float] | None = Field(
        default=None, description="Time bins that lie between these times (s); null: all."
    )
    bin_width: float | None = Field(
        default=None, gt=0, description="Average time bins to this width (s); null: as recorded."
    )
    time: Literal["joined", "each"] = Field(
        default="joined", description="Read all time bins together, or each by itself: accuracy over time."
    )
    n_permutations: int = Field(default=100, ge=19, description="Labels dealt anew and fitted again.")
    n_bootstraps: int = Field(default=1000, ge=100)
    seed: Seed = 0


Embedding = RidgeDecoding | NetworkDecoding
Decoder = Annotated[RidgeDecoding | NetworkDecoding | Classifying, Field(discriminator="name")]


class DecoderChoice(Section):
    """One decoder with its options, by itself."""

    decoder: Decoder


class Captioner(Section):
    """A captioner that is trained on the captions of pictures and on embeddings of theirs."""

    language: str = Field(
        default="gpt2", description="Causal language model of transformers: a name of `neuroenc weights "
        "list`, OWNER/NAME of a fetched one or a folder; 'words': a small GPT-2, untrained, of the words of "
        "the captions."
    )  # fmt: skip
    mapping: Literal["mlp", "transformer"] = Field(
        default="mlp", description="From an embedding to the places before the words."
    )
    n_prefix: int = Field(default=10, ge=1, description="Places before the words.")
    frozen: bool = Field(default=False, description="Leave the language model as it is.")
    max_tokens: int = Field(default=40, ge=2, description="No caption is longer.")
    noise: float = Field(
        default=0.3, ge=0, description="On standardised embeddings, in standard deviations, at most: what is "
        "decoded is never exact."
    )  # fmt: skip
    dropped: float = Field(
        default=0.1, ge=0, lt=1, description="Share of training steps without an embedding."
    )
    validation: float = Field(
        default=0.1, gt=0, lt=1, description="Share of the pictures by which the best epoch is chosen."
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="Null: 2e-3 for 'words', 1e-4 beside a frozen language model, else "
        "2e-5."
    )  # fmt: skip
    weight_decay: float = Field(default=1e-2, ge=0)
    batch_size: int = Field(default=40, ge=2)
    max_epochs: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)
    seed: Seed = 0
    device: Device = "auto"

    @model_validator(mode="after")
    def _trained(self) -> Self:
        if self.frozen and self.language == "words":
            raise ValueError("frozen: the language model 'words' is untrained. Leave `frozen` out")
        return self


class ModelCaptioner(Captioner):
    """A captioner of the embeddings of a model, trained on the pictures that no fold tests."""

    model: str = Field(description="Of `models`: whose embeddings.")
    layer: Layer | None = Field(default=None, description="Null: all layers.")


class VoxelCaptions(Section):
    """What each voxel wants, in words."""

    model: str = Field(description="Whose embeddings; the stimuli need captions.")
    layer: Layer | None = Field(default=None, description="Null: all layers.")
    temperature: float = Field(default=0.05, gt=0, description="Of the softmax over the bank of pictures.")
    generate: bool = Field(default=False, description="Write captions as well.")
    captioner: Place | None = Field(
        default=None, description="What writes: of `captioners`, or a folder of `neuroenc captioner train`; "
        "null: the one that comes along (embeddings of nano)."
    )  # fmt: skip

    @model_validator(mode="after")
    def _writes(self) -> Self:
        if self.captioner and not self.generate:
            raise ValueError("captioner: it writes with `generate: true` alone. Set it, or leave it out")
        return self


class Reconstruction(Section):
    """Pictures and captions from decoded embeddings."""

    decoder: str = Field(description="Of `decoders`: whose embeddings.")
    model: str = Field(description="Of `models`: the embeddings it decodes.")
    generator: Literal["nano", "kandinsky", "unclip", "ip_adapter", "ip_adapter_plus", "versatile"] = Field(
        default="nano", description="What draws: the decoder that comes along for pictures of the grammar, "
        "Kandinsky 2.2, Stable unCLIP, SDXL-turbo with an IP-Adapter, or, of tokens, with an IP-Adapter Plus "
        "or Versatile Diffusion (`neuroenc weights fetch`)."
    )  # fmt: skip
    low_level: str | None = Field(
        default=None, description="Of `decoders`: one whose only model is small pictures (extractor "
        "'pixel') or latents (extractor 'vae'), from which drawing starts."
    )  # fmt: skip
    strength: float = Field(
        default=0.85, gt=0, le=1, description="Share of the way back to noise from the low-level picture."
    )
    guidance: float | None = Field(default=None, ge=0, description="Null: what suits the generator.")
    n_steps: int | None = Field(default=None, ge=1, description="Null: what suits the generator.")
    n_test: int | None = Field(
        default=None, ge=2, description="Test stimuli of a fold that are drawn, at random; null: all."
    )
    n_draws: int = Field(
        default=1, ge=1, description="Pictures drawn of each embedding; the one whose own embedding is most "
        "like it is kept."
    )  # fmt: skip
    n_validation: int = Field(
        default=48, ge=0, description="Validation stimuli that are drawn to choose what of a prior is used; "
        "four times as many are captioned; 0: a sample is drawn, what was decoded is captioned."
    )  # fmt: skip
    batch_size: int = Field(
        default=1, ge=1, description="Pictures drawn at a time; IP-Adapters draw one by one."
    )
    side: int = Field(default=256, ge=16, description="px to which larger pictures are brought for storage.")
    captions: bool = Field(default=False, description="Caption the embeddings as well.")
    captioner: Place | None = Field(default=None, description="As in `captions`.")
    judges: list[str] = Field(
        default_factory=list, description="Of `models`: networks by whose layers pictures are identified."
    )
    closed_loop: list[str] = Field(
        default_factory=list, description="Fits (MODEL or MODEL-ENCODER) that predict responses to the "
        "pictures."
    )  # fmt: skip
    seed: Seed = 0
    device: Device = "auto"

    @model_validator(mode="after")
    def _writes(self) -> Self:
        if self.captioner and not self.captions:
            raise ValueError("captioner: it writes with `captions: true` alone. Set it, or leave it out")
        return self


Drawn = Literal[
    "brain", "plain", "prior", "low_level", "retrieved", "shuffled", "mean", "sample", "true", "seen"
]
"""Conditions of pictures; `seen`: what was shown"""


class Shapes(Section):
    """Objects in three dimensions: of the nearest training picture, or drawn from pictures by Shap-E."""

    generator: Literal["retrieval", "shap_e"] = Field(
        default="retrieval", description="The mesh of the training picture nearest to what was decoded, or "
        "one that Shap-E makes of each reconstructed picture (`neuroenc weights fetch shap_e`)."
    )  # fmt: skip
    decoder: str | None = Field(
        default=None,
        description="Of `decoders`, for retrieval: whose embeddings; null: that of `reconstruction`.",
    )
    model: str | None = Field(
        default=None, description="Of `models`, for retrieval: the embeddings it decodes; null: as above."
    )
    meshes: Place | None = Field(
        default=None, description="Table of true meshes: `stimulus_id`, `mesh` (.glb or .ply beside it). "
        "Retrieval needs it; without it Shap-E is scored by what its views look like alone."
    )  # fmt: skip
    judge: str | None = Field(
        default=None, description="Of `models`: the network that looks at turning views; null: none does."
    )
    align: bool = Field(
        default=True, description="Turn each mesh about the vertical to where it fits the true one best."
    )
    conditions: list[Drawn] = Field(
        default_factory=list, description="Pictures that Shap-E is shown: conditions of `reconstruction` and "
        "`seen`, what was shown to people; empty: brain, shuffled, true and seen."
    )  # fmt: skip
    n_test: int | None = Field(
        default=None, ge=2, description="Pictures that Shap-E is shown, at random; null: all."
    )
    weights: Place | None = Field(
        default=None,
        description="Folder of another Shap-E, as `save_pretrained` leaves it; null: what was fetched.",
    )
    guidance: float | None = Field(default=None, ge=0, description="Null: 3, as in its release.")
    n_steps: int | None = Field(default=None, ge=2, description="Null: 64, as in its release.")
    grid: int = Field(
        default=128, ge=8, le=512, description="Places along a side where Shap-E's surface is sought."
    )
    batch_size: int = Field(default=1, ge=1, description="Objects that Shap-E draws at a time.")
    format: Literal["glb", "ply"] = "glb"
    seed: Seed = 0
    device: Device = "auto"


class Contributions(Section):
    """What decoding loses as a region is taken away, alone, silenced or made noisy."""

    decoders: list[str] = Field(
        default_factory=list, description="Of `decoders`, each with all its models; empty: all that give "
        "embeddings. One of small pictures says what is low-level, one of a network what is high-level."
    )  # fmt: skip
    regions: list[Region] = Field(default_factory=list, description="Empty: all.")
    noise: float = Field(default=1.0, gt=0, description="Training standard deviations that are added.")
    recordings: int | None = Field(
        default=None, ge=1, description="Into how many recordings the test pictures are dealt, each lesioned "
        "region by region, to see whether lesion and region are found; null: none."
    )  # fmt: skip
    n_bootstraps: int = Field(default=1000, ge=100)
    seed: Seed = 0


class Synthesis(Section):
    """Pictures that regions would answer to (embeddings of nano)."""

    model: str = Field(description="Of `models`: the small network, with its layer `visual`.")
    regions: list[Region] = Field(min_length=1)
    judge: str = Field(description="Fit (MODEL or MODEL-ENCODER) that judges what is drawn.")
    scale: float = Field(default=3.0, ge=0, description="Strength of the gradient.")
    seed: Seed = 0


class JointDecoding(Section):
    """One space for recordings of several modalities and subjects (`neuroenc decode joint`)."""

    layers: list[Layer] = Field(default_factory=list, description="Layers decoded together; empty: all.")
    n_components: int | None = Field(
        default=100, ge=1, description="Whitened principal components of the embeddings of training "
        "pictures; null: all."
    )  # fmt: skip
    front: dict[str, Literal["linear", "atm", "graph"]] = Field(
        default_factory=dict, description="Modality -> adapter of its recordings: linear (the default); atm: "
        "for epochs, attention between channels and convolutions over time; graph: convolutions over the "
        "graph of its sensors, each joined to those that lie nearest (`x`, `y`, `z`)."
    )  # fmt: skip
    window: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Modality -> time bins that lie between these times (s); else all."
    )
    repeats: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list, description="Also score test responses that are the mean of so many "
        "repetitions, drawn at random; the mean of all always is."
    )  # fmt: skip
    adapter: Literal["mean", "chosen"] = Field(
        default="mean", description="Through what a recording that was left out of training is read: the "
        "mean of what the adapters of its modality decode, or the one of them that is best on its own "
        "training stimuli."
    )  # fmt: skip
    text: float = Field(
        default=0.01, ge=0, le=1, description="Share of the contrast with texts, where these are given."
    )
    n_hidden: int = Field(default=256, ge=8)
    n_blocks: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    squared_error: float = Field(default=1.0, ge=0, description="Weight beside the contrastive loss.")
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    first_decay: float = Field(default=1e-1, ge=0, description="Weight decay of the adapters.")
    batch_size: int = Field(default=128, ge=2)
    max_epochs: int = Field(default=20, ge=1)
    patience: int = Field(default=10, ge=1)
    seed: Seed = 0
    device: Device = "auto"
