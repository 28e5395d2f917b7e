"""Captions of any embedding: a mapping to places before the words of a causal language model.

Mokady et al. (2021), "ClipCap" (arXiv 2111.09734): an embedding e becomes k vectors as wide as the embeddings
of words, the prefix, and the language model goes on from there. `train_captioner` trains one and writes the
folder that `Captioner` reads; where captions are searched, nothing but the folder is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from neuroenc.arrays import CONTRACT, same_contract
from neuroenc.blocks import blocks
from neuroenc.config import Model
from neuroenc.decoders.captioner_folder import about
from neuroenc.devices import pick_device
from neuroenc.errors import InputError, reason
from neuroenc.features import common, language
from neuroenc.files import sha256

WEIGHTS, LANGUAGE = "prefix.safetensors", "language"  # in the folder
HEADS, LAYERS = 8, 8  # of the transformer that maps, as ClipCap's
AT_ONCE = 64  # embeddings whose captions are searched together
Floats = NDArray[Any]


class Mlp(nn.Module):
    """prefix(e) = W2 tanh(W1 e + b1) + b2, cut into places.

    Parameters
    ----------
    n_in : int
    n_prefix, width : int
        Places, and the width of the language model's words.
    """

    def __init__(self, n_in: int, n_prefix: int, width: int) -> None:
        super().__init__()
        self.n_prefix = n_prefix
        hidden = max(1, n_prefix * width // 2)
        self.layers = nn.Sequential(nn.Linear(n_in, hidden), nn.Tanh(), nn.Linear(hidden, n_prefix * width))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in) to (n, n_prefix, width)."""
        places: torch.Tensor = self.layers(given).reshape(len(given), self.n_prefix, -1)
        return places


