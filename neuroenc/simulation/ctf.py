"""Write a CTF recording (.ds) that mne reads: header, channels and one trial of samples, big-endian."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KIND = {"M": 5, "B": 0, "U": 11}  # gradiometer, reference magnetometer, stimulus
COIL = struct.Struct(">3d d 3d d h i h d")
EMPTY = COIL.pack(*[0.0] * 8, 0, 0, 0, 0.0)
GAIN = 1e9  # counts to the tesla


def write(path: Path, data: NDArray[Any], names: list[str], rate: float, *, gain: float = GAIN) -> None:
    """Write channels, rows of data: sensors (M…) and a reference (B…) in tesla, triggers (U…) in counts.

    Parameters
    ----------
    path : Path
        Folder to make, `<name>.ds`.
    data : array of shape (n_channels, n_samples)
    names : list of str
    rate : float
        Hz.
    gain : float
        Counts to the tesla.
    """
    path.mkdir(parents=True)
    n_channels, n_samples = data.shape
    head = _text("MEG42RS", 8) + _text("", 256) * 3 + struct.pack(">h", 0) + _text("10:00", 255)
    head += _text("01-Jan-2020", 255) + struct.pack(">ih", n_samples, n_channels)
    head = head.ljust(-(-len(head) // 8) * 8, b"\0")
    head += struct.pack(">ddh", rate, n_samples / rate, 1)
    head = head.ljust(-(-len(head) // 4) * 4, b"\0")
    body = head.ljust(1844, b"\0") + struct.pack(">h", 0)  # what follows the run description: no filters
    for name in names:
        body += _text(name, 32)
    for k, name in enumerate(names):
        angle = 2 * np.pi * k / n_channels
        x, y = np.cos(angle), np.sin(angle)
        coil = COIL.pack(10 * x, 10 * y, 5.0, 0.0, x, y, 0.5, 0.0, 1, 0, 0, 1.0)
        of = 1.0 if name[0] == "U" else gain
        body += struct.pack(">hhi4dhhi", KIND[name[0]], 0, 0, 1.0, of, 1.0, 0.0, 1, 0, 0)
        body += (coil + EMPTY * 7) + (coil + EMPTY * 7)
    sensors = [n for n in names if n.startswith("M")]
    body += struct.pack(">h", len(sensors))
    for name in sensors:  # third-order compensation by the one reference, of weight 0
        body += _text(name, 32) + struct.pack(">iih", 0x47334252, 0, 1)
        body += _text(next(n for n in names if n.startswith("B")), 31).ljust(31 * 50, b"\0") + bytes(8 * 50)
    (path / f"{path.stem}.res4").write_bytes(body)
    scale = np.array([1.0 if name[0] == "U" else gain for name in names])[:, None]
    counts = np.round(data * scale).astype(">i4")
    (path / f"{path.stem}.meg4").write_bytes(b"MEG41CP\0" + counts.tobytes())
    (path / f"{path.stem}.hc").write_text(_coils())


def _text(value: str, n: int) -> bytes:
    return value.encode()[: n - 1].ljust(n, b"\0")


def _coils() -> str:
    """Say where the head coils are, measured in the dewar and in the head."""
    lines = []
    places = {"nasion": (9, 0, 0), "left ear": (0, 7, 0), "right ear": (0, -7, 0)}
    for frame, shift in (("standard", None), ("measured", 0.0), ("measured head", 0.0)):
        for name, (x, y, z) in places.items():
            if shift is None:
                lines.append(f"standard {name} coil position relative to dewar (cm):")
            else:
                where = "head" if "head" in frame else "dewar"
                lines.append(f"measured {name} coil position relative to {where} (cm):")
            lines += [f"\tx = {x}", f"\ty = {y}", f"\tz = {z}"]
    return "\n".join(lines) + "\n"
