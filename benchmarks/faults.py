"""What is left when a run is killed inside a write, meets a second one, or a full or read-only disk.

`python benchmarks/faults.py` runs a chain of small stages as the workflow runs them and writes
benchmarks/results/faults.json. Kills come from a library that is loaded before every other: at a given write
it passes on half of the bytes and ends the process, as a failing machine would. After each fault the same
command is run again; its files must equal those of a run without faults bit for bit. Needs cc; the tmpfs
needs root.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from neuroenc.files import write_json

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Counts writes to files below $FAULT_FOLDER over all processes; at number $FAULT_AT half of the bytes are
   written and the process dies. The count stands in the file $FAULT_COUNT, one byte a write. */
static int counts(int fd) {
    const char *folder = getenv("FAULT_FOLDER");
    char link[64], path[4096];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int due(void) {
    const char *at = getenv("FAULT_AT"), *count = getenv("FAULT_COUNT");
    int fd = open(count, O_WRONLY | O_APPEND | O_CREAT, 0600);
    real_write(fd, ".", 1);
    off_t n = lseek(fd, 0, SEEK_END);
    close(fd);
    return at && atol(at) == (long)n;
}
static void load(void) {
    if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite");
}
ssize_t write(int fd, const void *b, size_t n) {
    load();
    if (counts(fd) && due()) { real_write(fd, b, n / 2); kill(getpid(), SIGKILL); }
    return real_write(fd, b, n);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
    load();
    if (counts(fd) && due()) { real_pwrite(fd, b, n / 2, o); kill(getpid(), SIGKILL); }
    return real_pwrite(fd, b, n, o);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off_t o) { return pwrite(fd, b, n, o); }
"""
SIZES = ["--n-voxels=300", "--sessions=3", "--n-shared=20", "--n-unique=120", "--picture-size=96"]
DATASET = '{"name": "nsd", "regions": ["prf-visualrois", "floc-faces"]}'
KILLS, SEED = 20, 0


def stages(base: Path) -> dict[str, list[str]]:
    """Return each stage's command in a folder; what a stage makes is all that is new there."""
    f = {name: str(base / name) for name in (
        "tree", "stimuli.nc", "responses.nc", "split.nc", "features.nc", "predictions.nc", "weights.safetensors",
        "scores.nc", "embeddings.nc", "retrieval.json", "summary.json", "table.parquet", "page.html", "maps.nii.gz",
    )}  # fmt: skip
    few = '{"n_bootstraps": 100, "n_permutations": 100}'
    return {
        "simulate": ["simulate", f["tree"], *SIZES],
        "data stimuli": ["data", "stimuli", "--options", DATASET, "--root", f["tree"], "--subject", "01",
                         "--out", f["stimuli.nc"]],
        "data responses": ["data", "responses", "--options", DATASET, "--root", f["tree"], "--subject", "01",
                           "--out", f["responses.nc"]],
        "split make": ["split", "make", "--stimuli", f["stimuli.nc"], "--options", '{"n_inner": 3}', "--out",
                       f["split.nc"]],
        "features extract": ["features", "extract", "--stimuli", f["stimuli.nc"], "--options",
                             '{"extractor": "gabor"}', "--out", f["features.nc"]],
        "encode fit": ["encode", "fit", "--responses", f["responses.nc"], "--features", f["features.nc"], "--split",
                       f["split.nc"], "--options", '{"alphas": [0, 5, 4]}', "--out", f["predictions.nc"],
                       "--weights", f["weights.safetensors"]],
        "evaluate score": ["evaluate", "score", "--responses", f["responses.nc"], "--predictions",
                           f["predictions.nc"], "--options", few, "--out", f["scores.nc"]],
        "decode fit": ["decode", "fit", "--responses", f["responses.nc"], "--features", f["features.nc"], "--split",
                       f["split.nc"], "--options", '{"name": "ridge", "n_components": 8}', "--out",
                       f["embeddings.nc"]],
        "decode evaluate": ["decode", "evaluate", "--embeddings", f["embeddings.nc"], "--out", f["retrieval.json"]],
        "results summary": ["results", "summary", "--scores", f"01:gabor={f['scores.nc']}", "--label", "faults", "--command", "c",
                            "--seed", "0", "--out", f["summary.json"], "--table", f["table.parquet"], "--page",
                            f["page.html"]],
        "results maps": ["results", "maps", "--responses", f["responses.nc"], "--scores", f"gabor={f['scores.nc']}",
                         "--nifti", f["maps.nii.gz"]],
    }  # fmt: skip


