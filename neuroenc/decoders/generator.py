"""The image decoder that a configuration names."""

from __future__ import annotations

from typing import Any

from neuroenc.decoders.pipelines import ImageDecoder, Nano
from neuroenc.features import checkpoints


def make(name: str, *, device: str = "cpu", batch_size: int = 1) -> ImageDecoder:
    """Load an image decoder by name, from what was fetched.

    Parameters
    ----------
    name : {"nano", "kandinsky", "unclip", "ip_adapter"}
    device : str
    batch_size : int
        Pictures that a pipeline of diffusers draws at a time.

    Raises
    ------
    InputError
        Its weights are not here.
    """
    if name == "nano":
        return Nano()
    folder = checkpoints.pipeline_folder(name)
    from neuroenc.decoders.pretrained import KINDS

    made: Any = KINDS[name].load(folder, device)
    made.batch_size = batch_size
    decoder: ImageDecoder = made
    return decoder
