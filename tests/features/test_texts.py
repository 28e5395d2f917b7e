"""Texts of a table in place of the dataset's captions: under the right ids, and never taken for others."""

import numpy as np
import pandas as pd
import pytest
import yaml

from neuroenc.arrays import load, make_stimuli, same_contract
from neuroenc.checks import check
from neuroenc.config import Config, Model, parse
from neuroenc.encoders.export import _exportable
from neuroenc.errors import ContractError, InputError, InputWarning
from neuroenc.features.extract import _moved, describe, extract
from neuroenc.features.texts import with_texts
from neuroenc.files import sha256
from tests.conftest import ROOT
from tests.features.test_language import make_folder

IDS = np.array(["p10", "p2", "p30", "ÿ"])
CAPTIONS = np.array([["a cat", "the cat"], ["a dog", ""], ["red grass", "the grass"], ["a dog runs", ""]])
ROWS = [("ÿ", "the red dog runs"), ("p2", "grass"), ("p10", "a cat on the grass"), ("p30", "the dog"),
        ("p2", "red grass")]  # fmt: skip
OF = {"p10": ["a cat on the grass", ""], "p2": ["grass", "red grass"], "p30": ["the dog", ""],
      "ÿ": ["the red dog runs", ""]}  # fmt: skip


def make(captions=CAPTIONS, ids=IDS, **columns):
    n = len(ids)
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n), "split": np.full(n, "train"), "group": ids, **columns},
        attrs={"dataset": "toy", "pixels": "not distributed"}, captions=captions,
    )  # fmt: skip


def write(path, rows=ROWS, columns=("stimulus_id", "text")):
    table = pd.DataFrame(rows, columns=list(columns))
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


def features(stimuli, folder, **options):
    extract(stimuli, parse(Model, options), folder / "f.nc", workers=0)
    return load(folder / "f.nc", "features")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_texts_are_joined_by_id_whatever_the_order(name, tmp_path):
    found = with_texts(make(), write(tmp_path / name))
    assert found["caption"].values.tolist() == [OF[i] for i in IDS]
    assert found["stimulus_id"].values.tolist() == IDS.tolist()


@pytest.mark.parametrize("reader", ["caption", "transformers"])
def test_features_are_those_of_the_texts_as_captions(reader, tmp_path):
    """The same words as the dataset's own captions give the same features, under another contract."""
    spec = {"extractor": "caption"}
    if reader == "transformers":
        make_folder(tmp_path / "bert", "bert")
        spec = {"extractor": reader, "network": str(tmp_path / "bert"), "layers": ["encoder.layer.1"]}
    place = write(tmp_path / "t.csv")
    read = features(make(), tmp_path, **spec, texts=place)
    none = features(make(captions=None), tmp_path, **spec, texts=place)
    plain = features(make(captions=np.array([OF[i] for i in IDS])), tmp_path, **spec)
    of_dataset = features(make(), tmp_path, **spec)
    np.testing.assert_array_equal(read["feature"], plain["feature"])
    np.testing.assert_array_equal(none["feature"], plain["feature"])
    assert not np.array_equal(read["feature"], of_dataset["feature"])
    assert read.attrs["preprocessing"] == f"{plain.attrs['preprocessing']}; texts of t.csv:{sha256(place)}"
    write(tmp_path / "t.csv", [(i, "grass") for i in IDS])
    other = features(make(), tmp_path, **spec, texts=place)
    for one in (plain, other):
        with pytest.raises(ContractError, match="preprocessing"):
            same_contract(read.attrs, one.attrs)


def test_a_misaligned_control_reads_the_texts_of_what_is_later(tmp_path):
    ids = np.array([f"m{i}" for i in range(6)])
    times = {"film": np.full(6, "a"), "onset": np.arange(6.0), "duration": np.ones(6)}
    place = write(tmp_path / "t.csv", list(zip(ids, ["a", "cat", "dog", "runs", "on", "grass"], strict=True)))
    stimuli = make(np.full((6, 1), ""), ids, **times)
    spec = {"extractor": "caption", "texts": place}
    plain = features(stimuli, tmp_path, **spec)["feature"].values
    later = features(stimuli, tmp_path, **spec, misalign=2)["feature"].values
    np.testing.assert_array_equal(later, np.roll(plain, -2, axis=0))


def test_one_of_pictures_and_texts_is_moved_alone():
    ids = np.array([f"m{i}" for i in range(6)])
    times = {"film": np.full(6, "a"), "onset": np.arange(6.0), "duration": np.ones(6)}
    said = np.array([["a"], ["cat"], ["dog"], ["runs"], ["on"], ["grass"]])
    stimuli = make(said, ids, **times)

    def moved(of):
        model = Model(network="flava", misalign=2, misalign_of=of)
        shown = _moved(stimuli, model)
        return shown["stimulus_id"].values.tolist(), shown["caption"].values[:, 0].tolist()

    later, texts = np.roll(ids, -2).tolist(), np.roll(said[:, 0], -2).tolist()
    assert moved("texts") == (ids.tolist(), texts)
    assert moved("pictures") == (later, said[:, 0].tolist())
    assert moved("both") == (later, texts)


