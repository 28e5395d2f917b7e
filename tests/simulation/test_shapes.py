"""The simulated tree of objects, through the loader, a decoder, retrieval of meshes and their scores."""

import json

import numpy as np
import pandas as pd
import pytest

from neuroenc.arrays import load
from neuroenc.datasets.shapes import read_shapes, true_meshes
from neuroenc.decoders.shapes import nearest_meshes
from neuroenc.errors import InputError
from neuroenc.meshes import Mesh
from neuroenc.simulation import shapes as world

GABOR = '{"extractor": "gabor", "pooling": "grid:4"}'


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A small one: four kinds, six training and two test pictures of each."""
    root = tmp_path_factory.mktemp("objects") / "tree"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "SOLIDS", dict.fromkeys(["house", "bottle", "hammer", "pizza"]))
        patch.setattr(world, "N_TRAIN", 6)
        patch.setattr(world, "N_TEST", 2)
        world.simulate(root, 3)
    return root


@pytest.fixture
def decoded(tree, tmp_path, run):
    """Files of what the workflow makes before objects."""
    data = json.dumps({"name": "custom", "root": str(tree)})
    at = {
        k: tmp_path / f"{k}.nc" for k in ("stimuli", "responses", "split", "features", "embeddings", "null")
    }
    fit = ["decode", "fit", "--responses", at["responses"], "--features", at["features"], "--split", at["split"],
           "--options", '{"name": "ridge"}']  # fmt: skip
    for words in (
        ["data", "stimuli", "--options", data, "--subject", "01", "--out", at["stimuli"]],
        ["data", "responses", "--options", data, "--subject", "01", "--out", at["responses"]],
        ["split", "make", "--stimuli", at["stimuli"], "--options", '{"kind": "dataset"}', "--out", at["split"]],
        ["features", "extract", "--stimuli", at["stimuli"], "--options", GABOR, "--workers", 0, "--out", at["features"]],
        [*fit, "--out", at["embeddings"]], [*fit, "--shuffle", 0, "--out", at["null"]],
    ):  # fmt: skip
        status, _, err = run(*words)
        assert status == 0, err
    return at


def test_the_tree_says_which_mesh_each_picture_shows(tree):
    truth = pd.read_csv(tree / "truth.csv")
    assert len(truth) == 32
    assert set(true_meshes(tree / "meshes.csv")) == set(truth["stimulus_id"])
    assert all(p.is_file() for p in true_meshes(tree / "meshes.csv").values())


def test_the_right_mesh_is_near_and_that_of_a_shuffled_brain_far(tree, decoded, tmp_path, run):
    given = [f"--{k}={decoded[k]}" for k in ("embeddings", "null", "features", "split")]
    table = tree / "meshes.csv"
    status, out, err = run("decode", "nearest-shapes", *given, "--meshes", table, "--out", tmp_path / "made")
    assert status == 0, err
    assert "8 objects: brain, shuffled, true, random" in out
    of = pd.read_csv(tmp_path / "made" / "shapes.csv")
    brain = of[of["condition"] == "brain"]
    kind = brain["source"].str.extract(r"stimulus (\w+)-")[0]
    assert (kind.values == brain["stimulus_id"].str.split("-").str[0].values).mean() > 0.7
    tested = set(brain["stimulus_id"])
    assert not tested & set(of["source"].str.removeprefix("training stimulus "))
    stimuli = ["--stimuli", decoded["stimuli"], "--meshes", table]
    status, out, err = run(
        "evaluate", "shapes", "--shapes", tmp_path / "made", *stimuli, "--out", tmp_path / "s.json"
    )
    assert status == 0, err
    rows = {(r["metric"], r["condition"]): r for r in json.loads((tmp_path / "s.json").read_text())["rows"]}
    near = rows["chamfer", "brain"]
    assert rows["chamfer", "same"]["value"] < near["value"] < 0.6 * near["shuffled"]
    assert near["value"] < 0.7 * rows["chamfer", "random"]["value"]
    assert near["two_way_low"] > 0.6
    assert rows["f_score", "brain"]["value"] > 1.3 * rows["f_score", "brain"]["shuffled"]
    assert "chamfer   brain" in out
    status, _, err = run("results", "shapes", "--shapes", tmp_path / "made", *stimuli, "--scores", tmp_path / "s.json",
                         "--out", tmp_path / "a.png")  # fmt: skip
    assert status == 0, err
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_training_pictures_without_a_mesh_are_not_retrieved(tree, decoded):
    arrays = [load(decoded["embeddings"], "embeddings"), load(decoded["null"], "embeddings"),
              load(decoded["features"], "features"), load(decoded["split"], "splits")]  # fmt: skip
    houses = {s: p for s, p in true_meshes(tree / "meshes.csv").items() if s.startswith("house")}
    found = nearest_meshes(*arrays, houses)
    assert all(s.startswith("training stimulus house") for of in found.source.values() for s in of)
    with pytest.raises(InputError, match="No training stimulus of fold 0 has a mesh"):
        nearest_meshes(*arrays, {"elsewhere": tree})
    # the rows of what was decoded are joined by name
    turned = [a.isel(presentation=slice(None, None, -1)) for a in arrays[:2]]
    again = nearest_meshes(*turned, *arrays[2:], houses)
    assert dict(zip(again.stimulus_id, again.source["brain"], strict=True)) == dict(
        zip(found.stimulus_id, found.source["brain"], strict=True)
    )


def test_a_folder_of_shapes_reads_its_meshes_where_they_are_asked_for(tree, decoded, tmp_path, run):
    given = [f"--{k}={decoded[k]}" for k in ("embeddings", "null", "features", "split")]
    run("decode", "nearest-shapes", *given, "--meshes", tree / "meshes.csv", "--out", tmp_path / "made")
    found = read_shapes(tmp_path / "made")
    assert isinstance(found.meshes["brain"][0], Mesh)
    assert len(np.unique(found.stimulus_id)) == 8
    status, _, err = run("evaluate", "shapes", "--shapes", tree, "--stimuli", decoded["stimuli"],
                         "--meshes", tree / "meshes.csv", "--out", tmp_path / "x.json")  # fmt: skip
    assert status == 2
    assert "shapes.csv" in err
    assert err.count("\n") == 1
