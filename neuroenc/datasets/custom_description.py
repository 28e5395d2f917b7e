"""What `dataset.yaml` of a folder of one's own holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from neuroenc.config import Dataset, Section, parse
from neuroenc.documents import read_yaml
from neuroenc.errors import InputError
from neuroenc.files import existing, relative

File = Annotated[str, AfterValidator(relative)]
"""Below the folder of `dataset.yaml`"""


class Time(Section):
    """Time bins of a response with three dimensions."""

    start: float = Field(description="Of the first bin, s after the onset of the stimulus.")
    width: float = Field(gt=0, description="Of each bin, s.")


class Subject(Section):
    """Recordings of one subject; paths are relative to the folder."""

    presentations: File = Field(description="Table: stimulus_id; session, run if there were several.")
    responses: File | dict[str, File] = Field(
        description="File with a row (or volume) for each presentation; for surfaces {left: …, right: …}; of "
        "an HDF5 FILE.h5#dataset."
    )  # fmt: skip
    mask: File | None = Field(default=None, description="NIfTI: voxels that are kept, else all "
        "that vary; of an array, the voxels that its columns are, in the order of C.")  # fmt: skip
    regions: dict[str, File] = Field(default_factory=dict, description="NIfTI: mask of each region.")
    neuroids: File | None = Field(
        default=None, description="Table, a row for each column of the responses: neuroid_id; hemisphere, x, "
        "y, z, roi_<name> (0 or 1), noise_ceiling if known."
    )  # fmt: skip
    time: Time | None = None


class Stimuli(Section):
    """What was shown."""

    table: File = Field(
        description="Table: stimulus_id; file (in `pictures`), caption, split (train or test), group, "
        "category_<name>, label, label_<name> as far as there are any; of films and stories film, onset "
        "and duration (s)."
    )  # fmt: skip
    pictures: File | None = Field(
        default=None, description="Folder or zip, or FILE.h5#dataset: a picture for each row."
    )


class Description(Section):
    """What `dataset.yaml` holds."""

    name: str
    licence: str = "unstated"
    citation: str = ""
    units: str = Field(description="Of the responses, e.g. percent signal change.")
    space: str = Field(default="native", description="E.g. func, fsaverage, sensors.")
    stimuli: Stimuli
    subjects: dict[str, Subject] = Field(min_length=1)


def inside(root: Path, name: str, made_by: str = "") -> Path:
    """Return a file or folder that the description names, which lies in the folder, links followed."""
    path = existing(root / name, made_by=made_by)
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"{path} is a link that leads outside {root}, to {path.resolve()}. Put the file itself into the "
            "folder."
        )
    return path


def describe(options: Dataset) -> tuple[Path, Description]:
    """Read `dataset.yaml`.

    Raises
    ------
    InputError
        It is missing or wrong; the key and what is allowed are named.
    """
    root = existing(str(options.root), made_by="Set `dataset.root` to the folder with dataset.yaml.")
    path = inside(root, "dataset.yaml", "docs/custom.md says what it holds.")
    about = parse(Description, read_yaml(path), source=str(path))
    _refuse_twice(path, about)
    return root, about


def _refuse_twice(path: Path, about: Description) -> None:
    """Refuse a file of responses, or of a region, under two names: a line was copied and left so."""
    given: list[tuple[str, object, str, str]] = []
    for subject, section in about.subjects.items():
        sides = section.responses if isinstance(section.responses, dict) else {"": section.responses}
        rows = (section.presentations, section.mask, section.neuroids)
        given += [("responses", (f, *rows), f, f"{subject} {k}".strip()) for k, f in sides.items()]
        given += [(f"a region of {subject}", f, f, region) for region, f in section.regions.items()]
    first: dict[tuple[str, object], str] = {}
    for what, key, file, name in given:
        other = first.setdefault((what, key), name)
        if other != name:
            raise InputError(
                f"{path} gives {other!r} and {name!r} one file as {what}: {file}. Give each its own."
            )
