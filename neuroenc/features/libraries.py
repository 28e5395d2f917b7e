"""Networks built by their libraries: as they are run, or without numbers to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroenc.config import Model
from neuroenc.errors import InputError, invalid
from neuroenc.features import language, own, registry, vision
from neuroenc.features.loading import folder_of
from neuroenc.features.source import Source

if TYPE_CHECKING:
    from neuroenc.features.source import Batch


def build(model: Model, path: Path | None = None) -> Source:
    """Build a network with random weights, or from a folder of transformers with its own."""
    builders: dict[str, Callable[[Model, Path | None], Source]] = {
        "timm": vision.from_timm, "torchvision": vision.from_torchvision,
        "open_clip": vision.from_open_clip, "open_clip_text": language.from_open_clip,
        "transformers": language.from_transformers, "module": own.from_module,
    }  # fmt: skip
    if model.extractor not in builders:
        raise invalid("extractor", model.extractor, builders)
    import torch

    source = builders[model.extractor](model, path)
    # half-precision weights are brought to single, unless they are to be run so
    source.module.to(getattr(torch, model.precision))
    if model.precision == "float32":
        return source

    def forward(batch: Batch) -> Any:
        kind = next(source.module.parameters()).dtype
        return source.forward({k: v.to(kind) if v.is_floating_point() else v for k, v in batch.items()})

    return source._replace(forward=forward)


def skeleton(model: Model, entry: registry.Entry | None, *, numbers: bool = False) -> Source:
    """Build a network without numbers, on torch's device "meta": the largest is described in a moment.

    The few that look into numbers while they are built (regnet), or into masks (of text and pictures), are
    built with random ones.
    """
    import torch

    untrained = model.model_copy(update={"weights": "random:0", "precision": "float32"})
    folder = folder_of(untrained, entry)
    if not numbers:
        try:
            with torch.device("meta"):
                source = build(untrained, folder)
            numbers = "+" in source.reads
        except (NotImplementedError, RuntimeError):
            numbers = True
    if numbers:
        with torch.random.fork_rng(devices=[]):
            source = build(untrained, folder)
    source.module.eval()
    return source


def on_skeleton(model: Model, entry: registry.Entry | None, look: Callable[[Source], Any]) -> Any:
    """Look at a network without numbers, or where it does not run so, at one with random ones."""
    if model.extractor == "module":
        return look(skeleton(model, entry, numbers=True))
    try:
        return look(skeleton(model, entry))
    except InputError:
        return look(skeleton(model, entry, numbers=True))
