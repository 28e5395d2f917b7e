"""What `neuroenc doctor` looks at: versions, devices, memory, disk, weights, and three small computations."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neuroenc.errors import InputError

PACKAGES = ("numpy", "scipy", "scikit-learn", "xarray", "h5py", "torch", "timm", "snakemake")
OPTIONAL = ("torch", "timm", "snakemake")  # which ridge and scores do without
GIGABYTE = 1e9
LEAST_MEMORY, LEAST_DISK = 2.0, 5.0  # GB; the demo takes 1 GB a job, and writes less than that
LEAST_AGE = 30  # s; three times slurm-init-seconds-before-status-checks of profiles/slurm
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    found: str
    remedy: str = ""
    """What to do; empty where nothing is wrong"""

    def __str__(self) -> str:
        said = f"{'FAULT' if self.remedy else 'ok':6s}{self.name:14s}{self.found}"
        return f"{said}. {self.remedy}" if self.remedy else said


def examine(config: Path | None = None) -> Iterator[Finding]:
    """Look at everything, in the order in which one thing needs the other.

    Parameters
    ----------
    config : path, optional
        A configuration, the weights of whose networks are looked for too.

    Yields
    ------
    Finding

    Raises
    ------
    InputError
        The configuration cannot be read.
    """
    of_configuration = weights(config)
    yield versions()
    yield processors()
    yield memory()
    yield gpu()
    yield cluster()
    for name, folder in folders().items():
        yield disk(name, folder)
    yield offline()
    yield of_configuration
    yield computed("ridge", _ridge)
    if find_spec("torch"):
        yield computed("torch", _torch)
    yield computed("netCDF", _netcdf)


def versions() -> Finding:
    """List Python and the libraries on which numbers depend."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("neuroenc", *PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    missing = [name for name in PACKAGES if found[name] == "none" and name not in OPTIONAL]
    remedy = f"Install {', '.join(missing)}: pip install neuroenc" if missing else ""
    return Finding("versions", ", ".join(f"{k} {v}" for k, v in found.items()), remedy)


def processors() -> Finding:
    """Count cores this process may use, against the threads that libraries are told to start."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    found = f"{n} for this process, OMP_NUM_THREADS {told or 'not set'}"
    if told.isdigit() and int(told) > n:
        return Finding("processors", found, f"Set OMP_NUM_THREADS to {n}: more threads wait for each other")
    return Finding("processors", found)


def memory() -> Finding:
    """Look up the memory that is free, and the limit of the job or container."""
    known = Path("/proc/meminfo")
    if not known.is_file():
        return Finding("memory", "not known on this system")
    lines = dict(line.split(":", 1) for line in known.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024 / GIGABYTE
    total = int(lines["MemTotal"].split()[0]) * 1024 / GIGABYTE
    limits = [text for p in map(Path, CGROUPS) if p.is_file() and (text := p.read_text().strip()).isdigit()]
    limit = min([total, *(int(text) / GIGABYTE for text in limits)])
    found = f"{min(free, limit):.1f} GB free of {limit:.1f}"
    if min(free, limit) < LEAST_MEMORY:
        return Finding("memory", found, f"Ask for {LEAST_MEMORY:g} GB or more (sbatch --mem, a larger node)")
    return Finding("memory", found)


def gpu() -> Finding:
    """Compare the GPUs torch sees with the driver's."""
    try:
        import torch
    except ModuleNotFoundError:
        return Finding("GPU", 'there is no torch, which networks need: pip install "neuroenc[networks]"')
    except ImportError as error:
        return Finding("GPU", f"torch cannot be imported: {error}", "Install it anew: pip install torch")
    n = torch.cuda.device_count()
    if n:
        each = [torch.cuda.get_device_properties(i) for i in range(n)]
        return Finding("GPU", ", ".join(f"{p.name} {p.total_memory / GIGABYTE:.0f} GB" for p in each))
    driven = Path("/proc/driver/nvidia/version").exists()
    if driven and torch.version.cuda is None:
        return Finding("GPU", "there is a driver, and this torch has no CUDA", "Install torch with CUDA")
    if driven and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        return Finding(
            "GPU", f"there is a driver, and torch (CUDA {torch.version.cuda}) sees no GPU",
            "Ask for one (sbatch --gpus=1), or install a torch of the driver's version (nvidia-smi)",
        )  # fmt: skip
    return Finding("GPU", "none; all runs on the processor")


def cluster() -> Finding:
    """Ask SLURM, where there is one, how long it or its accounting remembers a job that has ended."""
    program = shutil.which("scontrol")
    if program is None:
        return Finding("cluster", "no SLURM here")
    asked = subprocess.run([program, "show", "config"], capture_output=True, text=True, timeout=60)
    values = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", asked.stdout, re.MULTILINE))
    if "MinJobAge" not in values:
        return Finding(
            "cluster", "SLURM does not answer", "Try `scontrol ping`; SLURM_CONF names a slurm.conf"
        )
    age, accounting = values["MinJobAge"].split()[0], values.get("AccountingStorageType", "")
    found = f"SLURM {values.get('SLURM_VERSION', '')}, MinJobAge {age} s, {accounting}"
    if accounting.endswith("none") and int(age) < LEAST_AGE:
        return Finding(
            "cluster", found,
            f"It forgets jobs before Snakemake asks: have MinJobAge set to {LEAST_AGE} s or more",
        )  # fmt: skip
    return Finding("cluster", found)


