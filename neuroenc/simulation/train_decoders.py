"""How the small decoders are trained: `neuroenc nano train pictures | captions`, seeded, on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neuroenc.decoders.nano import (
    COARSE,
    N_PREFIX,
    SCHEDULE,
    SIDE,
    caption_model,
    describe,
    embed,
    embed_patches,
    generate,
    load,
    network,
    picture_model,
    resize,
    to_ids,
    to_patches,
)
from neuroenc.features import nano
from neuroenc.simulation import grammar
from neuroenc.simulation.train_network import categories, training_scenes, write_record, write_weights
from neuroenc.words import content_words

if TYPE_CHECKING:
    import torch

    Loss = Callable[[Any, NDArray[np.int64]], torch.Tensor]

STREAM = 1  # added to the seed: pictures the image-text network was not trained on
JITTER = 0.3  # standard deviation of noise on standardised embeddings: decoded ones are never exact
UNSEEN = 0.3  # share of training steps without a low-level picture
DROPPED = 0.1  # share of training steps without an embedding, for guidance
SEEN = 0.05  # weight of the squared error of the standardised embedding


class Corpus(NamedTuple):
    """Pictures to learn from."""

    pixels: NDArray[np.uint8]
    """(n, SIDE, SIDE, 3)"""
    tokens: NDArray[np.int64]
    """(n, 5, length), five captions each"""
    embedding: NDArray[np.float32]
    """(n, n_features), of the small network"""
    shown: NDArray[np.bool_]
    """(n, n_categories)"""

    def standard(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mean and standard deviation of the embedding."""
        return self.embedding.mean(0), self.embedding.std(0)


