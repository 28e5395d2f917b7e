import json
import warnings

import h5py
import numpy as np
import pytest
import torch
import transformers

from neuroenc.arrays import load, make_stimuli, save
from neuroenc.config import Model
from neuroenc.errors import InputError, InputWarning
from neuroenc.features import registry
from neuroenc.features.extract import extract
from neuroenc.features.items import read_items
from neuroenc.features.networks import Network

RNG = np.random.default_rng(0)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "runs", "on", "grass", "the", "red"]
TEXTS = ["a cat runs on the grass", "the dog", "a red cat"]
PIXELS = [RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8) for _ in TEXTS]
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "vocab_size": 160, "max_position_embeddings": 96}  # fmt: skip
SEEN = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": 32, "patch_size": 8}  # fmt: skip
CONFIGS = {
    "bert": (TINY, "encoder.layer.1"),
    "roberta": (TINY, "encoder.layer.1"),
    "gpt2": ({"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 160, "n_positions": 96}, "h.1"),
    "visual_bert": (TINY | {"visual_embedding_dim": 8}, "encoder.layer.1"),
    "lxmert": (TINY | {"l_layers": 1, "r_layers": 1, "x_layers": 1, "visual_feat_dim": 8},
               "encoder.x_layers.0"),
    "flava": ({"text_config": TINY, "image_config": SEEN, "multimodal_config": TINY, "hidden_size": 16},
              "multimodal_model.encoder.layer.1"),
    "blip": ({"text_config": TINY | {"encoder_hidden_size": 16, "bos_token_id": 2, "sep_token_id": 3},
              "vision_config": SEEN, "image_text_hidden_size": 8}, "text_encoder.encoder.layer.1"),
    "vilt": (TINY | {"image_size": 32, "patch_size": 8}, "encoder.layer.1"),
    "clip": ({"text_config": TINY | {"eos_token_id": 3}, "vision_config": SEEN, "projection_dim": 8},
             "text_model.encoder.layers.1"),
}  # fmt: skip
PROCESSORS = {
    "flava": lambda: transformers.FlavaImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False),
    "blip": lambda: transformers.BlipImageProcessor(size={"height": 32, "width": 32}),
    "vilt": lambda: transformers.ViltImageProcessor(size={"shortest_edge": 32}),
    "clip": lambda: transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ),
}


