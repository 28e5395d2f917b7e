"""Training steps of the brain network and the prior against MindEye1's published configuration, same device.

The peer is a direct reading of arXiv 2305.18274 and its card: 4,096 wide, four residual blocks, 257 x 768
targets and a projector of each token; a prior of six layers over 257 decoded, 1 time and 257 noisy tokens with
a bias of relative positions. Ours decodes whitened components of the same embeddings, which is what it is
meant for; beside it stands ours with the same prior size on all tokens. Each runs in a process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize, scaled_dot_product_attention

from neuroenc.decoders import losses
from neuroenc.decoders.diffusion import Schedule
from neuroenc.encoders import training
from neuroenc.files import write_json
from neuroenc.records import row

VOXELS, TOKENS, CHANNELS, WIDTH, BLOCKS, BATCH, COMPONENTS = 15_724, 257, 768, 4096, 4, 32, 1000
STEPS = 3 if not torch.cuda.is_available() else 20
COMMAND = "python benchmarks/decoding.py"
PRIOR_BATCH = BATCH if torch.cuda.is_available() else 4  # a step on all tokens takes a minute on two cores
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Peer(nn.Module):
    """Voxels to tokens, and the projector the contrast is taken on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(VOXELS, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(), nn.Dropout(0.5))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(), nn.Dropout(0.15))
            for _ in range(BLOCKS)
        )
        self.tokens = nn.Linear(WIDTH, TOKENS * CHANNELS)
        self.projector = nn.Sequential(
            nn.LayerNorm(CHANNELS), nn.GELU(), nn.Linear(CHANNELS, 2048), nn.LayerNorm(2048), nn.GELU(),
            nn.Linear(2048, 2048), nn.LayerNorm(2048), nn.GELU(), nn.Linear(2048, CHANNELS),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.projector(self.tokens(x).reshape(len(x), TOKENS, CHANNELS)).flatten(1)


class PeerLayer(nn.Module):
    """Attention with a bias of relative positions, then a gated feed-forward layer four times as wide."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 3 * 12 * 64, bias=False)
        self.out = nn.Linear(12 * 64, CHANNELS, bias=False)
        self.inner = nn.Sequential(nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 8 * CHANNELS, bias=False))
        self.last = nn.Linear(4 * CHANNELS, CHANNELS, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm(x)).reshape(*x.shape[:2], 3, 12, 64).permute(2, 0, 3, 1, 4)
        x = x + self.out(scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2))
        value, gate = self.inner(x).chunk(2, -1)
        return x + self.last(value * nn.functional.silu(gate))


class PeerPrior(nn.Module):
    """The prior on all tokens."""

    def __init__(self) -> None:
        super().__init__()
        n = 2 * TOKENS + 1
        self.layers = nn.ModuleList(PeerLayer() for _ in range(6))
        self.time, self.place = (
            nn.Embedding(100, CHANNELS),
            nn.Parameter(torch.randn(TOKENS, CHANNELS) * 0.02),
        )
        self.bias = nn.Embedding(2 * n, 12)
        self.register_buffer("apart", torch.arange(n)[:, None] - torch.arange(n) + n)
        self.norm, self.out = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS, bias=False)

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        x = torch.cat([given, self.time(time)[:, None], noisy + self.place], 1)
        bias = self.bias(self.apart).permute(2, 0, 1)[None]
        for layer in self.layers:
            x = layer(x, bias)
        return self.out(self.norm(x))[:, -TOKENS:]


def network_case(ours: bool) -> tuple[nn.Module, np.ndarray, np.ndarray, object]:
    """Build a brain network, a batch and its contrastive loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, VOXELS), np.float32)
    y = rng.standard_normal((BATCH, COMPONENTS if ours else TOKENS * CHANNELS), np.float32)

    def loss(module: nn.Module, x: torch.Tensor, true: torch.Tensor, _over: float) -> torch.Tensor:
        decoded = module(x).float()
        contrast = losses.softclip(
            normalize(decoded, dim=1), normalize(true, dim=1), losses.soft_temperature(0.5)
        )
        return contrast + ((decoded - true) ** 2).mean()

    if not ours:
        return Peer(), x, y, loss
    from neuroenc.decoders.residual import ResidualNetwork

    return (
        ResidualNetwork({"1": VOXELS}, WIDTH, BLOCKS, 0.15, COMPONENTS),
        np.c_[x, np.zeros(BATCH, "f4")],
        y,
        loss,
    )


