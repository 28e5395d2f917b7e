import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from neuroenc.errors import InputError
from neuroenc.files import atomic, existing, lock, write_json


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


WRITER = """
import sys, time
from pathlib import Path
from neuroenc.files import atomic
target, text, ready, go = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
with atomic(target) as partial:
    place = partial
    if sys.argv[5] == "folder":
        partial.mkdir()
        (partial / text).write_text("x")
        place = partial / "table"
    with place.open("w") as file:
        file.write(text * 1000); file.flush()
        ready.touch()
        while not go.exists(): time.sleep(0.01)
        file.write(text * 1000)
"""


def start_writer(target, text, folder, kind="file"):
    ready, go = folder / f"ready-{text}", folder / f"go-{text}"
    child = subprocess.Popen([sys.executable, "-c", WRITER, target, text, ready, go, kind])
    while not ready.exists():
        assert child.poll() is None
        time.sleep(0.01)
    return child, go


@pytest.fixture
def signals(tmp_path_factory):
    return tmp_path_factory.mktemp("signals")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_processes_that_write_at_once_the_last_to_end_stays_whole(tmp_path, signals, kind):
    target = tmp_path / "out"
    table = target if kind == "file" else target / "table"
    (first, go_first), (second, go_second) = (start_writer(target, t, signals, kind) for t in "ab")
    assert not target.exists()
    go_first.touch()
    assert first.wait() == 0
    assert table.read_text() == "a" * 2000
    go_second.touch()
    assert second.wait() == 0
    assert table.read_text() == "b" * 2000
    if kind == "folder":
        assert sorted(p.name for p in target.iterdir()) == ["b", "table"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_killed_writer_publishes_nothing_and_the_next_removes_what_it_left(tmp_path, signals):
    target = tmp_path / "out"
    killed, _ = start_writer(target, "a", signals)
    living, go = start_writer(target, "b", signals)
    killed.kill()
    killed.wait()
    assert not target.exists() and len(list(tmp_path.iterdir())) == 2
    with atomic(tmp_path / "other") as partial:
        partial.write_text("")
    assert len(list(tmp_path.glob(".partial-*"))) == 1  # of the one that lives
    go.touch()
    assert living.wait() == 0
    assert target.read_text() == "b" * 2000 and not list(tmp_path.glob(".partial-*"))


def test_leftovers_of_other_machines_wait_a_week(tmp_path):
    old, new = (tmp_path / f".partial-00000000-1-0000000{i}-x" for i in (0, 1))
    for path in (old, new):
        path.write_text("")
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    with atomic(tmp_path / "out") as partial:
        partial.write_text("")
    assert {p.name for p in tmp_path.iterdir()} == {"out", new.name}


def test_lock_goes_with_its_process(tmp_path):
    code = "import sys, time, pathlib; from neuroenc.files import lock\n" \
           "with lock(pathlib.Path(sys.argv[1])) as free: print(free, flush=True); time.sleep(60)"  # fmt: skip
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path / "l"], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "True\n"
    with lock(tmp_path / "l") as free, lock(tmp_path / "l", shared=True) as shared:
        assert not free and not shared
    child.kill()
    child.wait()
    with lock(tmp_path / "l", shared=True) as one, lock(tmp_path / "l", shared=True) as two:
        assert one and two


@pytest.mark.parametrize("size", [50_000, 200_000, 900_000])
def test_simulation_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, size):
    """HDF5 brings the process down when it meets a full disk; room is made sure of first."""
    options = ["--n-voxels=200", "--sessions=2", "--n-shared=10", "--repeats=2", "--n-unique=20",
               "--n-subjects=1", "--picture-size=96"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "neuroenc", "simulate", tmp_path / "tree", *options],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert [x for x in done.stderr.splitlines() if x.startswith(f"neuroenc: Cannot write {tmp_path}/tree: ")]
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_weights_on_a_full_disk_are_one_line_and_leave_nothing(tmp_path):
    code = (
        "import numpy as np, sys; from neuroenc.encoders.ridge import RidgeCV\n"
        "from neuroenc.encoders.store import save_model; from neuroenc.errors import InputError\n"
        "r = np.random.default_rng(0); m = RidgeCV().fit(r.normal(size=(40, 300)), r.normal(size=(40, 200)))\n"
        "try: save_model(m, sys.argv[1])\n"
        "except InputError as e: print(e); sys.exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "w.safetensors"], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("Cannot write") and not list(tmp_path.iterdir())


def test_what_is_unknown_is_null(tmp_path):
    write_json({"a": float("nan"), "rows": [{"p": np.float64("nan"), "n": 1}], "c": {"d": [1.5, float("nan")]}},
               tmp_path / "a.json")  # fmt: skip
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": None, "rows": [{"p": None, "n": 1}], "c": {"d": [1.5, None]}
    }  # fmt: skip
    with pytest.raises(ValueError, match="Out of range"):
        write_json({"a": float("inf")}, tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()
