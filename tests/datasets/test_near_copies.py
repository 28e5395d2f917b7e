"""Copies of pictures are found, other pictures are not."""

import io
import itertools
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from neuroenc.arrays import make_stimuli
from neuroenc.datasets.copies import merge_same
from neuroenc.datasets.near_copies import near_copies, thumbnail
from neuroenc.errors import InputWarning

RNG = np.random.default_rng(0)


def scene(width=160, height=120):
    """A picture whose spectrum falls as that of photographs does."""
    noise = RNG.standard_normal((4, height, width, 3)) * 0.2 + RNG.standard_normal((4, height, width, 1))
    whole = sum(s * gaussian_filter(n, (s, s, 0)) for n, s in zip(noise, (1, 3, 9, 27), strict=True))
    return Image.fromarray(np.uint8(255 * (whole - whole.min()) / np.ptp(whole)))


def jpeg(image, quality):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue()))


def cropped(image, left, top, right, bottom):
    w, h = image.size
    return image.crop((int(left * w), int(top * h), int((1 - right) * w), int((1 - bottom) * h)))


COPIES = {
    "compressed": lambda im: jpeg(im, 40),
    "half the size": lambda im: jpeg(im.resize((80, 60)), 75),
    "squeezed": lambda im: im.resize((100, 100)),
    "border cut off": lambda im: cropped(im, 0.05, 0.05, 0.05, 0.05),
    "a corner": lambda im: jpeg(cropped(im, 0.12, 0.0, 0.0, 0.1), 80),
    "one side": lambda im: cropped(im, 0.0, 0.0, 0.15, 0.0).resize((200, 150)),
}
SCENES = [scene() for _ in range(24)]


def thumbnails(images):
    return np.stack([thumbnail(np.asarray(im.convert("RGB"))) for im in images])


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_whichever_is_the_copy(how):
    made = [COPIES[how](im) for im in SCENES[:8]]
    assert near_copies(thumbnails([*SCENES, *made])) == [(i, i + 24) for i in range(8)]
    assert near_copies(thumbnails([*made, *SCENES])) == [(i, i + 8) for i in range(8)]


def test_other_pictures_are_none():
    assert near_copies(thumbnails(SCENES)) == []
    turned = [im.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for im in SCENES]
    assert near_copies(thumbnails([*SCENES, *turned])) == []
    objects = []  # another object before the same background
    for place in range(3):
        image = SCENES[0].copy()
        image.paste((230, 40, 30), (20 + 40 * place, 40, 45 + 40 * place, 70))
        objects.append(image)
    assert near_copies(thumbnails(objects)) == []
    flat = [Image.new("RGB", (90, 90), (v, v, v)) for v in (0, 90, 91, 255)]
    assert near_copies(thumbnails(flat)) == near_copies(thumbnails(flat[:1])) == []
    assert near_copies(np.empty((0,), np.uint8)) == []


def test_copies_in_two_groups_are_warned_of(tmp_path):
    images = [SCENES[0], SCENES[1], COPIES["a corner"](SCENES[0])]
    for k, image in enumerate(images):
        image.save(tmp_path / f"p{k}.png")
    ids = np.array(["a", "b", "c"])

    def stimuli(group):
        return make_stimuli(
            {"stimulus_id": ids, "split": np.full(3, "train"), "group": np.array(group),
             "file": np.array(["p0.png", "p1.png", "p2.png"]), "pixel_index": np.arange(3)},
            attrs={"dataset": "x", "pixels": str(tmp_path)},
        )  # fmt: skip

    with pytest.warns(InputWarning, match=r"^1 pairs of pictures look like copies .* first 'a' and 'c'"):
        assert merge_same(stimuli(["a", "b", "c"]))["group"].values.tolist() == ["a", "b", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merge_same(stimuli(["a", "b", "a"]))


@pytest.mark.real
def test_photographs_are_no_copies_of_each_other():
    root = Path(os.environ["NEUROENC_REAL_DATA"])
    images = [Image.open(p) for p in itertools.islice(sorted((root / "mtl/images").rglob("*.jpg")), 100)]
    with zipfile.ZipFile(root / "v4/images/images_210325.zip") as file:
        names = [n for n in sorted(file.namelist()) if n.endswith(".jpg") and "__MACOSX" not in n]
        images += [Image.open(io.BytesIO(file.read(n))) for n in names[:400]]
    distinct = {im.convert("RGB").tobytes(): im for im in images}
    assert len(distinct) > 400 and near_copies(thumbnails(distinct.values())) == []
