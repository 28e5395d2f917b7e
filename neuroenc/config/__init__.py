"""The typed model of `config.yaml`, a file for each room's sections; import its names from here.

The schema Snakemake validates is written from it (`neuroenc config schema`).
"""

from neuroenc.config.base import Section
from neuroenc.config.configuration import Config, models_of
from neuroenc.config.dataset import Dataset, Split
from neuroenc.config.decoders import (
    Augmentation,
    Captioner,
    Classifying,
    Contributions,
    DecoderChoice,
    Embedding,
    JointDecoding,
    ModelCaptioner,
    NetworkDecoding,
    Prior,
    Reconstruction,
    RidgeDecoding,
    Shapes,
    Synthesis,
    Transfer,
    VoxelCaptions,
)
from neuroenc.config.encoders import (
    PLS,
    Attention,
    Banded,
    Encoder,
    EncoderChoice,
    Factorised,
    Gaussian,
    Partition,
    Probing,
    RandomAttention,
    ResponseCore,
    Ridge,
    Routed,
    SemanticTransformer,
    Stack,
    Trained,
)
from neuroenc.config.evaluation import Comparison, Evaluation, Figures, LearningCurve, Similarity
from neuroenc.config.features import BLIND, SIZES, Model
from neuroenc.config.joint import JointStudy
from neuroenc.config.parsing import load_config, load_study, parse, schema
from neuroenc.config.simulation import Plan, Simulation

__all__ = [
    "BLIND",
    "PLS",
    "SIZES",
    "Attention",
    "Augmentation",
    "Banded",
    "Captioner",
    "Classifying",
    "Comparison",
    "Config",
    "Contributions",
    "Dataset",
    "DecoderChoice",
    "Embedding",
    "Encoder",
    "EncoderChoice",
    "Evaluation",
    "Factorised",
    "Figures",
    "Gaussian",
    "JointDecoding",
    "JointStudy",
    "LearningCurve",
    "Model",
    "ModelCaptioner",
    "NetworkDecoding",
    "Partition",
    "Plan",
    "Prior",
    "Probing",
    "RandomAttention",
    "Reconstruction",
    "ResponseCore",
    "Ridge",
    "RidgeDecoding",
    "Routed",
    "Section",
    "SemanticTransformer",
    "Shapes",
    "Similarity",
    "Simulation",
    "Split",
    "Stack",
    "Synthesis",
    "Trained",
    "Transfer",
    "VoxelCaptions",
    "load_config",
    "load_study",
    "models_of",
    "parse",
    "schema",
]
