import pytest
from safetensors.torch import load_file

from neuroenc.features import nano
from neuroenc.simulation import grammar, simulate, train_network


def test_zero_shot_is_far_above_chance_and_as_recorded():
    network = nano.build(0)
    untrained = train_network.zero_shot(network.eval(), n=300, seed=1)
    network.load_state_dict(load_file(nano.CHECKPOINT))
    trained = train_network.zero_shot(network.eval(), n=300, seed=1)
    assert untrained["zero_shot_accuracy"] < 0.25
    # 300 of the 1,000 pictures of the record: within three standard errors of it
    assert trained["zero_shot_accuracy"] == pytest.approx(nano.record()["zero_shot_accuracy"], abs=0.09)
    assert trained["zero_shot_accuracy"] > 4 * trained["zero_shot_chance"]


def test_training_pictures_are_never_the_subjects():
    record = nano.record()
    trained = set(map(repr, train_network.training_scenes(record["n_pictures"], record["seed"])))
    assert len(trained) == record["n_pictures"]
    for seed in range(3):
        assert not trained & set(map(repr, simulate.subject_scenes(2400, seed)))


def test_training_is_seeded_and_learns(tmp_path, monkeypatch):
    graded = train_network.zero_shot
    monkeypatch.setattr(
        train_network, "zero_shot", lambda network, **options: graded(network, **options | {"n": 20})
    )
    options = {"n_pictures": 96, "epochs": 6, "batch_size": 32}
    a, b = (train_network.train(tmp_path / f"{k}.safetensors", **options) for k in "ab")
    assert a["sha256"] == b["sha256"]
    assert a["loss_per_epoch"][-1] < a["loss_per_epoch"][0] - 0.1


def test_the_network_knows_the_words_of_the_grammar():
    assert list(nano.words()) == grammar.vocabulary()
