"""A small client for research: a version of a data set (from a server, a zip or a folder) or a selection of studies,
read as tables and as volumes with spacing and orientation. It needs no database and no other part of a server."""

from hilum.client.collection import Collection, Folder, VolumeDataset, Zip, open_dataset
from hilum.client.server import Client, Selection
from hilum.client.volume import Volume, read_volume

__all__ = [
    "Client", "Collection", "Folder", "Selection", "Volume", "VolumeDataset", "Zip", "open_dataset", "read_volume"
]  # fmt: skip
