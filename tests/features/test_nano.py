import hashlib

import numpy as np
import pytest
from safetensors.torch import load_file

from neuroenc.datasets import simulate
from neuroenc.errors import InputError
from neuroenc.features import nano


def test_shipped_weights_are_those_of_the_record():
    record = nano.record()
    assert hashlib.sha256(nano.CHECKPOINT.read_bytes()).hexdigest() == record["sha256"]
    assert nano.CHECKPOINT.stat().st_size == record["bytes"] <= 4_000_000
    network = nano.build(0)
    assert sum(p.numel() for p in network.parameters()) == record["parameters"]


def test_zero_shot_is_far_above_chance_and_as_recorded():
    network = nano.build(0)
    untrained = nano.zero_shot(network.eval(), n=300, seed=1)
    network.load_state_dict(load_file(nano.CHECKPOINT))
    trained = nano.zero_shot(network.eval(), n=300, seed=1)
    assert untrained["zero_shot_accuracy"] < 0.25
    # 300 of the 1,000 pictures of the record: within three standard errors of it
    assert trained["zero_shot_accuracy"] == pytest.approx(nano.record()["zero_shot_accuracy"], abs=0.09)
    assert trained["zero_shot_accuracy"] > 4 * trained["zero_shot_chance"]


def test_training_pictures_are_never_the_subjects():
    record = nano.record()
    trained = set(map(repr, nano.training_scenes(record["n_pictures"], record["seed"])))
    assert len(trained) == record["n_pictures"]
    for seed in range(3):
        assert not trained & set(map(repr, simulate.subject_scenes(2400, seed)))


def test_tokens():
    tokens = nano.tokenize(["A red cat.", "A red cat under the stars, small."])
    assert tokens.shape == (2, 32)
    assert (tokens.argmax(1) == [3, 7]).all()  # end of text is the highest id
    np.testing.assert_array_equal(tokens[0, :3], tokens[1, :3])
    with pytest.raises(InputError, match="does not know the word 'zebra'"):
        nano.tokenize(["A zebra."])


def test_training_is_seeded_and_learns(tmp_path, monkeypatch):
    graded = nano.zero_shot
    monkeypatch.setattr(nano, "zero_shot", lambda network, **options: graded(network, **options | {"n": 20}))
    options = {"n_pictures": 96, "epochs": 6, "batch_size": 32}
    a, b = (nano.train(tmp_path / f"{k}.safetensors", **options) for k in "ab")
    assert a["sha256"] == b["sha256"]
    assert a["loss_per_epoch"][-1] < a["loss_per_epoch"][0] - 0.1
