"""Mel spectra and motion energy: of gratings that drift, tones, silence, and of films cut into stimuli."""

import numpy as np
import pytest
import scipy.signal
import torch
from scipy.io import wavfile

from neuroenc.arrays import load, make_stimuli
from neuroenc.config import Model
from neuroenc.datasets import clips
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.sounds import Sound, read_sound, resampled
from neuroenc.errors import InputError
from neuroenc.features import moving
from neuroenc.features.extract import describe, extract
from neuroenc.features.moving import DRIFTS, FPS, N_ORIENTATIONS, PYRAMID, Mel, MotionEnergy

RNG = np.random.default_rng(0)
MOTION = MotionEnergy()
DIRECTIONS = [(w, o) for w in DRIFTS for o in range(N_ORIENTATIONS)]


def grating(wavelength, angle, drift, seconds=1.0, fps=FPS, contrast=100, phase=0.0):
    """A wave that passes `drift` cycles a second towards `angle`, seen in a picture with y down."""
    y, x = np.mgrid[:128, :128]
    along = (np.cos(angle) * x + np.sin(angle) * y) / wavelength
    t = (np.arange(round(seconds * fps)) + 0.5) / fps
    wave = 127 + contrast * np.cos(2 * np.pi * (along - drift * t[:, None, None]) + phase)
    return np.repeat(wave.round().astype(np.uint8)[..., None], 3, axis=3)


def energy(frames, fps=FPS):
    """Mean over cells of each filter: (wavelength, drift and orientation)."""
    found = describe([(frames, fps)], Model(network="motion_energy"))["feature"].values[0]
    parts = np.split(found, np.cumsum([20 * cells**2 for _, cells in PYRAMID])[:-1])
    return np.stack([p.reshape(20, -1).mean(1) for p in parts])


@pytest.mark.parametrize("number", range(1, len(PYRAMID)))  # 4 px is as fine as the grating's own pixels
@pytest.mark.parametrize("direction", range(8))
@pytest.mark.parametrize("speed", [2.0, 4.0])
def test_the_filter_of_a_direction_and_speed_answers_most(number, direction, speed):
    wavelength = PYRAMID[number][0]
    found = energy(grating(wavelength, np.pi * direction / 4, speed, seconds=2))
    drift = speed if direction < 4 else -speed  # the opposite of a direction in the first half circle
    best, opposite = (DIRECTIONS.index((w, direction % 4)) for w in (drift, -drift))
    assert np.unravel_index(found.argmax(), found.shape) == (number, best)
    assert found[number, opposite] < 0.12 * found[number, best]
    assert found[number, DIRECTIONS.index((0.0, direction % 4))] < 0.5 * found[number, best]


def test_what_stands_still_answers_without_direction():
    found = energy(grating(16, 0, 0))
    still = DIRECTIONS.index((0.0, 0))
    assert np.unravel_index(found.argmax(), found.shape) == (2, still)
    there, back = (found[2, DIRECTIONS.index((w, 0))] for w in (2.0, -2.0))
    assert there == pytest.approx(back, rel=1e-3) and there < 0.25 * found[2, still]
    flicker = grating(16, 0, 2).astype(float) / 2 + grating(16, np.pi, 2).astype(float) / 2
    found = energy(flicker.astype(np.uint8))  # two gratings that drift against each other
    there, back = (found[2, DIRECTIONS.index((w, 0))] for w in (2.0, -2.0))
    assert there == pytest.approx(back, rel=0.1)


