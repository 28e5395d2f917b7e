"""Generators that read tokens by cross-attention alone, denoised step by step with parts of diffusers.

No pipeline of diffusers takes such tokens: those of Versatile Diffusion take pictures, which they embed.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UniPCMultistepScheduler
from diffusers.image_processor import VaeImageProcessor
from transformers import CLIPVisionModelWithProjection
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from neuroenc.decoders.pipelines import TAKES
from neuroenc.decoders.pretrained import Diffusers


class Versatile(Diffusers):
    """Versatile Diffusion's image flow (Xu et al. 2023, arXiv 2211.08332), as MindEye1 draws: no words.

    It is shown the 257 tokens of CLIP ViT-L/14, normalised and projected to 768 channels, by the length of
    the class token. It takes them before the projection, which it makes itself.

    Parameters
    ----------
    unet : UNet2DConditionModel
    vae : AutoencoderKL
    eye : CLIPVisionModelWithProjection
        Its projection and its tokens of a grey picture, which stand for none.
    scheduler : UniPCMultistepScheduler
    """

    takes = TAKES["versatile"]
    guidance, n_steps = 3.5, 20

    def __init__(self, unet: Any, vae: Any, eye: Any, scheduler: Any) -> None:
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.side = unet.config.sample_size
        self.images = VaeImageProcessor(vae_scale_factor=2 ** (len(vae.config.block_out_channels) - 1))
        self.projection = eye.visual_projection
        size = eye.config.image_size
        grey = [(0.5 - m) / s for m, s in zip(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, strict=True)]
        with torch.inference_mode():
            seen = eye.vision_model(torch.tensor(grey).view(1, 3, 1, 1).expand(1, 3, size, size))
            self.null = eye.vision_model.post_layernorm(seen.last_hidden_state)
        self.shape: tuple[int, ...] = tuple(self.null.shape[1:])

    @classmethod
    def load(cls, folder: Any, device: str) -> Versatile:
        """Load what was fetched."""
        of, here = folder / "pipeline", {"local_files_only": True}
        return cls(
            UNet2DConditionModel.from_pretrained(of / "image_unet", **here).to(device),
            AutoencoderKL.from_pretrained(of / "vae", **here).to(device),
            CLIPVisionModelWithProjection.from_pretrained(of / "image_encoder", **here),
            UniPCMultistepScheduler.from_pretrained(of / "scheduler", **here),
        )

    def _shown(self, tokens: Any) -> Any:
        """Project tokens, (n, n_tokens, n_channels), and divide them by the length of the class token."""
        projected = self.projection(tokens)
        return projected / projected[:, :1].norm(dim=-1, keepdim=True)

    def _draw(
        self, embedding: Any, start: Any, strength: float, guidance: float, n_steps: int, generator: Any
    ) -> Any:
        device, none = self.unet.device, self.null.expand(len(generator), *self.shape)
        given = self._shown(none if embedding is None else embedding).to(device)
        if guidance > 1:
            given = torch.cat([self._shown(none).to(device), given])
        self.scheduler.set_timesteps(n_steps, device=device)
        times = self.scheduler.timesteps
        noise = torch.stack([
            torch.randn(self.unet.config.in_channels, self.side, self.side, generator=g) for g in generator
        ]).to(device)  # fmt: skip
        x = noise * self.scheduler.init_noise_sigma
        if start is not None:
            times = times[n_steps - max(1, int(n_steps * strength)) :]
            x = self.scheduler.add_noise(self._latents(start), noise, times[:1].expand(len(noise)))
        for t in times:
            noisy = self.scheduler.scale_model_input(torch.cat([x] * (len(given) // len(x))), t)
            found = self.unet(noisy, t, encoder_hidden_states=given).sample
            if guidance > 1:
                free, found = found.chunk(2)
                found = free + guidance * (found - free)
            x = self.scheduler.step(found, t, x).prev_sample
        made = self.vae.decode(x / self.vae.config.scaling_factor).sample
        return self.images.postprocess(made, output_type="pil")

    def _latents(self, pictures: Any) -> Any:
        """Encode pictures."""
        side = self.side * self.images.config.vae_scale_factor
        pixels = self.images.preprocess([p.resize((side, side)) for p in pictures])
        mode = self.vae.encode(pixels.to(self.vae.device)).latent_dist.mode()
        return mode * self.vae.config.scaling_factor
