"""Distances of surfaces against what is known of planes, balls and cubes, and scores against their bounds."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.distance import cdist

from neuroenc.arrays import make_stimuli
from neuroenc.errors import InputError
from neuroenc.evaluation import shapes
from neuroenc.evaluation.statistics import mean_limits, resample
from neuroenc.meshes import Mesh, areas, turned
from neuroenc.simulation import solids

FEW = {"n_points": 800, "n_bootstraps": 100}


def square(height: float) -> Mesh:
    vertices = np.array([[0, 0, height], [1, 0, height], [1, 1, height], [0, 1, height]], float)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.zeros((4, 3), np.uint8))


def ball(radius: float, centre=(0, 0, 0)) -> Mesh:
    made = trimesh.creation.icosphere(4).apply_scale(radius).apply_translation(centre)
    return Mesh(
        np.asarray(made.vertices), np.asarray(made.faces), np.zeros((len(made.vertices), 3), np.uint8)
    )


def test_chamfer_and_f_score_of_what_is_known():
    low, high = (shapes.sample_surface(square(z), 20_000, s) for z, s in ((0, 0), (0.2, 1)))
    assert shapes.chamfer(low, high) == pytest.approx(0.2, rel=0.01)
    assert shapes.f_score(low, high, 0.19) == 0
    assert shapes.f_score(low, high, 0.21) > 0.99
    inner, outer = shapes.sample_surface(ball(1), 20_000), shapes.sample_surface(ball(1.3), 20_000, 1)
    assert shapes.chamfer(inner, outer) == pytest.approx(0.3, rel=0.02)
    # a half of one surface: all of it is right, half of the truth is found; F = 2 * 1 * 1/2 / (3/2)
    wide = np.concatenate([low, low + np.array([5, 0, 0])])
    assert shapes.f_score(low, wide, 0.05) == pytest.approx(2 / 3, abs=0.01)


def test_chamfer_and_f_score_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(70, 3)), rng.normal(size=(50, 3))
    d = cdist(a, b)
    assert shapes.chamfer(a, b) == pytest.approx((d.min(1).mean() + d.min(0).mean()) / 2)
    assert shapes.chamfer(a, b) == pytest.approx(shapes.chamfer(b, a))
    p, r = (d.min(1) <= 0.5).mean(), (d.min(0) <= 0.5).mean()
    assert shapes.f_score(a, b, 0.5) == pytest.approx(2 * p * r / (p + r))
    assert shapes.f_score(a, b + 99, 0.5) == 0


def test_points_lie_on_the_surface_in_proportion_to_its_area():
    mesh = solids.make("house", 1)
    points = shapes.sample_surface(mesh, 3000)
    opened = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    surface, _ = trimesh.sample.sample_surface_even(opened, 20_000, seed=0)
    assert cdist(points, surface).min(1).max() < 0.1
    box = solids.box((0, 0, 0), (1, 1, 4), (0, 0, 0))
    on_top = (shapes.sample_surface(box, 40_000)[:, 2] > 4 - 1e-9).mean()
    assert on_top == pytest.approx(1 / areas(box).sum(), abs=0.005)


def test_a_normalised_ball_has_diameter_1_and_a_cube_its_side():
    found = shapes.normalised(ball(7, (3, 2, 1)))
    np.testing.assert_allclose(np.linalg.norm(found.vertices, axis=1), 0.5, rtol=2e-3)
    side = np.ptp(shapes.normalised(solids.box((5, 5, 5), (8, 8, 8), (0, 0, 0))).vertices, axis=0)
    np.testing.assert_allclose(side, 0.5 / np.sqrt(1 / 4 + 1 / 6))  # mean square of a face: 1/4 + 2/12
    points = shapes.sample_surface(shapes.normalised(solids.make("chair", 0)), 100_000)
    np.testing.assert_allclose(points.mean(0), 0, atol=0.005)
    assert np.sqrt((points**2).sum(1).mean()) == pytest.approx(0.5, rel=0.005)


def test_place_size_and_turn_say_nothing_unless_told():
    mesh = solids.make("car", 1)
    moved = turned(mesh, 1.234)
    moved = moved._replace(vertices=moved.vertices * 3 + 5)
    true = shapes.surface(mesh, seed=1)
    found = shapes.fit(shapes.surface(moved), true)
    floor = shapes.floor(mesh)
    assert found.chamfer < 1.2 * floor.chamfer
    assert np.cos(found.angle + 1.234) == pytest.approx(1, abs=0.01)
    still = shapes.fit(shapes.surface(moved), true, align=False)
    assert still.chamfer > 3 * floor.chamfer
    assert still.angle == 0
    assert found.f_score > 0.95 > still.f_score
    upside_down = mesh._replace(vertices=mesh.vertices * (1, -1, -1))
    assert shapes.fit(shapes.surface(upside_down), true).chamfer > 1.5 * floor.chamfer


def test_others_are_of_another_object():
    objects = ["a", "b", "a", "c", "a"]
    for one, wrong in zip(objects, shapes.others(objects, n_others=9), strict=True):
        assert sorted({objects[j] for j in wrong}) == sorted(set(objects) - {one})
    assert all(len(w) == 1 for w in shapes.others(objects, n_others=1))
    with pytest.raises(InputError, match="against one object"):
        shapes.others(["a", "a"])


def test_the_right_mesh_is_near_and_the_dealt_ones_are_at_chance():
    kinds = list(solids.SOLIDS)
    true = [solids.make(k, 1) for k in kinds]
    right = [solids.make(k, 2) for k in kinds]
    dealt = [right[i] for i in np.random.default_rng(0).permutation(len(kinds))]
    wrong = shapes.others(kinds, n_others=4)
    rows = shapes.score_geometry({"right": right, "dealt": dealt}, true, wrong, **FEW)
    found = {(r["metric"], r["condition"]): r for r in rows}
    near, far, same = (found["chamfer", c] for c in ("right", "dealt", "same"))
    assert same["value"] < near["value"] < 0.5 * near["shuffled"]
    assert near["two_way_low"] > 0.8 > 0.5
    assert far["two_way_low"] < 0.5 < far["two_way_high"]
    assert found["f_score", "right"]["value"] > 2 * found["f_score", "right"]["shuffled"]
    assert found["f_score", "right"]["two_way"] > 0.8
    assert same["two_way"] == 1
    # another order of stimuli gives each the same
    turn = [5, 0, 3, 4, 1, 2, *range(6, 12)]
    back = np.argsort(turn)
    again = shapes.score_geometry(
        {"right": [right[i] for i in turn]}, [true[i] for i in turn], [back[wrong[i]] for i in turn], **FEW
    )
    np.testing.assert_allclose(np.array(again[0]["each"])[back], near["each"], atol=1e-5)


def test_views_are_compared_at_the_turn_they_agree_at():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(6, 4, 10))
    made = np.roll(true, 1, axis=1) + 0.1 * rng.normal(size=true.shape)
    wrong = shapes.others(list("abcdef"))
    rows = shapes.score_views({"brain": made}, true, true.mean(1), wrong, n_bootstraps=100)
    found = {(r["metric"], r["condition"]): r for r in rows}
    assert found["views", "brain"]["value"] > 0.95
    assert found["views", "brain"]["two_way"] == found["picture", "brain"]["two_way"] == 1
    assert found["views", "same"]["value"] == pytest.approx(1)
    still = shapes.score_views({"brain": made}, true, true.mean(1), wrong, align=False, n_bootstraps=100)
    assert {r["metric"]: r for r in still if r["condition"] == "brain"}["views"]["value"] < 0.6
    length = np.linalg.norm(made, axis=2) * np.linalg.norm(true.mean(1), axis=1)[:, None]
    expected = ((made * true.mean(1)[:, None]).sum(2) / length).mean()
    assert found["picture", "brain"]["value"] == pytest.approx(expected)
    no_truth = shapes.score_views({"brain": made}, None, true.mean(1), wrong, n_bootstraps=100)
    assert [r["metric"] for r in no_truth] == ["picture"]
    # ties are worth a half: all alike are at chance
    alike = shapes.score_views(
        {"brain": np.ones((6, 4, 10))}, None, np.ones((6, 10)), wrong, n_bootstraps=100
    )
    assert alike[0]["two_way"] == 0.5


def test_stimuli_of_one_object_or_group_are_drawn_together():
    """Of five objects in eight views each, a mean varies as that of five values."""
    objects, group = np.repeat(list("abcde"), 8), np.array([f"g{i}" for i in range(40)])
    ids = np.array([f"s{i:02d}" for i in range(40)])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "split": np.full(40, "test"), "group": group, "pixel_index": np.arange(40)},
        attrs={"dataset": "x", "pixels": "not distributed"},
    )  # fmt: skip
    about = {"n_bootstraps": 4000, "seed": 1}
    values = np.repeat([0.1, 0.5, 0.2, 0.9, 0.4], 8)
    samples = shapes.drawn(stimuli, ids, objects, np.zeros(40), **about)
    assert all((samples.weight[:, samples.unit[objects == o]].std(1) == 0).all() for o in "abcde")
    low, high = mean_limits(values, samples)
    alone = np.diff(mean_limits(values, shapes._singly(40, **about)))[0]
    assert high - low == pytest.approx(2 * 2.776 * values[::8].std(ddof=1) / 5**0.5, rel=0.1)
    assert high - low > 2 * alone
    # groups join objects: a and b are one, and so are two units of five
    stimuli["group"].values[[0, 8]] = "g40"
    joined = shapes.drawn(stimuli, ids, objects, np.zeros(40), **about)
    assert len(np.unique(joined.unit)) == 4
    # of objects of their own groups alone are drawn together
    assert len(np.unique(shapes.drawn(stimuli, ids, ids, np.zeros(40)).unit)) == 39


def test_one_stimulus_has_no_interval():
    kinds = list(solids.SOLIDS)[:2]
    one, two = (solids.make(k, 1) for k in kinds)
    wrong = [np.array([1]), np.array([0])]
    stimulus = np.array(["a", "b"])
    samples = resample(stimulus, np.zeros(2), stretch=np.array(["x", "x"]))
    (row, *_) = shapes.score_geometry({"right": [one, two]}, [one, two], wrong, n_points=100, samples=samples)
    assert row["low"] is row["high"] is row["two_way_low"] is None and row["two_way"] == 1
