"""`/v2/...`: the Open Inference Protocol (KServe v2), for clients that speak tensors.

Here: its endpoints, tensors in JSON or behind it (the binary extension), and what tensors mean to our models. Not here:
admission (lane.py), models (gallery.py). The protocol's own errors are `{"error": "..."}`: its clients read that.

A network of footprints takes `window`, UINT8 or FP32 of 0..255, (1, bands, H, W), and gives `probability`, the same
shape with two planes, building and edge, 0..255. Every model takes `image`, BYTES of one JPEG, PNG or WebP in base64
(JSON) or as it is (binary), and gives `answer`, BYTES of the JSON that `/v1/predict` gives; a classifier also `labels`
and `probabilities`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from groundplan import __version__
from groundplan.single.analyse import ONE_WINDOW, FootprintModel, probabilities
from serving.api.gallery import Shown
from serving.api.keys import LOCAL, Caller
from serving.api.lane import Ticket, deadline_of
from serving.api.predict import SaidOfImage, attended, dumped, one_image
from serving.api.problems import Problem, bounded
from serving.api.service import Service, needs, service

TYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
HEAD = "inference-header-content-length"
MOST_INPUTS = 8
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
router = APIRouter(tags=["Open Inference Protocol"])
Predicting = Annotated[Caller, Depends(needs("predict"))]
Name: TypeAlias = Annotated[str, Path(pattern=NAME)]
Version: TypeAlias = Annotated[str, Path(pattern=VERSION)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A named tensor: an array, or BYTES as a list of byte strings."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Infer:
    """A request: its tensors, and which outputs are wanted, in binary or not; no output named: all."""

    number: str
    tensors: dict[str, Tensor]
    wanted: dict[str, bool]
    binary: bool


# --- what is there ----------------------------------------------------------------------------------------------------


@router.get("/v2", summary="The server")
async def server() -> dict[str, Any]:
    return {"name": "groundplan", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/v2/health/live", summary="Whether the process answers", response_class=Response)
async def live() -> Response:
    return Response(status_code=200)


@router.get("/v2/health/ready", summary="Whether a model is loaded", response_class=Response)
async def ready(request: Request) -> Response:
    here = service(request)
    return Response(status_code=200 if here.gallery.shown and not here.lane.closing else 503)


@router.get("/v2/models/{model}", summary="What a model takes and gives")
async def metadata(request: Request, model: Name, caller: Predicting = LOCAL) -> Any:
    return _described(model, await _shown(request, model))


@router.get("/v2/models/{model}/versions/{version}", summary="What a version takes and gives")
async def metadata_of_version(request: Request, model: Name, version: Version, caller: Predicting = LOCAL) -> Any:
    return _described(model, await _shown(request, model, version))


def _described(model: str, shown: Shown) -> dict[str, Any]:
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    outputs = [{"name": "answer", "datatype": "BYTES", "shape": [1]}]
    if isinstance(shown.model, FootprintModel):
        bands = shown.model.runtime.bands
        inputs.append({"name": "window", "datatype": "UINT8", "shape": [1, bands, -1, -1]})
        outputs.append({"name": "probability", "datatype": "UINT8", "shape": [1, 2, -1, -1]})
    else:
        count = len(shown.model.classifier.labels)
        outputs.append({"name": "labels", "datatype": "BYTES", "shape": [count]})
        outputs.append({"name": "probabilities", "datatype": "FP32", "shape": [count]})
    return {
        "name": model,
        "versions": [shown.entry.version],
        "platform": "openvino",
        "inputs": inputs,
        "outputs": outputs,
    }


@router.get("/v2/models/{model}/ready", summary="Whether a model can be asked")
async def model_ready(request: Request, model: Name, caller: Predicting = LOCAL) -> Any:
    return {"name": model, "ready": bool(await _shown(request, model))}


@router.get("/v2/models/{model}/versions/{version}/ready", summary="Whether a version can be asked")
async def version_ready(request: Request, model: Name, version: Version, caller: Predicting = LOCAL) -> Any:
    return {"name": model, "ready": bool(await _shown(request, model, version))}


async def _shown(request: Request, model: str, version: str | None = None) -> Shown:
    return await service(request).gallery.need(f"{model}@{version}" if version else model)


# --- asking -----------------------------------------------------------------------------------------------------------

OUT = ("application/json", "application/octet-stream")
ANSWERS: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in OUT}}}
ANSWERS |= {
    status: {"content": {"application/json": {}, "application/problem+json": {}}}
    for status in (400, 401, 403, 404, 408, 413, 415, 422, 429, 503, 504)
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
                }
            }
        },
    }
}


@router.post("/v2/models/{model}/infer", openapi_extra=BODY, responses=ANSWERS, summary="Ask a model")
async def infer(request: Request, model: Name, caller: Predicting = LOCAL) -> Response:
    return await _answer(request, model)


@router.post(
    "/v2/models/{model}/versions/{version}/infer", openapi_extra=BODY, responses=ANSWERS, summary="Ask a version"
)
async def infer_by_version(request: Request, model: Name, version: Version, caller: Predicting = LOCAL) -> Response:
    return await _answer(request, model, version)


async def _answer(request: Request, model: str, version: str | None = None) -> Response:
    """Problems in the protocol's own form."""
    try:
        return await _infer(request, model, version)
    except Problem as error:
        retry = {} if error.retry is None else {"retry-after": str(max(1, round(error.retry + 0.5)))}
        return JSONResponse({"error": error.detail}, error.status, retry)


