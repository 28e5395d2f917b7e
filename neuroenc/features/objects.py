"""Detected objects, as VisualBERT and LXMERT are shown them: torchvision's Faster R-CNN on every picture.

Their own detector (Anderson et al. 2018, ResNet-101 on Visual Genome) comes with no library. This one is
torchvision's `fasterrcnn_resnet50_fpn`, trained on COCO: of each picture the 36 objects it is surest of, each
as its box and the mean of the backbone's last stage under it, 2,048 channels as theirs. The features are thus
of the same size and kind, and not of the same network: the two read what they were not trained on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from neuroenc.datasets.pixels import read_pixels
from neuroenc.devices import pick_device
from neuroenc.errors import InputError
from neuroenc.features import loading, registry
from neuroenc.files import atomic, existing, sha256

N_OBJECTS = 36
N_CHANNELS = 2048
STRIDE = 32  # px of the picture to a cell of the backbone's last stage
CELLS = 7  # of the grid under a box that is averaged
SIDE = 800  # the shorter side of what the detector sees, px
SUREST = 0.01  # objects below this probability are not told from background


class Detector:
    """A Faster R-CNN and its weights.

    Parameters
    ----------
    weights : str, optional
        'random:<seed>' or a checkpoint; None: those of `neuroenc weights fetch faster-rcnn`.
    device : str
    side : int
        The shorter side of what it sees, px.
    """

    def __init__(self, weights: str | None = None, device: str = "auto", side: int = SIDE) -> None:
        import torch

        self.device = pick_device(device)
        random = re.fullmatch("random:([0-9]{1,9})", weights or "")
        with torch.random.fork_rng():
            torch.manual_seed(int(random[1]) if random else 0)
            self.module = _build(side)
        self.weights = str(weights)
        if not random:
            path = existing(weights) if weights else existing(str(registry.stored(registry.DETECTOR)))
            loading.load(self.module, path)
            self.weights = f"{path.name}:{sha256(path)}"
        self.module.eval().to(self.device)
        self._last: Any = None
        self.module.backbone.body.register_forward_hook(self._keep)

    def _keep(self, module: Any, given: Any, stages: Any) -> None:  # noqa: ARG002  as torch calls it
        self._last = list(stages.values())[-1]

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Detect the objects of one picture.

        Parameters
        ----------
        pixels : uint8 array of shape (height, width, 3)

        Returns
        -------
        features : array of shape (36, 2048)
        boxes : array of shape (36, 4)
            Left, top, right, bottom, from 0 to 1. Where fewer are found, the whole picture is the rest.
        """
        import torch
        from torchvision.ops import roi_align

        picture = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            images, _ = self.module.transform([picture.to(self.device)])
            pyramid = self.module.backbone(images.tensors)
            proposals, _ = self.module.rpn(images, pyramid)
            (found,), _ = self.module.roi_heads(pyramid, proposals, images.image_sizes)
            height, width = images.image_sizes[0]
            size = torch.tensor([width, height, width, height], dtype=torch.float32, device=self.device)
            whole = torch.cat([torch.zeros(2, device=self.device), size[:2]]).expand(N_OBJECTS, 4)
            boxes = torch.cat([found["boxes"], whole])[:N_OBJECTS]
            under = roi_align(self._last, [boxes], CELLS, 1 / STRIDE, sampling_ratio=2).mean((2, 3))
        return under.cpu().numpy(), (boxes / size).clip(0, 1).cpu().numpy()


def _build(side: int) -> Any:
    """Build the network as it was trained: its normalisation is fixed, and adds nothing to variances."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d

    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=0
    )
    module = FasterRCNN(
        backbone, 91, min_size=side, max_size=max(1333, side), box_detections_per_img=N_OBJECTS,
        box_score_thresh=SUREST,
    )  # fmt: skip
    for part in module.modules():
        if isinstance(part, FrozenBatchNorm2d):
            part.eps = 0.0
    return module


def detect(
    stimuli: xr.Dataset,
    out: str | Path,
    *,
    weights: str | None = None,
    device: str = "auto",
    side: int = SIDE,
) -> None:
    """Write the objects of all stimuli, as the option `regions` of a model reads them.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet.
    out : path
        HDF5: `features` (n, 36, 2048), `boxes` (n, 36, 4), `stimulus_id` (n); written whole or not at all.
    weights, device, side
        As `Detector` takes them.

    Raises
    ------
    InputError
        The stimuli are no pictures; weights were not fetched, or are of another network; a picture gives
        features that are not finite.
    """
    detector = Detector(weights, device, side)
    ids = stimuli["stimulus_id"].values.astype(str)
    n = len(ids)
    with (
        atomic(out, size=4 * n * N_OBJECTS * (N_CHANNELS + 4) + 2**20) as partial,
        h5py.File(partial, "w") as file,
    ):
        features = file.create_dataset("features", (n, N_OBJECTS, N_CHANNELS), "f4")
        boxes = file.create_dataset("boxes", (n, N_OBJECTS, 4), "f4")
        file["stimulus_id"] = np.char.encode(ids, "utf-8")
        file.attrs["detector"], file.attrs["weights"] = (
            "torchvision/fasterrcnn_resnet50_fpn",
            detector.weights,
        )
        for row in tqdm(range(n), "objects", disable=None):
            found = detector(read_pixels(stimuli, np.array([row]))[0])
            if not np.isfinite(found[0]).all():
                raise InputError(f"The detector gives no finite features of {ids[row]!r}. Check its weights.")
            features[row], boxes[row] = found
