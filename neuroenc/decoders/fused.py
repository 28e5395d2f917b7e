"""What several recordings say of one stimulus or concept, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroenc.errors import InputError

Floats = NDArray[Any]


def modality_of(recording: str) -> str:
    """Return the modality of a recording, which is called MODALITY:SUBJECT.

    Raises
    ------
    InputError
        It is called otherwise.
    """
    modality, colon, subject = recording.partition(":")
    if not (modality and colon and subject) or "." in recording or ":" in subject:
        raise InputError(
            f"Invalid name of a recording: {recording!r}. Expected MODALITY:SUBJECT, e.g. eeg:01."
        )
    return modality


def average(label: ArrayLike, embedding: ArrayLike) -> tuple[NDArray[np.str_], Floats]:
    """Average the embeddings of each label.

    Parameters
    ----------
    label : array of text, (n,)
    embedding : array of shape (n, n_components)

    Returns
    -------
    label : array of text, (n_labels,), sorted
    embedding : array of shape (n_labels, n_components)
    """
    names, which = np.unique(np.asarray(label), return_inverse=True)
    total = np.zeros((len(names), np.shape(embedding)[1]))
    np.add.at(total, which, embedding)
    return names, np.asarray(total / np.bincount(which)[:, None], np.float32)


def fuse(
    label: Mapping[str, ArrayLike], embedding: Mapping[str, ArrayLike]
) -> tuple[NDArray[np.str_], Floats]:
    """Average what recordings say of each label: over recordings of a modality, then over modalities.

    Only the modalities that have a label count for it. Embeddings keep their length, which a decoder that is
    trained on squared error makes the shorter the less its recording says.

    Parameters
    ----------
    label : mapping
        Recording (MODALITY:SUBJECT) -> stimuli or concepts, (n,).
    embedding : mapping
        Recording -> (n, n_components).

    Returns
    -------
    label : array of text, (n_labels,), sorted
        Of all recordings.
    embedding : array of shape (n_labels, n_components)
    """
    by_modality: dict[str, list[tuple[Any, Any]]] = {}
    for name in label:
        by_modality.setdefault(modality_of(name), []).append(average(label[name], embedding[name]))
    means = [average(*_stack(parts)) for parts in by_modality.values()]
    return average(*_stack(means))


def _stack(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    return np.concatenate([names for names, _ in parts]), np.concatenate([values for _, values in parts])


def row_cosine(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row with the one of the same number, (n,); 0 with zeros."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray((x * y).sum(1) / np.maximum(size, 1e-12))
