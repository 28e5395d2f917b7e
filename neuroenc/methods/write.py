"""The methods section of a run, and BibTeX of what it cites."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from neuroenc import __version__
from neuroenc.config import Config, JointStudy
from neuroenc.features.registry import resolve
from neuroenc.files import atomic
from neuroenc.methods import decoders, encoders, evaluation, features, joint, recordings, references
from neuroenc.methods.found import Found, look
from neuroenc.methods.text import Part, cited, code, listed, markdown, page

# package -> (what it is called, what is cited)
LIBRARIES = {
    "numpy": ("NumPy", "harris2020"), "scipy": ("SciPy", "virtanen2020"),
    "scikit-learn": ("scikit-learn", "pedregosa2011"), "xarray": ("xarray", "hoyer2017"),
    "torch": ("PyTorch", "paszke2019"),
}  # fmt: skip
OF_EXTRACTORS = {
    "timm": ("timm", "timm", "wightman2019"), "torchvision": ("torchvision", "torchvision", "paszke2019"),
    "open_clip": ("open_clip_torch", "OpenCLIP", "ilharco2021"),
    "open_clip_text": ("open_clip_torch", "OpenCLIP", "ilharco2021"),
    "transformers": ("transformers", "Transformers", "wolf2020"),
}  # fmt: skip


def methods(config: Config, found: Found) -> list[Part]:
    """Describe a run.

    Parameters
    ----------
    config : Config
    found : Found
        What its files say.

    Returns
    -------
    list of Part
        Recordings, split, features, encoders, evaluation, decoders, software.
    """
    return [
        recordings.part(config, found),
        recordings.split_part(config, found),
        features.part(config, found),
        encoders.part(config),
        evaluation.part(config),
        *filter(None, [decoders.part(config)]),
        _software(config, found),
    ]


def _software(config: Config, found: Found) -> Part:
    """Name neuroenc and the libraries a run stands on, with the versions that are installed here."""
    used = dict(LIBRARIES)
    for model in config.models.values():
        extractor = resolve(model)[0].extractor
        if extractor in OF_EXTRACTORS:
            package, *about = OF_EXTRACTORS[extractor]
            used[package] = (about[0], about[1])
    said = []
    for package, (name, key) in used.items():
        try:
            said.append(f"{name} {version(package)} [@{key}]")
        except PackageNotFoundError:
            continue
    text = (
        f"The analysis was made with neuroenc {found.version or __version__}, in Python "
        f"{platform.python_version()}, on {listed(said)}."
    )
    if found.command:
        by = (
            " It ran as a workflow of Snakemake [@molder2021] and is"
            if found.command.startswith("snakemake")
            else " It is"
        )
        text += f"{by} made again by {code(found.command)}."
    return Part("Software", [text])


def write(
    config: Config | JointStudy,
    folder: Path | None,
    out: Path,
    *,
    bib: Path | None = None,
    html: Path | None = None,
) -> None:
    """Write the methods section of a run, and what it cites.

    Parameters
    ----------
    config : Config or JointStudy
    folder : Path, optional
        Results of the run; without them the text says what the configuration asks for.
    out : Path
        Markdown, with citations that pandoc resolves.
    bib : Path, optional
        BibTeX of what is cited, and of nothing else.
    html : Path, optional
        The same text as a page, with a list of references.
    """
    if isinstance(config, JointStudy):
        parts, of, found = joint.parts(config, folder)
        parts.append(_software(of, found))
    else:
        parts = methods(config, look(config, folder))
    title = f"Methods of {config.label}"
    files = {out: markdown(title, parts)}
    if bib is not None:
        files[bib] = references.bibtex(cited(parts))
    if html is not None:
        note = (
            "Written from the configuration and the files of the run; methods.md and methods.bib "
            "stand beside its results."
        )
        files[html] = page(title, parts, references.load(), note)
    for path, text in files.items():
        with atomic(path) as partial:
            partial.write_text(text, encoding="utf-8")
