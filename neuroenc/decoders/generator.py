"""The image decoder that a configuration names."""

from __future__ import annotations

from typing import Any

from neuroenc.decoders.generator_memory import gpu_megabytes
from neuroenc.decoders.pipelines import ImageDecoder, Nano
from neuroenc.errors import InputError
from neuroenc.features import checkpoints


def make(name: str, *, device: str = "cpu", batch_size: int = 1) -> ImageDecoder:
    """Load an image decoder by name, from what was fetched.

    Parameters
    ----------
    name : str
        Of `pipelines.TAKES`.
    device : str
    batch_size : int
        Pictures that a pipeline of diffusers draws at a time.

    Raises
    ------
    InputError
        Its weights are not here, or the GPU has not the memory for them.
    """
    if name == "nano":
        return Nano()
    folder = checkpoints.pipeline_folder(name)
    if device.startswith("cuda"):
        _fits(name, device, batch_size)
    from neuroenc.decoders import pretrained
    from neuroenc.decoders.token_generators import Versatile

    kinds: dict[str, Any] = {
        "kandinsky": pretrained.Kandinsky, "unclip": pretrained.StableUnCLIP,
        "ip_adapter": pretrained.IPAdapter, "ip_adapter_plus": pretrained.IPAdapterPlus,
        "versatile": Versatile,
    }  # fmt: skip
    made: Any = kinds[name].load(folder, device)
    made.batch_size = batch_size
    decoder: ImageDecoder = made
    return decoder


def _fits(name: str, device: str, batch_size: int) -> None:
    """Refuse a GPU that is too small before weights are read."""
    import torch

    here = torch.cuda.get_device_properties(device).total_memory / 1e6
    needed = gpu_megabytes(name, batch_size)
    if here < needed:
        raise InputError(
            f"The generator {name!r} takes {needed / 1e3:.1f} GB of a GPU, {batch_size} at a time; {device} "
            f"has {here / 1e3:.1f} GB. Use a larger one, `device: cpu`, or another generator."
        )
