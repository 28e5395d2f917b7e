"""The page in a browser: what is asked is answered with the numbers of the files, and nothing is fetched."""

import numpy as np
import pytest
from matplotlib import colormaps

from neuroenc.arrays import load, save
from neuroenc.explorer import write_explorer
from tests.explorer.browser import CHROMIUM
from tests.explorer.conftest import HOSTILE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")


def shown(browser):
    """The table of scores in the panel, fit -> key -> number."""
    return browser.run("""Object.fromEntries([...document.querySelectorAll('#scores tbody tr')].map((row) => [row.dataset.fit,
        Object.fromEntries([...row.querySelectorAll('[data-key]')].map((c) => [c.dataset.key, [c.dataset.value, c.textContent]]))]))""")


def check(found, scores, neuroid, bin_=None):
    at = {"neuroid": neuroid} | ({} if bin_ is None else {"time_bin": bin_})
    for name, s in scores.items():
        one = s.isel(at)
        for key in ("pearson_r", "r2", "normalised_r"):
            value = one["score"].sel(metric=key).item()
            np.testing.assert_equal(float(found[name][key][0]), value)
        for key in ("r_low", "r_high", "p", "q"):
            np.testing.assert_equal(float(found[name][key][0]), one[key].item())
        r, text = one["score"].sel(metric="pearson_r").item(), found[name]["pearson_r"][1].replace("−", "-")
        assert text == "–" if np.isnan(r) else float(text) == pytest.approx(r, abs=6e-4)


@pytest.mark.parametrize("neuroid", [0, 3, 123, 399])
def test_an_asked_voxel_has_the_numbers_of_the_files(page, results, neuroid):
    browser, (_, scores, comparison) = page(f"#subject=01&voxel={neuroid}"), results[1]["01"]
    check(shown(browser), scores, neuroid)
    assert (
        browser.run("document.querySelector('#asked h2').textContent")
        == scores["one"]["neuroid_id"].values[neuroid]
    )
    ceiling = float(browser.run("document.querySelector('#asked-ceiling').dataset.value"))
    assert ceiling == scores["one"]["ceiling"].values[neuroid]
    layers = browser.run(
        """[...document.querySelectorAll('[data-layers="two"] tr')].map((r) => [r.dataset.layer, Number(r.querySelector('[data-value]').dataset.value)])"""
    )
    two = scores["two"]
    assert layers == [
        [n, v]
        for n, v in zip(
            two["layer_name"].values, two["validation_r2"].values[:, neuroid].tolist(), strict=True
        )
    ]
    low = browser.run(
        """document.querySelector('[data-comparison="better"] [data-rival="one"] [data-key="low"]').dataset.value"""
    )
    assert float(low) == comparison["low"].values[0, neuroid]
    most = browser.run(
        "[...document.querySelectorAll('#preferred tr')].map((r) => [r.dataset.stimulus, Number(r.querySelector('[data-value]').dataset.value)])"
    )
    mean = results[1]["01"][0]["response"][:, neuroid].to_series().groupby(
        results[1]["01"][0]["stimulus_id"].values
    ).mean()  # fmt: skip
    assert len(most) == 4 and [v for _, v in most] == pytest.approx([mean[s] for s, _ in most], rel=1e-5)
    if neuroid < 9:
        assert "<b>bold" in browser.run("document.querySelector('#asked dl').textContent")


def test_texts_stay_texts(page):
    browser = page("#subject=01&voxel=1&map=layer:two")
    assert browser.run("document.title").startswith(HOSTILE[0])
    assert browser.run("""document.querySelector('[data-column="caption"]').textContent""") == HOSTILE[1]
    assert browser.run("document.querySelector('#legend').textContent") == f"a{HOSTILE[0]}"
    assert browser.run("document.querySelectorAll('#asked img, #legend img, #table img, b').length") == 0
    browser.run(
        "document.querySelector('#filter').value = 'onerror'; document.querySelector('#filter').oninput()"
    )
    assert browser.run("document.querySelector('#table tbody button').textContent") == f"{HOSTILE[1]} 1"


