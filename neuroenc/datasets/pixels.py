"""Where the pixels are: one HDF5, a folder of pictures or films, or zips; read in blocks, never exploded."""

from __future__ import annotations

import io
import os
import re
import stat
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from neuroenc.datasets.films import ENDINGS, open_film
from neuroenc.errors import InputError, reason
from neuroenc.files import existing, relative
from neuroenc.hdf5 import numbers, of_matlab, open_hdf5

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")
BACKGROUND = 255  # white, behind what is transparent
LARGEST = 89_478_485  # pixels of one picture, Pillow's own limit against headers that lie
PHOTOMETRIC, SAMPLE_FORMAT, BITS = 262, 339, 258  # tags of TIFF
LIGHT = np.round(255 * np.sqrt(np.arange(256) / 255)).astype(np.uint8)  # of linear light
STACK = re.compile(r"\.(hdf5|h5)#[^#/]+$")  # pictures.hdf5#dataset


def read_pixels(stimuli: xr.Dataset, rows: NDArray[np.int64], moment: float = 0.5) -> list[NDArray[np.uint8]]:
    """Read pictures of a StimulusSet, or one frame of each of its films.

    Parameters
    ----------
    stimuli : Dataset
        `attrs["pixels"]` is `file.hdf5#dataset`, indexed by `pixel_index`, or a folder to which
        the coordinate `file` is relative; `pictures.zip/a.jpg` means a member of a zip there,
        `pictures.hdf5#dataset` the picture number `pixel_index` of an HDF5 there. Of a film the coordinates
        `onset` and `duration` (s) say which part a stimulus is; without them it is all of it.
        `attrs["linear_light"]` 1 says that pixels are in proportion to the light of the screen, 0 to 255:
        they become 255 √(v/255). `attrs["central_square"]` 1 keeps the square in the middle.
        `attrs["background"]` is the grey behind what is transparent in encoded pictures of an HDF5.
    rows : int array of shape (n,)
        Rows of the table.
    moment : float
        Of a film: where in the stimulus the frame lies, from 0 to 1.

    Returns
    -------
    list of uint8 arrays, each (height, width, 3)
        As `decode` makes them.

    Raises
    ------
    InputError
        A file is missing or broken, or of a kind that cannot be brought to 8 bits without a guess.
    """
    place, key = str(stimuli.attrs["pixels"]), ""
    if "#" in place and not Path(place).exists():  # a folder may have one in its name
        place, _, key = place.rpartition("#")
    if place == "not distributed":
        raise InputError(
            f"The stimuli of {stimuli.attrs['dataset']!r} come without pictures. Use models of their "
            "captions or categories, or add the pictures."
        )
    path = existing(place, made_by="The stimulus set names where the pictures are; were they moved?")
    if key:
        behind = int(stimuli.attrs.get("background", BACKGROUND))
        found = _from_stack(path, key, stimuli["pixel_index"].values[rows], behind)
    else:
        found = _from_folder(stimuli, path, rows, moment)
    if stimuli.attrs.get("central_square"):
        found = [_central_square(picture) for picture in found]
    return [LIGHT[picture] for picture in found] if stimuli.attrs.get("linear_light") else found


def _from_stack(
    path: Path, key: str, index: NDArray[np.int64], behind: int = BACKGROUND
) -> list[NDArray[np.uint8]]:
    once, where = np.unique(index, return_inverse=True)  # HDF5 reads in order, and nothing twice
    with _stack(path, key) as pictures:
        if len(once) and not 0 <= once[0] <= once[-1] < len(pictures):
            raise InputError(
                f"{path}#{key} has {len(pictures)} pictures, the stimuli ask for number "
                f"{once[-1] if once[0] >= 0 else once[0]} (from 0). Is it the file of these stimuli?"
            )
        block = pictures[once]
    if block.ndim == 1:
        decoded = [
            decode(data.tobytes(), f"{path}#{key} {i}", behind) for i, data in zip(once, block, strict=True)
        ]
        return [decoded[i] for i in where]
    if block.ndim == 3 or block.shape[3] == 1:
        block = np.repeat(block.reshape(*block.shape[:3], 1), 3, axis=3)
    return [block[i] for i in where]


