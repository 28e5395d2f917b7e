"""Weights of networks: which, where they lie, and into the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroenc.config import Model
from neuroenc.errors import InputError, reason
from neuroenc.features import nano, registry
from neuroenc.files import existing, sha256

if TYPE_CHECKING:
    import torch

# where trainings keep the weights, as timm and torchvision look for them: the running mean comes first
KEPT = ("state_dict_ema", "model_ema", "state_dict", "model")


def weights_of(model: Model, entry: registry.Entry | None) -> tuple[str, int, Path | None]:
    """Return what the contract says of the weights, the seed, and where they are if they are."""
    weights = model.weights
    if model.extractor == "module":
        return "", 0, None  # its function gives it its weights
    if weights is None and model.network == "nano":
        weights = str(nano.CHECKPOINT)
    if weights is not None and weights.startswith("random:"):
        return weights, int(weights[7:]), folder_of(model, entry)
    if weights is not None and model.extractor == "transformers":
        raise InputError(
            f"Networks of transformers take the weights in their folder, not {weights!r}. Leave it out."
        )
    if weights is None and model.extractor == "transformers":
        folder = folder_of(model, entry)
        found = sorted(folder.glob("*.safetensors")) if folder else []
        if not found:
            raise InputError(
                f"There are no weights (*.safetensors) of {model.network!r} in {folder}. Fetch them, or use "
                "'random:<seed>' for the untrained network."
            )
        return ", ".join(f"{f.name}:{sha256(f)}" for f in found), 0, folder
    if weights is None and entry is not None:
        weights = str(registry.stored(entry))
    if weights is None:
        raise InputError(
            f"No weights named for {model.network!r}. Give a checkpoint file, or 'random:<seed>' "
            "for the untrained network."
        )
    path = existing(weights, made_by="Fetch the checkpoint first, or use 'random:<seed>'.")
    if not path.is_file():
        raise InputError(f"Invalid value for 'weights': {weights!r} is no file. Name a checkpoint file.")
    found_hash = sha256(path)
    if model.sha256 not in (None, found_hash):
        raise InputError(
            f"The checkpoint {path} has sha256 {found_hash}, expected {model.sha256}. Fetch it again."
        )
    return f"{path.name}:{found_hash}", 0, path


def folder_of(model: Model, entry: registry.Entry | None) -> Path | None:
    """Return the folder of a transformers network: configuration, tokenizer, perhaps weights."""
    if model.extractor != "transformers":
        return None
    if entry is None:
        name, hint = str(model.network), ""
        if registry.REPOSITORY.fullmatch(name) and not Path(name).exists():
            hint = f"Run `neuroenc weights fetch {name}` where there is a network, or name a folder."
            name = str(registry.place(registry.entry_of(name)))
        folder = existing(name, made_by=hint)
        if not folder.is_dir():
            raise InputError(
                f"Invalid value for 'network': {folder} is no folder. Name one with config.json."
            )
        return folder
    return registry.stored(entry)


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
            kept = next((key for key in KEPT if isinstance(state.get(key), dict)), None)
            state = state[kept] if kept else state
        state = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    except Exception as error:  # noqa: BLE001  each format has errors of its own
        raise InputError(f"Cannot read the checkpoint {path}: {reason(error)}. Fetch it again.") from None
    if not all(isinstance(name, str) for name in state):
        raise InputError(f"The checkpoint {path} holds no tensors by name. Is it of this network?")
    state.pop("n_averaged", None)  # of torch's running mean of weights
    for wrapper in ("module.", "_orig_mod."):  # of training on several devices, of compilation
        if state and all(k.startswith(wrapper) for k in state):
            state = {k.removeprefix(wrapper): v for k, v in state.items()}
            prefix = prefix.removeprefix(wrapper)
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
            prefix = 0 if getattr(module, "no_embed_class", False) else module.num_prefix_tokens
            state["pos_embed"] = resample_abs_pos_embed(
                state["pos_embed"], module.patch_embed.grid_size, num_prefix_tokens=prefix
            )
    elif "encoder.pos_embedding" in state and hasattr(module, "image_size"):
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = dict(interpolate_embeddings(module.image_size, module.patch_size, state))
    elif "visual.positional_embedding" in state and hasattr(module, "visual"):
        from open_clip.model import resize_pos_embed

        resize_pos_embed(state, module)
    return state
