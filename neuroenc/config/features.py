"""The section `models`."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from neuroenc.config.base import Device, Layer, Layout, Place, Section
from neuroenc.errors import suggest

Extractor = Literal[
    "open_clip", "open_clip_text", "timm", "torchvision", "transformers", "gabor", "pixel", "luminance",
    "spectral", "mel", "motion_energy", "category", "caption", "file", "module", "vae",
]  # fmt: skip
Stated = Literal["model", "weights", "pooling", "normalisation", "pixel_range", "preprocessing"]
FOR_FILES = frozenset(
    ["extractor", "path", "contract", "layers", "projection", "dtype", "device", "misalign"]
)
FOR_MODULES = frozenset(
    [
        "extractor",
        "module",
        "layers",
        "pooling",
        "layout",
        "projection",
        "dtype",
        "device",
        "frame_rate",
        "misalign",
        "view",
    ]
)
BLIND = ("open_clip_text", "mel", "motion_energy", "category", "caption")
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
    path: Place | dict[Layer, Place] | None = Field(
        default=None, description="Of `extractor: file`: features that were made elsewhere, .npy, .h5, .nc, "
        ".parquet, .csv or .tsv; `FILE.h5#array` or `FILE.h5#group` where it holds several, or a file for "
        "each layer."
    )  # fmt: skip
    contract: dict[Stated, str] = Field(
        default_factory=dict, description="Of `extractor: file`, what made the features: model, weights, "
        "pooling, normalisation, pixel_range, preprocessing; or in a JSON beside the file."
    )  # fmt: skip
    module: str | None = Field(
        default=None, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="Of `extractor: module`: `package.module:function`, which returns a network of torch and "
        "the transform of its pictures. It runs code: NEUROENC_ALLOW_CODE=1 must be set."
    )  # fmt: skip
    network: str | None = Field(
        default=None,
        pattern=r"^[^\x00-\x1f\x7f{}-][^\x00-\x1f\x7f{}]*$",
        description="Name in the library; for open_clip also a JSON configuration, for transformers a folder "
        "with config.json and tokenizer, or OWNER/NAME on the hub, once fetched; for vae `sd-vae`, or a "
        "folder of diffusers' AutoencoderKL."
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
        default="mean", description="'mean', 'tokens', 'cls', 'last' (of text), 'own:mean' and 'own:last' "
        "(of the stimulus' own words, in `context`) or 'grid:<k>' (k x k)."
    )  # fmt: skip
    layout: dict[Layer, Layout] = Field(
        default_factory=dict, description="Layers whose layout cannot be told: 'channels_first', "
        "'channels_last', or 'tokens:<k>' (channels last, behind k class and register tokens)."
    )  # fmt: skip
    context: int = Field(
        default=0, ge=0, description="Text: stimuli of the same film or group read along before each one."
    )
    window: int | None = Field(
        default=None, ge=8, description="Text, of transformers: at most so many tokens are read, and of "
        "`context` the latest; null: as many as the network takes."
    )  # fmt: skip
    view: Literal["foveated"] | None = Field(
        default=None, description="Pictures and frames: 'foveated', sampled log-polarly around their centre "
        "before the network prepares them."
    )  # fmt: skip
    frame_rate: float = Field(
        default=1.0, gt=0, description="Films: read at least so many frames of each "
        "second, evenly over the stimulus; the features of a stimulus are their mean."
    )  # fmt: skip
    lead: float = Field(
        default=0.0, ge=0, le=600, description="Films and sounds shown as such: s before each stimulus that "
        "are shown too."
    )  # fmt: skip
    misalign: float = Field(
        default=0.0, ge=0, description="Films, a control: each stimulus has the features of what is so many "
        "s later, from the beginning again behind the last; more than split.embargo."
    )  # fmt: skip
    misalign_of: Literal["both", "pictures", "texts"] = Field(
        default="both", description="Networks that read pictures and texts together: which of them is "
        "moved by `misalign`; the other stays in its place."
    )  # fmt: skip
    regions: Place | None = Field(
        default=None, description="HDF5 of detected objects for networks that read them: features (n, "
        "regions, channels), boxes (n, regions, 4) from 0 to 1, stimulus_id (n)."
    )  # fmt: skip
    texts: Place | None = Field(
        default=None, description="Text: a table (.csv, .tsv, .parquet) with `stimulus_id` and `text`, "
        "read in place of the dataset's captions; a row or several for each stimulus."
    )  # fmt: skip
    projection: str | None = Field(
        default=None, description="'sparse:<error>', a seeded random projection that keeps squared distances "
        "within this share, or 'pca:<components>', fitted to training stimuli."
    )  # fmt: skip
    dtype: Literal["float16", "float32"] | None = Field(
        default=None, description="On disk; null: float32, of a `file` float16 where it is stored so."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="In which the network runs."
    )
    device: Device = "auto"
    input_size: int | None = Field(
        default=None, ge=1, le=8192, description="Side of the pictures that timm's, torchvision's or "
        "open_clip's network sees, px; null: its own; of vae 224."
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
        if not re.fullmatch("mean|tokens|cls|last|own:(mean|last)|grid:[1-9][0-9]{0,2}", pooling):
            known = ("mean", "tokens", "cls", "last", "own:mean", "own:last", "grid:1", "…", "grid:999")
            raise ValueError(suggest(pooling, known))
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
    def _half(self) -> Self:
        if self.misalign_of != "both" and not self.misalign:
            raise ValueError(
                f"misalign_of {self.misalign_of!r} needs `misalign`, s. Give it, or leave both out"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_extractor(self) -> Self:
        pictures = self.extractor in (None, "timm", "torchvision", "open_clip", "open_clip_text")
        self._own()
        latents = self.extractor == "vae"
        if self.network is None and (pictures or latents or self.extractor == "transformers"):
            raise ValueError("name a `network`")
        of_folder = latents or self.extractor == "transformers"
        if of_folder and self.weights and not self.weights.startswith("random:"):
            raise ValueError(f"{self.extractor} reads weights from the folder `network`: leave `weights` out")
        if latents and self.pooling != "mean":
            raise ValueError("`pooling` is not for vae, whose latents are kept as they are: leave it out")
        if self.sha256 and ((self.weights or "").startswith("random:") or not pictures):
            raise ValueError("`sha256` is of a checkpoint file, and none is read here: leave it out")
        for key in ("tag", "input_size"):
            if getattr(self, key) and not pictures and not (latents and key == "input_size"):
                raise ValueError(f"`{key}` is for timm, torchvision and open_clip, not for {self.extractor}")
        if self.texts and self.extractor not in (None, "transformers", "open_clip_text", "caption"):
            raise ValueError(f"`texts` is for models that read text, and {self.extractor} reads none")
        words = self.extractor in (None, "transformers")
        if not words and (self.window or self.pooling.startswith("own")):
            what = "`window`" if self.window else f"pooling {self.pooling!r}"
            raise ValueError(f"{what} is for texts of transformers, not for {self.extractor}")
        if self.view and self.extractor in BLIND:
            raise ValueError(f"`view` is of pictures, and {self.extractor} reads none: leave it out")
        if not (pictures or words) and self.precision != "float32":
            raise ValueError(f"`precision` is of a network, and {self.extractor} runs none here")
        for key in SIZES if pictures else ():
            if key in self.options and not _is_size(self.options[key]):
                raise ValueError(f"options.{key} is {self.options[key]!r}, expected px; see `input_size`")
            if key in self.options and self.input_size:
                raise ValueError(f"`input_size` and options.{key} say the same: leave one out")
        return self

    def _own(self) -> None:
        """Refuse keys of other extractors beside files and modules of one's own, and theirs elsewhere."""
        for key, extractor, allowed in (("path", "file", FOR_FILES), ("module", "module", FOR_MODULES)):
            if (getattr(self, key) is None) == (self.extractor == extractor):
                raise ValueError(f"`extractor: {extractor}` and `{key}` belong together: name both or none")
            others = [
                name for name, field in type(self).model_fields.items()
                if name not in allowed and getattr(self, name) != field.get_default(call_default_factory=True)
            ]  # fmt: skip
            if self.extractor == extractor and others:
                raise ValueError(f"`{others[0]}` is not for `extractor: {extractor}`: leave it out")
        if self.path == {}:
            raise ValueError("`path` names no file")
        if self.contract and self.extractor != "file":
            raise ValueError("`contract` is for `extractor: file`: networks state their own")


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in sides)
