"""What a run says of itself: every name has its words, every option its place, no number comes from nowhere."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import get_args

import pytest
import yaml

from neuroenc import config as c
from neuroenc.arrays import save
from neuroenc.config import Config, load_config, load_study, parse
from neuroenc.config.configuration import Reconstruction
from neuroenc.config.features import Extractor
from neuroenc.features.registry import ENTRIES
from neuroenc.methods import decoders, encoders, evaluation, features, joint, recordings, references
from neuroenc.methods.found import Found, Recorded, Scored
from neuroenc.methods.text import Part, cited, code, grid, listed, markdown, page, plural
from neuroenc.methods.write import methods, write
from tests.conftest import ROOT

# of one set of recordings
CONFIGS = sorted(p for p in (ROOT / "config").rglob("*.yaml") if "\nsets:" not in p.read_text())
# how a computation is run, or a place on this disk: no part of a method
UNSAID = {
    "device",
    "models",
    "batch_size_of_drawing",
    "name",
    "root",
    "atlas_labels",
    "path",
    "format",
    "films",
    "meshes",
}


def words(field, section):
    return set(get_args(section.model_fields[field].annotation))


def named(union):
    return {get_args(m.model_fields["name"].annotation)[0] for m in get_args(get_args(union)[0])}


def test_every_name_that_the_configuration_admits_has_its_words():
    from neuroenc.config.decoders import Decoder
    from neuroenc.config.encoders import Encoder

    assert set(encoders.ENCODERS) == named(Encoder)
    assert set(decoders.DECODERS) == named(Decoder)
    assert set(recordings.DATASETS) == words("name", c.Dataset)
    assert set(features.EXTRACTORS) == set(get_args(Extractor))
    assert set(features.NETWORKS) == set(ENTRIES)
    assert set(evaluation.CEILINGS) == words("ceiling", c.Evaluation)
    assert set(evaluation.METRICS) == words("metric", c.Comparison)
    assert set(evaluation.DISTANCES) == words("distance", c.Similarity)
    assert set(evaluation.MEASURES) == words("measure", c.Similarity)
    assert set(decoders.GENERATORS) == words("generator", Reconstruction)
    assert set(decoders.SHAPES) == words("generator", c.Shapes)
    assert set(encoders.WEIGHTS) == words("weights", c.Stack)
    assert set(encoders.READOUTS) == words("readout", c.ResponseCore)
    assert set(encoders.ASKING) == words("queries", c.Attention)


def test_all_that_is_cited_is_in_the_table_and_all_of_it_is_cited_somewhere():
    import inspect

    table = references.load()
    modules = (decoders, encoders, evaluation, features, joint, recordings)
    keys = set(
        re.findall(r"@([a-z]+\d{4}[a-z]*|muselsl|laionfmri)", "".join(map(inspect.getsource, modules)))
    )
    keys |= {k.strip(" @") for group in features.NETWORKS.values() for k in group.split(";") if group}
    from neuroenc.methods import write as writing

    keys |= {about[-1] for about in (*writing.LIBRARIES.values(), *writing.OF_EXTRACTORS.values())} | {
        "molder2021"
    }
    assert keys <= set(table), keys - set(table)
    assert set(table) == keys


def test_references_are_whole_and_say_what_is_not_verified():
    for key, r in references.load().items():
        assert r.author and r.title and 1900 < r.year <= 2026 and r.where, key
        assert not r.doi or re.fullmatch(r"10\.\d{4,9}/\S+", r.doi), key
        assert not r.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", r.arxiv), key
    assert "to be checked" in references.bibtex(["rahimi2007"])
    entry = references.bibtex(["adeli2025"])
    assert entry.startswith("@article{adeli2025,") and "eprint = {2505.17329}" in entry
    assert entry.count("{") == entry.count("}")
    assert references.load()["adeli2025"].short == "Adeli et al., 2025"
    assert references.load()["styves2018"].short == "St-Yves and Naselaris, 2018"


def test_citation_file_agrees_with_the_table():
    def plain(text):
        return re.sub(r"\W+", " ", text).casefold().strip()

    table = {plain(r.title): r for r in references.load().values()}
    for found in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]:
        r = table[plain(found["title"])]
        assert (r.year, r.families[0]) == (found["year"], found["authors"][0]["family-names"]), found["title"]
        assert found.get("doi", "") == r.doi, found["title"]
        assert not r.arxiv or found["url"] == f"https://arxiv.org/abs/{r.arxiv}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_committed_configurations_are_written_with_their_parameters(path):
    config = load_config(path)
    parts = methods(config, Found())
    text = markdown("Methods", parts)
    assert set(cited(parts)) <= set(references.load())
    for name in (*config.subjects, *config.models, *config.encoders, *config.decoders, *config.comparisons):
        assert code(name) in text
    for encoder in config.encoders.values():
        if hasattr(encoder, "alphas"):
            assert grid(encoder.alphas) in text
    assert f"{config.evaluation.n_permutations:,} permutations" in text
    # no number that is not in the configuration
    prose = markdown("", [p for p in parts if p.title != "Software"])
    prose = re.sub(r"\[@[^\]]*\]|`[^`]*`", "", prose).replace("10^", "").replace("2V2", "")
    known = set(re.findall(r"\d+(?:\.\d+)?", config.model_dump_json())) | {
        str(len(config.models)),
        "95",
        "90",
    }
    known |= {f"{float(k):g}" for k in known} | {f"{v:g}" for v in _numbers(config.model_dump())}
    known |= {str(ENTRIES[m.network].input_size) for m in config.models.values() if m.network in ENTRIES}
    known |= {"1", "5"} if config.embeddings else set()  # top-1 and top-5
    known |= set(
        re.findall(
            r"\d[\d.]*", " ".join(recordings.DATASETS.values()) + " ".join(decoders.GENERATORS.values())
        )
    )
    found = {
        n.replace(",", "") for n in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-\d+)?", prose.replace(", ", " "))
    }
    assert found <= known, found - known


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [n for v in value for n in _numbers(v)]
    return [value] if isinstance(value, (int, float)) else []


def other(value, annotation):
    """Another value of an option."""
    if isinstance(value, bool):
        return not value
    kinds = [a for a in get_args(annotation) if isinstance(a, str)]
    if kinds:
        return next(k for k in kinds if k != value)
    if type(value) is int:
        return 4 if 4 in get_args(annotation) and value == 1 else value + 1
    if type(value) is float:
        return value / 2 if value else 0.25
    if isinstance(value, tuple):
        return tuple(v + 1 for v in value)
    if isinstance(value, list):
        return [*value, type(value[0])(9) if isinstance(value[0], int) else "another"]
    if isinstance(value, dict):
        return value | {"another": ["one", "two"]}
    return "another" if isinstance(value, str) else 3


ALPHAS = {"alphas": (-2, 3, 4)}
PRIOR, MADE = c.Prior(), c.Augmentation(fit="gabor")
EMBEDDING = {"layers": ["a", "b"], "prior": PRIOR, "augment": MADE, "sessions": 2}
SECTIONS = [
    *[(e(**ALPHAS), encoders.ENCODERS[e().name]) for e in (c.Factorised, c.Gaussian, c.RandomAttention)],
    (c.Ridge(**ALPHAS, delays=[1, 2]), encoders.ridge), (c.Banded(**ALPHAS, delays=[1], n_gradient_steps=2), encoders.banded),
    (c.PLS(delays=[1]), encoders.pls), (c.SemanticTransformer(), encoders.semantic_transformer),
    (c.ResponseCore(readout="semantic_transformer"), encoders.response_core),
    (c.Attention(networks={"face": ["FFA", "OFA"]}), encoders.attention),
    (c.Probing(networks={"face": ["FFA", "OFA"]}), encoders.probing),
    (c.Partition(models=["a", "b"], delays=[1]), encoders.parted),
    (c.RidgeDecoding(**EMBEDDING), decoders.ridge),
    (c.NetworkDecoding(**EMBEDDING, subjects=["01", "02"], accumulate=2), decoders.network),
    (c.Classifying(window=(0.1, 0.5), bin_width=0.1), decoders.classifier),
    (PRIOR, decoders.prior), (MADE, decoders.augmented),
    (c.Transfer(network="n", ridge="r", model="m", subjects=["01"], sessions=[1, 5]), decoders.transfer),
    (c.Reconstruction(decoder="d", model="m", low_level="l", guidance=2.0, n_steps=5, n_test=9, n_draws=2, judges=["j"],
                      closed_loop=["g"], captions=True, captioner="x"),
     decoders.reconstruction),
    (c.VoxelCaptions(model="m", layer="l", generate=True, captioner="x"), decoders.voxel_captions),
    (c.ModelCaptioner(model="m", layer="l", learning_rate=1e-4), lambda s: decoders.captioner("a", s)),
    (c.Synthesis(model="m", regions=["FFA"], judge="g"), decoders.synthesis),
    (c.Contributions(decoders=["d"], regions=["FFA"], recordings=2), decoders.contributions),
    (c.Shapes(generator="shap_e", decoder="d", model="m", meshes="t.csv", judge="j", conditions=["brain"], n_test=3, weights="w",
              guidance=2.0, n_steps=5), decoders.shapes),
    (c.Similarity(models=["a"]), evaluation.alike),
    (c.Comparison(better="a", than=["b"]), lambda s: evaluation.compared("x", s)),
]  # fmt: skip


@pytest.mark.parametrize(("section", "said"), SECTIONS, ids=lambda s: type(s).__name__)
def test_a_changed_option_changes_its_sentence(section, said):
    drawing = {"batch_size"} if isinstance(section, (c.Shapes, c.Reconstruction)) else set()
    kept = UNSAID - ({"models"} if isinstance(section, (c.Partition, c.Similarity)) else set())
    for name, field in type(section).model_fields.items():
        if name in kept | drawing or len(words(name, type(section))) == 1:
            continue
        changed = section.model_copy(update={name: other(getattr(section, name), field.annotation)})
        if isinstance(getattr(section, name), (c.Prior, c.Augmentation)):
            changed = section.model_copy(update={name: None})
        assert said(changed) != said(section), name


def test_a_changed_option_of_one_space_changes_the_text():
    study = load_study(ROOT / "config/studies/one_space.yaml")
    study = study.model_copy(update={"texts": c.Model(network="nano-text")})

    def said(study):
        return markdown("", joint.parts(study, None)[0])

    text = said(study)
    assert set(cited(joint.parts(study, None)[0])) <= set(references.load())
    for name in (*study.sets, *study.leave_out):
        assert name in text
    given = {"front": {"eeg": "atm"}, "window": {"meg": (0.1, 0.5)}, "layers": ["a"]}
    for section in ("joint", "split"):
        options = getattr(study, section)
        for name, field in type(options).model_fields.items():
            if name in UNSAID | {"n_folds", "test_fraction", "stratify", "embargo", "features"}:
                continue
            value = given[name] if name in given else other(getattr(options, name), field.annotation)
            changed = study.model_copy(update={section: options.model_copy(update={name: value})})
            assert said(changed) != text, name
    shares = study.split.model_copy(update={"kind": "stimulus"})
    for name, value in (("n_folds", 4), ("test_fraction", 0.3), ("stratify", True)):
        changed = shares.model_copy(update={name: value})
        assert said(study.model_copy(update={"split": changed})) != said(
            study.model_copy(update={"split": shares})
        ), name
    assert "Pictures were scored" not in said(study.model_copy(update={"reconstruction": None}))


CONFIG = {
    "label": "one", "dataset": {"name": "treebank", "root": "x"}, "subjects": ["1", "2"],
    "models": {"a": {"network": "gpt2"}, "b": {"network": "minilm"}},
}  # fmt: skip


@pytest.mark.parametrize("part", ["evaluation", "split", "models", "simulate", "dataset", "whole"])
def test_a_changed_option_changes_the_text(part):
    config = parse(Config, CONFIG)

    def text(config):
        return markdown("", methods(config, Found()))

    if part == "evaluation":
        for name, field in c.Evaluation.model_fields.items():
            e = config.evaluation.model_copy(
                update={name: other(getattr(config.evaluation, name), field.annotation)}
            )
            assert text(config.model_copy(update={"evaluation": e})) != text(config), name
    if part == "split":
        said = [
            text(config.model_copy(update={"split": c.Split(kind=k, features="a")}))
            for k in words("kind", c.Split)
        ]
        assert len(set(said)) == len(said)
        for kind, name, value in (("stimulus", "test_fraction", 0.3), ("kfold", "n_folds", 4), ("stimulus", "n_folds", 4),
                                  ("stimulus", "stratify", True), ("chronological", "embargo", 9.0), ("kfold", "n_inner", 7),
                                  ("kfold", "seed", 3), ("distant", "features", "b")):  # fmt: skip
            given = {"kind": kind, "features": "a"}
            both = [
                text(config.model_copy(update={"split": c.Split(**given | more)}))
                for more in ({}, {name: value})
            ]
            assert both[0] != both[1], name
    if part == "models":
        for name, value in (
            ("weights", "random:3"), ("tag", "x"), ("sha256", "0" * 64), ("layers", ["h.1"]), ("pooling", "last"),
            ("layout", {"h.1": "channels_last"}), ("context", 3), ("window", 9), ("view", "foveated"), ("frame_rate", 2.0),
            ("lead", 2.0), ("regions", "r.h5"), ("texts", "t.csv"), ("projection", "pca:7"), ("dtype", "float16"),
            ("precision", "bfloat16"), ("input_size", 64), ("options", {"x": 1}), ("normalisation", "half"),
            ("misalign", 9.0), ("contract", {"model": "x"}),
        ):  # fmt: skip
            base = (
                c.Model(network="resnet50")
                if name in ("tag", "input_size", "sha256")
                else c.Model(network="gpt2")
            )
            changed = base.model_copy(update={name: value})
            assert features.describe("a", changed, {}) != features.describe("a", base, {}), name
    if part == "simulate":
        for name in c.Simulation.model_fields:
            nsd = config.model_copy(update={"dataset": c.Dataset(name="nsd")})
            s = nsd.simulate.model_copy(update={name: other(getattr(nsd.simulate, name), None)})
            assert text(nsd.model_copy(update={"simulate": s})) != text(nsd), name
    if part == "dataset":
        for name, field in c.Dataset.model_fields.items():
            if name in UNSAID | {"regions"}:
                continue
            owner = next((k for k in recordings.READ if f"{k}:" in (field.description or "")), "treebank")
            d = c.Dataset(name=owner, root="x", films="f", atlas="glasser-360")
            changed = d.model_copy(update={name: other(getattr(d, name), field.annotation)})
            assert recordings.options(changed) != recordings.options(d), name
    if part == "whole":
        for key, value in (
            ("stack", c.Stack()), ("export", "a"), ("learning_curve", c.LearningCurve(sizes=[60])), ("partition", c.Partition(models=["a", "b"])),
            ("pools", {"p": "folder"}), ("comparisons", {"x": c.Comparison(better="a", than=["b"])}), ("figures", c.Figures(time_course=True)),
            ("decoders", {"small": c.RidgeDecoding(models=["a"])}), ("subjects", ["1", "2", "3"]),
        ):  # fmt: skip
            base = config.model_copy(update={"decoders": {"ridge": c.RidgeDecoding()}})
            assert text(base.model_copy(update={key: value})) != text(base), key


def test_numbers_of_the_files_are_taken_in():
    contract = {
        "weights": "file:abc",
        "shape": json.dumps({"h.1": [17, 3]}),
        "preprocessing": "none",
        "normalisation": "none",
    }
    found = Found(
        "toy", {"1": Recorded(321, 4321, 1234, (2, 3), "µV")}, {"1": Scored(777, 55)}, {"a": contract}, "9.8.7",
        "snakemake --configfile x.yaml",
    )  # fmt: skip
    text = markdown("", methods(parse(Config, CONFIG), found))
    for said in ("321 neuroids", "4,321 presentations of 1,234 stimuli, each shown 2 to 3 times", "`µV`", "777 training and 55 test",
                 "51 features", "`file:abc`", "neuroenc 9.8.7", "`snakemake --configfile x.yaml`", "@molder2021"):  # fmt: skip
        assert said in text


class Tags(HTMLParser):
    """Which tags and attributes a page has, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_what_names_hold_is_text_on_the_page():
    hostile = "x</code></p><script>alert(1)</script>`[@adeli2025]`<img src=x onerror=alert(1)>"
    made = page(
        hostile,
        [Part(hostile, [f"{code(hostile)} and <b>{hostile} [@adeli2025; @ye2023]"])],
        references.load(),
        hostile,
    )
    found = Tags(made)
    assert set(found.tags) <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "code",
        "ul",
        "li",
        "sup",
    }
    assert not [a for a, _ in found.attributes if a.startswith("on") or a == "src"]
    assert "<script>alert(1)</script>" in found.text
    assert "(Adeli et al., 2025; Ye et al., 2023)" in found.text
    assert "\n" not in code("a\n# b") and "`" not in code("a`b")[1:-1]


