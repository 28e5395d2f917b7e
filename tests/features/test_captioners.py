"""Networks that write texts of pictures: the likeliest words, whole files, kept work, one line for each mistake."""

import hashlib
import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest

from neuroenc.arrays import load, make_stimuli, save
from neuroenc.errors import InputError
from neuroenc.features import checkpoints, registry
from neuroenc.features.captioners import Captioner
from neuroenc.features.texts import with_texts
from neuroenc.words import plain_words
from tests.features.test_language import make_folder
from tests.layouts.server import serve

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 255, (40, 50, 3), np.uint8) for _ in range(2)] + [
    np.full((30, 60, 3), v, np.uint8) for v in (0, 80, 250)
]
IDS = np.array(["p10", "p2", "ÿ", "a,b", "p30"])
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<image>"]
WORDS = [
    "a", "an", "the", "cat", "dog", "house", "tree", "red", "blue", "green", "on", "in", "of", "with", "large",
    "small", "runs", "sits", "grass", "sky", "what", "does", "describe", "image", "paragraph", "is", "shown",
]  # fmt: skip
MARKS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
MOST = 8
KINDS = {  # folder of the network: its prompts
    "florence2": (None, "<CAPTION>"),
    "blip2-opt": (None, "a red"),
    "blip2-t5": (None, "a red"),
}

SEEDS = {"florence2": 4, "blip2-opt": 5, "blip2-t5": 2}  # some texts end by themselves and some are cut


