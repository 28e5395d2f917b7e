"""Scores, ceilings, statistics and comparisons, in words."""

from __future__ import annotations

from neuroenc.config import Comparison, Config, Similarity
from neuroenc.methods.text import Part, code, listed, plural

CEILINGS: dict[str, str] = {
    "ncsnr": "estimated from repeated presentations as the noise-ceiling signal-to-noise ratio [@allen2022]",
    "split_half": "the reliability of the mean response from random halves of the repeats, by the formula "
    "of Spearman and Brown [@spearman1910]",
    "explainable_variance": "the bias-corrected signal power [@sahani2003] over that of the mean response",
    "given": "the noise ceiling that comes with the data",
}
METRICS: dict[str, str] = {
    "pearson_r": "the difference in r, against predictions exchanged between the two fits at random stimuli",
    "r2": "the difference in R², against differences of squared errors whose signs are turned at "
    "random stimuli",
}
DISTANCES: dict[str, str] = {
    "correlation": "one minus the correlation of two patterns",
    "euclidean": "the squared Euclidean distance of two patterns",
    "crossnobis": "the crossnobis distance of responses between repeats, whose noise adds nothing "
    "[@walther2016], and the squared Euclidean distance of features",
}
MEASURES: dict[str, str] = {
    "spearman": "Spearman's rank correlation", "kendall": "Kendall's tau a",
    "pearson": "Pearson's correlation",
    "cosine": "their cosine", "whitened_cosine": "their whitened cosine [@diedrichsen2021]",
    "cka": "debiased linear CKA [@kornblith2019; @szekely2014]",
}  # fmt: skip


def compared(name: str, c: Comparison) -> str:
    """Say what a comparison tests."""
    rivals = listed(map(code, c.than))
    every = " each of" if len(c.than) > 1 else ""
    text = (
        f"{code(name)}: {code(c.better)} against{every} {rivals}, by {METRICS[c.metric]}; called "
        f"equivalent where the 90 % interval lies within {c.delta:g}"
    )
    if len(c.than) > 1:
        text += "; all rivals are beaten where the largest of the p is small enough"
    return text + "."


def alike(s: Similarity) -> str:
    """Say how representations are compared."""
    models = f"the models {listed(map(code, s.models))}" if s.models else "all models"
    brain = (
        (
            " Each subject was also predicted from the others by ridge, as a ceiling that any model "
            "may be held against."
        )
        if s.brain_to_brain
        else ""
    )
    return (
        f"In representational similarity analysis [@nili2014], every layer of {models} was "
        "compared with every region: the dissimilarity of two stimuli is "
        f"{DISTANCES[s.distance]}, and two matrices are "
        f"compared by {MEASURES[s.measure]}. Intervals are over "
        f"{plural(s.n_bootstraps, 'half sample')} of the stimuli, reliabilities over "
        f"{plural(s.n_halves, 'halving')} of the repeats, "
        f"and the noise ceiling is over subjects (seed {s.seed}).{brain}"
    )


RUNNING = ("stories", "treebank", "custom")  # datasets whose stimuli may be moments of films or stories
ONCE = (
    "kfold",
    "group",
    "chronological",
    "cluster",
    "distant",
    "category",
)  # splits that test a stimulus in one fold


def part(config: Config) -> Part:
    """Describe how a run is evaluated."""
    e = config.evaluation
    running = config.dataset.name in RUNNING
    drawn = f"; of films and stories, stretches of {e.stretch:g} s are drawn as wholes" if running else ""
    if config.split.kind in ONCE:
        drawn += (
            "; where each stimulus is tested in one of several folds, the folds are what varies, by "
            "Student's t"
        )
    shifted = ", films and stories being shifted in a circle," if running else ""
    texts = [
        "The score of a neuroid is the Pearson correlation of predicted and measured responses "
        "over the test stimuli of a fold, the mean over folds. "
        f"Its noise ceiling, a share of variance, is {CEILINGS[e.ceiling]}; the normalised score "
        "is r over the square root of the ceiling, and neuroids whose ceiling is below "
        f"{e.threshold:g} have none. "
        "Neither is clipped.",
        f"Intervals hold 95 % of {plural(e.n_bootstraps, 'bootstrap sample')} of the test stimuli "
        f"[@hesterberg2015], centred on the score and widened to Student's t{drawn}. "
        f"The one-sided p of a neuroid is from {plural(e.n_permutations, 'permutation')} of the "
        f"responses to the test stimuli within a fold{shifted} and never zero [@phipson2010]; "
        "over several folds the null is widened, because folds share stimuli. Neuroids are "
        f"called significant at a false discovery rate of {e.fdr_level:g} [@benjamini1995] (seed "
        f"{e.seed}). "
        "A stimulus is identified by the correlation of patterns over neuroids [@kay2008].",
    ]
    if e.pairs:
        texts.append(
            "Patterns over the neuroids of a region were scored as well: by 2V2, the share of pairs "
            "of stimuli whose measured patterns are more like their own predictions than like each "
            "other's [@mitchell2008], and by the correlation of each stimulus' pattern."
        )
    if e.brainscore:
        texts.append(
            "Brain-Score's statistic [@schrimpf2018] of each region stands beside these: the median "
            "r over neuroids, squared, over the reliability of the responses."
        )
    if config.figures.time_course:
        texts.append("Accuracy over time is significant by clusters of time bins [@maris2007].")
    if config.comparisons:
        texts.append(
            "Fits were compared on the same test stimuli. "
            + " ".join(compared(n, c) for n, c in config.comparisons.items())
            + (
                f" The p are from {plural(e.n_permutations, 'exchange')} and corrected over neuroids "
                "[@benjamini1995]; how many neuroids are truly won has a simultaneous bound "
                "[@goeman2019]."
            )
            + (
                (
                    " Over subjects, differences are those of a random-effects model [@dersimonian1986; "
                    "@hartung2001]."
                )
                if len(config.subjects) > 1
                else ""
            )
        )
    if config.similarity:
        texts.append(alike(config.similarity))
    return Part("Evaluation", texts)
