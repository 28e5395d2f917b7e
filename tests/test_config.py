import json
import re

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from benchmarks import defaults
from neuroenc import config
from neuroenc.arrays import CONTRACT
from neuroenc.checks import check
from neuroenc.config import Config, JointStudy, Model, Simulation, load_config, parse, schema
from neuroenc.errors import InputError
from neuroenc.features import registry
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["config", "v4", "haxby"])
def test_shipped_configurations_are_valid(name):
    load_config(ROOT / f"config/{name}.yaml")


@pytest.mark.parametrize(("name", "section"), [("config", Config), ("joint", JointStudy)])
def test_schema_on_disk_is_the_model(name, section):
    assert (ROOT / f"workflow/schemas/{name}.schema.json").read_text() == schema(section)


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
    assert rows["encoders"]["alphas"].startswith(
        "ridge, banded, random_attention: -1, 6, 15; factorised: 0, 4, 5"
    )
    assert defaults.fill(text) == text, "python benchmarks/defaults.py"


def test_captioners_of_a_model_are_accepted_trained_here_or_elsewhere(tmp_path):
    said = {"model": "gabor", "generate": True, "captioner": "own"}
    own = {"captioners": {"own": {"model": "gabor"}}, "captions": said}
    check(parse(Config, SMALL | own))
    with pytest.raises(InputError, match=r"captioners.own.model: no model 'gabr'.*'gabor'"):
        parse(Config, SMALL | {"captioners": {"own": {"model": "gabr"}}})
    with pytest.raises(InputError, match="'words' is untrained"):
        parse(
            Config, SMALL | {"captioners": {"own": {"model": "gabor", "language": "words", "frozen": True}}}
        )
    for key, unused in (
        ("captions", {"model": "nano"}),
        ("reconstruction", {"decoder": "ridge", "model": "nano"}),
    ):
        with pytest.raises(InputError, match="Set it, or leave it out"):
            parse(Config, SMALL | {key: unused | {"captioner": "own"}})
    contract = dict.fromkeys(CONTRACT, "x") | {"model": "open_clip/nano", "layer": "a"}
    about = {"contract": contract, "n_features": 2, "options": {}, "pictures": [], "sha256": {}}
    (tmp_path / "captioner.json").write_text(json.dumps(about))
    folder = {"model": "nano", "generate": True, "captioner": str(tmp_path)}
    check(parse(Config, SMALL | {"captions": folder | {"layer": "a"}}))
    with pytest.raises(InputError, match="takes embeddings whose layer is 'a'; of 'nano' it is 'b'"):
        check(parse(Config, SMALL | {"captions": folder | {"layer": "b"}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spilt": {}}, r"'spilt'.*did you mean 'split'\?"),
        ({"split": {"kin": "group"}}, r"'split.kin'.*did you mean 'split.kind'\?"),
        ({"models": {"a": {"extractor": "gabor", "layer": []}}}, r"'models.a.layer'.*'models.a.layers'\?"),
        (
            {"split": {"kind": "random"}},
            r"'split.kind'.*'random'.*'dataset', 'stimulus', 'kfold', .* 'distant' or 'category'",
        ),
        ({"subjects": []}, "subjects"),
        ({"split": {"kind": "kfold", "n_folds": True}}, "'split'.* n_folds: true is no number"),
        ({"evaluation": {"n_bootstraps": False}}, "n_bootstraps: false is no number. Give one, or leave"),
        ({"models": {"a_b": {"extractor": "gabor"}}}, "letters and digits"),
        ({"simulate": {"n_shared": 121}}, "do not divide into 6 sessions"),
        (
            {"models": {"a": {"extractor": "gabor", "misalign": 3}}},
            r"misalign is 3 s, expected more than split",
        ),
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


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"name": "ridge", "alphas": [0, 7, -1]}, r"'encoders.a.*alphas.*-1"),
        ({"name": "ridge", "alphas": [3, 1, 4]}, "smallest alpha comes first"),
        ({"name": "ridge", "alphas": [0, 99, 4]}, "alphas.*99"),
        ({"name": "gaussian", "sizes": []}, "sizes"),
        ({"name": "gaussian", "sizes": [0.1, 0]}, r"sizes.*: 0"),
        ({"name": "gaussian", "n_positions": 100_000}, "n_positions.*100000"),
    ],
)
def test_options_no_fit_can_use_are_refused(encoder, message):
    data = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"encoders": {"a": encoder}}
    with pytest.raises(InputError, match=message) as caught:
        parse(Config, data)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_found_before_anything_runs(run, tmp_path):
    data = {
        "label": "a",
        "dataset": {"name": "v4"},
        "split": {"kind": "stimulus"},
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


SMALL = {
    "label": "small", "dataset": {"name": "nsd"}, "subjects": ["01"],
    "models": {"nano": {"network": "nano", "layers": ["visual"]}, "gabor": {"extractor": "gabor"},
               "table": {"extractor": "category"}},
    "encoders": {"ridge": {"models": ["nano", "gabor", "table"]}},
}  # fmt: skip
DRAWN = {
    "decoders": {"ridge": {"models": ["nano", "gabor"]}},
    "reconstruction": {"decoder": "ridge", "model": "nano"},
}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"decoder": "ridge", "model": "gabor"}, "nothing to score by"),
        ({"meshes": "m.csv"}, None),  # of what `reconstruction` decodes
        ({"meshes": "m.csv", "decoder": "rigde"}, r"shapes.decoder: no 'rigde'.*did you mean 'ridge'"),
        ({"meshes": "m.csv", "model": "table"}, "shapes.model: 'ridge' does not decode 'table'"),
        ({"generator": "shap_e"}, "nothing to score by"),
        ({"generator": "shap_e", "judge": "nano"}, None),
        ({"generator": "shap_e", "judge": "eye"}, "shapes.judge: no 'eye'"),
        ({"generator": "shap_e", "judge": "nano", "decoder": "ridge"}, "neither a decoder nor a model"),
    ],
)  # fmt: skip
def test_what_objects_are_made_of(shapes, words):
    asked = SMALL | DRAWN | {"shapes": shapes}
    if words is None:
        parse(Config, asked)
        del asked["reconstruction"]
        words = "shapes"  # without it the decoder, or the pictures, are lacking
    with pytest.raises(InputError, match=words):
        parse(Config, asked)


