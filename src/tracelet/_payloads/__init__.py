"""What people have of media and tables, turned into what is written to files: as it is, nothing is encoded here.

NumPy is imported where an array is passed, and none of the libraries whose objects are taken.

A function raises TypeError for something it doesn't know, and ValueError for one it knows and can't use.
"""

from __future__ import annotations

from tracelet._payloads._numbers import classified, embedding, histogram, line, mesh, precision_recall, tensor
from tracelet._payloads._shown import audio, boxes, figure, image, video
from tracelet._payloads._structured import document, graph, table
from tracelet._payloads._writing import Payload

__all__ = [
    "Payload",
    "audio",
    "boxes",
    "classified",
    "document",
    "embedding",
    "figure",
    "graph",
    "histogram",
    "image",
    "line",
    "mesh",
    "precision_recall",
    "table",
    "tensor",
    "video",
]
