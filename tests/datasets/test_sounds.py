"""Samples of WAV come out between -1 and 1, whatever they are stored as."""

import numpy as np
import pytest
from scipy.io import wavfile

from neuroenc.datasets.sounds import read_sound
from neuroenc.errors import InputError

RATE = 8000
TONE = 0.5 * np.sin(0.01 * np.arange(400))


@pytest.mark.parametrize(
    ("stored", "step"),
    [
        (TONE, 1e-7),
        (TONE.astype(np.float32), 1e-7),
        (np.round(TONE * 2**31).astype(np.int32), 1e-7),
        (np.round(TONE * 2**15).astype(np.int16), 2**-15),
        (np.round(TONE * 128 + 128).astype(np.uint8), 2**-7),
    ],
)
def test_full_scale_is_one(tmp_path, stored, step):
    wavfile.write(tmp_path / "a.wav", RATE, stored)
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav").values, TONE, atol=step)


@pytest.mark.parametrize("samples", [TONE * 2**15, np.where(np.arange(400) == 7, np.nan, TONE)])
def test_floating_samples_of_another_scale_are_refused(tmp_path, samples):
    wavfile.write(tmp_path / "a.wav", RATE, samples)
    with pytest.raises(InputError, match=r"a\.wav holds .*expected floating numbers from -1 to 1"):
        read_sound(tmp_path / "a.wav")