def test_motion_energy_is_that_of_a_plain_convolution():
    frames = RNG.integers(0, 255, (20, 128, 128, 3), dtype=np.uint8)
    (prepared,) = MOTION.prepare([clips.of_frames(frames, FPS)])
    assert prepared.shape == (20 + 14, 128, 128)
    wavelength, cells, angle, drift = 16, 8, np.pi / 4, -4.0
    sigma = 3 * np.sqrt(2 * np.log(2)) * wavelength / (2 * np.pi)
    r = np.arange(-64, 65)
    y, x = np.meshgrid(r, r, indexing="ij")
    wave = np.exp(2j * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / wavelength)
    gabor = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) * wave
    seen = prepared - prepared.mean()
    space = np.stack([scipy.signal.fftconvolve(f, gabor, mode="same") for f in seen])
    s = np.arange(-7, 8) / FPS
    weight = np.exp(-(s**2) / (2 * moving.TAU**2))
    weight = weight / weight.sum() * np.exp(2j * np.pi * drift * s)
    found = np.abs([(space[t : t + 15] * weight[:, None, None]).sum(0) for t in range(20)]).mean(0)
    edges = np.linspace(0, 128, cells + 1).round().astype(int)
    inner = found[edges[3] : edges[4], edges[3] : edges[4]].mean()  # a cell no edge reaches
    own = MOTION.run([prepared])["energy"][0]
    start = sum(20 * k**2 for _, k in PYRAMID[:2])
    number = DIRECTIONS.index((drift, 1))
    assert own[start + number * 64 + 3 * 8 + 3] == pytest.approx(inner, rel=2e-3)


def test_motion_energy_takes_grids_and_short_clips():
    frames = grating(16, 0, 2)
    tokens = describe([(frames, FPS)], Model(network="motion_energy", pooling="grid:4"))
    assert tokens["feature"].shape == (1, 16, len(PYRAMID) * 20) and tokens.attrs["pooling"] == "grid:4"
    assert energy(frames[:1]).shape == (5, 20)  # a single frame stands still
    with pytest.raises(InputError, match="Invalid value for 'pooling'"):
        describe([(frames, FPS)], Model(network="motion_energy", pooling="tokens"))


