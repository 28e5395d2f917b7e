"""A small Brain Treebank with films and known truth: vision, language, their sum or product, or neither.

Three patients saw a film each, with 20 electrodes a patient, four of each kind. A film is a row of shots,
each of four quarters whose grey drifts; a word is one of 40. With v (4,) the greys of the frame that is shown
a quarter of a second after the onset of a word and l (4,) the vector of the word, both z-scored in the film,
an electrode answers `onset` s after the word, for 0.3 s, in proportion to

    a v,    b l,    (a v + b l) / √2    or    (a v) (b l),    |a| = |b| = 1,

or not at all. It answers cuts likewise, four times as much, with l that of the sentence that began last
before the cut (the sum of its words; 0 before the first), z-scored over cuts. No sum of functions of v and l
predicts the product. Noise is pink, the mains hum is larger. `features/` holds v, l, and both beside all
products v_i l_j, as networks of vision, of language and of both would see them, of words and of cuts;
`films/` is what one's own copies would be; `truth.csv` says what each electrode is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuroenc.errors import InputError
from neuroenc.files import atomic

RATE = 256.0  # Hz
SECONDS, FPS, HEIGHT, WIDTH = 900, 10, 64, 96
PATIENTS = ("1", "2", "3")
KINDS = ("vision", "language", "sum", "product", "neither")
REPEATS = 4  # electrodes of a kind in a patient
N_WORDS, DIMS = 40, 4  # words of the language; quarters of the frame, and dimensions of a word
SEEN = 0.25  # s after the onset of a word, when the frame is shown that drives
FIRST = 2000  # sample of the first trigger
LASTS, HUM = 0.3, 5.0  # s, of an answer; of the mains, against noise of deviation 1
GAIN, GAIN_OF_CUTS = 0.5, 2.0  # of answers to words and to cuts, which are fewer
SENTENCE = 8  # words
SHANKS = (("LA", -48.0, -20.0, -12.0), ("LB", -44.0, -58.0, 8.0), ("RA", 46.0, -8.0, -16.0),
          ("RB", 42.0, 14.0, 18.0))  # fmt: skip
"""Name, and place of the first of five contacts in mm (right, front, up)"""

Floats = NDArray[np.float64]


class Events(NamedTuple):
    """Words, or cuts, of a film."""

    onset: Floats
    """s"""
    seen: Floats
    """v, (n, 4)"""
    said: Floats
    """l, (n, 4)"""
    gain: float


def simulate(out: Path, seed: int) -> None:
    """Write the tree.

    Parameters
    ----------
    out : path
        Folder to make, about 70 MB; made whole or not at all.
    seed : int

    Raises
    ------
    InputError
        The extra `films` is not installed.
    """
    rng = np.random.default_rng(seed)
    words = rng.standard_normal((N_WORDS, DIMS))
    truth, names, seen, said = [], [], [], []
    with atomic(out) as root:
        for folder in ("films", "features", "all_subject_data", "subject_metadata", "subject_timings",
                       "scene_annotations"):  # fmt: skip
            (root / folder).mkdir(parents=True)
        (root / "corrupted_elec.json").write_text(json.dumps({f"sub_{p}": [] for p in PATIENTS}))
        for patient in PATIENTS:
            film = f"film-{patient}"
            cuts, greys = _shots(rng)
            _write_film(root / f"films/{film}.mp4", greys)
            onset, which = _annotate(root, film, cuts, rng)
            kinds = _electrodes(root, patient, rng)
            spoken = {
                "w": (onset, words[which], GAIN),
                "c": (cuts, _before(cuts, onset, words[which]), GAIN_OF_CUTS),
            }
            events = {
                name: Events(at, _zscore(greys[((at + SEEN) * FPS).astype(int)]), _zscore(vectors), gain)
                for name, (at, vectors, gain) in spoken.items()
            }
            _record(root, patient, film, kinds, list(events.values()), rng)
            truth.append(kinds.assign(patient=patient))
            for name, of in events.items():
                names += [f"{film}-{name}{i:05d}" for i in range(len(of.onset))]
                seen.append(of.seen)
                said.append(of.said)
        _write_features(root / "features", names, np.concatenate(seen), np.concatenate(said))
        table = pd.concat(truth)[["patient", "electrode", "kind", "onset"]]
        table.to_csv(root / "truth.csv", index=False)


def _before(cuts: Floats, onset: Floats, words: Floats) -> Floats:
    """Sum the words of the sentence that began last before each cut, (n_cuts, 4)."""
    first = np.arange(0, len(onset), SENTENCE)
    sums = np.concatenate([np.zeros((1, DIMS)), np.add.reduceat(words, first)])
    return np.asarray(sums[np.searchsorted(onset[first], cuts)])


def _zscore(values: Floats) -> Floats:
    return np.asarray((values - values.mean(0)) / values.std(0))


def _shots(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw when the film is cut, s, and the greys of the quarters in each frame, (n_frames, 4)."""
    cuts = np.cumsum(rng.uniform(2, 5, SECONDS))
    cuts = np.round(np.concatenate([[0.0], cuts[cuts < SECONDS - 2]]) * FPS) / FPS
    frame = np.arange(SECONDS * FPS)
    shot = np.searchsorted(cuts * FPS, frame, "right") - 1
    start, drift = rng.uniform(60, 195, (len(cuts), 4)), rng.uniform(-12, 12, (len(cuts), 4))
    return cuts, start[shot] + drift[shot] * (frame / FPS - cuts[shot])[:, None]


