"""How the small image-text network is trained: `neuroenc nano train network`, seeded, on two cores."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.features.nano import CONFIG, MEAN, STD, build, tokenize
from neuroenc.files import atomic, write_json
from neuroenc.simulation import grammar

if TYPE_CHECKING:
    import torch

PROMPT = "{}."


def training_scenes(n: int, seed: int) -> list[grammar.Scene]:
    """Scenes the network is trained on: a random stream no simulated subject draws from."""
    rng = np.random.default_rng([seed, 0x6E616E6F])
    return [grammar.sample_scene(rng) for _ in range(n)]


def train(
    out: Path,
    *,
    n_pictures: int = 40_000,
    epochs: int = 14,
    batch_size: int = 256,
    learning_rate: float = 1.5e-3,
    seed: int = 0,
) -> dict[str, Any]:
    """Train by the symmetric contrastive loss of CLIP (Radford et al. 2021, figure 3).

    Parameters
    ----------
    out : Path
        The safetensors file; the training record is written beside it.
    n_pictures : int
        Pictures of the grammar, drawn once; one of five captions is taken at each visit.
    epochs, batch_size, learning_rate, seed
        AdamW with linear warm-up over one epoch and cosine decay.

    Returns
    -------
    dict
        The training record, with zero-shot accuracy on unseen pictures and its chance level.
    """
    import torch

    started = time.perf_counter()
    rng = np.random.default_rng([seed, 1])
    data = _corpus(n_pictures, seed, rng)
    model = build(seed).train()
    torch.manual_seed(seed)
    losses = _fit(model, data, rng, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    accuracy = zero_shot(model.eval(), n=1000, seed=seed + 1)
    write_weights({k: v.contiguous() for k, v in model.state_dict().items()}, out)
    about = {
        "n_pictures": n_pictures, "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "seed": seed, "loss_per_epoch": losses,
    }  # fmt: skip
    return write_record(out, model, about | accuracy, started)


class Corpus(NamedTuple):
    """Pictures to learn from."""

    pixels: NDArray[np.uint8]
    """(n, side, side, 3)"""
    tokens: NDArray[np.int64]
    """(n, 5, length), five captions each"""
    setting: NDArray[np.int64]
    """(n,), places in `grammar.SETTINGS`"""


def _corpus(n: int, seed: int, rng: np.random.Generator) -> Corpus:
    """Draw pictures and write their captions."""
    from tqdm import tqdm

    size = json.loads(CONFIG.read_text())["vision_cfg"]["image_size"]
    scenes = training_scenes(n, seed)
    pixels = np.stack([grammar.draw(s, size) for s in tqdm(scenes, "drawing", disable=None)])
    tokens = np.stack([tokenize(grammar.sample_captions(s, rng)[0]) for s in scenes])
    return Corpus(pixels, tokens, np.array([grammar.SETTINGS.index(s.setting) for s in scenes]))


def _fit(
    model: Any, data: Corpus, rng: np.random.Generator, *, epochs: int, batch_size: int, learning_rate: float
) -> list[float]:
    """Train in place; return the mean loss of each epoch."""
    import torch
    from open_clip.loss import ClipLoss
    from tqdm import tqdm

    decayed = [p for p in model.parameters() if p.ndim >= 2]
    other = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}],
        lr=learning_rate, betas=(0.9, 0.98),
    )  # fmt: skip
    per_epoch = len(data.pixels) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * per_epoch, pct_start=1 / epochs
    )
    criterion = ClipLoss()
    losses: list[float] = []
    for _ in (progress := tqdm(range(epochs), "training", disable=None)):
        # pictures of one batch share their setting, so that only the objects tell them apart
        order = rng.permutation(len(data.pixels))
        order = order[np.argsort(data.setting[order], kind="stable")]
        batches = order[: per_epoch * batch_size].reshape(per_epoch, -1)
        total = 0.0
        for rows in rng.permutation(batches):
            caption = data.tokens[rows, rng.integers(data.tokens.shape[1], size=batch_size)]
            with torch.autocast("cpu", torch.bfloat16):
                encoded = model(_normalise(data.pixels[rows]), torch.from_numpy(caption))
            loss = criterion(
                encoded["image_features"].float(), encoded["text_features"].float(), encoded["logit_scale"]
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, np.log(100))
            total += float(loss.detach())
        losses.append(round(total / per_epoch, 4))
        progress.set_postfix(loss=losses[-1])
    return losses


def write_weights(tensors: dict[str, torch.Tensor], out: Path) -> None:
    """Write trained weights, whole or not at all."""
    from safetensors.torch import save

    with atomic(out) as partial:
        partial.write_bytes(save(tensors))


def write_record(out: Path, model: Any, about: dict[str, Any], started: float) -> dict[str, Any]:
    """Write how weights were trained beside them, and return it.

    Parameters
    ----------
    out : Path
        The weights.
    model : torch.nn.Module
    about : dict
        What was asked for, and the grades.
    started : float
        By `time.perf_counter`.
    """
    import torch

    record = {
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "bytes": out.stat().st_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        **about,
        "seconds": round(time.perf_counter() - started),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    write_json(record, out.with_name(f"{out.stem}_training.json"))
    return record


def zero_shot(model: Any, *, n: int, seed: int) -> dict[str, float]:
    """Name the category of unseen one-object pictures by the nearest prompt.

    Parameters
    ----------
    model : open_clip.model.CLIP
        In eval mode.
    n : int
        Number of pictures.
    seed : int
        Of the pictures.

    Returns
    -------
    dict
        `zero_shot_accuracy` over the eight categories, `zero_shot_chance` and
        `zero_shot_pictures`.
    """
    size = json.loads(CONFIG.read_text())["vision_cfg"]["image_size"]
    rng = np.random.default_rng([seed, 0x7A65726F])
    scenes: list[grammar.Scene] = []
    while len(scenes) < n:
        scene = grammar.sample_scene(rng)
        if len(scene.things) == 1:
            scenes.append(scene)
    truth = np.array([grammar.CATEGORIES.index(s.things[0].category) for s in scenes])
    guess = categories(model, np.stack([grammar.draw(s, size) for s in scenes]))
    return {
        "zero_shot_accuracy": float((guess == truth).mean()),
        "zero_shot_chance": 1 / len(grammar.CATEGORIES),
        "zero_shot_pictures": n,
    }


def categories(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Name the category of pictures by the nearest prompt.

    Parameters
    ----------
    model : open_clip.model.CLIP
        In eval mode.
    pixels : array of shape (n_pictures, side, side, 3)
        Of the network's own side.

    Returns
    -------
    array of shape (n_pictures,)
        Places in `grammar.CATEGORIES`.
    """
    import torch

    kinds = [(kind, c) for c, kinds in enumerate(grammar.KINDS.values()) for kind in kinds]
    with torch.inference_mode():
        names = torch.stack([
            model.encode_text(
                torch.from_numpy(tokenize([PROMPT.format(p) for p in grammar.SYNONYMS[kind]])),
                normalize=True,
            ).mean(0)
            for kind, _ in kinds
        ])  # fmt: skip
        images = [
            model.encode_image(_normalise(pixels[i : i + 250]), normalize=True)
            for i in range(0, len(pixels), 250)
        ]
        guess = (torch.cat(images) @ names.T).argmax(1).numpy()
    return np.array([c for _, c in kinds])[guess]


def _normalise(pixels: NDArray[np.uint8]) -> torch.Tensor:
    import torch

    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
