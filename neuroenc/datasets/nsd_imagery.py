"""NSD-imagery: the eight people of NSD seeing and imagining 18 targets (Kneeland et al. 2025, CVPR).

A test set of encoders and decoders that were fitted to NSD: it stands in NSD's tree and has the neuroids of
`nsd` with the same options, in the same order. Targets are six bars and crosses (set A), six photographs (set
B; all but one are shared pictures of NSD, on which no encoder of `nsd` was trained) and six concepts (set C).
`task` chooses `vision` or `imagery` of A and B, or `vision_concepts` or `imagery_concepts` of C, of which
there is no picture, but a word. Runs of attention are left out: they have two betas for each trial.

The layout is that of NSD's manual (cvnlab.slite.page, "Functional data (nsdimagery)"), of its bucket as
github.com/mynanshan/NHprojectNSDimagery fetches it, and of what several repositories read; the files were not
at hand. Whether runs of vision or of imagery come first is told in both ways there, so that it is read from
the data: a run of `designmatrixGLMsingle.mat` is the one whose trials, in `bdata/nsdimagery/*.tsv`, have one
target for each of its columns. Where none or two fit, nothing is read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import make_stimuli
from neuroenc.config import Dataset
from neuroenc.datasets.nsd import LICENCE as LICENCE
from neuroenc.datasets.nsd import root_of
from neuroenc.datasets.nsd_synthetic import as_responses, session_betas
from neuroenc.datasets.pixels import locate
from neuroenc.datasets.reading import read_table
from neuroenc.errors import InputError, reason
from neuroenc.files import existing

CITATION = "Kneeland et al. (2025), NSD-Imagery, CVPR, arXiv:2506.06898"
EXPERIMENT, BEHAVIOUR = "nsddata/experiments/nsdimagery", "nsddata/bdata/nsdimagery"
PICTURES = f"{EXPERIMENT}/rawtargetimages"
SETS = {"A": 6, "B": 6, "C": 6}
TRIALS = 48  # of a run
RUNS = {
    "vision": ("visA", "visB"), "imagery": ("imgA_1", "imgA_2", "imgB_1", "imgB_2"),
    "vision_concepts": ("visC",), "imagery_concepts": ("imgC_1", "imgC_2"),
}  # fmt: skip
EXPECTED = {"runs": 12, "betas": 720}


def _targets(root: Path, task: str) -> dict[str, tuple[str, str]]:
    """Read the set and the target of each cue: a file of set A or B, a word of set C."""
    found: dict[str, tuple[str, str]] = {}
    for name in "C" if task.endswith("concepts") else "AB":
        path = existing(root / EXPERIMENT / f"{name}_pair_list.mat")
        try:
            rows = scipy.io.loadmat(path, variable_names=["pair_list"], chars_as_strings=True)["pair_list"]
            pairs = [(str(np.ravel(row[2])[0]), str(np.ravel(row[1])[0])) for row in rows]
        except Exception as error:  # noqa: BLE001  headers that lie raise errors of every kind
            raise InputError(f"Cannot read the targets in {path}: {reason(error)}. Fetch it again.") from None
        if len({cue for cue, _ in pairs}) != SETS[name] or len(pairs) != SETS[name]:
            raise InputError(
                f"{path} has {len(pairs)} rows, expected {SETS[name]}: number, target, cue. Fetch it again."
            )
        found |= {cue: (name, target) for cue, target in pairs}
    return found


def load_stimuli(options: Dataset, subjects: list[str]) -> xr.Dataset:  # noqa: ARG001  all saw the same
    """List the targets of the task: pictures of sets A and B, or the words of set C as captions.

    Raises
    ------
    InputError
        A list of targets or a picture is missing.
    """
    root = root_of(options)
    targets = _targets(root, options.task)
    ids = np.array([_name(kind, cue) for cue, (kind, _) in targets.items()])
    table = {
        "stimulus_id": ids, "group": ids, "split": np.full(len(ids), "test"),
        "pixel_index": np.arange(len(ids)),
    }  # fmt: skip
    about = {"dataset": "NSD-imagery", "pixels": "not distributed"}
    if options.task.endswith("concepts"):
        return make_stimuli(table, attrs=about, captions=np.array([[t] for _, t in targets.values()]))
    hint = "They are in NSD's bucket, in the same folder."
    files = [f"set{kind}/{target}" for kind, target in targets.values()]
    table["file"] = locate(root / PICTURES, files, hint=hint)
    return make_stimuli(table, attrs=about | {"pixels": str(root / PICTURES)})


def _name(kind: str, cue: str) -> str:
    return f"nsdimagery-{kind}-{cue}"


def _columns(root: Path) -> list[NDArray[np.int64]]:
    """Read, for each run, the column of each beta in order of time."""
    path = existing(root / EXPERIMENT / "designmatrixGLMsingle.mat")
    try:
        cells = np.ravel(scipy.io.loadmat(path, variable_names=["stimulus"])["stimulus"])
        found = [np.nonzero(np.atleast_2d(cell))[1] for cell in cells]  # rows are in order of time
    except Exception as error:  # noqa: BLE001  headers that lie raise errors of every kind
        raise InputError(f"Cannot read the design in {path}: {reason(error)}. Fetch it again.") from None
    n = sum(map(len, found))
    if (len(found), n) != (EXPECTED["runs"], EXPECTED["betas"]):
        raise InputError(
            f"{path} has {len(found)} runs of {n} betas, expected {EXPECTED['runs']} of "
            f"{EXPECTED['betas']}. Fetch it again."
        )
    return found


def _shown(root: Path, subject: str, run: str) -> NDArray[np.str_]:
    """Read the cue of the target of each trial of a run; what a trial of vision cued is another column."""
    path = root / BEHAVIOUR / f"nsdimagery_subj{subject}_{run}.tsv"
    table = read_table(path, "TRIAL", "CONDITION")
    if len(table) != TRIALS or (np.diff(table.integers("TRIAL")) <= 0).any():
        raise InputError(f"{path} has {len(table)} trials, expected {TRIALS} in order. Fetch it again.")
    return table.names("CONDITION")


def _place(columns: list[NDArray[np.int64]], shown: NDArray[np.str_], run: str) -> int:
    """Return which run of the design shows these targets: each of its columns is one target's."""
    fitting = [
        i for i, column in enumerate(columns)
        if len(column) == len(shown) and len(set(zip(column, shown, strict=True))) == len(set(column))
    ]  # fmt: skip
    if len(fitting) != 1:
        raise InputError(
            f"The trials of {run} fit {len(fitting)} runs of designmatrixGLMsingle.mat, expected one. Were "
            "they taken from another release?"
        )
    return fitting[0]