NETWORKS = {
    "subjects": ["01", "02"], "models": {"nano": {"network": "nano", "layers": ["visual"]}},
    "encoders": {"ridge": {}},
    "decoders": {"ridge": {}, "network": {}, "hour": {"name": "ridge", "sessions": 1}},
    "transfer": {"network": "network", "ridge": "ridge", "model": "nano", "sessions": [1]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({"name": "network", "subjects": ["01", "03"]}, r"decoders.a.subjects: no subject '03'"),
        ({"name": "network", "subjects": ["01"]}, "decoders.a.subjects: 01, expected two subjects or more"),
        ({"name": "network", "subjects": ["01", "01"]}, "01, 01, expected two subjects or more, each once"),
        ({"name": "ridge", "subjects": "all"}, "subjects"),
        ({"name": "network", "subjects": "all", "prior": {}}, "a network of several subjects has none"),
        ({"name": "ridge", "sessions": 0}, "sessions.*0"),
        ({"name": "ridge", "augment": {"fit": "clip"}}, "decoders.a.augment.fit: no fit 'clip'"),
        ({"name": "ridge", "augment": {"fit": "nano", "share": 1}}, "share.*1"),
        ({"name": "ridge", "augment": {"fit": "nano"}, "sessions": 1}, "the encoder read all sessions"),
        ({"name": "network", "augment": {"fit": "nano"}, "repeats": "random"}, "needs `repeats: mean`"),
    ],
)
def test_decoders_over_people_that_cannot_be_are_refused(decoder, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(Config, SMALL | NETWORKS | {"decoders": NETWORKS["decoders"] | {"a": decoder}})
    assert "\n" not in str(caught.value)
    parse(Config, SMALL | NETWORKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "ridge"}, "transfer.network: no network 'ridge'"),
        ({"ridge": "network"}, "transfer.ridge: no ridge 'network'"),
        ({"model": "clip"}, "transfer.model: no model 'clip'"),
        ({"subjects": ["03"]}, "transfer.subjects: no subject '03'"),
        ({"sessions": []}, "sessions"),
        ({"sessions": [0]}, "sessions.*0"),
    ],
)
def test_transfers_that_cannot_be_are_refused(change, message):
    with pytest.raises(InputError, match="contributions: 'hour' has `sessions`"):
        parse(Config, SMALL | NETWORKS | {"contributions": {}})
    with pytest.raises(InputError, match=message) as caught:
        parse(Config, SMALL | NETWORKS | {"transfer": NETWORKS["transfer"] | change})
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="transfer: one subject"):
        parse(Config, SMALL | NETWORKS | {"subjects": ["01"]})


