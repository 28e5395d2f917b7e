import os
import resource
import subprocess
import sys

import pytest

from neuroenc.errors import InputError
from neuroenc.files import atomic, existing


def test_atomic_leaves_nothing_behind_after_an_error(tmp_path):
    (tmp_path / "kept").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "kept") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "old"


def test_atomic_replaces_a_folder(tmp_path):
    for text in ("first", "second"):
        with atomic(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / "a").write_text(text)
    assert (tmp_path / "folder/a").read_text() == "second"


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Cannot write .*: .* choose a folder"), atomic(tmp_path / "file/x"):
        pass


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for a disk that fills up while HDF5 writes."""
    code = (
        "import numpy as np, sys; from neuroenc.cli import main; import neuroenc.arrays as a\n"
        "from neuroenc.errors import InputError\n"
        "d = a.make_features(np.zeros((2000, 100), 'f4'), stimulus_id=np.array([str(i) for i in range(2000)]),"
        " layer=np.array(['l'] * 100), attrs=dict.fromkeys(a.CONTRACT, 'x'))\n"
        "try: a.save(d, sys.argv[1])\n"
        "except InputError as e: print(e); sys.exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.nc")], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"Cannot write {tmp_path / 'x.nc'}")
    assert list(tmp_path.iterdir()) == []


def test_existing_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"File not found: .*x\. Run that\."):
        existing(tmp_path / "x", made_by="Run that.")
    with pytest.raises(InputError, match="a device or a pipe"):
        existing(os.devnull)
    with pytest.raises(InputError, match=r"No file can be read at 'xxx.*too long"):
        existing("x" * 300)
    with pytest.raises(InputError, match="null byte"):
        existing("x\0y")