def tone(frequency, rate, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_mel_filters_are_those_of_transformers():
    audio = pytest.importorskip("transformers.audio_utils")
    own = audio.mel_filter_bank(
        num_frequency_bins=201, num_mel_filters=80, min_frequency=0.0, max_frequency=8000.0,
        sampling_rate=16_000, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(moving.mel_filters(16_000, 400, 80), own.T, atol=1e-12)


def test_the_spectrogram_is_that_of_a_short_time_fourier_transform():
    sound = RNG.normal(size=16_000).astype(np.float32) / 5
    spectrum = torch.stft(
        torch.tensor(sound), 400, 160, window=torch.hann_window(400), center=False, return_complex=True
    )
    power = spectrum.abs().numpy() ** 2
    expected = np.log10(np.maximum(moving.mel_filters(16_000, 400, 80) @ power, 1e-10))
    found = Mel().spectrogram(sound)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    features = describe([(sound, 16_000)], Model(network="mel"))
    np.testing.assert_allclose(features["feature"].values[0], expected.mean(1), atol=1e-4)
    assert features["feature"].shape == (1, 80) and set(features["layer"].values) == {"mel"}


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_sounds_of_other_rates_are_resampled(rate):
    made = resampled(Sound(tone(440, rate), rate), 16_000)
    assert abs(len(made) - 16_000) <= 1
    np.testing.assert_allclose(made[800:-800], tone(440, 16_000)[800 : len(made) - 800], atol=5e-3)
    if rate > 20_000:  # what the lower rate cannot hold does not fold over
        assert np.abs(resampled(Sound(tone(10_000, rate), rate), 16_000)[800:-800]).max() < 0.01
    mel = describe([(tone(440, rate), rate), (tone(440, 16_000), 16_000)], Model(network="mel"))
    low = mel["feature"].values[:, 5:20]  # around the tone
    assert low[0].argmax() == low[1].argmax() and np.abs(low[0].max() - low[1].max()) < 0.01


def test_silence_and_what_is_too_short():
    silent = describe([(np.zeros(8_000, "f4"), 16_000)], Model(network="mel"))
    np.testing.assert_array_equal(silent["feature"].values, np.full((1, 80), -10, "f4"))
    with pytest.raises(InputError, match=r"^A sound lasts 0\.020 s, less than a window of 0\.025 s\."):
        describe([(np.zeros(320, "f4"), 16_000)], Model(network="mel"))


@pytest.mark.parametrize(
    ("item", "network", "message"),
    [(np.zeros(9), "mel", "expected a sound"), ((np.zeros(9, "i2"), 8_000), "mel", "int16 of shape"),
     ((np.zeros((2, 9)), 8_000), "mel", r"of shape \(2, 9\)"), ((np.zeros(9), 0), "mel", "at 0, expected"),
     ((np.full(900, np.nan), 8_000), "mel", "not finite"),
     ((np.zeros((2, 9, 9, 3)), 8), "motion_energy", "float64 .*expected a clip"),
     ((np.zeros((2, 9, 9), "u1"), 8), "motion_energy", "expected a clip")],
)  # fmt: skip
def test_what_is_no_sound_or_clip_is_refused(item, network, message):
    with pytest.raises(InputError, match=message) as caught:
        describe([item], Model(network=network))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
def test_wav_of_any_kind_is_read_alike(kind, tmp_path):
    wave = np.stack([tone(300, 8_000), np.zeros(8_000, "f4")], 1)
    scale = {np.uint8: 127, np.int16: 2**15 - 1, np.int32: 2**31 - 1, np.float32: 1}[kind]
    stored = (wave * scale + (128 if kind is np.uint8 else 0)).astype(kind)
    wavfile.write(tmp_path / "a.wav", 8_000, stored)
    sound = read_sound(tmp_path / "a.wav", 0.25, 0.5)
    assert sound.rate == 8_000 and sound.values.dtype == np.float32
    np.testing.assert_allclose(sound.values, tone(300, 8_000)[2_000:6_000] / 2, atol=0.01)
    assert len(read_sound(tmp_path / "a.wav").values) == 8_000
    assert len(read_sound(tmp_path / "a.wav", 0.55, 0.5).values) == 4_000  # 0.05 s are lacking: silence
    with pytest.raises(InputError, match=r"ends at 1\.00 s, a stimulus asks for 1\.30 s"):
        read_sound(tmp_path / "a.wav", 0.8, 0.5)
    (tmp_path / "b.wav").write_bytes(b"RIFF no sound")
    with pytest.raises(InputError, match=r"Cannot read the sound .*b\.wav"):
        read_sound(tmp_path / "b.wav")


RATE = 24  # frames/s


def write_film(path, frames, sound=None, rate=48_000):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt, video.bit_rate = 128, 128, "yuv420p", 8_000_000
        audio = container.add_stream("aac", rate=rate, layout="mono") if sound is not None else None
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, len(sound) - 1023, 1024):
                heard = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
                heard.sample_rate, heard.pts = rate, start
                container.mux(audio.encode(heard))
            container.mux(audio.encode(None))


def table_of(folder, files, onset, duration, film=None):
    n = len(files)
    return make_stimuli(
        {"stimulus_id": [f"s{i}" for i in range(n)], "pixel_index": np.arange(n), "split": ["train"] * n,
         "group": film or files, "film": film or files, "file": files, "onset": np.array(onset, float),
         "duration": np.array(duration, float)},
        attrs={"dataset": "toy", "pixels": str(folder)},
    )  # fmt: skip


@pytest.fixture
def film(tmp_path):
    """Four seconds: a grating drifts to the right, then to the left; a low tone, then a high one."""
    frames = [*grating(16, 0, 2, 2, RATE), *grating(16, np.pi, 2, 2, RATE)]
    sound = np.concatenate([tone(300, 48_000, 2), tone(3_000, 48_000, 2)])
    write_film(tmp_path / "film.mp4", frames, sound)
    return table_of(tmp_path, ["film.mp4"] * 4, range(4), [1] * 4)


def test_motion_of_a_film_cut_into_stimuli(film, tmp_path):
    extract(film, Model(network="motion_energy"), tmp_path / "f.nc", workers=0)
    found = load(tmp_path / "f.nc", "features")
    assert found["onset"].values.tolist() == [0, 1, 2, 3]
    start = sum(20 * k**2 for _, k in PYRAMID[:2])
    parts = found["feature"].values[:, start : start + 20 * 64].reshape(4, 20, 64).mean(2)
    right, left = (parts[:, DIRECTIONS.index((w, 0))] for w in (2.0, -2.0))
    assert (right[:2] > 3 * left[:2]).all() and (left[2:] > 3 * right[2:]).all()
    whole = table_of(tmp_path, ["film.mp4"], [0], [4])
    extract(whole, Model(network="motion_energy"), tmp_path / "g.nc", workers=0)
    mean = load(tmp_path / "g.nc", "features")["feature"].values[0, start : start + 20 * 64]
    # pieces see beyond their edges: their mean is the film's
    np.testing.assert_allclose(mean.reshape(20, 64).mean(1), parts.mean(0), rtol=0.02, atol=1e-4)


def test_sound_of_a_film_cut_into_stimuli(film, tmp_path):
    extract(film, Model(network="mel"), tmp_path / "f.nc", workers=0)
    mel = load(tmp_path / "f.nc", "features")["feature"].values
    low, high = (Mel().run([tone(f, 16_000)])["mel"][0].argmax() for f in (300, 3_000))
    assert mel.argmax(1).tolist() == [low, low, high, high]
    sound = read_sound(tmp_path / "film.mp4", 1.5, 1.0)
    assert sound.rate == 48_000 and len(sound.values) == 48_000
    np.testing.assert_allclose(sound.values[2_000:20_000], tone(300, 48_000, 2)[74_000:92_000], atol=0.05)
    np.testing.assert_allclose(sound.values[28_000:46_000], tone(3_000, 48_000, 2)[4_000:22_000], atol=0.05)
    model = Model(network="mel", lead=1.0)
    extract(film, model, tmp_path / "g.nc", workers=0)
    found = load(tmp_path / "g.nc", "features")
    assert found.attrs["preprocessing"].endswith("; 1 s before each shown along")
    ahead = found["feature"].values
    np.testing.assert_allclose(ahead[0], mel[0], atol=1e-6)  # a film has nothing before it begins
    assert ahead[2][low] > mel[2][low] + 1  # half of what is heard now
    with pytest.raises(InputError, match=r"film\.mp4 ends at .*, a stimulus asks for 5\.00 s"):
        extract(table_of(tmp_path, ["film.mp4"], [3.5], [1.5]), Model(network="mel"), tmp_path / "h.nc")
    assert not (tmp_path / "h.nc").exists()


def test_stimuli_that_are_no_film_or_have_no_sound(tmp_path):
    write_film(tmp_path / "mute.mp4", grating(16, 0, 2, 1, RATE))
    with pytest.raises(InputError, match=r"mute\.mp4 has no sound"):
        extract(
            table_of(tmp_path, ["mute.mp4"], [0], [1]), Model(network="mel"), tmp_path / "f.nc", workers=0
        )
    wavfile.write(tmp_path / "a.wav", 8_000, tone(300, 8_000))
    sounds = table_of(tmp_path, ["a.wav"] * 2, [0, 0.5], [0.5, 0.5])
    with pytest.raises(InputError, match=r"Stimulus 's0' is 'a\.wav', expected a film \(\.mp4"):
        extract(sounds, Model(network="motion_energy"), tmp_path / "f.nc", workers=0)
    extract(sounds, Model(network="mel"), tmp_path / "f.nc", workers=0)
    assert load(tmp_path / "f.nc", "features")["feature"].shape == (2, 80)
    assert len(set(merge_same(sounds)["group"].values)) == 1  # not looked at as pictures
    bare = sounds.drop_vars("file")
    with pytest.raises(InputError, match="'toy' come without films"):
        extract(bare, Model(network="mel"), tmp_path / "g.nc", workers=0)
