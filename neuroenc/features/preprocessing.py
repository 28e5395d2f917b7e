"""What happens to a picture before a network sees it: it belongs to the weights, not to the network's name.

The transforms are those of timm, torchvision and open_clip themselves; here stands which one, with what.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import SIZES, Model
from neuroenc.documents import read_object
from neuroenc.errors import InputError, invalid, suggest
from neuroenc.features import nano

if TYPE_CHECKING:
    import torch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS = {"imagenet": IMAGENET, "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}
# weights that are not of a library, by where they are published: resize, crop, mean, std, always bilinear; as
# their authors evaluate them (facebookresearch/SLIP main.py, facebookresearch/swav eval_linear.py: std 0.228)
AUTHORS: dict[str, tuple[int, int, Any, Any]] = {
    "https://dl.fbaipublicfiles.com/slip/slip_base_100ep.pt": (224, 224, *IMAGENET),
    "https://dl.fbaipublicfiles.com/slip/clip_base_25ep.pt": (224, 224, *IMAGENET),
    "https://dl.fbaipublicfiles.com/slip/simclr_base_25ep.pt": (224, 224, *IMAGENET),
    "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar": (
        256, 224, IMAGENET[0], (0.228, 0.224, 0.225),
    ),
}  # fmt: skip


class Preprocessing(NamedTuple):
    """How pictures are prepared."""

    transform: Callable[[Image.Image], torch.Tensor]
    size: tuple[int, int]
    """Height and width of what the network sees"""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    geometry: str
    """Resize and crop, in words"""
    quick_gelu: bool = False
    """Whether the weights need that approximation (open_clip)"""

    def prepare(self, items: list[NDArray[np.uint8]]) -> dict[str, torch.Tensor]:
        """Prepare pictures (height, width, 3)."""
        import torch

        made = torch.empty(len(items), 3, *self.size)
        for out, pixels in zip(made, items, strict=True):
            out[:] = self.transform(Image.fromarray(pixels))
        return {"image": made}

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value a pixel can have."""
        pairs = list(zip(self.mean, self.std, strict=True))
        return min(-m / s for m, s in pairs), max((1 - m) / s for m, s in pairs)

    @property
    def contract(self) -> dict[str, str]:
        """What the embedding contract says of it."""
        return {
            "normalisation": f"mean {self.mean}, std {self.std}",
            "pixel_range": "0 to 1 before normalisation",
            "preprocessing": f"RGB, {self.geometry}",
        }


def of(model: Model) -> Preprocessing:
    """Return the preprocessing of the weights that are used.

    Parameters
    ----------
    model : Model
        `tag` names the weights, else those that the library takes by default; `input_size`, `normalisation`
        and `options.crop_pct` change a part of it.

    Raises
    ------
    InputError
        The library knows no such network or weights.
    """
    known = tags(model)
    if model.tag is not None and model.tag not in (*known, *AUTHORS):
        raise invalid("tag", model.tag, known) if known else InputError(
            f"Invalid value for 'tag': {model.tag!r}. {model.extractor} knows no published weights of "
            f"{model.network!r}: leave it out."
        )  # fmt: skip
    if model.tag in AUTHORS:
        resize, crop, mean, std = AUTHORS[str(model.tag)]
        return _torchvision(model, (crop, resize, "bilinear", mean, std))
    if model.extractor == "torchvision":
        from torchvision import models

        enum = models.get_model_weights(str(model.network))
        own = (enum[model.tag] if model.tag else enum.DEFAULT).transforms()
        given = (own.crop_size[0], own.resize_size[0], own.interpolation.value, own.mean, own.std)
        return _torchvision(model, given)
    return _timm(model) if model.extractor == "timm" else _open_clip(model)


def _torchvision(model: Model, given: tuple[int, int, str, Any, Any]) -> Preprocessing:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    crop, resize, interpolation, mean, std = given
    mean, std = (tuple(v) for v in STATISTICS.get(model.normalisation, (mean, std)))
    side = (_size(model) or (crop, crop))[0]
    share = model.options.get("crop_pct")
    resize = int(side / share) if share else side * resize // crop
    transform = ImageClassification(
        crop_size=side, resize_size=resize, mean=mean, std=std,
        interpolation=InterpolationMode(interpolation),
    )  # fmt: skip
    words = f"{interpolation} resize of the short side to {resize}, centre crop {side}"
    return Preprocessing(transform, (side, side), mean, std, words)


def _timm(model: Model) -> Preprocessing:
    import timm
    import torch

    asked = _size(model)
    own = timm.get_pretrained_cfg(f"{model.network}.{model.tag}" if model.tag else model.network).to_dict()
    args: dict[str, Any] = {"input_size": (3, *asked)} if asked else {}
    args |= dict(zip(("mean", "std"), STATISTICS.get(model.normalisation, ()), strict=False))
    args["crop_pct"] = model.options.get("crop_pct")
    at_test = asked is not None and own.get("test_input_size") == (3, *asked)
    data = timm.data.resolve_data_config(args, pretrained_cfg=own, use_test_size=at_test)
    with torch.device("cpu"):  # its statistics are tensors
        transform = timm.data.create_transform(**data, is_training=False)
    height, width = data["input_size"][1:]
    tall, wide = (int(side / data["crop_pct"]) for side in (height, width))
    crop = _words(height, width)
    words = {
        "center": f"resize of the short side to {_words(tall, wide)}, centre crop {crop}",
        "squash": f"resize to {tall} x {wide} whatever the shape, centre crop {crop}",
        "border": f"resize of the long side to {_words(tall, wide)}, borders of the mean to {crop}",
    }[data["crop_mode"]]
    return Preprocessing(
        transform, (height, width), data["mean"], data["std"], f"{data['interpolation']} {words}"
    )


