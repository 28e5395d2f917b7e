"""Captions against those people wrote: BLEU, METEOR, ROUGE-L, CIDEr, and cosines of embeddings. No Java.

METEOR here matches words and their stems (Porter), not synonyms: its published form needs WordNet, which has
to be fetched; numbers of the two are not comparable. The same holds for the two METEORs of the literature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.words import words

Floats = NDArray[np.float64]
Tokens = list[str]
DEFINITIONS = {
    "bleu1": "corpus BLEU, unigrams, closest reference length (Papineni et al. 2002)",
    "bleu4": "corpus BLEU, uni- to 4-grams, no smoothing",
    "meteor": "exact and Porter stem, no synonyms; alpha 0.9, beta 3, gamma 0.5 (Lavie and Agarwal 2007)",
    "rouge_l": "longest common subsequence, best precision and recall over references, beta 1.2 (COCO's)",
    "cider": "CIDEr-D, sigma 6, document frequencies of these references (Vedantam et al. 2015)",
    "clip_score": "2.5 max(cosine of picture and caption, 0) (Hessel et al. 2021)",
    "sentence_cosine": "cosine of sentence embeddings, mean over references",
}


def _check(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[Tokens], list[list[Tokens]]]:
    if len(captions) != len(references):
        raise InputError(f"{len(captions)} captions, {len(references)} sets of references. They must match.")
    single = [i for i, row in enumerate(references) if isinstance(row, str)]
    if single or isinstance(captions, str):
        raise InputError(
            f"The references of row {single[0]} are one text, expected a list of texts for each caption."
            if single
            else "The captions are one text, expected a list of texts."
        )
    for what, texts in (("caption", captions), ("reference", [r for row in references for r in row])):
        if odd := [t for t in texts if not isinstance(t, str)]:
            raise InputError(
                f"{len(odd)} of {len(texts)} {what}s are no text, first {odd[0]!r}. Leave these pictures out."
            )
    said = [words(c) for c in captions]
    known = [[w for w in (words(r) for r in row) if w] for row in references]
    without = [i for i, row in enumerate(known) if not row]
    if without:
        raise InputError(f"{len(without)} pictures have no reference caption, first row {without[0]}.")
    return said, known


def _grams(tokens: Tokens, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu_counts(captions: Sequence[str], references: Sequence[Sequence[str]], n: int = 4) -> Floats:
    """Count what BLEU adds up.

    Parameters
    ----------
    captions : sequence of text
    references : sequence of sequences of text
    n : int
        Longest n-gram.

    Returns
    -------
    array of shape (n_captions, 2 n + 2)
        Clipped matches of each order, n-grams of each order, length, length of the closest reference.
    """
    said, known = _check(captions, references)
    out = np.zeros((len(said), 2 * n + 2))
    for i, (caption, row) in enumerate(zip(said, known, strict=True)):
        for k in range(1, n + 1):
            found = _grams(caption, k)
            most: Counter[tuple[str, ...]] = Counter()
            for reference in row:
                most |= _grams(reference, k)
            out[i, k - 1] = sum((found & most).values())
            out[i, n + k - 1] = sum(found.values())
        out[i, -2] = len(caption)
        out[i, -1] = min((abs(len(r) - len(caption)), len(r)) for r in row)[1]
    return out


def bleu(counts: Floats, n: int | None = None) -> float:
    """Corpus BLEU of counts, or of resampled rows of them.

    Parameters
    ----------
    counts : array of shape (n_captions, 2 n + 2)
        Of `bleu_counts`.
    n : int, optional
        Orders up to this one; else all.
    """
    longest = counts.shape[1] // 2 - 1
    n = n or longest
    total = counts.sum(0)
    matches, grams, length, wanted = total[:n], total[longest : longest + n], total[-2], total[-1]
    if matches.min() == 0:
        return 0.0
    brevity = min(1.0, np.exp(1 - wanted / length))
    return float(brevity * np.exp(np.log(matches / grams).mean()))


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """METEOR without synonyms, the best over references, (n_captions,)."""
    from nltk.translate.meteor_score import meteor_score

    class NoSynonyms:
        def synsets(self, word: str) -> list[Any]:  # noqa: ARG002
            return []

    said, known = _check(captions, references)
    silent: Any = NoSynonyms()
    return np.array([meteor_score(row, c, wordnet=silent) for c, row in zip(said, known, strict=True)])


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]], beta: float = 1.2) -> Floats:
    """ROUGE-L (Lin 2004), (n_captions,)."""
    said, known = _check(captions, references)
    out = np.zeros(len(said))
    for i, (caption, row) in enumerate(zip(said, known, strict=True)):
        common = [_common(caption, r) for r in row]
        precision = max((c / len(caption) for c in common), default=0.0) if caption else 0.0
        recall = max(c / len(r) for c, r in zip(common, row, strict=True))
        if precision and recall:
            out[i] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return out


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence."""
    before = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(before[j] + 1 if x == y else max(row[-1], before[j + 1]))
        before = row
    return before[-1]


