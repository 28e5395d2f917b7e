"""Objects from pictures and embeddings: a tiny Shap-E of the real classes, and the nearest training picture's."""

import json

import numpy as np
import pytest
import torch
import trimesh
import xarray as xr
from layouts.server import serve
from layouts.shap_e import table, tiny
from PIL import Image

from neuroenc.arrays import make_stimuli, save
from neuroenc.config import Shapes
from neuroenc.datasets.shapes import MeshFiles, read_shapes, save_shapes, true_meshes
from neuroenc.decoders.shap_e import TRIES, ShapE
from neuroenc.decoders.shapes import draw_shapes
from neuroenc.errors import InputError
from neuroenc.features import checkpoints
from neuroenc.meshes import Mesh, areas, write
from neuroenc.simulation import solids

FAST = {"n_steps": 2, "grid": 16}
rng = np.random.default_rng(0)
SEEN = rng.integers(0, 255, (3, 40, 40, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `save_pretrained` left a Shap-E."""
    path = tmp_path_factory.mktemp("shap_e")
    tiny(1).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return ShapE.load(folder)


def test_the_table_of_cubes_closes_a_ball_with_its_inside_within(decoder):
    """What is done with a field of distances is checked on one whose surface is known."""
    assert table()[1].sum() == 820  # triangles of all cases
    place = torch.stack(torch.meshgrid(*(torch.linspace(-1, 1, 40),) * 3, indexing="ij"))
    found = decoder.pipe.shap_e_renderer.mesh_decoder(
        0.6 - place.norm(dim=0), torch.full((3,), -1.0), torch.full((3,), 2.0)
    )
    ball = trimesh.Trimesh(found.verts.numpy(), found.faces.numpy())
    assert ball.is_watertight
    assert ball.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


def test_a_mesh_depends_on_its_picture_and_seed_alone(decoder):
    tokens = decoder.tokens(SEEN)
    assert tokens.shape == (3, 16, 16)
    made, seeds = decoder(tokens, seed=5, **FAST)
    assert seeds.tolist() == [5, 6, 7]
    alone, _ = decoder(tokens[1:2], seed=6, **FAST)
    np.testing.assert_array_equal(alone[0].vertices, made[1].vertices)
    np.testing.assert_array_equal(alone[0].faces, made[1].faces)
    for mesh in made:
        assert areas(mesh).sum() > 0
        assert np.abs(mesh.vertices).max() <= 1 + 4 / 16  # the cube, and the border that closes it
    other, _ = decoder(tokens[1:2], seed=7, **FAST)
    shown, _ = decoder(-3 * tokens[1:2], seed=6, **FAST)
    for changed in (other[0], shown[0]):
        assert (
            changed.vertices.shape != alone[0].vertices.shape
            or np.abs(changed.vertices - alone[0].vertices).max() > 1e-4
        )
    decoder.batch_size = 2
    together, _ = decoder(tokens, seed=5, **FAST)
    decoder.batch_size = 1
    assert len(together) == 3
    for a, b in zip(together, made, strict=True):  # but for rounding
        assert len(a.faces) == pytest.approx(len(b.faces), rel=0.02)


def test_tokens_are_those_the_pipeline_itself_would_take(decoder, folder):
    from diffusers import ShapEImg2ImgPipeline

    plain = ShapEImg2ImgPipeline.from_pretrained(folder)
    plain.set_progress_bar_config(disable=True)
    wanted = plain(
        Image.fromarray(SEEN[0]), generator=torch.Generator().manual_seed(3), num_inference_steps=2,
        guidance_scale=3.0, output_type="latent",
    ).images  # fmt: skip
    found = decoder.latents(decoder.tokens(SEEN[:1]), guidance=3.0, n_steps=2, seeds=np.array([3]))
    torch.testing.assert_close(found, wanted)


def test_a_draw_without_surface_is_drawn_again_and_then_refused(decoder, monkeypatch):
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.uint8))
    whole, calls = decoder.mesh, []

    def first_is_empty(latent, grid):
        calls.append(grid)
        return empty if len(calls) == 1 else whole(latent, grid)

    tokens = decoder.tokens(SEEN)
    monkeypatch.setattr(decoder, "mesh", first_is_empty)
    made, seeds = decoder(tokens, **FAST)
    assert seeds.tolist() == [3, 1, 2]
    monkeypatch.setattr(decoder, "mesh", whole)
    np.testing.assert_array_equal(decoder(tokens[:1], seed=3, **FAST)[0][0].vertices, made[0].vertices)
    monkeypatch.setattr(decoder, "mesh", lambda latent, grid: empty)
    with pytest.raises(InputError, match=f"no surface for picture number 0 of 3 from {TRIES} seeds"):
        decoder(tokens, **FAST)


def test_a_field_that_is_nowhere_inside_has_no_triangles(decoder):
    renderer = decoder.pipe.shap_e_renderer
    last = renderer.mlp.mlp[-1]
    kept = last.bias.detach().clone()
    with torch.no_grad():
        last.bias[0] -= 1e4
    latent = torch.zeros(32, 16)
    found = decoder.mesh(latent, 8)
    with torch.no_grad():
        last.bias.copy_(kept)
    assert len(found.faces) == 0


def test_what_is_no_shap_e_is_refused(tmp_path):
    with pytest.raises(InputError, match="File not found"):
        ShapE.load(tmp_path / "none")
    with pytest.raises(InputError, match="holds no Shap-E"):
        ShapE.load(tmp_path)
    old = tiny()
    old.shap_e_renderer.mesh_decoder.masks.zero_()
    old.save_pretrained(tmp_path / "old")
    with pytest.raises(InputError, match="no table of marching cubes"):
        ShapE.load(tmp_path / "old")


def test_shap_e_is_fetched_as_it_is_published(tmp_path, monkeypatch, run):
    """Half precision as safetensors but for the renderer, which is pickled; an older one is named beside it."""
    source = tmp_path / "published"
    made = tiny()
    made.save_pretrained(source, variant="fp16")
    renderer = source / "shap_e_renderer"
    torch.save(made.shap_e_renderer.state_dict(), renderer / "diffusion_pytorch_model.bin")
    (renderer / "diffusion_pytorch_model.fp16.safetensors").unlink()
    index = json.loads((source / "model_index.json").read_text())
    (source / "model_index.json").write_text(json.dumps(index | {"renderer": ["shap_e", "ShapERenderer"]}))
    files = {str(p.relative_to(source)): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    files |= {"renderer/diffusion_pytorch_model.bin": b"old", "prior/diffusion_pytorch_model.bin": b"large"}
    with serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "weights"))
        monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")
        ((_, repository, _),) = checkpoints.PIPELINES["shap_e"]
        about = {
            "sha": "0abcdef", "cardData": {"license": "mit"},
            "siblings": [{"rfilename": n, "size": len(d)} for n, d in files.items()],
        }  # fmt: skip
        server.files[f"api/models/{repository}/revision/v1"] = json.dumps(about).encode()
        server.files |= {f"{repository}/resolve/0abcdef/{n}": d for n, d in files.items()}
        status, _, err = run("weights", "fetch", "shap_e", "--revision", "v1")
        assert status == 0, err
    kept = tmp_path / "weights" / "pipeline-shap_e" / "pipeline"
    assert (kept / "shap_e_renderer" / "diffusion_pytorch_model.safetensors").is_file()
    assert not list(kept.rglob("*.bin"))
    assert not (kept / "renderer").exists()
    assert run("weights", "verify", "shap_e")[0] == 0
    found = ShapE.load(kept)
    mesh = found(found.tokens(SEEN[:1]), **FAST)[0][0]
    wanted = ShapE.load(kept)(found.tokens(SEEN[:1]), **FAST)[0][0]
    np.testing.assert_array_equal(mesh.vertices, wanted.vertices)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Three pictures as stimuli and as reconstructions."""
    root = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(SEEN):
        Image.fromarray(picture).save(root / f"{i}.png")
    ids = np.array(["a/1", "b", "c"])
    stimuli = make_stimuli(
        {"stimulus_id": ids, "pixel_index": np.arange(3), "split": np.full(3, "test"), "group": ids,
         "file": np.array(["0.png", "1.png", "2.png"])},
        attrs={"dataset": "toy", "pixels": str(root)},
    )  # fmt: skip
    pictures = xr.Dataset(
        {"picture": (("condition", "presentation", "row", "column", "channel"), np.stack([SEEN, 255 - SEEN]))},
        {"condition": ["brain", "shuffled"], "stimulus_id": ("presentation", ids), "fold": ("presentation", [0, 0, 1])},
    )  # fmt: skip
    return stimuli, pictures


def test_pictures_of_all_conditions_are_made_into_objects(decoder, shown):
    stimuli, pictures = shown
    options = Shapes(generator="shap_e", conditions=["brain", "shuffled", "seen"], seed=1, **FAST)
    found = draw_shapes(stimuli, pictures, decoder, options)
    assert list(found.meshes) == ["brain", "shuffled", "seen"]
    assert found.fold.tolist() == [0, 0, 1]
    for one, same in zip(found.meshes["brain"], found.meshes["seen"], strict=True):  # the same pictures here
        np.testing.assert_array_equal(one.vertices, same.vertices)
    assert found.source["brain"][2] == "shap_e, seed 3, from the picture 'brain'"
    with pytest.raises(InputError, match="3 of 3 objects are of no stimulus, first 'a/1'"):
        draw_shapes(stimuli.assign_coords(stimulus_id=("stimulus", list("xyz"))), pictures, decoder, options)
    some = draw_shapes(stimuli, pictures, decoder, options.model_copy(update={"n_test": 2}))
    assert len(some.stimulus_id) == 2
    with pytest.raises(InputError, match=r"no condition 'prior'. Allowed: 'brain', 'shuffled', 'seen'"):
        draw_shapes(stimuli, pictures, decoder, options.model_copy(update={"conditions": ["prior"]}))


def test_pictures_of_ones_own_are_made_into_files_and_scored(folder, shown, tmp_path, run):
    stimuli, _ = shown
    save(stimuli, tmp_path / "stimuli.nc")
    options = json.dumps(
        {
            "generator": "shap_e",
            "weights": str(folder),
            "device": "cpu",
            "format": "ply",
            "n_steps": 2,
            "grid": 8,
        }
    )
    status, out, err = run(
        "decode",
        "shapes",
        "--stimuli",
        tmp_path / "stimuli.nc",
        "--options",
        options,
        "--out",
        tmp_path / "made",
    )
    assert status == 0, err
    assert "3 objects: seen" in out
    found = read_shapes(tmp_path / "made")
    assert found.stimulus_id.tolist() == ["a/1", "b", "c"]
    assert [p.name for p in found.meshes["seen"].paths] == ["00000-a_1.ply", "00001-b.ply", "00002-c.ply"]
    assert Image.open(tmp_path / "made" / "seen" / "00001-b.png").size == (8 * 128, 128)
    assert found.about["n_steps"] == 2
    assert "Generated" in found.about["notice"]
    status, out, err = run(
        "evaluate", "shapes", "--shapes", tmp_path / "made", "--stimuli", tmp_path / "stimuli.nc",
        "--judge", 'nano={"network": "nano", "layers": ["visual"]}', "--out", tmp_path / "scores.json",
    )  # fmt: skip
    assert status == 0, err
    rows = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert [(r["metric"], r["condition"], r["n"]) for r in rows] == [("picture", "seen", 3)]
    status, _, err = run(
        "results", "shapes", "--shapes", tmp_path / "made", "--stimuli", tmp_path / "stimuli.nc",
        "--scores", tmp_path / "scores.json", "--out", tmp_path / "a.png", "--turning", tmp_path / "a.gif",
    )  # fmt: skip
    assert status == 0, err
    turning = Image.open(tmp_path / "a.gif")
    assert turning.n_frames > 2  # Pillow joins frames that are alike
    assert run("evaluate", "shapes", "--shapes", tmp_path / "made", "--stimuli", tmp_path / "stimuli.nc",
               "--out", tmp_path / "x.json")[2].startswith("neuroenc: Nothing to score by")  # fmt: skip


def test_tables_of_meshes_that_mislead_are_refused(tmp_path):
    write(solids.make("mug", 0), tmp_path / "mug.glb")
    (tmp_path / "a.csv").write_text("stimulus_id,mesh\nx,mug.glb\nx,mug.glb\n")
    with pytest.raises(InputError, match="names 'x' twice"):
        true_meshes(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("stimulus_id,mesh\nx,../mug.glb\n")
    with pytest.raises(InputError, match="leads outside its folder"):
        true_meshes(tmp_path / "a.csv")
    made = MeshFiles([tmp_path / "mug.glb"] * 2)
    ids, fold = np.array(["x", "y"]), np.zeros(2, int)
    save_shapes(tmp_path / "out", ids, fold, {"brain": made}, {"brain": ["m", "m"]}, {"generator": "g"})
    (tmp_path / "out" / "shapes.csv").write_text(
        (tmp_path / "out" / "shapes.csv").read_text() + "z,0,true,brain/00000-x.glb,m\n"
    )
    with pytest.raises(InputError, match="'true' has other stimuli than the first"):
        read_shapes(tmp_path / "out")
