"""The module of the small captioner: an embedding fills the places before the words (Mokady et al. 2021)."""

from __future__ import annotations

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

WIDTH = 96


class Captioner(nn.Module):
    """GPT-2 over [prefix(e), words], prefix(e) = linear(tanh(linear(e))) cut into places.

    Parameters
    ----------
    n_features : int
        Of what is described.
    n_prefix : int
        Places in front of the words.
    vocab_size, context_length : int
        Words, of which the last ends a text, and places for them.
    """

    def __init__(self, n_features: int, n_prefix: int, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.n_prefix = n_prefix
        end = vocab_size - 1
        self.language = GPT2LMHeadModel(GPT2Config(
            vocab_size=vocab_size, n_positions=n_prefix + context_length, n_embd=WIDTH, n_layer=3, n_head=4,
            bos_token_id=end, eos_token_id=end, pad_token_id=0,
        ))  # fmt: skip
        self.prefix = nn.Sequential(
            nn.Linear(n_features, 2 * WIDTH), nn.Tanh(), nn.Linear(2 * WIDTH, n_prefix * WIDTH)
        )

    def start(self, given: torch.Tensor) -> torch.Tensor:
        """Return the places before the words, (n, n_features) to (n, n_prefix, width)."""
        places: torch.Tensor = self.prefix(given).reshape(len(given), self.n_prefix, -1)
        return places

    def forward(self, given: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Score the next word at each place, (n, n_prefix + n_words, vocab_size).

        Parameters
        ----------
        given : tensor of shape (n, n_features)
        words : int tensor of shape (n, n_words)
        """
        inside = self.language.transformer.wte(words)
        scores: torch.Tensor = self.language(inputs_embeds=torch.cat([self.start(given), inside], 1)).logits
        return scores
