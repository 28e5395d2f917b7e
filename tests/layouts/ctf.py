"""Write a CTF recording (.ds) that mne reads: header, channels and one trial of samples, big-endian."""

import struct

import numpy as np

KIND = {"M": 5, "B": 0, "U": 11}  # gradiometer, reference magnetometer, stimulus
COIL = struct.Struct(">3d d 3d d h i h d")
EMPTY = COIL.pack(*[0.0] * 8, 0, 0, 0, 0.0)
GAIN = 1e9  # counts to the tesla


def text(value, n):
    return value.encode()[: n - 1].ljust(n, b"\0")


def write(path, data, names, rate):
    """Write channels, rows of data: sensors (M…) and a reference (B…) in tesla, triggers (U…) in counts."""
    path.mkdir(parents=True)
    n_channels, n_samples = data.shape
    head = text("MEG42RS", 8) + text("", 256) * 3 + struct.pack(">h", 0) + text("10:00", 255)
    head += text("01-Jan-2020", 255) + struct.pack(">ih", n_samples, n_channels)
    head = head.ljust(-(-len(head) // 8) * 8, b"\0")
    head += struct.pack(">ddh", rate, n_samples / rate, 1)
    head = head.ljust(-(-len(head) // 4) * 4, b"\0")
    body = head.ljust(1844, b"\0") + struct.pack(">h", 0)  # what follows the run description: no filters
    for name in names:
        body += text(name, 32)
    for k, name in enumerate(names):
        angle = 2 * np.pi * k / n_channels
        coil = COIL.pack(10 * np.cos(angle), 10 * np.sin(angle), 5.0, 0.0, np.cos(angle), np.sin(angle), 0.5, 0.0,
                         1, 0, 0, 1.0)  # fmt: skip
        body += struct.pack(
            ">hhi4dhhi", KIND[name[0]], 0, 0, 1.0, 1.0 if name[0] == "U" else GAIN, 1.0, 0.0, 1, 0, 0
        )
        body += (coil + EMPTY * 7) + (coil + EMPTY * 7)
    sensors = [n for n in names if n.startswith("M")]
    body += struct.pack(">h", len(sensors))
    for name in sensors:  # third-order compensation by the one reference, of weight 0
        body += text(name, 32) + struct.pack(">iih", 0x47334252, 0, 1)
        body += text(next(n for n in names if n.startswith("B")), 31).ljust(31 * 50, b"\0") + bytes(8 * 50)
    (path / f"{path.stem}.res4").write_bytes(body)
    scale = np.array([1.0 if name[0] == "U" else GAIN for name in names])[:, None]
    counts = np.round(data * scale).astype(">i4")
    (path / f"{path.stem}.meg4").write_bytes(b"MEG41CP\0" + counts.tobytes())
    (path / f"{path.stem}.hc").write_text(coils())


def coils():
    """Head coils, measured in the dewar and in the head."""
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