@pytest.mark.parametrize("value", ["sub-01", "S_1", "Müller", "a b", "", "a/b", "$(x)", "{x}"])
@pytest.mark.parametrize("key", ["subjects", "models", "encoders", "decoders"])
def test_names_the_workflow_cannot_use_are_refused(key, value):
    names = {"subjects": [value], "models": {value: {"extractor": "gabor"}}}
    with pytest.raises(InputError, match="Names are letters and digits") as caught:
        parse(Config, SMALL | {key: names.get(key, {value: {"name": "ridge"}})})
    assert repr(value) in str(caught.value) and "\n" not in str(caught.value)


def test_name_with_the_prefix_of_bids_is_told_without():
    with pytest.raises(InputError, match="write '01'"):
        parse(Config, SMALL | {"subjects": ["sub-01"]})


def test_workflow_takes_what_names_may_hold_from_the_schema():
    found = json.loads(schema())
    assert found["properties"]["subjects"]["items"]["pattern"] == "^[A-Za-z0-9]+$"
    for key in ("models", "encoders", "decoders"):
        assert list(found["properties"][key]["patternProperties"]) == ["^[A-Za-z0-9]+$"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": ["01", "01"]}, "subjects: '01' stands twice"),
        ({"subjects": ["01", "all"]}, "'all' is what all subjects together go by"),
        ({"models": {"Gabor": {"extractor": "gabor"}, "gabor": {"extractor": "gabor"}}}, "'Gabor' and 'gabor'"),
        ({"models": {"stack": {"extractor": "gabor"}}, "encoders": {"ridge": {}}, "stack": {}}, "'stack' is"),
        ({"dataset": {"name": "nsd", "root": "a{b}"}}, r"'dataset.root'.*'a\{b\}'.*with '\{'"),
        ({"dataset": {"name": "nsd", "root": ""}}, "'dataset.root'.*empty"),
    ],
)  # fmt: skip
def test_what_would_share_a_file_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        parse(Config, SMALL | change)


