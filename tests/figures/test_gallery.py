"""The page of all reconstructions: whole, in order, and deaf to what names and captions say."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from neuroenc.arrays import make_stimuli
from neuroenc.errors import InputError
from neuroenc.figures.gallery import measures, write_gallery
from tests.explorer.browser import CHROMIUM

HOSTILE = [
    "</script><script>document.title='hacked'</script>",
    '"><img src=x onerror="document.title=\'hacked\'">',
    "' onmouseover='document.title=1' x='\n</article></main><h1>second line",
    "<!-- <b>&amp; ${1+1} `x` \\u003cscript>",
]
IDS = [f"{i}{text}" for i, text in enumerate(HOSTILE)]
CONDITIONS = ["brain", "shuffled", "retrieved", "true", "mean"]


class Page(HTMLParser):
    """Tags, attributes, and the text of each card."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.text, self.inside = [], [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def handle_endtag(self, tag):
        self.inside = ""


@pytest.fixture
def made(tmp_path):
    """Pictures, stimuli in a folder, captions and scores, with hostile names throughout."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "shown"
    folder.mkdir()
    names = (
        [f"{i}\"><script>a'b.png" for i in range(4)] if shutil.which("sh") else [f"{i}.png" for i in range(4)]
    )
    names = [f"{i}\"><script>a'b.png" for i in range(4)]
    for i, name in enumerate(names):
        Image.fromarray(np.full((20, 30, 3), 50 * i, np.uint8)).save(folder / name)
    stimuli = make_stimuli(
        {"stimulus_id": np.array(IDS), "pixel_index": np.arange(4), "file": np.array(names),
         "split": np.full(4, "test"), "group": np.array(IDS)},
        attrs={"dataset": HOSTILE[0], "pixels": str(folder)}, captions=np.array(HOSTILE)[::-1, None],
    )  # fmt: skip
    coords = {
        "condition": CONDITIONS,
        "stimulus_id": ("presentation", np.array(IDS)),
        "fold": ("presentation", [0] * 4),
    }
    about = {"dataset": HOSTILE[0], "model": "open_clip/nano", "decoder": "ridge", "generator": HOSTILE[1],
             "neuroenc_version": "0", "notice": HOSTILE[2]}  # fmt: skip
    values = rng.integers(0, 255, (5, 4, 8, 8, 3), dtype=np.uint8)
    pictures = xr.Dataset(
        {"picture": (("condition", "presentation", "row", "column", "channel"), values)}, coords, about
    )
    order = [2, 0, 3]  # captions are of three of the pictures, in another order
    captions = xr.Dataset(
        {"caption": (("condition", "presentation"), np.array([[f"said {i} {HOSTILE[i]}" for i in order]]))},
        {"condition": ["brain"], "stimulus_id": ("presentation", np.array(IDS)[order]), "fold": ("presentation", [0] * 3)},
    )  # fmt: skip
    row = {"low": 0.1, "high": 0.9, "chance": None, "n": 4}
    scores = [
        row | {"metric": m, "condition": c, "value": v, "each": e, **more}
        for m, more, of in (
            ("pixcorr", {}, [0.4, 0.3, 0.2, 0.1]),
            (
                "two_way_images",
                {"network": HOSTILE[1], "layer": HOSTILE[0], "chance": 0.5},
                [0.1, 0.9, 0.5, 0.7],
            ),
            ("correlation_distance", {"network": "n", "layer": "l"}, [0.4, 0.1, 0.3, 0.2]),
        )
        for c, v, e in (("brain", float(np.mean(of)), of), ("shuffled", 0.125, of), ("true", 0.875, of))
    ]
    said = [row | {"metric": "cider", "condition": "brain", "value": 1.5, "each": [3.0, 1.0, 2.0]}]
    said += [row | {"metric": "bleu1", "condition": "brain", "value": 0.5, "each": None}]
    return pictures, stimuli, scores, captions, said


def cards(text):
    return re.findall(r'<article data-values="([^"]*)"><header><span class="id">(\d)', text)


def test_the_page_holds_every_picture_its_scores_and_their_bounds(made, tmp_path):
    pictures, stimuli, scores, captions, said = made
    out = tmp_path / "page.html"
    write_gallery(pictures, stimuli, scores, out, captions=captions, caption_scores=said, title="A & B")
    text = out.read_text()
    # sorted by two-way at first; scores in the order of the table; a picture without a caption has no score of it
    assert cards(text) == [
        ("0.3,0.9,0.1,", "1"),
        ("0.1,0.7,0.2,2", "3"),
        ("0.2,0.5,0.3,3", "2"),
        ("0.4,0.1,0.4,1", "0"),
    ]
    assert (
        text.count("<b>generated</b></span>") == 3 * 4
    )  # brain, shuffled and true; neither seen nor retrieved
    sources = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(sources) == 5 * 4  # the mean embedding is not shown
    shown = Image.open(io.BytesIO(base64.b64decode(sources[0])))
    assert shown.size == (30, 20) and np.array(shown).max() == 50  # of the first card, picture 1
    drawn = np.array(Image.open(io.BytesIO(base64.b64decode(sources[2]))))
    assert np.array_equal(drawn, pictures["picture"].values[0, 1])  # losslessly
    table = text[text.index("<table>") : text.index("</table>")]
    assert re.findall(r"<th>([^<]*)</th>", table)[:5] == [
        "",
        "chance",
        "shuffled brain",
        "brain",
        "true embedding",
    ]
    assert re.findall(r'class="shuffled">([\d.]+)', table)[0] == "0.125" and "0.500" in table
    assert "less is better" in table and "BLEU" not in table.upper().replace("BLEU1", "")


def test_nothing_in_names_or_captions_becomes_part_of_the_page(made, tmp_path):
    pictures, stimuli, scores, captions, said = made
    out = tmp_path / "page.html"
    write_gallery(pictures, stimuli, scores, out, captions=captions, caption_scores=said, title=HOSTILE[0])
    text = out.read_text()
    page = Page(text)
    assert set(page.tags) == {
        "html", "head", "meta", "title", "style", "body", "h1", "p", "b", "details", "summary", "table", "thead", "tbody",
        "tr", "th", "td", "small", "form", "label", "select", "option", "main", "article", "header", "span", "output",
        "div", "figure", "img", "figcaption", "i", "script",
    }  # fmt: skip
    script = files("neuroenc.figures").joinpath("gallery.js").read_text()
    assert page.tags.count("script") == 1 and "".join(page.scripts) == script
    assert page.tags.count("article") == 4 and page.tags.count("main") == page.tags.count("h1") == 1
    assert not [a for a, _ in page.attributes if a.startswith("on")]
    assert all(v.startswith("data:image/") for a, v in page.attributes if a == "src")
    assert not [a for a, _ in page.attributes if a in ("href", "action", "srcset")]  # asks nothing of anyone
    for hostile in (*IDS, *HOSTILE, *(f"said {i} {HOSTILE[i]}" for i in (2, 0, 3))):
        assert hostile in page.text  # as it was written


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_runs_our_script_and_no_other(made, tmp_path):
    pictures, stimuli, scores, captions, said = made
    out = tmp_path / "page.html"
    write_gallery(pictures, stimuli, scores, out, captions=captions, caption_scores=said, title="mine")
    # as if something got through: the policy of the page still forbids it
    injected = out.read_text().replace(
        "</main>",
        "</main><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">",
    )
    (tmp_path / "injected.html").write_text(injected)
    for name in ("page.html", "injected.html"):
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chrome'}",
             "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path / name}"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert "<title>mine</title>" in done.stdout
        assert done.stdout.count('<tr class="chosen">') == 1  # our script ran: the row it sorts by
        assert (
            done.stdout.count("<article") == 4
            and "hacked" not in re.findall("<title>.*?</title>", done.stdout)[0]
        )
    assert [i for _, i in cards(done.stdout)] == ["1", "3", "2", "0"]


def test_scores_of_other_pictures_are_refused(made, tmp_path):
    pictures, stimuli, scores, *_ = made
    with pytest.raises(InputError, match="scores are of 4 pictures, expected 3"):
        write_gallery(pictures.isel(presentation=[0, 1, 2]), stimuli, scores, tmp_path / "p.html")
    with pytest.raises(InputError, match="of no single picture"):
        write_gallery(pictures, stimuli, [s | {"each": None} for s in scores], tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_the_order_of_pictures_makes_no_difference(made, tmp_path):
    pictures, stimuli, scores, captions, said = made
    write_gallery(pictures, stimuli, scores, tmp_path / "a.html", captions=captions, caption_scores=said)
    turned = [s | {"each": s["each"][::-1]} for s in scores]
    write_gallery(pictures.isel(presentation=slice(None, None, -1)), stimuli, turned, tmp_path / "b.html",
                  captions=captions, caption_scores=said)  # fmt: skip
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text()
    keys = [("a", 0), ("b", 0)]
    found = measures([scores[0] | {"each": [1.0, 2.0]}], keys, keys[::-1])[0]
    assert found.each.tolist() == [2.0, 1.0]


def test_one_picture_and_large_pictures(made, tmp_path):
    pictures, stimuli, scores, *_ = made
    one = [s | {"each": s["each"][:1]} for s in scores]
    large = xr.concat([pictures.isel(presentation=[0])] * 40, "row")
    write_gallery(large, stimuli, one, tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert text.count("<article") == 1 and "image/jpeg" in text
    assert json.dumps("nan") not in text
