"""Install the library by itself and use it: `python benchmarks/install.py`.

The source distribution holds every file of the checkout, and the workflow plans the demo from it. Installed from it,
as `pip install neuroenc-….tar.gz` does, into an environment of its own outside the checkout, with no extra: what it
takes in seconds and megabytes; fits, scores and a figure without torch; what needs torch says which extra brings it.
The wheel holds the same files, by their hashes.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "envs/requirements.txt"

USE = """
import importlib.util, sys
import numpy as np
assert not [m for m in ("torch", "timm", "snakemake", "diffusers") if importlib.util.find_spec(m)]
from neuroenc.encoders import PLS, BandedRidgeCV, RidgeCV
from neuroenc.evaluation.scores import pearson_r
from neuroenc.figures.style import figure
rng = np.random.default_rng(0)
X, B = rng.standard_normal((300, 20)), rng.standard_normal((20, 5))
Y = X @ B + rng.standard_normal((300, 5))
fits = {
    "ridge": RidgeCV(), "banded": BandedRidgeCV(bands=["a"] * 10 + ["b"] * 10), "pls": PLS(5),
}
for name, model in fits.items():
    r = pearson_r(Y[200:], model.fit(X[:200], Y[:200]).predict(X[200:]))
    assert r.min() > 0.8, (name, r)
try:
    from neuroenc.encoders import AttentionRouting
except ModuleNotFoundError as error:
    assert "neuroenc[networks]" in error.__notes__[0]
else:
    raise AssertionError("there is torch")
drawn, axes = figure()
axes.plot(r)
drawn.savefig(sys.argv[1])
"""


def call(folder: Path, *words: str | Path, status: int = 0, **more: str) -> str:
    """Run a command outside the checkout, without what this process knows of it; return what it says."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(words, cwd=folder, env=known | more, check=False, capture_output=True, text=True)
    assert done.returncode == status, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def build(folder: Path) -> tuple[Path, Path]:
    """Build source distribution and wheel, each from the checkout."""
    call(
        folder,
        "uv",
        "build",
        "--quiet",
        "--sdist",
        "--wheel",
        "--no-build-isolation",
        f"--out-dir={folder}",
        ROOT,
    )
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack the source distribution, which holds what git knows, byte by byte, and no more."""
    with tarfile.open(sdist) as file:
        file.extractall(folder, filter="data")
    (source,) = folder.glob("neuroenc-*/")
    tracked, untracked = (
        set(call(ROOT, "git", "ls-files", *which, "-z").split("\0")) - {""}
        for which in (["--cached"], ["--others", "--exclude-standard"])
    )
    found = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()}
    assert tracked <= found, f"lacks {tracked - found}"
    assert found <= tracked | untracked | {"PKG-INFO"}, f"holds {found - tracked - untracked}"
    changed = [
        name for name in found - {"PKG-INFO"} if (source / name).read_bytes() != (ROOT / name).read_bytes()
    ]
    assert not changed, changed
    return source


def hashes(record: str) -> dict[str, str]:
    """Return the files that an install lists, and their hashes; those that installing makes have none."""
    return {name: value for name, value, _ in csv.reader(io.StringIO(record)) if name.startswith("neuroenc/")}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdist, wheel = build(folder)
        source = unpack(sdist, folder)
        snakemake = Path(sys.executable).with_name("snakemake")
        planned = call(source, snakemake, "--dry-run", "--quiet", "rules", PYTHONPATH=str(source))
        python = folder / "v/bin/python"
        call(folder, "uv", "venv", "--quiet", "--python", sys.executable, folder / "v")
        start = time.perf_counter()
        pinned: list[str | Path] = ["-c", LOCK, "--build-constraints", LOCK]  # hatchling too
        call(folder, "uv", "pip", "install", "--quiet", f"--python={python}", *pinned, sdist)
        seconds = time.perf_counter() - start
        size = (
            sum(p.stat().st_size for p in (folder / "v").rglob("*") if p.is_file() and not p.is_symlink())
            / 1e6
        )
        (installed,) = (folder / "v").rglob("neuroenc-*.dist-info")
        with zipfile.ZipFile(wheel) as file:
            record = next(n for n in file.namelist() if n.endswith("RECORD"))
            of_wheel = hashes(file.read(record).decode())
        files = {k: v for k, v in hashes((installed / "RECORD").read_text()).items() if v}
        assert files == of_wheel, files.keys() ^ of_wheel.keys()
        assert (installed / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        call(folder, python, "-c", USE, folder / "figure.png")
        said = call(folder, python, "-m", "neuroenc", "nano", "train", "network", "w.safetensors", status=2)
        assert "neuroenc[networks]" in said, said
        n_jobs = planned.split("\ntotal")[1].split()[0]
        print(
            f"The library alone, from its source distribution ({sdist.stat().st_size / 1e6:.0f} MB, {n_jobs} jobs of "
            f"the demo planned from it): {seconds:.0f} s to install, {size:.0f} MB; fits, scores and a figure "
            f"without torch; the wheel holds the same {len(of_wheel)} files"
        )


if __name__ == "__main__":
    main()
