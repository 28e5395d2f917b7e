"""A training step of attention routing against a direct reading of the published form.

    python benchmarks/attention.py

Sizes of Adeli, Minni, Kriegeskorte (2025) for subject 1 of the Algonauts 2023 release: batch 16, DINOv2
ViT-B/14 with 31 x 31 tokens of 768, 50 queries (24 regions and one for the rest, in each hemisphere),
19,004 + 20,544 vertices. The published form runs the frozen network at every step, multiplies every token of
a hemisphere with every vertex, and masks; it is written here and nowhere else. The network's weights
are random: they cost the same. Each form has a process of its own. Writes
benchmarks/results/attention.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from neuroenc.encoders.attention import AttentionRouting
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "python benchmarks/attention.py"
BATCH, TOKENS, WIDTH, HEADS, HIDDEN, VERTICES, QUERIES = 16, 961, 768, 16, 1024, (19004, 20544), 25
STEPS = 7


def membership() -> list[Any]:
    """Regions of each hemisphere: a vertex in none, one or two of 24, else in the 25th."""
    rng = np.random.default_rng(0)
    made = []
    for n in VERTICES:
        member = np.zeros((n, QUERIES), bool)
        for k in (1, 2):  # a retinotopic and a category region may overlap
            inside = rng.random(n) < (0.5, 0.2)[k - 1]
            member[inside, rng.integers(0, 12, inside.sum()) + 12 * (k - 1)] = True
        member[~member.any(1), 24] = True
        made.append(member)
    return made


class Published(nn.Module):
    """One decoder layer without self-attention; all tokens times all vertices, then the mask."""

    def __init__(self, members: list[Any]) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(2 * QUERIES, WIDTH))
        self.place = nn.Parameter(torch.randn(TOKENS, WIDTH), requires_grad=False)
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1, batch_first=True)
        self.first, self.second, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.widen, self.narrow, self.drop = (
            nn.Linear(WIDTH, HIDDEN),
            nn.Linear(HIDDEN, WIDTH),
            nn.Dropout(0.1),
        )
        self.readout = nn.ModuleList(nn.Linear(WIDTH, n) for n in VERTICES)
        self.mask = [torch.from_numpy(m.T.astype("f4")) for m in members]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Responses of both hemispheres."""
        start = torch.zeros(len(x), 2 * QUERIES, WIDTH)
        seen = self.attend(self.first(start) + self.query, x + self.place, x)[0]
        token = start + self.drop(seen)
        token = token + self.drop(self.narrow(self.drop(self.widen(self.second(token)).relu())))
        token = self.last(token)
        return [
            (linear(part) * mask).sum(1)
            for linear, part, mask in zip(self.readout, token.split(QUERIES, 1), self.mask, strict=True)
        ]


def measure(form: str) -> dict[str, float]:
    torch.manual_seed(0)
    members = membership()
    x = torch.randn(BATCH, TOKENS, WIDTH)
    y = torch.randn(BATCH, sum(VERTICES))
    backbone = 0.0
    if form == "published":
        import timm

        network = timm.create_model(
            "vit_base_patch14_dinov2", pretrained=False, img_size=434, num_classes=0
        ).eval()
        picture = torch.randn(BATCH, 3, 434, 434)
        with torch.no_grad():
            start = time.perf_counter()
            assert network.forward_features(picture)[:, 1:].shape == (BATCH, TOKENS, WIDTH)
            backbone = time.perf_counter() - start
        del network, picture
        module: Any = Published(members)
    else:
        joint = np.zeros((sum(VERTICES), 2 * QUERIES), bool)
        joint[: VERTICES[0], :QUERIES], joint[VERTICES[0] :, QUERIES:] = members
        module = AttentionRouting(
            joint, n_dimensions=WIDTH, n_heads=HEADS, n_hidden=HIDDEN, overlap="sum"
        )._module(TOKENS, WIDTH, sum(VERTICES))
    optimiser = torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad], 5e-4, weight_decay=1e-4,
        fused=form == "neuroenc",  # as each form's own training has it
    )  # fmt: skip
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")

    def peak() -> int:
        return int(next(v for v in status.read_text().splitlines() if v.startswith("VmHWM")).split()[1])

    before, times = peak(), []
    module.train()
    for _ in range(STEPS):
        start = time.perf_counter()
        found = module(x)
        parts = found if isinstance(found, list) else [found]
        wanted = y.split([p.shape[1] for p in parts], 1)
        loss = sum(((p - t) ** 2).mean() for p, t in zip(parts, wanted, strict=True))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        optimiser.step()
        times.append(time.perf_counter() - start)
    return {"head": min(times[1:]), "backbone": backbone, "mebibytes": (peak() - before) / 1024}


def main() -> None:
    found = {}
    for form in ("published", "neuroenc"):
        out = subprocess.check_output([sys.executable, "-W", "ignore", __file__, form])
        found[form] = json.loads(out.splitlines()[-1])
    theirs, ours = found["published"], found["neuroenc"]
    text = f"batch {BATCH}, {TOKENS} tokens of {WIDTH}, {2 * QUERIES} queries, {sum(VERTICES)} vertices"
    rows = [
        row(name, value, unit=unit, n=STEPS - 1, command=COMMAND, seed=0, shape=text)
        for name, value, unit in (
            ("published head, one step", theirs["head"], "s"),
            ("neuroenc head, one step", ours["head"], "s"),
            ("published head / neuroenc head", theirs["head"] / ours["head"], "ratio"),
            ("frozen network, one batch", theirs["backbone"], "s"),
            (
                "published step in all / neuroenc step",
                (theirs["head"] + theirs["backbone"]) / ours["head"],
                "ratio",
            ),
            ("memory of the published head", theirs["mebibytes"], "MiB"),
            ("memory of the neuroenc head", ours["mebibytes"], "MiB"),
        )
    ]
    write_json({"label": "attention", "rows": rows}, "benchmarks/results/attention.json")
    for r in rows:
        print(f"{r['name']:42s} {r['value']:9.3f} {r['unit']}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
