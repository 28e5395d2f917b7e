"""A simulated visual cortex on fsaverage5 whose every voxel is known.

Early areas follow the textbook: V1, V2, V3 and hV4 are wedges around the confluence of the fovea,
with polar angle reversing at each border and eccentricity growing along the calcarine (Wandell,
Dumoulin & Brewer 2007). Their voxels pool local oriented energy under a Gaussian receptive field.
Category areas sum the size of their object wherever it stands; a language-like area answers to the
meaning of the captions; a share of the voxels answers to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from tqdm import tqdm

from neuroenc.simulation.grammar import CATEGORIES

DEGREES = 8.4  # width of the picture in degrees of visual angle, as in NSD
N_ORIENTATIONS, WAVELENGTHS, GRID = 4, (4.0, 8.0, 16.0), 32  # px of a 128 px picture
FOVEA = (22.0, -98.0, -6.0)  # foveal confluence, mm, right hemisphere of fsaverage
CALCARINE = (7.0, -70.0, 8.0)
# wedge around the confluence, degrees from the calcarine, dorsal positive; visual polar angle
# (degrees above the horizontal meridian) at its two borders; size of fields relative to V1
WEDGES = {
    "V1v": (0, -32, 0, 90, 1.0), "V1d": (0, 32, 0, -90, 1.0),
    "V2v": (-32, -56, 90, 0, 1.4), "V2d": (32, 56, -90, 0, 1.4),
    "V3v": (-56, -80, 0, 90, 1.9), "V3d": (56, 80, 0, -90, 1.9),
    "hV4": (-80, -118, 90, -90, 2.8),
}  # fmt: skip
EXTENT = 48.0  # of the wedges along the sphere (radius 100), mm
# seed in mm (right hemisphere; mirrored for the left), radius in mm, preferred categories
PATCHES: dict[str, tuple[tuple[float, float, float], float, tuple[str, ...]]] = {
    "OFA": ((40, -78, -12), 9, ("face",)),
    "FFA": ((40, -50, -20), 12, ("face",)),
    "EBA": ((47, -70, 4), 12, ("body",)),
    "OPA": ((33, -82, 22), 11, ("place",)),
    "PPA": ((26, -46, -9), 12, ("place",)),
    "VWFA": ((46, -58, -12), 9, ("word",)),
    "LO": ((42, -84, -2), 11, ("food", "animal", "vehicle", "tool")),
    "TPJ": ((54, -52, 16), 15, ()),
}
LANGUAGE = "TPJ"


@dataclass(frozen=True)
class Voxels:
    """Where the voxels of one subject lie and what they prefer; every array is (n_voxels, …)."""

    grid: NDArray[np.int64]
    """Index in the volume, (n_voxels, 3)."""
    hemisphere: NDArray[np.str_]
    general: NDArray[np.bool_]
    """Inside the mask `nsdgeneral`."""
    area: NDArray[np.str_]
    """'V1v' … 'TPJ', or 'none'."""
    silent: NDArray[np.bool_]
    field: NDArray[np.float64]
    """x, y (degrees from fixation, up and right positive), sigma (degrees); NaN off the wedges."""
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    vertex_voxel: dict[str, NDArray[np.int64]]
    """Per hemisphere, the voxel under each fsaverage5 vertex, -1 where there is none."""


def place_voxels(n_voxels: int, rng: np.random.Generator, *, silent: float = 0.2) -> Voxels:
    """Fill the ribbon of the back of the brain with voxels and name their areas.

    Parameters
    ----------
    n_voxels : int
        Voxels of `nsdgeneral`; the simulated brain has 15 % more.
    rng : Generator
        Moves the areas a little from subject to subject.
    silent : float
        Share of the voxels inside the areas that answer to nothing.

    Returns
    -------
    Voxels
    """
    from nilearn.datasets import load_fsaverage

    meshes = load_fsaverage("fsaverage5")
    side = 2.6 * (2000 / n_voxels) ** 0.5  # a ribbon: voxels grow with the square of 1 / side
    hemispheres = {"L": "left", "R": "right"}
    points: list[NDArray[np.float64]] = []
    sphere: list[NDArray[np.float64]] = []
    where: list[NDArray[np.str_]] = []
    vertex_count: dict[str, int] = {}
    for key, name in hemispheres.items():
        pial, white, ball = (meshes[m].parts[name] for m in ("pial", "white_matter", "sphere"))
        middle = (pial.coordinates + white.coordinates) / 2
        vertex_count[key] = len(middle)
        # random points on the triangles, so that small voxels leave no holes
        n_extra = 3 * n_voxels
        triangle = pial.faces[rng.integers(len(pial.faces), size=n_extra)]
        weight = rng.dirichlet(np.ones(3), n_extra)
        for mesh, into in ((middle, points), (ball.coordinates, sphere)):
            into.append(np.concatenate([mesh, np.einsum("tk,tkx->tx", weight, mesh[triangle])]))
        where.append(np.full(len(points[-1]), key))
    xyz, ball_xyz, hemi = np.concatenate(points), np.concatenate(sphere), np.concatenate(where)
    mirrored = xyz * np.where(hemi == "L", -1, 1)[:, None] ** np.array([1, 0, 0])

    # voxels: cells of the grid that hold a point, first those of an area, then nearest to the pole
    cell = np.floor(xyz / side).astype(int)
    # the two banks of the longitudinal fissure may share a cell; the hemisphere parts them
    cell[:, 0] += np.where(hemi == "R", 1, 0)
    cells, first, inverse = np.unique(cell, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    area, field = _areas(mirrored, ball_xyz, hemi, rng)
    distance = np.linalg.norm(mirrored[first] - (28, -88, -6), axis=1)
    ranked = np.lexsort((distance, area[first] == "none"))[: round(1.15 * n_voxels)]
    order = np.lexsort(cells[ranked].T)
    chosen = ranked[order]
    voxel_of_cell = np.full(len(cells), -1)
    voxel_of_cell[chosen] = np.arange(len(chosen))
    corner = cells[chosen].min(0) - 1
    grid = cells[chosen] - corner
    affine = np.diag([side, side, side, 1.0])
    affine[:3, 3] = (corner + 0.5) * side

    area, field = area[first[chosen]], field[first[chosen]]
    start = {"L": 0, "R": len(points[0])}
    vertex_voxel = {
        key: voxel_of_cell[inverse[start[key] : start[key] + vertex_count[key]]] for key in hemispheres
    }
    return Voxels(
        grid=grid, hemisphere=hemi[first[chosen]], general=order < n_voxels, area=area,
        silent=(area == "none") | (rng.random(len(area)) < silent), field=field,
        shape=tuple((grid.max(0) + 2).tolist()), affine=affine, vertex_voxel=vertex_voxel,
    )  # fmt: skip


def _areas(
    mirrored: NDArray[np.float64],
    ball: NDArray[np.float64],
    hemi: NDArray[np.str_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Name the area and the receptive field of each point of the surface."""
    area = np.full(len(mirrored), "none", dtype="<U5")
    field = np.full((len(mirrored), 3), np.nan)
    for key, sign in (("L", -1), ("R", 1)):
        rows = np.flatnonzero(hemi == key)
        tree = cKDTree(mirrored[rows])
        at = ball[rows] / 100

        def nearest(mm: tuple[float, float, float], tree: cKDTree = tree) -> int:
            return int(tree.query(np.array(mm) + rng.normal(0, 1.5, 3))[1])

        # azimuthal coordinates around the confluence: distance, and angle from the calcarine
        fovea = at[nearest(FOVEA)]
        ahead = at[nearest(CALCARINE)]
        ahead = ahead - (ahead @ fovea) * fovea
        ahead /= np.linalg.norm(ahead)
        up = np.cross(fovea, ahead)
        up *= np.sign(up[2])
        away = 100 * np.arccos(np.clip(at @ fovea, -1, 1))
        angle = np.degrees(np.arctan2(at @ up, at @ ahead))
        for name, (begin, end, meridian_begin, meridian_end, size) in WEDGES.items():
            share = (angle - begin) / (end - begin)
            inside = (share >= 0) & (share < 1) & (away < EXTENT) & (away > 1.5)
            eccentricity = 0.25 * np.exp(away / EXTENT * np.log(4.2 / 0.25))
            polar = np.radians(meridian_begin + share * (meridian_end - meridian_begin))
            # each hemisphere sees the other side of the visual field
            x, y = -sign * eccentricity * np.cos(polar), eccentricity * np.sin(polar)
            sigma = size * (0.25 + 0.12 * eccentricity)
            values = np.stack([x, y, sigma], 1)
            area[rows[inside]], field[rows[inside]] = name, values[inside]
        for name, (seed, radius, _) in PATCHES.items():
            near = 100 * np.arccos(np.clip(at @ at[nearest(seed)], -1, 1)) < 1.4 * radius
            free = near & (area[rows] == "none")
            area[rows[free]] = name
    return area, field


