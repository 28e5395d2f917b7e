"""Words in context by any language model: the reference is a plain pass of the one text, token by token."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from neuroenc.arrays import load, make_stimuli
from neuroenc.config import Model
from neuroenc.errors import InputError, InputWarning
from neuroenc.features import networks
from neuroenc.features.extract import describe, extract
from neuroenc.features.items import read_items
from neuroenc.features.networks import Network

STORY = ["the", "old", "cat", "sat", "under", "a", "lighthouse", "and", "looked", "at", "unbelievable",
         "grasshoppers", "again", "until", "dawn"]  # fmt: skip
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
WHOLE = ["the", "old", "cat", "sat", "a", "at", "and", "under", "again"]
TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
        "vocab_size": 400, "max_position_embeddings": 128}  # fmt: skip
GROUPED = TINY | {"num_key_value_heads": 2}
KINDS = {
    "llama": (GROUPED, "layers.1"),
    "qwen2": (GROUPED, "layers.1"),
    "qwen3": (GROUPED | {"head_dim": 8}, "layers.1"),
    "mistral": (GROUPED | {"sliding_window": 6}, "layers.1"),
    "gemma2": (GROUPED | {"head_dim": 8, "sliding_window": 6}, "layers.1"),
    "phi3": (GROUPED | {"pad_token_id": 0}, "layers.1"),
    "opt": (TINY | {"ffn_dim": 48, "word_embed_proj_dim": 32, "pad_token_id": 1}, "decoder.layers.1"),
    "gpt2": ({"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 400, "n_positions": 128}, "h.1"),
    "gpt_neox": (TINY, "layers.1"),
    "bloom": ({"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": 400}, "h.1"),
    "mamba": ({"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4, "vocab_size": 400}, "layers.1"),
    "bert": (TINY, "encoder.layer.1"),
    "roberta": (TINY | {"pad_token_id": 1}, "encoder.layer.1"),
    "convbert": (TINY | {"embedding_size": 32, "conv_kernel_size": 3}, "encoder.layer.1"),
}  # fmt: skip
BARE = ("gpt2", "bloom", "mamba", "gpt_neox")  # no token of theirs marks the beginning


def tokenizer(*, begins):
    """Pieces of words: known ones whole, others byte by byte; `begins` puts a token before each text."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2}
    merges = []
    for piece in [*BYTES, *(f"Ġ{w}" for w in WHOLE)]:
        vocabulary.setdefault(piece, len(vocabulary))
    for word in WHOLE:
        whole = f"Ġ{word}"
        for end in range(2, len(whole) + 1):
            vocabulary.setdefault(whole[:end], len(vocabulary))
            merges.append((whole[: end - 1], whole[end - 1]))
    made = Tokenizer(models.BPE(vocabulary, list(dict.fromkeys(merges))))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if begins:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def make(folder, kind):
    config = transformers.AutoConfig.for_model(kind, **KINDS[kind][0])
    torch.manual_seed(0)
    module = transformers.AutoModel.from_config(config)
    for parameter in module.parameters():  # untrained ones are so small that mistakes would be, too
        torch.nn.init.normal_(parameter, std=0.2) if parameter.ndim > 1 else None
    module.save_pretrained(folder)
    tokenizer(begins=kind not in BARE).save_pretrained(folder)
    return module.eval()


def spec_of(folder, kind, **more):
    return Model(extractor="transformers", network=str(folder), layers=[KINDS[kind][1]], **more)


def story(words, **coordinates):
    n = len(words)
    return make_stimuli(
        {"stimulus_id": [f"w{i:02d}" for i in range(n)], "pixel_index": np.arange(n), "split": ["train"] * n,
         "group": ["s"] * n, **coordinates},
        attrs={"dataset": "toy", "pixels": "nowhere"}, captions=np.array(words)[:, None],
    )  # fmt: skip


