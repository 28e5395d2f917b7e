"""The sections of `config.yaml`, in the order in which data flows; `neuroenc.config` joins them."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from neuroenc.devices import NAMES
from neuroenc.errors import suggest


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


def _place(value: str) -> str:
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
Place = Annotated[str, AfterValidator(_place)]
"""A file or folder"""
Layer = Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_.:/+-]*$")]
"""Of a network, by its path in the module"""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What NumPy, scikit-learn and torch all take"""
Layout = Annotated[str, Field(pattern=r"^(channels_first|channels_last|tokens:[0-9]{1,4})$")]


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class Dataset(Section):
    """Which recordings are read, and how."""

    name: Literal[
        "nsd",
        "v4",
        "haxby",
        "mtl",
        "n170",
        "algonauts2023",
        "bold5000",
        "things_fmri",
        "things_eeg2",
        "treebank",
        "stories",
        "pereira2018",
        "things_meg",
        "custom",
    ]
    root: Place | None = Field(
        default=None, description="Folder of the dataset; null for nsd: simulate it. Environment variables "
        "and ~ are expanded."
    )  # fmt: skip
    space: Region = Field(default="func1pt8mm", description="nsd: func1pt8mm or fsaverage.")
    preparation: Region = Field(
        default="betas_fithrf_GLMdenoise_RR",
        description="nsd: which betas. bold5000: 'openneuro' reads ds001499, else release 2.0.",
    )
    mask: Region = Field(
        default="nsdgeneral", description="nsd: an atlas file whose values above 0 are kept, or 'brain' for "
        "all voxels with data. haxby: 'mask' or one of its masks. bold5000: 'rois' or 'brain'."
    )  # fmt: skip
    regions: list[Region] = Field(
        default_factory=list, description="nsd: atlases to read; each of their regions becomes roi_<name>."
    )  # fmt: skip
    sessions: int | None = Field(
        default=None, ge=1, description="nsd, treebank: read the first so many; null: all."
    )
    events: Literal["words", "sentences", "scenes"] = Field(
        default="words", description="treebank: what is a stimulus."
    )
    reference: Literal["none", "bipolar", "laplacian"] = Field(
        default="laplacian", description="treebank: an electrode less its neighbours on the shank."
    )
    band: Literal["broadband", "high_gamma"] = Field(
        default="broadband", description="treebank: the potential, or the envelope from 70 to 150 Hz."
    )


class Split(Section):
    """How stimuli are divided into training and test."""

    kind: Literal["dataset", "stimulus", "kfold", "group", "chronological"] = Field(
        default="dataset", description="'dataset': the test stimuli the dataset names; 'stimulus': a random "
        "share of the stimuli; 'kfold': random folds, each stimulus is tested once; 'group': each group "
        "(run, story, …) is the test set once; 'chronological': each film is cut into `n_folds` stretches, "
        "each tested once."
    )  # fmt: skip
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    n_folds: int = Field(
        default=1, ge=1, description="Repetitions of a random split; folds of kfold; stretches of a film."
    )
    embargo: float = Field(
        default=5.0, ge=0, description="chronological: what starts within so many seconds of a test stretch "
        "is left out of training."
    )  # fmt: skip
    n_inner: int = Field(default=5, ge=2, description="Folds within training, for alpha and layer.")
    seed: Seed = 0


Device = Annotated[
    str,
    Field(
        pattern=f"^({NAMES})$",
        description="Of torch: cpu, cuda, cuda:<number> or mps; auto: a GPU where there is one.",
    ),
]


Extractor = Literal[
    "open_clip", "open_clip_text", "timm", "torchvision", "transformers", "gabor", "pixel", "luminance",
    "spectral", "category", "caption",
]  # fmt: skip
SIZES = ("img_size", "image_size", "force_image_size")  # what the libraries call the side of their pictures
# arguments of the libraries' constructors that fetch, read or run something, or undo what neuroenc relies on
REFUSED_OPTIONS = frozenset([
    "auto_map", "cache_dir", "checkpoint_path", "code_revision", "config", "device", "device_map", "dtype",
    "exportable", "features_only", "force_download", "force_preprocess_cfg", "from_flax", "from_tf",
    "gguf_file", "hf_model_name", "hf_model_pretrained", "hf_tokenizer_name", "in_channels", "in_chans",
    "jit", "load_weights", "local_files_only", "model_name", "no_jit", "num_channels", "output_dict",
    "output_loading_info", "precision", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay",
    "pretrained_hf", "pretrained_image", "pretrained_image_path", "pretrained_text", "pretrained_text_path",
    "proxies", "quantization_config", "require_pretrained", "revision", "scriptable", "state_dict",
    "subfolder", "timm_model_pretrained", "token", "torch_dtype", "trust_remote_code", "use_auth_token",
    "use_safetensors", "weights", "weights_only",
])  # fmt: skip


