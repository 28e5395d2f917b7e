"""Networks of pictures: timm, torchvision and the image towers of open_clip, as their libraries feed them."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.errors import invalid
from neuroenc.features import nano
from neuroenc.features.networks import Source
from neuroenc.files import existing

if TYPE_CHECKING:
    import torch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def prepare(
    items: list[NDArray[np.uint8]], *, size: int, crop: float, interpolation: str, mean: Any, std: Any
) -> dict[str, torch.Tensor]:
    """Resize the short side, crop the centre, scale to 0 to 1 and normalise."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F  # noqa: N812

    made = torch.empty(len(items), 3, size, size)
    shift, scale = (torch.tensor(v)[:, None, None] for v in (mean, std))
    for out, pixels in zip(made, items, strict=True):
        image = F.resize(Image.fromarray(pixels), [math.floor(size / crop)], InterpolationMode(interpolation))
        out[:] = F.to_tensor(F.center_crop(image, [size, size])).sub_(shift).div_(scale)
    return {"image": made}


def _source(module: Any, model: Model, size: int, crop: float, interpolation: str, statistics: Any) -> Source:
    mean, std = {"library": statistics, "imagenet": IMAGENET, "half": HALF}[model.normalisation]
    forward = getattr(module, "encode_image", module)
    return Source(
        module,
        partial(prepare, size=size, crop=crop, interpolation=interpolation, mean=mean, std=std),
        lambda batch: forward(batch["image"]),
        "image",
        np.zeros((size, size, 3), np.uint8),
        {
            "normalisation": f"mean {tuple(mean)}, std {tuple(std)}",
            "pixel_range": "0 to 1 before normalisation",
            "preprocessing": f"RGB, {interpolation} resize of the short side to {round(size / crop)}, "
            f"centre crop {size}",
        },
        ["visual"] if hasattr(module, "encode_image") else [],
    )


def from_timm(model: Model, _path: Path | None) -> Source:
    """Build a network of timm."""
    import timm

    if model.network not in timm.list_models():
        raise invalid("network", model.network, timm.list_models())
    options = dict(model.options)
    crop = options.pop("crop_pct", None)
    module = timm.create_model(model.network, pretrained=False, **options)
    data = timm.data.resolve_model_data_config(module)
    size = options.get("img_size", data["input_size"][-1])
    return _source(
        module, model, size, crop or data["crop_pct"], data["interpolation"], (data["mean"], data["std"])
    )


def from_torchvision(model: Model, _path: Path | None) -> Source:
    """Build a network of torchvision."""
    from torchvision import models

    if model.network not in models.list_models(models):
        raise invalid("network", model.network, models.list_models(models))
    options = dict(model.options)
    crop = options.pop("crop_pct", None)
    if model.network == "inception_v3":  # its default would draw weights for minutes
        options.setdefault("init_weights", False)
    module = models.get_model(model.network, weights=None, **options)
    data = models.get_model_weights(model.network).DEFAULT.transforms()
    size, short = data.crop_size[0], data.resize_size[0]
    return _source(module, model, size, crop or size / short, data.interpolation.value, (data.mean, data.std))


def open_clip_module(model: Model) -> tuple[Any, str]:
    """Build both towers of a network of open_clip; return its name there too."""
    import open_clip
    import torch

    name = str(model.network)
    if name == "nano":
        open_clip.add_model_config(nano.CONFIG)
    elif name.endswith(".json"):
        open_clip.add_model_config(existing(name))
        name = Path(name).stem
    if name not in open_clip.list_models():
        raise invalid("network", name, open_clip.list_models())
    device = torch.get_default_device()
    logging.disable(logging.WARNING)  # that the weights are random: ours are loaded afterwards
    try:
        return open_clip.create_model(name, None, device=device, load_weights=False, **model.options), name
    finally:
        logging.disable(logging.NOTSET)


def from_open_clip(model: Model, _path: Path | None) -> Source:
    """Build the image tower of a network of open_clip."""
    module, name = open_clip_module(model)
    data = module.visual.preprocess_cfg
    if name == "nano":
        data = {**data, "mean": nano.MEAN, "std": nano.STD}
    size = data["size"][0] if isinstance(data["size"], (tuple, list)) else data["size"]
    return _source(module, model, size, 1.0, data["interpolation"], (data["mean"], data["std"]))
