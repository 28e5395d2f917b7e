"""Pictures of one object each, of the grammar: what networks learn to name, and sites are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuroenc.simulation import grammar

SIDE = 96  # px


def scene_of(kind: str, rng: np.random.Generator) -> grammar.Scene:
    """Draw a scene with one object of a kind, anywhere in any setting."""
    category = next(c for c, kinds in grammar.KINDS.items() if kind in kinds)
    side = float(rng.uniform(0.35, 0.68))
    x, y = rng.uniform(0.01, 0.99 - side, 2).tolist()
    colour = grammar.COLOUR_NAMES[rng.integers(len(grammar.COLOUR_NAMES))]
    thing = grammar.Thing(category, kind, colour, (x, y, x + side, y + side), int(rng.integers(1 << 30)))
    setting = grammar.SETTINGS[rng.integers(len(grammar.SETTINGS))]
    return grammar.Scene(setting, (thing,), int(rng.integers(1 << 30)))


def labelled(n: int, side: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw pictures of the eight categories of the grammar in turn.

    Returns
    -------
    pictures : uint8 array of shape (n, side, side, 3)
    label : int array of shape (n,)
        Places in `grammar.CATEGORIES`.
    """
    rng = np.random.default_rng([seed, 0x66696E65])
    label = np.arange(n) % len(grammar.CATEGORIES)
    kinds = [grammar.KINDS[grammar.CATEGORIES[c]] for c in label]
    scenes = [scene_of(of[rng.integers(len(of))], rng) for of in kinds]
    return np.stack([grammar.draw(s, side) for s in scenes]), label