def test_braces_of_environment_variables_are_expanded(monkeypatch):
    monkeypatch.setenv("HERE", "/data")
    parse(Config, SMALL | {"dataset": {"name": "nsd", "root": "${HERE}/nsd"}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": ["03"]}, "'subjects': '03'. Allowed: '01', '02'"),
        ({"dataset": {"name": "nsd", "root": "x"}, "subjects": ["9"]}, "'subjects': '9'"),
        ({"dataset": {"name": "haxby"}, "subjects": ["1"]}, "'split.kind'.*names no test stimuli"),
        ({"dataset": {"name": "haxby"}, "split": {"kind": "group"}, "figures": {"surface": True}},
         "'figures.surface'.*'haxby'"),
        ({"dataset": {"name": "nsd", "root": "x", "atlas": "a.nii", "average": "parcel"}, "figures": {"volume": True}},
         "'figures.volume': True.*Averages by parcel"),
        ({"dataset": {"name": "nsd", "root": "x", "regions": {"atlas": "glasser-360", "masks": ["V1"]}}},
         r"'dataset'.*a list, or \{atlas: NAME\} alone; beside a list"),
        ({"dataset": {"name": "nsd", "root": "x", "regions": {"atlas": "a.nii"}, "atlas": "b.nii"}},
         r"'dataset'.*a list, or \{atlas: NAME\} alone; beside a list"),
        ({"dataset": {"name": "nsd", "root": "x", "regions": {"atlas": None}}},
         r"a list, or \{atlas: NAME\} alone"),
        ({"figures": {"electrodes": True}}, r"'figures.electrodes': True. The neuroids of 'nsd' have no places"),
        ({"dataset": {"name": "nsd", "root": "x", "regions": {"atlas": "glasser"}}},
         r"'dataset.atlas'.*did you mean 'glasser-360'"),
        ({"dataset": {"name": "nsd", "root": "x", "atlas": "glasser"}},
         r"'dataset.atlas'.*'schaefer-400', 'glasser-360' \(did you mean 'glasser-360'"),
        ({"encoders": {"attention": {"models": ["nano"]}}}, "'encoders.attention'.*'mean'.*models.nano.pooling"),
        ({"encoders": {"factorised": {"models": ["table"]}}}, "'encoders.factorised'.*is a table"),
        ({"encoders": {"gaussian": {"models": ["gabor"]}}}, "'encoders.gaussian'.*grid of tokens"),
        ({"encoders": {"sst": {"name": "semantic_transformer", "models": ["gabor"]}}},
         "'encoders.sst': 'semantic_transformer' needs features on a grid"),
        ({"models": {"px": {"extractor": "pixel", "pooling": "grid:20"}},
          "encoders": {"core": {"name": "response_core", "models": ["px"], "n_blocks": 4}}},
         r"'encoders.core.n_blocks': 4.*a multiple of 8, found 20 in models.px.pooling. Set 'grid:16'"),
        ({"models": SMALL["models"] | {"x": {"network": "clip-vitb23"}}}, "did you mean 'clip-vitb32'"),
        ({"captions": {"model": "gabor", "generate": True}}, "'captions.generate'.*takes 'open_clip/nano', the model 'gabor'.*captions.captioner"),
        ({"captioners": {"own": {"model": "gabor"}},
          "captions": {"model": "nano", "layer": "visual", "generate": True, "captioner": "own"}},
         "'captions.captioner': 'own' takes embeddings whose .* is '.*'; of 'nano' it is 'visual'"),
        ({"split": {"kind": "kfold", "n_folds": 5}, "captions": {"model": "nano"}},
         "'captions': split.kind 'kfold' tests each stimulus in some fold"),
        ({"captions": {"model": "gabor", "generate": True, "captioner": "nowhere"}},
         "File not found: nowhere. Train one: `neuroenc captioner train`"),
        ({"captions": {"model": "nano", "layer": "x", "generate": True}}, "'captions.generate'.*'visual' alone"),
        (DRAWN | {"reconstruction": {"decoder": "ridge", "model": "gabor"}}, "'reconstruction.generator'.*'gabor"),
        (DRAWN | {"reconstruction": DRAWN["reconstruction"] | {"generator": "unclip"}}, "expected 'open_clip/ViT-H-14'"),
        (DRAWN | {"models": SMALL["models"] | {"nano": {"network": "nano", "layers": ["visual"], "weights": "random:1"}}},
         "'random:1', expected trained"),
        (DRAWN | {"models": SMALL["models"] | {"nano": {
            "extractor": "open_clip", "network": "ViT-L-14-quickgelu", "tag": "metaclip_400m", "pooling": "tokens",
            "weights": "l14.pt", "layers": ["visual.ln_post"]}},
            "reconstruction": DRAWN["reconstruction"] | {"generator": "versatile"}},
         "has the weights 'metaclip_400m', expected 'openai'"),
        (DRAWN | {"models": SMALL["models"] | {"nano": {"network": "nano"}}}, "'visual' alone"),
        (DRAWN | {"reconstruction": DRAWN["reconstruction"] | {"judges": ["table"]}}, "reads no pictures"),
        (DRAWN | {"reconstruction": DRAWN["reconstruction"] | {"closed_loop": ["table"]}}, "'reconstruction.closed_loop'"),
        (DRAWN | {"decoders": DRAWN["decoders"] | {"low": {"name": "ridge", "models": ["gabor"]}},
                  "reconstruction": DRAWN["reconstruction"] | {"low_level": "low"}}, "'reconstruction.low_level'.*'pixel'"),
        ({"synthesis": {"model": "gabor", "regions": ["FFA"], "judge": "nano"}}, "'synthesis.model'.*'gabor"),
        ({"export": "table"}, "'export': the model 'table' reads no pictures"),
        ({"models": SMALL["models"] | {"own": {"extractor": "module", "module": "a:b"}}}, "NEUROENC_ALLOW_CODE=1"),
    ],
)  # fmt: skip
def test_what_cannot_finish_is_refused_before_it_starts(change, message):
    check(parse(Config, SMALL))
    with pytest.raises(InputError, match=message) as caught:
        check(parse(Config, SMALL | change))
    assert "\n" not in str(caught.value)


