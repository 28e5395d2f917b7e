"""The image decoder that a configuration names."""

from __future__ import annotations

from neuroenc.decoders.pipelines import ImageDecoder, Nano
from neuroenc.features import checkpoints


def make(name: str, *, device: str = "cpu") -> ImageDecoder:
    """Load an image decoder by name, from what was fetched.

    Parameters
    ----------
    name : {"nano", "kandinsky", "unclip", "ip_adapter"}
    device : str

    Raises
    ------
    InputError
        Its weights are not here.
    """
    if name == "nano":
        return Nano()
    folder = checkpoints.pipeline_folder(name)
    from neuroenc.decoders.pretrained import KINDS

    made: ImageDecoder = KINDS[name].load(folder, device)
    return made
