"""Weights of networks: fetched once, kept with a manifest, verified against it.

Only `fetch` touches the network. Where a publisher states a hash (the hub for large files, torchvision in
the file's name) it is checked; every file's own hash is written to the manifest.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from neuroenc.errors import InputError, invalid
from neuroenc.features import registry
from neuroenc.features.registry import ENTRIES, Entry
from neuroenc.fetch import fetch as fetch_file
from neuroenc.files import atomic, existing, remove, sha256, write_json

MANIFEST = "manifest.json"
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
        "special_tokens_map.json", "preprocessor_config.json")  # fmt: skip


def fetchable(name: str) -> Entry:
    """Return the entry of a network whose weights are published.

    Raises
    ------
    InputError
        There is no such network, or it needs none.
    """
    if name not in ENTRIES:
        raise invalid("network", name, ENTRIES)
    entry = ENTRIES[name]
    if not entry.published or entry.network == "nano":
        raise InputError(f"{name!r} needs no weights to be fetched.")
    return entry


def listing() -> list[tuple[str, str, str]]:
    """List the networks that need weights: name, where published, and whether they are here."""
    rows = []
    for name, entry in ENTRIES.items():
        if not entry.published or entry.network == "nano":
            continue
        manifest = registry.place(entry) / MANIFEST
        state = "absent"
        if manifest.exists():
            size = sum(f["size"] for f in json.loads(manifest.read_text())["files"])
            state = f"here, {size / 2**20:.0f} MiB"
        elif registry.place(entry).exists() or (name == "minilm" and registry.stored(entry)):
            state = "here, without manifest"
        rows.append((name, entry.published, state))
    return rows


def fetch(name: str, *, revision: str = "main") -> Path:
    """Fetch the weights of a network and write their manifest.

    Parameters
    ----------
    name : str
        Of the registry.
    revision : str
        Branch, tag or commit on the hub; the manifest records the commit.

    Returns
    -------
    path
        The folder.
    """
    entry = fetchable(name)
    folder = registry.place(entry)
    if (folder / MANIFEST).exists():
        verify(name)
        return folder
    source, licence, files = _files(entry, revision)
    for url, file, known, size in files:
        fetch_file(url, folder / file, known_hash=known, size=size)
    _convert(folder)
    listed = [
        {"file": p.name, "size": p.stat().st_size, "sha256": sha256(p),
         "url": next((url for url, file, *_ in files if file == p.name), "converted from pytorch_model.bin")}
        for p in sorted(folder.iterdir()) if p.name != MANIFEST and not p.name.startswith(".")
    ]  # fmt: skip
    write_json({"network": name, **source, "licence": licence, "files": listed}, folder / MANIFEST)
    return folder


def verify(name: str) -> list[str]:
    """Compare the files of a network with their manifest.

    Raises
    ------
    InputError
        One is missing, or has another hash.
    """
    entry = fetchable(name)
    folder = registry.place(entry)
    path = existing(
        folder / MANIFEST, made_by=f"Run `neuroenc weights fetch {name}` where there is a network."
    )
    manifest = json.loads(path.read_text())
    for file in manifest["files"]:
        found = sha256(existing(folder / file["file"], made_by=f"Remove {folder} and fetch {name!r} again."))
        if found != file["sha256"]:
            raise InputError(
                f"{folder / file['file']} has sha256 {found}, the manifest {file['sha256']}. Remove "
                f"{folder} and run `neuroenc weights fetch {name}`."
            )
    return [f"{f['file']}  {f['size']} bytes  sha256 {f['sha256'][:16]}…" for f in manifest["files"]]


File = tuple[str, str, str | None, int | None]  # url, name, hash as pooch reads it, bytes


def _files(entry: Entry, revision: str) -> tuple[dict[str, str], str, list[File]]:
    """Say where an entry comes from, its licence, and its files."""
    if entry.published.startswith("https://"):
        licence = registry.describe(registry.name_of(entry))["licence"]
        return (
            {"url": entry.published},
            licence,
            [(entry.published, entry.published.rpartition("/")[2], None, None)],
        )
    if entry.extractor == "torchvision":
        from torchvision import models

        url = models.get_model_weights(entry.network)[entry.published].url
        file = url.rpartition("/")[2]
        digits = file.rpartition("-")[2].partition(".")[0]
        return {"url": url}, "BSD-3-Clause", [(url, file, f"sha256:{digits}", None)]
    wanted: tuple[str, ...]
    if entry.extractor == "timm":
        import timm

        data = timm.get_pretrained_cfg(f"{entry.network}.{entry.published}")
        repository, wanted, licence = data.hf_hub_id, ("model.safetensors",), str(data.license)
    elif entry.extractor == "transformers":
        repository, wanted, licence = entry.published, (), ""
    else:
        import open_clip

        data = open_clip.pretrained.get_pretrained_cfg(entry.network, entry.published)
        repository, wanted, licence = data["hf_hub"].rstrip("/"), ("open_clip_model.safetensors",), ""
    return _hub(repository, wanted, licence, revision)


def _hub(
    repository: str, wanted: tuple[str, ...], licence: str, revision: str
) -> tuple[dict[str, str], str, list[File]]:
    """Look up files, sizes and hashes on the hub."""
    import requests

    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    url = f"{hub}/api/models/{repository}/revision/{revision}?blobs=true"
    try:
        answer = requests.get(url, timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
    except requests.RequestException as error:
        raise InputError(
            f"Cannot look up {repository} at {hub}: {str(error).splitlines()[0]}. Is there a network here, "
            "and is the revision right?"
        ) from None
    files = {f["rfilename"]: f for f in found["siblings"]}
    if not wanted:
        weights = sorted(f for f in files if "/" not in f and f.endswith(".safetensors"))
        wanted = (*(f for f in KEPT if f in files), *(weights or ["pytorch_model.bin"]))
    lacking = [f for f in wanted if f not in files]
    if lacking:
        raise InputError(
            f"{repository} has no {lacking[0]!r} at {revision!r}. Its layout changed; report it."
        )
    commit = found["sha"]
    licence = (found.get("cardData") or {}).get("license") or licence or "unstated"
    listed: list[File] = []
    for file in wanted:
        large = (files[file].get("lfs") or {}).get("sha256")
        known = f"sha256:{large}" if large else None
        listed.append((f"{hub}/{repository}/resolve/{commit}/{file}", file, known, files[file].get("size")))
    return {"hub": repository, "revision": commit}, licence, listed


def _convert(folder: Path) -> None:
    """Turn a checkpoint of pickled tensors into safetensors; anything else in it is refused."""
    source = folder / "pytorch_model.bin"
    if not source.exists():
        return
    import torch
    from safetensors.torch import save_file

    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  torch has no error of its own for it
        raise InputError(
            f"{source} holds more than tensors ({str(error).splitlines()[0]}). It was not read; do "
            "not trust it."
        ) from None
    with atomic(folder / "model.safetensors") as partial:
        save_file({k: v.contiguous().clone() for k, v in state.items()}, partial, {"format": "pt"})
    remove(source)
