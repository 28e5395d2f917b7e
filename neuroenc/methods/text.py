"""Sentences with numbers in them, and the sections they make: as Markdown, and as a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

from neuroenc.methods.references import References

CITED = re.compile(r"\[(@[^\[\]]+)\]")


class Part(NamedTuple):
    """A section; citations stand in its paragraphs as pandoc reads them, [@key; @key]."""

    title: str
    paragraphs: list[str]


def listed(items: Iterable[Any], last: str = "and") -> str:
    """Write a list: a, b and c."""
    *first, end = [str(i) for i in items]
    return f"{', '.join(first)} {last} {end}" if first else end


def plural(n: int, noun: str, several: str = "") -> str:
    """Write how many there are: 1 fold, 5 folds."""
    return f"{n:,} {noun if n == 1 else several or noun + 's'}"


def code(name: object) -> str:
    """Write a name as it stands in the configuration; nothing in it is read as Markdown."""
    return f"`{' '.join(str(name).replace('`', chr(39)).split())}`"


def grid(alphas: tuple[float, float, int]) -> str:
    """Write the candidates for alpha."""
    low, high, n = alphas
    return (
        f"10^{low:g}" if n == 1 else f"{n} values from 10^{low:g} to 10^{high:g}, evenly spaced in logarithm"
    )


def cited(parts: Iterable[Part]) -> list[str]:
    """List the keys that are cited, each once, in their order."""
    found = [
        k for p in parts for text in p.paragraphs for group in CITED.findall(text) for k in group.split(";")
    ]
    return list(dict.fromkeys(k.strip().removeprefix("@") for k in found))


def markdown(title: str, parts: Iterable[Part]) -> str:
    """Write the sections as Markdown with citations that pandoc resolves.

    Returns
    -------
    str
        A paragraph a line.
    """
    lines = [f"# {title}"]
    for part in parts:
        lines += [f"## {part.title}", *part.paragraphs]
    return "\n\n".join(lines) + "\n"


STYLE = (
    "body{font:16px/1.55 Georgia,serif;max-width:46em;margin:2em auto;padding:0 1em;color:#222}"
    "h1,h2{font-family:sans-serif;line-height:1.2}h1{font-size:1.6em}h2{font-size:1.15em;margin-top:1.8em}"
    "code{font-size:.86em;background:#f3f3f3;padding:0 .2em;overflow-wrap:anywhere}li{margin:.4em 0}"
    "p.note{font:13px sans-serif;color:#666}"
)


def page(title: str, parts: Iterable[Part], references: References, note: str) -> str:
    """Write the sections as a page that needs no network, citations as (author, year), with a list of them.

    Parameters
    ----------
    title : str
    parts : iterable of Part
    references : mapping
        Of `references.load`.
    note : str
        Below the title.

    Returns
    -------
    str
        HTML; whatever the sections hold is text there.
    """
    parts = list(parts)
    body = [f"<h1>{escape(title)}</h1>", f'<p class="note">{escape(note)}</p>']
    for part in parts:
        body.append(f"<h2>{escape(part.title)}</h2>")
        body += [f"<p>{_inline(text, references)}</p>" for text in part.paragraphs]
    items = sorted((references[k].listed for k in cited(parts)), key=str.casefold)
    body += ["<h2>References</h2>", "<ul>", *(f"<li>{escape(i)}</li>" for i in items), "</ul>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>' + "\n".join(body) + "</body></html>\n"


def _inline(text: str, references: Mapping[str, Any]) -> str:
    """Escape a paragraph; names become code, citations author and year."""

    def resolve(group: re.Match[str]) -> str:
        keys = [k.strip().removeprefix("@") for k in group[1].split(";")]
        return "(" + "; ".join(references[k].short for k in keys) + ")"

    pieces = re.split(r"`([^`]*)`", text)
    plain = [escape(CITED.sub(resolve, p)) for p in pieces[::2]]
    names = [f"<code>{escape(p)}</code>" for p in pieces[1::2]]
    raised = [re.sub(r"10\^(-?[\d.]+)", r"10<sup>\1</sup>", p) for p in plain]
    return "".join(a + b for a, b in zip(raised, [*names, ""], strict=True))