class Model(Section):
    """A source of features."""

    extractor: Extractor | None = Field(
        default=None, description="Library or kind; null: `network` is a name that `neuroenc features list` "
        "knows."
    )  # fmt: skip
    network: str | None = Field(
        default=None,
        pattern=r"^[^\x00-\x1f\x7f{}-][^\x00-\x1f\x7f{}]*$",
        description="Name in the library; for open_clip also a JSON configuration, for "
        "transformers a folder with config.json and tokenizer."
    )  # fmt: skip
    weights: Place | None = Field(
        default=None, description="Checkpoint file, 'random:<seed>' for the untrained twin, or null for the "
        "fetched weights of a known network."
    )  # fmt: skip
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="Expected hash of the checkpoint file."
    )
    tag: str | None = Field(
        default=None,
        pattern="^[A-Za-z0-9][A-Za-z0-9_.+-]*$",
        description="Published weights of the library that the checkpoint holds, or was "
        "trained like (torchvision 'IMAGENET1K_V1', timm 'a1_in1k', open_clip 'openai'): pictures are "
        "prepared for them. Null: the file tells, by its hash or name, or there is one way alone."
    )  # fmt: skip
    layers: list[Layer] = Field(default_factory=list)
    pooling: str = Field(
        default="mean", description="'mean', 'tokens', 'cls', 'last' (of text) or 'grid:<k>' (k x k)."
    )  # fmt: skip
    layout: dict[Layer, Layout] = Field(
        default_factory=dict, description="Layers whose layout cannot be told: 'channels_first', "
        "'channels_last', or 'tokens:<k>' (channels last, behind k class and register tokens)."
    )  # fmt: skip
    context: int = Field(
        default=0, ge=0, description="Text: stimuli of the same film or group read along before each one."
    )
    frame_rate: float = Field(
        default=1.0, gt=0, description="Films: read at least so many frames of each "
        "second, evenly over the stimulus; the features of a stimulus are their mean."
    )  # fmt: skip
    regions: Place | None = Field(
        default=None, description="HDF5 of detected objects for networks that read them: features (n, "
        "regions, channels), boxes (n, regions, 4) from 0 to 1, stimulus_id (n)."
    )  # fmt: skip
    projection: str | None = Field(
        default=None, description="'sparse:<error>', a seeded random projection that keeps squared distances "
        "within this share, or 'pca:<components>', fitted to training stimuli."
    )  # fmt: skip
    dtype: Literal["float16", "float32"] = Field(default="float32", description="On disk.")
    device: Device = "auto"
    input_size: int | None = Field(
        default=None, ge=1, le=8192, description="Side of the pictures that timm's, torchvision's or "
        "open_clip's network sees, px; null: its own."
    )  # fmt: skip
    options: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the library's constructor; `crop_pct`: the share of "
        "the picture kept."
    )  # fmt: skip
    normalisation: Literal["library", "imagenet", "half"] = Field(
        default="library", description="Channel statistics: those of the weights, ImageNet's, or mean and "
        "deviation 0.5 (range -1 to 1)."
    )  # fmt: skip

    @field_validator("weights")
    @classmethod
    def _random(cls, weights: str | None) -> str | None:
        seeded = re.match("random(:|$)", weights or "", re.IGNORECASE)
        if seeded and not re.fullmatch("random:[0-9]{1,18}", weights or ""):
            raise ValueError("Expected random:<seed>, a number of at most 18 digits")
        return weights

    @field_validator("pooling")
    @classmethod
    def _known(cls, pooling: str) -> str:
        if not re.fullmatch("mean|tokens|cls|last|grid:[1-9][0-9]{0,2}", pooling):
            raise ValueError(suggest(pooling, ("mean", "tokens", "cls", "last", "grid:1", "…", "grid:999")))
        return pooling

    @field_validator("projection")
    @classmethod
    def _projects(cls, projection: str | None) -> str | None:
        if projection and not re.fullmatch(r"sparse:0?\.[0-9]*[1-9][0-9]*|pca:[1-9][0-9]{0,8}", projection):
            raise ValueError("Expected 'sparse:<error>', above 0 and below 1, or 'pca:<components>'")
        return projection

    @field_validator("options")
    @classmethod
    def _harmless(cls, options: dict[str, Any]) -> dict[str, Any]:
        pending = [options]
        while pending:
            for key, value in pending.pop().items():
                if key in REFUSED_OPTIONS:
                    raise ValueError(
                        f"{key!r} is not for `options`: networks are built by their library's own code, "
                        "for RGB, and take `weights` alone"
                    )
                inner = value if isinstance(value, list) else [value]
                pending += [v for v in inner if isinstance(v, dict)]
        crop = options.get("crop_pct", 1)
        if isinstance(crop, bool) or not isinstance(crop, (int, float)) or not 0 < crop <= 1:
            raise ValueError(f"crop_pct is {crop!r}, expected a share above 0 and at most 1")
        return options

    @model_validator(mode="after")
    def _fits_the_extractor(self) -> Self:
        pictures = self.extractor in (None, "timm", "torchvision", "open_clip", "open_clip_text")
        if self.network is None and (pictures or self.extractor == "transformers"):
            raise ValueError("name a `network`")
        if self.extractor == "transformers" and self.weights and not self.weights.startswith("random:"):
            raise ValueError("transformers reads weights from the folder `network`: leave `weights` out")
        if self.sha256 and ((self.weights or "").startswith("random:") or not pictures):
            raise ValueError("`sha256` is of a checkpoint file, and none is read here: leave it out")
        for key in ("tag", "input_size"):
            if getattr(self, key) and not pictures:
                raise ValueError(f"`{key}` is for timm, torchvision and open_clip, not for {self.extractor}")
        for key in SIZES if pictures else ():
            if key in self.options and not _is_size(self.options[key]):
                raise ValueError(f"options.{key} is {self.options[key]!r}, expected px; see `input_size`")
            if key in self.options and self.input_size:
                raise ValueError(f"`input_size` and options.{key} say the same: leave one out")
        return self


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sides)


