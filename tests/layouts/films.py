"""Small films with cuts at known times."""

import numpy as np

RATE = 10  # frames/s


def write_film(path, cuts, seconds, seed=0):
    """Shots of blocks that differ, over which a bar runs; cut at these times, s."""
    import av

    looks = np.random.default_rng(seed).integers(0, 255, (len(cuts) + 1, 4, 6)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 64, "yuv420p", 2_000_000
        for number in range(int(seconds * RATE)):
            look = looks[np.searchsorted(cuts, number / RATE + 1e-6, "right")]
            picture = np.repeat(np.kron(look, np.ones((16, 16), np.uint8))[..., None], 3, 2)
            picture[:, number % 90 : number % 90 + 4] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