def vertex(browser, neuroid):
    """A pixel of the page where a neuroid is seen, None where it is hidden."""
    return browser.run(f"""(() => {{ const box = document.querySelector('#canvas').getBoundingClientRect();
        for (let i = 0; i < body.under.length; i++) if (body.under[i] === {neuroid}) {{
            const [a, b, facing] = scene.project(i), x = Math.round(a + box.left), y = Math.round(b + box.top);
            const inside = x > box.left && y > box.top && x < box.right && y < Math.min(box.bottom, innerHeight);
            if (facing > 0.3 && inside && body.under[scene.pick(x - box.left, y - box.top)] === {neuroid}) return [x, y];
        }} return null; }})()""")


@pytest.mark.parametrize(
    "view", ["shape=flat", "shape=inflated&view=0+0+1+0+0", "shape=pial&view=170+-60+1+0+0"]
)
def test_a_click_asks_the_voxel_under_it(page, results, view):
    browser, scores = page(f"#subject=01&{view}&regions="), results[1]["01"][1]
    places = {n: place for n in range(7, 400, 7) if (place := vertex(browser, n))}
    assert len(places) > 5
    for neuroid, place in list(places.items())[::5]:
        browser.click(*place)
        check(shown(browser), scores, neuroid)
    browser.wait(f"location.hash.includes('voxel={neuroid}')")


def test_colours_are_those_of_the_values(page, results):
    """On the flat surface, which has no light, a vertex has the colour of its neuroid's value."""
    browser, (_, scores, _) = (
        page("#subject=01&map=pearson_r:two&shape=flat&regions=&high=0.5"),
        results[1]["01"],
    )
    found = browser.run("""(() => { const out = [], gl = scene.gl, pixel = new Uint8Array(4), ratio = scene.canvas.height / scene.canvas.clientHeight;
        for (let i = 0; i < body.under.length; i++) if (body.under[i] >= 0) {
            const [x, y] = scene.project(i);
            gl.readPixels(Math.floor(x * ratio), scene.canvas.height - 1 - Math.floor(y * ratio), 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
            out.push([body.under[i], ...pixel.slice(0, 3)]);
        } return out; })()""")
    found = np.array(found)
    assert len(found) > 100
    r = scores["two"]["score"].sel(metric="pearson_r").values[found[:, 0]]
    expected = colormaps["cividis"](r / 0.5)[:, :3] * 255
    away = np.abs(expected - found[:, 1:]).max(1)
    assert np.median(away) < 12  # pixels lie beside vertices
    shuffled = np.random.default_rng(0).permutation(expected)
    assert np.median(np.abs(shuffled - found[:, 1:]).max(1)) > 40


def picture(browser):
    browser.frame()
    return browser.run("document.querySelector('#canvas').toDataURL()")


def test_the_address_keeps_the_view(page):
    browser = page("#subject=01")
    first = picture(browser)
    browser.run(
        "chooseMap('q:two'); document.querySelector('#threshold').value = 1; document.querySelector('#threshold').oninput()"
    )
    browser.run("document.querySelector('#canvas').focus()")
    for name in ("ArrowLeft", "ArrowUp"):
        browser.key(name)
    browser.key("+", "+")
    browser.key("n", "n")
    changed = picture(browser)
    browser.wait(
        "location.hash.includes('zoom') || location.hash.includes('threshold=1') && location.hash.includes('voxel=0')"
    )
    kept = browser.run("location.hash")
    assert changed != first
    assert picture(page(kept)) == changed
    assert picture(page("#subject=01")) == first


@pytest.mark.parametrize(
    "hash_",
    [
        "#map=nothing&voxel=-3&view=a+b",
        "#voxel=99999999999&threshold=x&high=-1&subject=..%2F..",
        "#shape=%3Cb%3E&side=Q&bin=7&region=%00",
        "#%E0%A4%A",
    ],
)
def test_an_address_that_is_wrong_shows_the_first_map(page, hash_):
    browser = page(hash_)
    assert browser.run("data.subject") == "01"
    assert browser.run("chosenMap().id.startsWith('pearson_r:')")


