"""A network of one's own: what a function returns. Only here is code run that a configuration names."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.errors import InputError, reason
from neuroenc.features.source import Source

if TYPE_CHECKING:
    from neuroenc.features.source import Alike

ALLOW = "NEUROENC_ALLOW_CODE"
ALIKE = 0.01  # of the largest value: what rounding in half precision may change
BLANK = (256, 256, 3)  # the picture by which the transform shows what it makes


def check_allowed(model: Model) -> None:
    """Refuse to run code that a configuration names, unless the environment allows it.

    Raises
    ------
    InputError
        It does not.
    """
    if os.environ.get(ALLOW) != "1":
        raise InputError(
            f"Invalid value for 'module': {model.module!r}. `extractor: module` runs code, which the "
            f"configuration of somebody else may name. If you trust it, set {ALLOW}=1 in the environment."
        )


def from_module(model: Model, _path: Path | None) -> Source:
    """Call the function, and feed its network by its transform.

    Raises
    ------
    InputError
        The environment does not allow it; there is no such function, it fails, or returns anything but a
        network of torch and a transform from PIL pictures to tensors (3, height, width).
    """
    import torch

    check_allowed(model)
    made = _call(str(model.module))
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)):
        found = ", ".join(type(m).__name__ for m in made) if isinstance(made, tuple) else type(made).__name__
        raise InputError(
            f"{model.module} returned {found}, expected (torch.nn.Module, transform). Return both."
        )
    module, transform = made
    if next(module.parameters(), None) is None:
        raise InputError(f"The network of {model.module} has no parameters. Return one that has.")

    def tensor(picture: Any) -> torch.Tensor:
        try:
            values = transform(Image.fromarray(picture))
        except Exception as error:  # noqa: BLE001  of the user's own code
            raise InputError(f"The transform of {model.module} fails: {_said(error)}.") from None
        if not isinstance(values, torch.Tensor) or values.ndim != 3 or len(values) != 3:
            shape = tuple(getattr(values, "shape", ()))
            raise InputError(
                f"The transform of {model.module} gives {type(values).__name__} of shape {shape}, expected a "
                "tensor (3, height, width)."
            )
        return values.float()

    def alike(items: list[Any]) -> Alike:
        tensors = [tensor(item) for item in items]
        shapes = list(dict.fromkeys(t.shape for t in tensors))
        groups = [[i for i, t in enumerate(tensors) if t.shape == shape] for shape in shapes]
        return [(rows, {"image": torch.stack([tensors[i] for i in rows])}) for rows in groups]

    example = np.zeros((*tensor(np.zeros(BLANK, np.uint8)).shape[1:], 3), np.uint8)
    contract = {"normalisation": "its own", "pixel_range": "its own", "preprocessing": _words(transform)}
    if code := _code(module, transform, str(model.module)):
        contract["preprocessing"] += f"; code {code}"
    return Source(module, alike, lambda batch: module(batch["image"]), "image", example, contract, [])


def check_alone(
    run: Callable[[list[Any]], dict[str, NDArray[np.float32]]], source: Source, name: str
) -> None:
    """Refuse what gives a picture other values beside others, after others, or each time.

    Parameters
    ----------
    run : callable
        From pictures to layers.
    source : Source
    name : str
        Of the function, for messages.

    Raises
    ------
    InputError
        The transform draws lots; the network takes statistics over the batch, or keeps a state.
    """
    import torch

    noise = np.random.default_rng(0).integers(0, 64, (2, *BLANK), np.uint8)
    pictures = [noise[0], 255 - noise[1]]  # dark and bright
    once, again = (source.alike(pictures) for _ in range(2))
    if not all(torch.equal(a["image"], b["image"]) for (_, a), (_, b) in zip(once, again, strict=False)):
        raise InputError(
            f"The transform of {name} makes other tensors of the same picture each time. Return the one for "
            "evaluation, without random crops, flips or noise."
        )
    first, *later = (run(pictures), run(pictures), run(pictures[:1]))
    for layer, values in first.items():
        most = ALIKE * np.abs(values).max()
        if any(np.abs(other[layer][0] - values[0]).max() > most for other in later):
            raise InputError(
                f"Layer {layer!r} of {name} gives a picture other values beside or after others: it takes "
                "statistics over the batch or keeps a state. Use running ones; reset it in `forward`."
            )


def _call(name: str) -> Any:
    place, _, function = name.partition(":")
    try:
        found = getattr(import_module(place), function)
    except ImportError as error:
        raise InputError(
            f"Cannot import {place!r} of {name}: {_said(error)}. Install it, or put its folder on PYTHONPATH."
        ) from None
    except AttributeError:
        raise InputError(f"{place!r} has no function {function!r}. Correct `module`.") from None
    except Exception as error:  # noqa: BLE001  of the user's own code
        raise InputError(f"Importing {place!r} fails: {_said(error)}.") from None
    try:
        return found()
    except Exception as error:  # noqa: BLE001  of the user's own code
        raise InputError(f"{name} fails: {_said(error)}.") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {reason(error)}"


def _words(transform: Callable[..., Any]) -> str:
    """Describe a transform without addresses, which differ from run to run."""
    text = getattr(transform, "__qualname__", None) or repr(transform)
    return re.sub(r" at 0x[0-9a-f]+", "", " ".join(text.split()))


def _code(module: Any, transform: Any, name: str) -> str:
    """Tell code of one's own apart, of the layers and of the transform: SHA-256 of its text; "" of none."""
    package = name.partition(":")[0].partition(".")[0]
    kinds = {type(part) for part in (*module.modules(), transform, *getattr(transform, "transforms", ()))}
    texts = []
    for kind in (*kinds, transform):
        if getattr(kind, "__module__", "").partition(".")[0] == package and hasattr(kind, "__qualname__"):
            with suppress(OSError):  # of code without a file
                texts.append(inspect.getsource(kind))
    return hashlib.sha256("".join(sorted(texts)).encode()).hexdigest() if texts else ""


def weights_of(module: Any) -> str:
    """Tell the weights of a network apart: the SHA-256 of its tensors, by name."""
    digest = hashlib.sha256()
    for name, values in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode())
        digest.update(np.ascontiguousarray(values.detach().cpu().numpy()).data)
    return f"state:{digest.hexdigest()}"
