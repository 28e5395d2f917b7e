"""Whatever bytes stand in a picture file: the right pixels, or one line."""

import io

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from neuroenc.arrays import make_stimuli
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.pixels import FORMATS, decode, locate, read_pixels
from neuroenc.errors import InputError

LOSSLESS = ("PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM")
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}


def pixels_or_line(data):
    """Decode, or return None where it is refused as it should be."""
    try:
        found = decode(data, "folder/x.png")
    except InputError as error:
        assert "\n" not in str(error) and "folder/x.png" in str(error) and "object at 0x" not in str(error)
        return None
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and found.size
    return found


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(seed, mode="RGB", size=(9, 7)):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (size[1], size[0], CHANNELS[mode]), dtype=np.uint8)
    return Image.fromarray(values.squeeze(-1) if mode == "L" else values, mode), values


def over_white(values, mode):
    """Return what a picture of a mode looks like, by hand."""
    v = values.astype(float)
    if mode == "CMYK":
        return (255 - v[..., :3]) * (255 - v[..., 3:]) / 255
    colour = np.repeat(v[..., :1], 3, 2) if mode in ("L", "LA") else v[..., :3]
    alpha = v[..., -1:] / 255 if mode in ("LA", "RGBA") else 1.0
    return alpha * colour + (1 - alpha) * 255


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0",
                                                  b"MM\0*", b"BM", b"RIFF____WEBPVP8 ", b"P6 ", b"P7\n", b"Pf "]))  # fmt: skip
def test_any_bytes(data, head):
    pixels_or_line(head + data)


@given(st.sampled_from(FORMATS), st.integers(0, 9), st.data())
def test_a_damaged_file_is_read_or_refused(kind, seed, data):
    whole = encoded(picture(seed)[0], kind)
    broken = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=8)):
        broken[place] = data.draw(st.integers(0, 255))
    pixels_or_line(bytes(broken))


@given(st.sampled_from(FORMATS), st.integers(0, 9), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_whole_or_refused(kind, seed, share):
    whole = encoded(picture(seed)[0], kind)
    found = pixels_or_line(whole[: int(share * len(whole))])
    if found is not None:
        np.testing.assert_array_equal(found, decode(whole, "x"))


@given(st.sampled_from(sorted(CHANNELS)), st.sampled_from(LOSSLESS), st.integers(0, 99),
       st.tuples(st.integers(1, 12), st.integers(1, 12)))  # fmt: skip
def test_any_mode_is_the_right_picture_or_refused(mode, kind, seed, size):
    image, values = picture(seed, mode, size)
    try:
        data = encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    except (OSError, ValueError, KeyError):
        return  # the format has no such mode
    found = pixels_or_line(data)
    if kind == "GIF" and mode != "L":
        return  # 256 colours
    if kind == "PPM" and mode in ("LA", "RGBA"):
        return  # Pillow writes them without alpha, or not at all
    if found is not None:
        np.testing.assert_allclose(found, over_white(values, mode), atol=1.01)


@given(hnp.arrays(st.sampled_from(["u2", "i4", "f4"]), st.tuples(st.integers(1, 6), st.integers(1, 6))),
       st.sampled_from(["PNG", "TIFF", "PPM"]))  # fmt: skip
def test_wide_numbers_are_scaled_or_refused(values, kind):
    try:
        data = encoded(Image.fromarray(values), kind)
    except (OSError, ValueError):
        return
    found = pixels_or_line(data)
    if values.dtype == np.uint16 and found is not None:
        np.testing.assert_array_equal(found[..., 0], np.round(values / 257))
    if values.dtype.kind == "f" or (values.dtype == np.int32 and kind == "TIFF"):
        assert found is None


@given(hnp.arrays(st.sampled_from(["u1", "u2", "i2", "f4", "?", "c8", "S3"]),
                  hnp.array_shapes(min_dims=0, max_dims=5, max_side=6), fill=st.nothing()),
       st.sampled_from(["img", "a", "a/b", "", "/"]))  # fmt: skip
def test_any_array_of_an_hdf5(tmp_path_factory, values, key):
    path = tmp_path_factory.mktemp("h5") / "p.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = values
        file["img"] = values
    stimuli = make_stimuli(
        {"stimulus_id": ["s"], "pixel_index": [0], "split": ["train"], "group": ["s"]},
        attrs={"dataset": "mine", "pixels": f"{path}#{key}" if key else f"{path}#/"},
    )
    try:
        (found,) = read_pixels(stimuli, np.array([0]))
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert values.dtype == np.uint8 and key in ("img", "a/b")
    first = values[0] if values.ndim == 4 else values[0][..., None]
    np.testing.assert_array_equal(found, np.broadcast_to(first, (*first.shape[:2], 3)))


@given(st.lists(st.text(max_size=8), max_size=4))
def test_any_names(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    (folder / "a.png").write_bytes(b"x")
    try:
        found = locate(folder, names)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all((folder / f).is_file() for f in found)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=9), st.randoms())
def test_groups_part_neither_pictures_nor_groups(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("groups")
    for i in range(5):
        Image.new("RGB", (2, 2), (i, 0, 0)).save(folder / f"{i}.png")

    def merged(order):
        ids = [f"s{k}" for k in order]
        found = merge_same(make_stimuli(
            {"stimulus_id": ids, "pixel_index": order, "split": ["train"] * len(order),
             "group": [f"g{rows[k][1]}" for k in order], "file": [f"{rows[k][0]}.png" for k in order]},
            attrs={"dataset": "mine", "pixels": str(folder)},
        ))  # fmt: skip
        return dict(zip(found["stimulus_id"].values, found["group"].values, strict=True))

    order = list(range(len(rows)))
    group = merged(order)
    linked = {k: {k} for k in order}  # by walking, as a reference
    for _ in order:
        for a in order:
            for b in order:
                if rows[a][0] == rows[b][0] or rows[a][1] == rows[b][1]:
                    linked[a] |= linked[b]
                    linked[b] |= linked[a]
    for a in order:
        assert {b for b in order if group[f"s{b}"] == group[f"s{a}"]} == linked[a]
    random.shuffle(order)
    assert merged(order) == group
