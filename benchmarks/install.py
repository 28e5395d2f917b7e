"""Install the library by itself and use it: `python benchmarks/install.py`.

A wheel, an environment of its own outside the checkout, no extra: what it takes in seconds and megabytes; fits,
scores and a figure without torch; what needs torch says which extra brings it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "v/bin/python"
        build = [
            "uv",
            "build",
            "--quiet",
            "--wheel",
            "--no-build-isolation",
            f"--out-dir={folder}",
            str(Path.cwd()),
        ]
        subprocess.run(build, check=True, cwd=folder)
        (wheel,) = folder.glob("*.whl")
        subprocess.run(
            ["uv", "venv", "--quiet", "--python", sys.executable, folder / "v"], check=True, cwd=folder
        )
        start = time.perf_counter()
        pinned = Path("envs/requirements.txt").resolve()
        subprocess.run(
            ["uv", "pip", "install", "--quiet", f"--python={python}", "-c", pinned, wheel],
            check=True,
            cwd=folder,
        )
        seconds = time.perf_counter() - start
        size = (
            sum(p.stat().st_size for p in (folder / "v").rglob("*") if p.is_file() and not p.is_symlink())
            / 1e6
        )
        subprocess.run([python, "-c", USE, folder / "figure.png"], check=True, cwd=folder)
        asked = [python, "-m", "neuroenc", "nano", "train", "network", "w.safetensors"]
        done = subprocess.run(asked, cwd=folder, check=False, capture_output=True, text=True)
        assert done.returncode == 2 and "neuroenc[networks]" in done.stderr, done.stderr
        print(
            f"The library alone: {seconds:.0f} s to install, {size:.0f} MB; fits, scores and a figure without torch"
        )


if __name__ == "__main__":
    main()
