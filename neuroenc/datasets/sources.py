"""Where recordings are published, under which terms, and how they are fetched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from neuroenc.config import Dataset
from neuroenc.datasets import atlas_sources
from neuroenc.errors import InputError, invalid
from neuroenc.fetch import (
    BYTES,
    FetchError,
    accept,
    consent,
    fetch,
    opened,
    page,
    place,
    room,
    unpack,
    writing,
)
from neuroenc.files import remove

NSD_URL = "https://natural-scenes-dataset.s3.amazonaws.com"
LAION_FMRI_URL = "https://laion-fmri.s3.amazonaws.com"
MOSAIC_URL = "https://mosaicfmri.s3.amazonaws.com/fMRIPrepv23_2_0/task_fMRI/betas/GLMsinglev1_2"
MOSAIC_FOLDERS = {
    "NSD": "NaturalScenesDataset", "BOLD5000": "BOLD5000", "BMD": "BOLDMomentsDataset",
    "GOD": "GenericObjectDecoding", "deeprecon": "deeprecon", "HAD": "HumanActionsDataset",
    "NOD": "NaturalObjectDataset", "THINGS": "THINGS",
}  # fmt: skip
TREEBANK_URL = "https://braintreebank.dev/data"
TREEBANK_SESSIONS = {
    str(patient): (0, 1, 4) if patient == 6 else tuple(range(n))
    for patient, n in enumerate((3, 7, 3, 3, 1, 3, 2, 1, 1, 2), 1)
}  # fmt: skip
OPENNEURO_URL = "https://s3.amazonaws.com/openneuro.org"
COCO_URL = "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
COCO_HASH = "sha1:8551ee4bb5860311e79dace7e79cb91e432e78b3"  # there is no https
LISTED = 1_000_000  # keys under one prefix, at most
NSD_SESSIONS = dict(zip((f"{i:02d}" for i in range(1, 9)), (40, 40, 32, 30, 40, 32, 40, 30), strict=True))

File = tuple[str, str]  # url, path under the root; of a zip whose path is none: what is taken out of it


class Source(NamedTuple):
    """A publisher."""

    terms: str
    """What is accepted before anything is fetched; empty: nothing"""
    files: Callable[[Dataset, list[str]], Iterator[File]] | None
    page: str
    """Where a person finds it"""


def nsd_files(options: Dataset, subjects: list[str]) -> Iterator[File]:
    """List what the loader reads of the subjects, in the space and preparation chosen."""
    for key in (
        "nsddata/experiments/nsd/nsd_expdesign.mat", "nsddata/experiments/nsd/nsd_stim_info_merged.csv",
        "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
    ):  # fmt: skip
        yield f"{NSD_URL}/{key}", key
    sides = ("lh.", "rh.") if options.space == "fsaverage" else ("",)
    atlases = [a for a in (options.mask, *options.regions) if a != "brain"]
    for subject in subjects:
        if subject not in NSD_SESSIONS:
            raise invalid("subject", subject, NSD_SESSIONS)
        folder = f"nsddata_betas/ppdata/subj{subject}/{options.space}/{options.preparation}"
        form = "mgh" if options.space == "fsaverage" else "hdf5"
        for side in sides:
            yield from _nsd(f"{folder}/{side}ncsnr.{'mgh' if side else 'nii.gz'}")
            for session in range(1, (options.sessions or NSD_SESSIONS[subject]) + 1):
                yield from _nsd(f"{folder}/{side}betas_session{session:02d}.{form}")
        if options.space != "fsaverage":  # they tell the hemispheres apart
            for side in ("lh.", "rh."):
                yield from _nsd(f"nsddata/ppdata/subj{subject}/func1pt8mm/roi/{side}nsdgeneral.nii.gz")
        for atlas in atlases:
            if options.space == "fsaverage":
                for side in sides:
                    yield from _nsd(f"nsddata/freesurfer/fsaverage/label/{side}{atlas}.mgz")
            else:
                yield from _nsd(f"nsddata/ppdata/subj{subject}/func1pt8mm/roi/{atlas}.nii.gz")
            if atlas != "nsdgeneral":
                yield from _nsd(f"nsddata/freesurfer/subj{subject}/label/{atlas}.mgz.ctab")


def nsd_session_files(options: Dataset, subjects: list[str]) -> Iterator[File]:
    """List what the loaders of NSD-synthetic and NSD-imagery read beside the masks and regions of `nsd`."""
    experiment = options.name.replace("_", "")
    prefixes = [f"nsddata/experiments/{experiment}/"]
    if experiment == "nsdsynthetic":
        prefixes.append("nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_stimuli.hdf5")
    for subject in subjects:
        for url, path in nsd_files(options, [subject]):
            if "betas_session" not in path and "/nsd/" not in path:
                yield url, path
        folder = f"nsddata_betas/ppdata/subj{subject}/{options.space}/{experiment}{options.preparation}"
        for side in ("lh.", "rh.") if options.space == "fsaverage" else ("",):
            yield from _nsd(f"{folder}/{side}betas_{experiment}.{'mgh' if side else 'hdf5'}")
        if experiment == "nsdsynthetic":
            yield from _nsd(
                f"nsddata_stimuli/stimuli/nsdsynthetic/nsdsynthetic_colorstimuli_subj{subject}.hdf5"
            )
        else:
            prefixes.append(f"nsddata/bdata/nsdimagery/nsdimagery_subj{subject}_")
    for prefix in prefixes:
        for key in bucket_files(prefix, NSD_URL):
            yield f"{NSD_URL}/{quote(key)}", key


def bucket_files(prefix: str, bucket: str = "") -> Iterator[str]:
    """List the keys of a public bucket (OpenNeuro's) that begin so.

    Raises
    ------
    FetchError
        It cannot be reached, or lists nothing.
    """
    import requests

    n, bucket = 0, bucket or OPENNEURO_URL
    more: dict[str, str] = {}
    while True:
        try:
            found = ElementTree.fromstring(page(bucket, {"list-type": "2", "prefix": prefix, **more}))
        except (requests.RequestException, ElementTree.ParseError) as error:
            raise FetchError(f"Cannot list {prefix} at {bucket}: {str(error).splitlines()[0]}.") from None
        keys = [e.text or "" for e in found.iter() if e.tag.rpartition("}")[2] == "Key"]
        n += len(keys)
        astray = [k for k in keys if not k.startswith(prefix)]
        if astray:
            raise FetchError(f"{bucket} lists {astray[0][:200]!r} under {prefix}. Nothing was fetched.")
        yield from (k for k in keys if not k.endswith("/"))
        token = [e.text for e in found.iter() if e.tag.rpartition("}")[2] == "NextContinuationToken"]
        if not token:
            break
        if not keys or token[0] == more.get("continuation-token") or n > LISTED:
            raise FetchError(f"{bucket} lists {prefix} without end. Try again later.")
        more = {"continuation-token": str(token[0])}
    if not n:
        raise FetchError(f"{bucket} has nothing under {prefix!r}. Is the subject spelt as there?")


def stories_files(options: Dataset, subjects: list[str]) -> Iterator[File]:  # noqa: ARG001  no choice of files
    """List the responses of the subjects and the words of all stories."""
    base = "ds003020/derivative/"
    for part in (*(f"preprocessed_data/{s}/" for s in subjects), "TextGrids/"):
        for key in bucket_files(base + part):
            yield f"{OPENNEURO_URL}/{quote(key)}", key.removeprefix(base)


def things_meg_files(options: Dataset, subjects: list[str]) -> Iterator[File]:
    """List the recordings of the subjects, and what was shown."""
    base = "ds004212/"
    for subject in subjects:
        for session in range(1, (options.sessions or 12) + 1):
            for key in bucket_files(f"{base}sub-BIGMEG{subject}/ses-{session:02d}/meg/"):
                yield f"{OPENNEURO_URL}/{quote(key)}", key.removeprefix(base)
        for key in bucket_files(f"{base}sourcedata/sample_attributes_P{subject}"):
            yield f"{OPENNEURO_URL}/{quote(key)}", key.removeprefix(base)


def things_eeg1_files(options: Dataset, subjects: list[str]) -> Iterator[File]:  # noqa: ARG001  no choice
    """List the continuous recordings of the subjects, and their tables of events."""
    base = "ds003825/"
    for s in subjects:
        for part in (
            f"derivatives/eeglab/sub-{s}_task-rsvp_continuous.",
            f"sub-{s}/eeg/sub-{s}_task-rsvp_events.",
        ):
            for key in bucket_files(base + part):
                yield f"{OPENNEURO_URL}/{quote(key)}", key.removeprefix(base)


def laion_fmri_files(options: Dataset, subjects: list[str]) -> Iterator[File]:
    """List the tables of pictures, and of the subjects the betas, trials, ceilings and regions."""
    keys = [f"stimuli/task-images_{end}.csv" for end in ("metadata", "desc-captions")]
    for s in subjects:
        base = f"derivatives/glmsingle-tedana/sub-{s}"
        ends = ("stat-rsquare_desc-R2mean", "desc-Noiseceiling12rep")
        keys += [f"{base}/sub-{s}_task-images_space-T1w_{end}_statmap.nii.gz" for end in ends]
        for n in range(1, (options.sessions or 30) + 1):
            session = f"{base}/ses-{n:02d}/func/sub-{s}_ses-{n:02d}_task-images"
            keys.append(f"{session}_desc-SingletrialBetas_trials.tsv")
            keys.append(f"{session}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz")
        keys += [k for k in bucket_files(f"derivatives/rois/sub-{s}/", LAION_FMRI_URL) if "_space-T1w_" in k]
    for key in keys:
        yield f"{LAION_FMRI_URL}/{quote(key)}", key


def mosaic_files(options: Dataset, subjects: list[str]) -> Iterator[File]:  # noqa: ARG001  no choice of files
    """List the file of each person."""
    for subject in subjects:
        name, number = subject[:-2], subject[-2:]
        if name not in MOSAIC_FOLDERS or not number.isdigit():
            raise invalid("subject", subject, [f"{name}01" for name in MOSAIC_FOLDERS])
        file = f"sub-{number}_{name}.hdf5"
        yield f"{MOSAIC_URL}/{MOSAIC_FOLDERS[name]}/{file}", file


def treebank_files(options: Dataset, subjects: list[str]) -> Iterator[File]:
    """List the annotations of all films and patients, and the recordings of the subjects."""
    yield f"{TREEBANK_URL}/corrupted_elec.json", "corrupted_elec.json"
    for name in ("electrode_labels", "localization", "scene_annotations", "subject_metadata",
                 "subject_timings", "transcripts"):  # fmt: skip
        yield f"{TREEBANK_URL}/{name}.zip", name
    for subject in subjects:
        if subject not in TREEBANK_SESSIONS:
            raise invalid("subject", subject, TREEBANK_SESSIONS)
        for number in TREEBANK_SESSIONS[subject][: options.sessions]:
            name = f"sub_{subject}_trial{number:03d}.h5"
            url = f"{TREEBANK_URL}/subject_data/sub_{subject}/trial{number:03d}/{name}.zip"
            yield url, f"all_subject_data/{name}"


def _nsd(key: str) -> Iterator[File]:
    yield f"{NSD_URL}/{key}", key


NSD_TERMS = (
    "The Natural Scenes Dataset may be used by those who accepted its terms and conditions "
    "(naturalscenesdataset.org, form): no redistribution, and the paper is cited (Allen et al. 2022)."
)
BRAINSCORE = "Brain-Score (`brainscore_vision.load_dataset({!r})` leaves it in ~/.brainio)"
SOURCES: dict[str, Source] = {
    "nsd": Source(NSD_TERMS, nsd_files, "naturalscenesdataset.org"),
    "nsd_synthetic": Source(NSD_TERMS, nsd_session_files, "naturalscenesdataset.org"),
    "nsd_imagery": Source(NSD_TERMS, nsd_session_files, "naturalscenesdataset.org"),
    "haxby": Source("", None, "nilearn.datasets.fetch_haxby"),
    "algonauts2023": Source("", None, "algonauts.csail.mit.edu, the challenge of 2023 (form)"),
    "things_fmri": Source("", None, "figshare+ 20492835 (betas_csv), OSF jum2f (pictures, with a password)"),
    "things_eeg2": Source("", None, "OSF 3jk45 (EEG), OSF y63gw (pictures, with a password)"),
    "things_eeg1": Source(
        "", things_eeg1_files, "OpenNeuro ds003825 (EEG), OSF jum2f (pictures, with a password)"
    ),
    "things_meg": Source(
        "", things_meg_files, "OpenNeuro ds004212 (MEG), OSF jum2f (pictures, with a password)"
    ),
    "tvsd": Source(
        "", None, "gin.g-node.org/paolo_papale/TVSD (`gin`), OSF jum2f (pictures, with a password)"
    ),
    "laion_fmri": Source("", laion_fmri_files, "laion-fmri.hebartlab.com (pictures: /request)"),
    "mosaic": Source("", mosaic_files, "mosaicfmri.s3.amazonaws.com; pictures from each publisher"),
    "stories": Source("", stories_files, "OpenNeuro ds003020 (derivative)"),
    "pereira2018": Source("", None, "evlab.mit.edu, one archive a participant"),
    "mtl": Source("", None, "DANDI:000004"),
    "n170": Source("", None, "the repository muse-lsl"),
    "bold5000": Source("", None, "figshare 14456124 (release 2.0) and bold5000-dataset.github.io (pictures)"),
    "treebank": Source("", treebank_files, "braintreebank.dev (films: your own copies)"),
    "majajhong2015": Source("", None, BRAINSCORE.format("MajajHong2015.public")),
    "freemanziemba2013": Source("", None, BRAINSCORE.format("FreemanZiemba2013.public")),
    "v4": Source("", None, "doi 10.1038/s41586-026-10150-1"),
}  # fmt: skip


def ask(name: str) -> None:
    """Ask for consent to the terms of a dataset or atlas and record it."""
    terms = {k: s.terms for k, s in SOURCES.items()} | atlas_sources.TERMS
    if name not in terms:
        raise invalid("dataset", name, terms)
    if not terms[name]:
        raise InputError(f"Nothing needs to be accepted for {name!r}.")
    accept(name, terms[name])


def fetch_dataset(options: Dataset, subjects: list[str]) -> list[str]:
    """Fetch what the loader reads; files that are there are left alone.

    Parameters
    ----------
    options : Dataset
        With `root`, where the files go.
    subjects : list of str

    Returns
    -------
    list of str
        Paths of the files that were transferred.

    Raises
    ------
    InputError
        The terms were not accepted; no room on the disk; a file is not published any more.
    """
    if options.name not in SOURCES:
        raise InputError(f"{options.name!r} is not fetched; point `dataset.root` at it.")
    if options.root is None:
        raise InputError("Say where to: set `dataset.root` or --root.")
    source = SOURCES[options.name]
    root = Path(os.path.expandvars(options.root)).expanduser()
    if source.terms:
        consent(options.name, source.terms)
    if options.name == "haxby":
        from nilearn.datasets import fetch_haxby

        fetch_haxby(data_dir=root, subjects=[int(s) for s in subjects], fetch_stimuli=False, verbose=1)
        return []
    if source.files is None:
        raise InputError(
            f"{options.name!r} cannot be fetched by a program. Get it from {source.page} and point "
            "`dataset.root` at it."
        )
    wanted = [(url, place(root, path)) for url, path in source.files(options, subjects)]
    missing = [(url, path) for url, path in wanted if not path.exists()]
    root.mkdir(parents=True, exist_ok=True)
    room(root, sum(_size(url) for url, _ in missing), f"{len(missing)} files of {options.name}")
    for url, path in missing:
        (fetch_packed if url.endswith(".zip") and path.suffix != ".zip" else fetch)(url, path)
    if options.name == "nsd" and not (root / "nsddata_stimuli/annotations").exists():
        archive = root / ".coco.zip"
        fetch(COCO_URL, archive, known_hash=COCO_HASH)
        unpack(archive, root / "nsddata_stimuli")
        remove(archive)
    return [str(path) for _, path in missing]


def fetch_packed(url: str, path: Path) -> None:
    """Fetch a zip and take one file or folder out of it, which has the name of `path`.

    Raises
    ------
    InputError
        It holds none of that name, or several.
    """
    archive, folder = (path.with_name(f".{path.name}{end}") for end in (".zip", ".unpacked"))
    fetch(url, archive)
    try:
        unpack(archive, folder)
        found = [p for p in folder.rglob(path.name) if "__MACOSX" not in p.parts]
        if len(found) != 1:
            raise InputError(
                f"{url} holds {len(found)} of {path.name!r}, expected one: its layout was changed. Nothing "
                "was kept; report it."
            )
        with writing(path.parent):
            found[0].rename(path)
    finally:
        remove(folder)
        remove(archive)


def _size(url: str) -> int:
    import requests

    try:
        with opened(url, "HEAD", allow_redirects=True) as answer:
            length = answer.headers.get("Content-Length", "")
    except requests.RequestException as error:
        raise FetchError(
            f"Cannot reach {url}: {str(error).splitlines()[0]}. Is there a network here?"
        ) from None
    return int(length) if answer.ok and BYTES.fullmatch(length) else 0
