"""A captioner of any embedding: it says what the embedding says, resumes bit for bit, and refuses what is not its own."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from neuroenc import splits
from neuroenc.arrays import CONTRACT, make_features, make_stimuli, save
from neuroenc.config import Captioner as Options
from neuroenc.config import RidgeDecoding, Split
from neuroenc.decoders import train_captioner, voxels
from neuroenc.decoders.decode import decode
from neuroenc.decoders.prefix_captioner import Captioner, PrefixCaptioner, sentence
from neuroenc.decoders.reconstruct import caption
from neuroenc.encoders import training
from neuroenc.errors import ContractError, InputError
from tests.conftest import toy_responses

N, WIDTH = 240, 12
KINDS = ("cat", "house", "pizza")
OPTIONS = Options(
    language="words", n_prefix=2, max_tokens=6, max_epochs=12, batch_size=16, patience=12, device="cpu"
)
CONTRACT_OF_TOY = dict.fromkeys(CONTRACT, "toy") | {"layer": "out"}


@pytest.fixture(scope="module")
def arrays():
    """Pictures of a kind and a colour, both in the embedding; voxels that want a kind."""
    rng = np.random.default_rng(0)
    kind, colour = rng.integers(0, 3, N), rng.integers(0, 2, N)
    centres = rng.normal(size=(5, WIDTH))
    embedding = (centres[kind] + centres[3 + colour] + 0.2 * rng.normal(size=(N, WIDTH)) + 2).astype("f4")
    ids = np.array([f"p{i:03d}" for i in range(N)])
    name = [(("red", "blue")[c], KINDS[k]) for k, c in zip(kind, colour, strict=True)]
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(N), "split": np.full(N, "train"), "group": ids},
        attrs={"dataset": "toy", "pixels": "not distributed"},
        captions=np.array([[f"A {c} {k}.", f"The {k} is {c}."] for c, k in name]),
    )
    response = rng.normal(size=(N, 6)).astype("f4")
    response[:, :3] += 3 * (kind[:, None] == np.arange(3))
    features = make_features(embedding, stimulus_id=ids, layer=np.full(WIDTH, "out"), attrs=CONTRACT_OF_TOY)
    split = splits.make(stimuli, Split(kind="stimulus", test_fraction=0.25))
    return toy_responses(rng, ids, response), features, stimuli, split, name


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    _, features, stimuli, split, _ = arrays
    folder = tmp_path_factory.mktemp("captioner") / "toy"
    return folder, train_captioner.train(train_captioner.corpus(features, stimuli, split), OPTIONS, folder)


def gpt2(folder, *, base=False):
    """GPT-2 as the hub would have it, tiny; `base`: without a head, as openai-community/gpt2 is stored."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = ["<|endoftext|>", "A", "The", "red", "blue", "cat", "house", "pizza", "is", "."]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token=known[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    end = known[0]
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=end, bos_token=end, unk_token=end
    ).save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=len(known), n_positions=24, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    module = transformers.GPT2LMHeadModel(config)
    (module.transformer if base else module).save_pretrained(folder)
    return folder


def test_captions_say_what_the_embeddings_of_new_pictures_say(arrays, trained):
    _, features, _, split, name = arrays
    folder, made = trained
    tested = np.flatnonzero(split["side"].values[0] == splits.TEST)
    said = Captioner(folder, device="cpu")(features["feature"].values[tested])
    right = [
        c in s.lower() and k in s.lower() for s, (c, k) in zip(said, [name[i] for i in tested], strict=True)
    ]
    assert np.mean(right) > 0.9
    assert made["surprise"] + 0.3 < made["shuffled"]  # of the kind and the colour
    assert len({p.stat().st_mode for p in folder.rglob("*") if p.is_file()}) == 1  # others may read it all
    assert not set(made["pictures"]) & set(features["stimulus_id"].values[tested])


def test_the_loss_is_that_of_each_text_alone(arrays, trained):
    folder, _ = trained
    module = Captioner(folder, device="cpu").module
    z = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[1, 2, 0, -1, -1], [3, 0, -1, -1, -1], [1, 2, 3, 4, 0]])
    with torch.no_grad():
        found = module(torch.cat([z, tokens], 1))
        for row, (one, text) in enumerate(zip(z, tokens, strict=True)):
            words = text[text >= 0]
            places = module.start(one[None])[0]
            total = 0.0
            for t, word in enumerate(words):  # word by word, without padding or mask
                before = module.language.get_input_embeddings()(words[:t])
                logits = module.language(inputs_embeds=torch.cat([places, before])[None]).logits[0, -1]
                total -= float(logits.log_softmax(0)[word])
            assert found[row].tolist() == pytest.approx([total, len(words)], rel=1e-4)


