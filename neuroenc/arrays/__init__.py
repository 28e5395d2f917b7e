"""The contracts: what crosses from one stage to the next, and how it is checked and stored.

Eleven kinds of `xarray.Dataset`, each one netCDF file:

===========  ====================================================  ===============================
kind         main variable                                         key
===========  ====================================================  ===============================
responses    response(presentation, neuroid[, time_bin])           stimulus_id, neuroid_id
stimuli      pixel_index(stimulus), caption, category              stimulus_id
features     feature(stimulus, feature_index) or (…, token,        stimulus_id + embedding contract
             channel)
splits       side(fold, stimulus), inner(fold, stimulus)           stimulus_id
predictions  prediction(presentation, neuroid[, time_bin])         stimulus_id, fold, neuroid_id
scores       score(metric, neuroid[, time_bin])                    neuroid_id
embeddings   embedding(presentation, component)                    stimulus_id, fold + contract
pictures     picture(condition, presentation, row, column,         stimulus_id, fold + contract
             channel)
captions     caption(condition, presentation)                      stimulus_id, fold + contract
classes      class_score(presentation, time_bin, class)            stimulus_id, fold
comparison   difference(metric, rival, neuroid[, time_bin])        neuroid_id
===========  ====================================================  ===============================

Names of dimensions follow Brain-Score's data model (Schrimpf et al. 2018). Coordinates are plain
and one-dimensional, so any `xarray.open_dataset` reads the files.

Stimuli that run (films, stories) say where they stand: `film` (text) and `onset` (s of the film), coordinates
on the stimuli of StimulusSet and Features and on the presentations of Responses. Delays, context, splits in
time and statistics that respect autocorrelation go by them.
"""

from neuroenc.arrays.build import make_comparison, make_features, make_responses, make_scores, make_stimuli
from neuroenc.arrays.contracts import CONTRACT, DIMS, Kind, check
from neuroenc.arrays.files import load, save
from neuroenc.arrays.labels import (
    average_repeats,
    holds,
    join,
    parcels,
    positions,
    regions,
    same_contract,
    same_neuroids,
    select_layers,
    trained,
)

__all__ = [
    "CONTRACT",
    "DIMS",
    "Kind",
    "average_repeats",
    "check",
    "holds",
    "join",
    "load",
    "make_comparison",
    "make_features",
    "make_responses",
    "make_scores",
    "make_stimuli",
    "parcels",
    "positions",
    "regions",
    "same_contract",
    "same_neuroids",
    "save",
    "select_layers",
    "trained",
]