def cider(captions: Sequence[str], references: Sequence[Sequence[str]], *, sigma: float = 6.0) -> Floats:
    """CIDEr-D, (n_captions,); 10 is a perfect match of all n-grams."""
    said, known = _check(captions, references)
    frequency: Counter[tuple[str, ...]] = Counter()
    for row in known:
        frequency.update({g for r in row for n in range(1, 5) for g in _grams(r, n)})
    documents = np.log(len(known))

    def vectors(tokens: Tokens) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        parts = [
            {g: count * (documents - np.log(max(1, frequency[g]))) for g, count in _grams(tokens, n).items()}
            for n in range(1, 5)
        ]
        return parts, [float(np.sqrt(sum(v * v for v in p.values()))) for p in parts]

    out = np.zeros(len(said))
    for i, (caption, row) in enumerate(zip(said, known, strict=True)):
        mine, length = vectors(caption)
        for reference in row:
            theirs, other = vectors(reference)
            penalty = np.exp(-((len(caption) - len(reference)) ** 2) / (2 * sigma**2))
            for a, b, na, nb in zip(mine, theirs, length, other, strict=True):
                if na and nb:
                    out[i] += penalty * sum(min(v, b[g]) * b[g] for g, v in a.items() if g in b) / (na * nb)
        out[i] *= 10 / 4 / len(row)
    return out


def clip_score(pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], model: Model) -> Floats:
    """Compare pictures with captions in the space of an image-text network, (n_captions,).

    Parameters
    ----------
    pictures : sequence of uint8 arrays (height, width, 3)
    captions : sequence of text
        One of each picture, or several rounds of them. The published prompt "A photo depicts" is set before
        each, but for the nano network, which does not know these words.
    model : Model
        Of open_clip.
    """
    from neuroenc.features.extract import describe
    from neuroenc.features.networks import embed_texts

    eye = model.model_copy(update={"layers": ["visual"], "pooling": "mean", "projection": None})
    seen = describe(pictures, eye)["feature"].values
    text = embed_texts(
        captions if model.network == "nano" else [f"A photo depicts {c}" for c in captions], model
    )
    unit = [v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (seen, text)]
    unit[0] = np.tile(unit[0], (len(text) // len(seen), 1))
    return np.asarray(2.5 * np.maximum((unit[0] * unit[1]).sum(1), 0), np.float64)


def sentence_cosine(captions: Sequence[str], references: Sequence[Sequence[str]], model: Model) -> Floats:
    """Cosine of sentence embeddings with each reference, their mean, (n_captions,).

    Parameters
    ----------
    captions, references
    model : Model
        A network of sentences; the mean of its last layer is the embedding, as all-MiniLM-L6-v2 has it.
    """
    from neuroenc.features.extract import describe

    _check(captions, references)
    flat = [r for row in references for r in row if r]
    texts = sorted({*captions, *flat})  # the same references may stand behind many captions
    place = {t: i for i, t in enumerate(texts)}
    values = describe(texts, model)["feature"].values
    said, known = (values[[place[t] for t in part]] for part in (captions, flat))
    owner = np.repeat(np.arange(len(captions)), [sum(map(bool, row)) for row in references])
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (known, said[owner])]
    similarity = (unit[0] * unit[1]).sum(1)
    return np.bincount(owner, similarity) / np.bincount(owner)