class Transformer(nn.Module):
    """A linear map of e to k tokens, and k learned ones that look at them and become the prefix.

    Parameters
    ----------
    n_in, n_prefix, width : int
        As of `Mlp`.
    """

    def __init__(self, n_in: int, n_prefix: int, width: int) -> None:
        super().__init__()
        self.n_prefix = n_prefix
        self.tokens = nn.Linear(n_in, n_prefix * width)
        self.learned = nn.Parameter(torch.randn(n_prefix, width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in) to (n, n_prefix, width)."""
        tokens = self.tokens(given).reshape(len(given), self.n_prefix, -1)
        joined = torch.cat([tokens, self.learned.expand_as(tokens)], 1)
        places: torch.Tensor = self.layers(joined)[:, self.n_prefix :]
        return places


MAPPINGS = {"mlp": Mlp, "transformer": Transformer}


class PrefixCaptioner(nn.Module):
    """A language model that goes on from an embedding.

    log p(words | e) = sum over t of log p(word_t | prefix(z, 1), word_1 ... word_t-1)

    with z = (e - mean) / scale. For no embedding prefix(0, 0) stands in its place.

    Parameters
    ----------
    model : Module
        A causal language model of transformers.
    n_features : int
        Of an embedding.
    n_prefix : int
    mapping : {"mlp", "transformer"}
    frozen : bool
        The language model is not trained, and keeps to what it does at test.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, model: Any, n_features: int, n_prefix: int, mapping: str, *, frozen: bool) -> None:
        super().__init__()
        width = model.get_input_embeddings().embedding_dim
        if mapping == "transformer" and width % HEADS:
            raise InputError(
                f"The words of the language model are {width} wide, which {HEADS} heads do not divide. Use "
                "mapping 'mlp'."
            )
        self.n_features, self.n_prefix, self.frozen = n_features, n_prefix, frozen
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.prefix = MAPPINGS[mapping](n_features + 1, n_prefix, width)
        self.language = model.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> Self:
        """Set dropout; a frozen language model has none."""
        super().train(mode)
        if self.frozen:
            self.language.eval()
        return self

    def start(self, z: torch.Tensor | None, n: int = 1) -> torch.Tensor:
        """Return the places before the words, (n, n_prefix, width), of standardised embeddings or of none."""
        if z is None:
            return self.prefix(self.mean.new_zeros(n, self.n_features + 1))
        return self.prefix(torch.cat([z, torch.ones_like(z[:, :1])], 1))

    def surprise(self, places: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return -log p of each text, in nats, and how many tokens that is, (n, 2).

        Parameters
        ----------
        places : tensor of shape (n, n_prefix, width)
        tokens : int tensor of shape (n, n_tokens)
            With the one that ends the text; -1 behind it.
        """
        real = tokens >= 0
        known = tokens.clamp(min=0)
        words = self.language.get_input_embeddings()(known)
        seen = torch.cat([real.new_ones(places.shape[:2]), real], 1)
        joined = torch.cat([places.to(words.dtype), words], 1)
        logits = self.language(inputs_embeds=joined, attention_mask=seen.long()).logits
        # the place before a word predicts it
        guess = logits[:, self.n_prefix - 1 : -1].float().transpose(1, 2)
        found = cross_entropy(guess, known, reduction="none") * real
        return torch.stack([found.sum(1), real.sum(1).to(found)], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As `surprise`, of rows (n, n_features + n_tokens): a standardised embedding, a text's tokens."""
        z, tokens = x[:, : self.n_features], x[:, self.n_features :].long()
        return self.surprise(self.start(z), tokens)


class Captioner:
    """A trained captioner, as it is used.

    Parameters
    ----------
    folder : path
        Of `neuroenc captioner train`.
    device : str

    Attributes
    ----------
    about : dict
        What the folder says of itself: `contract` of the embeddings, `pictures` it was trained on, options.

    Raises
    ------
    InputError
        Files are missing, broken, or of two captioners.
    """

    def __init__(self, folder: str | Path, *, device: str = "auto") -> None:
        from safetensors.torch import load_file

        folder = Path(folder)
        self.about = about(folder)
        for name, wanted in self.about["sha256"].items():
            if (found := sha256(folder / name)) != wanted:
                raise InputError(
                    f"{folder / name} has sha256 {found}, expected {wanted}. Train it or copy it again."
                )
        made = self.about["options"]
        model, self.tokenizer = read_language(folder / LANGUAGE)
        self.module = PrefixCaptioner(
            model, self.about["n_features"], made["n_prefix"], made["mapping"], frozen=True
        )
        missing, unknown = self.module.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        assert not unknown and all(k.startswith("language.") for k in missing)
        self.device = pick_device(device)
        self.module.eval().requires_grad_(False).to(self.device)

    def check(self, contract: Mapping[str, Any], n_features: int, tested: Iterable[str]) -> None:
        """Refuse embeddings the captioner was not made for, and pictures whose captions it has read.

        Parameters
        ----------
        contract : mapping
            Attributes of the embeddings.
        n_features : int
        tested : iterable of str
            Pictures that captions are scored on.

        Raises
        ------
        ContractError
            Naming the field that differs.
        InputError
            Another width, or pictures it was trained on.
        """
        same_contract({k: str(contract.get(k)) for k in CONTRACT}, self.about["contract"])
        if n_features != self.about["n_features"]:
            raise InputError(
                f"The captioner takes embeddings of {self.about['n_features']} features, these have "
                f"{n_features}. Use the layers it was trained on."
            )
        seen = sorted(set(map(str, tested)) & set(self.about["pictures"]))
        if seen:
            raise InputError(
                f"The captioner was trained on {len(seen)} of the test pictures, first {seen[0]!r}. Train "
                "one with --split."
            )

    def __call__(self, embedding: Floats | None, *, n: int = 1, n_beams: int = 5, seed: int = 0) -> list[str]:
        """Write the likeliest caption of each embedding, found by beam search.

        Parameters
        ----------
        embedding : array of shape (n, n_features) or None
            None: `n` captions of no embedding at all, drawn word by word.
        n : int
        n_beams : int
        seed : int
            Of drawn captions.
        """
        module, tokenizer = self.module, self.tokenizer
        how: dict[str, Any] = {"num_beams": 1, "do_sample": True, "top_k": 0}
        same = np.arange(n)
        if embedding is not None:
            how = {"num_beams": n_beams, "do_sample": False}
            # the same embedding has the same caption
            _, first, same = np.unique(embedding, axis=0, return_index=True, return_inverse=True)
            embedding = np.asarray(embedding, np.float32)[first]
        texts: list[str] = []
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = blocks(n if embedding is None else len(embedding), AT_ONCE)
            for rows in tqdm(parts, "captions", disable=None, delay=5):
                if embedding is None:
                    start = module.start(None, rows.stop - rows.start)
                else:
                    given = torch.from_numpy(embedding[rows]).to(self.device)
                    start = module.start((given - module.mean) / module.scale)
                ids = module.language.generate(
                    inputs_embeds=start, max_new_tokens=self.about["options"]["max_tokens"],
                    attention_mask=torch.ones(start.shape[:2], dtype=torch.long, device=self.device),
                    eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id, **how,
                )  # fmt: skip
                texts += map(sentence, tokenizer.batch_decode(ids, skip_special_tokens=True))
        return [texts[i] for i in same.ravel()]


def sentence(text: str) -> str:
    """Write a text as a sentence: blanks single, the first letter large, a full stop behind."""
    words = " ".join(text.split())
    return f"{words[:1].upper()}{words[1:]}{'' if not words or words[-1] in '.!?' else '.'}"


def read_language(folder: Path) -> tuple[Any, Any]:
    """Read a causal language model and its tokenizer.

    Raises
    ------
    InputError
        The folder holds none that transformers can read, or its tokenizer marks no end of a text.
    """
    transformers = common.library()
    spec = Model(extractor="transformers", network=str(folder))
    config = language.configuration(spec, folder, {})
    model = language.trained(transformers.AutoModelForCausalLM, folder, config, ())
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001  each tokenizer has errors of its own
        raise InputError(f"Cannot read the tokenizer in {folder}: {reason(error)}. Fetch it again.") from None
    if tokenizer.eos_token_id is None:
        raise InputError(f"The tokenizer in {folder} has no token that ends a text. Use another network.")
    return model, tokenizer
