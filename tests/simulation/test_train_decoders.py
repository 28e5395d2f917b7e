import hashlib
import json

import numpy as np
import pytest

from neuroenc.decoders import nano as small
from neuroenc.evaluation.images import pixcorr
from neuroenc.simulation import grammar, train_decoders
from neuroenc.simulation.train_decoders import unseen
from neuroenc.simulation.train_network import categories, training_scenes
from neuroenc.words import content_words


def test_what_they_draw_and_say_of_unseen_pictures():
    category, embedding = unseen(60)
    made = small.generate(embedding)
    assert made.shape == (60, 48, 48, 3)
    named = categories(small.network().module, np.stack([small.resize(p, 96) for p in made]))
    # 60 pictures of the same kind as the record's 500: within three standard errors of it
    assert (named == category).mean() == pytest.approx(
        small.record(small.PICTURES)["category_of_generated"], abs=0.2
    )
    words = grammar.category_words()
    said = [set(content_words(t)) for t in small.describe(embedding)]
    right = [bool(words[grammar.CATEGORIES[c]] & s) for c, s in zip(category, said, strict=True)]
    assert np.mean(right) == pytest.approx(small.record(small.CAPTIONS)["category_named"], abs=0.09)
    # one seed, one picture, whoever stands beside it
    again = small.generate(embedding[3:5], seed=3)
    assert np.abs(again.astype(int) - made[3:5].astype(int)).max() <= 2
    assert small.describe(None, n=3, seed=1) == small.describe(None, n=3, seed=1)
    # a low-level picture says what is where
    shown = np.stack([grammar.draw(s, 96) for s in training_scenes(20, 99)])
    wanted = small.embed(shown)
    placed = small.generate(wanted, low_level=np.stack([small.resize(p, 16) for p in shown]))
    free = small.generate(wanted)
    assert pixcorr(shown, placed).mean() > pixcorr(shown, free).mean() + 0.1


def test_captions_are_written_as_they_are_read():
    rng = np.random.default_rng(0)
    for scene in training_scenes(100, 5):
        for text in grammar.sample_captions(scene, rng)[0]:
            (ids,) = small.to_ids([text])
            assert small.to_text(ids.tolist()) == text
    (ids,) = small.to_ids(["Three things: a cat, a key and a face of a man, small, at night."])
    assert (ids > 0).sum() == 19 + 1


def test_said_sentences_are_punctuated():
    _, embedding = unseen(40)
    noisy = embedding + 0.3 * embedding.std(0) * np.random.default_rng(0).normal(size=embedding.shape)
    for text in small.describe(np.concatenate([embedding, noisy]).astype(np.float32)):
        assert ("things" in text) == ("things:" in text), text


def test_one_seed_trains_the_same_weights(tmp_path, run, monkeypatch):
    monkeypatch.setattr(train_decoders, "unseen", lambda _: unseen(20))
    command = ("nano", "train", "captions")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        status, _, err = run(
            *command, tmp_path / f"{name}.safetensors", "--n-pictures", 256, "--epochs", 1, "--seed", seed
        )
        assert status == 0, err
    hashes = [hashlib.sha256((tmp_path / f"{n}.safetensors").read_bytes()).hexdigest() for n in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    record = json.loads((tmp_path / "a_training.json").read_text())
    assert record["sha256"] == hashes[0]
    assert record["category_chance"] == 0.125