def by_hand(module, folder, kind, before, word, window):
    """Hidden states of the tokens of a word: its ids behind those of what came before, the last `window`."""
    words = tokenizer(begins=False)
    text = " ".join([*before, word])
    ids = words(text)["input_ids"]
    tokens = words.tokenize((" " if before else "") + word)
    n = len(tokens) - (tokens[0] == "Ġ")  # a blank by itself is of no word
    marks = [1] if kind not in BARE else []
    if window:
        ids = ids[-(window - len(marks)) :]
    ids = marks + ids
    assert words.decode(ids[-n:]).removeprefix(" ") == word
    caught = {}
    place = module.get_submodule(KINDS[kind][1])
    handle = place.register_forward_hook(
        lambda m, i, o: caught.update(out=o[0] if isinstance(o, tuple) else o)
    )
    with torch.no_grad():
        module(input_ids=torch.tensor([ids]))
    handle.remove()
    return caught["out"][0, -n:].numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["own:mean", "own:last"])
def test_a_word_in_context_is_what_a_pass_of_its_text_gives(kind, pooling, tmp_path):
    module = make(tmp_path / kind, kind)
    model = spec_of(tmp_path / kind, kind, context=5, window=24, pooling=pooling)
    extract(story(STORY), model, tmp_path / "f.nc", workers=0)
    found = load(tmp_path / "f.nc", "features")
    sizes = set()
    for row, word in enumerate(STORY):
        own = by_hand(module, tmp_path / kind, kind, STORY[max(0, row - 5) : row], word, 24)
        sizes.add(len(own))
        expected = own.mean(0) if pooling == "own:mean" else own[-1]
        np.testing.assert_allclose(found["feature"].values[row], expected, atol=1e-5, rtol=1e-5)
    assert {1, 12} <= sizes  # words of one token and of many
    assert found.attrs["pooling"] == pooling
    assert found.attrs["preprocessing"].endswith("; 5 stimuli before each read along; at most 24 tokens")


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_token_is_refused_where_it_knows_of_no_other(kind, tmp_path):
    """Its features were those of one word, or one and the same for all texts."""
    module = make(tmp_path / kind, kind)
    spec = spec_of(tmp_path / kind, kind, pooling="cls")
    if "bert" not in kind:
        with pytest.raises(
            InputError, match=r"The first token of layer '.*' is the same whatever words follow"
        ):
            Network(spec)
        return
    (layer,) = spec.layers
    caught = {}
    network = Network(spec)
    module.get_submodule(layer).register_forward_hook(
        lambda _m, _i, out: caught.update(x=out if hasattr(out, "ndim") else out[0])
    )
    with torch.no_grad():
        module(network.source.prepare([" ".join(STORY[:5])])["input_ids"])
    np.testing.assert_allclose(network([" ".join(STORY[:5])])[layer], caught["x"][:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [(k, p) for p in ("mean", "last", "own:last", "cls") for k in KINDS if p != "cls" or "bert" in k],
)
def test_batches_of_any_size_give_the_same(kind, pooling, tmp_path):
    make(tmp_path / kind, kind)
    network = Network(spec_of(tmp_path / kind, kind, context=9, pooling=pooling))
    items = read_items(story(STORY), np.arange(len(STORY)), "text", network.model)
    (layer,) = network.model.layers
    alone = np.concatenate([network([item])[layer] for item in items])
    for most in (1, 40, 2**13):
        network.most_tokens = most
        np.testing.assert_allclose(network(items)[layer], alone, atol=1e-5)
        np.testing.assert_allclose(network(items[::-1])[layer], alone[::-1], atol=1e-5)


def test_texts_are_filled_up_where_it_changes_nothing(tmp_path, monkeypatch):
    for kind, fills in (("llama", True), ("bert", True), ("roberta", True), ("convbert", False)):
        make(tmp_path / kind, kind)
        network = Network(spec_of(tmp_path / kind, kind))
        assert (network.pad is not None) == fills, kind
        shown = []

        def forward(batch, real=network.source.forward, shown=shown):
            shown.append(tuple(batch["input_ids"].shape))
            return real(batch)

        network.source = network.source._replace(forward=forward)
        network([" ".join(["the"] * n) for n in (40, 30, 31, 41, 32, 31)])
        assert len(shown) == (2 if fills else 5), (kind, shown)
        shown.clear()
        network.most_tokens = 22
        network([" ".join(["the"] * n) for n in (9, 10, 10, 10)])
        assert max(n * length for n, length in shown) <= 22


def test_tokens_of_shorter_texts_are_filled_up_with_nothing(tmp_path):
    make(tmp_path / "llama", "llama")
    texts = ["the cat", "the old cat sat under a cat", "the old cat"]
    model = spec_of(tmp_path / "llama", "llama", pooling="tokens")
    tokens = Network(model)
    (layer,) = model.layers
    found = tokens(texts)[layer]
    for one, text in zip(found, texts, strict=True):
        alone = tokens([text])[layer][0]
        np.testing.assert_allclose(one[: len(alone)], alone, atol=1e-5)
        assert np.isnan(one[len(alone) :]).all()
    assert np.isnan(found[0]).any() and np.isfinite(found[1]).all()
    stimuli = story(texts)
    for window, width in ((None, found.shape[1]), (20, 20)):
        options = model.model_copy(update={"window": window})
        extract(stimuli, options, tmp_path / f"{width}.nc", memory_gb=1e-3)
        stored = load(tmp_path / f"{width}.nc", "features")["feature"].values
        assert stored.shape[1] == width
        np.testing.assert_allclose(stored[:, : found.shape[1]], found, atol=1e-5)
        assert np.isnan(stored[:, found.shape[1] :]).all()
    described = describe(texts, model, batch_size=1)["feature"].values
    np.testing.assert_allclose(described, found, atol=1e-5)


def test_what_fills_up_a_text_of_a_fixed_length_is_not_there():
    texts = ["a cat", "a red car on a beach by night"]
    model = Model(network="nano-text", layers=["ln_final"], pooling="tokens")
    found = describe(texts, model)["feature"].values
    there = np.isfinite(found).all(2).sum(1)
    assert there[0] < there[1] < found.shape[1]
    assert (np.isnan(found).all(2) == (np.arange(found.shape[1]) >= there[:, None])).all()


def test_memory_sets_the_tokens_of_a_pass(tmp_path):
    make(tmp_path / "llama", "llama")
    network = Network(spec_of(tmp_path / "llama", "llama"))
    assert network.batch_size(1e-3) == networks.TEXTS
    few = network.most_tokens
    network.batch_size(1e-2)
    assert 9 < network.most_tokens / few < 11 and 1 < few < 10_000


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "bert"])
def test_a_layer_by_its_number_is_that_of_hidden_states(kind, tmp_path):
    module = make(tmp_path / kind, kind)
    spec = spec_of(tmp_path / kind, kind).model_dump()
    network = Network(Model(**spec | {"layers": ["1", "2"], "pooling": "last"}))
    text = "the old cat"
    ids = torch.tensor([network.source.prepare([text])["input_ids"][0].tolist()])
    with torch.no_grad():
        hidden = module(input_ids=ids, output_hidden_states=True).hidden_states
    got = network([text])
    for number in (1, 2):
        np.testing.assert_allclose(got[str(number)][0], hidden[number][0, -1].numpy(), atol=1e-5)
    for number in ("0", "4"):
        with pytest.raises(InputError, match=f"Layer '{number}' is a block, and .* has 1 to 3"):
            Network(Model(**spec | {"layers": [number]}))


