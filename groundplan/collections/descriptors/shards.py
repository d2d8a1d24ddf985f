"""A class in shards: parts of some thousand images that stay as they are when an image is added.

Here: which image belongs to which shard, and a shard's table. Not here: what is in a table's rows (features.py).

Images are spread by a hash of their keys, and a part with too many is halved by the hash's next bit, as often as
needed. So the parts follow from the set of keys alone, whatever the order in which images came; a new image changes
the part that it falls into, which at most becomes two, and no other. A shard is named `s` and the bits that its images
share.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


COLUMNS = ("key", "label", "digest", "split", "group")
_BITS = 64


def shards(keys: Iterable[str], limit: int) -> dict[str, list[str]]:
    """Keys of each shard, sorted, by its name; at most `limit` to a shard. No keys: no shard."""
    hashed = sorted((int(hashlib.sha256(key.encode()).hexdigest()[:16], 16), key) for key in keys)
    found: dict[str, list[str]] = {}
    waiting = [("", hashed)] if hashed else []
    while waiting:
        bits, part = waiting.pop()
        if len(part) <= limit or len(bits) == _BITS:
            found[f"s{bits}"] = sorted(key for _, key in part)
            continue
        at = 1 << (_BITS - 1 - len(bits))
        halves = [item for item in part if not item[0] & at], [item for item in part if item[0] & at]
        waiting += [(f"{bits}{bit}", half) for bit, half in enumerate(halves) if half]
    return dict(sorted(found.items()))


def to_parquet(rows: Sequence[Mapping[str, str]], features: np.ndarray) -> bytes:
    """One shard: the columns of `COLUMNS`, and `feature`, fixed_size_list<float32>[D]. features: float32 (N, D)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if features.dtype != np.float32 or features.ndim != 2 or len(features) != len(rows):
        raise ValueError(f"need float32 ({len(rows)}, D), got {features.dtype} {features.shape}")
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in COLUMNS}
    flat = pa.array(np.ascontiguousarray(features).ravel())
    feature = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
    buffer = io.BytesIO()
    few = ["label", "split"]  # of features a dictionary would only be in the way
    pq.write_table(pa.table({**columns, "feature": feature}), buffer, compression="zstd", use_dictionary=few)
    return buffer.getvalue()


def from_parquet(data: bytes) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns of `COLUMNS` as a frame, and the features, float32 (N, D)."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data)).combine_chunks()
    feature = table["feature"]
    width = feature.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in feature.chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return table.drop_columns(["feature"]).to_pandas(), flat.reshape(-1, width)


def keys_of(data: bytes) -> list[str]:
    """Only the keys of a shard's images."""
    import pyarrow.parquet as pq

    return list(pq.read_table(io.BytesIO(data), columns=["key"])["key"].to_pylist())
