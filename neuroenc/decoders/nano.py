"""The small decoders the demo brings: pictures and captions from embeddings of the small network.

A conditional U-Net and transformers' GPT-2, trained on the grammar of pictures by `neuroenc nano train`; no
simulated subject sees a picture they were trained on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle

from neuroenc.config import Model
from neuroenc.decoders.diffusion import Schedule
from neuroenc.decoders.unet import PictureUNet
from neuroenc.features import nano
from neuroenc.files import existing

if TYPE_CHECKING:
    from neuroenc.decoders.captioner import Captioner

WEIGHTS = Path(__file__).parent / "weights"
PICTURES, CAPTIONS = WEIGHTS / "nano_pictures.safetensors", WEIGHTS / "nano_captions.safetensors"
LAYER = "visual"
SIDE, PATCH = 48, 3  # px of a generated picture; each patch of 3 x 3 px is one place of the U-Net
COARSE = SIDE // PATCH  # px of the low-level picture the U-Net is shown
SCHEDULE = Schedule(1000, zero_signal=True, clip=True)
"""Of noise, in training and sampling"""
BATCH = 32  # pictures drawn together: few enough for the cache of a core
N_PREFIX, N_WORDS = 4, 40  # places in front of the words that an embedding fills, and for words and marks
MARKS = (",", ":")
"""Of punctuation, which the captioner writes as words; the small network reads captions without"""


@cache
def network() -> Any:
    """Load the small network's picture half."""
    from neuroenc.features.networks import Network

    return Network(Model(extractor="open_clip", network="nano", layers=[LAYER]))


