"""What generators weigh: forecasts of the memory of a GPU, and of the host."""

from __future__ import annotations

SDXL = 2_567_463_684 + 83_653_863 + 123_060_480 + 694_659_840  # U-Net, VAE, two text encoders
GENERATORS: dict[str, tuple[int, int, float]] = {
    "nano": (1_100_000, 0, 0.1),
    "kandinsky": (1_253_057_288 + 67_832_495, 1_844_907_264, 1.4),  # U-Net, MoVQ; image encoder
    "unclip": (870_173_124 + 83_653_863 + 340_387_840 + 632_076_800, 0, 1.9),  # U-Net, VAE, text, image
    "ip_adapter": (SDXL + 8_400_896 + 340_787_200, 0, 0.9),  # projection, keys and values
    "ip_adapter_plus": (SDXL + 82_961_664 + 340_787_200, 632_076_800, 0.9),  # resampler, the same; encoder
    "versatile": (859_520_964 + 83_653_863, 303_966_208, 0.9),  # U-Net, VAE; image encoder
}
"""Parameters of generators where pictures are drawn, and of what stays on the host; GB that a picture takes.

Counted on their configurations; the sizes of published files agree where these are known. What a picture
takes are its live tensors, most of them of the decoder of its latents, in single precision.
"""
CUDA = 1.5  # GB of a GPU's context and of work space of convolutions


def gpu_megabytes(generator: str, batch_size: int = 1) -> float:
    """Forecast the memory of a GPU that a generator draws on, in single precision, MB."""
    drawn, _, each = GENERATORS[generator]
    return 4 * drawn / 1e6 + 1e3 * (each * batch_size + CUDA)
