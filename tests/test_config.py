import json
import re

import pytest
import yaml

from benchmarks import defaults
from neuroenc.config import Config, Model, Simulation, load_config, parse, schema
from neuroenc.errors import InputError
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["config", "v4", "haxby"])
def test_shipped_configurations_are_valid(name):
    load_config(ROOT / f"config/{name}.yaml")


def test_schema_on_disk_is_the_model():
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == schema()


def test_every_key_stands_in_the_table_of_its_section_with_its_default():
    text = defaults.README.read_text()
    rows: dict[str, dict[str, str]] = {}
    heading = ""
    for line in text.splitlines():
        if found := re.match(r"#+ `?(\w+)", line):
            heading = found[1]
        cells = line.strip("| ").split(" | ")
        if line.startswith("| `"):
            assert len(cells) == 3, line
            rows.setdefault(heading, {}).update(dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[2]))
    for heading, sections in defaults.SECTIONS.items():
        assert set(rows[heading]) == {k for s in sections for k in s.model_fields}, heading
    listed = {s.__name__ for sections in defaults.SECTIONS.values() for s in sections}
    assert set(json.loads(schema())["$defs"]) <= listed
    assert rows["simulate"]["n_voxels"] == "2 / 2000" and rows["models"]["pooling"] == "`mean`"
    assert rows["encoders"]["alphas"].startswith("ridge, banded: -1, 6, 15; factorised: 0, 4, 5")
    assert defaults.fill(text) == text, "python benchmarks/defaults.py"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spilt": {}}, r"'spilt'.*did you mean 'split'\?"),
        ({"split": {"kin": "group"}}, r"'split.kin'.*did you mean 'split.kind'\?"),
        ({"models": {"a": {"extractor": "gabor", "layer": []}}}, r"'models.a.layer'.*'models.a.layers'\?"),
        (
            {"split": {"kind": "random"}},
            r"'split.kind'.*'random'.*'dataset', 'stimulus', 'group' or 'chronological'",
        ),
        ({"subjects": []}, "subjects"),
        ({"models": {"a_b": {"extractor": "gabor"}}}, "letters and digits"),
        ({"simulate": {"n_shared": 121}}, "do not divide into 6 sessions"),
    ],
)
def test_mistakes_are_one_line_with_the_nearest_name(change, message):
    data = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | change
    with pytest.raises(InputError, match=message) as caught:
        parse(Config, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"extractor": "tim", "network": "resnet18"}, r"'models.a.extractor': 'tim'.*did you mean 'timm'\?"),
        ({}, "'models.a'. name a `network`"),
        ({"extractor": "timm"}, "'models.a'. name a `network`"),
        ({"network": "nano", "weights": "random"}, r"'models.a.weights': 'random'. Expected random:<seed>"),
        ({"network": "nano", "weights": "random:-1"}, "Expected random:<seed>"),
        ({"network": "nano", "weights": "random:1e3"}, "Expected random:<seed>"),
        ({"network": "nano", "weights": f"random:{10**30}"}, "at most 18 digits"),
        ({"network": "nano", "weights": ""}, r"'models.a.weights': ''"),
        ({"network": "nano", "pooling": "maen"}, r"'models.a.pooling': 'maen'.*did you mean 'mean'\?"),
        ({"network": "nano", "pooling": "grid:99999999"}, r"'grid:99999999'. Allowed: .*'grid:999'"),
        ({"network": "nano", "pooling": "grid:0"}, r"'models.a.pooling': 'grid:0'"),
        ({"network": "nano", "projection": "pca"}, r"'models.a.projection': 'pca'. Expected 'sparse:<error>'"),
        ({"network": "nano", "projection": "sparse:1.5"}, "above 0 and below 1"),
        ({"network": "nano", "options": {"trust_remote_code": True}}, "'trust_remote_code' is not for `options`"),
        ({"network": "nano", "options": {"text_cfg": {"hf_model_name": "a/b"}}}, "'hf_model_name' is not for"),
        ({"network": "nano", "options": {"crop_pct": 1.2}}, "crop_pct is 1.2, expected a share"),
        ({"network": "nano", "input_size": 0}, "'models.a.input_size': 0"),
        ({"extractor": "timm", "network": "resnet18", "input_size": 96, "options": {"img_size": 96}},
         "say the same: leave one out"),
        ({"extractor": "transformers", "network": "bert", "weights": "w.bin"}, "leave `weights` out"),
        ({"extractor": "gabor", "tag": "in1k"}, "`tag` is for timm, torchvision and open_clip, not for gabor"),
    ],
)  # fmt: skip
def test_mistakes_in_a_model_are_found_before_anything_runs(model, message):
    data = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"models": {"a": model}}
    with pytest.raises(InputError, match=message) as caught:
        parse(Config, data)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_found_before_anything_runs(run, tmp_path):
    data = {
        "label": "a",
        "dataset": {"name": "v4"},
        "subjects": ["1"],
        "models": {"a": {"network": "resnet5"}},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
    status, _, err = run("config", "check", str(tmp_path / "c.yaml"))
    assert status == 2 and err.count("\n") == 1
    assert "Invalid value for 'models.a.network': 'resnet5'" in err and "did you mean 'resnet50'" in err
    for model, message in (
        ({"extractor": "timm", "network": "resnet5"}, "'network': 'resnet5'"),
        ({"extractor": "timm", "network": "resnet50.a1_in1k"}, "Give network 'resnet50' and tag 'a1_in1k'"),
        (
            {"extractor": "torchvision", "network": "resnet50", "tag": "V1"},
            "'tag': 'V1'. Allowed: 'IMAGENET1K_V1'",
        ),
        ({"network": "bert-base", "tag": "x"}, "'tag' is for networks of timm"),
        ({"network": "bert-base", "weights": "w.bin"}, "'bert-base' reads its fetched weights"),
        ({"network": "resnet50", "tag": "IMAGENET1K_V3"}, "'tag': 'IMAGENET1K_V3'. Allowed: 'IMAGENET1K_V1'"),
        ({"extractor": "torchvision", "network": "resnet50", "tag": "IMAGENET1K_V1"}, ""),
    ):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data | {"models": {"a": model}}))
        status, _, err = run("config", "check", str(tmp_path / "c.yaml"))
        assert (status == 2 and message in err and err.count("\n") == 1) if message else status == 0


def test_sections_of_one_kind_know_their_own_keys():
    with pytest.raises(InputError, match="did you mean 'layers'"):
        parse(Model, {"extractor": "timm", "layres": []})
    assert parse(Simulation, {}).trials_per_session == 250