def run(
    arguments: list[str], prefix: list[str] | None = None, **environment: str
) -> subprocess.CompletedProcess:
    command = [*(prefix or []), sys.executable, "-m", "neuroenc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def hashes(folder: Path) -> dict[str, str]:
    """Hash every file below a folder, hidden ones among them."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*")) if p.is_file()
    }  # fmt: skip


@contextmanager
def before(reference: Path, made: dict[str, set[str]], stage: str, folder: Path) -> Iterator[Path]:
    """Make a folder as it is before a stage."""
    earlier = {name for s in list(made)[: list(made).index(stage)] for name in made[s]}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in earlier:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(reference / name, folder / name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def one_line(done: subprocess.CompletedProcess) -> bool:
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return done.returncode in (1, 2) and len(said) == 1 and said[0].startswith("neuroenc: ")


def expect(found: dict[str, str], whole: dict[str, str], made: dict[str, set[str]], stage: str) -> bool:
    """Say whether a folder holds the files up to a stage, and no other."""
    names = {n for s in list(made)[: list(made).index(stage) + 1] for n in made[s]}
    return found == {n: whole[n] for n in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    kills = parser.parse_args().kills
    base = Path(tempfile.mkdtemp(prefix="faults-"))
    shim = base / "shim.so"
    (base / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, base / "shim.c", "-ldl"], check=True)
    # every run works in a folder of this name, so that paths inside files are the same
    work, reference = base / "work", base / "reference"
    made: dict[str, set[str]] = {}
    writes: dict[str, int] = {}
    work.mkdir()
    for stage, arguments in stages(work).items():
        count = base / "count"
        count.unlink(missing_ok=True)
        known = set(hashes(work))
        done = run(arguments, LD_PRELOAD=str(shim), FAULT_FOLDER=str(work), FAULT_COUNT=str(count))
        assert done.returncode == 0, (stage, done.stderr)
        made[stage] = set(hashes(work)) - known
        writes[stage] = count.stat().st_size
    shutil.copytree(work, reference)
    whole = hashes(reference)
    rows = []
    rng = np.random.default_rng(SEED)
    names = list(made)
    for number in range(kills):
        stage = names[number % len(names)]
        at = int(rng.integers(1, writes[stage] + 1))
        with before(reference, made, stage, work):
            arguments = stages(work)[stage]
            (base / "count").unlink(missing_ok=True)
            first = run(arguments, LD_PRELOAD=str(shim), FAULT_FOLDER=str(work), FAULT_COUNT=str(base / "count"),
                        FAULT_AT=str(at))  # fmt: skip
            half = {n for n in set(hashes(work)) & made[stage] if hashes(work)[n] != whole[n]}
            again = run(arguments)
            right = again.returncode == 0 and expect(hashes(work), whole, made, stage)
        rows.append({"fault": "killed inside a write", "stage": stage, "write": at, "of": writes[stage],
                     "died": first.returncode == -9, "half_written": sorted(half), "right": right})  # fmt: skip
        print(rows[-1], flush=True)
    for n in (2, 3):
        for stage in ("simulate", "features extract", "encode fit", "results summary"):
            with before(reference, made, stage, work):
                command = [sys.executable, "-m", "neuroenc", *stages(work)[stage]]
                running = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
                           for _ in range(n)]  # fmt: skip
                said = [p.communicate()[1] for p in running]
                ended = [p.returncode for p in running]
                fine = all(
                    c == 0 or (c in (1, 2) and len(s.strip().splitlines()) == 1)
                    for c, s in zip(ended, said, strict=True)
                )
                right = 0 in ended and fine and expect(hashes(work), whole, made, stage)
            rows.append({"fault": f"{n} runs at once", "stage": stage, "ended": ended, "right": right})
            print(rows[-1], said if not right else "", flush=True)
    rows += [r for stage in names for r in no_room(stage, reference, made, work)]
    rows += [read_only(stage, reference, made, work) for stage in names]
    table = {}
    for r in rows:
        right, of = table.get(r["fault"], (0, 0))
        table[r["fault"]] = (right + r["right"], of + 1)
    for fault, (right, of) in table.items():
        print(f"{fault:40s}{right:4d} of {of}")
    write_json(
        {"command": "python benchmarks/faults.py", "machine": f"{platform.machine()}, {os.cpu_count()} cores",
         "date": time.strftime("%Y-%m-%d"), "seed": SEED,
         "counts": {f: {"right": r, "of": o} for f, (r, o) in table.items()}, "rows": rows},
        Path("benchmarks/results/faults.json"),
    )  # fmt: skip
    shutil.rmtree(base)
    sys.exit(any(right < of for right, of in table.values()))


def no_room(stage: str, reference: Path, made: dict, work: Path) -> list[dict]:
    """Write to a disk (tmpfs) that is full after part of what the stage makes; then make room and run again."""
    if os.geteuid():
        return []
    with before(reference, made, stage, work):
        size = sum((reference / n).stat().st_size for n in made[stage])
        disk = work.with_name("disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], check=True)
        try:
            shutil.copytree(work, disk, dirs_exist_ok=True)
            free = shutil.disk_usage(disk).free
            ballast = disk / "ballast"
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free - size // 2 // 4096 * 4096)  # it counts in pages
            taken = hashes(disk)
            first = run([a.replace(str(work), str(disk)) for a in stages(work)[stage]])
            # of several files those that were finished may stay
            clean = {n for n, h in hashes(disk).items() if taken.get(n) != h} <= made[stage]
            ballast.unlink()
            again = run([a.replace(str(work), str(disk)) for a in stages(work)[stage]])
            right = one_line(first) and clean and again.returncode == 0
            row = {"fault": "disk full", "stage": stage, "bytes": size, "said": first.stderr.strip()[:300],
                   "ended": first.returncode, "clean": clean, "again": again.returncode, "right": right}  # fmt: skip
        finally:
            subprocess.run(["umount", disk], check=True)
            disk.rmdir()
    row["said"] = row["said"].replace(str(disk), "DISK")
    print(row, flush=True)
    return [row]


def read_only(stage: str, reference: Path, made: dict, work: Path) -> dict:
    """Run as a user who may not write there."""
    with before(reference, made, stage, work):
        prefix = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        work.parent.chmod(0o755)
        work.chmod(0o555)
        kept = hashes(work)
        done = run(stages(work)[stage], prefix, HOME="/nonexistent", MPLCONFIGDIR=tempfile.gettempdir())
        clean = hashes(work) == kept
        work.chmod(0o755)
        row = {"fault": "read-only folder", "stage": stage, "said": done.stderr.strip()[:300].replace(str(work), "DIR"),
               "ended": done.returncode, "clean": clean, "right": one_line(done) and clean}  # fmt: skip
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
