"""HDF5, arrays, images of brains and tables in a folder from a stranger: one line, nothing read elsewhere."""

import gzip
import shutil

import h5py
import nibabel as nib
import numpy as np
import pytest

from tests.security.stranger import SECRET, N, describe, h5, make_folder, one_line

VALUES = np.arange(N * 4.0).reshape(N, 4)
AFFINE = np.diag([2.0, 2, 2, 1])
VOLUME = np.random.default_rng(1).normal(size=(3, 3, 2, N)).astype("f4")


def named(name, write, key=""):
    def make(root):
        write(root / name)
        describe(root, {"responses": name + key})

    return make


def array(values):
    return named("y.npy", lambda path: np.save(path, values))


def header(text):
    def write(path):
        data = text.encode().ljust(118) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + VALUES.tobytes())

    return named("y.npy", write)


def shape(text):
    return header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {text}}}")


def link(name, target):
    def make(root):
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
        (root / name).symlink_to(target)

    return make


def outer(root):
    shutil.copy(root / "y.npy", root.parent / "secret.npy")
    link("y.npy", "../secret.npy")(root)


def archive(path):
    np.savez(path.with_suffix(".npz"), y=VALUES)
    path.with_suffix(".npz").rename(path)


def stored(**options):
    return lambda root: h5(root, lambda file: file.create_dataset("y", **options))


def scaled(root):
    h5(root, lambda f: f.create_dataset("y", data=VALUES.astype("i2")).attrs.update(scale_factor=0.1))


def deep(root):
    def make(file):
        group = file
        for _ in range(12_000):
            group = group.create_group("a")
        file["y"] = VALUES

    h5(root, make)


def cut(root):
    h5(root, lambda file: file.create_dataset("y", data=VALUES))
    data = (root / "y.h5").read_bytes()
    (root / "y.h5").write_bytes(data[: len(data) // 2])


def image(values=VOLUME, name="y.nii", at=0, data=b"", **more):
    def make(root):
        nib.save(nib.Nifti1Image(values, AFFINE), root / name)
        whole = bytearray((root / name).read_bytes())
        whole[at : at + len(data)] = data
        (root / name).write_bytes(whole)
        describe(root, {"responses": name} | more)

    return make


def masked(values, affine=AFFINE):
    def make(root):
        nib.save(nib.Nifti1Image(values, affine), root / "m.nii")
        image(mask="m.nii")(root)

    return make


def announced(path):
    head = nib.Nifti1Image(np.zeros((1, 1, 1, 1), "f4"), AFFINE).header
    head.set_data_shape((1000, 1000, 1000, N))
    path.write_bytes(gzip.compress(head.binaryblock + bytes(4)))


def surface(text):
    return named("y.gii", lambda path: path.write_text(text))


def gifti(*arrays, intents=(0,) * 99):
    def write(path):
        made = [nib.gifti.GiftiDataArray(a, intent=i) for a, i in zip(arrays, intents, strict=False)]
        nib.save(nib.gifti.GiftiImage(darrays=made), path)

    return named("y.gii", write)


def attribute(name, value):
    kept = '<DataArray Intent="NIFTI_INTENT_NONE" DataType="NIFTI_TYPE_FLOAT32" ArrayIndexingOrder="RowMajorOrder" '
    kept += 'Dimensionality="1" Dim0="3" Encoding="ASCII" Endian="LittleEndian" ExternalFileName="" '
    kept += 'ExternalFileOffset="0"><Data>1 2 3</Data></DataArray>'
    before = kept.partition(f'{name}="')[2].partition('"')[0]
    changed = kept.replace(f'{name}="{before}"', f'{name}="{value}"')
    return f'<?xml version="1.0"?><GIFTI Version="1.0" NumberOfDataArrays="1">{changed}</GIFTI>'


def laughs():
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 20}">' for i in range(1, 12))
    return f'<!DOCTYPE G [<!ENTITY a0 "ha">{entities}]><GIFTI><MetaData>&a11;</MetaData></GIFTI>'


def external(root):
    (root.parent / "secret.bin").write_bytes(SECRET.encode()[:12])
    text = attribute("Encoding", "ExternalFileBinary").replace('FileName=""', 'FileName="../secret.bin"')
    surface(text)(root)


def table(text, name="y.csv"):
    return named(name, lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode()))


