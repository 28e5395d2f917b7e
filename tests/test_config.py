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


def test_sections_of_one_kind_know_their_own_keys():
    with pytest.raises(InputError, match="did you mean 'layers'"):
        parse(Model, {"extractor": "timm", "layres": []})
    assert parse(Simulation, {}).trials_per_session == 250
