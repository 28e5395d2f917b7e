"""The table of reconstruction in the order of its papers."""

import json

import pytest

from neuroenc.figures.pictures import COLUMNS, picture_table
from neuroenc.figures.summary import reconstructed, retrieved

MADE = {"subject": "01", "command": "c", "seed": 0}


def judged(metric, value, condition, **about):
    return {"metric": metric, "value": value, "low": None, "high": None, "chance": None, "n": 5,
            "condition": condition, **about}  # fmt: skip


def rows():
    found = []
    for condition, shift in (("brain", 0.0), ("true", 0.1), ("shuffled", -0.1)):
        found += [judged("pixcorr", 0.3 + shift, condition), judged("ssim", 0.4 + shift, condition)]
        for k, column in enumerate(COLUMNS[2:]):
            about = {"network": f"judge{k}", "judge": column.network, "layer": column.layer}
            for metric in ("two_way_images", "two_way_reconstructions", "correlation_distance"):
                value = {"two_way_images": 0.5, "two_way_reconstructions": 0.6}.get(metric, 0.7)
                found.append(judged(metric, value + k / 100 + shift, condition, **about))
    score = {"value": 0.2, "low": 0.1, "high": 0.3, "chance": 0.01, "shuffled": 0.02}
    whole = {
        m: score | {"value": v} for m, v in (("brain_to_image_top1", 0.2), ("image_to_brain_top1", 0.25))
    }
    among = {m: s | {"value": s["value"] + 0.3} for m, s in whole.items()}
    by = {"by": "dec-ridge_feat-eye", "drawn": True}
    return reconstructed(found, MADE) + retrieved(
        {"n_way": 1000, "scores": whole, "among": 300, "scores_among": among}, MADE | by
    )


def test_columns_stand_in_the_order_of_the_papers_under_the_direction_their_code_computes():
    lines = picture_table(rows())
    heads = next(line for line in lines if "PixCorr" in line).split()
    assert heads == ["subject", "pictures", "PixCorr", "SSIM", "Alex(2)", "Alex(5)", "Incep", "CLIP", "Eff", "SwAV",
                     "Image", "Brain"]  # fmt: skip
    brain = [line.split()[2:] for line in lines if " brain " in f"{line} " and line.startswith("      01")]
    assert brain[0] == [
        "0.300",
        "0.400",
        "0.500",
        "0.510",
        "0.520",
        "0.530",
        "0.740",
        "0.750",
        "0.550",
        "0.500",
    ]
    assert brain[1][2:6] == ["0.600", "0.610", "0.620", "0.630"]
    order = [line.split()[1] for line in lines if line.startswith("      01")]
    assert order == ["shuffled", "brain", "true"] * 2
    assert any("image_to_brain under Image" in line and "top-1 of 300" in line for line in lines)
    assert any("torchvision/alexnet features.11" in line for line in lines)


def test_a_judge_of_ones_own_stands_behind_and_what_was_not_measured_is_a_dash():
    few = [judged("pixcorr", 0.3, "brain"), judged("ssim", 0.4, "brain")]
    few.append(judged("two_way_images", 0.9, "brain", network="gabor", judge="gabor/", layer="energy"))
    lines = picture_table(reconstructed(few, MADE))
    line = next(line for line in lines if line.startswith("      01 brain"))
    assert line.split()[2:] == ["0.300", "0.400", *["–"] * 6, "0.900", "–", "–"]
    assert picture_table([]) == []


def test_the_command_prints_it(tmp_path, run):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({"label": "x", "rows": rows()}))
    status, out, _ = run("results", "pictures", str(path))
    assert status == 0 and "Alex(2)" in out
    path.write_text(json.dumps({"label": "x", "rows": []}))
    status, _, err = run("results", "pictures", str(path))
    assert status == 2 and "no reconstructed pictures" in err
    for command in ("pictures", "show"):
        for found in (3, ["a"], [{"subject": "01"}]):
            path.write_text(json.dumps({"label": "x", "rows": found}))
            status, _, err = run("results", command, str(path))
            assert status == 2 and "Was it written by another command?" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "network", ["alexnet", "inception-v3", "efficientnet-b1", "swav-resnet50", "clip-vitl14"]
)
def test_layers_of_the_columns_are_layers_of_the_networks(network):
    from neuroenc.features.registry import ENTRIES

    entry = ENTRIES[network]
    asked = {c.layer for c in COLUMNS if c.network == f"{entry.extractor}/{entry.network}"}
    assert asked and asked <= set(entry.layers)
