import gc
import multiprocessing
from fractions import Fraction
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from neuroenc import config, splits
from neuroenc.arrays import load
from neuroenc.config import Dataset, Model, Split
from neuroenc.datasets import custom
from neuroenc.datasets.films import Film, as_shown, open_film
from neuroenc.datasets.pixels import read_pixels
from neuroenc.encoders.encode import encode
from neuroenc.errors import InputError
from neuroenc.features.extract import extract

av = pytest.importorskip("av")
RATE, SECONDS = 10, 24


def level(frame):
    """Grey of a frame number: each differs from its neighbours by more than compression blurs."""
    return 10 + (frame * 37) % 230


def write_film(path, seconds=SECONDS):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", 30, 4_000_000
        for number in range(seconds * RATE):
            picture = np.full((64, 64, 3), level(number), np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@pytest.fixture
def folder(tmp_path):
    """An experiment with two films, cut into stimuli of two seconds."""
    for name in ("çity", "sea"):
        write_film(tmp_path / f"{name}.mp4")
    rows = [
        (f"{film}-{t:03d}", f"{film}.mp4", film, t, 2.0) for film in ("çity", "sea") for t in range(0, 24, 2)
    ]
    table = pd.DataFrame(rows, columns=["stimulus_id", "file", "film", "onset", "duration"])
    table.to_csv(tmp_path / "stimuli.csv", index=False)
    table[["stimulus_id"]].to_csv(tmp_path / "trials.csv", index=False)
    np.save(tmp_path / "values.npy", np.random.default_rng(0).normal(size=(len(table), 5)))
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({
        "name": "Films", "units": "none", "stimuli": {"table": "stimuli.csv", "pictures": "."},
        "subjects": {"a": {"presentations": "trials.csv", "responses": "values.npy"}},
    }))  # fmt: skip
    return tmp_path


def options(folder):
    return Dataset(name="custom", root=str(folder))


def grey(picture):
    return picture.astype(float).mean()


def test_the_frame_that_is_shown_forwards_and_backwards(folder):
    film = Film(folder / "sea.mp4")
    assert film.duration == pytest.approx(SECONDS, abs=0.11)
    for time in (0.0, 0.05, 0.1, 0.3, 7.45, 7.5, 19.9, 2.0, 23.95, 0.0):
        assert grey(film.frame(time)) == pytest.approx(level(int(time * RATE + 1e-6)), abs=4), time
    with pytest.raises(InputError, match=r"ends at 23\.9\d s, a stimulus asks for 30\.00 s"):
        film.frame(30)


def test_a_film_can_be_let_go_of_in_a_process_that_was_forked(folder):
    """A decoder waits there for threads of its own that were not forked, for ever."""
    film = Film(folder / "sea.mp4")
    film.frame(3)
    child = multiprocessing.get_context("fork").Process(target=_let_go, args=([film],))
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode == 0 and grey(film.frame(4)) == pytest.approx(level(40), abs=4)


def _let_go(films):
    film = films.pop()
    film.frames = film.now = film.next = film.stream = film.container = None
    gc.collect()


def test_frames_of_a_stimulus_at_a_rate(folder, tmp_path):
    stimuli = custom.load_stimuli(options(folder), ["a"])
    assert stimuli["film"].values[0] == "çity" and stimuli["onset"].values[3] == 6
    one = read_pixels(stimuli, np.array([13]))[0]  # the middle of 2 to 4 s of the second film
    assert grey(one) == pytest.approx(level(30), abs=4)
    extract(stimuli, Model(extractor="luminance", pooling="grid:1", frame_rate=2.0), tmp_path / "f.nc")
    features = load(tmp_path / "f.nc", "features")
    assert features.attrs["preprocessing"].endswith("mean of 4 frames")
    assert features["film"].values.tolist() == stimuli["film"].values.tolist()
    extract(stimuli, Model(extractor="luminance", pooling="grid:1"), tmp_path / "g.nc", workers=2)
    parallel = load(tmp_path / "g.nc", "features")
    for values, per in ((features, 4), (parallel, 2)):
        for row in (0, 5, 13):
            start = stimuli["onset"].values[row]
            times = start + 2 * (np.arange(per) + 0.5) / per
            expected = np.mean([level(int(t * RATE + 1e-6)) for t in times]) / 255
            assert values["feature"].values[row].ravel()[0] == pytest.approx(expected, abs=0.02)


def test_films_are_split_in_time_and_delayed_within(folder, tmp_path):
    stimuli = custom.load_stimuli(options(folder), ["a"])
    responses = custom.load_responses(options(folder), "a")
    assert responses["onset"].values.tolist() == stimuli["onset"].values.tolist()
    extract(stimuli, Model(extractor="luminance"), tmp_path / "f.nc")
    features = load(tmp_path / "f.nc", "features")
    drive = features["feature"].values[:, :1]
    moved = np.roll(drive, 1, 0)
    moved[[0, 12]] = drive.mean()
    responses["response"].values[:, :1] = moved
    split = splits.make(stimuli, Split(kind="chronological", n_folds=3, embargo=2.0, n_inner=2))
    predictions, _ = encode(responses, features, split, config.Ridge(delays=[1], alphas=(-1, 3, 5)))
    ids = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    rows = [ids[s] for s in predictions["stimulus_id"].values]
    r = np.corrcoef(predictions["prediction"].values[:, 0], moved[rows, 0])[0, 1]
    assert r > 0.85


