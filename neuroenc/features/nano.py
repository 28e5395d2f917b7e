"""The network the demo brings: a CLIP of a million parameters trained on the grammar of pictures.

It is open_clip's own `CLIP` class, so it goes through the same extractor as any other open_clip
model. Its words are whole words: the vocabulary of the grammar is small.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = WEIGHTS / "nano.json"
CHECKPOINT = WEIGHTS / "nano.safetensors"
RECORD = WEIGHTS / "nano_training.json"
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@cache
def words() -> tuple[str, ...]:
    """Return the words the network knows, in the order of their ids."""
    return tuple((WEIGHTS / "nano_words.txt").read_text().split())


def tokenize(texts: list[str]) -> NDArray[np.int64]:
    """Turn captions into token ids, (n_texts, context_length).

    0 pads, then come `words()`; the last id is the end of text, the
    highest, because open_clip pools there. Unknown words are an error: the network knows no others.
    """
    text_cfg = json.loads(CONFIG.read_text())["text_cfg"]
    ids = {word: i + 1 for i, word in enumerate(words())}
    tokens = np.zeros((len(texts), text_cfg["context_length"]), np.int64)
    for row, text in enumerate(texts):
        found = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        unknown = [w for w in found if w not in ids]
        if unknown:
            raise InputError(
                f"The nano network does not know the word {unknown[0]!r} of {text!r}; its "
                f"{len(ids)} words are listed by `neuroenc nano words`."
            )
        kept = found[: tokens.shape[1] - 1]
        row_ids = [*(ids[w] for w in kept), text_cfg["vocab_size"] - 1]
        tokens[row, : len(row_ids)] = row_ids
    return tokens


def build(seed: int) -> Any:
    """Make the untrained network with seeded weights."""
    import torch
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIP(**json.loads(CONFIG.read_text()), output_dict=True)


def record() -> dict[str, Any]:
    """Return the training record of the shipped weights."""
    stored: dict[str, Any] = json.loads(RECORD.read_text())
    return stored
