"""Retrieval from a million pictures: `python benchmarks/retrieval.py`.

1,000,000 embeddings of 512 features from 5,000 clusters of 60 directions with a spectrum that falls as one over
the root, plus noise in all 512: alike where pictures are alike, as embeddings of photographs are. 300 queries of
the same distribution that the index has not seen are asked one at a time from the index on disk; their true
nearest come from comparing with all. Writes benchmarks/results/retrieval.json.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from neuroenc.arrays import CONTRACT
from neuroenc.decoders.index import Index, unit
from neuroenc.files import write_json
from neuroenc.records import row

BLOCK = 65_536  # pictures drawn at a time
COMMAND = "python benchmarks/retrieval.py"
N, WIDTH, CLUSTERS, DIRECTIONS, QUERIES, K = 1_000_000, 512, 5000, 60, 300, 10


def draw(rng: np.random.Generator, basis: np.ndarray, centres: np.ndarray, n: int) -> np.ndarray:
    inner = centres[rng.integers(0, CLUSTERS, n)] + 0.7 * rng.normal(size=(n, DIRECTIONS))
    return (inner @ basis + 0.05 * rng.normal(size=(n, WIDTH))).astype(np.float32)


def peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(v for v in lines if v.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(DIRECTIONS, WIDTH)) * np.arange(1, DIRECTIONS + 1)[:, None] ** -0.5
    centres = rng.normal(size=(CLUSTERS, DIRECTIONS))
    queries = draw(rng, basis, centres, QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.npy"
        pool = np.lib.format.open_memmap(path, "w+", np.float32, (N, WIDTH))
        best = np.full((QUERIES, 0), 0.0), np.zeros((QUERIES, 0), int)
        for start in range(0, N, BLOCK):
            block = draw(rng, basis, centres, min(BLOCK, N - start))
            pool[start : start + len(block)] = block
            similarity = unit(queries) @ unit(block).T
            top = np.argpartition(-similarity, K, axis=1)[:, :K]
            best = (np.concatenate([best[0], np.take_along_axis(similarity, top, 1)], 1),
                    np.concatenate([best[1], top + start], 1))  # fmt: skip
        true = np.take_along_axis(best[1], np.argsort(-best[0], axis=1)[:, :K], 1)
        pool.flush()
        del pool
        start_ = time.perf_counter()
        index = Index.build(np.load(path, "r"), np.arange(N).astype(str), dict.fromkeys(CONTRACT, "bench"))
        built = time.perf_counter() - start_
        index.save(Path(folder) / "pool.index")
        stated, n_lists, n_probed = index.recall, index.engine.nlist, index.engine.nprobe
        del index
        index = Index.load(Path(folder) / "pool.index")
        index.search(queries, K)  # from here on in the page cache
        seconds, found = [], []
        for query in queries:
            start_ = time.perf_counter()
            found.append(index.search(query[None], K)[0][0].astype(int))
            seconds.append(time.perf_counter() - start_)
        recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(true, found, strict=True)]))
        size = (Path(folder) / "pool.index").stat().st_size / 2**20
    rows = [
        row(name, value, unit=unit_, n=n, command=COMMAND, seed=0, pictures=N, features=WIDTH)
        for name, value, unit_, n in (
            ("recall of the ten nearest, new queries", recall, "share", QUERIES),
            ("recall the index states", stated, "share", 200),
            ("time of a query, median", 1000 * float(np.median(seconds)), "ms", QUERIES),
            ("time of a query, 99 % quantile", 1000 * float(np.quantile(seconds, 0.99)), "ms", QUERIES),
            ("building, from a mapped file", built, "s", N),
            ("lists", n_lists, "lists", N), ("lists searched", n_probed, "lists", N),
            ("index on disk", size, "MiB", N), ("peak memory of the process, building included", peak(), "MiB", N),
        )
    ]  # fmt: skip
    for r in rows:
        print(f"{r['name']:48s} {r['value']:12.3f} {r['unit']}")
    write_json({"label": "retrieval", "rows": rows}, "benchmarks/results/retrieval.json")


if __name__ == "__main__":
    main()
