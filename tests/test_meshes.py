"""Meshes as files, and their turning views, against what is known of balls, boxes and rays."""

import numpy as np
import pytest
import trimesh

from neuroenc import meshes, views
from neuroenc.errors import InputError
from neuroenc.meshes import Mesh
from neuroenc.simulation import solids


def of_trimesh(made, colour=(200, 40, 40)) -> Mesh:
    colours = np.tile(np.array(colour, np.uint8), (len(made.vertices), 1))
    return Mesh(np.asarray(made.vertices), np.asarray(made.faces, np.int64), colours)


@pytest.mark.parametrize("kind", ["glb", "ply"])
def test_a_mesh_comes_back_from_its_file(tmp_path, kind):
    made = solids.make("mug", 3)
    meshes.write(made, tmp_path / f"a.{kind}")
    found = meshes.read(tmp_path / f"a.{kind}")
    np.testing.assert_allclose(found.vertices, made.vertices, atol=1e-6)
    np.testing.assert_array_equal(found.faces, made.faces)
    assert np.abs(found.colours.astype(int) - made.colours).max() <= (6 if kind == "glb" else 0)
    assert not list(tmp_path.glob(".partial*"))


def test_a_glb_stands_upright_in_linear_light_for_other_readers(tmp_path):
    made = solids.make("tower", 0)
    meshes.write(made, tmp_path / "a.glb")
    found = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    assert np.ptp(found.vertices, axis=0).argmax() == 1  # y is up in glTF
    brown = np.array([130, 85, 50], np.uint8)
    np.testing.assert_array_equal(meshes.linear(brown), [57, 23, 8])  # by the formula of IEC 61966-2-1
    np.testing.assert_array_equal(
        meshes.gamma(meshes.linear(np.array([255, 0, 188], np.uint8))), [255, 0, 188]
    )


def test_several_parts_of_a_glb_are_one_mesh_where_they_stand(tmp_path):
    scene = trimesh.Scene(
        [trimesh.creation.box((1, 1, 1)), trimesh.creation.icosphere(1).apply_translation((0, 5, 0))]
    )
    scene.export(tmp_path / "a.glb")
    found = meshes.read(tmp_path / "a.glb")
    assert found.vertices[:, 2].max() == pytest.approx(6)  # y of the file
    assert meshes.areas(found).sum() == pytest.approx(scene.area, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.obj", b"v 0 0 0", "ends in '.obj', expected '.glb' or '.ply'"),
        ("a.glb", b"", "no mesh that can be read"),
        ("a.glb", b"glTF and more that is none", "no mesh that can be read"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n", "mesh"),
    ],
)  # fmt: skip
def test_what_is_no_mesh_is_refused_in_a_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        meshes.read(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m._replace(faces=m.faces[:0]), "and no triangles"),
        (lambda m: m._replace(faces=m.faces + 1), "a triangle of another"),
        (lambda m: m._replace(vertices=m.vertices * np.nan), "not finite"),
        (lambda m: m._replace(vertices=m.vertices * (1, 0, 0)), "without area"),
    ],
)
def test_what_is_no_surface_is_not_written(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        meshes.write(change(solids.box((0, 0, 0), (1, 1, 1), (9, 9, 9))), tmp_path / "a.ply")
    assert not list(tmp_path.iterdir())


def test_a_ball_covers_a_disc_of_the_same_size_from_everywhere():
    made = of_trimesh(trimesh.creation.icosphere(4).apply_scale(7).apply_translation((3, 2, 1)))
    seen = views.turning_views(made, 3, side=100)
    covered = (seen < 250).any(3).mean((1, 2))
    np.testing.assert_allclose(covered, np.pi * (views.FILLED / 2) ** 2, rtol=0.03)


def test_the_camera_goes_anticlockwise_and_what_is_in_front_hides_what_is_behind():
    red = solids.box((-0.2, -0.6, 0), (0.2, -0.2, 1), (250, 20, 20))
    blue = solids.box((-0.2, 0.2, 0), (0.2, 0.6, 1), (20, 20, 250))
    left = solids.box((-1.4, -0.2, 0), (-1.0, 0.2, 1), (20, 250, 20))
    mesh = meshes.joined(blue, red, left)
    front, right, back, _ = views.turning_views(mesh, 4, side=64).astype(int)

    def where(picture, channel):
        others = [c for c in range(3) if c != channel]
        return np.argwhere((picture[..., channel] > 80) & (picture[..., others] < 60).all(-1))

    assert len(where(front, 0)) > 0
    assert (
        where(front, 0)[:, 0].max() > where(front, 2)[:, 0].max()
    )  # the near one stands lower in the picture
    assert len(where(front, 0)) > len(where(front, 2)) > 0  # and hides a part of the far one
    assert len(where(back, 2)) > len(where(back, 0))
    assert where(front, 1)[:, 1].mean() < 32  # -x is on the left
    assert where(right, 0)[:, 1].mean() < 32  # seen from +x, -y is on the left
    turned = views.turning_views(meshes.turned(mesh, -np.pi / 2), 1, side=64)[0]
    assert np.abs(turned.astype(int) - right).max() <= 1


def test_views_are_those_of_rays_through_the_pixels():
    """Every pixel has the colour of the nearest triangle its ray meets, found one by one."""
    rng = np.random.default_rng(0)
    vertices, faces = rng.normal(size=(18, 3)), np.arange(18).reshape(6, 3)
    colours = rng.integers(0, 200, (6, 3)).repeat(3, 0).astype(np.uint8)
    side = 24
    drawn = views._draw(vertices / np.abs(vertices).max() / 1.8, Mesh(vertices, faces, colours), side)
    corner = vertices[faces] / np.abs(vertices).max() / 1.8
    corner = corner * (views.FILLED * side / 2, views.FILLED * side / 2, 1) + (side / 2, side / 2, 0)
    for row in range(side):
        for column in range(side):
            best, colour = -np.inf, np.full(3, 255.0)
            for k, (a, b, c) in enumerate(corner):
                basis = np.array([[*a[:2], 1], [*b[:2], 1], [*c[:2], 1]]).T
                weights = np.linalg.solve(basis, [column + 0.5, row + 0.5, 1])
                depth = weights @ [a[2], b[2], c[2]]
                if (weights >= 0).all() and depth > best:
                    normal = np.cross(*((vertices[faces[k, j]] - vertices[faces[k, 0]]) for j in (1, 2)))
                    cosine = abs(normal @ views.LIGHT) / np.linalg.norm(normal) / np.linalg.norm(views.LIGHT)
                    best, colour = depth, colours[3 * k] * (views.AMBIENT + (1 - views.AMBIENT) * cosine)
            np.testing.assert_allclose(drawn[row, column], colour, atol=1e-6)