def corpus(n: int, seed: int) -> Corpus:
    """Draw pictures of a random stream the small network was not trained on."""
    from tqdm import tqdm

    scenes = training_scenes(n, seed + STREAM)
    rng = np.random.default_rng([seed, 2])
    pixels, embedding = [], []
    batches = [scenes[i : i + 256] for i in range(0, n, 256)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for drawn in tqdm(pool.map(_draw, batches), "drawing", len(batches), disable=None):
            embedding.append(embed(drawn))
            pixels.append(np.stack([resize(p, SIDE) for p in drawn]))
    tokens = np.stack([to_ids(grammar.sample_captions(s, rng)[0]) for s in scenes])
    return Corpus(np.concatenate(pixels), tokens, np.concatenate(embedding), categories_shown(scenes))


def categories_shown(scenes: list[grammar.Scene]) -> NDArray[np.bool_]:
    """Say which categories are in each scene, (n, n_categories)."""
    return np.array([[c in {t.category for t in s.things} for c in grammar.CATEGORIES] for s in scenes])


def _draw(scenes: list[grammar.Scene]) -> NDArray[np.uint8]:
    return np.stack([grammar.draw(s, 96) for s in scenes])


def train_pictures(
    out: Path, *, n_pictures: int = 50_000, epochs: int = 12, batch_size: int = 128,
    learning_rate: float = 1.5e-3, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train the picture decoder by denoising, then for half as many epochs by what its pictures show, too.

    The picture is predicted, not the noise, which a U-Net with few channels a patch could not pass through
    (Li and He 2025, arXiv 2511.13720); errors are weighted as those of the velocity. Squared error alone is
    spent on the ground: what a picture shows is in few of its pixels. So the small network then looks at the
    denoised picture, and how far its embedding lies from that of the true one is added.

    Parameters
    ----------
    out : Path
        The safetensors file; the training record is written beside it.
    n_pictures, epochs, batch_size, learning_rate, seed

    Returns
    -------
    dict
        The training record: how often the small network names the right category in pictures generated
        from embeddings of unseen pictures.
    """
    import torch

    started, data = time.perf_counter(), corpus(n_pictures, seed)
    torch.manual_seed(seed)
    how: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    model = picture_model(data.embedding.shape[1])
    losses = _train(
        model,
        denoising(data),
        kind="pictures",
        n=n_pictures,
        epochs=epochs,
        learning_rate=learning_rate,
        **how,
    )
    _store(out, model, data)
    refined = refine_pictures(out, data, epochs=max(1, epochs // 2), learning_rate=learning_rate / 2, **how)
    about = {"n_pictures": n_pictures, "epochs": epochs, "learning_rate": learning_rate, **how}
    about |= {"loss_per_epoch": losses, "refined_loss_per_epoch": refined}
    return write_record(out, model, _of_network() | about | _pictures_named(out, data, seed), started)


def refine_pictures(out: Path, data: Corpus, *, seed: int, **how: Any) -> list[float]:
    """Train a stored picture decoder on by squared error and embedding; return the loss of each epoch."""
    import torch

    model, _, _ = load(out, picture_model(data.embedding.shape[1]))
    torch.manual_seed(seed)
    loss = denoising(data, seen=SEEN)
    losses = _train(
        model.requires_grad_(True), loss, kind="pictures, looked at", n=len(data.pixels), seed=seed, **how
    )
    _store(out, model, data)
    return losses


def denoising(data: Corpus, seen: float = 0.0) -> Loss:
    """Return the loss of rows: squared error of the denoised picture and, times `seen`, of its embedding.

    The embedding is standardised; half of the rows are looked at, which costs as much as denoising all.
    """
    import torch

    mean, scale = (torch.from_numpy(v) for v in data.standard())
    condition = (torch.from_numpy(data.embedding) - mean) / scale

    def loss(model: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        x = to_patches(data.pixels[rows])
        given, coarse = _given(condition[rows]), _coarse(data.pixels[rows])
        noise, t = torch.randn_like(x), torch.randint(SCHEDULE.n_times, (len(rows),))
        noisy = SCHEDULE.add_noise(x, noise, t)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(torch.cat([noisy, coarse], 1), t, given).float()
        noisiness = 1 - SCHEDULE.signal[t][:, None, None, None]
        error = (((found - x) ** 2) / noisiness.clamp(min=0.1)).mean()
        if not seen:
            return error
        some = slice(len(rows) // 2)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = embed_patches(found[some]).float()
        return error + seen * (((embedding - mean) / scale - condition[rows[some]]) ** 2).mean()

    return loss


def train_captions(
    out: Path, *, n_pictures: int = 50_000, epochs: int = 10, batch_size: int = 128,
    learning_rate: float = 2e-3, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train the captioner: an embedding fills the first places, the words follow (Mokady et al. 2021).

    Parameters
    ----------
    out : Path
        The safetensors file; the training record is written beside it.
    n_pictures, epochs, batch_size, learning_rate, seed

    Returns
    -------
    dict
        The training record: how often a caption of an unseen picture names its object.
    """
    import torch

    started, data = time.perf_counter(), corpus(n_pictures, seed)
    mean, scale = data.standard()
    condition, tokens = torch.from_numpy((data.embedding - mean) / scale), torch.from_numpy(data.tokens)

    def loss(model: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        n = len(rows)
        given = _given(condition[rows])
        words = tokens[rows, torch.randint(tokens.shape[1], (n,))]
        words = words[:, : int((words > 0).sum(1).max())]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(given, words)
        # the place before a word predicts it; padding (0) follows the end and is no target
        return torch.nn.functional.cross_entropy(
            logits[:, N_PREFIX - 1 : -1].float().transpose(1, 2), words, ignore_index=0
        )

    torch.manual_seed(seed)
    model = caption_model(len(mean))
    how: dict[str, Any] = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    losses = _train(model, loss, kind="captions", n=n_pictures, **how)
    _store(out, model, data)
    about = {"n_pictures": n_pictures, **how, "loss_per_epoch": losses}
    return write_record(out, model, _of_network() | about | _captions_named(out), started)


def _given(standard: torch.Tensor) -> torch.Tensor:
    """Disturb standardised embeddings, leave some out, and say which were given: a 1 behind, or zeros."""
    import torch

    n = len(standard)
    noisy = standard + JITTER * torch.rand(n, 1) * torch.randn(standard.shape)
    kept = (torch.rand(n, 1) >= DROPPED).float()
    return torch.cat([noisy * kept, kept], 1)


def _coarse(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Blur pictures as a low-level decoder would: few cells, paler, noisy; some are left out."""
    import torch
    from torch.nn.functional import interpolate

    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    n = len(x)
    cells = int(torch.randint(5, COARSE + 1, (1,)))
    x = interpolate(interpolate(x, size=cells, mode="area"), size=COARSE, mode="bicubic")
    pale = 0.5 + 0.5 * torch.rand(n, 1, 1, 1)
    middle = x.mean((2, 3), keepdim=True)
    x = middle + pale * (x - middle) + 0.25 * torch.rand(n, 1, 1, 1) * torch.randn(x.shape)
    shown = (torch.rand(n, 1, 1, 1) >= UNSEEN).float().expand(n, 1, COARSE, COARSE)
    return torch.cat([x * shown, shown], 1)


def _train(
    model: Any,
    loss_of: Loss,
    *,
    kind: str,
    n: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> list[float]:
    """Train with AdamW, one cycle of the learning rate and an average of the weights; return losses."""
    import torch
    from diffusers.training_utils import EMAModel
    from tqdm import tqdm

    rng = np.random.default_rng([seed, 3])
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    per_epoch = n // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * per_epoch, pct_start=0.05
    )
    average = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)
    model.train()
    losses: list[float] = []
    for _ in (progress := tqdm(range(epochs), kind, disable=None)):
        total = 0.0
        for rows in rng.permutation(n)[: per_epoch * batch_size].reshape(per_epoch, -1):
            loss = loss_of(model, rows)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.step(model.parameters())
            total += float(loss.detach())
        losses.append(round(total / per_epoch, 4))
        progress.set_postfix(loss=losses[-1])
    average.copy_to(model.parameters())
    return losses


def _store(out: Path, model: Any, data: Corpus) -> None:
    import torch

    tensors = {
        k: v.half().contiguous() for k, v in model.state_dict().items() if not k.endswith("lm_head.weight")
    }
    mean, scale = data.standard()
    write_weights(tensors | {"mean": torch.from_numpy(mean), "scale": torch.from_numpy(scale)}, out)


def _of_network() -> dict[str, str]:
    return {"network_sha256": nano.record()["sha256"]}


def unseen(n: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint8]]:
    """Return category, embedding and pixels of unseen pictures with one object."""
    scenes = [s for s in training_scenes(4 * n, 0x756E) if len(s.things) == 1][:n]
    pixels = np.stack([grammar.draw(s, 96) for s in scenes])
    return categories_shown(scenes).argmax(1), embed(pixels), pixels


def _pictures_named(path: Path, data: Corpus, seed: int) -> dict[str, float]:
    """Say how often a picture generated from an unseen picture's embedding shows its object's category.

    The small network says so, which the pictures were trained to please, and a judge that took no part.
    """
    from neuroenc.simulation.judge import named, train_judge

    category, embedding, pixels = unseen(500)
    made, again = generate(embedding, path=path), np.stack([resize(p, SIDE) for p in pixels])
    judge = train_judge(data.pixels, data.shown, seed=seed)
    by_network = categories(network().module, np.stack([resize(p, 96) for p in made]))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (embedding, embed(made))]
    found = (unit[1] @ unit[0].T).argmax(1) == np.arange(len(category))
    return {
        "category_of_generated": float((by_network == category).mean()),
        "category_of_generated_by_a_judge": float((named(judge, made) == category).mean()),
        "category_of_true_by_a_judge": float((named(judge, again) == category).mean()),
        "category_chance": 1 / len(grammar.CATEGORIES),
        "generated_retrieves_its_embedding_of_500": float(found.mean()),
    }


def _captions_named(path: Path) -> dict[str, float]:
    """Say how often the caption of an unseen picture names its object's category."""
    category, embedding, _ = unseen(500)
    known = grammar.category_words()
    named = [
        bool(known[grammar.CATEGORIES[c]] & set(content_words(text)))
        for c, text in zip(category, describe(embedding, path=path), strict=True)
    ]
    return {"category_named": float(np.mean(named)), "category_chance": 1 / len(grammar.CATEGORIES)}
