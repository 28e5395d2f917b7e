"""How a prefix captioner is trained: embeddings and captions of training pictures, and no others."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from safetensors.torch import save_file

from neuroenc import __version__, splits
from neuroenc.arrays import CONTRACT, join, select_layers
from neuroenc.config import Captioner as Options
from neuroenc.config import Model
from neuroenc.decoders.captioner_folder import ABOUT
from neuroenc.decoders.prefix_captioner import LANGUAGE, WEIGHTS, PrefixCaptioner, read_language
from neuroenc.devices import pick_device
from neuroenc.encoders import training
from neuroenc.errors import InputError, InputWarning
from neuroenc.features import common, registry
from neuroenc.features.loading import folder_of
from neuroenc.files import atomic, remove, sha256, write_json
from neuroenc.real import deviation
from neuroenc.words import words

WORDS = "words"
WIDTH = 96  # of the small language model, as of the captioner that comes along
END = "<end>"
Floats = NDArray[Any]


class Corpus(NamedTuple):
    """Captioned pictures to learn from."""

    ids: NDArray[np.str_]
    group: NDArray[np.str_]
    """(n_pictures,), those alike are not parted between training and validation"""
    embedding: NDArray[np.float32]
    """(n_pictures, n_features)"""
    texts: list[list[str]]
    """Captions of each picture"""
    contract: dict[str, str]


class Pairs:
    """Rows of a standardised embedding and the tokens of one of its picture's captions, made where indexed.

    Parameters
    ----------
    z : array of shape (n_pictures, n_features)
    tokens : int array of shape (n_pairs, n_tokens)
        -1 behind the end.
    picture : int array of shape (n_pairs,)
    """

    def __init__(self, z: Floats, tokens: NDArray[np.int64], picture: NDArray[np.int64]) -> None:
        self.z, self.tokens, self.picture = z, tokens, picture

    def __len__(self) -> int:
        return len(self.picture)

    def __getitem__(self, rows: Any) -> Floats:
        return np.concatenate([self.z[self.picture[rows]], self.tokens[rows]], 1).astype(np.float32)


def corpus(
    features: xr.Dataset, stimuli: xr.Dataset, split: xr.Dataset | None = None, *, layer: str | None = None
) -> Corpus:
    """Collect the captioned pictures of the features that no fold tests.

    Parameters
    ----------
    features, stimuli : Dataset
        Features (one embedding a picture), StimulusSet with captions.
    split : Dataset, optional
        Splits. None: pictures from elsewhere, which no one tests.
    layer : str, optional
        Of the features; else all.

    Raises
    ------
    InputError
        No captions; fewer than two pictures are left; embeddings that are not finite.
    """
    if "caption" not in stimuli:
        raise InputError("The stimuli carry no captions. Use pictures that have some.")
    chosen = select_layers(features, [] if layer is None else [layer])
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values.tolist())}
    tested: set[str] = set()
    if split is not None:
        tested = set(split["stimulus_id"].values[(split["side"].values == splits.TEST).any(0)].tolist())
    captions = np.asarray(stimuli["caption"].values, str).reshape(stimuli.sizes["stimulus"], -1)
    found = {s: [t for t in captions[row[s]].tolist() if t.strip()]
             for s in chosen["stimulus_id"].values.tolist() if s in row and s not in tested}  # fmt: skip
    ids = np.array([s for s, texts in found.items() if texts], dtype=str)
    group = stimuli["group"].values[[row[s] for s in ids]]
    if len(set(group.tolist())) < 2:
        raise InputError(
            f"{len(ids)} pictures have an embedding and a caption and are tested by no fold, in "
            f"{len(set(group.tolist()))} groups; expected two groups or more. Use a split that keeps some "
            "for training, or pictures from elsewhere without --split."
        )
    embedding = join(chosen, ids)
    bad = np.flatnonzero(~np.isfinite(embedding).all(1))
    if len(bad):
        raise InputError(
            f"Embeddings of {len(bad)} pictures are not finite, first {str(ids[bad[0]])!r}. Extract them "
            "again."
        )
    contract = {k: str(chosen.attrs[k]) for k in CONTRACT}
    return Corpus(ids, group, embedding, [found[s] for s in ids], contract)


def divide(group: NDArray[np.str_], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups of pictures for validation, at least one of them, and not all."""
    names = np.unique(group)
    n = min(max(1, round(share * len(names))), len(names) - 1)
    held = np.random.default_rng([seed, 1]).permutation(names)[:n]
    return np.isin(group, held)


