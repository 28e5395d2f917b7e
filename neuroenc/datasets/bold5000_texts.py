"""What the pictures of BOLD5000 show, in words: COCO's captions, names of ImageNet's classes and of scenes.

`BOLD5000_Stimuli/Image_Labels` comes with the pictures. Of it `imagenet_final_labels.txt` is read, a line a
class (`n02085936 Maltese dog, Maltese terrier, Maltese`); a scene is named by its file
(`train_station3.jpg`).
Captions are COCO's own, `captions_train2014.json`, which people put beside: the release has none.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuroenc.documents import read_json, read_text
from neuroenc.errors import InputError

LABELS = "BOLD5000_Stimuli/Image_Labels"
CLASSES, CAPTIONS = "imagenet_final_labels.txt", "captions_train2014.json"
N_CAPTIONS = 5


def texts(root: Path, files: list[str]) -> NDArray[np.str_] | None:
    """Read the texts of pictures.

    Parameters
    ----------
    root : path
    files : list of str
        Folder and name: COCO/…, ImageNet/…, Scene/….

    Returns
    -------
    array of text, (n_pictures, 5)
        Of COCO five captions, of others one name and empty texts. None where classes or captions are not
        there.

    Raises
    ------
    InputError
        A picture of COCO has no caption, one of ImageNet no class; a scene's file begins with no name.
    """
    folder = root / LABELS
    if not (folder / CLASSES).exists() or not (folder / CAPTIONS).exists():
        return None
    classes = _classes(folder / CLASSES)
    captions = _captions(folder / CAPTIONS, {_coco_id(f) for f in files if f.startswith("COCO/")})
    out = np.full((len(files), N_CAPTIONS), "", dtype=object)
    for row, path in zip(out, files, strict=True):
        source, _, name = path.partition("/")
        if source == "COCO":
            found = captions.get(_coco_id(path), [])[:N_CAPTIONS]
        elif source == "ImageNet":
            found = [classes[c]] if (c := name.partition("_")[0]) in classes else []
        else:
            found = [v] if (v := re.split(r"[\d.]", name)[0].replace("_", " ").strip()) else []
        if not found:
            raise InputError(
                f"The picture {path!r} has no text in {folder}: expected the caption of its number in "
                f"{CAPTIONS}, its class in {CLASSES}, or a scene's name. Fetch these files again."
            )
        row[: len(found)] = found
    return out.astype(str)


def _coco_id(path: str) -> int:
    """Return the number in COCO_train2014_000000123456.jpg."""
    number = re.search(r"(\d+)\.\w+$", path)
    if number is None:
        raise InputError(f"The picture {path!r} is not named as COCO's, COCO_train2014_NUMBER.jpg.")
    return int(number[1])


def _classes(path: Path) -> dict[str, str]:
    """Read the names of ImageNet's classes, by synset."""
    lines = [line.split(" ", 1) for line in read_text(path).splitlines() if line.strip()]
    wrong = [line[0] for line in lines if len(line) < 2 or not re.fullmatch(r"n\d{8}", line[0])]
    if wrong:
        raise InputError(
            f"{path}: a line begins with {wrong[0]!r}, expected a synset and its names, 'n01440764 tench, …'."
            " Fetch it again."
        )
    return {synset: names.strip() for synset, names in lines}


def _captions(path: Path, wanted: set[int]) -> dict[int, list[str]]:
    """Read COCO's captions of some pictures, in the order of the file."""
    found: dict[int, list[str]] = {}
    try:
        for entry in read_json(path, "annotations")["annotations"]:
            if entry["image_id"] in wanted:
                found.setdefault(entry["image_id"], []).append(entry["caption"].strip())
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is not laid out as COCO's: expected annotations with image_id and caption. Fetch it "
            "again."
        ) from None
    return found
