import numpy as np
import pytest

from neuroenc.simulation import grammar


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(0)
    return [grammar.sample_scene(rng) for _ in range(300)]


def test_scenes_have_one_to_three_objects_inside_the_picture(scenes):
    assert {len(s.things) for s in scenes} == {1, 2, 3}
    assert {t.category for s in scenes for t in s.things} == set(grammar.CATEGORIES)
    assert len(grammar.CATEGORIES) >= 8
    for s in scenes:
        for t in s.things:
            assert 0 <= t.box[0] < t.box[2] <= 1 and 0 <= t.box[1] < t.box[3] <= 1


def test_drawing_changes_only_inside_the_box(scenes):
    for scene in scenes[:20]:
        thing = scene.things[0]
        size = 96
        with_it = grammar.draw(grammar.Scene(scene.setting, (thing,), scene.texture), size)
        without = grammar.draw(grammar.Scene(scene.setting, (), scene.texture), size)
        changed = np.argwhere((with_it.astype(int) - without).any(-1)) / size
        margin = 3 / size + 0.1 * thing.size  # anti-aliasing, stroke widths
        assert len(changed) > 0.1 * (thing.size * size) ** 2
        y0, x0, y1, x1 = *changed.min(0), *changed.max(0)
        assert x0 >= thing.box[0] - margin and x1 <= thing.box[2] + margin
        assert y0 >= thing.box[1] - margin and y1 <= thing.box[3] + margin


def test_five_captions_differ_and_say_what_is_there(scenes):
    rng = np.random.default_rng(1)
    words = set(grammar.vocabulary())
    for scene in scenes[:50]:
        captions, meaning = grammar.sample_captions(scene, rng)
        assert len(set(captions)) == 5
        for c in captions:
            assert {w.strip(".,:") for w in c.lower().split()} <= words
        for t in scene.things:
            assert meaning[grammar.CONCEPTS.index(t.kind)] == pytest.approx(1)
        assert meaning.min() >= 0 and meaning.max() <= 1 + 1e-6


def test_drawing_is_deterministic(scenes):
    np.testing.assert_array_equal(grammar.draw(scenes[0]), grammar.draw(scenes[0]))
    assert grammar.draw(scenes[0]).shape == (128, 128, 3)
