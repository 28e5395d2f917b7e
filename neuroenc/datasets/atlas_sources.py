"""Atlases known by name: for which meshes and grids they come, where from, and how they are fetched.

Schaefer et al. (2018), Cerebral Cortex 28, 3095-3114, from the lab's repository (MIT) as of release 0.14.3,
which corrected names, and on the grid of MNI152NLin2009cAsym from TemplateFlow. Glasser et al. (2016), Nature
536, 171-178: as projected to fsaverage (figshare 3498446), the published labels of fsLR as the Cole lab
stored them, and AFNI's volume in MNI152NLin2009cAsym, turned to FSL's orientation (Bedini).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from neuroenc.errors import invalid
from neuroenc.fetch import consent, fetch

FOLDER = "~/.cache/neuroenc/atlases"  # unless NEUROENC_ATLASES says otherwise
SCHAEFER_URL = (
    "https://raw.githubusercontent.com/ThomasYeoLab/CBIG/v0.14.3-Update_Yeo2011_Schaefer2018_labelname/"
    "stable_projects/brain_parcellation/Schaefer2018_LocalGlobal/Parcellations"
)
TEMPLATEFLOW_URL = "https://templateflow.s3.amazonaws.com/tpl-MNI152NLin2009cAsym"
FIGSHARE_URL = "https://ndownloader.figshare.com/files"
GITHUB_URL = "https://raw.githubusercontent.com"
COLE_URL = f"{GITHUB_URL}/ColeLab/ColeAnticevicNetPartition/83a66a6cdc51977b964bfffabd4b1c4c4ea13f3d"
BEDINI_URL = f"{GITHUB_URL}/mbedini/The-HCP-MMP1.0-atlas-in-FSL/8feca042871e6ff0ef4c4f099d6c966a1f6bb74e"
HEMISPHERES = {"L": ("lh", "L", "left"), "R": ("rh", "R", "right")}
"""How file names call them"""
TERMS = {
    "glasser-360": "The Human Connectome Project's parcellation may be used by those who accepted its Open "
    "Access Data Use Terms (balsa.wustl.edu/WN56): nobody is identified, and the project and the paper are "
    "cited (Glasser et al. 2016).",
}  # fmt: skip


class Space(NamedTuple):
    """A mesh or grid that an atlas comes for."""

    name: str
    size: tuple[int, ...]
    """Vertices of a hemisphere, or voxels along each axis"""
    labels: str
    """File, with {hemi} where there is one for each hemisphere"""
    table: str
    """Names of the numbers; empty: they are in the file"""
    files: dict[str, tuple[str, str | None]]
    """File to URL, and hash where it is known"""
    template: str = ""
    """Voxels of other grids are looked up by their place, where the recordings' `space` begins with this"""


def _schaefer() -> list[Space]:
    stem = "Schaefer2018_400Parcels_7Networks_order"
    spaces = []
    for name, n in (("fsaverage", 163842), ("fsaverage6", 40962), ("fsaverage5", 10242)):
        files: dict[str, tuple[str, str | None]] = {
            f: (f"{SCHAEFER_URL}/FreeSurfer5.3/{name}/label/{f}", None)
            for f in (f"{h}.{stem}.annot" for h in ("lh", "rh"))
        }
        spaces.append(Space(name, (n,), f"{{hemi}}.{stem}.annot", "", files))
    labels = f"{stem}.dlabel.nii"
    url = f"{SCHAEFER_URL}/HCP/fslr32k/cifti/{labels}"
    spaces.append(Space("fsLR", (32492,), labels, "", {labels: (url, None)}))
    for resolution, grid in (("2mm", (91, 109, 91)), ("1mm", (182, 218, 182))):
        labels, table = f"{stem}_FSLMNI152_{resolution}.nii.gz", f"{stem}.txt"
        files = {f: (f"{SCHAEFER_URL}/MNI/{f}", None) for f in (labels, table)}
        spaces.append(Space(f"MNI152NLin6Asym_{resolution}", grid, labels, table, files))
    stem, end = "tpl-MNI152NLin2009cAsym", "atlas-Schaefer2018_desc-400Parcels7Networks_dseg"
    for resolution, grid, md5 in (
        ("02", (97, 115, 97), "c6d141b06b9ce0627eb197aa4657cfe0"),
        ("01", (193, 229, 193), "5b3c081760b2e464d8dbf7696af73185"),
    ):
        labels, table = f"{stem}_res-{resolution}_{end}.nii.gz", f"{stem}_{end}.tsv"
        sha256 = "sha256:91fe503df22267bb6c9ab3b9e9e82eec0e08f496d4f9dcb9661e67d1abb14f07"
        files = {labels: (f"{TEMPLATEFLOW_URL}/{labels}", f"md5:{md5}"),
                 table: (f"{TEMPLATEFLOW_URL}/{table}", sha256)}  # fmt: skip
        spaces.append(Space(f"MNI152NLin2009cAsym_res-{resolution}", grid, labels, table, files))
    return spaces


