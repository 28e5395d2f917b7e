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
    """"image", "text", "image+text" or "regions+text"; a pair is a tuple"""
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


def first_tensor(output: Any) -> torch.Tensor | None:
    """Take the tensor of what a layer gives; the first where it gives several, None where none."""
    if hasattr(output, "ndim"):
        return output
    if hasattr(output, "values"):
        output = output.values()
    elif not isinstance(output, (tuple, list)):
        return None
    return next((t for t in map(first_tensor, output) if t is not None), None)
