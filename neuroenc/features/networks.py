"""Frozen networks of timm, torchvision and open_clip: any layers by name, in one pass."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.errors import InputError, NeuroencError, invalid
from neuroenc.features import nano
from neuroenc.files import existing, sha256

if TYPE_CHECKING:
    import torch

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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

        gpu = "cuda" if torch.cuda.is_available() else "cpu"
        self.model, self.device = model, gpu if device == "auto" else device
        self.weights, seed, path = _source(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            build = {"timm": _timm, "torchvision": _torchvision, "open_clip": _open_clip}
            self.module, self.preprocessing = build[model.extractor](model)
        if path is not None:
            _load(self.module, path)
        self.module = self.module.eval().requires_grad_(False).to(self.device)
        known = [name for name, _ in self.module.named_modules() if name]
        for layer in model.layers:
            if layer not in known:
                raise invalid("layer", layer, known)
        if not model.layers:
            raise InputError(
                f"No layers named for {model.network!r}. Name some of its {len(known)}: "
                f"{', '.join(known[:3])}, … (`neuroenc features layers` lists them)."
            )

    @property
    def contract(self) -> dict[str, str]:
        """The part of the embedding contract the network settles."""
        size, crop, interpolation, (mean, std) = self.preprocessing
        return {
            "model": f"{self.model.extractor}/{self.model.network}",
            "weights": self.weights,
            "pooling": self.model.pooling,
            "normalisation": f"mean {tuple(mean)}, std {tuple(std)}",
            "pixel_range": "0 to 1 before normalisation",
            "preprocessing": f"RGB, {interpolation} resize of the short side to {round(size / crop)}, "
            f"centre crop {size}",
        }

    def batch_size(self, memory_gb: float) -> int:
        """Pictures per pass whose activations, all kept, would fill `memory_gb`."""
        import torch

        total = 0

        def count(_module: Any, _inputs: Any, output: Any) -> None:
            nonlocal total
            total += output.nbytes if isinstance(output, torch.Tensor) else 0

        leaves = [m for m in self.module.modules() if not list(m.children())]
        handles = [m.register_forward_hook(count) for m in leaves]
        size = self.preprocessing[0]
        self([np.zeros((size, size, 3), np.uint8)])
        for handle in handles:
            handle.remove()
        return int(np.clip(memory_gb * 1e9 // max(total, 1), 1, 256))

    def __call__(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Run pictures through.

        Parameters
        ----------
        pixels : list of uint8 arrays (height, width, 3)

        Returns
        -------
        dict
            Layer name to float32 array, (n, n_features), or (n, n_tokens, n_channels) for
            pooling 'tokens'.
        """
        import torch

        if any(m.training for m in self.module.modules()):
            raise NeuroencError("The network left eval mode; a frozen network must not train.")
        batch = torch.stack([self._prepare(p) for p in pixels]).to(self.device)
        caught: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                caught[name] = output[0] if isinstance(output, tuple) else output

            return hook

        handles = [
            self.module.get_submodule(name).register_forward_hook(keep(name)) for name in self.model.layers
        ]
        try:
            with torch.inference_mode():
                forward = getattr(self.module, "encode_image", self.module)
                forward(batch)
        finally:
            for handle in handles:
                handle.remove()
        return {
            name: self._pool(self._tokens(caught[name], len(pixels)), name).float().cpu().numpy()
            for name in self.model.layers
        }

    def _prepare(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        import torch
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F  # noqa: N812

        size, crop, interpolation, (mean, std) = self.preprocessing
        image = F.resize(Image.fromarray(pixels), [math.floor(size / crop)], InterpolationMode(interpolation))
        tensor: torch.Tensor = F.to_tensor(F.center_crop(image, [size, size]))
        return tensor.sub(torch.tensor(mean)[:, None, None]).div(torch.tensor(std)[:, None, None])

    def _tokens(self, output: torch.Tensor, n: int) -> torch.Tensor:
        """Bring any layer's output to (n, tokens, channels)."""
        if output.ndim == 4:  # convolutions: channels first, but for a few of timm's
            if getattr(self.module, "output_fmt", "NCHW") == "NHWC":
                return output.flatten(1, 2)
            return output.flatten(2).transpose(1, 2)
        if output.ndim == 2:
            return output[:, None]
        if output.shape[0] != n:
            raise NeuroencError(f"A layer's output {tuple(output.shape)} does not lead with batch {n}.")
        return output

    def _pool(self, tokens: torch.Tensor, layer: str) -> torch.Tensor:
        import torch

        pooling = self.model.pooling
        n = tokens.shape[1]
        prefix = n - math.isqrt(n) ** 2 if n > 1 else 0  # class and register tokens lead
        if pooling == "tokens":
            return tokens
        if pooling == "mean":
            return tokens[:, prefix:].mean(1)
        if pooling == "cls":
            if not prefix:
                raise InputError(f"Layer {layer!r} has no class token; pool by 'mean' or 'grid:<k>'.")
            return tokens[:, 0]
        if not pooling.startswith("grid:") or not pooling[5:].isdigit():
            raise invalid("pooling", pooling, ("mean", "tokens", "cls", "grid:4"))
        side = math.isqrt(n - prefix)
        grid = tokens[:, prefix:].transpose(1, 2).reshape(tokens.shape[0], -1, side, side)
        pooled = torch.nn.functional.adaptive_avg_pool2d(grid, min(int(pooling[5:]), side))
        return pooled.flatten(2).transpose(1, 2)


def layer_names(model: Model) -> dict[str, str]:
    """Names and classes of a network's layers, without loading weights."""
    import torch

    build = {"timm": _timm, "torchvision": _torchvision, "open_clip": _open_clip}
    if model.extractor not in build:
        raise invalid("extractor", model.extractor, build)
    with torch.random.fork_rng(devices=[]):
        module, _ = build[model.extractor](model)
    return {name: type(m).__name__ for name, m in module.named_modules() if name}


def _source(model: Model) -> tuple[str, int, Path | None]:
    """Return what the contract says of the weights, the seed, and the checkpoint if there is one."""
    weights = model.weights
    if weights is None and model.network == "nano":
        weights = str(nano.CHECKPOINT)
    if weights is None:
        raise InputError(
            f"No weights named for {model.network!r}. Give a checkpoint file, or 'random:<seed>' "
            "for the untrained network."
        )
    if weights.startswith("random:"):
        if not weights[7:].isdigit():
            raise InputError(f"Invalid value for 'weights': {weights!r}. Expected random:<seed>.")
        return weights, int(weights[7:]), None
    path = Path(os.path.expandvars(weights)).expanduser()
    existing(path, made_by="Fetch the checkpoint first, or use 'random:<seed>'.")
    found = sha256(path)
    if model.sha256 not in (None, found):
        raise InputError(
            f"The checkpoint {path} has sha256 {found}, expected {model.sha256}. Fetch it again."
        )
    return f"{path.name}:{found}", 0, path


def _load(module: Any, path: Path) -> None:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
    except Exception as error:  # noqa: BLE001  each format has errors of its own
        raise InputError(f"Cannot read the checkpoint {path}: {error}. Fetch it again.") from None
    # counters that only training reads; some checkpoints leave them out
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    wrong = sorted(set(wanted) ^ set(state)) or [k for k, v in wanted.items() if v.shape != state[k].shape]
    if wrong:
        raise InputError(
            f"The checkpoint {path} does not fit: {len(wrong)} tensors differ, first {wrong[0]!r}. "
            "Is it of this network?"
        )
    module.load_state_dict(state, strict=False)


Preprocessing = tuple[int, float, str, tuple[Any, Any]]


def _statistics(model: Model, library: tuple[Any, Any]) -> tuple[Any, Any]:
    return {"library": library, "imagenet": IMAGENET, "half": HALF}[model.normalisation]


def _timm(model: Model) -> tuple[Any, Preprocessing]:
    import timm

    if model.network not in timm.list_models():
        raise invalid("network", model.network, timm.list_models())
    options = dict(model.options)
    crop = options.pop("crop_pct", None)
    module = timm.create_model(model.network, pretrained=False, **options)
    data = timm.data.resolve_model_data_config(module)
    statistics = _statistics(model, (data["mean"], data["std"]))
    return module, (
        data["input_size"][-1], crop or data["crop_pct"], data["interpolation"], statistics,
    )  # fmt: skip


def _torchvision(model: Model) -> tuple[Any, Preprocessing]:
    from torchvision import models

    if model.network not in models.list_models(models):
        raise invalid("network", model.network, models.list_models(models))
    options = dict(model.options)
    crop = options.pop("crop_pct", None)
    module = models.get_model(model.network, weights=None, **options)
    data = models.get_model_weights(model.network).DEFAULT.transforms()
    size, short = data.crop_size[0], data.resize_size[0]
    return module, (
        size, crop or size / short, data.interpolation.value, _statistics(model, (data.mean, data.std)),
    )  # fmt: skip


def _open_clip(model: Model) -> tuple[Any, Preprocessing]:
    import open_clip

    name = str(model.network)
    if name == "nano":
        open_clip.add_model_config(nano.CONFIG)
    elif name.endswith(".json"):
        open_clip.add_model_config(existing(name))
        name = Path(name).stem
    if name not in open_clip.list_models():
        raise invalid("network", name, open_clip.list_models())
    module = open_clip.create_model(name, pretrained=None, load_weights=False)
    data = module.visual.preprocess_cfg
    if name == "nano":
        data = {**data, "mean": nano.MEAN, "std": nano.STD}
    size = data["size"][0] if isinstance(data["size"], (tuple, list)) else data["size"]
    return module, (
        size,
        1.0,
        data["interpolation"],
        _statistics(model, (data["mean"], data["std"])),
    )