def oriented_energy(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Local oriented contrast energy by log-Gabor filters in the Fourier domain (Field 1987).

    Parameters
    ----------
    pixels : uint8 array of shape (n, side, side, 3)

    Returns
    -------
    float32 array of shape (n, n_wavelengths * n_orientations, GRID, GRID)
        Root of the energy of the quadrature pair, averaged in the cells of the grid.
    """
    side = pixels.shape[1]
    margin = side // 8  # reflected, so that no edge sees the opposite one
    fy, fx = np.meshgrid(*(scipy.fft.fftfreq(side + 2 * margin),) * 2, indexing="ij")
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    angle = np.arctan2(fy, fx)
    filters = []
    for wavelength in np.array(WAVELENGTHS) * side / 128:
        radial = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * np.log(0.6) ** 2))
        radial[0, 0] = 0
        for k in range(N_ORIENTATIONS):
            turn = np.angle(np.exp(1j * (angle - np.pi * k / N_ORIENTATIONS)))
            filters.append(radial * np.exp(-(turn**2) / (2 * (np.pi / 8) ** 2)))
    bank = np.stack(filters).astype(np.float32)
    out = np.empty((len(pixels), len(bank), GRID, GRID), np.float32)
    cell = side // GRID
    for i in tqdm(range(0, len(pixels), 16), "oriented energy", disable=None, delay=2):
        grey = pixels[i : i + 16].mean(-1, dtype=np.float32) / 255
        # one-sided filters: the modulus of the complex answer is the root of the energy
        padded = np.pad(grey, ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
        spectrum = scipy.fft.fft2(padded)[:, None] * bank
        energy = 2 * np.abs(scipy.fft.ifft2(spectrum, overwrite_x=True, workers=2))
        inside = slice(margin, margin + side)
        energy = energy[..., inside, inside]
        cells = energy.reshape(*energy.shape[:2], GRID, cell, GRID, cell)
        out[i : i + 16] = cells.mean((3, 5))
    return out


def receptive_field(field: NDArray[np.float64]) -> NDArray[np.float32]:
    """Gaussian weights on the grid, (n_voxels, GRID * GRID), summing to one."""
    ticks = ((np.arange(GRID) + 0.5) / GRID - 0.5) * DEGREES
    x, y, sigma = field.T[:, :, None]
    across = np.exp(-((ticks - x) ** 2) / (2 * sigma**2))
    down = np.exp(-((-ticks - y) ** 2) / (2 * sigma**2))
    weight = (down[:, :, None] * across[:, None, :]).reshape(len(field), -1)
    return np.asarray(weight / weight.sum(1, keepdims=True), np.float32)


def pooled_energy(energy: NDArray[np.float32], field: NDArray[np.float64]) -> NDArray[np.float32]:
    """Energy under each receptive field, (n_voxels, n_stimuli, n_filters)."""
    n, filters = energy.shape[:2]
    flat = energy.reshape(n * filters, -1) @ receptive_field(field).T
    return np.ascontiguousarray(flat.reshape(n, filters, -1).transpose(2, 0, 1))


def tuning(voxels: Voxels, rng: np.random.Generator, n_concepts: int) -> list[NDArray[np.float64]]:
    """Weights of each voxel on the true features of its area (see `true_features`)."""
    weights: list[NDArray[np.float64]] = []
    for area, field in zip(voxels.area, voxels.field, strict=True):
        if area in WEDGES:
            preferred = rng.uniform(0, np.pi)
            orientation = np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS
            by_orientation = np.exp(1.2 * np.cos(2 * (orientation - preferred)))
            # small fields prefer fine detail
            best = np.log2(4 + 6 * field[2])
            by_scale = np.exp(-((np.log2(WAVELENGTHS) - best) ** 2) / 2)
            weights.append((by_scale[:, None] * by_orientation).ravel())
        elif area == LANGUAGE:
            weights.append(rng.normal(size=n_concepts))
        elif area in PATCHES:
            profile = rng.uniform(0, 0.15, len(CATEGORIES))
            likes = PATCHES[str(area)][2]
            profile[CATEGORIES.index(likes[rng.integers(len(likes))])] = 1
            weights.append(profile)
        else:
            weights.append(np.zeros(0))
    return weights
