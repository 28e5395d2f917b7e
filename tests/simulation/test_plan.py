import json

import numpy as np
import pytest

from neuroenc.config import Plan, parse
from neuroenc.errors import InputError
from neuroenc.evaluation.ceilings import noise_ceiling
from neuroenc.simulation.plan import make_plan, simulate_experiment
from tests.conftest import ROOT

SURE = {"ncsnr_spread": 0, "silent": 0, "shared_noise": 0, "experiments": 5, "voxels": 60, "seed": 1}


def rows(**design):
    found = make_plan(Plan(**SURE | design), curves=False)["rows"]
    return {r["metric"]: r for r in found}


@pytest.mark.parametrize(("ncsnr", "repeats"), [(0.4, 3), (1.0, 2)])
def test_many_pictures_and_true_features_reach_the_ceiling_of_the_formula(ncsnr, repeats):
    found = rows(pictures=3000, repeats=repeats, ncsnr=ncsnr, features=8, explained=1, test_pictures=400)
    ceiling = np.sqrt(noise_ceiling(ncsnr, repeats))
    assert found["ceiling"]["mean"] == pytest.approx(ceiling, abs=0.02)
    assert found["r"]["mean"] == pytest.approx(ceiling, abs=0.02)
    assert found["normalised_r"]["mean"] == pytest.approx(1, abs=0.04)
    assert found["significant"]["mean"] == 1
    assert found["r"]["low"] <= found["r"]["mean"] <= found["r"]["high"]


def test_a_share_of_the_signal_gives_its_root_of_the_ceiling():
    found = rows(pictures=3000, ncsnr=1.0, features=8, explained=0.5, test_pictures=400)
    assert found["r"]["mean"] == pytest.approx(np.sqrt(0.5 * noise_ceiling(1.0, 3)), abs=0.02)
    assert found["normalised_r"]["mean"] == pytest.approx(np.sqrt(0.5), abs=0.03)


def test_few_pictures_cost_what_the_theory_of_least_squares_says():
    # features of equal use and little noise: of n pictures and p features, the error of prediction is that of the
    # noise times p / (n - p - 1)
    n, p, ncsnr = 60, 20, 3.0
    found = rows(
        pictures=n, features=p, ncsnr=ncsnr, explained=1, test_pictures=400, repeats=1, experiments=10
    )
    error = p / (n - p - 1)
    wanted = ncsnr / np.sqrt(ncsnr**2 + error) * ncsnr / np.sqrt(ncsnr**2 + 1)
    assert found["r"]["mean"] == pytest.approx(wanted, abs=0.02)
    assert found["ceiling"]["mean"] is None  # one repeat says nothing of the noise


def test_without_signal_little_is_found_and_retrieval_is_chance():
    found = rows(explained=0, pictures=200, test_pictures=40, experiments=20, features=20)
    assert found["significant"]["mean"] < 0.02
    assert abs(found["r"]["mean"]) < 0.02
    assert found["top1"]["mean"] < 3 / 40


def test_what_two_runs_of_one_seed_say_is_the_same():
    design = Plan(**SURE | {"pictures": 50, "test_pictures": 20})
    a, b = (simulate_experiment(design, np.random.default_rng(4)) for _ in range(2))
    assert a == b


def test_the_design_of_the_demo_has_the_ceilings_of_the_demo():
    found = json.loads((ROOT / "benchmarks/results/demo.json").read_text())["rows"]
    ceilings = {
        r["region"]: (r["n"], r["ceiling"]) for r in found
        if r["name"] == "mean test r" and r.get("region") and r["subject"] == "01" and r["model"] == "gabor"
    }  # fmt: skip
    del ceilings["all"]  # voxels in no area are silent in a share of their own
    n, mean = np.array(list(ceilings.values())).T
    asked = {
        "pictures": 40,
        "repeats": 3,
        "train_repeats": 1,
        "test_pictures": 120,
        "features": 5,
        "ncsnr": 0.5,
    }
    planned = rows(**asked | {"voxels": int(n.sum()), "ncsnr_spread": 0.35, "silent": 0.2, "experiments": 8})
    row = planned["ceiling"]
    assert row["low"] < (n @ mean) / n.sum() < row["high"]


def test_from_the_command_line_to_a_figure(run, tmp_path):
    small = ["--pictures", 60, "--test-pictures", 20, "--voxels", 20, "--features", 5, "--experiments", 3,
             "--n-permutations", 100, "--repeats", 2]  # fmt: skip
    for ending, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        figure = tmp_path / f"p.{ending}"
        status, out, said = run("plan", *small, "--out", tmp_path / "p.json", "--figure", figure)
        assert status == 0, said
        assert figure.read_bytes().startswith(start)
    assert out.splitlines()[0].startswith("60 training and 20 test pictures, 2 repeats, 20 voxels")
    assert [line.split()[0] for line in out.splitlines()[2:]] == [
        "r", "normalised_r", "ceiling", "significant", "top1"
    ]  # fmt: skip
    curves = json.loads((tmp_path / "p.json").read_text())["curves"]
    points = {(r["curve"], r["x"], r["pictures"]) for r in curves}
    assert {("pictures", 120, 120), ("repeats", 4, 60), ("trials", 1, 120), ("trials", 4, 30)} <= points


def test_bad_designs_are_one_line(run, tmp_path):
    for words, message in (
        (["--ncsnr", "-1"], "ncsnr"), (["--silent", "1"], "silent"), (["--pictures", "3"], "pictures"),
        (["--explained", "nan"], "explained"), (["--repeats", "0"], "repeats"),
    ):  # fmt: skip
        status, _, said = run("plan", *words, "--out", tmp_path / "p.json")
        assert status == 2 and message in said and said.count("\n") == 1, said
    figure = tmp_path / "p.gif"
    status, _, said = run("plan", "--out", tmp_path / "p.json", "--figure", figure)
    assert status == 2 and "'.gif'" in said and said.count("\n") == 1, said
    assert not (tmp_path / "p.json").exists()
    with pytest.raises(InputError, match="'voxels'"):
        parse(Plan, {"voxels": 0})
