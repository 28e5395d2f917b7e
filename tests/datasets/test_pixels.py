import io
import struct
import unicodedata
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from PIL import Image

from neuroenc.arrays import make_stimuli
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.pixels import LARGEST, decode, locate, read_pixels
from neuroenc.errors import InputError

RNG = np.random.default_rng(0)
RAMP = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
RGB = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, bits, colour, rows, *chunks):
    """A PNG of packed rows, written by hand."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def tiff(width, height, data, *, bits=(8,), photometric=1, order="<", **more):
    """An uncompressed TIFF of one strip, written by hand; `more` are tags named t<number>."""
    tags = {256: [width], 257: [height], 258: list(bits), 259: [1], 262: [photometric], 273: [0],
            277: [len(bits)], 278: [height], 279: [len(data)]}  # fmt: skip
    tags |= {int(k[1:]): v for k, v in more.items()}
    place = 8 + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack(f"{order}I", place + len(extra))
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    strip = struct.pack(f"{order}HHIHH", 273, 3, 1, 0, 0)
    at = struct.pack(f"{order}HHIHH", 273, 3, 1, place + len(extra), 0)
    entries = entries.replace(strip, at)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + b"\0" * 4 + extra + data


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, 2)


def over_white(colour, alpha):
    a = np.asarray(alpha, float)[..., None] / 255
    return a * colour + (1 - a) * 255


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(RAMP), "PNG"), encoded(Image.fromarray(RAMP), "TIFF"),
        tiff(8, 6, RAMP.astype(">u2").tobytes(), bits=(16,), order=">"),
        b"P5 8 6 65535\n" + RAMP.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "tiff big-endian", "pgm"],
)  # fmt: skip
def test_sixteen_bits_are_scaled_to_eight(data):
    np.testing.assert_array_equal(decode(data, "x"), grey(np.round(RAMP / 257)))


def test_sixteen_bits_of_colour_keep_the_upper_byte():
    values = RNG.integers(0, 65536, (6, 8, 3), dtype=np.uint16)
    rows = [r.astype(">u2").tobytes() for r in values]
    np.testing.assert_array_equal(decode(png(8, 6, 16, 2, rows), "x"), values >> 8)


def test_twelve_bits_are_scaled_where_the_file_says_so():
    values = np.linspace(0, 4095, 48).astype(int).reshape(6, 8)
    packed = b"".join(struct.pack("BBB", a >> 4, (a & 15) << 4 | b >> 8, b & 255)
                      for a, b in values.reshape(-1, 2).tolist())  # fmt: skip
    np.testing.assert_array_equal(
        decode(tiff(8, 6, packed, bits=(12,)), "x"), grey(np.round(values * 255 / 4095))
    )
    np.testing.assert_array_equal(
        decode(b"P5 2 1 4095\n" + struct.pack(">HH", 4095, 0), "x"), grey([[255, 0]])
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.fromarray(RAMP // 16), "PNG"), r"16 bits .*no value above 4095"),
        (encoded(Image.fromarray(RAMP // 16), "TIFF"), r"16 bits .*no value above 4095"),
        (png(8, 6, 16, 2, [np.repeat(r, 3).astype(">u2").tobytes() for r in RAMP // 16]), r"16 bits .*no value of"),
        (encoded(Image.fromarray(np.linspace(0, 1, 48, dtype="f4").reshape(6, 8)), "TIFF"), "mode F"),
        (encoded(Image.fromarray(RAMP.astype("i4")), "TIFF"), "mode I"),
        (tiff(8, 6, RAMP.tobytes(), bits=(16,), photometric=0), "inverted"),
        (tiff(8, 6, bytes(48), t339=[2]), "signed"),
        (tiff(8, 6, bytes(192), bits=(8,) * 4, photometric=2, t338=[0]), "unknown channel"),
        (encoded(Image.new("RGBA", (8, 6), (9, 9, 9, 99)), "BMP"), "unknown channel"),
        (encoded(Image.new("LAB", (8, 6)), "TIFF"), "mode LAB"),
        (png(8, 1, 2, 0, [b"\x1b\x1b"], chunk(b"tRNS", b"\0\1")), "transparent colour"),
        (png(2, 1, 16, 0, [b"\xff\xff\0\0"], chunk(b"tRNS", b"\0\1")), "transparent colour"),
        (b"", "it is empty"),
        (b"<html>404</html>", "none of JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "none of JPEG, PNG"),
        (png(30000, 30000, 8, 0, [b"\0"]), f"more than {LARGEST:,} pixels"),
        (png(10000, 10000, 8, 0, [b"\0"]), f"more than {LARGEST:,} pixels"),
        (encoded(Image.fromarray(RGB), "PNG")[:150], "Cannot decode"),
    ],
)  # fmt: skip
def test_what_has_no_known_range_or_is_broken_is_one_line(data, message):
    with pytest.raises(InputError, match=message) as caught:
        decode(data, "folder/x.png")
    assert "folder/x.png" in str(caught.value)
    assert "\n" not in str(caught.value) and "BytesIO" not in str(caught.value)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_what_moves_is_refused(kind):
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)) for _ in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="3 frames, expected one"):
        decode(data, "x")


def test_a_photograph_with_previews_is_its_first_picture():
    frames = [Image.new("RGB", (16, 16), c) for c in ((200, 0, 0), (0, 0, 200))]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode(data, "x")[8, 8], (200, 0, 0), atol=3)


def test_transparency_lies_before_white():
    alpha = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
    rgba = np.concatenate([RGB, alpha[..., None]], 2)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_allclose(
            decode(encoded(Image.fromarray(rgba), kind), "x"), over_white(RGB, alpha), atol=1
        )
    la = np.stack([RGB[..., 0], alpha], 2)
    np.testing.assert_allclose(
        decode(encoded(Image.fromarray(la, "LA"), "PNG"), "x"), over_white(grey(RGB[..., 0]), alpha), atol=1
    )
    sixteen = [np.stack([g.astype(np.uint16) * 257, a.astype(np.uint16) * 257], 1).astype(">u2").tobytes()
               for g, a in zip(RGB[..., 0], alpha, strict=True)]  # fmt: skip
    np.testing.assert_allclose(
        decode(png(8, 6, 16, 4, sixteen), "x"), over_white(grey(RGB[..., 0]), alpha), atol=1
    )


def test_transparent_colours_of_palettes_and_keys_lie_before_white():
    palette = Image.new("P", (4, 1))
    palette.putpalette([255, 0, 255, 10, 200, 10])
    palette.putpixel((2, 0), 1)
    expected = np.array([[[255] * 3, [255] * 3, [10, 200, 10], [255] * 3]])
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(encoded(palette, kind, transparency=0), "x"), expected)
    half = png(2, 1, 8, 3, [b"\0\1"], chunk(b"PLTE", bytes([0, 0, 0, 9, 9, 9])), chunk(b"tRNS", b"\x80"))
    np.testing.assert_allclose(decode(half, "x")[0], [[127] * 3, [9] * 3], atol=1)
    key = png(2, 1, 8, 2, [bytes([1, 2, 3, 4, 5, 6])], chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3])))
    np.testing.assert_array_equal(decode(key, "x")[0], [[255] * 3, [4, 5, 6]])


def test_one_bit_cmyk_and_palettes():
    bits = RNG.random((6, 8)) > 0.5
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(bits), kind), "x"), grey(bits * 255))
    cmyk = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    expected = (255 - cmyk[..., :3].astype(float)) * (255 - cmyk[..., 3:].astype(float)) / 255
    image = Image.fromarray(cmyk, "CMYK")
    np.testing.assert_allclose(decode(encoded(image, "TIFF"), "x"), expected, atol=1)
    even = Image.new("CMYK", (16, 16), (200, 30, 60, 20))  # JPEG keeps an even picture
    np.testing.assert_allclose(
        decode(encoded(even, "JPEG", quality=100), "x")[8, 8], np.array([55, 225, 195]) * 235 / 255, atol=3
    )
    colours = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(decode(encoded(colours, "PNG"), "x"), np.asarray(colours.convert("RGB")))


def test_orientation_of_cameras_is_left_as_the_loaders_of_networks_leave_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(RGB)
    for kind in ("JPEG", "PNG", "WEBP"):
        assert decode(encoded(image, kind, exif=exif.tobytes()), "x").shape == (6, 8, 3)
    # a TIFF's own tag is turned by Pillow, for everyone: 6 is a quarter to the right
    turned = decode(tiff(8, 6, RGB[..., 0].tobytes(), t274=[6]), "x")
    np.testing.assert_array_equal(turned, grey(np.rot90(RGB[..., 0], -1)))


# ------------------------------------------------------------------------------------------ HDF5


def stack(folder, data, key="img"):
    with h5py.File(folder / "p.h5", "w") as file:
        file[key] = data
    n = len(data)
    ids = [f"s{i}" for i in range(n)]
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(n), "split": ["train"] * n, "group": ids},
        attrs={"dataset": "mine", "pixels": f"{folder / 'p.h5'}#img"},
    )


BLOCK = RNG.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def test_pictures_in_hdf5(tmp_path):
    found = read_pixels(stack(tmp_path, BLOCK), np.array([4, 0, 4]))
    np.testing.assert_array_equal(found, BLOCK[[4, 0, 4]])
    for shown in (BLOCK[..., 0], BLOCK[..., :1]):
        found = read_pixels(stack(tmp_path, shown), np.array([3, 1]))
        np.testing.assert_array_equal(found, [grey(BLOCK[3, ..., 0]), grey(BLOCK[1, ..., 0])])


@pytest.mark.parametrize(
    "data",
    [
        BLOCK / 255, BLOCK.astype("f4"), BLOCK.transpose(0, 3, 1, 2), BLOCK.astype("u2") * 257, BLOCK > 128,
        np.concatenate([BLOCK, BLOCK[..., :1]], 3), BLOCK[0], BLOCK.astype("c8"), np.full((5, 6, 8, 3), b"a"),
    ],
    ids=["0-1", "float", "channels first", "uint16", "bool", "RGBA", "one", "complex", "text"],
)  # fmt: skip
def test_other_layouts_in_hdf5_are_one_line(tmp_path, data):
    with pytest.raises(InputError, match=r"p\.h5#img holds \S+ of shape") as caught:
        read_pixels(stack(tmp_path, data), np.array([0]))
    assert "\n" not in str(caught.value)


def test_a_shorter_hdf5_or_another_key_is_one_line(tmp_path):
    stimuli = stack(tmp_path, BLOCK)
    stack(tmp_path, BLOCK[:3])
    with pytest.raises(InputError, match="has 3 pictures, the stimuli ask for number 4"):
        read_pixels(stimuli, np.array([1, 4]))
    stack(tmp_path, BLOCK, "img/deep")
    with pytest.raises(InputError, match=r"Invalid value .*'img'.*'img/deep'"):
        read_pixels(stimuli, np.array([1, 4]))


# ----------------------------------------------------------------------------------------- names


def test_a_name_is_found_in_either_unicode_form(tmp_path):
    composed, apart = (unicodedata.normalize(f, "Ähre/café.png") for f in ("NFC", "NFD"))
    (tmp_path / apart).parent.mkdir()
    (tmp_path / apart).write_bytes(b"x")
    assert locate(tmp_path, [composed]).tolist() == [apart]
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr(composed, b"x")
    assert locate(tmp_path, [f"p.zip/{apart}"]).tolist() == [f"p.zip/{composed}"]
    assert locate(tmp_path / "p.zip", [apart]).tolist() == [composed]


@pytest.mark.parametrize("name", ["Cat.JPG", "cat.jpg ", " cat.jpg", "CAT.jpg"])
@pytest.mark.parametrize("place", ["", "p.zip/"])
def test_a_name_that_differs_in_case_or_blanks_is_pointed_out(tmp_path, name, place):
    (tmp_path / "cat.jpg").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("cat.jpg", b"x")
    with pytest.raises(
        InputError, match=r"1 of 2 pictures .*; there is 'cat.jpg', which differs in case, blanks"
    ):
        locate(tmp_path, [f"{place}cat.jpg", f"{place}{name}"])


def test_names_that_cannot_be(tmp_path):
    for name in ("", ".", "\0", "a" * 5000, "../x", "p.zip/x"):
        with pytest.raises(InputError, match=r"1 of 1 pictures|leads outside its folder"):
            locate(tmp_path, [name])


def in_files(folder, files, groups=None, **coords):
    ids = [f"s{i}" for i in range(len(files))]
    return make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(len(files)), "split": ["train"] * len(files),
         "group": groups or ids, "file": files, **coords},
        attrs={"dataset": "mine", "pixels": str(folder)},
    )  # fmt: skip


def test_a_broken_member_of_a_zip_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("a.png", encoded(Image.fromarray(RGB), "PNG"))
    data = bytearray((tmp_path / "p.zip").read_bytes())
    data[80] ^= 1
    (tmp_path / "p.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"Cannot read .*p.zip/a.png: Bad CRC-32"):
        read_pixels(in_files(tmp_path, ["p.zip/a.png"]), np.array([0]))
    with pytest.raises(InputError, match=r"Cannot read .*p.zip/b.png"):
        read_pixels(in_files(tmp_path, ["p.zip/b.png"]), np.array([0]))
    (tmp_path / "q.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"Cannot read .*q.zip"):
        read_pixels(in_files(tmp_path, ["q.zip/a.png"]), np.array([0]))


def test_a_member_that_unpacks_to_gigabytes_is_not_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(
        "a.png", "w", force_zip64=True
    ) as member:  # fmt: skip
        for _ in range(800):
            member.write(bytes(2**20))
    with pytest.raises(InputError, match=r"p.zip/a.png holds 838,860,800 bytes, more than any picture"):
        read_pixels(in_files(tmp_path, ["p.zip/a.png"]), np.array([0]))


def test_a_zip_or_a_folder_with_a_hash_in_its_name(tmp_path):
    folder = tmp_path / "run#1"
    folder.mkdir()
    with zipfile.ZipFile(folder / "p.zip", "w") as archive:
        archive.writestr("in/a.png", encoded(Image.fromarray(RGB), "PNG"))
    Image.fromarray(RGB).save(folder / "a.png")
    for place, name in ((folder, "a.png"), (folder / "p.zip", "in/a.png"), (folder, "p.zip/in/a.png")):
        np.testing.assert_array_equal(read_pixels(in_files(place, [name]), np.array([0]))[0], RGB)
    inside = stack(folder, BLOCK)
    np.testing.assert_array_equal(read_pixels(inside, np.array([2]))[0], BLOCK[2])


# -------------------------------------------------------------------------------------- identity


def test_one_picture_is_one_group_whatever_it_is_called(tmp_path):
    a, b, c = (RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(3))
    for name, pixels in (("a.png", a), ("a.bmp", a), ("b.png", b), ("c.png", c), ("c.tif", c)):
        Image.fromarray(pixels).save(tmp_path / name)
    Image.fromarray(b.reshape(8, 6, 3)).save(tmp_path / "other.png")  # the same bytes in another shape
    files = ["a.png", "b.png", "a.bmp", "c.png", "c.tif", "b.png", "other.png"]
    found = merge_same(in_files(tmp_path, files))
    assert found["group"].values.tolist() == ["s0", "s1", "s0", "s3", "s3", "s1", "s6"]
    assert found.attrs["n_same_pictures"] == 3
    # through the groups that were given: u holds a, v holds a and c, w holds c
    found = merge_same(
        in_files(tmp_path, ["a.png", "b.png", "a.bmp", "c.png", "c.tif"], ["u", "z", "v", "v", "w"])
    )
    assert found["group"].values.tolist() == ["u", "z", "u", "u", "u"]
    assert merge_same(in_files(tmp_path, ["a.png", "b.png"])).attrs["n_same_pictures"] == 0


def test_one_picture_twice_in_hdf5(tmp_path):
    found = merge_same(stack(tmp_path, BLOCK[[0, 1, 0, 2, 3]]))
    assert found["group"].values.tolist() == ["s0", "s1", "s0", "s3", "s4"]


def test_parts_of_a_film_are_told_apart_by_time(tmp_path):
    found = merge_same(in_files(tmp_path, ["a.mp4"] * 3, onset=[0.0, 1.0, 0.0], duration=[1.0, 1.0, 1.0]))
    assert found["group"].values.tolist() == ["s0", "s1", "s0"]