def prior_case(ours: bool, tokens: int, channels: int) -> tuple[nn.Module, np.ndarray, np.ndarray, object]:
    """Build a prior, a batch of decoded and true embeddings, and its denoising loss."""
    from neuroenc.decoders.prior import TIMESTEPS, DiffusionPrior, Prior

    joined = np.random.default_rng(0).standard_normal((PRIOR_BATCH, 2 * tokens * channels), np.float32)
    zero = np.zeros((PRIOR_BATCH, 1), np.float32)
    if ours:
        module = Prior((tokens, channels), (tokens, channels), 6, 12, 64, 0.0, 0)
        prior = DiffusionPrior()
        return module, joined, zero, lambda module, x, *_: prior.loss(module, x)
    schedule = Schedule(TIMESTEPS)

    def loss(module: nn.Module, x: torch.Tensor, _true: torch.Tensor, _over: float) -> torch.Tensor:
        given, wanted = x.reshape(len(x), 2, tokens, channels).unbind(1)
        time = torch.randint(100, (len(x),), device=x.device)
        noisy = schedule.add_noise(wanted, torch.randn_like(wanted), time)
        return ((module(noisy, time, given).float() - wanted) ** 2).mean()

    return PeerPrior(), joined, zero, loss


CASES = {
    "brain network, MindEye1": lambda: network_case(ours=False),
    "brain network, ours to 1,000 components": lambda: network_case(ours=True),
    "prior, MindEye1, 257 x 768": lambda: prior_case(False, TOKENS, CHANNELS),
    "prior, ours, 257 x 768": lambda: prior_case(True, TOKENS, CHANNELS),
    "prior, ours, 1,000 components": lambda: prior_case(True, 1, COMPONENTS),
}


def measure(name: str) -> dict[str, float]:
    """Train some steps; return seconds a step and the peak memory."""
    torch.manual_seed(0)
    module, x, y, loss = CASES[name]()
    module.to(DEVICE).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    a, b, alone = torch.from_numpy(x), torch.from_numpy(y), training.Processes.here(DEVICE)
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        training._step(module, a, b, len(a), optimiser, 1.0, alone, loss, 0.5)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = (
        torch.cuda.max_memory_allocated() if DEVICE == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )  # fmt: skip
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "seconds": float(np.median(seconds[1:])), "peak_bytes": int(peak),
    }  # fmt: skip


def main() -> None:
    rows, speed = [], {}
    for name in CASES:
        done = subprocess.run([sys.executable, __file__, name], check=True, capture_output=True, text=True)
        f = json.loads(done.stdout)
        speed[name] = 1 / f["seconds"]
        rows.append(row("training steps per second", speed[name], unit="1/s", n=STEPS, command=COMMAND, seed=0,
                        case=name, parameters=f["parameters"], peak_bytes=f["peak_bytes"], device=DEVICE,
                        batch=PRIOR_BATCH if "prior" in name else BATCH, voxels=VOXELS))  # fmt: skip
        print(f"{name:42s} {f['parameters'] / 1e6:7.1f} M  {speed[name]:7.3f} steps/s  "
              f"{f['peak_bytes'] / 2**30:5.1f} GiB", flush=True)  # fmt: skip
    names = list(CASES)
    for what, ours, peer in (
        ("brain network / MindEye1's", names[1], names[0]), ("prior on the same tokens / MindEye1's", names[3], names[2]),
    ):  # fmt: skip
        ratio = speed[ours] / speed[peer]
        rows.append(
            row(what, ratio, unit="ratio of steps per second", n=STEPS, command=COMMAND, seed=0, null=1.0)
        )
        print(f"{what}: {ratio:.2f}")
    write_json({"rows": rows}, "benchmarks/results/decoding.json")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
