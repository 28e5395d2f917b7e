"""Your own recordings: a folder with tables, responses in any usual format, and `dataset.yaml`.

The file names the stimuli and, for each subject, the presentations (one row each, in the order of the
responses) and the responses themselves; docs/custom.md walks through one. Nothing is copied.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_responses
from neuroenc.config import Dataset
from neuroenc.datasets.copied_rows import refuse_copied_rows
from neuroenc.datasets.custom_description import Description, describe, inside
from neuroenc.datasets.custom_files import EPOCHS, read_side, time_bins
from neuroenc.datasets.custom_neuroids import NEUROIDS, coordinates
from neuroenc.datasets.custom_rows import (
    PRESENTATIONS,
    STIMULI,
    names_rows,
    part_names,
    refuse_other_names,
    warn_of_order,
)
from neuroenc.datasets.custom_stimuli import design, stimuli_table, stimulus_set
from neuroenc.datasets.reading import Table, read_table
from neuroenc.datasets.repeats import warn_of_repeats
from neuroenc.datasets.report import report_responses, report_stimuli
from neuroenc.errors import InputError, InputWarning, invalid
from neuroenc.files import sha256

LICENCE = "yours"
CITATION = "yours"
# units of MNE's epochs with a prefix, which their values never have
SCALED = re.compile(
    r"(?:micro|milli|nano|femto|pico|[u\u00b5\u03bcmnfp]) ?(?:v(?:olts?)?|t(?:eslas?)?)(?: ?/.*)?",
    re.IGNORECASE,
)


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:
    """Read the table of stimuli that the subjects were shown."""
    root, about = describe(options)
    table = stimuli_table(inside(root, about.stimuli.table))
    every = table.names("stimulus_id")
    shown = [_presentations(root, about, s, every).names("stimulus_id") for s in subjects]
    rows = np.flatnonzero(np.isin(every, np.concatenate(shown)))
    return stimulus_set(root, table, rows, about.name, about.stimuli.pictures)


def _presentations(root: Path, about: Description, subject: str, stimuli: NDArray[np.str_]) -> Table:
    if subject not in about.subjects:
        raise invalid("subject", subject, about.subjects)
    table = read_table(inside(root, about.subjects[subject].presentations), "stimulus_id")
    table.expect(PRESENTATIONS)
    unknown = sorted(set(table.names("stimulus_id")) - set(stimuli))
    if unknown:
        raise InputError(
            f"{table.path} names {len(unknown)} stimuli that are not in {about.stimuli.table}, first "
            f"{str(unknown[0])!r}."
        )
    return table


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read one subject."""
    root, about = describe(options)
    stimuli = stimuli_table(inside(root, about.stimuli.table))
    every = stimuli.names("stimulus_id")
    shown = _presentations(root, about, subject, every)
    warn_of_order(shown)
    section = about.subjects[subject]
    ids, n = shown.names("stimulus_id"), len(shown)
    place = {name: row for row, name in enumerate(every)}
    shown_as = {k: v[[place[i] for i in ids]] for k, v in design(stimuli).items()}
    files = section.responses if isinstance(section.responses, dict) else {"": section.responses}
    if SCALED.fullmatch(about.units.strip()) and any(f.lower().endswith(EPOCHS) for f in files.values()):
        raise InputError(
            f"Invalid value for 'units' in {root / 'dataset.yaml'}: {about.units!r}. MNE's epochs are in V, "
            "T and T/m, whatever was recorded. Write that, or save the values you mean as .npy."
        )
    parts = [read_side(root, side, name, subject, section, shown) for side, name in files.items()]
    if len(parts) > 1 and np.array_equal(parts[0].values, parts[1].values, equal_nan=True):
        raise InputError(
            f"{' and '.join(files.values())} hold the same numbers. Was one hemisphere saved twice?"
        )
    known = {"file": stimuli.text("file")[[place[i] for i in ids]]} if "file" in stimuli else {}
    for name, part in zip(files.values(), parts, strict=True):
        refuse_other_names(name, part.others, shown, known)
        if part.dropped and not names_rows(part.others, {"stimulus_id": ids} | known):
            warnings.warn(
                f"{name}: {len(part.dropped)} epochs were dropped, first number {part.dropped[0]} (from 0); "
                f"nothing says which were kept. Are just these left out of {section.presentations}?",
                InputWarning, stacklevel=2,
            )  # fmt: skip
        known |= {f"{called} in {name}": v for called, v in part.others.items() if len(v) == n}
    response = np.concatenate([part.values for part in parts], 1)
    named = " and ".join(files.values())
    session = part_names(shown, "session") if "session" in shown else np.full(n, "1")
    refuse_copied_rows(named, response, ids)
    warn_of_repeats(named, response, ids, session)
    return make_responses(
        response,
        presentation={
            "stimulus_id": ids, "split": shown_as["split"], "group": shown_as["group"],
            "session": session,
            "run": shown.integers("run") if "run" in shown else np.zeros(n, int),
            "repetition": pd.Series(ids).groupby(ids).cumcount().to_numpy(int),
            **{k: shown_as[k] for k in ("film", "onset") if "film" in shown_as},
        },
        neuroid=coordinates(subject, pd.concat([part.neuroids for part in parts], ignore_index=True)),
        time_bin=time_bins(subject, section, response, parts[-1].time),
        attrs={
            "dataset": about.name, "space": about.space, "units": about.units,
            **{k: v for part in parts for k, v in part.attrs.items()},
            "source": json.dumps({f: sha256(root / f.partition("#")[0]) for f in files.values()}),
        },
    )  # fmt: skip


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read everything once; say what was found, and which columns are not read."""
    root, about = describe(options)
    done = report_stimuli(load_stimuli(options, subjects))
    for subject in subjects:
        done += report_responses(load_responses(options, subject), subject)
    sections = [about.subjects[s] for s in subjects]
    tables: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {about.stimuli.table: STIMULI}
    tables |= {s.presentations: (PRESENTATIONS, ()) for s in sections}
    tables |= {s.neuroids: NEUROIDS for s in sections if s.neuroids is not None}
    for name, known in tables.items():
        unknown = read_table(root / name).expect(*known)
        if unknown:
            done.append(f"{name}: not read are the columns {', '.join(map(repr, unknown))}")
    return done