def test_generators_say_what_they_take():
    from neuroenc.decoders.pipelines import TAKES, Nano

    assert Nano().takes.items() >= TAKES["nano"].items()
    check(parse(Config, SMALL | DRAWN))


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "config").glob("*.yaml")))
def test_shipped_configurations_can_finish(name):
    check(load_config(ROOT / f"config/{name}.yaml"))


@pytest.mark.parametrize("device", ["gpu", "cuda:a", "CUDA", "cuda:", ""])
def test_unknown_devices_are_refused_wherever_one_can_be_named(device):
    for section in (config.Ridge, config.Gaussian, config.Attention, config.NetworkDecoding, config.Prior):
        assert section(device="cuda:1").device == "cuda:1"
        with pytest.raises(ValidationError, match="device"):
            section(device=device)


def test_folders_of_pools_are_asked_for_before_the_run(tmp_path):
    decoders = {"ridge": {"models": ["nano"]}}
    pools = {"outside": str(tmp_path)}
    check(parse(Config, SMALL | {"decoders": decoders, "pools": pools}), libraries=True)
    with pytest.raises(InputError, match=r"Folder not found: .*gone. Point `pools` at a folder"):
        gone = {"outside": str(tmp_path / "gone")}
        check(parse(Config, SMALL | {"decoders": decoders, "pools": gone}), libraries=True)
    with pytest.raises(InputError, match="pools: needs `decoders` of embeddings"):
        parse(Config, SMALL | {"pools": pools})
    with pytest.raises(InputError, match="There is none to choose from"):
        parse(Config, SMALL | {"decoders": decoders, "transfer": {"network": "net", "ridge": "ridge", "model": "nano",
                                                                  "sessions": [1]}})  # fmt: skip


def test_files_of_features_are_looked_at_where_they_are(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 4), "f4"))
    np.save(tmp_path / "t.npy", np.zeros((3, 4, 2), "f4"))

    def configured(name, **options):
        own = {"extractor": "file", "path": str(tmp_path / name)} | options
        encoders = {"ridge": {"models": ["own"]}, "factorised": {"models": ["own"]}}
        return parse(Config, SMALL | {"models": SMALL["models"] | {"own": own}, "encoders": encoders})

    check(configured("t.npy"), libraries=True)
    check(configured("elsewhere.npy"), libraries=True)
    with pytest.raises(InputError, match=r"'encoders.factorised'.*grid of tokens; the files of 'own' hold"):
        check(configured("x.npy"), libraries=True)
    with pytest.raises(InputError, match=r"'layer': 'deep'. Allowed: 't'"):
        check(configured("t.npy", layers=["deep"]), libraries=True)


def fused(encoders, **more):
    models = {"a": {"extractor": "gabor"}, "b": {"extractor": "pixel"}}
    sections = {"label": "x", "dataset": {"name": "nsd"}, "subjects": ["01"], "models": models}
    return parse(Config, sections | {"encoders": encoders} | more)


def test_an_encoder_reads_models_one_by_one_and_several_side_by_side():
    found = fused({
        "ridge": {"models": ["b", ["a", "b"]]}, "banded": {"models": [["b", "a"]]}, "pls": {},
    }).fits()  # fmt: skip
    assert found == {
        "b": ("ridge", "b"), "a+b": ("ridge", "a+b"), "b+a-banded": ("banded", "b+a"),
        "a-pls": ("pls", "a"), "b-pls": ("pls", "b"),
    }  # fmt: skip
    both = {"ridge": {"models": ["a", ["a", "b"]]}}
    assert fused(both, stack={"members": ["a", "a+b"]}).stack.members == ["a", "a+b"]
    assert check(fused(both, export="a")).export == "a"


