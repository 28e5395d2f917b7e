"""What a stimulus gives does not depend on which stimuli share its batch; the reference is a pass of it alone."""

import numpy as np
import pytest
import torch
import transformers
from features.test_language import CONFIGS, TEXTS, TINY, WORDS, make_folder

from neuroenc.arrays import make_stimuli
from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import writing
from neuroenc.features.extract import describe, extract
from neuroenc.features.items import read_items
from neuroenc.features.networks import Network, describe_layers

RNG = np.random.default_rng(0)
PIXELS = [RNG.integers(0, 255, size, dtype=np.uint8) for size in ((40, 50, 3), (64, 40, 3), (50, 40, 3))]
SEEN = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": 64, "patch_size": 8}  # fmt: skip


def folder_of(folder, kind, processor=None, tokenizer=None, **config):
    folder.mkdir(parents=True)
    transformers.AutoConfig.for_model(kind, **config).save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return Model(
        extractor="transformers", network=str(folder), weights="random:0", layers=["encoder.layer.1"]
    )


def bert_tokenizer(folder):
    (folder.parent / "vocab.txt").write_text("\n".join(WORDS))
    return transformers.BertTokenizer(str(folder.parent / "vocab.txt"))


@pytest.fixture
def vilt(tmp_path):
    processor = transformers.ViltImageProcessor(size={"shortest_edge": 64})
    return folder_of(tmp_path / "vilt", "vilt", processor, bert_tokenizer(tmp_path / "vilt"),
                     **TINY | {"image_size": 64, "patch_size": 8})  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pictures_of_unequal_shape(vilt, pooling):
    found = Network(vilt.model_copy(update={"pooling": pooling}))
    own = transformers.ViltImageProcessor(size={"shortest_edge": 64})
    tokenizer = transformers.AutoTokenizer.from_pretrained(vilt.network)
    made = {}
    found.module.encoder.layer[1].register_forward_hook(
        lambda m, i, o: made.update(out=o[0] if isinstance(o, tuple) else o)
    )
    items = list(zip(PIXELS, TEXTS, strict=True))
    got = found(items)["encoder.layer.1"]
    counts = set()
    for row, (pixels, text) in enumerate(items):
        with torch.no_grad():
            words = tokenizer(text, return_tensors="pt")
            found.module(**words, **own(images=[pixels], return_tensors="pt"))
        n = words["input_ids"].shape[1]
        pick = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "last": lambda h, n=n: h[n - 1]}[pooling]
        np.testing.assert_allclose(got[row], pick(made["out"][0]).numpy(), atol=1e-6)
        counts.add(made["out"].shape[1] - n)
    assert len(counts) > 1  # numbers of patches


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_batch_of_one_is_a_batch_of_many(kind, pooling, tmp_path):
    make_folder(tmp_path / kind, kind)
    layer = CONFIGS[kind][1]
    found = Network(
        Model(extractor="transformers", network=str(tmp_path / kind), layers=[layer], pooling=pooling)
    )
    items = [(RNG.random((n, 8)).astype("f4"), RNG.random((n, 4)).astype("f4")) for n in (36, 20, 36)]
    if found.reads != "regions+text":
        items = [PIXELS[0], PIXELS[2], PIXELS[0]]
    items = TEXTS if found.reads == "text" else list(zip(items, TEXTS, strict=True))
    many = found(items)[layer]
    for row, item in enumerate(items):
        np.testing.assert_allclose(many[row], found([item])[layer][0], atol=1e-6)


def test_pictures_of_unequal_shape_without_a_mask(tmp_path):
    processor = transformers.ViTImageProcessor(do_resize=False)
    sizes = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
    model = folder_of(tmp_path / "net", "convnext", processor, **sizes)
    found = Network(model.model_copy(update={"layers": ["encoder.stages.0"]}))
    many = found(PIXELS)["encoder.stages.0"]
    for row, item in enumerate(PIXELS):
        np.testing.assert_allclose(many[row], found([item])["encoder.stages.0"][0], atol=1e-6)
    tokens = Network(model.model_copy(update={"layers": ["encoder.stages.0"], "pooling": "tokens"}))
    with pytest.raises(InputError, match=r"has 120 tokens in some stimuli, 160 in others"):
        tokens(PIXELS)


def test_places_that_are_drawn_by_lot_are_refused(vilt, tmp_path):
    with pytest.raises(InputError, match=r"gives other values each time \(pooling 'tokens'\)"):
        Network(vilt.model_copy(update={"pooling": "tokens"}))([(PIXELS[0], "a cat")])
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
               "decoder_intermediate_size": 16}  # fmt: skip
    size = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    masked = folder_of(tmp_path / "mae", "vit_mae", size, **SEEN | decoder)
    with pytest.raises(InputError, match="gives other values each time"):
        Network(
            masked.model_copy(
                update={"layers": [next(n for n in describe_layers(masked) if n.endswith(".1"))]}
            )
        )(PIXELS)


def test_half_precision_weights_are_run_in_single_precision(tmp_path):
    module = make_folder(tmp_path / "bert", "bert").half()
    module.save_pretrained(tmp_path / "bert")
    found = Network(
        Model(extractor="transformers", network=str(tmp_path / "bert"), layers=["encoder.layer.1"])
    )
    assert {p.dtype for p in found.module.parameters()} == {torch.float32}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bert")
    with torch.no_grad():
        own = module.float()(**tokenizer(TEXTS[0], return_tensors="pt"), output_hidden_states=True)
    np.testing.assert_allclose(found(TEXTS[:1])["encoder.layer.1"], own.hidden_states[2].mean(1), atol=1e-6)


