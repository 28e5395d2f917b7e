"""The site: builds strictly, needs no network, names every message that it explains."""

import ast
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser

import pytest
import yaml

from tests.conftest import ROOT

PAGES = [*ROOT.glob("*.md"), ROOT / "config/README.md", *(ROOT / "docs").rglob("*.md")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it; mkdocs is installed by `make test`.

    Never with --quiet: what is not logged is not counted, and --strict then lets it pass.
    """
    pytest.importorskip("mkdocs", reason="the site's packages are in envs/docs.txt: make docs")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class Fetched(HTMLParser):
    """What a browser fetches of a page, by itself."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.found.append(known.get("src") or "")
        if tag == "link" and known.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(known.get("href") or "")


def test_the_site_builds_and_fetches_nothing(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        text = page.read_text()
        away = [u for u in Fetched(text).found if re.match(r"(https?:)?//", u)]
        assert not away, (page, away)
        broken = [u for u in Fetched(text).found if u and not u.startswith("data:") and page.name != "404.html"
                  and not (page.parent / u.partition("?")[0]).exists()]  # fmt: skip
        assert not broken, (page, broken)


def test_the_site_has_a_page_of_every_dataset_room_and_command(site):
    from neuroenc.config import Dataset

    for name in Dataset.model_fields["name"].annotation.__args__:
        assert f"neuroenc data show {name}" in re.sub(
            "<[^>]+>", "", (site / f"datasets/{name}.html").read_text()
        )
    for room in ("encoders", "evaluation", "decoders", "features", "figures", "arrays", "splits"):
        assert "Parameters" in (site / f"api/{room}.html").read_text()
    assert "neuroenc decode fit" in (site / "commands.html").read_text()


def test_defaults_of_parameters_on_one_line_are_their_own(site):
    text = re.sub("<[^>]+>", "", (site / "api/encoders.html").read_text())
    assert set(re.findall(r"n_heads\s*\(\s*int,\s*default:\s*(\S+)", text)) == {
        "8"
    }  # beside n_dimensions, 128


def headings(path):
    """The anchors of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    lines = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)", text):
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in headings(there), f"{page.name}: {target}#{anchor}"


def messages():
    """The texts of the library's string constants, with `…` for what differs."""
    found = []
    for path in (ROOT / "neuroenc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_troubleshooting_quotes_messages_that_exist():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    known = messages()
    assert len(quoted) > 25
    for said in quoted:
        parts = [re.escape(part.strip()) for part in said.split("…") if part.strip(" :.?)")]
        assert any(re.search(".*".join(parts), text, re.S) for text in known), said


def test_readme_is_short_and_its_first_screen_is_whole():
    text = (ROOT / "README.md").read_text()
    first = "\n".join(text.splitlines()[:30])
    assert all(part in first for part in ("make demo", "make test", "![", "```python"))
    assert len(text.splitlines()) < 130


def test_the_lock_of_the_site_agrees_with_that_of_the_library():
    def pins(name):
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs" / name).read_text(), re.M))

    site, library = pins("docs.txt"), pins("requirements.txt")
    assert not {n: v for n, v in site.items() if library.get(n, v) != v}  # one environment holds both
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["docs"]
    assert {re.split("[<>=~]", a)[0] for a in asked} <= set(site)
    assert "http" not in (ROOT / "envs/docs.txt").read_text()


def test_citation_names_every_method_with_authors_and_year():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert all(
        r["authors"] and 1900 < r["year"] <= 2026 and r["title"] and r["notes"] for r in cited["references"]
    )
    from neuroenc import encoders

    said = " ".join(r["notes"] for r in cited["references"])
    estimators = [
        n
        for n in encoders.__all__
        if n[0].isupper() and n not in ("ExportedEncoder", "PLS", "RandomAttentionCV")
    ]
    assert not [n for n in estimators if n not in said]


def test_versions_agree():
    from neuroenc import __version__

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
