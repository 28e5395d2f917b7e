"""Label files of every kind, as the tools that make them write them."""

import json

import nibabel as nib
import numpy as np

SHAPE, AFFINE = (5, 6, 4), np.diag([2.0, 2, 2, 1])
NAMES = {1: "V1", 2: "V2", 7: "hV4 links", 30: "IPS0"}
VERTICES = 20


def grayordinates():
    """Some vertices of both hemispheres and some voxels."""
    inside = np.zeros(SHAPE, bool)
    inside[2, 2:5, 1] = True
    return (nib.cifti2.BrainModelAxis.from_surface(np.arange(2, 12), VERTICES, "CortexLeft")
            + nib.cifti2.BrainModelAxis.from_surface(np.arange(0, 9), VERTICES, "CortexRight")
            + nib.cifti2.BrainModelAxis.from_mask(inside, "thalamus_left", AFFINE))  # fmt: skip


def volume(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)


def numbers(rng, shape):
    return rng.choice([0, *NAMES], shape)


def write_table(path, names=NAMES):
    if path.suffix == ".tsv":
        text = "index\tname\tcolor\n" + "".join(f"{k}\t{v}\t#000000\n" for k, v in names.items())
    elif path.suffix == ".json":
        text = json.dumps({str(k): v for k, v in names.items()})
    else:
        text = "# No. Name R G B A\n" + "".join(f"{k}\t{v}\t120\t18\t{k}\t0\n" for k, v in names.items())
    path.write_text(text)


def write_gifti(path, found, side="", names=NAMES):
    """Labels of a mesh, 0 being ???, as the Connectome Workbench writes them."""
    table = nib.gifti.GiftiLabelTable()
    for number, name in {0: "???", **names}.items():
        label = nib.gifti.GiftiLabel(key=number)
        label.label = name
        table.labels.append(label)
    meta = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": side} if side else {})
    array = nib.gifti.GiftiDataArray(found.astype("i4"), "NIFTI_INTENT_LABEL", "NIFTI_TYPE_INT32")
    nib.save(nib.gifti.GiftiImage(darrays=[array], labeltable=table, meta=meta), path)


def write_annot(path, found, names=NAMES):
    """An annotation; vertices without a label, 0, are of the colour of the medial wall or of none."""
    known = ["Background+FreeSurfer_Defined_Medial_Wall", *names.values()]
    at = np.array([0 if n == 0 else 1 + list(names).index(n) for n in found])
    at[np.flatnonzero(found == 0)[::2]] = -1
    colours = np.array([[10 + i, 20, 30, 0, 0] for i in range(len(known))])
    nib.freesurfer.write_annot(path, at, colours, known, fill_ctab=True)


def write_dlabel(path, found, names=NAMES, axis=None):
    table = {0: ("???", (0, 0, 0, 0)), **{k: (v, (1, 0, 0, 1)) for k, v in names.items()}}
    axes = nib.cifti2.LabelAxis(["parcels"], [table]), axis or grayordinates()
    nib.save(nib.Cifti2Image(found[None].astype("f4"), axes), path)