def small_language(texts: Sequence[str], n_places: int, seed: int) -> tuple[Any, Any]:
    """Make an untrained GPT-2 and a tokenizer of the words that stand twice or more in the texts.

    Parameters
    ----------
    texts : sequence of str
    n_places : int
        Of prefix and words.
    seed : int
        Of the weights.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers = common.library()
    count = Counter(w for t in texts for w in words(t))
    known = sorted(w for w, n in count.items() if n > 1)
    if not known:
        raise InputError(
            f"No word stands twice in {len(texts)} captions, so that none can be learned. Give more "
            "captions, or name a trained language model."
        )
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([END, *known])}, unk_token=END))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, bos_token=END)
    config = transformers.GPT2Config(
        vocab_size=len(known) + 1, n_positions=n_places, n_embd=WIDTH, n_layer=3, n_head=4, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.GPT2LMHeadModel(config), tokenizer


def language_of(options: Options, texts: Sequence[str]) -> tuple[Any, Any, dict[str, str]]:
    """Return language model, tokenizer, and what they are.

    Raises
    ------
    InputError
        The network was not fetched, is no causal language model, or has too few places.
    """
    n_places = options.n_prefix + options.max_tokens + 1
    if options.language == WORDS:
        model, tokenizer = small_language(texts, n_places, options.seed)
        return model, tokenizer, {"network": WORDS, "weights": f"random:{options.seed}"}
    entry = registry.ENTRIES.get(options.language)
    if entry is not None and entry.extractor != "transformers":
        raise InputError(
            f"Invalid value for 'language': {options.language!r} is a network of {entry.extractor}. Name a "
            "causal language model, 'gpt2' say."
        )
    network = entry.published if entry else options.language
    folder = folder_of(Model(extractor="transformers", network=network), None)
    assert folder is not None
    model, tokenizer = read_language(folder)
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and most < n_places:
        raise InputError(
            f"{options.language!r} reads {most} tokens, fewer than n_prefix + max_tokens + 1 = {n_places}. "
            "Lower one of these."
        )
    weights = ", ".join(f"{p.name}:{sha256(p)}" for p in sorted(folder.glob("*.safetensors")))
    return model, tokenizer, {"network": options.language, "weights": weights}


def tokenise(texts: Sequence[str], tokenizer: Any, max_tokens: int, *, plain: bool) -> NDArray[np.int64]:
    """Turn texts into tokens with the one that ends them, (n_texts, longest + 1); -1 behind it.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : tokenizer of transformers
    max_tokens : int
        A longer text loses its end, and is not ended.
    plain : bool
        Cut texts into words by `neuroenc.words` and leave out those the tokenizer does not know.
    """
    if plain:
        known = tokenizer.get_vocab()
        ids = [[known[w] for w in words(t) if w in known] for t in texts]
    else:
        ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    ended = [[*one, tokenizer.eos_token_id][: max_tokens + 1] for one in ids]
    cut = sum(len(one) > max_tokens for one in ids)
    if cut:
        warnings.warn(
            f"{cut} of {len(texts)} captions are longer than {max_tokens} tokens and lose their end. Raise "
            "max_tokens.", InputWarning, stacklevel=2,
        )  # fmt: skip
    out = np.full((len(ended), max(map(len, ended))), -1, np.int64)
    for row, one in zip(out, ended, strict=True):
        row[: len(one)] = one
    return out


def train(data: Corpus, options: Options, out: str | Path) -> dict[str, Any]:
    """Train a captioner; write the folder `prefix_captioner.Captioner` reads.

    Each step takes pairs of an embedding and a caption and descends along

        - sum log p(words | z + s n) / number of words,   z = (e - mean) / scale,  n ~ N(0, 1)

    with s drawn for each pair from 0 to `noise`, and without z in a share `dropped` of the pairs. The epoch
    with the smallest surprise of the captions of validation pictures is kept. After each epoch the state is
    kept beside `out`; the same command goes on from there, on the CPU to the same weights, bit for bit.

    Parameters
    ----------
    data : Corpus
    options : Captioner
        Of the configuration.
    out : path
        A folder; replaced if it is a captioner.

    Returns
    -------
    dict
        What `captioner.json` holds. `surprise`: nats a token of captions of validation pictures; `shuffled`:
        the same with their embeddings dealt anew, so that the difference is what the embedding says.

    Raises
    ------
    InputError
        `out` is something else; language model or checkpoint do not fit; a loss that is not finite.
    """
    out = Path(out)
    if out.exists() and not (out / ABOUT).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there and no captioner: it would be replaced. Name another folder.")
    held = divide(data.group, options.validation, options.seed)
    mean, scale = data.embedding[~held].mean(0), deviation(data.embedding[~held])
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    fitted = [t for texts, h in zip(data.texts, held, strict=True) if not h for t in texts]
    model, tokenizer, language = language_of(options, fitted)
    texts = [t for each in data.texts for t in each]
    tokens = tokenise(texts, tokenizer, options.max_tokens, plain=options.language == WORDS)
    pairs = Pairs(
        (data.embedding - mean) / scale, tokens, np.repeat(np.arange(len(held)), list(map(len, data.texts)))
    )
    torch.manual_seed(options.seed)
    module = PrefixCaptioner(
        model, data.embedding.shape[1], options.n_prefix, options.mapping, frozen=options.frozen
    )
    module.mean.copy_(torch.from_numpy(mean))
    module.scale.copy_(torch.from_numpy(scale))
    rows = np.flatnonzero(~held[pairs.picture]), np.flatnonzero(held[pairs.picture])
    state = out.with_name(f".{out.name}.safetensors")
    history = _descend(module, pairs, rows, options, language, data, state)
    found = {
        "surprise": -history[int(np.argmax(history))],
        "shuffled": _shuffled(module, pairs, rows[1], options),
    }
    made = _write(module, tokenizer, data, options, out, {
        "language": language, "n_validation": int(held.sum()), **found, "history": [-v for v in history],
    })  # fmt: skip
    remove(state)
    return made


def _rate(options: Options) -> float:
    if options.learning_rate is not None:
        return options.learning_rate
    return 2e-3 if options.language == WORDS else 1e-4 if options.frozen else 2e-5


def _descend(
    module: PrefixCaptioner, pairs: Pairs, rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: Options, language: dict[str, str], data: Corpus, state: Path,
) -> list[float]:  # fmt: skip
    said = options.model_dump(exclude={"device", "patience"}) | {"language": language} | data.contract
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for values in (data.embedding, pairs.tokens, pairs.picture):
        digest.update(np.ascontiguousarray(values).tobytes())

    def loss(_: Any, x: torch.Tensor, *__: Any) -> torch.Tensor:
        z, tokens = x[:, : module.n_features], x[:, module.n_features :].long()
        noisy = z + options.noise * torch.rand_like(z[:, :1]) * torch.randn_like(z)
        kept = (torch.rand_like(z[:, :1]) >= options.dropped).to(z)
        surprise, n = module.surprise(module.prefix(torch.cat([noisy * kept, kept], 1)), tokens).sum(0)
        return surprise / n

    return training.train(
        module, pairs, np.zeros((len(pairs), 1), np.float32), *rows, learning_rate=_rate(options),
        weight_decay=options.weight_decay, batch_size=options.batch_size, max_epochs=options.max_epochs,
        patience=options.patience, clip=1.0, seed=options.seed, device=pick_device(options.device),
        checkpoint=state, fingerprint=digest.hexdigest(), description="captioner", loss=loss,
        score=lambda _, found: -float(found[:, 0].sum() / found[:, 1].sum()),
    )  # fmt: skip


def _shuffled(module: PrefixCaptioner, pairs: Pairs, held: NDArray[np.int64], options: Options) -> float:
    """Return the surprise of validation captions whose embeddings were dealt anew."""
    order = np.random.default_rng([options.seed, 2]).permutation(np.unique(pairs.picture[held]))
    dealt = np.arange(len(pairs.z))
    # no picture keeps its own: a single one has that of a training picture
    dealt[order] = np.roll(order, 1) if len(order) > 1 else (order + 1) % len(dealt)
    other = Pairs(pairs.z, pairs.tokens, dealt[pairs.picture])
    device = pick_device(options.device)
    found = training.predict(module, other, held, batch_size=options.batch_size, device=device)
    return float(found[:, 0].sum() / found[:, 1].sum())


def _write(
    module: PrefixCaptioner, tokenizer: Any, data: Corpus, options: Options, out: Path, said: dict[str, Any]
) -> dict[str, Any]:
    """Write the folder, whole or not at all."""
    module.cpu()
    with atomic(out) as partial:
        module.language.save_pretrained(partial / LANGUAGE)
        tokenizer.save_pretrained(partial / LANGUAGE)
        tensors = {k: v.contiguous() for k, v in module.state_dict().items() if not k.startswith("language.")}
        save_file(tensors, partial / WEIGHTS)
        files = [
            WEIGHTS,
            *(f"{LANGUAGE}/{p.name}" for p in sorted((partial / LANGUAGE).glob("*.safetensors"))),
        ]
        made = {
            "kind": "captioner", "neuroenc_version": __version__, "contract": data.contract,
            "n_features": int(data.embedding.shape[1]), "options": options.model_dump(exclude={"device"}),
            **said, "sha256": {name: sha256(partial / name) for name in files},
            "n_pictures": len(data.ids), "pictures": data.ids.tolist(),
        }  # fmt: skip
        write_json(made, partial / ABOUT)
        for name in files:  # safetensors lets nobody else read what it writes
            (partial / name).chmod((partial / ABOUT).stat().st_mode)
    return made