def embed(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed pictures, (n, height, width, 3) to (n, n_features)."""
    batches = [network()(list(pictures[i : i + 256]))[LAYER] for i in range(0, len(pictures), 256)]
    return np.concatenate(batches)


def look(pictures: torch.Tensor) -> torch.Tensor:
    """Embed pictures, (n, 3, height, width) from -1 to 1, so that gradients pass: (n, n_features)."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (nano.MEAN, nano.STD))
    x = interpolate((pictures + 1) / 2, size=(96, 96), mode="bicubic", antialias=True)
    found: torch.Tensor = network().module.encode_image((x - mean) / std)
    return found


def embed_patches(patches: torch.Tensor) -> torch.Tensor:
    """Embed the U-Net's places, (n, 27, 16, 16), so that gradients pass, also a little beyond -1 and 1."""
    return look(pixel_shuffle(patches, PATCH).clamp(-1.2, 1.2))


def resize(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Bring a picture to side x side px."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def picture_model(n_features: int = 64) -> PictureUNet:
    """Build the U-Net.

    Its condition is a standardised embedding and a 1, or zeros for none; beside the noisy patches it is shown
    a low-level picture and a plane of ones, or zeros for none.
    """
    return PictureUNet(3 * PATCH**2 + 4, 3 * PATCH**2, n_features + 1)


def caption_model(n_features: int = 64) -> Captioner:
    """Build GPT-2 with the map from an embedding, given as to the U-Net, to the places before its words."""
    from neuroenc.decoders.captioner import Captioner

    return Captioner(n_features + 1, N_PREFIX, len(caption_words()), N_WORDS)


@cache
def caption_words() -> tuple[str, ...]:
    """Return what the captioner writes, in the order of its ids: padding, words, marks, the end."""
    return ("", *nano.words(), *MARKS, "")


def to_ids(texts: list[str]) -> NDArray[np.int64]:
    """Turn captions into ids of `caption_words`, (n_texts, N_WORDS), 0 behind the end."""
    known = caption_words()
    ids = {word: i for i, word in enumerate(known) if word}
    tokens = np.zeros((len(texts), N_WORDS), np.int64)
    for row, text in zip(tokens, texts, strict=True):
        found = [ids[word] for word in re.findall(r"\w+|[,:]", text.lower())]
        row[: len(found) + 1] = [*found, len(known) - 1]
    return tokens


def to_text(ids: list[int]) -> str:
    """Write a caption from ids, as a sentence."""
    text = " ".join(w for w in (caption_words()[i] for i in ids) if w)
    for mark in MARKS:
        text = text.replace(f" {mark}", mark)
    return f"{text[:1].upper()}{text[1:]}."


def to_patches(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Turn pictures (n, SIDE, SIDE, 3) into the U-Net's places, from -1 to 1."""
    return pixel_unshuffle(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1, PATCH)


def from_patches(patches: torch.Tensor) -> NDArray[np.uint8]:
    """Turn the U-Net's places into pictures (n, SIDE, SIDE, 3)."""
    x = pixel_shuffle(patches, PATCH).clamp(-1, 1).add(1).mul(127.5).round().byte()
    return np.asarray(x.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def load(path: Path, model: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Read trained weights into a model.

    Returns
    -------
    model
        In eval mode, single precision, without gradients.
    mean, scale : tensors of shape (n_features,)
        By which embeddings are standardised.
    """
    tensors = load_file(existing(path))
    mean, scale = tensors.pop("mean"), tensors.pop("scale")
    missing, unknown = model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    assert not unknown and all(k.endswith("lm_head.weight") for k in missing)
    return model.eval().requires_grad_(False), mean, scale


def record(path: Path) -> dict[str, Any]:
    """Return the training record beside shipped weights."""
    stored: dict[str, Any] = json.loads(path.with_name(f"{path.stem}_training.json").read_text())
    return stored


@cache
def pictures_loaded(path: Path = PICTURES) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Load the picture decoder once."""
    model: Any = picture_model()
    return load(path, model.to(memory_format=torch.channels_last))


@cache
def captions_loaded(path: Path = CAPTIONS) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Load the captioner once."""
    return load(path, caption_model())


def generate(
    embedding: NDArray[np.float32] | None, *, n: int = 1, low_level: NDArray[np.uint8] | None = None,
    guidance: float = 2.0, steps: int = 7, seed: int = 0, path: Path = PICTURES,
    push: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Generate pictures from embeddings of the small network (DDIM, classifier-free guidance).

    Parameters
    ----------
    embedding : array of shape (n, n_features) or None
        None: `n` pictures of no embedding at all.
    low_level : uint8 array of shape (n, height, width, 3), optional
        Small or blurred pictures that say what is where.
    guidance : float
        Away from neither embedding nor low-level picture, in all steps but the first and the last, where it
        changes little (after Kynkäänniemi et al. 2024, arXiv 2404.07724); 1: none.
    steps : int
    seed : int
        Of the noise of the first picture; the next ones count up, so that a picture does not depend on which
        others are made with it.
    path : Path
    push : callable, optional
        From pictures, (n, 3, 48, 48) from -1 to 1, to a value each, (n,): each step is moved along its
        gradient (Dhariwal and Nichol 2021, algorithm 2).

    Returns
    -------
    uint8 array of shape (n, 48, 48, 3)
    """
    model, mean, scale = pictures_loaded(path)
    given = _condition(embedding, n, mean, scale)
    coarse = torch.zeros(len(given), 4, COARSE, COARSE)
    if low_level is not None:
        small = np.stack([resize(p, COARSE) for p in low_level])
        coarse[:, :3] = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1
        coarse[:, 3] = 1
    if embedding is None and low_level is None:
        guidance = 1.0
    drawn = [torch.Generator().manual_seed(seed + i) for i in range(len(given))]
    noise = torch.stack([torch.randn(3 * PATCH**2, COARSE, COARSE, generator=g) for g in drawn])
    with torch.inference_mode():
        made = [
            _denoise(model, *part, guidance, steps, push)
            for part in zip(noise.split(BATCH), coarse.split(BATCH), given.split(BATCH), strict=True)
        ]
    return from_patches(torch.cat(made))


def _denoise(
    model: PictureUNet, x: torch.Tensor, coarse: torch.Tensor, given: torch.Tensor, guidance: float,
    steps: int, push: Callable[[torch.Tensor], torch.Tensor] | None,
) -> torch.Tensor:  # fmt: skip
    """Take noise, (n, 27, 16, 16), to the places of pictures."""
    none, blank = torch.zeros_like(given), torch.zeros_like(coarse)
    for i, t in enumerate(SCHEDULE.times(steps)):
        time = torch.full((len(x),), t)
        found = model(_inputs(x, coarse), time, given)
        if guidance != 1 and 0 < i < steps - 1:
            free = model(_inputs(x, blank), time, none)
            found = free + guidance * (found - free)
        if push is not None:
            found = found + _pushed(model, x, coarse, time, given, push)
        x = SCHEDULE.step(found, t, x, steps)
    return x


def _inputs(x: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Lay noisy places and low-level pictures side by side, channels last: convolutions are faster so."""
    return torch.cat([x, coarse], 1).contiguous(memory_format=torch.channels_last)


def _pushed(
    model: Any, x: torch.Tensor, coarse: torch.Tensor, time: torch.Tensor, given: torch.Tensor,
    push: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    """Return by how much the denoised picture changes so that its value rises."""
    signal = SCHEDULE.signal[time[0]].clamp(min=1e-3)
    with torch.inference_mode(mode=False), torch.enable_grad():
        noisy = x.clone().requires_grad_(True)
        clean = model(_inputs(noisy, coarse.clone()), time, given.clone())
        (gradient,) = torch.autograd.grad(push(pixel_shuffle(clean, PATCH)).sum(), noisy)
    # the noise changes by -sqrt(1 - a) g, and the picture by (1 - a) / sqrt(a) g
    return ((1 - signal) / signal.sqrt()).clamp(max=3) * gradient


def _condition(
    embedding: NDArray[np.float32] | None, n: int, mean: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    if embedding is None:
        return torch.zeros(n, len(mean) + 1)
    standard = (torch.from_numpy(np.array(embedding, np.float32)) - mean) / scale
    return torch.cat([standard, torch.ones(len(standard), 1)], 1)


def describe(
    embedding: NDArray[np.float32] | None,
    *,
    n: int = 1,
    n_beams: int = 5,
    seed: int = 0,
    path: Path = CAPTIONS,
) -> list[str]:
    """Caption embeddings of the small network by beam search.

    Parameters
    ----------
    embedding : array of shape (n, n_features) or None
        None: `n` captions of no embedding at all, drawn word by word instead of searched.
    n : int
    n_beams : int
    seed : int
        Of drawn captions.
    path : Path
    """
    model, mean, scale = captions_loaded(path)
    how: dict[str, Any] = {"num_beams": 1, "do_sample": True, "top_k": 0}
    same = np.arange(n)
    if embedding is not None:
        how = {"num_beams": n_beams, "do_sample": False}
        # the same embedding has the same caption
        _, first, same = np.unique(embedding, axis=0, return_index=True, return_inverse=True)
        embedding = embedding[first]
    given = _condition(embedding, n, mean, scale)
    texts = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for rows in given.split(256):
            start = model.start(rows)
            ids = model.language.generate(
                inputs_embeds=start, attention_mask=torch.ones(start.shape[:2], dtype=torch.long),
                max_new_tokens=model.language.config.n_positions - N_PREFIX, **how,
            )  # fmt: skip
            texts += [to_text(row) for row in ids.tolist()]
    return [texts[i] for i in same.ravel()]