def test_small_words():
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
    assert plural(1, "fold") == "1 fold" and plural(2000, "query", "queries") == "2,000 queries"
    assert grid((2, 2, 1)) == "10^2"


def test_command_writes_all_three_or_says_why_not(tmp_path, run):
    path = ROOT / "config/config.yaml"
    out = SimpleNamespace(
        md=tmp_path / "methods.md", bib=tmp_path / "methods.bib", html=tmp_path / "methods.html"
    )
    status, _, _ = run("results", "methods", path, "--out", out.md, "--bib", out.bib, "--page", out.html)
    assert status == 0
    keys = re.findall(r"^@article\{(\w+),$", out.bib.read_text(), re.M)
    in_text = re.findall(r"@([a-z]+\w*)", " ".join(re.findall(r"\[@[^\]]+\]", out.md.read_text())))
    assert sorted(set(in_text)) == keys  # what is cited and nothing else
    assert "http" not in re.sub(r"https://(doi|arxiv)\.org\S+|https?://\S+</li>", "", out.html.read_text())
    status, _, err = run("results", "methods", path, "--results", tmp_path / "no", "--out", out.md)
    assert status == 2 and "Folder not found" in err and err.count("\n") == 1
    asked = yaml.safe_load(path.read_text())
    status, _, _ = run("results", "methods", json.dumps(asked), "--out", tmp_path / "again.md")
    assert status == 0 and (tmp_path / "again.md").read_text() == out.md.read_text()


