"""What the folder of a captioner says of itself, read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuroenc.arrays import CONTRACT
from neuroenc.documents import read_json
from neuroenc.errors import InputError
from neuroenc.files import existing

ABOUT = "captioner.json"


def about(folder: str | Path) -> dict[str, Any]:
    """Read what a captioner is: contract, options, pictures, hashes.

    Raises
    ------
    InputError
        The folder is not there, or holds no captioner.
    """
    where = existing(folder, made_by="Train one: `neuroenc captioner train`.")
    if not (where / ABOUT).is_file():
        raise InputError(f"{where} is no folder of `neuroenc captioner train`: it holds no {ABOUT}.")
    found = read_json(where / ABOUT, "contract", "n_features", "options", "pictures", "sha256")
    if not isinstance(found["contract"], dict) or set(found["contract"]) != set(CONTRACT):
        raise InputError(f"{where / ABOUT} states no embedding contract. Train or copy the captioner again.")
    return found
