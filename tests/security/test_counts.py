"""SECURITY.md counts what is tried; the counts are those of the tables here."""

from tests.conftest import ROOT
from tests.security import (
    test_archives,
    test_checkpoints,
    test_configuration,
    test_data,
    test_features,
    test_files,
    test_servers,
    test_trees,
)

COUNTS = {
    "configuration: texts, each in every place that takes one": len(test_configuration.HOSTILE),
    "configuration: settings of networks": len(test_checkpoints.OPTIONS),
    "data folders: descriptions and paths": len(test_data.RESPONSES),
    "data folders: pictures": len(test_data.PICTURES),
    "data folders: HDF5": len(test_files.HDF5),
    "data folders: arrays": len(test_files.ARRAYS),
    "data folders: images of brains": len(test_files.IMAGES),
    "data folders: tables": len(test_files.TABLES),
    "files of features": len(test_features.FEATURES),
    "published layouts, damages of every kind of their files": len(test_trees.TREES)
    * len(test_trees.DAMAGES),
    "checkpoints": len(test_checkpoints.CHECKPOINTS),
    "archives": len(test_archives.ARCHIVES),
    "servers: transfers": len(test_servers.TRANSFERS),
    "servers: listings of a bucket": len(test_servers.LISTINGS),
    "servers: answers of the hub": len(test_servers.HUBS),
}


def table():
    rows = [f"| {kind} | {n} |" for kind, n in COUNTS.items()]
    return "\n".join(
        ["| what is tried | inputs |", "|---|---:|", *rows, f"| in all | {sum(COUNTS.values())} |"]
    )


def test_the_page_counts_what_is_tried():
    assert table() in (ROOT / "SECURITY.md").read_text()
    served = sum(n for kind, n in COUNTS.items() if kind.startswith("servers"))
    assert served >= 38 and sum(COUNTS.values()) - served >= 110
