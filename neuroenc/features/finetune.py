"""Variants of a network that is rotation-invariant or robust: fine-tuned on labelled pictures.

The recipe of Berrios and Deza (2022), arXiv 2203.06649: hard rotations, by 90 degrees, and fast adversarial
steps (Wong, Rice and Kolter 2020, "Fast is better than free", algorithm 3), singly or jointly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from neuroenc.blocks import blocks
from neuroenc.config import Model
from neuroenc.datasets.pixels import decode, read_bytes
from neuroenc.devices import Processes, pick_device
from neuroenc.errors import InputError
from neuroenc.features import preprocessing, registry
from neuroenc.features.libraries import build
from neuroenc.features.loading import load, weights_of
from neuroenc.features.preprocessing import Preprocessing
from neuroenc.files import atomic

EPSILON, STEP = 2 / 255, 2.5 / 255  # of pixels from 0 to 1
PGD_STEPS = 10  # of the attack that grades
MOMENTS = ("exp_avg", "exp_avg_sq")


class Pictures(NamedTuple):
    """Labelled pictures."""

    read: Callable[[NDArray[np.int64]], list[NDArray[np.uint8]]]
    """From rows to pictures (height, width, 3)"""
    label: NDArray[np.int64]
    """(n,), places in `classes`"""
    classes: list[str]


class Recipe(NamedTuple):
    """How a network is trained."""

    rotation: bool = False
    adversarial: bool = False
    epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-4
    weight_decay: float = 1e-4
    held_out: float = 0.1
    """Share of each class that grades"""
    seed: int = 0


class Classifier(nn.Module):
    """A network of pictures with a head for some classes.

    Parameters
    ----------
    network : nn.Module
        Of timm, whose own head is replaced, or the image-text network of open_clip, which gets a head behind
        its embedding. It alone is stored.
    n_classes : int
    """

    def __init__(self, network: Any, n_classes: int) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module = nn.Identity()
        if hasattr(network, "encode_image"):
            self.head = nn.Linear(network.visual.output_dim, n_classes)
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name.startswith("visual."))
        else:
            network.reset_classifier(n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the logits, (n, n_classes), of normalised pictures (n, 3, height, width)."""
        values: torch.Tensor = getattr(self.network, "encode_image", self.network)(x)
        logits: torch.Tensor = self.head(values)
        return logits


