"""A small sheet as bytes, and the message by which a bucket tells of a new object."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from conftest import ORIGIN


@lru_cache(maxsize=64)
def tiff(east: float, version: int = 0, crs: str | None = "EPSG:28992", **tags: str) -> bytes:
    """A sheet of 40 x 40 m, 4 x 4 pixels."""
    place = rasterio.Affine(10.0, 0, ORIGIN[0] + east, 0, -10.0, ORIGIN[1] - 5)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=4, height=4, count=3, dtype="uint8", crs=crs, transform=place) as file:
            file.write(np.full((3, 4, 4), version, np.uint8))
            if tags:
                file.update_tags(**tags)
        return bytes(memory.read())


def notification(**changes: Any) -> str:
    record = json.loads(json.dumps(RECORD))
    for path, value in changes.items():
        place = record
        *parents, last = path.split("__")
        for part in parents:
            place = place[part]
        place[last] = value
    return json.dumps({"Records": [record]})


# the forms below follow the examples in AWS's documentation of each service
RECORD: dict[str, Any] = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "awsRegion": "eu-west-1",
    "eventTime": "2026-05-28T20:26:40.000Z",
    "eventName": "ObjectCreated:CompleteMultipartUpload",
    "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
    "requestParameters": {"sourceIPAddress": "127.0.0.1"},
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "groundplan",
        "bucket": {"name": "imagery-bucket", "arn": "arn:aws:s3:::imagery-bucket"},
        "object": {
            "key": "groundplan/landing/Sint+Anthonis/2024/blad+%231+%C3%A9.tif",
            "size": 1024,
            "eTag": "d41d8cd98f00b204e9800998ecf8427e",
            "sequencer": "0055AED6DCD90281E5",
        },
    },
}
