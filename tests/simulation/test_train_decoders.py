import hashlib
import json

import numpy as np
import pytest
import torch

from neuroenc.decoders import nano as small
from neuroenc.evaluation.images import pixcorr
from neuroenc.simulation import grammar, train_decoders
from neuroenc.simulation.judge import named, train_judge
from neuroenc.simulation.train_decoders import Corpus, denoising, unseen
from neuroenc.simulation.train_network import categories, training_scenes
from neuroenc.words import content_words


def test_what_they_draw_and_say_of_unseen_pictures():
    category, embedding, _ = unseen(60)
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
    _, embedding, _ = unseen(40)
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


def test_what_pictures_show_is_a_part_of_the_loss():
    """The difference to squared error alone is the error of the embedding; it falls as training goes on."""
    scenes = training_scenes(24, 7)
    drawn = np.stack([grammar.draw(s, 96) for s in scenes])
    pixels = np.stack([small.resize(p, small.SIDE) for p in drawn])
    embedding, shown = small.embed(drawn), train_decoders.categories_shown(scenes)
    data = Corpus(pixels, np.zeros((24, 5, 4), int), embedding, shown)
    assert shown.sum(1).min() == 1 and shown[0, grammar.CATEGORIES.index(scenes[0].things[0].category)]
    # gradients pass through what embeds pictures elsewhere
    x = torch.from_numpy(drawn[:4]).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert small.look(x).numpy() == pytest.approx(embedding[:4], abs=1e-3)

    def found(model, seen):
        torch.manual_seed(1)
        return denoising(data, seen)(model, np.arange(24))

    def exact(x, time, given):
        return small.to_patches(data.pixels)

    again = small.embed_patches(small.to_patches(pixels[:12])).numpy()
    error = (((again - embedding[:12]) / data.standard()[1]) ** 2).mean()
    assert found(exact, 0.0) == 0
    assert found(exact, 2.0).detach() == pytest.approx(2 * error, rel=0.05)  # in half precision
    model, *_ = small.load(small.PICTURES, small.picture_model())
    before = found(model.requires_grad_(True), 1.0)
    before.backward()
    length = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.002 * p.grad / length
        assert found(model, 1.0) < before


def test_a_judge_names_what_it_was_shown():
    """Squares and discs of any colour; it was not told which."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :24] - 11.5
    masks = [np.maximum(abs(y), abs(x)) < 7, (np.hypot(y, x) < 8) & (np.hypot(y, x) > 4)]
    kind = rng.integers(2, size=320)
    colour = rng.integers(60, 255, size=(320, 1, 1, 3))
    pixels = np.where(np.stack(masks)[kind][..., None], colour, 20).astype(np.uint8)
    judge = train_judge(pixels[:256], np.eye(2, dtype=bool)[kind[:256]], epochs=8)
    assert (named(judge, pixels[256:]) == kind[256:]).mean() > 0.9
