import json

import pytest
import yaml

from neuroenc.config import Config, Model, Simulation, load_config, parse, schema
from neuroenc.errors import InputError
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["config", "v4", "haxby"])
def test_shipped_configurations_are_valid(name):
    load_config(ROOT / f"config/{name}.yaml")


def test_schema_on_disk_is_the_model():
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == schema()


def test_every_key_is_explained():
    text = (ROOT / "config/README.md").read_text()
    for section in json.loads(schema())["$defs"].values():
        for key in section["properties"]:
            assert f"`{key}`" in text, key


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


def test_sections_of_one_kind_know_their_own_keys():
    with pytest.raises(InputError, match="did you mean 'layers'"):
        parse(Model, {"extractor": "timm", "layres": []})
    assert parse(Simulation, {}).trials_per_session == 250