def rows(cell, header="v1,v2", separator=","):
    lines = [separator.join((cell.format(i), str(i * i))) for i in range(N)]
    return "\n".join([header.replace(",", separator), *lines, ""])


def trials(lines):
    return lambda root: (root / "trials.csv").write_text("\n".join([lines[0], *([lines[1]] * N), ""]))


def neuroids(column, cell):
    def make(root):
        lines = "".join(f"n{i},{cell}\n" for i in range(4))
        (root / "n.csv").write_text(f"neuroid_id,{column}\n{lines}")
        describe(root, {"neuroids": "n.csv"})

    return make


def folder_for(name):
    def make(root):
        path = root / name
        path.unlink(missing_ok=True)
        path.mkdir()
        if name.startswith("y."):
            describe(root, {"responses": name + ("#y" if name.endswith("h5") else "")})

    return make


G = [np.arange(5, dtype="f4") + i for i in range(N)]
HDF5 = {
    "a record": (stored(data=np.zeros((N, 4), [("a", "f4")])), "expected an array of numbers"),
    "references": (stored(shape=(N, 4), dtype=h5py.ref_dtype), "expected an array of numbers"),
    "rows of any length": (stored(shape=(N, 4), dtype=h5py.vlen_dtype("f4")), "expected an array of numbers"),
    "complex": (stored(data=VALUES + 1j), "expected an array of numbers"),
    "no space": (stored(data=h5py.Empty("f4")), "expected an array of numbers"),
    "one number": (stored(data=3.0), "expected an array of numbers"),
    "no columns": (stored(shape=(N, 0), dtype="f4"), "is empty"),
    "never written": (stored(shape=(N, 4), dtype="f4", chunks=True), "holds 0"),
    "12 GB of nothing": (stored(shape=(N, 10**9), dtype="u1", chunks=(1, 10**6)), "announces 12000000000 bytes"),
    "packed": (scaled, "packed.*scale_factor"),
    "transposed": (stored(data=VALUES.T), "4 presentations.* 12 rows"),
    "infinite": (stored(data=np.where(VALUES == 3, np.inf, VALUES)), "infinite"),
    "12,000 groups deep": (deep, "too many or too deep"),
    "a link to nowhere": (lambda r: h5(r, lambda f: f.__setitem__("y", h5py.SoftLink("/no"))), "dataset in"),
    "cut in half": (cut, "Cannot read"),
    "a folder": (folder_for("y.h5"), "Cannot read"),
    "noise": (named("y.h5", lambda p: p.write_bytes(b"\x12" * 999), "#y"), "Cannot read"),
}  # fmt: skip
ARRAYS = {
    "a link outside": (outer, "leads outside"),
    "a table by a link": (link("trials.csv", "../secret.csv"), "leads outside"),
    "pictures by a link": (link("pictures", "../.."), "leads outside|not in"),
    "a link to itself": (link("y.npy", "y.npy"), "symbolic links"),
    "a folder": (folder_for("y.npy"), "Cannot read"),
    "an archive": (named("y.npy", archive), "archive of arrays"),
    "less than nothing": (shape("(-1, 4)"), "Cannot read"),
    "10 to the 20": (shape("(12, 100000000000000000000)"), "Cannot read"),
    "a call for a shape": (shape("__import__('os').mkdir('opened')"), "Cannot read"),
    "text for a shape": (shape("'a'"), "Cannot read"),
    "no header": (header("no"), "Cannot read"),
    "dates": (array(VALUES.astype("M8[s]")), "expected real numbers"),
    "text": (array(VALUES.astype(str)), "expected real numbers"),
    "records": (array(np.zeros((N, 4), [("a", "f8")])), "expected real numbers"),
    "bytes": (array(np.zeros((N, 4), "V3")), "expected real numbers"),
    "infinite": (array(np.where(VALUES == 3, np.inf, VALUES)), "infinite"),
    "beyond single precision": (array(VALUES * 1e60), "infinite"),
    "transposed": (array(VALUES.T), "4 presentations.* 12 rows"),
    "one axis": (array(VALUES[:, 0]), "has shape"),
    "no axis": (array(np.float64(3)), "has shape"),
    "bins without time": (array(VALUES[..., None]), "`time`"),
    "cut": (named("y.npy", lambda p: p.write_bytes(p.read_bytes()[:150])), "Cannot read"),
}  # fmt: skip
IMAGES = {
    "a side below 0": (image(at=42, data=np.int16([-3]).tobytes()), "header states"),
    "sides of 32,767": (image(at=42, data=np.int16([32767] * 3).tobytes()), "its header"),
    "no such type": (image(at=70, data=np.int16([999]).tobytes()), "Cannot read"),
    "begins nowhere": (image(at=108, data=np.float32([np.nan]).tobytes()), "Cannot read"),
    "begins below 0": (image(at=108, data=np.float32([-5]).tobytes()), "Cannot read"),
    "begins beyond its end": (image(at=108, data=np.float32([1e30]).tobytes()), "Cannot read"),
    "other first bytes": (image(at=344, data=b"xxxx"), "Cannot read"),
    "no intercept": (image(at=112, data=np.float32([1, np.nan]).tobytes()), "Cannot read"),
    "48 GB announced": (named("y.nii.gz", announced), "its header"),
    "one volume": (image(VOLUME[..., 0]), "expected"),
    "five axes": (image(VOLUME[..., None]), "expected"),
    "infinite": (image(np.where(VOLUME.max() == VOLUME, np.inf, VOLUME)), "infinite"),
    "constant": (image(VOLUME * 0), "No voxel"),
    "a folder": (folder_for("y.nii"), "Cannot read"),
    "a mask elsewhere": (masked(np.ones((3, 3, 2), "u1"), np.diag([-2.0, 2, 2, 1])), "another affine"),
    "a mask of another grid": (masked(np.ones((2, 3, 2), "u1")), "has the grid"),
    "a mask of two volumes": (masked(np.ones((3, 3, 2, 2), "u1")), "expected one volume"),
    "a mask of shares": (masked(np.full((3, 3, 2), 0.5)), "whole numbers"),
    "a mask of nothing": (masked(np.zeros((3, 3, 2), "u1")), "No voxel"),
    "labels": (gifti(*[g.astype("i4") for g in G], intents=[1002] * N), "label"),
    "meshes of two sizes": (gifti(*G[:-1], np.arange(4, dtype="f4")), "one length"),
    "a vertex below 0": (gifti(np.array([-1, 1, 0, 2, 4], "i4"), *G, intents=[2002] + [0] * N), "below 0"),
    "a vertex twice": (gifti(np.array([1, 1, 0, 2, 4], "i4"), *G, intents=[2002] + [0] * N), "twice"),
    "values in another file": (external, "another file"),
    "an entity of another file": (
        surface('<!DOCTYPE G [<!ENTITY a SYSTEM "../secret.txt">]><GIFTI><MetaData>&a;</MetaData></GIFTI>'), "y.gii",
    ),
    "entities that multiply": (surface(laughs()), "Cannot read"),
    "10 to the 15 vertices": (surface(attribute("Dim0", "1" + "0" * 15)), "Cannot read"),
    "no such encoding": (surface(attribute("Encoding", "x")), "Cannot read"),
    "no surface": (surface("<a/>"), "y.gii"),
}  # fmt: skip
TABLES = {
    "decimal commas between commas": (table(rows('"{},5"')), "decimal point"),
    "thousands and decimals": (table(rows("1.000,5", separator=";")), "finite number"),
    "thousands or decimals": (table("v1;v2\n" + "".join(f"1.{i:03d};2.{i:03d}\n" for i in range(N))), "thousands"),
    "thousands or decimals by commas": (
        table("v1;v2\n" + "".join(f"{i}{',234' if i else '99'};{i}\n" for i in range(N))), "thousands"
    ),
    "thousands in quotes": (table(rows('"1,00{}"')), "decimal point"),
    "thousands by blanks": (table(rows("1 00{}")), "finite number"),
    "thousands by apostrophes": (table(rows("1'00{}")), "finite number"),
    "a long minus": (table(rows("\u2212{}")), "finite number"),
    "percent": (table(rows("{}%")), "finite number"),
    "hexadecimal": (table(rows("0x{}")), "finite number"),
    "underscores": (table(rows("1_{}")), "finite number"),
    "dates": (table(rows("2020-01-{}")), "finite number"),
    "a formula": (table(rows("=cmd|' /C calc'!A0")), "finite number"),
    "a spreadsheet's error": (table(rows("#DIV/0!")), "finite number"),
    "infinity": (table(rows("inf")), "finite number"),
    "beyond double precision": (table(rows("1e400")), "finite number"),
    "beyond single precision": (table(rows("1e39")), "infinite"),
    "truth": (table(rows("TRUE")), "finite number"),
    "a column twice": (table(rows("{}", "v,v")), "two columns"),
    "a column without a name": (table(rows("{}", "v,")), "no name"),
    "rows of other stimuli": (table(rows("x{}", "stimulus_id,v")), "same presentations"),
    "too many rows": (table(rows("{}") + "1,2\n"), "13 presentations"),
    "a row too long": (table(rows("{}") + "1,2,3\n"), "3 cells"),
    "no rows": (table("v1,v2\n"), "no rows"),
    "nothing": (table(""), "is empty"),
    "a cell of 200,000": (table("v1,v2\n" + "1" * 200_000 + ",2\n"), "field larger"),
    "a quote without end": (table(rows('"{}')), "Cannot read the table"),
    "UTF-16": (table(rows("{}").encode("utf-16")), "UTF-16"),
    "UTF-16 without a mark": (table(rows("{}").encode("utf-16-le")), "zero byte"),
    "UTF-32": (table(rows("{}").encode("utf-32")), "UTF-16|zero byte"),
    "Latin-1": (table(rows("{}", "größe,v").encode("latin-1")), "not UTF-8"),
    "commas in .tsv": (table(rows("{}"), "y.tsv"), "finite number"),
    "pipes": (table(rows("{}", separator="|")), "finite number"),
    "a folder": (folder_for("y.csv"), "Is a directory"),
    "ids as 0.0": (trials(("stimulus_id", "0.0")), "not in stimuli.csv"),
    "ids without zeros": (trials(("stimulus_id", "0")), "not in stimuli.csv"),
    "no ids": (trials(("stimulus_id,run", ",1")), "has no stimulus_id"),
    "ids in capitals": (trials(("Stimulus_ID", "p0")), "no column"),
    "half a run": (trials(("stimulus_id,run", "p0,1.5")), "whole numbers"),
    "a run of 5,000 digits": (trials(("stimulus_id,run", "p0," + "9" * 5000)), "whole numbers"),
    "a ceiling in percent": (neuroids("noise_ceiling", "45"), "up to 1"),
    "a side that is none": (neuroids("hemisphere", "left"), "Allowed"),
    "a region upwards": (neuroids("roi_../x", "1"), "does not survive"),
    "a region of words": (neuroids("roi_a b", "1"), "does not survive"),
    "a region of shares": (neuroids("roi_a", "0.5"), "0 or 1"),
    "a place beyond all": (neuroids("x", "1e300"), "finite number"),
    "the end of a terminal's line": (trials(("stimulus_id", "\x1b]0;owned\x07")), r"\\x1b"),
}  # fmt: skip
CASES = {f"{kind}: {name}": case for kind, cases in
         {"HDF5": HDF5, "array": ARRAYS, "image": IMAGES, "table": TABLES}.items() for name, case in cases.items()}  # fmt: skip


