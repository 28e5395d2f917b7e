"""Networks of pictures: timm, torchvision and the image towers of open_clip, as their libraries feed them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroenc.config import Model
from neuroenc.errors import InputError, reason, suggest
from neuroenc.features import preprocessing
from neuroenc.features.preprocessing import Preprocessing
from neuroenc.features.source import Source

if TYPE_CHECKING:
    from neuroenc.features.source import Alike


def _source(module: Any, model: Model, prepared: Preprocessing) -> Source:
    encode = getattr(module, "encode_image", module)

    def forward(batch: dict[str, Any]) -> Any:
        try:
            return encode(batch["image"])
        except InputError:  # of a layer
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            if model.input_size is None:
                raise
            raise InputError(
                f"{model.network!r} does not take pictures of {model.input_size} px (`input_size`): "
                f"{reason(error)}."
            ) from None

    example = np.zeros((*prepared.size, 3), np.uint8)

    def prepare(items: list[Any]) -> Alike:
        return [([*range(len(items))], prepared.prepare(items))]

    return Source(
        module, prepare, forward, "image", example, prepared.contract,
        ["visual"] if hasattr(module, "encode_image") else [],
    )  # fmt: skip


def from_timm(model: Model, _path: Path | None) -> Source:
    """Build a network of timm."""
    import timm

    prepared = preprocessing.of(model)
    tag = model.tag if model.tag not in preprocessing.AUTHORS else None
    name = f"{model.network}.{tag}" if tag else str(model.network)
    sized = {"img_size": prepared.size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    module = construct(model, lambda **options: timm.create_model(name, pretrained=False, **sized | options))
    return _source(module, model, prepared)


def from_torchvision(model: Model, _path: Path | None) -> Source:
    """Build a network of torchvision."""
    from torchvision import models

    prepared, name = preprocessing.of(model), str(model.network)
    own: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # drawing their initial weights takes minutes; published weights read -1 to 1, whatever was normalised
        own = {"init_weights": False, "transform_input": model.normalisation != "half"}
    elif name.startswith("vit_"):
        own = {"image_size": prepared.size[0]}
    elif name == "maxvit_t":
        own = {"input_size": prepared.size}
    module = construct(model, lambda **options: models.get_model(name, weights=None, **own | options))
    return _source(module, model, prepared)


def open_clip_module(model: Model) -> tuple[Any, str]:
    """Build both towers of a network of open_clip; return its name there too."""
    import open_clip
    import torch

    name, prepared = preprocessing.open_clip_name(model), preprocessing.of(model)
    gelu = {"quick_gelu": bool(open_clip.get_model_config(name).get("quick_gelu"))} | model.options
    if prepared.quick_gelu and not (gelu["quick_gelu"] or gelu.get("force_quick_gelu")):
        raise InputError(
            f"The weights {model.tag!r} were trained with QuickGELU, which {name!r} does not have. Use the "
            f"network '{name}-quickgelu'."
        )
    device = torch.get_default_device()
    sized = {"force_image_size": model.input_size} if model.input_size else {}
    logging.disable(logging.WARNING)  # that the weights are random: ours are loaded afterwards
    try:
        module = construct(
            model,
            lambda **options: open_clip.create_model(
                name, None, device=device, load_weights=False, **sized | options
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
    return module, name


def from_open_clip(model: Model, _path: Path | None) -> Source:
    """Build the image tower of a network of open_clip."""
    module, _ = open_clip_module(model)
    return _source(module, model, preprocessing.of(model))


def construct(model: Model, make: Callable[..., Any]) -> Any:
    """Build a network with the options of the configuration.

    Raises
    ------
    InputError
        The library does not take them.
    """
    import torch

    options = {k: v for k, v in model.options.items() if k != "crop_pct"}
    try:
        return make(**options)
    except Exception as error:  # each library has errors of its own
        if not options and model.input_size is None and isinstance(error, RuntimeError):
            raise  # of networks that look into numbers while they are built, where there are none
        message = reason(error)
    unknown = [k for k in options if f"'{k}'" in message and "unexpected keyword" in message]
    if not unknown:
        asked = options | ({"input_size": model.input_size} if model.input_size else {})
        given = f" with {asked}" if asked else ""
        raise InputError(f"{model.extractor} cannot build {model.network!r}{given}: {message}.")
    with torch.device("meta"):
        known = inspect.signature(type(make()).__init__).parameters.values()
    names = [p.name for p in known if p.name != "self" and p.kind is not inspect.Parameter.VAR_KEYWORD]
    raise InputError(f"{model.network!r} has no option {unknown[0]!r}. {suggest(unknown[0], names)}")
