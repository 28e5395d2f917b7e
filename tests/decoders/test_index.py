import json
import os
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuroenc import config, splits
from neuroenc.arrays import CONTRACT, load, save, select_layers
from neuroenc.config import Split
from neuroenc.datasets.pool import load_pool
from neuroenc.decoders import Index
from neuroenc.decoders.decode import decode
from neuroenc.decoders.index import copies_of
from neuroenc.encoders.design import Design
from neuroenc.errors import ContractError, InputError
from tests.decoders.test_decode import arrays  # noqa: F401  a fixture

pytest.importorskip("faiss")
SAME = dict.fromkeys(CONTRACT, "x")


def pool(n=3000, width=32, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(60, width))
    return (centres[rng.integers(0, 60, n)] + 0.5 * rng.normal(size=(n, width))).astype("f4")


def truth(X, q, k):
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, X))
    return np.argsort(-(a @ b.T), axis=1)[:, :k], a @ b.T


def test_small_pools_are_exact(tmp_path):
    X, q = pool(), pool(20, seed=1)
    ids = [f"bild-ä{i}" for i in range(len(X))]
    index = Index.build(X, ids, SAME)
    assert index.recall == 1
    found, similarity = index.search(q, 5)
    rows, cosine = truth(X, q, 5)
    np.testing.assert_array_equal(found, np.array(ids)[rows])
    np.testing.assert_allclose(similarity, np.take_along_axis(cosine, rows, 1), atol=1e-5)
    index.save(tmp_path / "pool.index")
    again = Index.load(tmp_path / "pool.index")
    np.testing.assert_array_equal(again.search(q, 5)[0], found)
    assert again.contract == SAME


def test_large_pools_reach_the_recall_they_state(tmp_path):
    X = pool(20_400)
    X, q = X[:20_000], np.concatenate([X[20_000:20_200], (X[20_200:20_300] + X[20_300:]) / 2])
    index = Index.build(X, np.arange(len(X)).astype(str), SAME, exact_below=1000, recall=0.95)
    assert 0.95 <= index.recall <= 1 and index.engine.nprobe < index.engine.nlist
    index.save(tmp_path / "pool.index")
    again = Index.load(tmp_path / "pool.index")
    rows, _ = truth(X, q, 10)
    found = again.search(q, 10)[0].astype(int)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, found, strict=True)])
    assert recall > 0.93  # of queries that were not used to choose


def test_decoded_pictures_are_found_in_a_pool(arrays, tmp_path, run):  # noqa: F811
    responses, features, split = arrays
    found = decode(responses, features, split, config.RidgeDecoding(n_components=8))
    for name, dataset in (("e", found), ("f", features), ("s", split)):
        save(dataset, tmp_path / f"{name}.nc")
    whole, rest = tmp_path / "whole.index", tmp_path / "rest.index"
    for out, more in ((whole, ()), (rest, ("--without", tmp_path / "s.nc"))):
        status, text, err = run("decode", "index", "--features", tmp_path / "f.nc", "--out", out, *more)
        assert status == 0 and "recall of the ten nearest 1.000" in text, err
    assert json.loads(rest.with_suffix(".json").read_text())["n"] < 240
    ask = ("decode", "retrieve", "--embeddings", tmp_path / "e.nc", "--out", tmp_path / "t.csv", "--k", 3)
    status, _, err = run(*ask, "--index", whole)
    assert (
        status == 2
        and "of the pictures that were decoded, first" in err
        and not (tmp_path / "t.csv").exists()
    )
    status, _, err = run(*ask, "--index", whole, "--allow-test")
    assert status == 0, err
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["test_picture_in_pool"].all() and len(table) == 60 * 3
    assert (table["retrieved"] == table["stimulus_id"])[table["rank"] == 1].mean() > 0.3
    status, _, err = run(*ask, "--index", rest)
    assert status == 0 and not pd.read_csv(tmp_path / "t.csv")["test_picture_in_pool"].any(), err


def test_copies_of_tested_pictures_are_found_whatever_they_are_called(tmp_path):
    rng = np.random.default_rng(0)
    tested, pool = rng.normal(size=(7, 30)), rng.normal(size=(50, 30))
    pool[[3, 20]] = tested[[2, 6]] * 2.5 + 1e-4 * rng.normal(size=(2, 30))  # as JPEG, of another length
    names = np.array([f"{i}.jpg" for i in range(50)])
    assert np.flatnonzero(copies_of(tested, pool, names)).tolist() == [3, 20]
    assert not copies_of(np.empty((0, 30)), pool, names).any()
    pool[5, 0] = np.nan
    with pytest.raises(InputError, match=r"The embedding of '5.jpg' is not finite"):
        copies_of(tested, pool, names)


