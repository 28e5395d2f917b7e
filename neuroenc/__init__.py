"""neuroenc: encoding models and decoders of brains looking at pictures and films."""

__version__ = "0.1.0"