def _write_film(path: Path, greys: Floats) -> None:
    """Write the frames, with a bar that runs through them."""
    try:
        import av
    except ImportError:
        raise InputError("Films need the extra 'films'. Install neuroenc[films].") from None
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size = 400_000, 5 * FPS
        stream.codec_context.thread_count = 1  # the same bytes whatever the machine
        for number, quarters in enumerate(greys):
            grey = np.kron(quarters.reshape(2, 2), np.ones((HEIGHT // 2, WIDTH // 2)))
            at = 3 * number % WIDTH
            grey[:, at : at + 2] = 255
            picture = np.repeat(grey.round().astype(np.uint8)[..., None], 3, 2)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _annotate(
    root: Path, film: str, cuts: Floats, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Write the transcript and the scenes; return the onset of each word, s, and which one it is."""
    onset = 2.0 + np.cumsum(rng.uniform(0.6, 1.0, 2 * SECONDS))
    onset = np.round(onset[onset < SECONDS - 5], 3)
    which = rng.integers(N_WORDS, size=len(onset))
    folder = root / f"transcripts/{film}"
    folder.mkdir(parents=True)
    pd.DataFrame({
        "text": [f"word{w:02d}" for w in which], "start": onset, "end": onset + 0.3,
        "is_onset": (np.arange(len(onset)) % SENTENCE == 0).astype(float), "pos": "NOUN",
    }).to_csv(folder / "features.csv")  # fmt: skip
    pd.DataFrame({"start": cuts}).to_csv(root / f"scene_annotations/{film}.csv", index=False)
    return onset, which


def _electrodes(root: Path, patient: str, rng: np.random.Generator) -> pd.DataFrame:
    """Write labels and places; return electrode, kind, onset of its answer (s) in the order of the labels."""
    names = [f"{shank}{i}" for shank, *_ in SHANKS for i in range(1, 6)]
    kinds = rng.permutation(np.repeat(KINDS, REPEATS))
    folder = root / f"electrode_labels/sub_{patient}"
    folder.mkdir(parents=True)
    (folder / "electrode_labels.json").write_text(json.dumps([f"*{names[0]}", *names[1:], "DC1"]))
    first = np.repeat([place for _, *place in SHANKS], 5, 0)
    outwards = np.sign(first[:, :1]) * [[4.0, 0, 0]] * np.tile(np.arange(5), len(SHANKS))[:, None]
    right, front, up = (first + outwards + rng.normal(0, 5, 3)).T
    folder = root / f"localization/sub_{patient}"
    folder.mkdir(parents=True)
    area = [f"ctx-{n[0].lower()}h-{'superiortemporal' if n[1] == 'A' else 'fusiform'}" for n in names]
    where = {"Electrode": names, "L": -right, "I": -up, "P": -front, "DesikanKilliany": area}
    pd.DataFrame(where).to_csv(folder / "depth-wm.csv", index=False)
    onset = np.where(kinds == "neither", np.nan, rng.uniform(0.1, 0.5, len(names)).round(2))
    return pd.DataFrame({"electrode": names, "kind": kinds, "onset": onset})


def _record(
    root: Path, patient: str, film: str, kinds: pd.DataFrame, events: list[Events], rng: np.random.Generator
) -> None:
    """Write the recording of a patient, with its triggers."""
    name = f"sub_{patient}_trial000"
    (root / f"subject_metadata/{name}_metadata.json").write_text(json.dumps({"filename": film}))
    time = np.arange(0, SECONDS, 1.0)
    index = np.round(FIRST + time * RATE).astype(int)
    pd.DataFrame({"type": "frame", "movie_time": time, "index": index}).to_csv(
        root / f"subject_timings/{name}_timings.csv", index=False
    )
    length = FIRST + int((SECONDS + 5) * RATE)
    hum = HUM * np.sin(2 * np.pi * 60 * np.arange(length) / RATE)
    shape = np.hanning(int(LASTS * RATE))
    with h5py.File(root / f"all_subject_data/{name}.h5", "w") as file:
        for k, (kind, late) in enumerate(zip(kinds["kind"], kinds["onset"], strict=True)):
            a, b = (w / np.linalg.norm(w) for w in rng.standard_normal((2, DIMS)))
            impulses = np.zeros(length)
            for of in events if kind != "neither" else []:
                v, spoken = of.seen @ a, of.said @ b
                drive = {
                    "vision": v, "language": spoken, "sum": (v + spoken) / np.sqrt(2), "product": v * spoken
                }[kind]  # fmt: skip
                at = FIRST + (of.onset + late) * RATE
                np.add.at(impulses, at.round().astype(int), of.gain * drive)
            trace = np.convolve(impulses, shape)[:length] + _pink(length, rng) + hum
            file[f"data/electrode_{k}"] = trace.astype(np.float32)
        file[f"data/electrode_{len(kinds)}"] = np.zeros(length, np.float32)


def _pink(n: int, rng: np.random.Generator) -> Floats:
    """Draw noise whose power falls as 1/f, of deviation 1."""
    frequency = np.fft.rfftfreq(n, 1 / RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(np.maximum(frequency, 0.1))
    return _zscore(np.fft.irfft(spectrum, n))


def _write_features(folder: Path, names: list[str], v: Floats, spoken: Floats) -> None:
    """Write what networks of vision, of language and of both would say of each word."""
    products = (v[:, :, None] * spoken[:, None]).reshape(len(v), -1)
    spaces = {"vision": v, "language": spoken, "multimodal": np.concatenate([v, spoken, products], 1)}
    for name, values in spaces.items():
        np.save(folder / f"{name}.npy", values.astype(np.float32))
        (folder / f"{name}.json").write_text(json.dumps({"stimulus_id": names}))
