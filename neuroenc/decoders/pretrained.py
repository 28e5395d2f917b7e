"""Image decoders of diffusers, their published weights behind one call.

Kandinsky 2.2 (Razzhigaev et al. 2023), Stable unCLIP (Rombach et al. 2022; Ramesh et al. 2022) and SDXL-turbo
with an IP-Adapter (Ye et al. 2023), the recipe of ATM (arXiv 2403.07721).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import (
    KandinskyV22Img2ImgPipeline,
    KandinskyV22Pipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    StableUnCLIPImg2ImgPipeline,
)
from PIL import Image
from transformers import CLIPVisionModelWithProjection

from neuroenc.decoders.pipelines import TAKES, Floats, Pictures
from neuroenc.errors import InputError


class Diffusers:
    """What the pipelines of diffusers share: one picture at a time, each from a seed of its own."""

    takes: Mapping[str, str]
    n_features: int
    guidance: float
    n_steps: int
    starts = True

    def __call__(
        self, embedding: Floats | None, *, n: int, init: Pictures | None, strength: float, guidance: float,
        n_steps: int, seed: int,
    ) -> Pictures:  # fmt: skip
        """Draw, as `ImageDecoder` says."""
        if init is not None and not self.starts:
            raise InputError(
                f"{type(self).__name__} cannot start from a low-level picture. Leave `low_level` out, or "
                "choose kandinsky or ip_adapter."
            )
        made = []
        for i in range(n if embedding is None else len(embedding)):
            one = (
                None if embedding is None else torch.from_numpy(np.asarray(embedding[i : i + 1], np.float32))
            )
            start = None if init is None else Image.fromarray(init[i])
            with torch.inference_mode():
                picture = self._draw(
                    one, start, strength, guidance, n_steps, torch.Generator().manual_seed(seed + i)
                )
            made.append(np.asarray(picture.convert("RGB"), np.uint8))
        return np.stack(made)

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        raise NotImplementedError


def _ready(pipe: Any, device: str) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


class Kandinsky(Diffusers):
    """Kandinsky 2.2: embeddings of CLIP ViT-bigG/14 by LAION, projected.

    Parameters
    ----------
    pipe : KandinskyV22Pipeline
    null : tensor of shape (1, n_features)
        Embedding of a black picture, which stands for no picture in its guidance.
    """

    takes = TAKES["kandinsky"]
    guidance, n_steps = 4.0, 50

    def __init__(self, pipe: Any, null: Any) -> None:
        self.pipe, self.null = pipe, null
        self.from_picture = KandinskyV22Img2ImgPipeline(**pipe.components)
        self.from_picture.set_progress_bar_config(disable=True)
        self.n_features = int(null.shape[1])
        self.side = pipe.unet.config.sample_size * 2 ** (len(pipe.movq.config.block_out_channels) - 1)

    @classmethod
    def load(cls, folder: Any, device: str) -> Kandinsky:
        """Load what was fetched."""
        eye = CLIPVisionModelWithProjection.from_pretrained(folder / "prior" / "image_encoder")
        side = eye.config.image_size
        with torch.inference_mode():
            null = eye(torch.zeros(1, 3, side, side)).image_embeds
        pipe = KandinskyV22Pipeline.from_pretrained(folder / "decoder", local_files_only=True)
        return cls(_ready(pipe, device), null)

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        device = self.pipe.device
        given = {
            "image_embeds": (self.null if embedding is None else embedding).to(device),
            "negative_image_embeds": self.null.to(device), "height": self.side, "width": self.side,
            "num_inference_steps": n_steps, "guidance_scale": guidance, "generator": generator,
        }  # fmt: skip
        if start is None:
            return self.pipe(**given).images[0]
        return self.from_picture(image=start, strength=strength, **given).images[0]


class StableUnCLIP(Diffusers):
    """Stable Diffusion 2.1 unCLIP: embeddings of CLIP ViT-H/14 by LAION, projected; no prompt.

    Parameters
    ----------
    pipe : StableUnCLIPImg2ImgPipeline
    """

    takes = TAKES["unclip"]
    guidance, n_steps, starts = 10.0, 20, False

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.n_features = int(pipe.image_normalizer.mean.shape[1])

    @classmethod
    def load(cls, folder: Any, device: str) -> StableUnCLIP:
        """Load what was fetched."""
        pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(folder / "pipeline", local_files_only=True)
        return cls(_ready(pipe, device))

    def _draw(
        self,
        embedding: Any,
        start: Any,  # noqa: ARG002
        strength: float,  # noqa: ARG002
        guidance: float,
        n_steps: int,
        generator: Any,
    ) -> Any:
        given = torch.zeros(1, self.n_features) if embedding is None else embedding
        return self.pipe(
            prompt="", image_embeds=given.to(self.pipe.device), num_inference_steps=n_steps,
            guidance_scale=guidance, generator=generator,
        ).images[0]  # fmt: skip


class IPAdapter(Diffusers):
    """SDXL-turbo with an IP-Adapter: embeddings of CLIP ViT-H/14 by LAION, projected; no prompt, four steps.

    Parameters
    ----------
    pipe : StableDiffusionXLPipeline
        With its IP-Adapter loaded.
    """

    takes = TAKES["ip_adapter"]
    guidance, n_steps = 1.0, 4

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        parts = {k: v for k, v in pipe.components.items() if k not in ("image_encoder", "feature_extractor")}
        self.from_picture = StableDiffusionXLImg2ImgPipeline(**parts)
        self.from_picture.set_progress_bar_config(disable=True)
        layer = pipe.unet.encoder_hid_proj.image_projection_layers[0]
        self.n_features = int(layer.image_embeds.in_features)

    @classmethod
    def load(cls, folder: Any, device: str) -> IPAdapter:
        """Load what was fetched."""
        pipe = StableDiffusionXLPipeline.from_pretrained(
            folder / "pipeline", variant="fp16", local_files_only=True
        )
        pipe.load_ip_adapter(
            str(folder / "adapter"), subfolder="sdxl_models", image_encoder_folder=None,
            weight_name="ip-adapter_sdxl_vit-h.safetensors", local_files_only=True,
        )  # fmt: skip
        return cls(_ready(pipe, device))

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        given = torch.zeros(1, self.n_features) if embedding is None else embedding
        tokens = given[:, None].to(self.pipe.device)
        if guidance > 1:  # what is guided away from comes first, as diffusers expects
            tokens = torch.cat([torch.zeros_like(tokens), tokens])
        given = {
            "prompt": "", "ip_adapter_image_embeds": [tokens], "num_inference_steps": n_steps,
            "guidance_scale": guidance, "generator": generator,
        }  # fmt: skip
        if start is None:
            return self.pipe(**given).images[0]
        side = self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor
        return self.from_picture(image=start.resize((side, side)), strength=strength, **given).images[0]


KINDS: dict[str, Any] = {"kandinsky": Kandinsky, "unclip": StableUnCLIP, "ip_adapter": IPAdapter}
