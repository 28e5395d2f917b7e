"""What a run may cite: one table, `references.yaml`, as BibTeX, as (author, year) and as a line of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neuroenc.documents import read_yaml

TABLE = Path(__file__).with_name("references.yaml")


class Reference(NamedTuple):
    """A paper, a dataset or a library."""

    author: str
    """As BibTeX has it: Family, Given and Family, Given and others"""
    title: str
    year: int
    where: str
    """Journal, proceedings, publisher"""
    doi: str = ""
    arxiv: str = ""
    url: str = ""
    unverified: str = ""
    """What of it was not found elsewhere"""

    @property
    def families(self) -> list[str]:
        """Family names; `others` for those who are not named."""
        return [a.partition(",")[0].strip("{} ") for a in self.author.split(" and ")]

    @property
    def short(self) -> str:
        """Author and year."""
        names = self.families
        who = f"{names[0]} et al." if len(names) > 2 or names[-1] == "others" else " and ".join(names)
        return f"{who}, {self.year}"

    @property
    def link(self) -> str:
        """Where it is found; empty where that is not known."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url

    @property
    def listed(self) -> str:
        """A line of a list of references."""
        names = ["et al." if n == "others" else n for n in self.families]
        end = self.title if self.title[-1] in "?!" else f"{self.title}."
        return f"{', '.join(names)} ({self.year}). {end} {self.where}. {self.link}".rstrip()


References = Mapping[str, Reference]


@cache
def load() -> References:
    """Read the table.

    Returns
    -------
    mapping of key to Reference
    """
    return {k: Reference(where=v.pop("in"), **v) for k, v in read_yaml(TABLE).items()}


def bibtex(keys: Iterable[str]) -> str:
    """Write entries of the table as BibTeX.

    Parameters
    ----------
    keys : iterable of str

    Returns
    -------
    str
        An entry each, in order of the keys; of one that is not verified a comment says what is not.
    """
    return "\n".join(_entry(k, load()[k]) for k in sorted(keys))


def _entry(key: str, r: Reference) -> str:
    # braces keep fMRI and Brain-Score from being written small; the first word begins large anyway
    title = re.sub(r"(?<=\s)[A-Z][\w-]*|[\w-]+[A-Z][\w-]*", r"{\g<0>}", r.title).replace("&", r"\&")
    fields = {"author": r.author, "title": title, "year": str(r.year), "journal": r.where}
    if r.doi:
        fields["doi"] = r.doi
    elif r.arxiv:
        fields |= {"eprint": r.arxiv, "archiveprefix": "arXiv"}
    if r.link:
        fields["url"] = r.link
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    doubt = f"% to be checked: {r.unverified}\n" if r.unverified else ""
    return f"{doubt}@article{{{key},\n{lines}\n}}\n"