async def _infer(request: Request, model: str, version: str | None) -> Response:
    began, here = time.monotonic(), service(request)
    seconds = deadline_of(request.headers.get("x-deadline-ms"), here.settings.deadline_seconds)
    shown = await _shown(request, model, version)
    here.lane.look(shown.entry.name)
    most = here.settings.max_bytes if HEAD in request.headers else _most_json(here)
    body = bounded(request, most, here.settings.body_seconds)
    data = b"".join([chunk async for chunk in body.stream()])
    asked = await asyncio.to_thread(read, data, request.headers.get(HEAD), here.settings.max_base64_bytes)
    ticket = here.lane.enter(shown.entry.name, seconds - (time.monotonic() - began))
    work = _work(asked, shown, here, ticket)
    found = await attended(request, here.lane.do(ticket, work))
    return written(shown, asked, found)


def _most_json(here: Service) -> int:
    """Of a body without binary data: an image in base64, or a window written out, of at most four signs a value."""
    return min(here.settings.max_bytes, 4 * here.settings.max_base64_bytes)


def _work(asked: Infer, shown: Shown, here: Service, ticket: Ticket[Any]) -> Callable[[], list[Tensor]]:
    if len(asked.tensors) != 1:
        raise Problem(400, "inputs", "Give one input: `image`, or `window` to a network of footprints")
    (tensor,) = asked.tensors.values()
    if tensor.name == "image":
        data = _image(tensor)
        return lambda: _answered(one_image(data, shown, here.limits, None, ticket.check))
    if tensor.name == "window" and isinstance(shown.model, FootprintModel):
        network = shown.model.runtime
        window = _window(tensor, network.bands)
        return lambda: [_tensor("probability", probabilities(window, network, ticket.check)[None])]
    raise Problem(400, "inputs", f"It has no input `{tensor.name[:40]}`; GET /v2/models/NAME says which it has")


def _image(tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES" or len(tensor.values) != 1:
        raise Problem(400, "inputs", "`image` is BYTES of one image")
    return bytes(tensor.values[0])


def _window(tensor: Tensor, bands: int) -> np.ndarray:
    """uint8 (bands, H, W)."""
    shape = tensor.shape
    if tensor.datatype not in TYPES or len(shape) != 4 or shape[:2] != (1, bands):
        raise Problem(400, "inputs", f"`window` is UINT8 or FP32 of (1, {bands}, H, W)")
    if not 1 <= min(shape[2:]) <= max(shape[2:]) <= ONE_WINDOW:
        raise Problem(413, "inputs", f"A window has sides of 1 to {ONE_WINDOW} pixels")
    values = np.nan_to_num(tensor.values) if tensor.datatype == "FP32" else tensor.values
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)[0])


def _answered(said: SaidOfImage | Problem) -> list[Tensor]:
    if isinstance(said, Problem):
        raise said
    found = [_texts("answer", [dumped(said.answer)])]
    if said.analysis.kind == "class":
        found.append(_texts("labels", [label.encode() for label, _ in said.analysis.labels]))
        found.append(_tensor("probabilities", np.array([share for _, share in said.analysis.labels], "<f4")))
    return found


def _tensor(name: str, values: np.ndarray) -> Tensor:
    kind = "UINT8" if values.dtype == np.uint8 else "FP32"
    return Tensor(name=name, datatype=kind, shape=values.shape, values=values)


def _texts(name: str, values: list[bytes]) -> Tensor:
    return Tensor(name=name, datatype="BYTES", shape=(len(values),), values=values)


# --- the wire ---------------------------------------------------------------------------------------------------------


