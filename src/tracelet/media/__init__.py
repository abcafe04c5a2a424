"""The files of media events, for backend plugins: what is in them, and encoded as trackers take them.

The training process writes arrays as they are; everything here happens in the delivery process, and is blocking
(`await run.blocking(media.pictures, event)`). It needs NumPy, and Pillow for images, figures and video:
`tracelet[media]`.
"""

from __future__ import annotations

from tracelet.media._content import (
    Curve,
    Embedding,
    Graph,
    Histogram,
    Mesh,
    Node,
    Table,
    array,
    arrays,
    curve,
    embedding,
    graph,
    histogram,
    mesh,
    table,
)
from tracelet.media._encoded import (
    Encoded,
    as_files,
    pictures,
    plotly_json,
    sound,
    sprites,
    video,
)

__all__ = [
    "Curve",
    "Embedding",
    "Encoded",
    "Graph",
    "Histogram",
    "Mesh",
    "Node",
    "Table",
    "array",
    "arrays",
    "as_files",
    "curve",
    "embedding",
    "graph",
    "histogram",
    "mesh",
    "pictures",
    "plotly_json",
    "sound",
    "sprites",
    "table",
    "video",
]