Alphas = Annotated[
    tuple[float, float, int], Field(description="log10 of the smallest and largest alpha, and how many.")
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


class Factorised(Layerwise):
    """A spatial mask times feature weights; needs features on a grid of tokens."""

    name: Literal["factorised"] = "factorised"
    alphas: Alphas = (0, 4, 5)
    n_alternations: int = Field(default=4, ge=1)


class Gaussian(Layerwise):
    """Ridge under the best Gaussian receptive field; needs features on a grid of tokens."""

    name: Literal["gaussian"] = "gaussian"
    alphas: Alphas = (-1, 5, 7)
    n_positions: int = Field(default=8, ge=1, description="Centres along each side of the picture.")
    sizes: tuple[float, ...] = Field(default=(0.06, 0.12, 0.24), description="Sigmas in picture widths.")
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


class EncoderChoice(Section):
    """One encoder with its options, by itself."""

    encoder: Encoder


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
    seed: Seed = 0
    device: Device = "auto"


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


class RidgeDecoding(DecoderSection):
    """Exact ridge to embeddings, one alpha per component."""

    name: Literal["ridge"] = "ridge"
    alphas: Alphas = (0, 6, 13)


class NetworkDecoding(DecoderSection):
    """A linear layer for each subject and a shared residual network, trained by contrast."""

    name: Literal["network"] = "network"
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


class VoxelCaptions(Section):
    """What each voxel wants, in words."""

    model: str = Field(description="Whose embeddings; the stimuli need captions.")
    layer: Layer | None = Field(default=None, description="Null: all layers.")
    temperature: float = Field(default=0.05, gt=0, description="Of the softmax over the bank of pictures.")
    generate: bool = Field(
        default=False, description="Write captions as well, by the captioner that comes along (nano)."
    )


class Reconstruction(Section):
    """Pictures and captions from decoded embeddings."""

    decoder: str = Field(description="Of `decoders`: whose embeddings.")
    model: str = Field(description="Of `models`: the embeddings it decodes.")
    generator: Literal["nano", "kandinsky", "unclip", "ip_adapter"] = Field(
        default="nano", description="What draws: the decoder that comes along for pictures of the grammar, "
        "Kandinsky 2.2, Stable unCLIP, or SDXL-turbo with an IP-Adapter (`neuroenc weights fetch`)."
    )  # fmt: skip
    low_level: str | None = Field(
        default=None, description="Of `decoders`: one whose only model is small pictures (extractor "
        "'pixel'), from which drawing starts."
    )  # fmt: skip
    strength: float = Field(
        default=0.85, gt=0, le=1, description="Share of the way back to noise from the low-level picture."
    )
    guidance: float | None = Field(default=None, ge=0, description="Null: what suits the generator.")
    n_steps: int | None = Field(default=None, ge=1, description="Null: what suits the generator.")
    side: int = Field(default=256, ge=16, description="px to which larger pictures are brought for storage.")
    captions: bool = Field(default=False, description="Caption the embeddings as well (nano).")
    judges: list[str] = Field(
        default_factory=list, description="Of `models`: networks by whose layers pictures are identified."
    )
    closed_loop: list[str] = Field(
        default_factory=list, description="Fits (MODEL or MODEL-ENCODER) that predict responses to the "
        "pictures."
    )  # fmt: skip
    seed: Seed = 0
    device: Device = "auto"


class Synthesis(Section):
    """Pictures that regions would answer to (embeddings of nano)."""

    model: str = Field(description="Of `models`: the small network, with its layer `visual`.")
    regions: list[Region] = Field(min_length=1)
    judge: str = Field(description="Fit (MODEL or MODEL-ENCODER) that judges what is drawn.")
    scale: float = Field(default=3.0, ge=0, description="Strength of the gradient.")
    seed: Seed = 0


class Stack(Section):
    """A mixture of encoders for each neuroid, chosen on validation predictions."""

    members: list[str] = Field(
        default_factory=list, description="MODEL for the first encoder, MODEL-ENCODER for others; empty: all."
    )
    select: bool = Field(default=False, description="Take the single best member instead of a mixture.")


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