def make_folder(folder, kind, *, weights=True):
    """A tiny network as the hub would have it: settings, tokenizer, image processor, weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind][0])
    torch.manual_seed(0)
    cls = transformers.BlipForImageTextRetrieval if kind == "blip" else None
    module = cls(config) if cls else transformers.AutoModel.from_config(config)
    if weights:
        module.save_pretrained(folder)
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    if kind in PROCESSORS:
        PROCESSORS[kind]().save_pretrained(folder)
    return module.eval()


def items_of(reads):
    regions = [(RNG.random((36, 8)).astype("f4"), RNG.random((36, 4)).astype("f4")) for _ in TEXTS]
    return {
        "text": TEXTS, "image": PIXELS, "image+text": list(zip(PIXELS, TEXTS, strict=True)),
        "regions+text": list(zip(regions, TEXTS, strict=True)),
    }[reads]  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_layer_is_what_a_plain_pass_gives(kind, tmp_path):
    module = make_folder(tmp_path / kind, kind)
    layer = CONFIGS[kind][1]
    pooling, token = ("last", -1) if kind in ("gpt2", "clip") else ("cls", 0)  # causal: the first sees itself
    found = Network(
        Model(extractor="transformers", network=str(tmp_path / kind), layers=[layer], pooling=pooling)
    )
    items = items_of(found.reads)
    got = found(items)[layer]
    plain = {}
    module.get_submodule(layer).register_forward_hook(lambda m, i, o: plain.update(out=o))
    for row, item in enumerate(items):  # alone, so without padding but where it is fixed
        with torch.no_grad():
            module(**found.source.prepare([item]))
        out = plain["out"]
        while not hasattr(out, "ndim"):
            out = out[0]
        np.testing.assert_allclose(got[row], out[0, token].numpy(), atol=2e-6)
    assert np.abs(got[0] - got[1]).max() > 1e-3


def test_poolings_of_text_leave_padding_out(tmp_path):
    module = make_folder(tmp_path / "bert", "bert")
    spec = {"extractor": "transformers", "network": str(tmp_path / "bert"), "layers": ["encoder.layer.0"]}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bert")
    for pooling, pick in (("mean", lambda h: h.mean(0)), ("cls", lambda h: h[0]), ("last", lambda h: h[-1])):
        got = Network(Model(**spec, pooling=pooling))(TEXTS)["encoder.layer.0"]
        for row, text in enumerate(TEXTS):
            with torch.no_grad():
                hidden = module(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            np.testing.assert_allclose(got[row], pick(hidden.hidden_states[1][0]).numpy(), atol=1e-6)
    with pytest.raises(InputError, match="is of text and has no grid"):
        Network(Model(**spec, pooling="grid:2"))(TEXTS)


@pytest.mark.parametrize(
    ("kind", "half", "layer", "reads"),
    [("flava", "image", "image_model.encoder.layer.1", "image"),
     ("flava", "text", "text_model.encoder.layer.1", "text"),
     ("blip", "image", "vision_model.encoder.layers.1", "image"),
     ("blip", "text", "text_encoder.encoder.layer.1", "text")],
)  # fmt: skip
def test_a_half_of_a_joint_network(kind, half, layer, reads, tmp_path):
    make_folder(tmp_path / kind, kind)
    spec = {"extractor": "transformers", "network": str(tmp_path / kind), "options": {"half": half}}
    found = Network(Model(**spec, layers=[layer]))
    assert found.reads == reads
    assert found(items_of(reads))[layer].shape == (3, 16)
    other = CONFIGS[kind][1] if half == "image" else "vision_model"
    with pytest.raises(InputError, match="Invalid value for 'layer'"):
        Network(Model(**spec, layers=[other]))


def test_pictures_are_prepared_as_the_folder_says(tmp_path):
    """Since version 5 transformers writes what prepares pictures into `processor_config.json` too."""
    module = make_folder(tmp_path, "clip")
    own = transformers.CLIPImageProcessor(
        size={"height": 32, "width": 32}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    (tmp_path / "preprocessor_config.json").unlink()
    layer = "vision_model.encoder.layers.1"
    about = {"extractor": "transformers", "network": str(tmp_path), "layers": [layer], "pooling": "tokens"}
    spec = Model(**about, options={"half": "image"})
    with pytest.raises(InputError, match=r"There is no preprocessor_config\.json in .* Fetch it beside"):
        Network(spec)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    transformers.CLIPProcessor(image_processor=own, tokenizer=tokenizer).save_pretrained(tmp_path)
    found = Network(spec)
    with torch.no_grad():
        shown = own(images=PIXELS, return_tensors="pt")["pixel_values"]
        wanted = module.vision_model(shown, output_hidden_states=True).hidden_states[2]
    np.testing.assert_allclose(found(PIXELS)[layer], wanted, atol=1e-5)
    assert found.contract["normalisation"] == "mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"


def test_trained_and_untrained_twin(tmp_path):
    make_folder(tmp_path / "bert", "bert")
    spec = {"extractor": "transformers", "network": str(tmp_path / "bert"), "layers": ["encoder.layer.1"]}
    trained, a, b, c = (Network(Model(**spec, weights=w)) for w in (None, "random:0", "random:0", "random:1"))
    assert trained.contract["weights"].startswith("model.safetensors:")
    values = [n(TEXTS)["encoder.layer.1"] for n in (trained, a, b, c)]
    np.testing.assert_array_equal(values[1], values[2])
    assert (values[1] != values[3]).any() and (values[0] != values[3]).any()


def test_broken_folders_are_explained(tmp_path):
    spec = {"extractor": "transformers", "layers": ["encoder.layer.1"]}
    with pytest.raises(InputError, match="File not found"):
        Network(Model(**spec, network=str(tmp_path / "none")))
    make_folder(tmp_path / "bare", "bert", weights=False)
    with pytest.raises(InputError, match=r"no weights \(\*.safetensors\)"):
        Network(Model(**spec, network=str(tmp_path / "bare")))
    make_folder(tmp_path / "bert", "bert")
    settings = json.loads((tmp_path / "bert/config.json").read_text())
    (tmp_path / "bert/config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"do not fit: 16 tensors are missing"):
        Network(Model(**spec, network=str(tmp_path / "bert")))
    (tmp_path / "bert/config.json").write_text(json.dumps(settings))
    (tmp_path / "bert/model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="Cannot read the weights"):
        Network(Model(**spec, network=str(tmp_path / "bert")))


def test_the_text_tower_of_open_clip_is_encode_text():
    layers = ["ln_final", "transformer.resblocks.0"]
    found = Network(Model(network="nano-text", layers=layers, pooling="last"))
    ((_, batch),) = prepared = found.source.alike(["a red cat", "a blue cat"])
    caught = {}
    found.module.ln_final.register_forward_hook(lambda m, i, o: caught.update(out=o))
    with torch.no_grad():
        found.module.encode_text(batch["text"])
    last = (batch["text"] != 0).sum(1) - 1  # texts are filled up with 0
    wanted = caught["out"][[0, 1], last]
    np.testing.assert_allclose(found.run(prepared)["ln_final"], wanted, atol=1e-6)
    with pytest.raises(InputError, match=r"The first token of layer '.*' is the same whatever words"):
        Network(Model(network="nano-text", layers=layers, pooling="cls"))


@pytest.mark.parametrize(
    ("kind", "layer", "most"), [("nano", "ln_final", 32), ("bert", "encoder.layer.1", 96)]
)
def test_texts_that_are_cut_are_said(kind, layer, most, tmp_path):
    spec = {"network": "nano-text"}
    if kind == "bert":
        make_folder(tmp_path / "bert", "bert")
        spec = {"extractor": "transformers", "network": str(tmp_path / "bert")}
    texts = Network(Model(**spec, layers=[layer]))
    with pytest.warns(InputWarning, match=f"^Texts of {most} tokens, .* lose their end") as caught:
        cut = texts([" ".join(["a red cat"] * 40), "a cat"])[layer]
    assert len(caught) == 1
    with pytest.warns(InputWarning):
        np.testing.assert_array_equal(texts([" ".join(["a red cat"] * 33), "a cat"])[layer], cut)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts(["a red cat", "a cat"])


def test_texts_that_are_cut_are_one_line_of_the_command(table, tmp_path, run):
    table["caption"] = table["caption"].astype(object).where(False, " ".join(["a red cat"] * 40)).astype(str)
    save(table, tmp_path / "stimuli.nc")
    model = json.dumps({"network": "nano-text", "layers": ["ln_final"]})
    status, _, err = run("features", "extract", f"--stimuli={tmp_path / 'stimuli.nc'}", f"--options={model}",
                         f"--out={tmp_path / 'f.nc'}", "--workers=0")  # fmt: skip
    assert status == 0 and err.count("neuroenc: warning: Texts of 32 tokens") == 1, err


@pytest.fixture
def table():
    """Three stimuli of a story with two texts each."""
    captions = np.array([TEXTS, TEXTS[::-1]]).T
    return make_stimuli(
        {"stimulus_id": ["x", "y", "z"], "pixel_index": [0, 1, 2], "split": ["train"] * 3,
         "group": ["s", "s", "t"]},
        attrs={"dataset": "toy", "pixels": "nowhere"}, captions=captions,
    )  # fmt: skip


def test_texts_of_a_stimulus_are_averaged(table, tmp_path):
    make_folder(tmp_path / "bert", "bert")
    model = Model(extractor="transformers", network=str(tmp_path / "bert"), layers=["encoder.layer.1"])
    extract(table, model, tmp_path / "f.nc", workers=0)
    got = load(tmp_path / "f.nc", "features")["feature"].values
    one = Network(model)(TEXTS)["encoder.layer.1"]
    np.testing.assert_allclose(got, (one + one[::-1]) / 2, atol=1e-6)


def test_running_text_reads_what_came_before_in_its_story(table):
    model = Model(network="bert-base", context=2)
    texts = read_items(table, np.arange(3), "text", model)
    assert texts == [TEXTS[0], f"{TEXTS[0]} {TEXTS[1]}", TEXTS[2]]
    film = table.assign_coords(film=("stimulus", ["f", "f", "f"]))
    assert read_items(film, np.arange(2, 3), "text", model) == [" ".join(TEXTS)]


def test_what_came_before_goes_by_time_in_any_order_of_rows():
    """A table sorted by id, or two films by turns, is the same story."""
    words = np.array([f"w{i}" for i in range(12)])
    film, onset = np.repeat(["f", "g"], 6), np.tile(np.arange(6) / 2, 2)
    model = Model(network="bert-base", context=2)

    def read(order):
        shown = make_stimuli(
            {"stimulus_id": words[order], "pixel_index": np.arange(12), "split": ["train"] * 12,
             "group": film[order], "film": film[order], "onset": onset[order]},
            attrs={"dataset": "t", "pixels": "not distributed"}, captions=words[order, None],
        )  # fmt: skip
        return dict(zip(words[order], read_items(shown, np.arange(12), "text", model), strict=True))

    expected = {f"w{i}": " ".join(words[max(i // 6 * 6, i - 2) : i + 1]) for i in range(12)}
    turns = np.arange(12).reshape(2, 6).T.ravel()
    for order in (np.arange(12), np.random.default_rng(0).permutation(12), turns):
        assert read(order) == expected


def test_given_regions_are_joined_by_stimulus(table, tmp_path):
    make_folder(tmp_path / "lxmert", "lxmert")
    features = RNG.random((3, 36, 8)).astype("f4")
    with h5py.File(tmp_path / "regions.h5", "w") as file:
        file["features"], file["boxes"] = features, np.zeros((3, 36, 4), "f4")
        file["stimulus_id"] = np.array([b"z", b"x", b"y"])
    spec = {
        "extractor": "transformers",
        "network": str(tmp_path / "lxmert"),
        "layers": ["encoder.x_layers.0"],
    }
    with pytest.raises(InputError, match="Name their HDF5 file as `regions`"):
        extract(table, Model(**spec), tmp_path / "f.nc", workers=0)
    model = Model(**spec, regions=str(tmp_path / "regions.h5"))
    found = read_items(table, np.arange(3), "regions+text", model)
    np.testing.assert_array_equal(found[0][0][0], features[1])
    extract(table, model, tmp_path / "f.nc", workers=0)
    assert load(tmp_path / "f.nc", "features")["feature"].shape == (3, 16)
    other = table.assign_coords(stimulus_id=("stimulus", ["x", "y", "w"]))
    with pytest.raises(InputError, match="no objects of 1 stimuli, first 'w'"):
        read_items(other, np.arange(3), "regions+text", model)


def test_the_packaged_sentence_model_is_its_librarys(tmp_path, monkeypatch):
    sentences = pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path))
    found = Network(Model(network="minilm", layers=["encoder.layer.5"], pooling="mean"))
    got = found(TEXTS)["encoder.layer.5"]
    got /= np.linalg.norm(got, axis=1, keepdims=True)
    folder = registry.stored(registry.ENTRIES["minilm"])
    own = sentences.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(got, own, atol=1e-5)


def test_code_beside_a_network_is_not_run(tmp_path):
    make_folder(tmp_path / "bert", "bert")
    config = json.loads((tmp_path / "bert/config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (tmp_path / "bert/config.json").write_text(json.dumps(config))
    (tmp_path / "bert/code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match=r"Cannot read config.json of"):
        Network(Model(extractor="transformers", network=str(tmp_path / "bert"), layers=["encoder.layer.1"]))
    assert not (tmp_path / "ran").exists()