@pytest.mark.parametrize(
    ("encoders", "more", "message"),
    [
        ({"ridge": {"models": [["a", "c"]]}}, {}, r"encoders.ridge.models: no model 'c'"),
        ({"ridge": {"models": [["a"]]}}, {}, r"encoders.ridge.models: \[a\] is a list of 1, expected two"),
        ({"ridge": {"models": [["a", "a"]]}}, {}, r"\[a, a\] names a model twice"),
        ({"ridge": {"models": [["a", "b"], ["b", "a"]]}}, {}, "b and a stand twice, in whatever order"),
        ({"ridge": {"models": ["a", "a"]}}, {}, "a stand twice"),
        ({"gaussian": {"models": [["a", "b"]]}}, {}, r"'gaussian' reads one model at a time, found \[a, b\]"),
        ({"ridge": {"models": [["a", "b"]]}}, {"export": "a+b"}, r"'export': the encoder 'a\+b' reads 2 models"),
        (
            {"ridge": {"models": ["a", ["a", "b"]]}}, {"export": "stack", "stack": {}},
            r"'export': the encoder 'a\+b' reads 2 models",
        ),
    ],
)  # fmt: skip
def test_fits_to_several_models_that_cannot_run_are_refused(encoders, more, message):
    with pytest.raises(InputError, match=message):
        check(fused(encoders, **more))


def test_what_objects_need_is_asked_for_before_hours_of_work(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    table = tmp_path / "m.csv"
    table.write_text("stimulus_id,mesh\na,a.glb\n")
    made = parse(Config, SMALL | DRAWN | {"shapes": {"meshes": str(table)}})
    check(made)
    with pytest.raises(InputError, match=r"File not found: .*a.glb. The table of shapes.meshes names it"):
        check(made, libraries=True)
    (tmp_path / "a.glb").touch()
    check(made, libraries=True)
    with pytest.raises(InputError, match="weights fetch shap_e"):
        check(
            parse(Config, SMALL | DRAWN | {"shapes": {"generator": "shap_e", "judge": "nano"}}),
            libraries=True,
        )
    with pytest.raises(InputError, match=r"'shapes.judge'.*reads no pictures"):
        check(parse(Config, SMALL | DRAWN | {"shapes": {"meshes": str(table), "judge": "table"}}))
    with pytest.raises(InputError, match=r"shapes\.conditions"):
        parse(Config, SMALL | DRAWN | {"shapes": {"meshes": str(table), "conditions": ["brian"]}})


def test_weights_of_judges_and_of_what_draws_are_asked_for_before_hours_of_work(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    judge = {"network": "alexnet", "layers": ["features.4"], "pooling": "tokens"}
    models = SMALL["models"] | {"alexnet2": judge}
    drawing = DRAWN["reconstruction"] | {"judges": ["nano", "gabor", "alexnet2"]}
    made = parse(Config, SMALL | DRAWN | {"models": models, "reconstruction": drawing})
    check(made)  # the launcher may stand on a machine without them
    with pytest.raises(
        InputError, match=r"the weights of 'alexnet2' \(alexnet\) are not here.*weights fetch alexnet"
    ):
        check(made, libraries=True)
    entry = registry.ENTRIES["alexnet"]
    registry.place(entry).mkdir(parents=True)
    (registry.place(entry) / "alexnet.pth").touch()
    check(made, libraries=True)
    eye = {"network": "clip-vith14", "layers": ["visual"]}
    large = DRAWN["reconstruction"] | {"model": "eye", "generator": "ip_adapter"}
    config = SMALL | {"models": SMALL["models"] | {"eye": eye}, "reconstruction": large}
    made = parse(Config, config | {"decoders": {"ridge": {"models": ["eye"], "layers": ["visual"]}}})
    with pytest.raises(InputError, match="weights fetch ip_adapter"):
        check(made, libraries=True)
