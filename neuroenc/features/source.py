"""What every library gives: a network and how it is fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from neuroenc.errors import InputError

if TYPE_CHECKING:
    import torch

    Batch = dict[str, torch.Tensor]
    Alike = list[tuple[list[int], Batch]]  # stimuli of one shape: which of them, and their batch


class Source(NamedTuple):
    """A network of some library and how it is fed."""

    module: Any
    alike: Callable[[list[Any]], Alike]
    """From stimuli, as `reads` says, to batches: nothing is filled up because of its neighbours"""
    forward: Callable[[Batch], Any]
    reads: str
    """"image", "text", "image+text", "regions+text", "sound" or "clip"; a pair is a tuple"""
    example: Any
    """A stimulus of the usual size"""
    contract: dict[str, str]
    """Normalisation, pixel range and preprocessing"""
    kept: list[str]
    """Submodules that are run; empty: all"""
    text_last: bool = False
    """Whether words stand behind the picture where a layer holds both"""

    def prepare(self, items: list[Any]) -> Batch:
        """Prepare stimuli of one shape as one batch.

        Raises
        ------
        InputError
            They are of several shapes.
        """
        parts = self.alike(items)
        if len(parts) > 1:
            raise InputError(f"{len(items)} stimuli of {len(parts)} shapes make no batch. Use `alike`.")
        return parts[0][1]


def layers_of(source: Source) -> list[str]:
    """List the layers of a network, those that are run."""
    return [
        name for name, _ in source.module.named_modules()
        if name and (not source.kept or any(name == k or name.startswith(f"{k}.") for k in source.kept))
    ]  # fmt: skip


def block(source: Source, number: int) -> str:
    """Return the name of a block of a network of transformers, counted from 1.

    Raises
    ------
    InputError
        It has no such block, or several rows of them.
    """
    import torch

    tower = source.module.get_submodule(source.kept[0] if source.kept else "")
    depth = getattr(getattr(tower, "config", None), "num_hidden_layers", 0)
    rows = [
        name for name, m in source.module.named_modules()
        if isinstance(m, torch.nn.ModuleList) and len(m) == depth and f"{name}.0" in layers_of(source)
    ]  # fmt: skip
    if len(rows) != 1:
        found = f"{len(rows)} rows of blocks" if rows else "no row of blocks that its configuration counts"
        raise InputError(
            f"Layer '{number}' is a number, and {type(tower).__name__} has {found}. Give the name of the "
            "layer (`neuroenc features show` lists them)."
        )
    if not 1 <= number <= depth:
        raise InputError(f"Layer '{number}' is a block, and {type(tower).__name__} has 1 to {depth}.")
    return f"{rows[0]}.{number - 1}"


def first_tensor(output: Any) -> torch.Tensor | None:
    """Take the tensor of what a layer gives; the first where it gives several, None where none."""
    if hasattr(output, "ndim"):
        return output
    if hasattr(output, "values"):
        output = output.values()
    elif not isinstance(output, (tuple, list)):
        return None
    return next((t for t in map(first_tensor, output) if t is not None), None)