def test_a_text_longer_than_the_network_reads(tmp_path):
    make_folder(tmp_path / "bert", "bert")
    spec = {
        "extractor": "transformers",
        "network": str(tmp_path / "bert"),
        "layers": ["embeddings.word_embeddings"],
    }
    text = "a cat " * 80 + "the red dog"
    cut = Network(Model(**spec)).source.prepare([text])["input_ids"][0].tolist()
    assert (len(cut) == 96 and cut[:3] == [2, 5, 6] and cut[-2:] == [6, 3]) or cut[-2:] == [5, 3]
    along = Network(Model(**spec, context=9)).source.prepare([text])["input_ids"][0].tolist()
    assert len(along) == 96 and along[0] == 2 and along[-4:] == [11, 12, 7, 3]  # the present is kept
    make_folder(tmp_path / "roberta", "roberta")
    roberta = Network(Model(**spec | {"network": str(tmp_path / "roberta")}))
    assert roberta.source.prepare([text])["input_ids"].shape == (1, 94)  # positions begin at 2
    assert roberta([text])["embeddings.word_embeddings"].shape == (1, 16)
    nano = Network(Model(network="nano-text", context=2))
    with pytest.raises(InputError, match=r"1 texts are as long as 'nano' reads, 32 tokens.*`context: 2`"):
        nano.source.prepare(["red " * 40])


def test_a_text_without_tokens_is_the_end_of_text(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<end>": 7, "cat": 1}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    model = folder_of(tmp_path / "gpt2", "gpt2", None, tokenizer, **CONFIGS["gpt2"][0])
    found = Network(model.model_copy(update={"layers": ["h.1"], "pooling": "last"}))
    got = found(["", "cat"])["h.1"]
    np.testing.assert_allclose(got, found([[7], [1]])["h.1"], atol=1e-6)


def test_what_is_fed_is_told_by_the_library_not_by_the_vocabulary(tmp_path):
    size = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    assert (
        Network(
            folder_of(tmp_path / "beit", "beit", size, **SEEN).model_copy(update={"layers": ["layernorm"]})
        ).reads
        == "image"
    )
    with pytest.raises(InputError, match="patchtst reads past_values, no text, pictures, sound or film"):
        Network(folder_of(tmp_path / "series", "patchtst", num_hidden_layers=1, d_model=16))
    t5 = folder_of(
        tmp_path / "t5", "t5", d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=20
    )
    with pytest.raises(InputError, match="T5Model does not run when it is shown text: "):
        Network(t5.model_copy(update={"layers": ["encoder"]}))


@pytest.mark.parametrize(
    ("item", "message"),
    [(np.zeros((5, 5)), "float64 of shape \\(5, 5\\)"), (np.zeros((5, 5, 4), "u1"), "uint8 of shape \\(5, 5, 4\\)"),
     (np.zeros((0, 5, 3), "u1"), "uint8 of shape \\(0, 5, 3\\)"), (None, "NoneType"), ("a", "str")],
)  # fmt: skip
def test_what_is_no_picture_is_refused(item, message):
    with pytest.raises(InputError, match=f"Item 1 is {message}.*expected a picture"):
        describe([PIXELS[0], item], Model(network="nano"))
    with pytest.raises(InputError, match="No stimuli were given"):
        describe([], Model(network="nano"))
    with pytest.raises(InputError, match="Item 0 is float, expected a text"):
        describe([float("nan")], Model(network="nano-text"))


def test_blocks_of_other_pictures_under_the_same_ids_are_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 2)
    texts = np.array([["a cat"], ["the dog"], ["a red cat"]])

    def table(captions):
        return make_stimuli(
            {"stimulus_id": list("abc"), "pixel_index": np.arange(3), "split": ["train"] * 3, "group": list("abc")},
            attrs={"dataset": "t", "pixels": "none"}, captions=captions,
        )  # fmt: skip

    make_folder(tmp_path / "bert", "bert")
    model = Model(extractor="transformers", network=str(tmp_path / "bert"), layers=["encoder.layer.1"])
    real, calls = Network.run, []

    def stop(self, prepared):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(self, prepared)

    monkeypatch.setattr(Network, "run", stop)
    monkeypatch.setattr(Network, "batch_size", lambda self, memory: 2)
    with pytest.raises(KeyboardInterrupt):
        extract(table(texts), model, tmp_path / "f.nc", workers=0)
        extract(table(texts), model, tmp_path / "f.nc", workers=0)
    monkeypatch.setattr(Network, "run", real)
    extract(table(texts[::-1]), model, tmp_path / "f.nc", workers=0)
    from neuroenc.arrays import load

    got = load(tmp_path / "f.nc", "features")["feature"].values
    np.testing.assert_allclose(got, Network(model)(texts[::-1, 0].tolist())["encoder.layer.1"], atol=1e-6)


def test_a_caption_alone_is_read_as_one_among_several():
    def told(captions):
        return make_stimuli(
            {"stimulus_id": list("ab"), "pixel_index": [0, 1], "split": ["train"] * 2, "group": list("ab")},
            attrs={"dataset": "t", "pixels": "none"}, captions=np.array(captions),
        )  # fmt: skip

    model, rows = Model(network="bert-base"), np.array([1, 0])
    assert read_items(told([["a cat"], ["the dog"]]), rows, "text", model) == ["the dog", "a cat"]
    several = told([["a cat", "red"], ["", "the dog"]])  # an empty one is none
    assert read_items(several, rows, "text", model, 0, 2) == ["the dog", "a cat"]
    assert read_items(several, rows[1:], "text", model, 1, 2) == ["red"]