def _glasser() -> list[Space]:
    files: dict[str, tuple[str, str | None]] = {
        "lh.HCPMMP1.annot": (f"{FIGSHARE_URL}/5528816", "md5:46a102b59b2fb1bb4bd62d51bf02e975"),
        "rh.HCPMMP1.annot": (f"{FIGSHARE_URL}/5528819", "md5:75e96b331940227bbcb07c1c791c2463"),
    }
    spaces = [Space("fsaverage", (163842,), "{hemi}.HCPMMP1.annot", "", files)]
    areas = "CorticalAreas_dil_Final_Final_Areas_Group_Colors"
    name = f"Q1-Q6_RelatedValidation210.{{hemi}}.{areas}.32k_fs_LR.dlabel.nii"
    hashes = {"L": "2eebe03fd1fdf50034c01c22e6db14691514d562e6077284e9168bb5a0699776",
              "R": "53e8fd8b978f64e71772035080615516f4add105106f335d0813e1249051a143"}  # fmt: skip
    files = {
        (file := name.replace("{hemi}", side)): (f"{COLE_URL}/SeparateHemispheres/{file}", f"sha256:{known}")
        for side, known in hashes.items()
    }
    spaces.append(Space("fsLR", (32492,), name, "", files))
    labels, table = "MNI_Glasser_HCP_v1.0.nii.gz", "HCP-Multi-Modal-Parcellation-1.0.xml"
    hashes = {labels: "1fa0b064447ac2921d46528f4275c76d66652068e889ae070d81863232e6144c",
              table: "7337cc6d99350fce87be17d1e2d6a6cbb83bf513a8aa00b984f3e13a630ede59"}  # fmt: skip
    files = {f: (f"{BEDINI_URL}/{f}", f"sha256:{known}") for f, known in hashes.items()}
    template = "MNI152NLin2009cAsym"
    spaces.append(Space(template, (256, 256, 256), labels, table, files, template))
    return spaces


SPACES = {"schaefer-400": _schaefer(), "glasser-360": _glasser()}


def folder() -> Path:
    """Return the folder of fetched atlases: NEUROENC_ATLASES, or in the user's cache."""
    return Path(os.environ.get("NEUROENC_ATLASES", FOLDER)).expanduser()


def fetch_atlas(name: str) -> list[Path]:
    """Fetch an atlas for all its meshes and grids; what is there is left alone.

    Parameters
    ----------
    name : str

    Returns
    -------
    list of Path
        The files that were transferred.

    Raises
    ------
    InputError
        No such atlas; its terms were not accepted; a file is not published any more, or has another hash.
    FetchError
        The network is not there.
    """
    if name not in SPACES:
        raise invalid("atlas", name, SPACES)
    if name in TERMS:
        consent(name, TERMS[name])
    done = []
    for space in SPACES[name]:
        for file, (url, known_hash) in space.files.items():
            path = folder() / name / space.name / file
            if fetch(url, path, known_hash=known_hash):
                done.append(path)
    return done
