"""Examples are the same in every run; NEUROENC_FUZZ=1 draws new ones, and many more."""

import os

from hypothesis import settings

settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=300)
settings.load_profile("fuzz" if os.environ.get("NEUROENC_FUZZ") else "default")
