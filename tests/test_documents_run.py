"""Every block of Python in README.md and docs/ runs, those of a page one after the other."""

import re
import textwrap

import numpy as np
import pytest

from tests.conftest import ROOT

PAGES = sorted(
    p for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if "```python" in p.read_text()
)
RNG = np.random.default_rng(0)
NAMES = np.array([f"p{i}" for i in range(60)])
# what the reader has, where a page says no more
GIVEN = {
    "README.md": {
        "pictures": RNG.integers(0, 255, (60, 48, 48, 3), np.uint8), "names": NAMES,
        "shown": np.concatenate([NAMES, NAMES]), "responses": RNG.normal(size=(120, 12)),
        "embeddings": RNG.normal(size=(120, 130)), "new_responses": RNG.normal(size=(3, 12)),
    }
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = dict(GIVEN.get(page.name, {}))
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(textwrap.dedent(block), page.name, "exec"), known)
    for name in re.findall(r'"([a-z_]+\.png)"', "".join(blocks)):
        assert (tmp_path / name).stat().st_size > 1000, name
