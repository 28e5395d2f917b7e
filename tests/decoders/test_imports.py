"""What stages and the command line load before they are asked to work."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "diffusers", "timm", "open_clip", "torchvision")
CASES = {
    "neuroenc.cli.decode, neuroenc.cli.caption": (),
    "neuroenc.decoders.pipelines": (),
    "neuroenc.decoders.decode, neuroenc.decoders.scores, neuroenc.decoders.ridge": (),
    "neuroenc.decoders.index, neuroenc.decoders.classify, neuroenc.decoders.voxels": (),
    "neuroenc.decoders.voxel_words, neuroenc.decoders.voxel_scores, neuroenc.decoders.captioner_folder": (),
    "neuroenc.decoders.network": ("torch",),
    "neuroenc.decoders.prior": ("torch",),
    "neuroenc.decoders.nano, neuroenc.decoders.reconstruct, neuroenc.decoders.synthesise": ("torch",),
}


@pytest.mark.parametrize("modules", CASES)
def test_what_is_loaded(modules):
    code = f"import sys, {modules}; print(*(m for m in {HEAVY} if m in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == list(CASES[modules])