def test_beam_search_finds_what_trying_all_texts_finds(trained):
    found = Captioner(trained[0], device="cpu")
    module, tokenizer = found.module, found.tokenizer
    one = np.zeros((1, WIDTH), "f4") + module.mean.numpy()
    said = found(one, n_beams=20)[0]
    n = len(tokenizer)
    best = (np.inf, [])
    with torch.no_grad():
        places = module.start(torch.zeros(1, WIDTH))
        for length in range(1, 5):
            some = torch.tensor([[*t, 0] for t in itertools.product(range(1, n), repeat=length)])
            value = module.surprise(places.expand(len(some), -1, -1), some)[:, 0] / (length + 1)
            # beams are ranked by their mean over tokens
            best = min(best, (float(value.min()), some[int(value.argmin())].tolist()))
    assert said == sentence(tokenizer.decode(best[1], skip_special_tokens=True))


def test_a_killed_run_ends_in_the_same_weights_bit_for_bit(arrays, trained, tmp_path, monkeypatch):
    _, features, stimuli, split, _ = arrays
    data = train_captioner.corpus(features, stimuli, split)
    short = OPTIONS.model_copy(update={"max_epochs": 3})
    train_captioner.train(data, short, tmp_path / "whole")
    plain, calls = training._epoch, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(training, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train_captioner.train(data, short, tmp_path / "cut")
    monkeypatch.setattr(training, "_epoch", plain)
    assert not (tmp_path / "cut").exists() and (tmp_path / ".cut.safetensors").exists()
    with pytest.raises(InputError, match="is of other regions, responses or options"):
        train_captioner.train(data, short.model_copy(update={"noise": 0.0}), tmp_path / "cut")
    train_captioner.train(data, short, tmp_path / "cut")
    for name in ("prefix.safetensors", "language/model.safetensors", "captioner.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("mapping", ["mlp", "transformer"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_language_model_of_the_hub_is_trained_along_or_left_as_it_is(mapping, frozen, arrays, tmp_path):
    _, features, stimuli, split, _ = arrays
    network = gpt2(tmp_path / "gpt2", base=True)
    given = transformers.AutoModelForCausalLM.from_pretrained(network).state_dict()
    options = OPTIONS.model_copy(
        update={"language": str(network), "mapping": mapping, "frozen": frozen, "max_epochs": 2,
                "learning_rate": 1e-3}
    )  # fmt: skip
    made = train_captioner.train(train_captioner.corpus(features, stimuli, split), options, tmp_path / "c")
    assert made["language"]["weights"].startswith("model.safetensors:")
    found = Captioner(tmp_path / "c", device="cpu")
    state = found.module.language.state_dict()
    same = [torch.equal(state[k], v) for k, v in given.items()]
    assert all(same) if frozen else not any(same)
    said = found(features["feature"].values[:4])
    assert len(said) == 4 and found(features["feature"].values[[2]])[0] == said[2]  # alone as with others
    drawn = found(None, n=3, seed=1)
    assert len(drawn) == 3 and drawn == found(None, n=3, seed=1) != found(None, n=3, seed=2)


def test_shuffled_captions_teach_nothing(arrays, tmp_path):
    _, features, stimuli, split, _ = arrays
    dealt = stimuli.copy(deep=True)
    dealt["caption"].values[:] = dealt["caption"].values[np.random.default_rng(1).permutation(N)]
    made = train_captioner.train(
        train_captioner.corpus(features, dealt, split),
        OPTIONS.model_copy(update={"max_epochs": 4}),
        tmp_path / "c",
    )
    assert abs(made["surprise"] - made["shuffled"]) < 0.1


def test_voxels_of_any_model_get_captions_that_are_written(arrays, trained):
    responses, features, stimuli, split, _ = arrays
    table = voxels.caption_voxels(
        responses, features, stimuli, split, generate=True, captioner=Captioner(trained[0], device="cpu")
    )
    for v, kind in enumerate(KINDS):
        assert kind in table["generated"][v].lower()
    assert (table["spearman_generated"][:3] > 0.3).all()


def test_decoded_pictures_of_any_model_are_captioned_between_bounds(arrays, trained):
    responses, features, stimuli, split, name = arrays
    ridge = RidgeDecoding(n_components=4)
    brain, null = (decode(responses, features, split, ridge, shuffle=s) for s in (None, 0))
    found = Captioner(trained[0], device="cpu")
    said = caption(brain, null, features, stimuli, split, captioner=found)
    assert said.attrs["generator"] == "words"
    kind = [name[int(s[1:])][1] for s in said["stimulus_id"].values]
    right = {
        c: np.mean(
            [k in t.lower() for k, t in zip(kind, said["caption"].sel(condition=c).values, strict=True)]
        )
        for c in ("true", "brain", "shuffled", "sample")
    }
    assert right["true"] > 0.9 and right["brain"] > 0.7
    assert abs(right["shuffled"] - 1 / 3) < 0.2 and abs(right["sample"] - 1 / 3) < 0.25
    with pytest.raises(ContractError, match="'model': found 'other'"):
        other = features.assign_attrs(model="other")
        caption(*(decode(responses, other, split, ridge, shuffle=s) for s in (None, 0)), other, stimuli, split,
                captioner=found)  # fmt: skip


def test_what_is_not_its_own_is_refused(arrays, trained, tmp_path):
    responses, features, stimuli, split, _ = arrays
    found = Captioner(trained[0], device="cpu")
    other = features.assign_attrs(weights="random:0")
    with pytest.raises(ContractError, match="'weights': found 'random:0', fitted to 'toy'"):
        voxels.caption_voxels(responses, other, stimuli, split, generate=True, captioner=found)
    with pytest.raises(InputError, match="takes embeddings of 12 features, these have 4"):
        found.check(features.attrs, 4, ())
    everything = split.copy(deep=True)
    everything["side"].values[0, :200] = splits.TEST
    with pytest.raises(InputError, match=r"was trained on .* of the test pictures"):
        voxels.caption_voxels(responses, features, stimuli, everything, generate=True, captioner=found)
    shutil.copytree(trained[0], tmp_path / "c")
    weights = tmp_path / "c/language/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=r"model.safetensors has sha256 .*, expected"):
        Captioner(tmp_path / "c")
    (tmp_path / "c/captioner.json").unlink()
    with pytest.raises(InputError, match=r"holds no captioner.json"):
        Captioner(tmp_path / "c")
    with pytest.raises(InputError, match="is there and no captioner"):
        train_captioner.train(train_captioner.corpus(features, stimuli, split), OPTIONS, tmp_path)


def test_corpora_that_teach_nothing_are_one_line(arrays):
    _, features, stimuli, split, _ = arrays
    with pytest.raises(InputError, match="carry no captions"):
        train_captioner.corpus(features, stimuli.drop_vars("caption"), split)
    every = split.copy(deep=True)
    every["side"].values[:] = splits.TEST
    with pytest.raises(InputError, match="0 pictures have an embedding and a caption"):
        train_captioner.corpus(features, stimuli, every)
    broken = features.copy(deep=True)
    broken["feature"].values[3, 1] = np.nan
    with pytest.raises(InputError, match="1 pictures are not finite, first 'p003'"):
        train_captioner.corpus(broken, stimuli)
    assert len(train_captioner.corpus(features, stimuli).ids) == N


def test_languages_that_cannot_be_used_are_one_line(arrays, tmp_path, monkeypatch):
    _, features, stimuli, split, _ = arrays
    data = train_captioner.corpus(features, stimuli, split)
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "none"))

    def ask(**changes):
        train_captioner.train(data, OPTIONS.model_copy(update=changes), tmp_path / "c")

    with pytest.raises(InputError, match="weights fetch openai-community/gpt2"):
        ask(language="gpt2")
    with pytest.raises(InputError, match="'resnet50' is a network of torchvision"):
        ask(language="resnet50")
    network = gpt2(tmp_path / "gpt2")
    with pytest.raises(InputError, match="reads 24 tokens, fewer than n_prefix"):
        ask(language=str(network), max_tokens=40)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gpt2"]