@pytest.mark.parametrize(("precision", "close"), [("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_half_precision(kind, precision, close, tmp_path):
    module = make(tmp_path / kind, kind)
    model = spec_of(tmp_path / kind, kind, precision=precision, pooling="mean")
    network = Network(model)
    kinds = {p.dtype for p in network.module.parameters()}
    assert kinds == {getattr(torch, precision)} and network.pad is not None
    assert network.contract["preprocessing"].endswith(f"; run in {precision}")
    single = Network(model.model_copy(update={"precision": "float32"}))
    texts = [" ".join(STORY[: n + 1]) for n in range(6)]
    ((got,), (exact,)) = (n(texts).values() for n in (network, single))
    assert got.dtype == np.float32
    assert 0 < np.abs(got - exact).max() < close * np.abs(exact).max()
    hidden = []
    place = module.to(getattr(torch, precision)).get_submodule(model.layers[0])
    place.register_forward_hook(lambda m, i, o: hidden.append(o[0] if isinstance(o, tuple) else o))
    with torch.no_grad():
        module(input_ids=network.source.prepare(texts[3:4])["input_ids"])
    mean = hidden[0].reshape(-1, 32).float().mean(0)
    np.testing.assert_allclose(got[3], mean.numpy(), atol=close * np.abs(exact).max())


def test_half_precision_of_pictures_keeps_parts_of_joint_projections():
    layers = ["visual.transformer.resblocks.1", "visual"]
    pictures = [np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)]
    half, single = (
        Network(Model(network="nano", layers=layers, precision=p))(pictures) for p in ("bfloat16", "float32")
    )
    for layer in layers:
        np.testing.assert_allclose(half[layer], single[layer], atol=0.05 * np.abs(single[layer]).max())


def test_silent_moments_have_no_words_of_their_own(tmp_path):
    make(tmp_path / "llama", "llama")
    model = spec_of(tmp_path / "llama", "llama", context=2, pooling="own:mean")
    silent = story(["the", "", "cat"], film=["f"] * 3, onset=[0.0, 1.0, 2.0])
    with pytest.raises(InputError, match=r"1 of 3 moments are silent, first 'w01'.*Pool by 'last'"):
        extract(silent, model, tmp_path / "f.nc", workers=0)
    heard = model.model_copy(update={"pooling": "last"})
    extract(silent, heard, tmp_path / "f.nc", workers=0)
    values = load(tmp_path / "f.nc", "features")["feature"].values
    np.testing.assert_allclose(values[1], values[0], atol=1e-6)  # what was heard last
    with pytest.raises(InputError, match=r"2 of 3 stimuli have no caption, first 'w00'"):
        extract(story(["", "the", ""]), heard, tmp_path / "g.nc", workers=0)
    with pytest.raises(InputError, match="A text is empty and has no words of its own"):
        describe(["the", " "], model)
    assert not (tmp_path / "g.nc").exists()


def test_an_empty_text_where_no_token_stands_for_it(tmp_path):
    make(tmp_path / "gpt2", "gpt2")
    bare = tokenizer(begins=False)
    bare.bos_token = bare.eos_token = None
    bare.save_pretrained(tmp_path / "gpt2")
    with pytest.raises(InputError, match=r"^A text is empty, and the tokenizer of 'gpt2' has no token.*\.$"):
        describe(["the", ""], spec_of(tmp_path / "gpt2", "gpt2"))


def test_words_longer_than_the_network_reads_are_said(tmp_path):
    make(tmp_path / "gpt2", "gpt2")
    model = spec_of(tmp_path / "gpt2", "gpt2", context=3, window=10, pooling="own:mean")
    network = Network(model)
    with pytest.warns(InputWarning, match="^Texts of 10 tokens, .* lose their beginning"):
        network([("the", "unbelievable")])
    plain = Network(spec_of(tmp_path / "gpt2", "gpt2"))  # no window: 128 positions
    with pytest.warns(InputWarning, match="^Texts of 128 tokens, .* lose their end"):
        cut = plain([" the" * 200])
    ids = plain.source.prepare([" the" * 127])["input_ids"][0].tolist()
    (layer,) = cut
    np.testing.assert_allclose(cut[layer], plain([[*ids, ids[-1]]])[layer], atol=1e-5)


def test_what_is_for_running_text_alone_is_refused_elsewhere():
    for more, message in (
        ({"extractor": "timm", "pooling": "own:mean"}, "pooling 'own:mean' is for texts of transformers"),
        ({"extractor": "open_clip_text", "window": 20}, "`window` is for texts of transformers"),
        ({"extractor": "gabor", "precision": "float16"}, "`precision` is of a network"),
    ):
        with pytest.raises(ValueError, match=message):
            Model(**{"network": "x", "layers": ["y"]} | more)
    with pytest.raises(InputError, match="'own:last' is for texts of transformers, not of open_clip"):
        Network(Model(network="nano-text", layers=["ln_final"], pooling="own:last"))
    with pytest.raises(InputError, match="is not of text and has no words of a stimulus"):
        Network(Model(network="nano", layers=["visual"], pooling="own:last"))([np.zeros((9, 9, 3), np.uint8)])
