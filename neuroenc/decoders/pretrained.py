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

from neuroenc.blocks import blocks
from neuroenc.decoders.pipelines import TAKES, Floats, Pictures
from neuroenc.errors import InputError


class Diffusers:
    """What the pipelines of diffusers share: some pictures at a time, each from a seed of its own."""

    takes: Mapping[str, str]
    shape: tuple[int, ...]
    guidance: float
    n_steps: int
    starts = True
    batch_size = 1
    batched = True
    """Whether a call may hold pictures of several embeddings"""

    def __call__(
        self, embedding: Floats | None, *, n: int, init: Pictures | None, strength: float, guidance: float,
        n_steps: int, seed: int,
    ) -> Pictures:  # fmt: skip
        """Draw, as `ImageDecoder` says."""
        if init is not None and not self.starts:
            raise InputError(
                f"{type(self).__name__} cannot start from a low-level picture. Leave `low_level` out, or "
                "choose another, as kandinsky or ip_adapter."
            )
        total, made = n if embedding is None else len(embedding), []
        for rows in blocks(total, self.batch_size if self.batched else 1):
            some = None
            if embedding is not None:
                some = torch.from_numpy(np.array(embedding[rows], np.float32)).unflatten(1, self.shape)
            start = None if init is None else [Image.fromarray(p) for p in init[rows]]
            noise = [torch.Generator().manual_seed(seed + i) for i in range(rows.start, rows.stop)]
            with torch.inference_mode():
                made += self._draw(some, start, strength, guidance, n_steps, noise)
        return np.stack([np.asarray(p.convert("RGB"), np.uint8) for p in made])

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        raise NotImplementedError


def _ready(pipe: Any, device: str) -> Any:
    pipe.set_progress_bar_config(disable=True)
    # text encoders that are published in half precision stay in it, beside a U-Net in single
    return pipe.to(device, torch.float32)


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
        self.shape: tuple[int, ...] = (int(null.shape[1]),)
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
        device, none = self.pipe.device, self.null.expand(len(generator), -1)
        given = {
            "image_embeds": (none if embedding is None else embedding).to(device),
            "negative_image_embeds": none.to(device), "height": self.side, "width": self.side,
            "num_inference_steps": n_steps, "guidance_scale": guidance, "generator": generator,
        }  # fmt: skip
        if start is None:
            return self.pipe(**given).images
        return self.from_picture(image=start, strength=strength, **given).images


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
        self.shape: tuple[int, ...] = (int(pipe.image_normalizer.mean.shape[1]),)

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
        given = torch.zeros(len(generator), *self.shape) if embedding is None else embedding
        return self.pipe(
            prompt=[""] * len(generator), image_embeds=given.to(self.pipe.device), generator=generator,
            num_inference_steps=n_steps, guidance_scale=guidance,
        ).images  # fmt: skip


class IPAdapter(Diffusers):
    """SDXL-turbo with an IP-Adapter: embeddings of CLIP ViT-H/14 by LAION, projected; no prompt, four steps.

    Parameters
    ----------
    pipe : StableDiffusionXLPipeline
        With its IP-Adapter loaded.
    null : tensor of shape (1, *shape)
        What stands for no picture.
    """

    takes = TAKES["ip_adapter"]
    adapter = "ip-adapter_sdxl_vit-h.safetensors"
    guidance, n_steps = 1.0, 4
    batched = False  # its pipeline shows every picture of a call all embeddings

    def __init__(self, pipe: Any, null: Any) -> None:
        self.pipe, self.null = pipe, null
        parts = {k: v for k, v in pipe.components.items() if k not in ("image_encoder", "feature_extractor")}
        self.from_picture = StableDiffusionXLImg2ImgPipeline(**parts)
        self.from_picture.set_progress_bar_config(disable=True)
        self.shape: tuple[int, ...] = tuple(null.shape[1:])

    @classmethod
    def load(cls, folder: Any, device: str) -> IPAdapter:
        """Load what was fetched."""
        pipe = StableDiffusionXLPipeline.from_pretrained(
            folder / "pipeline", variant="fp16", local_files_only=True
        )
        pipe.load_ip_adapter(
            str(folder / "adapter"), subfolder="sdxl_models", image_encoder_folder=None,
            weight_name=cls.adapter, local_files_only=True,
        )  # fmt: skip
        layer = pipe.unet.encoder_hid_proj.image_projection_layers[0]
        return cls(_ready(pipe, device), cls.no_picture(layer, folder))

    @staticmethod
    def no_picture(layer: Any, folder: Any) -> torch.Tensor:  # noqa: ARG004
        """Return the embedding of no picture, as in its training: zeros."""
        return torch.zeros(1, layer.image_embeds.in_features)

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        none = self.null.expand(len(generator), *self.shape)
        # one picture of each prompt
        shown = (none if embedding is None else embedding)[:, None].to(self.pipe.device)
        if guidance > 1:  # what is guided away from comes first, as diffusers expects
            shown = torch.cat([none[:, None].to(shown), shown])
        given = {
            "prompt": [""] * len(generator), "ip_adapter_image_embeds": [shown],
            "num_inference_steps": n_steps, "guidance_scale": guidance, "generator": generator,
        }  # fmt: skip
        if start is None:
            return self.pipe(**given).images
        side = self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor
        large = [p.resize((side, side)) for p in start]
        return self.from_picture(image=large, strength=strength, **given).images


class IPAdapterPlus(IPAdapter):
    """SDXL-turbo with an IP-Adapter Plus: all tokens of the last but one block of CLIP ViT-H/14 by LAION."""

    takes = TAKES["ip_adapter_plus"]
    adapter = "ip-adapter-plus_sdxl_vit-h.safetensors"

    @staticmethod
    def no_picture(layer: Any, folder: Any) -> torch.Tensor:
        """Return the tokens of no picture, as in its training: those of zeros in the place of pixels."""
        eye = CLIPVisionModelWithProjection.from_pretrained(folder / "adapter" / "models" / "image_encoder")
        side, width = eye.config.image_size, layer.proj_in.in_features
        if eye.config.hidden_size != width:
            raise InputError(
                f"The IP-Adapter reads tokens of {width} channels, its image encoder gives "
                f"{eye.config.hidden_size}. Fetch `ip_adapter_plus` again."
            )
        with torch.inference_mode():
            found = eye(torch.zeros(1, 3, side, side), output_hidden_states=True)
        tokens: torch.Tensor = found.hidden_states[-2]
        return tokens
