"""Scores as maps, figures and tables; `from neuroenc.figures import draw_regions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroenc.lazy import face

if TYPE_CHECKING:
    from neuroenc.figures.attention import attention_arrays, draw_attention
    from neuroenc.figures.maps import write_gifti, write_nifti
    from neuroenc.figures.plots import draw_layers, draw_regions, draw_scatter, draw_time_course
    from neuroenc.figures.reconstructions import draw_reconstructions
    from neuroenc.figures.surface import draw_surface

HOMES = {
    "attention_arrays": "attention",
    "draw_attention": "attention",
    "draw_layers": "plots",
    "draw_reconstructions": "reconstructions",
    "draw_regions": "plots",
    "draw_scatter": "plots",
    "draw_surface": "surface",
    "draw_time_course": "plots",
    "write_gifti": "maps",
    "write_nifti": "maps",
}

__all__ = [
    "attention_arrays",
    "draw_attention",
    "draw_layers",
    "draw_reconstructions",
    "draw_regions",
    "draw_scatter",
    "draw_surface",
    "draw_time_course",
    "write_gifti",
    "write_nifti",
]

face(__name__, HOMES)
