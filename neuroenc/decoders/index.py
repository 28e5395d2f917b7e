"""Pools of pictures to retrieve from: exact when small, in inverted lists when large, on disk either way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from neuroenc import __version__
from neuroenc.arrays import CONTRACT, same_contract
from neuroenc.blocks import BLOCK_BYTES, blocks
from neuroenc.decoders.target import embeddings_of, restore
from neuroenc.documents import read_json
from neuroenc.errors import InputError
from neuroenc.files import atomic, existing, write_json

EXACT_BELOW = 50_000  # pictures; up to here every one is compared
SAME = 1e-4  # a picture that was encoded anew (JPEG) has nearly the same embedding
N_PROBES = 200  # pictures that are taken out of training, to measure recall
Floats = NDArray[np.float32]


def unit(embedding: ArrayLike) -> Floats:
    """Scale embeddings to unit norm, (n, n_features)."""
    v = np.asarray(embedding, np.float32)
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12))


def parts(pool: Any, names: NDArray[np.str_]) -> Iterator[tuple[int, Floats]]:
    """Read a pool in blocks, scaled to unit norm, each with the number of its first picture.

    Raises
    ------
    InputError
        Embeddings that are not finite; the first picture is named.
    """
    for cut in blocks(len(names), max(1, BLOCK_BYTES // (4 * pool.shape[1]))):
        block = unit(pool[cut])
        bad = np.flatnonzero(~np.isfinite(block).all(1))
        if len(bad):
            raise InputError(
                f"The embedding of {str(names[cut.start + bad[0]])!r} is not finite. Extract it again."
            )
        yield cut.start, block


def copies_of(tested: ArrayLike, pool: Any, names: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Say which pictures of a pool are tested ones: their embeddings are the same, whatever they are called.

    Parameters
    ----------
    tested : array of shape (n, n_features)
    pool : array of shape (n_pictures, n_features)
        Read in blocks.
    names : array of text, (n_pictures,)

    Returns
    -------
    bool array of shape (n_pictures,)
        Where the cosine to one of `tested` is above 1 - `SAME`.

    Raises
    ------
    InputError
        As `parts`.
    """
    known = unit(tested)
    out = np.zeros(len(names), bool)
    for start, part in parts(pool, names):
        for cut in blocks(len(part), max(1, BLOCK_BYTES // (4 * max(1, len(known))))):
            out[start + cut.start : start + cut.stop] = (part[cut] @ known.T).max(1, initial=-1) > 1 - SAME
    return out


def inverted_lists(pool: Any, seed: int) -> Any:
    """Build an empty index of inverted lists in float16, its lists learned from a sample of the pool."""
    faiss = _faiss()
    n, width = pool.shape
    n_lists = int(4 * np.sqrt(n))
    rows = np.random.default_rng(seed).choice(n, min(n, 40 * n_lists), replace=False)
    coarse = faiss.IndexFlatIP(width)
    engine = faiss.IndexIVFScalarQuantizer(
        coarse, width, n_lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    engine.cp.seed, engine.cp.niter = seed + 1, 10
    engine.train(unit(pool[np.sort(rows)]))
    return engine


class Probes(NamedTuple):
    """Pictures of the pool, and points between two of them, as decoded embeddings are, to measure recall."""

    asked: Floats
    """(n_probes, n_features)"""
    own: NDArray[np.int64]
    """(n_probes,), the number of the picture that finds itself; -1 for a point between two"""

    @classmethod
    def draw(cls, pool: Any, seed: int) -> Self:
        """Draw pictures of a pool."""
        n = len(pool)
        rows = np.sort(np.random.default_rng((seed, 1)).choice(n, min(n, N_PROBES), replace=False))
        pictures = unit(pool[rows])
        asked = np.concatenate([pictures, unit(pictures + np.roll(pictures, 1, 0))])
        return cls(asked, np.concatenate([rows, np.full(len(rows), -1)]))

    def nearest(self, part: Floats, start: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return similarity and number of the eleven nearest pictures of a part of the pool."""
        similarity = self.asked @ part.T
        best = np.argpartition(-similarity, min(11, len(part) - 1), axis=1)[:, :11]
        return np.take_along_axis(similarity, best, 1), best + start

    def widen(self, engine: Any, nearest: list[tuple[Floats, NDArray[np.int64]]], recall: float) -> float:
        """Search as many lists as the wanted recall takes; return what is reached, the lower of both kinds.

        Parameters
        ----------
        engine : IndexIVF
        nearest : list of (similarity, rows)
            Of each part of the pool, as `nearest` gives them.
        recall : float
            Of the true ten nearest.
        """
        values, rows = (np.concatenate(p, axis=1) for p in zip(*nearest, strict=True))
        true = np.take_along_axis(rows, np.argsort(-values, axis=1)[:, :11], 1)
        half = len(self.own) // 2
        engine.nprobe = 1
        while True:
            _, got = engine.search(self.asked, 11)
            # a picture finds itself; what counts are the ten others
            share = [
                len(set(t[t != p][:10]) & set(g[g != p][:10])) / 10
                for t, g, p in zip(true, got, self.own, strict=True)
            ]
            found = float(min(np.mean(share[:half]), np.mean(share[half:])))
            if found >= recall or engine.nprobe >= engine.nlist:
                return found
            engine.nprobe = min(engine.nlist, 2 * engine.nprobe)


class Index(NamedTuple):
    """Pictures by their embeddings; `build`, `load`, `search`.

    Attributes
    ----------
    ids : array of text, (n_pictures,)
    contract : dict
        The embedding contract of the pool.
    recall : float
        Measured share of the true ten nearest that a search finds; 1 where it is exact.
    engine : object
        Of faiss.
    """

    ids: NDArray[np.str_]
    contract: dict[str, str]
    recall: float
    engine: Any

    @classmethod
    def build(
        cls, embedding: Any, ids: ArrayLike, contract: Mapping[str, Any], *, recall: float = 0.95,
        exact_below: int = EXACT_BELOW, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Build an index.

        Parameters
        ----------
        embedding : array of shape (n_pictures, n_features)
            In memory, mapped from disk or a Design: it is read in blocks; compared by cosine, in large pools
            as float16.
        ids : array of text, (n_pictures,)
        contract : mapping
            `CONTRACT` of the embeddings.
        recall : float
            Of the true ten nearest, to reach; as many lists are searched as that takes, on pictures of the
            pool as if they were new and on points between two of them, whichever is harder.
        exact_below : int
            Up to so many pictures all are compared.
        seed : int

        Raises
        ------
        InputError
            Embeddings that are not finite (the first picture is named), or another number of ids.
        """
        faiss = _faiss()
        pool: Any = embedding if hasattr(embedding, "shape") else np.asarray(embedding)
        names = np.asarray(ids, dtype=str)
        if len(pool.shape) != 2 or not min(pool.shape):
            raise InputError(f"Embeddings have shape {tuple(pool.shape)}. Expected (n_pictures, n_features).")
        n, width = pool.shape
        if len(names) != n:
            raise InputError(f"{n} embeddings, {len(names)} ids; they must match one to one.")
        kept = {k: str(contract[k]) for k in CONTRACT}
        if n <= exact_below:
            engine = faiss.IndexFlatIP(width)
            for _, part in parts(pool, names):
                engine.add(part)
            return cls(names, kept, 1.0, engine)
        engine = inverted_lists(pool, seed)
        probes = Probes.draw(pool, seed)
        nearest = []
        for start, part in parts(pool, names):
            engine.add(part)
            nearest.append(probes.nearest(part, start))
        return cls(names, kept, probes.widen(engine, nearest, recall), engine)

    def search(self, embedding: ArrayLike, k: int = 10) -> tuple[NDArray[np.str_], Floats]:
        """Find the nearest pictures.

        Parameters
        ----------
        embedding : array of shape (n, n_features)
        k : int

        Returns
        -------
        ids : array of text, (n, k)
        similarity : array of shape (n, k)
            Cosine.

        Raises
        ------
        InputError
            Fewer than `k` pictures; embeddings of another width, or that are not finite.
        """
        query = unit(embeddings_of(embedding))
        if query.shape[1] != self.engine.d:
            raise InputError(
                f"Embeddings of {query.shape[1]} features, the index holds {self.engine.d}. Use the same "
                "layers."
            )
        if k > len(self.ids):
            raise InputError(f"The index holds {len(self.ids)} pictures, fewer than the {k} asked for.")
        if k < 1:
            raise InputError(f"{k} pictures are asked for, expected one or more.")
        similarity, rows = self.engine.search(query, k)
        short = np.flatnonzero((rows < 0).any(1))
        if len(short):  # the lists that were searched hold fewer than k: search all for these
            every = _faiss().SearchParametersIVF(nprobe=self.engine.nlist)
            similarity[short], rows[short] = self.engine.search(query[short], k, params=every)
        return self.ids[rows], similarity

    def search_decoded(
        self, embeddings: xr.Dataset, fold: int, k: int = 10, *, allow_test: bool = False
    ) -> tuple[NDArray[np.str_], Floats]:
        """Find the pictures nearest to decoded embeddings.

        Parameters
        ----------
        embeddings : Dataset
            As `decode` gives them, of the same embedding contract.
        fold : int
        k : int
        allow_test : bool
            The pool may hold the very pictures that were decoded.

        Raises
        ------
        ContractError
            The index is of another model; the field that differs is named.
        InputError
            The pool holds pictures that were decoded.
        """
        same_contract({k: str(v) for k, v in embeddings.attrs.items()}, self.contract)
        both = np.intersect1d(embeddings["stimulus_id"].values, self.ids)
        if len(both) and not allow_test:
            raise InputError(
                f"The pool holds {len(both)} of the pictures that were decoded, first {str(both[0])!r}. "
                "Leave them out of it, or ask for them (--allow-test): the result is labelled."
            )
        return self.search(restore(embeddings, fold, "point" if "point" in embeddings else "embedding"), k)

    def save(self, path: str | Path) -> None:
        """Write `path`, a file of faiss, and beside it ids (.npy) and what they are of (.json)."""
        path = Path(path)
        with atomic(path, size=self.engine.ntotal * (4 * self.engine.d + 8) + 2**20) as partial:
            _faiss().write_index(self.engine, str(partial))
        with atomic(path.with_suffix(".npy")) as partial, partial.open("wb") as file:
            np.save(file, self.ids)
        write_json(
            {"kind": "index", "neuroenc_version": __version__, "n": len(self.ids), "recall": self.recall,
             "contract": self.contract}, path.with_suffix(".json"),
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open an index; it stays on disk and is read as it is searched.

        Raises
        ------
        InputError
            It is missing or broken.
        """
        path = existing(path)
        about = read_json(path.with_suffix(".json"), "contract", "recall")
        faiss = _faiss()
        try:
            engine = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError:
            raise InputError(f"Cannot read the index {path}. Build it again.") from None
        ids = np.load(existing(path.with_suffix(".npy")), allow_pickle=False)
        if len(ids) != engine.ntotal:
            raise InputError(
                f"{path} holds {engine.ntotal} pictures, {len(ids)} ids stand beside it. Build it again."
            )
        return cls(ids, about["contract"], float(about["recall"]), engine)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise InputError(
            "Retrieval from pools needs the extra 'retrieval'. Install neuroenc[retrieval]."
        ) from None
    return faiss