def make_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def florence2(tokenizer):
    config = transformers.Florence2Config(
        vision_config={
            "depths": (1, 1, 1, 1), "embed_dim": (8, 8, 16, 16), "num_heads": (2, 2, 2, 2),
            "num_groups": (2, 2, 2, 2), "window_size": 2, "projection_dim": 16, "max_position_embeddings": 4,
            "max_temporal_embeddings": 4,
        },
        text_config={
            "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1,
            "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
            "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 64, **MARKS,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
        image_token_id=4, decoder_start_token_id=2, **MARKS,
    )  # fmt: skip
    side = {"height": 64, "width": 64}  # 2 x 2 tokens and their mean
    images = transformers.CLIPImageProcessor(size=side, do_center_crop=False, image_seq_length=5)
    return (
        transformers.Florence2ForConditionalGeneration(config),
        transformers.Florence2Processor(image_processor=images, tokenizer=tokenizer),
    )


def blip2(tokenizer, language):
    texts = {
        "opt": TINY | {"ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 64},
        "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2,
               "decoder_start_token_id": 1},
    }[language]  # fmt: skip
    n = len(tokenizer)
    config = transformers.Blip2Config(
        vision_config=TINY | {"image_size": 32, "patch_size": 16},
        qformer_config=TINY | {"vocab_size": n, "encoder_hidden_size": 16},
        text_config={"model_type": language, "vocab_size": n, **MARKS, **texts},
        num_query_tokens=3, image_token_index=4,
    )  # fmt: skip
    images = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    return (
        transformers.Blip2ForConditionalGeneration(config),
        transformers.Blip2Processor(images, tokenizer, num_query_tokens=3),
    )


def make_captioner(folder, kind):
    """A tiny network as the hub would have it, with weights so large that pictures get texts of their own."""
    tokenizer = make_tokenizer()
    module, processor = florence2(tokenizer) if kind == "florence2" else blip2(tokenizer, kind[6:])
    generator = torch.Generator().manual_seed(SEEDS[kind])
    with torch.no_grad():
        for name, values in sorted(module.named_parameters()):
            if values.ndim > 1 or name == "query_tokens":
                values.normal_(0, 0.5, generator=generator)
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    return module.eval()


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioners")
    return {kind: (folder / kind, make_captioner(folder / kind, kind)) for kind in KINDS}


@pytest.fixture
def stimuli(tmp_path):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["picture"] = RNG.integers(0, 255, (len(IDS), 40, 40, 3), np.uint8)
    n = np.arange(len(IDS))
    columns = {"stimulus_id": IDS, "pixel_index": n, "split": np.full(len(IDS), "train"), "group": IDS}
    made = make_stimuli(columns, attrs={"dataset": "toy", "pixels": f"{tmp_path}/p.h5#picture"})
    save(made, tmp_path / "s.nc")
    return made


@pytest.fixture
def describe(run, stimuli, networks, tmp_path):
    def call(*options, network=networks["blip2-opt"][0], out=tmp_path / "t.csv"):
        given = ("--stimuli", tmp_path / "s.nc", "--network", network, "--out", out)
        return run("features", "describe", *given, "--device", "cpu", "--max-tokens", MOST, *options)

    return call


def likeliest(module, kind, processor, picture, prompt):
    """Words of one picture, one after the other by whole passes without a cache; whether they came to an end."""
    from PIL import Image

    image = Image.fromarray(picture)
    if kind == "florence2":
        given = processor(images=image, text=prompt or "<MORE_DETAILED_CAPTION>", return_tensors="pt")
        asked, words = given["input_ids"], [2]
    else:
        given = processor.image_processor(image, return_tensors="pt")
        begin = processor.tokenizer(prompt)["input_ids"] if prompt else [0]
        asked, words = torch.tensor([[4, 4, 4, *begin]]), [1] if kind.endswith("t5") else []
    done = []
    while len(done) < MOST and (not done or done[-1] != 2):
        said = torch.tensor([words + done], dtype=torch.long)
        if words:  # an encoder read the picture, a decoder says the text
            more = {"input_ids": asked, "decoder_input_ids": said}
        else:
            more = {"input_ids": torch.cat([asked, said], 1)}
        with torch.no_grad():
            logits = module(pixel_values=given["pixel_values"], **more).logits
        done.append(int(logits[0, -1].argmax()))
    ended = 2 in done[: MOST - 1]
    if kind == "florence2" and not ended:
        done[-1] = 2  # as its settings ask
    return " ".join(processor.tokenizer.decode(done, skip_special_tokens=True).split()), ended


@pytest.mark.parametrize(("kind", "prompt"), [(k, p) for k, prompts in KINDS.items() for p in prompts])
def test_each_text_is_the_likeliest_word_after_word(kind, prompt, networks):
    folder, module = networks[kind]
    found = Captioner(str(folder), prompt, max_tokens=MOST, device="cpu")
    said, n_cut = found(PICTURES)
    wanted = [likeliest(module, kind, found.processor, p, prompt) for p in PICTURES]
    assert said == [text for text, _ in wanted] and len(set(said)) > 1
    assert n_cut == sum(not ended for _, ended in wanted)
    assert [found([p])[0][0] for p in PICTURES] == said


def test_the_published_tasks_of_florence_are_words_to_the_network(networks):
    shown = Captioner(str(networks["florence2"][0]), max_tokens=MOST, device="cpu")
    ids = shown._shown(PICTURES[:1])[0]["input_ids"][0]
    words = shown.processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert shown.prompt == "<MORE_DETAILED_CAPTION>" and "paragraph what is shown in the image" in words


def test_precision_is_what_the_network_runs_in(networks):
    made = Captioner(str(networks["florence2"][0]), max_tokens=MOST, precision="bfloat16", device="cpu")
    assert {p.dtype for p in made.module.parameters()} == {torch.bfloat16} and len(made(PICTURES)[0]) == 5


def test_what_is_written_is_read_as_texts(describe, stimuli, networks, tmp_path):
    status, _, err = describe("--prompt", "a red", "--batch-size", 2)
    assert status == 0 and "may lack their end" in err
    table = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert table["stimulus_id"].tolist() == IDS.tolist()
    folder, _ = networks["blip2-opt"]
    with h5py.File(tmp_path / "p.h5") as file:
        said, _ = Captioner(str(folder), "a red", max_tokens=MOST, device="cpu")(list(file["picture"][:]))
    assert table["text"].tolist() == said
    assert with_texts(stimuli, str(tmp_path / "t.csv"))["caption"].values[:, 0].tolist() == said
    made = json.loads((tmp_path / "t.json").read_text())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert made["network"] == f"blip-2/{folder}" and made["weights"] == f"model.safetensors:{digest}"
    assert made["prompt"] == "a red" and made["decoding"] == f"greedy, at most {MOST} tokens"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.h5", "s.nc", "t.csv", "t.json"]


def test_a_killed_run_goes_on_and_a_changed_one_begins_anew(describe, tmp_path, monkeypatch):
    shown = []
    plain = Captioner.__call__

    def call(self, pictures, limit=None):
        if limit is not None and len(shown) >= limit:
            raise InputError("killed")
        shown.append(len(pictures))
        return plain(self, pictures)

    monkeypatch.setattr(Captioner, "__call__", call)
    assert describe("--batch-size", 2, out=tmp_path / "whole.csv")[0] == 0
    assert shown == [2, 2, 1]
    shown.clear()
    monkeypatch.setattr(Captioner, "__call__", lambda self, p: call(self, p, 2))
    assert describe("--batch-size", 2)[0] == 2 and not (tmp_path / "t.csv").exists()
    monkeypatch.setattr(Captioner, "__call__", call)
    shown.clear()
    assert describe("--batch-size", 2)[0] == 0 and shown == [1]
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    monkeypatch.setattr(Captioner, "__call__", lambda self, p: call(self, p, 2))
    assert describe("--batch-size", 2, out=tmp_path / "u.csv")[0] == 2
    monkeypatch.setattr(Captioner, "__call__", call)
    shown.clear()
    status, _, err = describe("--batch-size", 2, "--prompt", "a red", out=tmp_path / "u.csv")
    assert status == 0 and "was of other stimuli or options: all texts are written anew" in err
    assert shown == [2, 2, 1] and not list(tmp_path.glob(".*"))


def test_finished_texts_are_kept_and_those_of_others_never_lost(describe, tmp_path, networks):
    assert describe()[0] == 0
    first = (tmp_path / "t.csv").read_bytes(), (tmp_path / "t.csv").stat().st_mtime_ns
    status, _, err = describe()
    assert status == 0 and "nothing is to be done" in err
    assert ((tmp_path / "t.csv").read_bytes(), (tmp_path / "t.csv").stat().st_mtime_ns) == first
    status, _, err = describe(network=networks["florence2"][0])
    assert (
        status == 0
        and "t.csv is of another network and weights and prompt: all texts are written anew" in err
    )
    assert (tmp_path / "t.csv").read_bytes() != first[0]
    (tmp_path / "t.csv").write_text("stimulus_id,text\np2,by hand\n")
    status, _, err = describe()
    assert status == 2 and "is not as `features describe` wrote it. Name another file" in err
    (tmp_path / "t.json").unlink()
    assert describe()[0] == 2 and "by hand" in (tmp_path / "t.csv").read_text()


def test_texts_without_words_are_said(describe, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "__call__", lambda self, p: (["", *["a cat"] * (len(p) - 1)], 0))
    assert "1 of 5 texts are empty, first that of 'p10'" in describe()[2]


def without(folder, name):
    (folder / name).unlink()


MISTAKES = {
    "a name": ({"network": "florence2-bas"}, r"'network': 'florence2-bas'.*did you mean 'florence2-base'\?"),
    "not fetched": ({"network": "florence2-base"}, "Run `neuroenc weights fetch florence-community/Florence-2-base`"),
    "a language model": ({"network": "bert-base"}, "'bert-base' writes no text. Expected 'blip2-opt-2.7b'"),
    "a task": ({"options": ("--prompt", "<OD>")}, "'prompt': '<OD>'. Allowed: '<MORE_DETAILED_CAPTION>'"),
    "an ending": ({"out": "t.txt"}, "'--out': .*Expected the name of a .csv file"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_requests_are_one_line(name, describe, networks, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "none"))
    given, message = MISTAKES[name]
    network = given.get("network", networks["florence2"][0])
    status, _, err = describe(
        *given.get("options", ()), network=network, out=tmp_path / given.get("out", "t.csv")
    )
    assert status == 2 and len(err.strip().splitlines()) == 1
    assert re.search(message, err), err
    assert not list(tmp_path.glob("t.*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: without(f, "model.safetensors"), r"no weights \(\*.safetensors\)"),
        (lambda f: without(f, "config.json"), "Cannot read config.json"),
        (lambda f: without(f, "processor_config.json"), "Cannot read the processor"),
        (lambda f: make_folder(f, "bert"), "is a network of bert, which writes no text of pictures"),
    ],
)
def test_broken_folders_are_one_line(spoil, message, describe, tmp_path):
    make_captioner(tmp_path / "network", "florence2")
    spoil(tmp_path / "network")
    status, _, err = describe(network=tmp_path / "network")
    assert status == 2 and len(err.strip().splitlines()) == 1
    with pytest.raises(InputError, match=message):
        Captioner(str(tmp_path / "network"), device="cpu")


def test_stimuli_without_pictures_are_one_line(describe, stimuli, tmp_path):
    save(stimuli.assign_attrs(pixels="not distributed"), tmp_path / "s.nc")
    status, _, err = describe(network="not looked at")
    assert status == 2 and "come without pictures" in err and len(err.strip().splitlines()) == 1


def test_weights_are_fetched_by_name(tmp_path, monkeypatch, run):
    make_captioner(tmp_path / "source", "florence2")
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "store"))
    repository = registry.CAPTIONERS["florence2-base"].published
    files = {p.name: p.read_bytes() for p in (tmp_path / "source").iterdir()}
    about = {"sha": "0123456", "siblings": [{"rfilename": n, "size": len(d)} for n, d in files.items()]}
    served = {f"api/models/{repository}/revision/main": json.dumps(about).encode()}
    served |= {f"{repository}/resolve/0123456/{name}": data for name, data in files.items()}
    with serve(served) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert run("weights", "fetch", "florence2-base")[0] == 0
    assert (
        "florence2-base" in run("weights", "list")[1] and run("weights", "verify", "florence2-base")[0] == 0
    )
    assert checkpoints.needed("blip2-opt-2.7b")
    fetched, local = (
        Captioner(name, max_tokens=MOST, device="cpu")
        for name in ("florence2-base", str(tmp_path / "source"))
    )
    assert fetched(PICTURES) == local(PICTURES) and fetched.made["weights"] == local.made["weights"]


