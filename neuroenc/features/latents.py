"""Latents of pictures by an autoencoder of diffusers, and pictures of latents, from which drawing starts.

MindEye's low level is decoded into them (Scotti et al. 2023, 2024).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.blocks import blocks
from neuroenc.config import Model
from neuroenc.devices import pick_device
from neuroenc.errors import InputError
from neuroenc.features import registry
from neuroenc.files import existing, sha256

SIDE = (
    224  # px, to which pictures are brought unless `input_size` says otherwise: 28 x 28 latents of 4 channels
)
BATCH = 8
FILE = "diffusion_pytorch_model.safetensors"


class Latents:
    """An `AutoencoderKL` without gradients.

    Latents are the modes of the posterior times the scaling factor, place by place, the channels last.

    Parameters
    ----------
    model : Model
        `network` is a name of `registry.AUTOENCODERS`, or a folder as `save_pretrained` leaves it.
    device : str
        Of torch; "auto" takes a GPU where there is one.

    Raises
    ------
    InputError
        There is no such autoencoder, or its latents have no whole places.
    """

    def __init__(self, model: Model, *, device: str = "cpu") -> None:
        import torch
        from diffusers import AutoencoderKL

        self.device = pick_device(device)
        folder = _folder(model)
        random = (model.weights or "").startswith("random:")
        if random:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(str(model.weights)[7:]))
                made: Any = AutoencoderKL.from_config(AutoencoderKL.load_config(folder))
            weights = str(model.weights)
        else:
            file = existing(folder / FILE, made_by="A folder of an AutoencoderKL holds it.")
            made = AutoencoderKL.from_pretrained(folder, local_files_only=True)
            weights = f"{FILE}:{sha256(file)}"
        self.vae = made.float().eval().requires_grad_(False).to(self.device)
        self.scale, self.channels = float(made.config.scaling_factor), int(made.config.latent_channels)
        self.side = model.input_size or SIDE
        factor = 2 ** (len(made.config.block_out_channels) - 1)
        if self.side % factor:
            raise InputError(
                f"Pictures of {self.side} px have no whole latents, each of {factor} px. Set `input_size` to "
                f"a multiple of {factor}."
            )
        self.places = self.side // factor
        done = f"RGB, bicubic resize to {self.side}; mode of the posterior times {self.scale:g}"
        self.contract = {
            "model": f"vae/{folder.name if _is_folder(model) else model.network}", "weights": weights,
            "pooling": "all places", "normalisation": "mean and deviation 0.5", "pixel_range": "-1 to 1",
            "preprocessing": done,
        }  # fmt: skip

    def __call__(self, pixels: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Encode pictures to {"latent": (n, n_places n_places n_channels)}."""
        import torch

        size = (self.side, self.side)
        made = [Image.fromarray(p).convert("RGB").resize(size, Image.Resampling.BICUBIC) for p in pixels]
        x = torch.from_numpy(np.stack([np.asarray(m, np.float32) for m in made])) / 127.5 - 1
        with torch.inference_mode():
            found = self.vae.encode(x.permute(0, 3, 1, 2).to(self.device)).latent_dist.mode() * self.scale
        return {"latent": found.permute(0, 2, 3, 1).flatten(1).cpu().numpy()}

    def pictures(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Decode latents, (n, n_features), to pictures, (n, side, side, 3)."""
        import torch

        out = np.empty((len(latents), self.side, self.side, 3), np.uint8)
        for rows in blocks(len(latents), BATCH):
            z = np.asarray(latents[rows], np.float32).reshape(-1, self.places, self.places, self.channels)
            x = torch.from_numpy(z).permute(0, 3, 1, 2).to(self.device) / self.scale
            with torch.inference_mode():
                made = self.vae.decode(x).sample
            made = made.clamp(-1, 1).add(1).mul(127.5).round().byte()
            out[rows] = made.permute(0, 2, 3, 1).cpu().numpy()
        return out


def _is_folder(model: Model) -> bool:
    return model.network not in registry.AUTOENCODERS


def _folder(model: Model) -> Path:
    """Return the folder of an autoencoder."""
    name = str(model.network)
    if not _is_folder(model):
        file = registry.stored(registry.AUTOENCODERS[name])
        assert file is not None  # else it is refused there
        return file.parent
    where = Path(name).expanduser()
    existing(
        where / "config.json",
        made_by=f"{name!r} is none of {', '.join(registry.AUTOENCODERS)}, nor a folder that "
        "`save_pretrained` of diffusers' AutoencoderKL left.",
    )
    return where
