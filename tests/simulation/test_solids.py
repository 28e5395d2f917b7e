"""Objects of known surface."""

import numpy as np
import pytest

from neuroenc import meshes
from neuroenc.simulation import solids


@pytest.mark.parametrize("kind", list(solids.SOLIDS))
def test_an_object_is_a_surface_of_its_own_and_stands_on_the_ground(kind):
    one, same, other = (solids.make(kind, seed) for seed in (0, 0, 1))
    meshes.check(one, kind)
    np.testing.assert_array_equal(one.vertices, same.vertices)
    assert one.vertices[:, 2].min() == pytest.approx(0)
    assert one.vertices.shape != other.vertices.shape or np.abs(one.vertices - other.vertices).max() > 0.01


def test_parts_have_the_area_they_should():
    assert meshes.areas(solids.box((0, 0, 0), (1, 2, 3), (0, 0, 0))).sum() == pytest.approx(22)
    n = solids.ROUND
    polygon = n / 2 * np.sin(2 * np.pi / n)  # area of the regular polygon in the unit circle
    band = 2 * n * np.sin(np.pi / n)  # and its outline
    assert meshes.areas(solids.disc(1, 0, 2, (0, 0, 0))).sum() == pytest.approx(2 * polygon + 2 * band)
    assert meshes.areas(solids.ball(1, (5, 0, 0), (0, 0, 0))).sum() == pytest.approx(4 * np.pi, rel=0.03)
