"""The two spaces of NSD: betas, regions and places of the voxels of a volume or the vertices of a surface."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from neuroenc.datasets.images import read_image, read_values
from neuroenc.documents import read_text
from neuroenc.errors import InputError, invalid
from neuroenc.files import existing
from neuroenc.hdf5 import numbers, open_hdf5

BETA_SCALE = 300  # int16 counts per percent signal change


class Volume:
    """func1pt8mm: int16 betas in HDF5 (axes reversed) or NIfTI."""

    def __init__(self, root: Path, subject: str, betas: Path) -> None:
        self.root, self.subject, self.folder = root, subject, betas
        self.roi = root / f"nsddata/ppdata/subj{subject}/func1pt8mm/roi"
        reference = read_image(existing(betas / "ncsnr.nii.gz"))
        self.shape, self.affine = reference.shape, reference.affine
        self.reference = read_values(reference).astype(np.float32)

    def _atlas(self, name: str) -> NDArray[np.int64]:
        path = self.roi / f"{name}.nii.gz"
        if not path.exists():
            known = (p.name.removesuffix(".nii.gz") for p in self.roi.glob("*.nii.gz"))
            raise invalid("atlas", name, sorted(k for k in known if k[:3] not in ("lh.", "rh.")))
        image = read_image(path)
        if image.shape != self.shape:
            raise InputError(
                f"The atlas {path.name} has the grid {image.shape}, the betas {self.shape}. "
                "Use the regions of the same subject and space."
            )
        self._same_axes(image, path)
        return read_values(image).astype(np.int64)

    def _same_axes(self, image: Any, path: Path) -> None:
        """Refuse a volume whose axes run otherwise than those of the betas: it is read by its indices."""
        own, there = ("".join(map(str, nib.orientations.aff2axcodes(a))) for a in (image.affine, self.affine))
        if own != there:
            raise InputError(
                f"The axes of {path} run to {own}, those of the betas to {there}. Was it reoriented? Use the "
                "file as it was published."
            )

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return which voxels an atlas names, or all with data ("brain"), on the whole grid."""
        # -1 lies outside: never astype(bool)
        if name == "brain":
            return np.asarray(self._atlas("nsdgeneral") >= 0)
        return np.asarray(self._atlas(name) > 0)

    def labels(self, atlas: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the number of each voxel in an atlas, and the name of each number."""
        return self._atlas(atlas), read_names(self.root, self.subject, atlas)

    def sessions(self) -> list[int]:
        """List the sessions that are there, from 1."""
        files = [
            *self.folder.glob("betas_session*.hdf5"),
            *self.folder.glob("betas_session*.nii.gz"),
        ]
        if not files:
            raise InputError(f"No betas_session*.hdf5 or .nii.gz in {self.folder}.")
        return sorted({int(p.name.removeprefix("betas_session")[:2]) for p in files})

    def betas(self, session: int, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], list[Path]]:
        """Read a session in percent signal change, (n_trials, n_neuroids), and say from which files."""
        return self.read(self.folder, f"betas_session{session:02d}", mask)

    def read(
        self, folder: Path, name: str, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], list[Path]]:
        """Read the betas of one file, by its name without the ending, as `betas` does."""
        path = folder / f"{name}.hdf5"
        if not path.exists():
            path = folder / f"{name}.nii.gz"
            image = read_image(path)
            check_int16(image.get_data_dtype(), path)
            if image.shape[:3] != self.shape:
                raise InputError(f"{path} has the grid {image.shape[:3]}, expected {self.shape}.")
            self._same_axes(image, path)
            values = read_values(image)[mask].T
            return values.astype(np.float32) / np.float32(BETA_SCALE), [path]
        with open_hdf5(path) as file:
            stored = numbers(file, "betas")
            check_int16(stored.dtype, path)
            if stored.shape[1:] != self.shape[::-1]:
                raise InputError(
                    f"{path} has the axes {stored.shape}, expected (trials, *{self.shape[::-1]}): "
                    "MATLAB's HDF5 is read as trials, z, y, x."
                )
            # MATLAB's order of the voxels, in the order of the mask
            voxel = np.ravel_multi_index(np.nonzero(mask)[::-1], self.shape[::-1])
            values = np.empty((len(stored), len(voxel)), np.float32)
            for i in range(0, len(stored), 25):
                block = stored[i : i + 25]
                values[i : i + 25] = block.reshape(len(block), -1)[:, voxel]
        values /= np.float32(BETA_SCALE)
        return values, [path]

    def ncsnr(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the noise-ceiling SNR that comes with the betas, (n_neuroids,)."""
        return self.reference[mask]

    def coordinates(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return names, hemispheres and places of the neuroids."""
        ijk = np.argwhere(mask)
        left = self._atlas("lh.nsdgeneral")[mask] >= 0
        right = self._atlas("rh.nsdgeneral")[mask] >= 0
        return {
            "neuroid_id": np.array([f"{self.subject}_{i}-{j}-{k}" for i, j, k in ijk]),
            "hemisphere": np.select([left & ~right, right & ~left], ["L", "R"], ""),
            **{axis: ijk[:, n].astype(np.float32) for n, axis in enumerate("xyz")},
        }

    def grid(self) -> dict[str, Any]:
        """Return what places a map of the neuroids in a volume, for the attributes."""
        return {"grid_shape": np.array(self.shape), "affine": self.affine.ravel()}

    def surface(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
        """Return the neuroid under each vertex of the mesh, by hemisphere; -1 where there is none."""
        number = np.full(self.shape, -1, np.int32)
        number[mask] = np.arange(mask.sum())
        out = {}
        for key, prefix in (("L", "lh"), ("R", "rh")):
            name = f"nsddata/ppdata/subj{self.subject}/transforms/{prefix}.func1pt8mm-to-fsaverage.mgz"
            if (self.root / name).exists():
                voxel = read_values(read_image(self.root / name)).reshape(-1, 3)
                inside = np.isfinite(voxel).all(1)
                i, j, k = np.where(inside[:, None], voxel - 1, 0).round().astype(int).T
                out[key] = np.where(inside, number[i, j, k], -1).astype(np.int32)
        return out


class Surface:
    """fsaverage: float32 betas in percent, one file per hemisphere."""

    def __init__(self, root: Path, subject: str, betas: Path) -> None:
        self.root, self.subject, self.folder = root, subject, betas
        self.reference = {k: self._vector(betas / f"{k}.ncsnr.mgh") for k in ("lh", "rh")}

    def _vector(self, path: Path) -> NDArray[np.float32]:
        return read_values(read_image(path)).astype(np.float32).reshape(-1)

    def _atlas(self, name: str) -> NDArray[np.int64]:
        parts = []
        for side in ("lh", "rh"):
            folders = [
                self.root / f"nsddata/freesurfer/{who}/label" for who in (f"subj{self.subject}", "fsaverage")
            ]
            files = [f / f"{side}.{name}.mgz" for f in folders]
            found = [p for p in files if p.exists()]
            if not found:
                known = {p.name[3:].removesuffix(".mgz") for f in folders for p in f.glob("lh.*.mgz")}
                raise invalid("atlas", name, sorted(known))
            labels = [self._vector(p) for p in found]
            fitting = [v for v in labels if len(v) == len(self.reference[side])]
            if not fitting:
                raise InputError(
                    f"The atlas {found[0]} has {len(labels[0])} vertices, the betas "
                    f"{len(self.reference[side])}. Use labels on the mesh of the betas."
                )
            parts.append(fitting[0])
        return np.concatenate(parts).astype(np.int64)

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Return which vertices an atlas names, or all with data ("brain"), on the whole grid."""
        if name == "brain":
            return np.asarray(np.isfinite(np.concatenate(list(self.reference.values()))))
        return np.asarray(self._atlas(name) > 0)

    def labels(self, atlas: str) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the number of each vertex in an atlas, and the name of each number."""
        return self._atlas(atlas), read_names(self.root, self.subject, atlas)

    def sessions(self) -> list[int]:
        """List the sessions that are there, from 1."""
        files = sorted(self.folder.glob("lh.betas_session*.mgh"))
        if not files:
            raise InputError(f"No lh.betas_session*.mgh in {self.folder}.")
        return [int(p.name.removeprefix("lh.betas_session")[:2]) for p in files]

    def betas(self, session: int, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], list[Path]]:
        """Read a session in percent signal change, (n_trials, n_neuroids), and say from which files."""
        return self.read(self.folder, f"betas_session{session:02d}", mask)

    def read(
        self, folder: Path, name: str, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], list[Path]]:
        """Read the betas of both hemispheres, by the name of the file without hemisphere and ending."""
        parts, paths = [], []
        for side in ("lh", "rh"):
            path = existing(folder / f"{side}.{name}.mgh")
            image = read_image(path)
            if image.get_data_dtype().kind != "f":
                raise InputError(
                    f"{path} holds {image.get_data_dtype()}, expected float32: surface betas are in "
                    "percent already."
                )
            values = read_values(image).astype(np.float32)
            if len(values) != len(self.reference[side]):
                raise InputError(
                    f"{path} has {len(values)} vertices, ncsnr {len(self.reference[side])}: another mesh."
                )
            parts.append(values.reshape(values.shape[0], -1))
            paths.append(path)
        return np.ascontiguousarray(np.concatenate(parts)[mask].T), paths

    def ncsnr(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the noise-ceiling SNR that comes with the betas, (n_neuroids,)."""
        return np.concatenate(list(self.reference.values()))[mask]

    def coordinates(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return names, hemispheres and places of the neuroids."""
        n = [len(v) for v in self.reference.values()]
        side = np.repeat(["L", "R"], n)[mask]
        vertex = np.concatenate([np.arange(m) for m in n])[mask]
        return {
            "neuroid_id": np.array([f"{self.subject}_{h}-{v}" for h, v in zip(side, vertex, strict=True)]),
            "hemisphere": side,
            "vertex": vertex.astype(np.int32),
        }

    def grid(self) -> dict[str, Any]:
        """Return how many vertices the meshes have, for the attributes."""
        left, right = map(len, self.reference.values())
        return {"n_vertices_L": left, "n_vertices_R": right}

    def surface(self, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
        """Return the neuroid under each vertex of the mesh, by hemisphere; -1 where there is none."""
        number = np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)
        left = len(self.reference["lh"])
        return {"L": number[:left], "R": number[left:]}


def check_int16(dtype: np.dtype[Any], path: Path) -> None:
    """Refuse volumetric betas that are not NSD's int16."""
    if dtype != np.int16:
        raise InputError(
            f"{path} holds {dtype}, expected int16 (300 to the percent). Were the betas converted?"
        )


def read_names(root: Path, subject: str, atlas: str) -> dict[int, str]:
    """Names of an atlas's regions, from its colour table; number -> name, without 0."""
    for who in (f"subj{subject}", "fsaverage"):
        path = root / f"nsddata/freesurfer/{who}/label/{atlas}.mgz.ctab"
        if path.exists():
            rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
            odd = [r for r in rows if len(r) < 2 or not re.fullmatch("[0-9]{1,9}", r[0])]
            if odd:
                raise InputError(
                    f"{path} has the line {' '.join(odd[0])[:80]!r}, expected a number and a name."
                )
            return {int(r[0]): r[1] for r in rows if int(r[0]) > 0}
    return {1: atlas}
