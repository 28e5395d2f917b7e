import hashlib
import io
import shutil
import zipfile

import h5py
import nibabel as nib
import numpy as np
import pytest
from layouts.server import serve

from neuroenc.config import Dataset
from neuroenc.datasets import nsd, sources
from neuroenc.errors import InputError
from neuroenc.fetch import FetchError


@pytest.fixture
def publisher(tree, tmp_path, monkeypatch):
    """The simulated NSD, served from where NSD would be; its terms are accepted."""
    files = {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    for name in [
        n for n in files if n.endswith(".nii.gz") and "func1pt8mm" in n and "betas_session" in n
    ]:  # NSD has both
        whole = io.BytesIO()
        with h5py.File(whole, "w") as file:
            file["betas"] = np.asarray(nib.load(tree / name).dataobj).T
        files[name.replace(".nii.gz", ".hdf5")] = whole.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in [n for n in files if n.startswith("nsddata_stimuli/annotations")]:
            file.writestr(name.removeprefix("nsddata_stimuli/"), files.pop(name))
    files["coco.zip"] = archive.getvalue()
    monkeypatch.setenv("NEUROENC_CONSENTS", str(tmp_path / "consents.json"))
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
    (tmp_path / "consents.json").write_text('{"nsd": {}}')
    with serve(files) as server:
        monkeypatch.setattr(sources, "NSD_URL", server.url)
        monkeypatch.setattr(sources, "COCO_URL", f"{server.url}/coco.zip")
        monkeypatch.setattr(sources, "COCO_HASH", f"sha256:{hashlib.sha256(files['coco.zip']).hexdigest()}")
        yield server


def options(root, **changes):
    given = {"name": "nsd", "root": str(root), "regions": ["prf-visualrois", "floc-faces"], "sessions": 2}
    return Dataset(**given | changes)


def test_what_is_fetched_can_be_loaded(publisher, tree, tmp_path, run):
    root = tmp_path / "mine"
    publisher.faults["nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"] = [("drop", 200_000), 503]
    status, out, err = run("data", "fetch", "--options", options(root).model_dump_json(), "--subject", "01")
    assert status == 0, err
    assert "files were transferred" in out
    (root / "expected.json").write_bytes((tree / "expected.json").read_bytes())  # sizes of the simulation
    found = nsd.load_responses(options(root), "01")
    here = nsd.load_responses(options(tree), "01")
    np.testing.assert_array_equal(found["response"].values, here["response"].values)
    assert nsd.load_stimuli(options(root), ["01"])["caption"].size
    n = len(publisher.seen)
    assert sources.fetch_dataset(options(root), ["01"]) == [] and len(publisher.seen) == n


def test_terms_come_first(publisher, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROENC_CONSENTS", str(tmp_path / "none.json"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(InputError, match="neuroenc data accept nsd"):
        sources.fetch_dataset(options(tmp_path / "mine"), ["01"])
    assert publisher.seen == [] and not (tmp_path / "mine").exists()


def test_a_full_disk_is_said_with_the_number(publisher, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_size", lambda url: 2**50)
    with pytest.raises(InputError, match=r"\d+ files of nsd takes? .* GiB"):
        sources.fetch_dataset(options(tmp_path / "mine"), ["01"])
    assert publisher.seen == []


def test_what_a_program_cannot_fetch(tmp_path, run):
    with pytest.raises(InputError, match="Get it from OSF 3jk45"):
        sources.fetch_dataset(Dataset(name="things_eeg2", root=str(tmp_path)), ["01"])
    with pytest.raises(InputError, match="is not fetched; point"):
        sources.fetch_dataset(Dataset(name="custom", root=str(tmp_path)), ["01"])
    with pytest.raises(InputError, match="'subject': '9'"):
        list(sources.nsd_files(options(tmp_path), ["9"]))
    status, _, err = run("data", "accept", "haxby")
    assert status == 2 and "Nothing needs to be accepted" in err


def test_both_hemispheres_of_the_surface():
    urls = [path for _, path in sources.nsd_files(options("x", space="fsaverage", sessions=1), ["02"])]
    assert sum("betas_session01.mgh" in u for u in urls) == 2
    assert any(u.endswith("lh.ncsnr.mgh") for u in urls)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """OpenNeuro's bucket, which lists three keys a page."""
    from layouts import stories as layout

    layout.build(tmp_path / "tree", subject="UTS01")
    base = tmp_path / "tree"
    files = {
        f"bucket/ds003020/derivative/{p.relative_to(base)}": p.read_bytes()
        for p in base.rglob("*") if p.is_file()
    }  # fmt: skip

    def listing(query):
        keys = sorted(k.removeprefix("bucket/") for k in files if k.startswith(f"bucket/{query['prefix']}"))
        begin = int(query.get("continuation-token", 0))
        page = "".join(f"<Contents><Key>{k}</Key></Contents>" for k in keys[begin : begin + 3])
        more = f"<NextContinuationToken>{begin + 3}</NextContinuationToken>" if begin + 3 < len(keys) else ""
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return f'<ListBucketResult xmlns="{space}">{page}{more}</ListBucketResult>'.encode()

    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
    with serve(files | {"bucket": listing}) as server:
        monkeypatch.setattr(sources, "OPENNEURO_URL", f"{server.url}/bucket")
        server.listing = listing
        yield server


def test_sessions_beside_nsd_are_fetched_and_load(tree, tmp_path, monkeypatch):
    """What the loaders need and no betas of NSD's own sessions, by what the bucket lists."""
    from layouts import nsd_sessions as layout

    from neuroenc.datasets import nsd_imagery

    shutil.copytree(tree, tmp_path / "tree", ignore=shutil.ignore_patterns("betas_session*", "nsd_stimuli.*"))
    (reference,) = (tmp_path / "tree").glob("nsddata_betas/ppdata/subj01/func1pt8mm/*/ncsnr.nii.gz")
    shape = nib.load(reference).shape
    layout.imagery(tmp_path / "tree", np.random.default_rng(0).normal(size=(720, *shape)), surface=False)
    files = {
        f"bucket/{p.relative_to(tmp_path / 'tree')}": p.read_bytes()
        for p in (tmp_path / "tree").rglob("*") if p.is_file()
    }  # fmt: skip

    def listing(query):
        keys = sorted(k.removeprefix("bucket/") for k in files if k.startswith(f"bucket/{query['prefix']}"))
        return f"<L>{''.join(f'<Contents><Key>{k}</Key></Contents>' for k in keys)}</L>".encode()

    consents = tmp_path / "consents.json"
    monkeypatch.setenv("NEUROENC_CONSENTS", str(consents))
    consents.write_text('{"nsd_imagery": {}}')
    wanted = Dataset(name="nsd_imagery", root=str(tmp_path / "mine"), regions=["floc-faces"])
    with serve(files | {"bucket": listing}) as server:
        monkeypatch.setattr(sources, "NSD_URL", f"{server.url}/bucket")
        fetched = sources.fetch_dataset(wanted, ["01"])
    assert not any("betas_session" in p for p in fetched)
    assert nsd_imagery.load_responses(wanted, "01").sizes["presentation"] == 96
    assert nsd_imagery.load_stimuli(wanted, ["01"]).sizes["stimulus"] == 12


def test_regions_are_listed_and_the_rest_of_laion_fmri_is_known_by_name(tmp_path, monkeypatch):
    from layouts import laion_fmri as layout

    from neuroenc.datasets import laion_fmri

    layout.build(tmp_path / "tree")
    surface = (
        tmp_path / "tree/derivatives/rois/sub-01/face/sub-01_hemi-L_space-fsnative_label-FFA-1_mask.label"
    )
    surface.write_text("0")
    files = {
        f"bucket/{p.relative_to(tmp_path / 'tree')}": p.read_bytes()
        for p in (tmp_path / "tree").rglob("*") if p.is_file()
    }  # fmt: skip

    def listing(query):
        keys = sorted(k.removeprefix("bucket/") for k in files if k.startswith(f"bucket/{query['prefix']}"))
        return f"<L>{''.join(f'<Contents><Key>{k}</Key></Contents>' for k in keys)}</L>".encode()

    wanted = Dataset(name="laion_fmri", root=str(tmp_path / "mine"), mask="rois", sessions=1)
    with serve(files | {"bucket": listing}) as server:
        monkeypatch.setattr(sources, "LAION_FMRI_URL", f"{server.url}/bucket")
        fetched = sources.fetch_dataset(wanted, ["01"])
    assert len(fetched) == 9 and not any("fsnative" in p or p.endswith(".h5") for p in fetched)
    assert laion_fmri.load_responses(wanted, "01").sizes["presentation"] == 19
    assert laion_fmri.load_stimuli(wanted, ["01"]).attrs["pixels"] == "not distributed"


def test_files_of_mosaic_are_known_by_the_name_of_the_subject(tmp_path):
    options = Dataset(name="mosaic", root=str(tmp_path))
    (found,) = sources.mosaic_files(options, ["BOLD500004"])
    assert found == (f"{sources.MOSAIC_URL}/BOLD5000/sub-04_BOLD5000.hdf5", "sub-04_BOLD5000.hdf5")
    with pytest.raises(InputError, match="'subject': '04'"):
        list(sources.mosaic_files(options, ["04"]))


def test_what_openneuro_lists_is_fetched_and_loads(bucket, tmp_path):
    from neuroenc.datasets import stories

    wanted = Dataset(name="stories", root=str(tmp_path / "mine"))
    bucket.faults["bucket/ds003020/derivative/TextGrids/beta.TextGrid"] = [("drop", 500), 503]
    assert len(sources.fetch_dataset(wanted, ["UTS01"])) == 12
    assert stories.load_responses(wanted, "UTS01").sizes["presentation"] == 8 * 60
    assert sources.fetch_dataset(wanted, ["UTS01"]) == []
    with pytest.raises(FetchError, match="has nothing under 'ds003020/derivative/preprocessed_data/UTS99/'"):
        sources.fetch_dataset(wanted, ["UTS99"])
    meg = Dataset(name="things_meg", root=str(tmp_path / "meg"), sessions=1)
    with pytest.raises(FetchError, match="nothing under 'ds004212/sub-BIGMEG1/ses-01/meg/'"):
        sources.fetch_dataset(meg, ["1"])


def zipped(root, *paths, within=""):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for path in paths:
            file.writestr(within + str(path.relative_to(root)), path.read_bytes())
    return made.getvalue()


@pytest.fixture
def treebank_server(tmp_path, monkeypatch):
    """Brain Treebank as its site has it: zips of annotations, and one of each recording."""
    from layouts import treebank as layout

    tree = tmp_path / "tree"
    layout.build(tree, sessions=2)
    (tree / "scene_annotations").mkdir()
    (tree / f"scene_annotations/{layout.FILM}.csv").write_text("start,label\n12.5,street\n")
    files = {"corrupted_elec.json": (tree / "corrupted_elec.json").read_bytes()}
    for folder in ("electrode_labels", "localization", "scene_annotations", "subject_metadata",
                   "subject_timings", "transcripts"):  # fmt: skip
        files[f"{folder}.zip"] = zipped(tree, *[p for p in (tree / folder).rglob("*") if p.is_file()])
    for path in (tree / "all_subject_data").iterdir():
        trial = path.stem.removeprefix("sub_3_")
        whole = zipped(path.parent, path, within="somewhere/")
        files[f"subject_data/sub_3/{trial}/{path.name}.zip"] = whole
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
    with serve(files) as server:
        monkeypatch.setattr(sources, "TREEBANK_URL", server.url)
        server.tree = tree
        yield server


def test_brain_treebank_is_fetched_recording_by_recording_and_loads(treebank_server, tmp_path, run):
    from neuroenc.datasets import treebank

    root = tmp_path / "mine"
    options = Dataset(name="treebank", root=str(root), reference="none", sessions=2)
    recording = "subject_data/sub_3/trial001/sub_3_trial001.h5.zip"
    treebank_server.faults[recording] = [("drop", 100_000), 503]
    status, out, err = run("data", "fetch", "--options", options.model_dump_json(), "--subject", "3")
    assert status == 0 and "9 files were transferred" in out, err
    assert next(r for p, r in treebank_server.seen if p == recording) is None
    assert [r for p, r in treebank_server.seen if p == recording][-1].startswith("bytes=1000")  # taken up
    there = treebank.load_responses(options.model_copy(update={"root": str(treebank_server.tree)}), "3")
    found = treebank.load_responses(options, "3")
    np.testing.assert_array_equal(found["response"].values, there["response"].values)
    assert (
        treebank.load_stimuli(options.model_copy(update={"events": "scenes"}), ["3"]).sizes["stimulus"] == 1
    )
    assert not [p for p in root.rglob(".*") if not p.name.startswith(".lock")]
    (root / "all_subject_data/sub_3_trial000.h5").unlink()
    before = len(treebank_server.seen)
    assert len(sources.fetch_dataset(options, ["3"])) == 1  # nothing but what is lacking
    assert [p for p, _ in treebank_server.seen[before:]] == [
        "subject_data/sub_3/trial000/sub_3_trial000.h5.zip"
    ]


def test_a_zip_of_brain_treebank_without_the_recording(treebank_server, tmp_path):
    path = "subject_data/sub_3/trial000/sub_3_trial000.h5.zip"
    treebank_server.files[path] = zipped(treebank_server.tree, treebank_server.tree / "corrupted_elec.json")
    options = Dataset(name="treebank", root=str(tmp_path / "mine"), sessions=1)
    with pytest.raises(InputError, match=r"h5\.zip holds 0 of 'sub_3_trial000\.h5', expected one"):
        sources.fetch_dataset(options, ["3"])
    assert not (tmp_path / "mine/all_subject_data/sub_3_trial000.h5").exists()
    with pytest.raises(InputError, match="'subject': '11'"):
        sources.fetch_dataset(options, ["11"])
    names = [p for _, p in sources.treebank_files(Dataset(name="treebank", root="x"), ["6"])]
    assert names[-1] == "all_subject_data/sub_6_trial004.h5" and len(names) == 10