def _from_folder(
    stimuli: xr.Dataset, path: Path, rows: NDArray[np.int64], moment: float
) -> list[NDArray[np.uint8]]:
    names = stimuli["file"].values[rows].astype(str)
    found: dict[int, NDArray[np.uint8]] = {}
    for name in np.unique(names):
        here = np.flatnonzero(names == name)
        if STACK.search(name) and not (path / name).exists():
            file, _, key = name.rpartition("#")
            index = stimuli["pixel_index"].values[rows[here]]
            found |= dict(zip(here.tolist(), _from_stack(path / file, key, index), strict=True))
            continue
        for i in here.tolist():
            film = name.lower().endswith(ENDINGS)
            found[i] = (
                _frame(stimuli, int(rows[i]), path / name, moment) if film else _decode(path, str(name))
            )
    return [found[i] for i in range(len(rows))]


def _central_square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


class Reversed:
    """Pictures that MATLAB wrote, read along their first axis there, which is the last one here."""

    def __init__(self, found: h5py.Dataset) -> None:
        self.found, self.dtype, self.shape = found, found.dtype, found.shape[::-1]

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.asarray(self.found[..., rows]).T


@contextmanager
def _stack(path: Path, key: str) -> Iterator[Any]:
    """Open pictures of an HDF5: uint8 of shape (n, height, width[, 1 or 3]), or the bytes of n files."""
    with open_hdf5(path) as file:
        encoded = file.get(key)
        flat = isinstance(encoded, h5py.Dataset) and len(encoded.shape) == 1
        if flat and h5py.check_vlen_dtype(encoded.dtype) == np.uint8:
            yield encoded
            return
        stored = numbers(file, key)
        found = Reversed(stored) if of_matlab(stored) else stored
        shape = found.shape
        grey = len(shape) == 3 and shape[2] > 4  # else it is one picture, channels last
        if found.dtype != np.uint8 or not (grey or (len(shape) == 4 and shape[3] in (1, 3))) or 0 in shape:
            raise InputError(
                f"{path}#{key} holds {found.dtype} of shape {shape}, expected uint8 of shape (n, height, "
                "width, 3), or (n, height, width) for grey. Convert the pictures to 8 bits, channels last."
            )
        yield found


def n_pictures(path: Path, key: str) -> int:
    """Return how many pictures an HDF5 holds.

    Raises
    ------
    InputError
        It is missing or broken, or holds anything but pictures.
    """
    with _stack(path, key) as pictures:
        return len(pictures)


def _frame(stimuli: xr.Dataset, row: int, path: Path, moment: float) -> NDArray[np.uint8]:
    film = open_film(path)
    onset = float(stimuli["onset"].values[row]) if "onset" in stimuli.coords else 0.0
    known = "duration" in stimuli.coords
    duration = float(stimuli["duration"].values[row]) if known else film.duration - onset
    return film.frame(onset + moment * duration)


def n_frames(stimuli: xr.Dataset, rate: float) -> int:
    """Return how many frames of each stimulus give at least `rate` of them a second; 1 of pictures."""
    if "file" not in stimuli.coords:
        return 1
    films = [i for i, f in enumerate(stimuli["file"].values) if str(f).lower().endswith(ENDINGS)]
    if not films:
        return 1
    if "duration" in stimuli.coords:
        longest = float(stimuli["duration"].values[films].max())
    else:
        place = Path(str(stimuli.attrs["pixels"]))
        longest = max(open_film(place / str(stimuli["file"].values[i])).duration for i in films)
    return max(1, int(np.ceil(longest * rate - 1e-9)))


def _decode(folder: Path, name: str) -> NDArray[np.uint8]:
    return decode(read_bytes(folder / name), str(folder / name))


