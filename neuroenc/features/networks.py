"""Frozen networks: any layers by name, in one pass, pooled.

What differs between libraries stands in `vision` and `language`: each builds a `Source`, a module with
what turns stimuli into its batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.config import Model
from neuroenc.datasets.reading import reason
from neuroenc.devices import pick_device
from neuroenc.errors import InputError, NeuroencError, invalid
from neuroenc.features import layouts, nano, preprocessing, registry
from neuroenc.files import existing, sha256

if TYPE_CHECKING:
    import torch

    Batch = dict[str, torch.Tensor]

PARTS = {"q": 0, "k": 1, "v": 2}  # thirds of a joint projection to queries, keys and values


class Source(NamedTuple):
    """A network of some library and how it is fed."""

    module: Any
    prepare: Callable[[list[Any]], Batch]
    """From stimuli, as `reads` says, to a batch"""
    forward: Callable[[Batch], Any]
    reads: str
    """"image", "text", "image+text" or "regions+text"; a pair is a tuple"""
    example: Any
    """A stimulus of the usual size"""
    contract: dict[str, str]
    """Normalisation, pixel range and preprocessing"""
    kept: list[str]
    """Submodules that are run; empty: all"""
    text_last: bool = False
    """Whether words stand behind the picture where a layer holds both"""


class Network:
    """A network without gradients, in eval mode, with hooks on the layers asked for.

    Parameters
    ----------
    model : Model
        Section of the configuration: extractor, network, weights, layers, pooling.
    device : str
        Of torch; "auto" takes a GPU where there is one.

    Raises
    ------
    InputError
        Unknown network or layer, missing checkpoint, or one whose hash or tensors differ.
    """

    def __init__(self, model: Model, *, device: str = "cpu") -> None:
        import torch

        self.device = pick_device(device)
        self.model, entry = registry.resolve(model)
        self.weights, seed, path = _weights(self.model, entry)
        if path is not None and path.is_file():
            self.model = preprocessing.tell(self.model, path, self.weights.rpartition(":")[2])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.source = build(self.model, path)
        self.module = self.source.module
        if path is not None and path.is_file():
            load(self.module, path, prefix=entry.prefix if entry else "")
        self.module = self.module.eval().requires_grad_(False).to(self.device)
        known = layers_of(self.source)
        for layer in self.model.layers:
            if layer.partition(":")[0] not in known:
                raise invalid("layer", layer, known)
        if not self.model.layers:
            raise InputError(
                f"No layers named for {model.network!r}. Name some of its {len(known)}: "
                f"{', '.join(known[:3])}, … (`neuroenc features show` lists them)."
            )
        self.layouts = self._layouts(entry)

    def _layouts(self, entry: registry.Entry | None) -> dict[str, layouts.Layout]:
        """Tell how each layer is read, before any stimulus is."""
        model = self.model
        names = list(dict.fromkeys(layer.partition(":")[0] for layer in model.layers))
        for name in model.layout:
            if name not in names:
                raise invalid("layer of layout", name, names)
        if self.reads == "image":
            source = skeleton(model, entry)
            runs = layouts.picture_runs(model, source, names)
        else:
            runs = layouts.text_runs(self.source, names, self.device)
        for name in names:
            if name not in runs[0].shapes:
                raise InputError(
                    f"Layer {name!r} gives nothing when {model.network!r} is shown "
                    f"{self.reads.replace('+', ' and ')}. Choose another."
                )
        return {
            name: layouts.stated(model.layout[name])
            if name in model.layout
            else layouts.tell(name, self.module.get_submodule(name), runs, joint="+" in self.reads)
            for name in names
        }

    @property
    def reads(self) -> str:
        """What the network is shown: "image", "text", "image+text" or "regions+text"."""
        return self.source.reads

    @property
    def contract(self) -> dict[str, str]:
        """The part of the embedding contract the network settles."""
        return {
            "model": f"{self.model.extractor}/{self.model.network}",
            "weights": self.weights,
            "pooling": self.model.pooling,
        } | self.source.contract

    def batch_size(self, memory_gb: float) -> int:
        """Stimuli per pass whose activations, all kept, would fill `memory_gb`."""
        import torch

        total = 0

        def count(_module: Any, _inputs: Any, output: Any) -> None:
            nonlocal total
            total += output.nbytes if isinstance(output, torch.Tensor) else 0

        leaves = [m for m in self.module.modules() if not list(m.children())]
        handles = [m.register_forward_hook(count) for m in leaves]
        self([self.source.example])
        for handle in handles:
            handle.remove()
        return int(np.clip(memory_gb * 1e9 // max(total, 1), 1, 256))

    def __call__(self, items: list[Any]) -> dict[str, NDArray[np.float32]]:
        """Run stimuli through.

        Parameters
        ----------
        items : list
            Of what the network reads: uint8 arrays (height, width, 3), texts, or pairs.

        Returns
        -------
        dict
            Layer name to float32 array, (n, n_features), or (n, n_tokens, n_channels) for
            poolings that keep tokens.
        """
        return self.run(self.source.prepare(items))

    def run(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Run a batch that is prepared."""
        import torch

        if any(m.training for m in self.module.modules()):
            raise NeuroencError("The network left eval mode; a frozen network must not train.")
        batch = {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}
        n = len(next(iter(batch.values())))
        made: dict[str, NDArray[np.float32]] = {}

        def keep(name: str) -> Any:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                values = first_tensor(output)
                if values is None or values.shape[0] != n:
                    raise InputError(
                        f"Layer {name!r} gives no values for each of {n} stimuli. Choose another."
                    )
                for layer in self.model.layers:
                    if layer.partition(":")[0] == name:
                        pooled = self._pool(self._part(values, layer), layer, batch)
                        # a copy: what follows may work in place
                        made[layer] = pooled.to("cpu", torch.float32, copy=True).numpy()

            return hook

        handles = [self.module.get_submodule(name).register_forward_hook(keep(name)) for name in self.layouts]
        try:
            with torch.inference_mode():
                self.source.forward(batch)
        finally:
            for handle in handles:
                handle.remove()
        return {layer: made[layer] for layer in self.model.layers}

    def _part(self, output: torch.Tensor, layer: str) -> torch.Tensor:
        """Take queries, keys or values where they are asked for."""
        name, _, part = layer.partition(":")
        if not part:
            return output
        axis = self.layouts[name].channels
        if part not in PARTS or output.shape[axis] % 3:
            raise invalid(f"part of layer {name}", part, PARTS)
        return output.chunk(3, axis)[PARTS[part]]

    def _pool(self, output: torch.Tensor, layer: str, batch: Batch) -> torch.Tensor:
        """Bring any layer's output to (n, tokens, channels), and pool."""
        import torch

        pooling, layout = self.model.pooling, self.layouts[layer.partition(":")[0]]
        moved = output.movedim(layout.channels, -1)
        tokens = moved.flatten(1, -2) if moved.ndim > 2 else moved[:, None]
        words = batch.get("attention_mask") if layout.words else None
        mask = _mask(tokens, words, text_last=self.source.text_last)
        if pooling == "tokens":
            return tokens
        prefix = layout.prefix
        if prefix is None or prefix > tokens.shape[1]:
            raise InputError(
                f"How many class and register tokens lead in layer {layer!r} cannot be told. Say so: "
                f"`layout: {{{layer.partition(':')[0]}: tokens:<number>}}`, or pool by 'tokens'."
            )
        if pooling == "mean":
            if mask is not None:
                return (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return tokens[:, prefix:].mean(1) if tokens.shape[1] > prefix else tokens.mean(1)
        if pooling == "cls":
            if "text" not in self.reads and not prefix:
                raise InputError(f"Layer {layer!r} has no class token; pool by 'mean' or 'grid:<k>'.")
            return tokens[:, 0]
        if pooling == "last":
            if mask is None:
                raise InputError(f"Layer {layer!r} is not of text; pool by 'mean', 'cls' or 'grid:<k>'.")
            last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
            return tokens[torch.arange(len(tokens), device=tokens.device), last]
        if not pooling.startswith("grid:") or not pooling[5:].isdigit():
            raise invalid("pooling", pooling, ("mean", "tokens", "cls", "last", "grid:4"))
        if mask is not None:
            raise InputError(f"Layer {layer!r} is of text and has no grid; pool by 'mean', 'cls' or 'last'.")
        if moved.ndim == 4:
            sides = (moved.shape[1], moved.shape[2])
        else:
            pictures = batch.get("image", batch.get("pixel_values"))
            aspect = 1.0 if pictures is None else pictures.shape[-2] / pictures.shape[-1]
            n = max(tokens.shape[1] - prefix, 1)
            rows = round(math.sqrt(n * aspect))
            sides = (rows, n // max(rows, 1))
            if rows * sides[1] != n or round(sides[1] * aspect) != rows:
                raise InputError(
                    f"Layer {layer!r} has {n} tokens beside {prefix} that lead, which are no grid of the "
                    "picture. Pool by 'mean' or 'tokens'."
                )
            tokens = tokens[:, prefix:] if tokens.shape[1] > prefix else tokens
        grid = tokens.transpose(1, 2).unflatten(-1, sides)
        k = int(pooling[5:])
        pooled = torch.nn.functional.adaptive_avg_pool2d(grid, (min(k, sides[0]), min(k, sides[1])))
        return pooled.flatten(2).transpose(1, 2)


def _mask(tokens: torch.Tensor, words: torch.Tensor | None, *, text_last: bool) -> torch.Tensor | None:
    """Tell which tokens count: words that are not padding, and all picture tokens beside them."""
    import torch

    if words is None or tokens.shape[1] < words.shape[1] or tokens.shape[1] == 1:
        return None
    more = tokens.shape[1] - words.shape[1]
    return torch.nn.functional.pad(words.bool(), (more, 0) if text_last else (0, more), value=True)


def first_tensor(output: Any) -> torch.Tensor | None:
    """Take the tensor of what a layer gives; the first where it gives several, None where none."""
    if hasattr(output, "ndim"):
        return output
    if hasattr(output, "values"):
        output = output.values()
    elif not isinstance(output, (tuple, list)):
        return None
    return next((t for t in map(first_tensor, output) if t is not None), None)


def skeleton(model: Model, entry: registry.Entry | None) -> Source:
    """Build a network without numbers, on torch's device "meta": the largest is described in a moment.

    The few that look into numbers while they are built (regnet), or into masks (of text and pictures), are
    built with random ones.
    """
    import torch

    untrained = model.model_copy(update={"weights": "random:0"})
    folder = folder_of(untrained, entry)
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
    from neuroenc.features import language, vision

    builders: dict[str, Callable[[Model, Path | None], Source]] = {
        "timm": vision.from_timm, "torchvision": vision.from_torchvision,
        "open_clip": vision.from_open_clip, "open_clip_text": language.from_open_clip,
        "transformers": language.from_transformers,
    }  # fmt: skip
    if model.extractor not in builders:
        raise invalid("extractor", model.extractor, builders)
    return builders[model.extractor](model, path)


def layers_of(source: Source) -> list[str]:
    """List the layers of a network, those that are run."""
    return [
        name for name, _ in source.module.named_modules()
        if name and (not source.kept or any(name == k or name.startswith(f"{k}.") for k in source.kept))
    ]  # fmt: skip


def describe_layers(model: Model) -> dict[str, tuple[str, str]]:
    """Show the layers of a network: class and shape of the output, without loading weights.

    Layers that take no part in the forward pass are left out.
    """
    resolved, entry = registry.resolve(model)
    source = skeleton(resolved, entry)
    device = next(source.module.parameters()).device
    batch = source.prepare([source.example])
    if device.type == "meta":
        batch.pop("attention_mask", None)  # looked into, to see whether anything is padded
    names = layers_of(source)
    shapes = layouts.shapes_of(source, names, {k: v.to(device) for k, v in batch.items()})
    return {
        name: (type(source.module.get_submodule(name)).__name__, " x ".join(map(str, shapes[name][1:])))
        for name in names
        if name in shapes
    }


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


def _weights(model: Model, entry: registry.Entry | None) -> tuple[str, int, Path | None]:
    """Return what the contract says of the weights, the seed, and where they are if they are."""
    weights = model.weights
    if weights is None and model.network == "nano":
        weights = str(nano.CHECKPOINT)
    if weights is not None and weights.startswith("random:"):
        return weights, int(weights[7:]), folder_of(model, entry)
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
            f"The checkpoint {path} does not fit: {reason(error)}. Is it of this network?"
        ) from None
    wrong = [k for k, v in state.items() if not isinstance(v, torch.Tensor)]
    wrong = (
        wrong
        or sorted(set(wanted) ^ set(state))
        or [k for k, v in wanted.items() if v.shape != state[k].shape]
    )
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