def _open_clip(model: Model) -> Preprocessing:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    name = open_clip_name(model)
    tag = model.tag or next(iter(tags(model)), "")
    own = open_clip.get_pretrained_cfg(name, tag)
    given = {k: own[k] for k in ("mean", "std", "interpolation", "resize_mode") if own.get(k) is not None}
    if name == "nano":
        given |= {"mean": nano.MEAN, "std": nano.STD}
    given |= dict(zip(("mean", "std"), STATISTICS.get(model.normalisation, ()), strict=False))
    vision = model.options.get("vision_cfg")  # what is no dictionary is refused where the network is built
    vision = vision if isinstance(vision, dict) else open_clip.get_model_config(name)["vision_cfg"]
    height, width = _size(model) or _pair(vision.get("image_size", 224))
    cfg = PreprocessCfg(size=(height, width), **given)
    crop = _words(height, width)
    words = {
        "shortest": f"resize of the short side to {crop}, centre crop {crop}",
        "squash": f"resize to {height} x {width} whatever the shape",
        "longest": f"resize of the long side to {crop}, black borders to {crop}",
    }[cfg.resize_mode]
    return Preprocessing(
        image_transform_v2(cfg, is_train=False), (height, width), tuple(cfg.mean), tuple(cfg.std),
        f"{cfg.interpolation} {words}", model.tag is not None and bool(own.get("quick_gelu")),
    )  # fmt: skip


def _size(model: Model) -> tuple[int, int] | None:
    """Return the size of pictures the configuration asks for, by its own key or the library's option."""
    asked: Any = model.input_size
    for key in SIZES:
        asked = asked or model.options.get(key)
    return _pair(asked) if asked else None


def _pair(size: Any) -> tuple[int, int]:
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    return int(height), int(width)


def _words(height: int, width: int) -> str:
    return str(height) if height == width else f"{height} x {width}"


def open_clip_name(model: Model) -> str:
    """Return the name of a network in open_clip; one of a JSON file is made known there."""
    import open_clip

    name = str(model.network)
    if name == "nano" and name not in open_clip.list_models():  # each addition reads all files again
        open_clip.add_model_config(nano.CONFIG)
    elif name.endswith(".json"):
        found = read_object(name)
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(found):
            raise InputError(f"{name} is no configuration of open_clip: embed_dim, vision_cfg, text_cfg.")
        open_clip.add_model_config(Path(name))
        name = Path(name).stem
    return name


def tags(model: Model) -> dict[str, str]:
    """List the published weights of a network of a library: tag -> address, empty where it has none.

    Raises
    ------
    InputError
        The library has no such network.
    """
    name = str(model.network)
    if model.extractor == "timm":
        import timm

        known = timm.list_models()
        listed = timm.list_pretrained(f"{name}.*") if name in known else []
        found = {key.partition(".")[2]: timm.get_pretrained_cfg(key).url or "" for key in listed}
    elif model.extractor == "torchvision":
        from torchvision import models

        known = models.list_models(models)
        found = {w.name: w.url for w in models.get_model_weights(name)} if name in known else {}
    else:
        import open_clip

        name, known = open_clip_name(model), open_clip.list_models()
        found = {tag: str(open_clip.get_pretrained_cfg(name, tag).get("url", ""))
                 for tag in open_clip.list_pretrained_tags_by_model(name)}  # fmt: skip
    base, _, tag = name.partition(".")
    if tag and base in known:
        raise InputError(f"Invalid value for 'network': {name!r}. Give network {base!r} and tag {tag!r}.")
    if name not in known:
        raise invalid("network", name, known)
    return {k: v for k, v in found.items() if k}


def tell(model: Model, path: Path, digest: str) -> Model:
    """Settle which published weights a checkpoint holds, because its preprocessing is theirs.

    Parameters
    ----------
    model : Model
        With `tag`, or else the file tells: by its hash or name at the publisher, or as NETWORK.TAG; or the
        network has one preprocessing alone.
    path : path
        The checkpoint.
    digest : str
        Its sha256.

    Returns
    -------
    Model
        With `tag`, unless any would do.

    Raises
    ------
    InputError
        Several are possible, or the file is of others than `tag` says.
    """
    known = tags(model)
    named = re.compile(rf"(.*--)?{re.escape(str(model.network))}[._-]+(.+)", re.IGNORECASE)
    parts = {m[2].lower() for m in map(named.fullmatch, (*path.parts[:-1], path.stem)) if m}
    found = None
    for known_tag, url in known.items():
        hashes = re.findall("[0-9a-f]{8,64}", url)  # of the file, in its name or its folder
        if (
            any(digest.startswith(h) for h in hashes)
            or (hashes and url.rpartition("/")[2] == path.name)
            or known_tag.lower() in parts
        ):
            found = known_tag
            break
    if None not in (model.tag, found) and model.tag != found and model.tag not in AUTHORS:
        raise InputError(
            f"The checkpoint {path} holds the weights {found!r}, not {model.tag!r} as `tag` says."
        )
    tag = model.tag or found
    if tag is None and len({_essence(model, t) for t in known}) > 1:
        raise InputError(
            f"{model.extractor} prepares pictures for {model.network!r} in several ways, and {path.name} "
            f"does not tell which. Name the published weights it holds, or was trained like, as `tag`. "
            f"{suggest(path.stem, known)}"
        )
    return model.model_copy(update={"tag": tag})


def _essence(model: Model, tag: str) -> tuple[Any, ...]:
    return of(model.model_copy(update={"tag": tag}))[1:]
