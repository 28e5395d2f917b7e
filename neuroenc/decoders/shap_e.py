"""Shap-E of diffusers: from a picture, or what a decoder says of its patches, to a mesh.

Jun & Nichol 2023 (arXiv 2305.02463): a transformer draws by diffusion the weights of a small network, given
the last layer of CLIP ViT-L/14 (256 patches of 1,024 numbers); the network gives a signed distance and a
colour to each place, and marching cubes the surface where the distance is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ShapEImg2ImgPipeline
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from neuroenc.blocks import blocks
from neuroenc.decoders.pipelines import Floats, Pictures
from neuroenc.errors import InputError, reason
from neuroenc.files import existing
from neuroenc.meshes import Mesh, gamma

TRIES = 3  # seeds, until a draw has a surface
POINTS = 2**15  # asked for their distance at a time


class ToldShapE(ShapEImg2ImgPipeline):  # type: ignore[misc]
    """The pipeline, told tokens: its own encoder takes but the first picture of a call (diffusers #13593)."""

    def _encode_image(
        self, image: Any, device: Any, num_images_per_prompt: int, do_classifier_free_guidance: bool
    ) -> Any:
        told = image.to(device=device, dtype=self.prior.dtype)
        told = told.repeat_interleave(num_images_per_prompt, dim=0)
        return torch.cat([torch.zeros_like(told), told]) if do_classifier_free_guidance else told


class ShapE:
    """From pictures or tokens to meshes.

    Parameters
    ----------
    pipe : ToldShapE
    batch_size : int
        Objects that are drawn at a time; their surfaces are found one by one.
    """

    guidance, n_steps = 3.0, 64  # as in its release

    def __init__(self, pipe: Any, *, batch_size: int = 1) -> None:
        self.pipe, self.batch_size = pipe, batch_size
        config = pipe.image_encoder.config
        self.n_tokens, self.width = (config.image_size // config.patch_size) ** 2, config.hidden_size
        if not pipe.shap_e_renderer.mesh_decoder.masks.any():
            raise InputError(
                "These weights of Shap-E have no table of marching cubes and give no mesh. Fetch them anew, "
                "`neuroenc weights fetch shap_e`: the folder `shap_e_renderer` is of July 2023 or later."
            )

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu", *, batch_size: int = 1) -> ShapE:
        """Load what was fetched, or what `save_pretrained` left in a folder.

        Raises
        ------
        InputError
            The folder is none of Shap-E.
        """
        folder = existing(folder)
        variant = "fp16" if any(folder.glob("*/*.fp16.safetensors")) else None
        try:
            pipe = ToldShapE.from_pretrained(
                folder, variant=variant, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{folder} holds no Shap-E: {reason(error)}. Give a folder of `save_pretrained` with "
                "safetensors, or run `neuroenc weights fetch shap_e`."
            ) from None
        pipe.set_progress_bar_config(disable=True)
        return cls(pipe.to(device), batch_size=batch_size)

    def tokens(self, pictures: Sequence[Pictures]) -> Floats:
        """Describe pictures by the last layer of its own network, without the class token.

        Parameters
        ----------
        pictures : sequence of uint8 arrays of shape (height, width, 3)
            Of one object on a plain background, best white: it was trained on such.

        Returns
        -------
        array of shape (n, n_tokens, width)
        """
        found = []
        for picture in pictures:
            shown = self.pipe.image_processor(Image.fromarray(picture), return_tensors="pt").pixel_values
            with torch.inference_mode():
                hidden = self.pipe.image_encoder(
                    shown.to(self.pipe.device, self.pipe.image_encoder.dtype)
                ).last_hidden_state
            found.append(hidden[0, 1:].float().cpu().numpy())
        return np.stack(found)

    def latents(self, tokens: Floats, *, guidance: float, n_steps: int, seeds: NDArray[np.int64]) -> Any:
        """Draw the weights of the small networks, a tensor of shape (n, n_latents, n_channels).

        Parameters
        ----------
        tokens : array of shape (n, n_tokens, width)
        guidance : float
            1: none.
        n_steps : int
        seeds : int array of shape (n,)
            Of the noise of each.
        """
        made = []
        for rows in blocks(len(tokens), self.batch_size):
            noise = [torch.Generator().manual_seed(int(s)) for s in seeds[rows]]
            made.append(
                self.pipe(
                    torch.from_numpy(np.asarray(tokens[rows], np.float32)), generator=noise,
                    guidance_scale=guidance, num_inference_steps=n_steps, output_type="latent",
                ).images
            )  # fmt: skip
        return torch.cat(made)

    def mesh(self, latent: Any, grid: int) -> Mesh:
        """Find the surface of one draw.

        Parameters
        ----------
        latent : tensor of shape (n_latents, n_channels)
        grid : int
            Places along a side of the cube at which the distance is asked for.

        Returns
        -------
        Mesh
            Without triangles where the draw has no surface.
        """
        renderer, surfaces = self.pipe.shap_e_renderer, []
        watch = renderer.mesh_decoder.register_forward_hook(lambda _, __, found: surfaces.append(found))
        try:
            found = renderer.decode_to_mesh(
                latent[None], self.pipe.device, grid_size=grid, query_batch_size=POINTS
            )
        except (ValueError, RuntimeError):
            if not surfaces or len(surfaces[-1].faces):
                raise
            # it has no surface, and the renderer fails at its colours
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.uint8))
        finally:
            watch.remove()
        light = torch.stack([found.vertex_channels[c] for c in "RGB"], 1)  # linear
        return Mesh(
            found.verts.double().cpu().numpy(), found.faces.long().cpu().numpy(),
            gamma(255 * light.float().cpu().numpy()),
        )  # fmt: skip

    def __call__(
        self, tokens: Floats, *, guidance: float | None = None, n_steps: int | None = None, grid: int = 128,
        seed: int = 0, said: str = "shap_e",
    ) -> tuple[list[Mesh], NDArray[np.int64]]:  # fmt: skip
        """Draw a mesh for each of n pictures.

        A draw without any surface is drawn again, from the seed n higher.

        Parameters
        ----------
        tokens : array of shape (n, n_tokens, width)
            Of `tokens`, or decoded.
        guidance, n_steps
            None: as in its release.
        grid : int
        seed : int
            Of the noise of the first; the next ones count up.
        said : str
            Beside the bar of progress.

        Returns
        -------
        meshes : list of Mesh
        seeds : int array of shape (n,)
            Of which each was drawn.

        Raises
        ------
        InputError
            One has no surface after `TRIES` draws.
        """
        n, seeds, made = len(tokens), np.arange(seed, seed + len(tokens)), []
        draw = partial(self.latents, guidance=guidance or self.guidance, n_steps=n_steps or self.n_steps)
        bar = tqdm(total=n, desc=said, disable=None)
        for rows in blocks(n, self.batch_size):
            for i, latent in zip(
                range(rows.start, rows.stop), draw(tokens[rows], seeds=seeds[rows]), strict=True
            ):
                mesh, tries = self.mesh(latent, grid), 1
                while not len(mesh.faces):
                    if tries == TRIES:
                        raise InputError(
                            f"Shap-E gave no surface for picture number {i} of {n} from {TRIES} seeds "
                            f"({said}). Choose another seed, more steps, or a picture of one object on a "
                            "plain background."
                        )
                    seeds[i] += n
                    mesh = self.mesh(draw(tokens[i : i + 1], seeds=seeds[i : i + 1])[0], grid)
                    tries += 1
                made.append(mesh)
                bar.update()
        bar.close()
        return made, seeds
