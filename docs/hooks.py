"""Pages that mkdocs reads from the code, and links out of docs/ that lead to pages or files of the site.

A page is written for each dataset (the docstring of its module, its example configuration), for each room of the
library (the names its face offers), for the commands, and for the documents that stand beside docs/.
"""

from __future__ import annotations

import ast
import inspect
import os.path
import posixpath
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from neuroenc import config as sections
from neuroenc.cli import app

ROOT = Path(__file__).parents[1]
# documents of the repository that are pages of the site
DOCUMENTS = {
    "config/README.md": "configuration.md", "benchmarks/RESULTS.md": "readouts.md",
    "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CODE_OF_CONDUCT.md": "conduct.md",
    "CHANGELOG.md": "changelog.md", "README.md": "index.md",
}  # fmt: skip
# rooms of the library, and modules whose functions are called as `splits.make`
ROOMS = ("arrays", "datasets", "features", "encoders", "evaluation", "decoders", "figures")
MODULES = ("config", "splits", "unions", "errors")
# pages that stand in the list of how-tos where there are any
OPTIONAL = {"cluster.md": "On a cluster", "scale.md": "Large recordings"}
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the parts of the navigation that are read from the tree."""
    here = Path(config.docs_dir)
    for part in config.nav:
        (title, entries) = next(iter(part.items()))
        if title == "How to":
            entries[-2:-2] = [{name: page} for page, name in OPTIONAL.items() if (here / page).exists()]
        if title == "Studies":
            pages = sorted((here / "studies").glob("*.md"), key=lambda p: (p.name != "index.md", p.name))
            part[title] = [f"studies/{p.name}" for p in pages]
        if title == "Reference":
            part[title] = [
                {n: _listed(p)} if p.endswith("/") else {n: p} for e in entries for n, p in e.items()
            ]
    return config


def _listed(folder: str) -> list[str]:
    return [f"{folder}{name}.md" for name in (_rooms() if folder == "api/" else _datasets())]


def _rooms() -> list[str]:
    inside = [f"{room}-inside" for room in ROOMS]
    return ["index", *(n.replace(".", "-") for n in (*ROOMS, *MODULES)), *inside]


def _datasets() -> list[str]:
    names = sections.Dataset.model_fields["name"].annotation.__args__
    return sorted(names)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written here, and the files of the repository that pages lead to."""
    written = {
        site: (ROOT / document).read_text() for document, site in DOCUMENTS.items() if site != "index.md"
    }
    written["commands.md"] = commands()
    written |= {f"datasets/{name}.md": dataset(name) for name in _datasets()}
    written |= {f"api/{room.replace('.', '-')}.md": library(room) for room in (*ROOMS, *MODULES)}
    written |= {f"api/{room}-inside.md": rest(room) for room in ROOMS}
    written["api/index.md"] = rooms()
    for site, text in written.items():
        files.append(File.generated(config, site, content=text))
    texts = {f.src_uri: f.content_string for f in files.documentation_pages()}
    for source, text in texts.items():
        for target, _ in LINK.findall(text):
            path = _place(source, target)
            if _elsewhere(path) and (ROOT / path).is_file() and not files.get_file_from_path(_kept(path)):
                files.append(File.generated(config, _kept(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links to documents and files outside docs/ into links of the site."""
    source = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        path = _place(source, match[1])
        site = DOCUMENTS.get(path) or (_kept(path) if _elsewhere(path) else path.removeprefix("docs/"))
        if room := re.fullmatch(r"neuroenc/(\w+)/__init__\.py", path):  # its page says the same, and more
            site = f"api/{room[1]}.md"
        if not (files.get_file_from_path(site)):
            return match[0]  # mkdocs says what is wrong with it
        return posixpath.relpath(site, posixpath.dirname(source) or ".") + (match[2] or "")

    return LINK.sub(lead, markdown)


def _place(source: str, target: str) -> str:
    """Return the path in the repository that a link of a page leads to."""
    written_as = {site: document for document, site in DOCUMENTS.items()}
    origin = written_as.get(source, f"docs/{source}") if source != "index.md" else "docs/index.md"
    return os.path.normpath(posixpath.join(posixpath.dirname(origin), target))


def _elsewhere(path: str) -> bool:
    return not path.startswith(("docs/", "../")) and path not in DOCUMENTS


def _kept(path: str) -> str:
    """Return the place of a file of the repository on the site; Markdown is kept as text."""
    return f"files/{path}.txt" if path.endswith(".md") else f"files/{path}"


def dataset(name: str) -> str:
    """Return the page of a dataset: what its module says, how it is checked and run, its configuration."""
    module = import_module(f"neuroenc.datasets.{name}")
    title, _, about = _docstring(module).partition("\n")
    example = ROOT / "config" / {"pereira2018": "pereira.yaml"}.get(name, f"{name}.yaml")
    text = f"# `{name}`\n\n{title}\n{about}\n\n"
    text += f"**Licence:** {module.LICENCE}. **Cite:** {module.CITATION}.\n\n"
    text += "What is on disk, what it weighs and how it is got: [all datasets](../datasets.md).\n\n"
    if example.is_file():
        text += (
            f"```bash\nneuroenc data show {name}\n"
            f"neuroenc data check --options config/{example.name}#dataset --subject SUBJECT\n"
            f"snakemake --configfile config/{example.name}\n```\n\n"
            f"`config/{example.name}`:\n\n```yaml\n{example.read_text()}```\n"
        )
    else:
        text += f"```bash\nneuroenc data show {name}\n```\n"
    return text


def library(room: str) -> str:
    """Return the page of a room: its docstring, and every name that its face offers."""
    module = import_module(f"neuroenc.{room}")
    text = f"# neuroenc.{room}\n\n{_docstring(module)}\n\n"
    if not hasattr(module, "__all__"):
        return (
            text
            + f"::: neuroenc.{room}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n"
        )
    for name in sorted(module.__all__, key=str.lower):
        text += f"::: {_home(module, name)}\n\n"
    return text


def rest(room: str) -> str:
    """Return the page of what stands in the modules of a room and is not on its face."""
    face = import_module(f"neuroenc.{room}")
    offered = {_home(face, name) for name in face.__all__}
    text = "---\nsearch: {boost: 0.3}\n---\n"  # found behind the pages that explain
    text += f"# Inside neuroenc.{room}\n\nModules and their functions; names of the [face]({room}.md) are left out.\n\n"
    for path in sorted((ROOT / "neuroenc" / room).glob("[a-z]*.py")):
        tree = ast.parse(path.read_text())
        names = [
            n.name for n in tree.body
            if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name[0] != "_"
            and f"neuroenc.{room}.{path.stem}.{n.name}" not in offered
        ]  # fmt: skip
        if names:
            text += f"::: neuroenc.{room}.{path.stem}\n    options: {{members: [{', '.join(names)}]}}\n\n"
    return text


def _docstring(module: Any) -> str:
    """Return a docstring whose tables and trees of files are blocks of code."""
    text = inspect.getdoc(module) or ""
    if "```" in text:
        return text
    parts = re.split(r"\n\n+", text)
    return "\n\n".join(f"```text\n{p}\n```" if re.search(r"^(===|  )", p, re.M) else p for p in parts)


def _home(module: Any, name: str) -> str:
    """Return the path under which the source of a name is found without importing it."""
    found = getattr(module, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__qualname__}"
    sources = re.findall(r"^from (neuroenc\S+) import ([^\n(]+|\([^)]*\))", inspect.getsource(module), re.M)
    return next(
        (f"{m}.{name}" for m, names in sources if re.search(rf"\b{name}\b", names)),
        f"{module.__name__}.{name}",
    )


def rooms() -> str:
    """Return the first page of the reference."""
    lines = ["# The library\n", "Data flow one way; a room imports only from those above it.\n",
             "| room | what is in it |", "|---|---|"]  # fmt: skip
    for room in (*ROOMS, *MODULES):
        first = inspect.getdoc(import_module(f"neuroenc.{room}")).partition("\n")[0]
        lines.append(f"| [neuroenc.{room}]({room.replace('.', '-')}.md) | {first} |")
    lines.append("\n`neuroenc.load`, which reads an exported encoder, is [encoders.load](encoders.md).")
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return the page of all commands with their options, as `--help` has them."""
    lines = ["# Commands", "", "`neuroenc NOUN VERB`; each says the same by `--help`. Several in one process, which "
             "loads its libraries once: `neuroenc COMMAND … --then COMMAND …`.", ""]  # fmt: skip
    for path, command in leaves(typer.main.get_command(app), ["neuroenc"]):
        if len(path) == 3 and f"## {path[1]}" not in lines:
            lines += [f"## {path[1]}", ""]
        lines += [f"### `{' '.join(path)}`", "", _plain(command.help), ""]
        if options := [p for p in command.params if p.name != "help"]:
            lines += ["| option | |", "|---|---|"]
            for option in options:
                names = ", ".join(f"`{n}`" for n in (*option.opts, *option.secondary_opts))
                if option.param_type_name == "argument":
                    names = f"`{option.name.upper()}`"
                help_text = _plain(getattr(option, "help", "")).replace("|", "&#124;")
                given = option.default not in (None, False, ()) and not option.required
                parts = ["required." * option.required, help_text, f"Default: `{option.default}`." * given]
                lines.append(f"| {names} | {' '.join(filter(None, parts))} |")
            lines.append("")
    return "\n".join(lines) + "\n"


def leaves(command: Any, path: list[str]) -> list[tuple[list[str], Any]]:
    """Return every command below one, with its path; those of no noun first."""
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [leaf for name, each in below.items() for leaf in leaves(each, [*path, name])]


def _plain(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").split())
