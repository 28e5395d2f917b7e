"""The transformer of the diffusion prior, with the names of weights of diffusers' `PriorTransformer`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from neuroenc.decoders.diffusion import TimeEmbedding


class Attention(nn.Module):
    """to_out(softmax(q k' / sqrt(d)) v), q, k and v linear in the tokens, for each head.

    Parameters
    ----------
    n_heads, head_width : int
        Their product is the width of tokens.
    dropout : float
    """

    def __init__(self, n_heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        width = n_heads * head_width
        self.n_heads = n_heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens, (n, n_tokens, width)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        attended: torch.Tensor = self.to_out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return attended


class Activated(nn.Module):
    """GELU(proj(x)).

    Parameters
    ----------
    n_in, n_out : int
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(n_in, n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, n_in) to (…, n_out)."""
        return gelu(self.proj(x))


class FeedForward(nn.Module):
    """linear(drop(GELU(proj(x)))), four times as wide inside.

    Parameters
    ----------
    width : int
    dropout : float
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            Activated(width, 4 * width), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (…, width)."""
        mapped: torch.Tensor = self.net(x)
        return mapped


class TransformerBlock(nn.Module):
    """x <- x + attn1(norm1(x)), then x <- x + ff(norm3(x)).

    Parameters
    ----------
    n_heads, head_width : int
    dropout : float
    """

    def __init__(self, n_heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        width = n_heads * head_width
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(n_heads, head_width, dropout)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens, (n, n_tokens, width)."""
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(self.norm3(x))


class PriorTransformer(nn.Module):
    """Tokens of a condition, one of the time and noisy ones in; the last of these out.

    z = [embedding_proj(condition), time_embedding(t), proj_in(noisy)] + positional_embedding, blocks, and
    proj_to_clip_embeddings(norm_out(z)) at the places of the noisy tokens.

    Parameters
    ----------
    condition, target : (n_tokens, n_channels)
    n_layers, n_heads, head_width : int
    dropout : float

    Attributes
    ----------
    clip_mean, clip_std : parameters of shape (1, n_channels)
        Of the layout of weights alone: embeddings are standardised before.
    """

    def __init__(
        self, condition: tuple[int, int], target: tuple[int, int], n_layers: int, n_heads: int,
        head_width: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        width = n_heads * head_width
        self.time_embedding = TimeEmbedding(width // 2, width, width)
        self.proj_in = nn.Linear(target[1], width)
        self.embedding_proj = nn.Linear(condition[1], width)
        self.positional_embedding = nn.Parameter(torch.zeros(1, condition[0] + 1 + target[0], width))
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(n_heads, head_width, dropout) for _ in range(n_layers)
        )
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = nn.Linear(width, target[1])
        self.clip_mean = nn.Parameter(torch.zeros(1, target[1]), requires_grad=False)
        self.clip_std = nn.Parameter(torch.zeros(1, target[1]), requires_grad=False)

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Estimate the embedding.

        Parameters
        ----------
        noisy : tensor of shape (n, n_target_tokens, n_target_channels)
        time : tensor of shape (n,)
        given : tensor of shape (n, n_condition_tokens, n_condition_channels)
        """
        tokens = [self.embedding_proj(given), self.time_embedding(time)[:, None], self.proj_in(noisy)]
        x = torch.cat(tokens, 1) + self.positional_embedding
        for block in self.transformer_blocks:
            x = block(x)
        estimate: torch.Tensor = self.proj_to_clip_embeddings(self.norm_out(x)[:, given.shape[1] + 1 :])
        return estimate
