"""Networks by the name of their library, with random weights or without numbers; their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroenc.config import Model
from neuroenc.datasets.reading import reason
from neuroenc.errors import InputError, invalid
from neuroenc.features import language, registry, vision
from neuroenc.features.source import Source
from neuroenc.files import existing

if TYPE_CHECKING:
    import torch


def folder_of(model: Model, entry: registry.Entry | None) -> Path | None:
    """Return the folder of a transformers network: configuration, tokenizer, perhaps weights."""
    if model.extractor != "transformers":
        return None
    if entry is None:
        folder = existing(str(model.network))
        if not folder.is_dir():
            raise InputError(
                f"Invalid value for 'network': {folder} is no folder. Name one with config.json."
            )
        return folder
    return registry.stored(entry)


def on_skeleton(model: Model, entry: registry.Entry | None, look: Callable[[Source], Any]) -> Any:
    """Look at a network without numbers, or where it does not run so, at one with random ones."""
    try:
        return look(skeleton(model, entry))
    except InputError:
        return look(skeleton(model, entry, numbers=True))


def skeleton(model: Model, entry: registry.Entry | None, *, numbers: bool = False) -> Source:
    """Build a network without numbers, on torch's device "meta": the largest is described in a moment.

    The few that look into numbers while they are built (regnet), or into masks (of text and pictures), are
    built with random ones.
    """
    import torch

    untrained = model.model_copy(update={"weights": "random:0"})
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


def build(model: Model, path: Path | None = None) -> Source:
    """Build a network with random weights, or from a folder of transformers with its own."""
    builders: dict[str, Callable[[Model, Path | None], Source]] = {
        "timm": vision.from_timm, "torchvision": vision.from_torchvision,
        "open_clip": vision.from_open_clip, "open_clip_text": language.from_open_clip,
        "transformers": language.from_transformers,
    }  # fmt: skip
    if model.extractor not in builders:
        raise invalid("extractor", model.extractor, builders)
    source = builders[model.extractor](model, path)
    source.module.float()  # half-precision weights too: pictures and means are single
    return source


def load(module: Any, path: Path, *, prefix: str = "") -> None:
    """Load a checkpoint; every tensor must fit.

    Parameters
    ----------
    module : nn.Module
    path : path
        safetensors, or what `torch.load` reads with `weights_only=True`.
    prefix : str
        Keep the tensors whose names begin so, without it: one tower of a larger network.
    """
    import argparse

    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            # some published checkpoints keep the options of their command line beside the tensors
            with torch.serialization.safe_globals([argparse.Namespace]):
                state = torch.load(path, map_location="cpu", weights_only=True)
            for key in ("state_dict", "model"):
                state = state.get(key, state) if isinstance(state.get(key, 0), dict) else state
        state = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    except Exception as error:  # noqa: BLE001  each format has errors of its own
        raise InputError(f"Cannot read the checkpoint {path}: {reason(error)}. Fetch it again.") from None
    if not all(isinstance(name, str) for name in state):
        raise InputError(f"The checkpoint {path} holds no tensors by name. Is it of this network?")
    state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    # counters that only training reads; some checkpoints leave them out
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if prefix:
        state = {k: v for k, v in state.items() if k in wanted}
    try:
        state = _resized(module, state)
    except Exception as error:  # noqa: BLE001  the libraries take positions for what they should be
        raise InputError(
            f"The checkpoint {path} does not fit: its positions cannot be resized ({reason(error)}). Is it "
            "of this network?"
        ) from None
    wrong = sorted(set(wanted) ^ set(state)) or [k for k, v in wanted.items() if v.shape != state[k].shape]
    if wrong:
        raise InputError(
            f"The checkpoint {path} does not fit: {len(wrong)} tensors differ, first {wrong[0]!r}. "
            "Is it of this network?"
        )
    module.load_state_dict(state, strict=False)


def _resized(module: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring the positions of a checkpoint to pictures of another size, as the libraries do."""
    if "pos_embed" in state and hasattr(module, "patch_embed"):
        from timm.layers import resample_abs_pos_embed

        if state["pos_embed"].shape != module.pos_embed.shape:
            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], module.patch_embed.grid_size, num_prefix_tokens=module.num_prefix_tokens
            )
    elif "encoder.pos_embedding" in state and hasattr(module, "image_size"):
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = dict(interpolate_embeddings(module.image_size, module.patch_size, state))
    elif "visual.positional_embedding" in state and hasattr(module, "visual"):
        from open_clip.model import resize_pos_embed

        resize_pos_embed(state, module)
    return state