def test_texts_of_a_simulated_dataset_are_encoded(tree, nsd_options, tmp_path, networks, run):
    """Pictures, their texts, features of the texts, an encoder: through the commands."""
    dataset = nsd_options.model_dump_json(exclude_defaults=True)
    common = ("--options", dataset, "--subject", "01")
    assert run("data", "stimuli", *common, "--out", tmp_path / "s.nc")[0] == 0
    assert run("data", "responses", *common, "--out", tmp_path / "r.nc")[0] == 0
    stimuli = ("--stimuli", tmp_path / "s.nc")
    described = ("features", "describe", *stimuli, "--network", networks["blip2-opt"][0], "--batch-size", 32)
    assert run(*described, "--max-tokens", MOST, "--device", "cpu", "--out", tmp_path / "t.csv")[0] == 0
    model = json.dumps({"extractor": "caption", "texts": str(tmp_path / "t.csv")})
    assert run("features", "extract", *stimuli, "--options", model, "--out", tmp_path / "f.nc")[0] == 0
    assert run("split", "make", *stimuli, "--options", "{}", "--out", tmp_path / "split.nc")[0] == 0
    status, _, err = run(
        "encode", "fit", "--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc", "--split",
        tmp_path / "split.nc", "--options", '{"name": "ridge"}', "--out", tmp_path / "p.nc", "--weights",
        tmp_path / "w.safetensors",
    )  # fmt: skip
    assert status == 0, err
    texts = with_texts(load(tmp_path / "s.nc", "stimuli"), str(tmp_path / "t.csv"))["caption"].values[:, 0]
    features = load(tmp_path / "f.nc", "features")
    assert "texts of t.csv:" in features.attrs["preprocessing"] and len(set(texts)) > 2
    table = features["feature"].values
    np.testing.assert_array_equal(table.sum(1), [len(plain_words(t)) for t in texts])
    assert np.isfinite(load(tmp_path / "p.nc", "predictions")["prediction"].values).all()