def test_what_reads_one_of_both_is_not_moved_by_half(tmp_path):
    times = {"film": np.full(4, "a"), "onset": np.arange(4.0), "duration": np.ones(4)}
    half = {"misalign": 1, "misalign_of": "texts"}
    with pytest.raises(InputError, match="'caption' is one of both"):
        features(make(**times), tmp_path, extractor="caption", **half)
    with pytest.raises(InputError, match="misalign_of 'texts' needs `misalign`"):
        parse(Model, {"extractor": "caption", "misalign_of": "texts"})
    with pytest.raises(InputError, match="'nano' does not read pictures and texts together"):
        features(make(**times), tmp_path, network="nano-text", **half)


def test_rows_of_other_stimuli_are_left_out_and_said(tmp_path):
    place = write(tmp_path / "t.csv", [("x", "a cat"), *ROWS])
    with pytest.warns(
        InputWarning, match="1 of its 6 rows are of other stimuli, first 'x'; they are left out"
    ):
        found = with_texts(make(), place)
    assert found["caption"].values.tolist() == [OF[i] for i in IDS]


def test_moments_of_a_film_may_be_silent(tmp_path):
    times = {"film": np.full(4, "a"), "onset": np.arange(4.0), "duration": np.ones(4)}
    place = write(tmp_path / "t.csv", [(i, "" if i == "p2" else "a cat") for i in IDS])
    assert with_texts(make(**times), place)["caption"].values[:, 0].tolist() == [
        "a cat",
        "",
        "a cat",
        "a cat",
    ]
    with pytest.raises(InputError, match="empty texts alone of 1 of 4 stimuli, first 'p2'"):
        with_texts(make(), place)


MISTAKES = {
    "missing": ("t.csv", ROWS[1:], r"has no text of 1 of 4 stimuli, first 'ÿ'\."),
    "others": ("t.csv", [("x", "a"), *ROWS[1:]], "of 1 of 4 stimuli, first 'ÿ'; 1 of its 5 rows are of other"),
    "no id": ("t.csv", [*ROWS, ("", "a cat")], "has no stimulus_id in line 7"),
    "no id in parquet": ("t.parquet", [*ROWS, (None, "a cat")], "has the stimulus_id None in row 5, expected text"),
    "numbers": ("t.parquet", [(i, 3.5) for i in IDS], "has the text 3.5 in row 0, expected words"),
    "format": ("t.txt", ROWS, "is no table of texts. Expected one of .csv, .tsv, .parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_tables_are_one_line(name, tmp_path):
    file, rows, message = MISTAKES[name]
    with pytest.raises(InputError, match=message) as caught:
        features(make(), tmp_path, extractor="caption", texts=write(tmp_path / file, rows))
    assert "\n" not in str(caught.value) and not (tmp_path / "f.nc").exists()


def test_columns_and_files_that_are_not_there(tmp_path):
    for file in ("t.csv", "t.parquet"):
        place = write(tmp_path / file, ROWS, ("stimulus_id", "caption"))
        with pytest.raises(InputError, match="has no column 'text'; found 'stimulus_id', 'caption'"):
            with_texts(make(), place)
    with pytest.raises(InputError, match=r"File not found.*It holds the `texts` of a model"):
        with_texts(make(), str(tmp_path / "none.csv"))


def test_a_model_that_reads_no_text_is_refused_at_once(tmp_path):
    plain = yaml.safe_load((ROOT / "config/config.yaml").read_text())

    def config(model):
        return parse(Config, plain | {"models": plain["models"] | {"a": model}})

    for model, message in (
        (
            {"extractor": "gabor", "texts": "t.csv"},
            "'models.a'.*`texts` is for models that read text, and gabor",
        ),
        ({"extractor": "file", "path": "x.npy", "texts": "t.csv"}, "`texts` is not for `extractor: file`"),
        (
            {"network": "dinov2-vitb14", "texts": "t.csv"},
            "'models.a.texts': 't.csv'. 'dinov2-vitb14' reads no text",
        ),
        ({"network": "flava-image", "texts": "t.csv"}, "'flava-image' reads no text"),
        ({"network": "wav2vec2-base", "texts": "t.csv"}, "'wav2vec2-base' reads no text"),
    ):
        with pytest.raises(InputError, match=message):
            check(config(model))
    check(config({"network": "gpt2", "texts": "t.csv"}))
    make_folder(tmp_path / "flava", "flava")
    spec = {"extractor": "transformers", "network": str(tmp_path / "flava"), "options": {"half": "image"}}
    with pytest.raises(InputError, match=r"reads no text \(image\)"):
        features(
            make(), tmp_path, **spec, layers=["image_model.encoder.layer.1"], texts=write(tmp_path / "t.csv")
        )
    write(tmp_path / "bad.csv", ROWS, ("id", "text"))
    model = {"network": "gpt2", "texts": str(tmp_path / "bad.csv")}
    with pytest.raises(InputError, match="has no column 'stimulus_id'"):
        check(config(model), libraries=True)


def test_nothing_is_made_of_items_at_hand(tmp_path):
    model = Model(network="gpt2", texts=write(tmp_path / "t.csv"))
    with pytest.raises(InputError, match="`texts` is of stimuli in a table, and items are at hand"):
        describe(["a cat"], model)
    with pytest.raises(InputError, match=r"reads `texts` of a table .*Export an encoder without it"):
        _exportable("a", {"a": model})
    plain = {"label": "t", "dataset": {"name": "nsd"}, "subjects": ["01"], "export": "a"}
    config = plain | {"models": {"a": model.model_dump(exclude_defaults=True)}}
    with pytest.raises(InputError, match=r"'export': the model 'a' reads `texts` of a table"):
        check(parse(Config, config))