def test_time_bins_of_electrodes(page, results):
    _, scores, _ = results[1]["02"]
    browser = page("#subject=02&map=pearson_r:two&bin=1&voxel=2")
    check(shown(browser), scores, 2, 1)
    browser.run("document.querySelector('#canvas').focus()")
    browser.key(".", ".")
    check(shown(browser), scores, 2, 2)
    assert browser.run("document.querySelectorAll('#asked svg polyline').length") == 2
    browser.run("document.querySelector('#best-bin').click()")
    best = scores["two"]["score"].sel(metric="pearson_r").values.argmax(1)
    check(shown(browser), scores, 2, best[2])
    values = browser.run("[...values(chosenMap())]")
    np.testing.assert_array_equal(values, scores["two"]["score"].sel(metric="pearson_r").values.max(1))
    place = browser.run(
        """(() => { const box = document.querySelector('#canvas').getBoundingClientRect(), [x, y] = scene.project(body.under.indexOf(4)); return [x + box.left, y + box.top]; })()"""
    )
    browser.click(*place)
    check(shown(browser), scores, 4, best[4])
    assert "5 have a place" in browser.run("document.querySelector('#counts').textContent")


def test_without_places_the_table_has_all(page, results):
    _, scores, _ = results[1]["03"]
    browser = page("#subject=03&map=pearson_r:two&bin=0")
    assert browser.run("document.querySelector('#nothing').textContent").startswith(
        "These neuroids have no place"
    )
    r = scores["two"]["score"].sel(metric="pearson_r").values[:, 0]

    def order():
        return browser.run(
            "[...document.querySelectorAll('#table tbody tr')].map((row) => Number(row.dataset.neuroid))"
        )

    assert order() == np.argsort(-r, kind="stable").tolist()
    browser.run("document.querySelectorAll('#table thead button')[3].click()")
    assert order() == np.argsort(r, kind="stable").tolist()
    browser.run("document.querySelector('#table tbody tr').click()")
    check(shown(browser), scores, int(np.argmin(r)), 0)


def test_significance_and_threshold_hide(page, results):
    two = results[1]["01"][1]["two"]
    browser = page("#subject=01&map=pearson_r:two&significant=1")
    hidden = np.array(browser.run("[...values(chosenMap())].map((v) => Number.isFinite(v))"))
    np.testing.assert_array_equal(hidden, two["q"].values < 0.05)
    r = two["score"].sel(metric="pearson_r").values
    browser = page("#subject=01&map=pearson_r:two&threshold=0.2")
    said = browser.run("document.querySelector('#counts').textContent")
    assert f"{(np.abs(r) >= 0.2).sum()} are shown" in said


def test_one_neuroid_and_scores_that_are_not_known_are_shown(browser, results, tmp_path):
    s = load(results[0] / "sub-01/sub-01_enc-ridge_feat-two_desc-scores.nc", "scores")
    save(s.isel(neuroid=[5]), tmp_path / "run/sub-1/sub-1_enc-ridge_feat-two_desc-scores.nc")
    for name in ("score", "ceiling", "p", "q", "r_low", "r_high", "validation_r2", "x", "y", "z"):
        s[name] = s[name] * np.nan
    save(s, tmp_path / "run/sub-2/sub-2_enc-ridge_feat-two_desc-scores.nc")
    write_explorer(tmp_path / "run", tmp_path / "out")
    for subject, neuroid in (("1", 0), ("2", 3)):
        browser.go(f"{(tmp_path / 'out/index.html').as_uri()}#subject={subject}&voxel={neuroid}")
        one = load(tmp_path / f"run/sub-{subject}/sub-{subject}_enc-ridge_feat-two_desc-scores.nc", "scores")
        check(shown(browser), {"two": one}, neuroid)
    assert browser.complaints() == []