def test_write_reads_a_finished_run(tmp_path, toy):
    _, described, responses = toy
    described.attrs["shape"] = json.dumps({"first": [10], "second": [20]})
    run = tmp_path / "run"
    (run / "sub-1").mkdir(parents=True)
    save(responses, run / "sub-1/sub-1_responses.nc")
    save(described, run / "feat-a_features.nc")
    write(parse(Config, CONFIG), run, tmp_path / "methods.md")
    text = (tmp_path / "methods.md").read_text()
    assert "6 neuroids and 120 presentations of 120 stimuli, each shown 1 time" in text
    assert "10 and 20 features" in text


@pytest.mark.parametrize(
    ("kind", "n_folds", "said"),
    [
        ("dataset", 5, False),
        ("stimulus", 1, False),
        ("kfold", 5, True),
        ("group", 1, True),
        ("stimulus", 3, True),
    ],
)
def test_stimuli_of_folds_are_not_counted_as_of_one(kind, n_folds, said):
    config = load_config(ROOT / "config/v4.yaml")
    config = config.model_copy(update={"split": c.Split(kind=kind, n_folds=n_folds)})
    text = recordings.split_part(config, Found(scored={"a": Scored(959, 575)})).paragraphs[0]
    assert "959 training and 575 test stimuli of subject `a`" in text
    assert ("in all folds together" in text) == said