def test_a_folder_of_pictures_is_a_pool_without_the_tested_ones(tmp_path, run):
    rng = np.random.default_rng(0)
    shown, pool = tmp_path / "shown", tmp_path / "pool"
    (pool / "deep").mkdir(parents=True)
    shown.mkdir()
    pictures = [rng.integers(0, 255, (24, 24, 3), dtype=np.uint8) for _ in range(15)]
    for i, picture in enumerate(pictures[:6]):
        Image.fromarray(picture).save(shown / f"s{i}.png")
    for i, picture in enumerate(pictures[4:]):  # s4 and s5 under other names
        Image.fromarray(picture).save(pool / ("deep" if i % 2 else "") / f"{i}.PNG")
    (pool / ".hidden.png").write_bytes(b"")
    (pool / "notes.txt").write_text("no picture")
    for folder, out in ((shown, "s.nc"), (pool, "p.nc")):
        status, said, error = run("data", "pictures", "--folder", folder, "--out", tmp_path / out)
        assert status == 0, error
    assert said == "11 pictures\n"
    found = load(tmp_path / "p.nc", "stimuli")
    assert found["stimulus_id"].values.tolist()[:2] == ["0.PNG", "10.PNG"]
    assert sum(s.startswith("deep/") for s in found["stimulus_id"].values) == 5
    for name in "sp":
        status, _, error = run("features", "extract", f"--stimuli={tmp_path}/{name}.nc",
                               '--options={"extractor": "pixel"}', f"--out={tmp_path}/{name}_f.nc")  # fmt: skip
        assert status == 0, error
    stimuli = load(tmp_path / "s.nc", "stimuli")
    side = ["train", "train", "train", "test", "test", "test"]
    save(
        splits.make(stimuli.assign_coords(split=("stimulus", side)), Split(kind="dataset", n_inner=2)),
        tmp_path / "split.nc",
    )
    ask = [
        "decode",
        "index",
        f"--features={tmp_path}/p_f.nc",
        f"--out={tmp_path}/p.index",
        f"--shown={tmp_path}/s_f.nc",
    ]
    status, said, error = run(*ask, f"--without={tmp_path}/split.nc")
    assert (
        status == 0 and "2 pictures of the pool are tested ones" in said and "9 pictures, recall" in said
    ), error
    assert not {"0.PNG", "deep/1.PNG"} & set(Index.load(tmp_path / "p.index").ids)
    status, _, error = run(*ask)
    assert status == 2 and "--shown says what is tested by --without" in error
    few = load(tmp_path / "s_f.nc", "features").isel(stimulus=slice(0, 4))
    save(few, tmp_path / "few.nc")  # of two tested pictures it cannot be said whether the pool holds them
    status, _, error = run(*ask[:-1], f"--shown={tmp_path}/few.nc", f"--without={tmp_path}/split.nc")
    assert status == 2 and "2 of 3 stimuli have no features" in error and error.count("\n") == 1
    for more in ([], [f"--shown={tmp_path}/s_f.nc"]):
        tested = load(tmp_path / "s_f.nc", "features").isel(stimulus=slice(3, 6))
        save(tested, tmp_path / "tested.nc")
        alone = ["decode", "index", f"--features={tmp_path}/tested.nc", f"--out={tmp_path}/n.index", *more]
        status, _, error = run(*alone, f"--without={tmp_path}/split.nc")
        assert status == 2 and "All 3 pictures of the pool are tested" in error and error.count("\n") == 1
    assert not list(tmp_path.glob("n.*"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no picture"):
        load_pool(tmp_path / "empty")
    with pytest.raises(InputError, match=r"Folder not found: .*gone. Point `pools` at a folder"):
        load_pool(tmp_path / "gone")


def test_what_a_pool_cannot_hold_is_refused_and_what_is_hidden_is_left_out(tmp_path, monkeypatch):
    for name in ("a.png", ".thumbnails/a.png", "deep/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert load_pool(tmp_path)["stimulus_id"].values.tolist() == ["a.png", "deep/b.png"]
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"1 of 3 pictures .* or links to none, first 'c.png'"):
        load_pool(tmp_path)
    (tmp_path / "c.png").unlink()
    listed = os.scandir

    def refuses(place):
        if str(place).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", refuses)
    with pytest.raises(InputError, match=r"Cannot read .*deep: Permission denied"):
        load_pool(tmp_path)


def test_an_index_of_another_layer_is_refused(arrays):  # noqa: F811
    """Layers as wide as each other look alike but for their name."""
    responses, features, split = arrays
    found = decode(responses, features, split, config.RidgeDecoding(n_components=4, layers=["b"]))
    for layer, fits in (("b", True), ("a", False)):
        chosen = select_layers(features, [layer])
        index = Index.build(chosen["feature"].values, chosen["stimulus_id"].values, chosen.attrs)
        if fits:
            assert index.search_decoded(found, 0, allow_test=True)[0].shape == (60, 10)
        else:
            with pytest.raises(ContractError, match=r"'layer': found 'b'.*'a'"):
                index.search_decoded(found, 0, allow_test=True)


def test_mistakes_are_one_helpful_line(arrays, tmp_path):  # noqa: F811
    responses, features, split = arrays
    found = decode(responses, features, split, config.RidgeDecoding(n_components=8))
    X = pool(50)
    other = Index.build(X, np.arange(50).astype(str), SAME | {"model": "timm/other"})
    with pytest.raises(ContractError, match=r"'model': found 'toy'.*'timm/other'"):
        other.search_decoded(found, 0)
    with pytest.raises(InputError, match="Embeddings of 31 features, the index holds 32"):
        other.search(X[:, 1:])
    with pytest.raises(InputError, match="0 pictures are asked for"):
        other.search(X, 0)
    with pytest.raises(InputError, match="holds 50 pictures, fewer than the 60"):
        other.search(X, 60)
    with pytest.raises(InputError, match="50 embeddings, 49 ids"):
        Index.build(X, np.arange(49).astype(str), SAME)
    X[7] = np.nan
    with pytest.raises(InputError, match="embedding of '7' is not finite"):
        Index.build(X, np.arange(50).astype(str), SAME)
    other.save(tmp_path / "x.index")
    np.save(tmp_path / "x.npy", np.array(["a"]))
    with pytest.raises(InputError, match="50 pictures, 1 ids stand beside it"):
        Index.load(tmp_path / "x.index")
    (tmp_path / "x.index").write_bytes(b"nothing")
    with pytest.raises(InputError, match="Cannot read the index"):
        Index.load(tmp_path / "x.index")
    with pytest.raises(InputError, match="File not found"):
        Index.load(tmp_path / "y.index")


def test_a_search_of_few_lists_still_finds_k_pictures():
    """Lists that hold fewer than k pictures are not filled up with strangers."""
    X = pool(600)
    index = Index.build(X, np.arange(600).astype(str), SAME, exact_below=100)
    index.engine.nprobe = 1
    ids, similarity = index.search(X[:5], 599)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    exact = unit[:5] @ unit.T
    for i in range(5):
        assert len(set(ids[i])) == 599
        assert set(np.argsort(-exact[i])[:590].astype(str)) <= set(ids[i])
        np.testing.assert_allclose(similarity[i], exact[i][ids[i].astype(int)], atol=5e-3)
    with pytest.raises(InputError, match="not finite"):
        index.search(np.full((1, X.shape[1]), np.nan), 3)


def test_a_pool_in_a_file_is_indexed_in_blocks(tmp_path, monkeypatch):
    from neuroenc.decoders import index as index_module

    X = pool().astype("f2")
    np.save(tmp_path / "pool.npy", X)
    ids = np.arange(len(X)).astype(str)
    whole = Index.build(X, ids, SAME, exact_below=1000)
    monkeypatch.setattr(index_module, "BLOCK_BYTES", 4 * 32 * 700)
    mapped = Design(np.load(tmp_path / "pool.npy", "r"), rows=np.arange(len(X)))
    parts = Index.build(mapped, ids, SAME, exact_below=1000)
    assert parts.recall == pytest.approx(whole.recall, abs=2e-3)  # rounding, among pictures as near
    for one, other in zip(parts.search(X[:9], 5), whole.search(X[:9], 5), strict=True):
        np.testing.assert_array_equal(one, other)
    tracemalloc.start()
    Index.build(mapped, ids, SAME)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * X.nbytes  # less than one copy in single precision; faiss keeps its own
