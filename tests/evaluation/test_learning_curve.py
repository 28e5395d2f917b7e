"""Learning curves: rows in order of size, over subjects a random effect, and refused where tests differ."""

import numpy as np
import pytest
import xarray as xr

from neuroenc.config import Evaluation, Ridge, Split
from neuroenc.encoders.encode import encode
from neuroenc.errors import ContractError
from neuroenc.evaluation import evaluate
from neuroenc.evaluation.effects import random_effects
from neuroenc.evaluation.learning_curve import Point, curve_rows
from neuroenc.figures.learning_curve import draw_learning_curve
from neuroenc.splits import make, shorten


def scores(r, n, n_tests=20):
    return xr.Dataset(
        {"region_r": (("region", "estimate"), [[r, r - 0.1, r + 0.1], [np.nan] * 3])},
        {"region_name": ("region", ["all", "V1"])},
        {"n_training_stimuli": n, "n_test_stimuli": n_tests},
    )


def test_rows_are_in_order_of_size_and_subjects_are_a_random_effect(tmp_path):
    points = [
        Point(subject, "ridge", size, scores(r, n))
        for subject, r, n, size in (
            ("01", 0.5, 100, ""), ("02", 0.4, 90, ""), ("01", 0.3, 50, "50"), ("02", 0.1, 50, "50"),
        )
    ]  # fmt: skip
    rows = curve_rows(points)
    over = [r for r in rows if r["subject"] == "all"]
    assert [(r["n_training_stimuli"], r["region"]) for r in over] == [(50, "all"), (95, "all")]
    expected = random_effects(np.array([0.3, 0.1]), np.full(2, (0.1 / 1.959964) ** 2))
    assert (over[0]["r"], over[0]["low"], over[0]["high"]) == pytest.approx(
        (expected.mean, *expected.interval)
    )
    assert [r["n_training_stimuli"] for r in rows] == sorted(r["n_training_stimuli"] for r in rows)
    draw_learning_curve(rows, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000
    with pytest.raises(ContractError, match="subject 01 were scored on 19 and 20 test stimuli"):
        curve_rows([*points, Point("01", "ridge", "20", scores(0.2, 20, 19))])


def test_scores_of_before_are_refused():
    old = scores(0.5, 10)
    del old.attrs["n_training_stimuli"]
    with pytest.raises(ContractError, match="scores of '01' hold no `n_training_stimuli`"):
        curve_rows([Point("01", "a", "", old)])


def test_ridge_on_more_pictures_comes_nearer_to_the_truth(toy):
    stimuli, features, responses = toy
    split = make(stimuli, Split(kind="kfold", n_folds=3, n_inner=3))
    points = []
    for size in ("15", "40", ""):
        used = shorten(split, responses, int(size)) if size else split
        predictions = encode(responses, features, used, Ridge(alphas=(-1, 4, 6)))[0]
        found = evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100))
        points.append(Point("01", "ridge", size, found))
    rows = [r for r in curve_rows(points[::-1]) if r["region"] == "all"]
    assert [r["n_training_stimuli"] for r in rows] == [15, 40, 80]
    assert rows[0]["r"] < rows[1]["r"] < rows[2]["r"]
