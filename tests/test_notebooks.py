import os

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.test_workflow import finished  # noqa: F401  the small run is a fixture

pytest.importorskip("ipykernel")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook_runs_on_a_finished_run(path, finished, monkeypatch):  # noqa: F811
    monkeypatch.setenv("NEUROENC_RESULTS", os.fspath(finished / "results/small"))
    notebook = nbformat.read(path, as_version=4)
    assert all(not c.get("outputs") for c in notebook.cells), "strip outputs before committing"
    done = NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    pictures = [o for c in done.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 3, "each notebook draws three figures"