def read_bytes(path: Path) -> bytes:
    """Read a file, or the member of a zip: `pictures.zip/a.jpg`.

    Raises
    ------
    InputError
        It is missing or broken, or larger than any picture that `decode` takes.
    """
    archive, member = _in_zip(path)
    try:
        inside = open_zip(archive, os.getpid()) if archive else None
        size = inside.getinfo(member).file_size if inside else path.stat().st_size
        if size > 8 * LARGEST:  # four channels of 16 bits
            raise InputError(f"{path} holds {size:,} bytes, more than any picture. Is it one?")
        return inside.read(member) if inside else path.read_bytes()
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  each kind of compression has errors of its own
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None


def decode(data: bytes, name: str, behind: int = BACKGROUND) -> NDArray[np.uint8]:
    """Decode a picture of any usual kind to 8-bit RGB.

    What is transparent is put before white, or the grey `behind`. 16 bits of grey become 255 v / 65535,
    rounded; of colours the upper byte is kept. Colours are taken as they are stored: embedded colour profiles
    are not applied, and CMYK becomes (255 - C)(255 - K) / 255. The orientation that a camera notes in EXIF is
    not applied, as the loaders of torchvision, timm and open_clip do not. docs/conventions.md says why.

    Parameters
    ----------
    data : bytes
        Of the file.
    name : str
        For messages.
    behind : int
        From 0 to 255.

    Returns
    -------
    uint8 array of shape (height, width, 3)

    Raises
    ------
    InputError
        It is broken or none of `FORMATS`; it moves; it is larger than `LARGEST`; its values have no known
        range (floating point, 32-bit or signed numbers, 16 bits of which at most a quarter is used).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of pictures that are refused below, or of EXIF, which is not read
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return rgb(image, behind)
    except UnidentifiedImageError:
        why = f"it is none of {', '.join(FORMATS)}" if data else "it is empty"
    except Image.DecompressionBombError:
        why = f"its header states more than {LARGEST:,} pixels"
    except Exception as error:  # noqa: BLE001  decoders of broken files raise errors of every kind
        why = reason(error)
    raise InputError(
        f"Cannot decode the picture {name}: {why}. Save it as an 8-bit RGB PNG, or leave it out."
    )


def rgb(image: Image.Image, behind: int = BACKGROUND) -> NDArray[np.uint8]:
    """Bring an opened picture to RGB, as `decode` does; errors say why not."""
    if image.width * image.height > LARGEST:
        raise InputError(f"its header states more than {LARGEST:,} pixels")
    n = getattr(image, "n_frames", 1)
    if n > 1 and image.format != "MPO":  # MPO: a photograph and its previews
        raise InputError(f"it has {n} frames, expected one")
    tile = getattr(image, "tile", None)  # of a file
    stored = str(np.ravel(tile[0].args)[0]) if tile else ""  # as the file has it, e.g. RGB;16B
    tags = getattr(image, "tag_v2", {})
    if set(np.ravel(tags.get(SAMPLE_FORMAT, 1))) - {1} or (image.format in ("TIFF", "BMP") and "X" in stored):
        raise InputError(f"it has signed or floating numbers or an unknown channel (mode {image.mode})")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _scaled(image, tags)
    if image.mode not in MODES:
        raise InputError(f"its mode {image.mode} has no known range, expected one of {', '.join(MODES)}")
    if ";16" in stored and image.format != "PPM" and np.asarray(image.convert("RGB")).max() < 2**6:
        raise InputError(  # what is left of 16 bits are the upper 8; PPM says what white is
            f"it has 16 bits (mode {image.mode}) and no value of 2**14 or above: 8, 12 or 14 bits, or dark?"
        )
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    if (
        image.format == "PNG"
        and image.mode != "P"
        and stored[-2:] in (";2", ";4", "6B")
        and (
            "transparency" in image.info  # counted in the file's bits, compared with Pillow's
        )
    ):
        raise InputError(f"it has a transparent colour and other than 8 bits ({stored})")
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
    ground = Image.new("RGBA", plain.size, (behind, behind, behind, 255))
    return np.asarray(Image.alpha_composite(ground, plain).convert("RGB"))


def _scaled(image: Image.Image, tags: Any) -> NDArray[np.uint8]:
    """Bring 16 bits of grey to 8."""
    values = np.asarray(image).astype(np.int64)
    bits = int(np.ravel(tags.get(BITS, 16))[0])
    white = 2**bits - 1
    known = image.format == "PPM" or bits < 16  # these say what white is
    if "transparency" in image.info or tags.get(PHOTOMETRIC, 1) != 1:
        raise InputError(f"it is inverted or has a transparent colour (mode {image.mode}, 16 bits)")
    if not known and 0 < values.max(initial=0) < 2**14:
        raise InputError(
            f"it has 16 bits (mode {image.mode}) and no value above {values.max()}: 12 or 14 bits, or dark?"
        )
    grey = ((values * 255 + white // 2) // white).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def stamps(stimuli: xr.Dataset) -> list[tuple[int, int]]:
    """Return size and time (ns) of each file with stimuli: one that was replaced is another."""
    place = str(stimuli.attrs["pixels"])
    names = np.unique(stimuli["file"].values.astype(str)).tolist() if "file" in stimuli.coords else [""]
    return [_stamp(Path(place, name)) for name in names]


def _stamp(path: Path) -> tuple[int, int]:
    """Return size and time of a file, or of the zip or HDF5 that it is in; 0 of what is not there."""
    archive, name = _in_zip(path)
    for file in (archive or path, Path(name.rpartition("#")[0])):
        try:
            found = file.stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):  # a folder changes as others write into it
            return found.st_size, found.st_mtime_ns
    return 0, 0


def _in_zip(path: Path) -> tuple[Path | None, str]:
    """Divide a path into the zip that it leads through, if there is one, and what follows."""
    head, inside, member = str(path).partition(".zip/")
    archive = Path(f"{head}.zip")
    return (archive, member) if inside and archive.is_file() else (None, str(path))


@lru_cache(maxsize=4)
def open_zip(path: Path, process: int) -> zipfile.ZipFile:  # noqa: ARG001  a fork must not share the position
    """Open a zip, or return the one that is open; each process has its own."""
    try:
        return zipfile.ZipFile(existing(path))
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError(f"Cannot read {path}: {reason(error)}. Fetch it again.") from None


def locate(folder: Path, names: NDArray[np.str_] | list[str], *, hint: str = "") -> NDArray[np.str_]:
    """Return the files as they are called on disk, or in their zip.

    A name that is composed in a table (é) and decomposed on disk (e and an accent) is the same name.

    Parameters
    ----------
    folder : path
        A folder or a zip.
    names : list of str
        Relative to it.
    hint : str
        What to do where some are missing.

    Returns
    -------
    array of text

    Raises
    ------
    InputError
        Some are not there; a name that differs in case or blanks only is pointed out.
    """
    listed: dict[Path, dict[str, list[str]]] = {}
    found, absent = [], []
    for name in map(relative, map(str, names)):
        archive, member = _in_zip(folder / name)
        place, inner = (archive, member) if archive else (folder, name)
        if not archive and os.path.isfile(folder / name):  # noqa: PTH113  False of names that cannot be
            found.append(name)
            continue
        if place not in listed:
            listed[place] = _listing(place)
        near = listed[place].get(_loosely(inner), [])
        same = [inner] if inner in near else [e for e in near if _same(e) == _same(inner)]
        if len(same) == 1:
            found.append(name.removesuffix(inner) + same[0])
        else:
            absent.append((name, same or near))
    if absent:
        name, near = absent[0]
        there = f"; there is {near[0]!r}, which differs in case, blanks or Unicode form" if near else ""
        raise InputError(
            f"{len(absent)} of {len(names)} pictures are not in {folder}, first {name!r}{there}. "
            f"{hint or 'Correct the names or add the files.'}"
        )
    return np.array(found)


def _listing(place: Path) -> dict[str, list[str]]:
    """List the files of a folder, or of a zip, by what their names have in common."""
    if place.is_dir():
        names = [str(Path(at, f).relative_to(place)) for at, _, files in os.walk(place) for f in files]
    else:
        names = open_zip(place, os.getpid()).namelist() if place.is_file() else []
    listed: dict[str, list[str]] = {}
    for name in sorted(names):
        listed.setdefault(_loosely(name), []).append(name)
    return listed


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _loosely(name: str) -> str:
    return _same(name).casefold().strip()