def load_responses(options: Dataset, subject: str) -> xr.Dataset:
    """Read the betas of one subject, of the runs of `task`, z-scored over all betas of the session.

    Parameters
    ----------
    options : Dataset
        `task`; `space`, `preparation`, `mask` and `regions` as for `nsd`.
    subject : str
        Two digits.

    Returns
    -------
    Dataset
        Responses, of the neuroids of `nsd`: eight trials of each target and run.

    Raises
    ------
    InputError
        A file is missing, or of another type, grid or number of trials; a run cannot be told from the others.
    """
    root = root_of(options)
    targets, columns = _targets(root, options.task), _columns(root)
    end = np.cumsum([len(c) for c in columns])
    rows, ids, runs = [], [], []
    for run in RUNS[options.task]:
        shown = _shown(root, subject, run)
        unknown = sorted(set(shown) - set(targets))
        if unknown:
            raise InputError(
                f"Trials of {run} of subj{subject} have the condition {str(unknown[0])!r}, expected one of "
                f"the cues {', '.join(sorted(targets))}. Fetch them again."
            )
        place = _place(columns, shown, run)
        rows.append(np.arange(end[place] - TRIALS, end[place]))
        ids += [_name(targets[cue][0], str(cue)) for cue in shown]
        runs += [place + 1] * TRIALS
    reader, mask, values, source = session_betas(options, subject, "nsdimagery", int(end[-1]))
    presentation = {
        "stimulus_id": np.array(ids), "run": np.array(runs), "session": np.full(len(ids), "nsdimagery"),
    }  # fmt: skip
    kept = values[np.concatenate(rows)]
    return as_responses(options, subject, presentation, kept, (reader, mask, source), "NSD-imagery")


def check_tree(options: Dataset, subjects: list[str]) -> list[str]:
    """Read targets and trials of the task; compare runs and betas with the record."""
    n = load_stimuli(options, subjects).sizes["stimulus"]
    done = []
    for subject in subjects:
        found = load_responses(options, subject)
        done.append(
            f"subject {subject}: {found.sizes['neuroid']} neuroids, {found.sizes['presentation']} trials of "
            f"{n} targets ({options.task})"
        )
    return done