class Range(NamedTuple):
    """Normalised pixels: what a step of one of 0 to 1 is, and between which they lie, (3, 1, 1) each."""

    unit: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def in_folder(folder: Path) -> Pictures:
    """List pictures of a folder with a sub-folder for each class, as ImageNet is kept.

    Raises
    ------
    InputError
        Fewer than two classes, or one without pictures.
    """
    kinds = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if len(kinds) < 2:
        raise InputError(
            f"{folder} holds {len(kinds)} sub-folders, expected one for each of two or more classes."
        )
    files = [sorted(p for p in kind.rglob("*") if p.is_file()) for kind in kinds]
    paths = [p for of_kind in files for p in of_kind]
    for kind, of_kind in zip(kinds, files, strict=True):
        if len(of_kind) < 2:
            raise InputError(f"{kind} holds {len(of_kind)} files, expected two pictures or more of a class.")

    def read(rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        return [decode(read_bytes(paths[i]), str(paths[i])) for i in rows]

    label = np.repeat(np.arange(len(kinds)), [len(f) for f in files])
    return Pictures(read, label, [k.name for k in kinds])


def finetune(
    model: Model, pictures: Pictures, out: Path, recipe: Recipe, *, device: str = "auto"
) -> dict[str, Any]:
    """Train a network to name pictures; write its weights.

    Each step: x is turned by 0, 90, 180 or 270 degrees (`rotation`), then

        d ~ U(-e, e);  d <- clip(d + a sign(grad_d CE(f(x + d), y)), -e, e),  e = 2/255, a = 2.5/255

    with x + d kept between black and white (`adversarial`), and AdamW takes a step on CE(f(x + d), y). Half
    of the pictures are flipped from left to right, and the learning rate falls as a cosine. After each epoch
    the state is kept beside `out`; the same command goes on from there, on the CPU to the same weights, bit
    for bit. Under `accelerate launch` each process takes its share of a batch, and gradients are averaged.

    Parameters
    ----------
    model : Model
        Of timm or open_clip; `weights` to begin with, or 'random:<seed>'.
    pictures : Pictures
    out : Path
        A safetensors file that `weights` of a model reads; of timm with `options: {num_classes: …}`.
    recipe : Recipe
    device : str

    Returns
    -------
    dict
        `clean`, `rotated` and `adversarial` accuracy on the pictures held out, chance, and the loss of each
        epoch. Rotated: the mean of 90, 180 and 270 degrees. Adversarial: after ten steps of projected
        gradient descent of e / 4 from a random start.

    Raises
    ------
    InputError
        A network of another library; rotated pictures that are not square; a state of another run.
    """
    processes = Processes.here(pick_device(device))
    classifier, prepared, weights = _classifier(model, len(pictures.classes), recipe.seed)
    if prepared.size[0] != prepared.size[1]:
        raise InputError(
            f"Rotations are by 90 degrees, and {model.network!r} sees pictures of {prepared.size[0]} x "
            f"{prepared.size[1]} px. Set `input_size` to one side."
        )
    classifier.to(processes.device)
    train, held = _divide(pictures.label, recipe)
    optimiser = torch.optim.AdamW(
        [p for p in classifier.parameters() if p.requires_grad], weight_decay=recipe.weight_decay
    )
    state = out.with_name(f".{out.stem}.training.safetensors")
    key = hashlib.sha256(json.dumps([
        model.model_dump(mode="json"), weights, recipe._asdict(), pictures.classes, pictures.label.tolist(),
    ]).encode()).hexdigest()  # fmt: skip
    losses = _resume(state, key, classifier, optimiser) if state.exists() else []
    seen = _range(prepared, processes.device)
    for epoch in tqdm(range(len(losses), recipe.epochs), "fine-tuning", disable=None):
        losses.append(
            _epoch(classifier, optimiser, pictures, train, prepared, seen, recipe, epoch, processes)
        )
        if processes.rank == 0 and epoch + 1 < recipe.epochs:
            _store(state, key, classifier, optimiser, losses)
    found = accuracy(classifier, pictures, held, prepared, seed=recipe.seed)
    if processes.rank == 0:
        with atomic(out) as partial:
            tensors = {k: v.contiguous().cpu() for k, v in classifier.network.state_dict().items()}
            save_file(tensors, partial)
        state.unlink(missing_ok=True)
    return {
        **found, "chance": 1 / len(pictures.classes), "n_held_out": len(held), "n_trained": len(train),
        "classes": pictures.classes, "loss_per_epoch": losses, "recipe": recipe._asdict(),
    }  # fmt: skip


def _classifier(model: Model, n_classes: int, seed: int) -> tuple[Classifier, Preprocessing, str]:
    """Build a network with its weights and a head that is drawn by the seed."""
    found, entry = registry.resolve(model)
    if found.extractor not in ("timm", "open_clip"):
        raise InputError(
            f"Networks of timm and image towers of open_clip are fine-tuned, not of {found.extractor}. "
            "Choose one of theirs."
        )
    weights, drawn, path = weights_of(found, entry)
    if path is not None:
        found = preprocessing.tell(found, path, weights.rpartition(":")[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(drawn)
        network = build(found).module
        if path is not None:
            load(network, path, prefix=entry.prefix if entry else "")
        torch.manual_seed(seed)
        return Classifier(network, n_classes), preprocessing.of(found), weights


def _divide(label: NDArray[np.int64], recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out a share of each class, one picture at least."""
    rng = np.random.default_rng([recipe.seed, 1])
    held = []
    for kind in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == kind))
        held.append(rows[: max(1, round(recipe.held_out * len(rows)))])
    kept = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(label)), kept), kept


def _range(prepared: Preprocessing, device: str) -> Range:
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (prepared.mean, prepared.std))
    return Range(1 / std, -mean / std, (1 - mean) / std)


def _batch(
    pictures: Pictures, rows: NDArray[np.int64], prepared: Preprocessing, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    x = prepared.prepare(pictures.read(rows))["image"]
    return x.to(device), torch.from_numpy(pictures.label[rows]).to(device)


def _epoch(
    classifier: Classifier, optimiser: torch.optim.Optimizer, pictures: Pictures, train: NDArray[np.int64],
    prepared: Preprocessing, seen: Range, recipe: Recipe, epoch: int, processes: Processes,
) -> float:  # fmt: skip
    """Train for one epoch, whose random numbers depend on the seed and on it alone; return its mean loss."""
    rng = np.random.default_rng([recipe.seed, 2, epoch])
    order = rng.permutation(train)
    cuts = blocks(len(order), recipe.batch_size)
    torch.manual_seed(1000 * recipe.seed + epoch + 7919 * processes.rank)
    classifier.train()
    total = 0.0
    for number, cut in enumerate(cuts):
        turn, flip = rng.integers(4, size=recipe.batch_size), rng.random(recipe.batch_size) < 0.5
        mine = processes.share(np.arange(cut.stop - cut.start))
        x, y = _batch(pictures, order[cut][mine], prepared, processes.device)
        x = torch.stack([
            torch.rot90(one.flip(2) if f else one, int(t) * recipe.rotation, (1, 2))
            for one, t, f in zip(x, turn[mine], flip[mine], strict=True)
        ])  # fmt: skip
        over = (epoch * len(cuts) + number) / (recipe.epochs * len(cuts))
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * over))
        if recipe.adversarial:
            x = attack(classifier, x, y, seen, step=STEP)
        optimiser.zero_grad(set_to_none=True)
        loss = cross_entropy(classifier(x), y)
        loss.backward()
        value = processes.average(classifier, float(loss.detach()))
        if not np.isfinite(value):
            raise InputError(
                f"The loss is {value} in epoch {epoch + 1}, batch {number + 1}. Lower the learning rate."
            )
        optimiser.step()
        total += value * (cut.stop - cut.start)
    return total / len(order)


def attack(
    classifier: Classifier, x: torch.Tensor, y: torch.Tensor, seen: Range, *, step: float, n_steps: int = 1
) -> torch.Tensor:
    """Change pictures by up to 2/255 of each pixel so that they are taken for something else.

    Parameters
    ----------
    classifier : Classifier
    x : tensor of shape (n, 3, height, width)
        Normalised.
    y : tensor of shape (n,)
    seen : Range
    step : float
        Of pixels from 0 to 1; along the sign of the gradient.
    n_steps : int
        One from a random start: fast adversarial training.
    """
    limit = EPSILON * seen.unit
    change = (torch.rand_like(x) * 2 - 1) * limit
    for _ in range(n_steps):
        change = (torch.clamp(x + change, seen.low, seen.high) - x).requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(classifier(x + change), y), change)
        change = torch.clamp(change.detach() + step * seen.unit * slope.sign(), -limit, limit)
    return torch.clamp(x + change, seen.low, seen.high)


def accuracy(
    classifier: Classifier, pictures: Pictures, rows: NDArray[np.int64], prepared: Preprocessing, *, seed: int
) -> dict[str, float]:
    """Share of pictures that are named right: as they are, rotated, and attacked (`finetune`)."""
    device = str(next(classifier.parameters()).device)
    seen = _range(prepared, device)
    classifier.eval()
    torch.manual_seed(seed)
    right = {"clean": 0.0, "rotated": 0.0, "adversarial": 0.0}
    for cut in blocks(len(rows), 64):
        x, y = _batch(pictures, rows[cut], prepared, device)
        attacked = attack(classifier, x, y, seen, step=EPSILON / 4, n_steps=PGD_STEPS)
        for name, shown in _shown(x, attacked):
            share = 1 / 3 if name == "rotated" else 1
            with torch.no_grad():
                right[name] += share * float((classifier(shown).argmax(1) == y).sum())
    return {name: value / len(rows) for name, value in right.items()}


def _shown(x: torch.Tensor, attacked: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    yield "clean", x
    for turn in (1, 2, 3):
        yield "rotated", torch.rot90(x, turn, (2, 3))
    yield "adversarial", attacked


def _store(
    path: Path, key: str, classifier: Classifier, optimiser: torch.optim.Optimizer, losses: list[float]
) -> None:
    """Write what `_resume` reads."""
    tensors = {f"now/{k}": v for k, v in classifier.state_dict().items()}
    for name, parameter in _trained(classifier):
        of_it = optimiser.state[parameter]
        tensors |= {f"{m}/{name}": of_it[m] for m in (*MOMENTS, "step")}
    with atomic(path) as partial:
        about = {"key": key, "losses": json.dumps(losses)}
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, partial, about)


def _resume(path: Path, key: str, classifier: Classifier, optimiser: torch.optim.Optimizer) -> list[float]:
    """Go on from a file; return the loss of each epoch that is done."""
    with safe_open(path, "pt") as file:
        if file.metadata()["key"] != key:
            raise InputError(
                f"{path} is of a run with another network, pictures or options. Remove it to start anew."
            )
        state = {k: file.get_tensor(f"now/{k}") for k in classifier.state_dict()}
        classifier.load_state_dict(state)
        for name, parameter in _trained(classifier):
            optimiser.state[parameter] = {
                **{m: file.get_tensor(f"{m}/{name}").to(parameter.device) for m in MOMENTS},
                "step": file.get_tensor(f"step/{name}"),
            }
        losses: list[float] = json.loads(file.metadata()["losses"])
    return losses


def _trained(classifier: Classifier) -> list[tuple[str, nn.Parameter]]:
    return [(k, v) for k, v in classifier.named_parameters() if v.requires_grad]
