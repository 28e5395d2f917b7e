"""How good a prediction is, and how good it could be; `from neuroenc.evaluation import evaluate, compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.evaluation.ceilings import ceiling, explainable_variance, noise_ceiling, split_half
    from neuroenc.evaluation.comparison import compare
    from neuroenc.evaluation.evaluate import evaluate
    from neuroenc.evaluation.pairs import picture_r, two_versus_two
    from neuroenc.evaluation.partition import partition
    from neuroenc.evaluation.permutation import permutation_p
    from neuroenc.evaluation.scores import normalised_r, pearson_r, r2_score
    from neuroenc.evaluation.statistics import fdr

HOMES = {
    "ceiling": "ceilings",
    "compare": "comparison",
    "evaluate": "evaluate",
    "explainable_variance": "ceilings",
    "fdr": "statistics",
    "noise_ceiling": "ceilings",
    "normalised_r": "scores",
    "partition": "partition",
    "pearson_r": "scores",
    "permutation_p": "permutation",
    "picture_r": "pairs",
    "r2_score": "scores",
    "split_half": "ceilings",
    "two_versus_two": "pairs",
}

__all__ = [
    "ceiling",
    "compare",
    "evaluate",
    "explainable_variance",
    "fdr",
    "noise_ceiling",
    "normalised_r",
    "partition",
    "pearson_r",
    "permutation_p",
    "picture_r",
    "r2_score",
    "split_half",
    "two_versus_two",
]

face(__name__, HOMES)