def test_clips_of_their_own_need_no_onset(folder):
    table = pd.DataFrame({"stimulus_id": ["a", "b"], "file": ["çity.mp4", "sea.mp4"]})
    table.to_csv(folder / "stimuli.csv", index=False)
    table[["stimulus_id"]].to_csv(folder / "trials.csv", index=False)
    stimuli = custom.load_stimuli(options(folder), ["a"])
    assert grey(read_pixels(stimuli, np.array([1]), 0.25)[0]) == pytest.approx(level(60), abs=4)


def test_mistakes_are_one_helpful_line(folder):
    table = pd.read_csv(folder / "stimuli.csv")
    table.drop(columns="onset").to_csv(folder / "stimuli.csv", index=False)
    with pytest.raises(InputError, match="has films but no column 'onset'"):
        custom.load_stimuli(options(folder), ["a"])
    table["onset"] = table["onset"].astype(object)
    table.loc[4, "onset"] = "soon"
    table.to_csv(folder / "stimuli.csv", index=False)
    with pytest.raises(InputError, match=r"'onset' in line 6 of .*: 'soon'. Allowed: a finite"):
        custom.load_stimuli(options(folder), ["a"])
    broken = folder / "broken.mp4"
    broken.write_bytes((folder / "sea.mp4").read_bytes()[:200])
    with pytest.raises(InputError, match=r"Cannot read the film .*broken\.mp4"):
        open_film(broken)
    with h5py.File(folder / "x.mp4", "w"), pytest.raises(InputError, match="Cannot read the film"):
        open_film(folder / "x.mp4")


def test_readers_that_are_forked_open_films_of_their_own(folder, tmp_path):
    stimuli, model = (
        custom.load_stimuli(options(folder), ["a"]),
        Model(extractor="luminance", pooling="grid:1"),
    )
    extract(stimuli, model, tmp_path / "one.nc", workers=0)  # leaves films open
    extract(stimuli, model, tmp_path / "two.nc", workers=2)
    one, two = (load(tmp_path / f"{name}.nc", "features")["feature"].values for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("codec", "options", "ending", "lag"),
    [
        ("libx264", {"x264-params": "open-gop=1:bframes=3"}, "mp4", 0),
        ("libx264", {"x264-params": "open-gop=1:bframes=3"}, "mkv", 0),
        ("mpeg4", {"bf": "3"}, "mp4", 0),
        ("mpeg4", {"bf": "3"}, "avi", 0),
        ("libx264", {"live": "1"}, "mkv", 0),
        ("libx264", {}, "mkv", 5),
    ],
)
def test_frames_before_a_key_frame_that_is_decoded_first(tmp_path, codec, options, ending, lag):
    """Key frames are found by when they are decoded; frames that are shown before may be decoded after."""
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w", options={k: v for k, v in options.items() if k == "live"}) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", 12, 4_000_000
        for number in range(60):
            picture = np.full((64, 64, 3), level(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number + lag * RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    film = Film(path)
    assert film.duration == pytest.approx(6, abs=0.01)
    for number in np.random.default_rng(0).permutation(60):
        assert grey(film.frame(number / RATE + 0.05)) == pytest.approx(level(number), abs=4), number


def coloured(path, *, turn=None, pixel=None):
    """Write a film of four colours, clockwise red, green, white, blue; 96 x 64."""
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48, 0] = picture[:32, 48:, 1] = picture[32:, :48, 2] = 255
    picture[32:, 48:] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 4_000_000
        if turn is not None:
            stream.set_display_rotation(turn)
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return Film(path)


@pytest.mark.parametrize(("turn", "corners"), [(None, "RGBW"), (-90, "BRWG"), (90, "GWRB"), (180, "WBGR")])
def test_films_are_shown_as_they_are_turned(tmp_path, turn, corners):
    """Telephones store films as the sensor lies, with the angle by which players turn them, anticlockwise."""
    seen = coloured(tmp_path / "a.mp4", turn=turn).frame(0.1)
    assert seen.shape == ((96, 64, 3) if abs(turn or 0) == 90 else (64, 96, 3))
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    found = [names[tuple((seen[y, x] > 128).astype(int).tolist())] for y in (8, -8) for x in (8, -8)]
    assert "".join(found) == corners


def test_a_mirrored_film_is_mirrored():
    frame = SimpleNamespace(
        width=4,
        side_data={"DISPLAYMATRIX": np.array([-1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], np.int32)},
        to_ndarray=lambda **_: np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    )
    assert as_shown(frame, None)[:, :, 0].tolist() == [[9, 6, 3, 0], [21, 18, 15, 12]]


def test_pixels_that_are_no_squares_are_drawn_as_wide_as_they_are(tmp_path):
    seen = coloured(tmp_path / "a.mkv", pixel=Fraction(4, 3)).frame(0.1)
    assert seen.shape == (64, 128, 3)
    assert (seen[8, 56] > 128).tolist() == [True, False, False]
    assert (seen[8, 72] > 128).tolist() == [False, True, False]


def test_frames_that_do_not_say_when_they_are_shown(tmp_path):
    path = tmp_path / "a.avi"  # which has times of decoding alone
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(60):
            picture = np.full((64, 64, 3), level(number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"a\.avi does not say when its frames are shown.*a-new\.mp4"):
        Film(path).frame(3.0)