def folders() -> dict[str, Path]:
    """Return the folders that results, scratch files and caches go to."""
    from neuroenc.features import registry

    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return {
        "results": Path.cwd(),
        "scratch": Path(tempfile.gettempdir()),
        "weights": registry.folder(),
        "HF_HOME": Path(os.environ.get("HF_HOME", cache / "huggingface")).expanduser(),
        "TORCH_HOME": Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser(),
    }


def disk(name: str, folder: Path) -> Finding:
    """Measure free space of a folder, or of that in which it would be; whether it can be written to."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free / GIGABYTE
    found = f"{folder}: {free:.0f} GB free"
    named = {"scratch": "TMPDIR", "weights": "NEUROENC_WEIGHTS", "results": "--directory"}.get(name, name)
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return Finding(name, f"{found}, and it cannot be written to", f"Point {named} at a folder of yours")
    if free < LEAST_DISK:
        return Finding(name, found, f"Make room for {LEAST_DISK:g} GB, or point {named} elsewhere")
    return Finding(name, found)


def offline() -> Finding:
    """Look at flags that keep libraries from the network: commands set them where they are not set."""
    flags = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    found = ", ".join(f"{flag} {os.environ.get(flag, 'not set')}" for flag in flags)
    if os.environ.get("HF_HUB_OFFLINE", "1").upper() in ("0", "", "FALSE", "NO", "OFF"):
        return Finding("offline", found, "Unset HF_HUB_OFFLINE: jobs would wait for a network")
    return Finding("offline", found)


def weights(config: Path | None) -> Finding:
    """Look for weights that come along, and those a configuration asks for."""
    from neuroenc.features import nano, registry
    from neuroenc.features.checkpoints import needed

    if not nano.CHECKPOINT.is_file():
        return Finding("weights", f"{nano.CHECKPOINT} is missing", "Install neuroenc anew")
    if config is None:
        return Finding("weights", "those that come along (neuroenc doctor CONFIG looks for its networks')")
    from neuroenc.config import load_config

    models = load_config(config).models.values()
    named = {m.network for m in models if m.network and not m.weights and not m.extractor}
    missing = []
    for name in sorted(filter(needed, named)):
        try:
            if registry.stored(registry.entry_of(name)) is None:
                missing.append(name)
        except InputError:
            missing.append(name)
    if missing:
        return Finding(
            "weights", f"{', '.join(missing)} not fetched",
            f"Run `neuroenc weights fetch {' '.join(missing)}` where there is a network",
        )  # fmt: skip
    return Finding("weights", f"{', '.join(sorted(named)) or 'none'}: here")


def computed(name: str, compute: Callable[[], float]) -> Finding:
    """Run one computation whose answer is known; its error says whether libraries are sound."""
    try:
        error = compute()
    except Exception as failure:  # noqa: BLE001 - any failure is what is looked for
        said = f"{type(failure).__name__}: {failure}".splitlines()[0]
        return Finding(name, said, "Install the library anew, in a fresh environment")
    found = f"error {error:.1e}"
    if not error < 1e-3:
        return Finding(name, found, "Expected less than 1e-3. Install it anew; try OMP_NUM_THREADS=1")
    return Finding(name, found)


def _ridge() -> float:
    """Return the largest difference of a fit from (X'X + alpha)^-1 X'Y, both centred."""
    from neuroenc.encoders.ridge import RidgeCV

    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 12)), rng.standard_normal((60, 4))
    centred = X - X.mean(0)
    expected = np.linalg.solve(centred.T @ centred + 3.0 * np.eye(12), centred.T @ (Y - Y.mean(0)))
    fitted = RidgeCV(alphas=[3.0], cv=3).fit(X, Y)
    return float(np.abs(fitted.coef_.T - expected).max())


def _torch() -> float:
    """Return the largest difference of a product of matrices on the device that jobs take from NumPy's."""
    import torch

    from neuroenc.devices import pick_device

    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 64, 64))
    device = pick_device("auto")
    kind = torch.float32 if device == "mps" else torch.float64
    found = torch.as_tensor(A, dtype=kind, device=device) @ torch.as_tensor(B, dtype=kind, device=device)
    return float(np.abs(found.cpu().numpy() - A @ B).max())


def _netcdf() -> float:
    """Return the largest difference of what is read back from what was written, in the folder of results."""
    import xarray as xr

    values = np.random.default_rng(0).standard_normal((20, 30)).astype("f4")
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".doctor-") as folder:
        path = Path(folder) / "a.nc"
        xr.Dataset({"a": (("x", "y"), values)}).to_netcdf(path, engine="h5netcdf")
        with xr.open_dataset(path, engine="h5netcdf") as read:
            return float(np.abs(read["a"].values - values).max())
