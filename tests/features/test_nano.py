import hashlib

import numpy as np
import pytest

from neuroenc.errors import InputError
from neuroenc.features import nano


def test_shipped_weights_are_those_of_the_record():
    record = nano.record()
    assert hashlib.sha256(nano.CHECKPOINT.read_bytes()).hexdigest() == record["sha256"]
    assert nano.CHECKPOINT.stat().st_size == record["bytes"] <= 4_000_000
    network = nano.build(0)
    assert sum(p.numel() for p in network.parameters()) == record["parameters"]


def test_tokens():
    tokens = nano.tokenize(["A red cat.", "A red cat under the stars, small."])
    assert tokens.shape == (2, 32)
    assert (tokens.argmax(1) == [3, 7]).all()  # end of text is the highest id
    np.testing.assert_array_equal(tokens[0, :3], tokens[1, :3])
    with pytest.raises(InputError, match="does not know the word 'zebra'"):
        nano.tokenize(["A zebra."])