def test_the_commands(arrays, run, tmp_path):
    responses, features, stimuli, split, _ = arrays
    for name, dataset in (("r", responses), ("f", features), ("t", stimuli), ("s", split)):
        save(dataset, tmp_path / f"{name}.nc")
    given = ("--features", tmp_path / "f.nc", "--stimuli", tmp_path / "t.nc", "--split", tmp_path / "s.nc")
    options = json.dumps(OPTIONS.model_dump(exclude_defaults=True) | {"max_epochs": 2})
    status, out, err = run("captioner", "train", *given, "--options", options, "--out", tmp_path / "c")
    assert status == 0 and "180 pictures" in out and "nats a token" in out, err
    status, out, err = run(
        "captioner", "write", tmp_path / "c", "--features", tmp_path / "f.nc", "--out", tmp_path / "w.csv"
    )
    assert status == 0 and out.startswith("p000: "), err
    texts = ("--texts", tmp_path / "w.csv")
    assert run("captioner", "train", *given, *texts, "--options", options, "--out", tmp_path / "d")[0] == 0
    ask = ("caption", "voxels", "--responses", tmp_path / "r.nc", *given, "--generate", "--out", tmp_path / "o.csv",
           "--regions", tmp_path / "g.csv")  # fmt: skip
    assert run(*ask, "--captioner", tmp_path / "c")[0] == 0
    status, _, err = run(*ask, "--captioner", tmp_path / "none")
    assert status == 2 and "Train one: `neuroenc captioner train`" in err
    status, _, err = run("captioner", "train", *given, "--options", '{"language": "words", "frozen": true}',
                         "--out", tmp_path / "e")  # fmt: skip
    assert status == 2 and "is untrained. Leave `frozen` out" in err and len(err.strip().splitlines()) == 1


def test_dropout_of_a_frozen_language_model_is_off(tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt2(tmp_path / "g"))
    module = PrefixCaptioner(model, 4, 2, "mlp", frozen=True).train()
    assert module.training and not module.language.training
    assert not any(p.requires_grad for p in module.language.parameters())


def test_a_single_validation_picture_is_held_against_another_embedding(arrays, tmp_path):
    _, features, stimuli, *_ = arrays
    found = train_captioner.corpus(features.isel(stimulus=slice(0, 12)), stimuli)
    made = train_captioner.train(found, OPTIONS.model_copy(update={"validation": 0.01}), tmp_path / "c")
    assert made["n_validation"] == 1 and made["shuffled"] != made["surprise"]
