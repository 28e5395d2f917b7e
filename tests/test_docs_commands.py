"""Every command in the documents is one that exists, with options that exist, and every YAML is valid.

Blocks of Python run in test_documents_run.py, the tutorials of docs/recordings.md in test_recordings.py.
"""

import re
import shlex
from itertools import pairwise

import pytest
import typer
import yaml
from pydantic import TypeAdapter

from neuroenc.cli import app
from neuroenc.config import Config, JointStudy, parse
from neuroenc.datasets.custom_description import Description
from tests.conftest import ROOT

PAGES = [
    *(p for p in ROOT.glob("*.md") if p.name != "CHANGELOG.md"),  # which tells of commands that were
    ROOT / "config/README.md",
    ROOT / "benchmarks/RESULTS.md",
    *(ROOT / "docs").rglob("*.md"),
]
PROGRAMS = ("neuroenc", "snakemake", "python", "make", "sh", "pre-commit", "conda", "apptainer")
ROOTED = typer.main.get_command(app)
RULES = {
    n for p in (ROOT / "workflow").rglob("*.smk") for n in re.findall(r"^\s*rule (\w+):", p.read_text(), re.M)
}
RULES |= set(re.findall(r"^\s*rule (\w+):", (ROOT / "workflow/Snakefile").read_text(), re.M))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def lines(block):
    """The commands of a block of shell, without comments and continuations."""
    for line in re.sub(r"\\\n\s*", " ", block).splitlines():
        yield from re.split(r" && |; ", re.sub(r"(^|\s)#(?![\w.]+#).*$", "", line).strip())


def commands(page):
    """(command, whether it stands whole in a block) of a page; of text that begins with a program's name."""
    text = page.read_text()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        if language in ("", "bash", "sh"):
            for line in lines(block):
                if line.split(" ")[0] in PROGRAMS or re.match(r"[A-Z_]+=\S+ ", line):
                    yield line, "…" not in line and " | " not in block  # a list of verbs
    for inline in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if inline.split(" ")[0] in ("neuroenc", "make") or re.match(r"(python|snakemake) [-\w]", inline):
            yield inline, False


def words_of(line):
    words = [w for w in shlex.split(line.replace("…", " … ")) if w != "…"]
    return words[1:] if re.match(r"[A-Z_]+=", words[0]) else words


def check_neuroenc(words, whole):
    """Find the command, and each of its options; parse it where it stands whole."""
    for part in re.split(r" --then ", " ".join(map(shlex.quote, words))):
        command, rest = ROOTED, shlex.split(part)
        rest = rest[1:] if rest[0] == "neuroenc" else rest
        while rest and hasattr(command, "commands"):
            if rest[0].startswith(("-", "NOUN", "COMMAND", "VERB")):
                return
            assert rest[0] in command.commands, rest[0]
            command, rest = command.commands[rest[0]], rest[1:]
        if hasattr(command, "commands"):
            return
        while rest[:1] == ["|"]:  # `fit | evaluate`: other verbs of the noun
            rest = rest[2:]
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        given = [w.partition("=")[0] for w in rest if w.startswith("--")]
        assert not set(given) - known, set(given) - known
        if whole and "--help" not in rest:
            command.make_context(command.name, list(rest))


def check_snakemake(words):
    from snakemake.cli import get_argument_parser

    known = {o for a in get_argument_parser()._actions for o in a.option_strings}
    options = [w.partition("=")[0] for w in words[1:] if w.startswith("-")]
    assert not set(options) - known, set(options) - known
    for option, value in pairwise(words):
        if option == "--configfile" and value.startswith("config/"):
            assert (ROOT / value).is_file(), value
        if option == "--profile":
            assert (ROOT / value / "profile.yaml").is_file(), value
        if option == "--until":
            assert value in RULES, value
    target = words[1] if len(words) > 1 else ""
    assert not target or target.startswith("-") or target in RULES, target


def check(line, whole):
    words = words_of(line)
    match words[0]:
        case "neuroenc":
            check_neuroenc(words, whole)
        case "snakemake":
            check_snakemake(words)
        case "make":
            named = [w for w in words[1:] if re.fullmatch(r"[a-z]+", w)]
            assert set(named) <= TARGETS, named
        case "python" | "sh":
            script = next((w for w in words[1:] if w.endswith((".py", ".sh"))), None)
            module = re.search(r"-m (benchmarks\.\w+)", line)
            path = script or (module and module[1].replace(".", "/") + ".py")
            assert not path or (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page):
    pytest.importorskip("snakemake")
    for line, whole in commands(page):
        try:
            check(line, whole)
        except BaseException as error:  # click ends a wrong command by SystemExit or its own
            raise AssertionError(f"{page.name}: {line}\n{error!r}") from error


def test_commands_are_found_and_wrong_ones_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nneuroenc data show nsd  # one\nmake demo && snakemake -n\n```\nand `neuroenc plan --voxls 3`\n"
    )
    assert [line for line, _ in commands(page)] == [
        "neuroenc data show nsd",
        "make demo",
        "snakemake -n",
        "neuroenc plan --voxls 3",
    ]
    for line in ("neuroenc plan --voxls 3", "neuroenc data sho nsd", "make dmo", "python benchmarks/rigde.py",
                 "snakemake --configfil x", "snakemake --configfile config/nds.yaml", "snakemake no_such_rule"):  # fmt: skip
        with pytest.raises(AssertionError):
            check(line, False)
    with pytest.raises(BaseException, match=r"(?i)missing|no such option|required"):
        check("neuroenc split make --out a.nc", True)
    assert sum(1 for p in PAGES for _ in commands(p)) > 200


def sections(page):
    """The blocks of YAML of a page."""
    return re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", [p for p in PAGES if sections(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_yaml_is_valid(page):
    for block in sections(page):
        whole = yaml.safe_load(block)
        if "units" in whole:  # a dataset.yaml
            parse(Description, whole)
            continue
        if {"label", "dataset", "models"} <= set(whole) or "sets" in whole:
            parse(JointStudy if "sets" in whole else Config, whole)
            continue
        for part in re.split(
            r"^(?=\w)", block, flags=re.M
        ):  # the same key may stand again, as another example
            if part.strip() and not part.startswith("#"):
                for key, value in Config._labels(yaml.safe_load(part)).items():
                    field = Config.model_fields[key]
                    TypeAdapter(field.annotation).validate_python(value)