def of_subject(root, out):
    return ("--options", f'{{"name": "custom", "root": "{root}"}}', "--subject", "01", "--out", out)


@pytest.mark.parametrize("name", CASES)
def test_responses_of_a_stranger(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    root = make_folder(tmp_path)
    make, message = CASES[name]
    make(root)
    before = set(tmp_path.rglob("*"))
    asked = of_subject(root, tmp_path / "out.nc")
    status, out, err = run("data", "responses", *asked)
    if status == 0:  # it is not the responses
        status, out, err = run("data", "stimuli", *asked)
    one_line(status, out, err, message)
    assert set(tmp_path.rglob("*")) - {tmp_path / "out.nc"} == before and "\x1b" not in err


def test_matlab_writes_its_axes_in_reverse(run, tmp_path):
    """What MATLAB calls (12, 4) lies as (4, 12) in its files of version 7.3; a fill value is missing."""
    import xarray as xr

    root = make_folder(tmp_path)

    def make(file):
        file["y"] = np.where(VALUES == 7, -1, VALUES).T
        file["y"].attrs["MATLAB_class"] = np.bytes_("double")
        file["y"].attrs["_FillValue"] = -1.0

    h5(root, make)
    asked = of_subject(root, tmp_path / "r.nc")
    status, _, err = run("data", "responses", *asked)
    assert status == 0, err
    with xr.open_dataset(tmp_path / "r.nc", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["response"], np.where(VALUES == 7, np.nan, VALUES))