def read(data: bytes, head: str | None, most: int) -> Infer:
    """A request from its bytes. head: length of the JSON, where binary data follow. most: bytes of an image in base64.

    Raises Problem 400 for what is no request, 413 for what is too large.
    """
    end = len(data)
    if head is not None:
        if not head.isdecimal() or len(head) > 12 or int(head) > len(data):
            raise _bad("Inference-Header-Content-Length is not the length of the JSON")
        end = int(head)
    try:
        raw = json.loads(data[:end])
        inputs, outputs = list(raw["inputs"]), list(raw.get("outputs") or [])
        if not 1 <= len(inputs) <= MOST_INPUTS or len(outputs) > MOST_INPUTS:
            raise ValueError
        parts = _parts(memoryview(data)[end:])
        tensors = [_read_tensor(one, parts, most) for one in inputs]
        wanted = {str(one["name"]): bool(_told(one).get("binary_data")) for one in outputs}
        binary = bool(_told(raw).get("binary_data_output"))
        return Infer(
            number=str(raw.get("id", ""))[:200],
            tensors={tensor.name: tensor for tensor in tensors},
            wanted=wanted,
            binary=binary,
        )
    except Problem:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, struct.error) as error:
        raise _bad("It is no request of the Open Inference Protocol") from error


def _bad(detail: str) -> Problem:
    return Problem(400, "inputs", detail)


def _told(raw: Any) -> dict[str, Any]:
    found = raw.get("parameters") or {}
    if not isinstance(found, dict):
        raise TypeError
    return found


def _parts(rest: memoryview) -> Callable[[int], memoryview]:
    """The next so many bytes of binary data."""
    at = 0

    def take(size: int) -> memoryview:
        nonlocal at
        if not 0 <= size <= len(rest) - at:
            raise ValueError
        at += size
        return rest[at - size : at]

    return take


def _read_tensor(raw: dict[str, Any], parts: Callable[[int], memoryview], most: int) -> Tensor:
    name, datatype, shape = str(raw["name"]), str(raw["datatype"]), tuple(int(side) for side in raw["shape"])
    size = _told(raw).get("binary_data_size")
    count = int(np.prod(shape, dtype=object)) if shape else 0
    if not 1 <= count <= 2**31 or min(shape) < 1:
        raise ValueError
    if datatype == "BYTES":
        values: Any = list(_texts_of(parts(int(size)))) if size is not None else _from_base64(raw["data"], most)
    elif datatype in TYPES:
        kind = TYPES[datatype]
        flat = np.frombuffer(parts(int(size)), kind) if size is not None else _numbers(raw["data"], kind)
        values = flat.reshape(shape)
    else:
        raise _bad(f"Of data types BYTES, {', '.join(TYPES)} are read")
    if len(values) != shape[0]:
        raise ValueError
    return Tensor(name=name, datatype=datatype, shape=shape, values=values)


def _numbers(raw: Any, kind: np.dtype[Any]) -> np.ndarray:
    found = np.asarray(raw, np.float64)
    if kind == np.uint8 and not ((found >= 0) & (found <= 255)).all():
        raise ValueError
    return found.astype(kind).ravel()


def _texts_of(data: memoryview) -> Iterator[bytes]:
    """BYTES in binary: each with its length before it, 4 bytes, little-endian."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        if size > len(data) - at - 4:
            raise ValueError
        yield bytes(data[at + 4 : at + 4 + size])
        at += 4 + size


def _from_base64(raw: Any, most: int) -> list[bytes]:
    flat = raw if isinstance(raw, list) else [raw]
    if sum(len(text) for text in flat) > most * 4 // 3 + 4:
        detail = f"An image in base64 may have {most:,} bytes; send it as binary data, or to /v1/predict"
        raise Problem(413, "too-large", detail)
    return [base64.b64decode(text, validate=True) for text in flat]


def written(shown: Shown, asked: Infer, found: list[Tensor]) -> Response:
    """The answer: JSON, with binary data behind it where they were asked for. Raises Problem for an unknown output."""
    chosen = [tensor for tensor in found if not asked.wanted or tensor.name in asked.wanted]
    if asked.wanted.keys() - {tensor.name for tensor in chosen}:
        raise _bad(f"It gives {', '.join(tensor.name for tensor in found)}")
    outputs, behind = [], []
    for tensor in chosen:
        described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if asked.wanted.get(tensor.name, asked.binary):
            data = _in_binary(tensor)
            described["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            described["data"] = _in_json(tensor)
        outputs.append(described)
    answer = {"model_name": shown.entry.name, "model_version": shown.entry.version, "outputs": outputs}
    head = dumped(answer | ({"id": asked.number} if asked.number else {}))
    headers = {"x-model-version": shown.entry.version, "cache-control": "no-store"}
    if not behind:
        return Response(head, media_type="application/json", headers=headers)
    headers[HEAD] = str(len(head))
    return Response(b"".join([head, *behind]), media_type="application/octet-stream", headers=headers)


def _in_binary(tensor: Tensor) -> bytes:
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in tensor.values)
    return np.ascontiguousarray(tensor.values).tobytes()


def _in_json(tensor: Tensor) -> list[Any]:
    if tensor.datatype == "BYTES":
        return [text.decode("utf-8", "replace") for text in tensor.values]
    return list(np.asarray(tensor.values).ravel().tolist())
