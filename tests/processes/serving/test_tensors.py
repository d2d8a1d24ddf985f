"""The Open Inference Protocol, asked by NVIDIA's client over a socket, and by hand where that client cannot err."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import urllib3
from api_server import home_with_model, served, squares, when_ready
from tritonclient.utils import InferenceServerException

from serving.api.app import build


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project = home_with_model(tmp_path_factory.mktemp("tensors") / "home", api={"max_base64_bytes": 16_384})
    with served(build(project)) as place:
        when_ready(place)
        yield place


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    made = triton.InferenceServerClient(address)
    yield made
    made.close()


def as_input(name: str, values: np.ndarray, kind: str, binary: bool) -> Any:
    found = triton.InferInput(name, list(values.shape), kind)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def test_the_server_and_its_model_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("footprints")
    told = client.get_model_metadata("footprints")
    assert [one["name"] for one in told["inputs"]] == ["image", "window"]
    assert client.is_model_ready("footprints", told["versions"][0])
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("kind", "dtype"), [("UINT8", np.uint8), ("FP32", np.float32)])
def test_a_window_of_tensors_gives_probabilities(client: Any, binary: bool, kind: str, dtype: type) -> None:
    window = np.zeros((1, 3, 40, 48), dtype)
    window[:, :, 8:24, 8:24] = 255
    wanted = [triton.InferRequestedOutput("probability", binary_data=binary)]
    answer = client.infer("footprints", [as_input("window", window, kind, binary)], outputs=wanted, request_id="7")
    found = answer.as_numpy("probability")
    assert (found.shape, found.dtype) == ((1, 2, 40, 48), np.uint8)
    assert (found[0, 0, 8:24, 8:24] > 250).all()
    assert (found[0, 0, 30:] < 5).all()
    assert answer.get_response()["id"] == "7"


def test_an_image_as_bytes_gives_what_predict_gives(client: Any, address: str) -> None:
    data = squares()
    image = np.array([data], object)
    answer = client.infer("footprints", [as_input("image", image, "BYTES", True)])
    told = json.loads(answer.as_numpy("answer")[0])
    posted = urllib3.request("POST", f"http://{address}/v1/predict/footprints", body=data).json()
    assert told == posted
    assert len(told["features"]) == 2


def ask(address: str, body: Any, head: str | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if head is None else {"Inference-Header-Content-Length": head}
    return urllib3.request("POST", f"http://{address}/v2/models/footprints/infer", body=data, headers=headers)


def of_image(data: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data, **more}]}


def test_an_image_in_base64_has_a_smaller_bound(address: str) -> None:
    small = base64.b64encode(squares()).decode()
    answer = ask(address, of_image([small])).json()
    assert len(json.loads(answer["outputs"][0]["data"][0])["features"]) == 2
    large = ask(address, of_image([base64.b64encode(b"x" * 17_000).decode()]))
    assert (large.status, "/v1/predict" in large.json()["error"]) == (413, True)
    assert ask(address, of_image(["x" * 70_000])).status == 413


def window(shape: list[int], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "window", "datatype": "UINT8", "shape": shape, "data": data}]}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b"", None),
        (b"[]", None),
        (b"{" * 5000, None),
        ({"inputs": []}, None),
        ({"inputs": [{}]}, None),
        (of_image("no base64!"), None),
        (of_image([7]), None),
        (of_image(["aGVsbG8="] * 2), None),
        (of_image(None, parameters={"binary_data_size": 10}), "40"),
        (of_image(["aGVsbG8="], datatype="FP64"), None),
        (window([1, 3, 8, 8], [0] * 191), None),
        (window([1, 3, 8, 8], [300] * 192), None),
        (window([1, 3, -8, -8], [0] * 192), None),
        (window([1, 3, 2**40, 2**40], [0]), None),
        (window([1, 4, 8, 8], [0] * 256), None),
        (b'{"inputs": []}', "9999"),
        (b'{"inputs": []}', "-1"),
    ],
)
def test_what_is_no_request_is_refused_in_the_protocols_words(body: Any, head: str | None, address: str) -> None:
    answer = ask(address, body, head)
    assert answer.status in (400, 413), answer.data
    assert list(answer.json()) == ["error"]


def test_an_image_that_is_none_and_a_model_that_is_none_are_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="none of JPEG"):
        client.infer("footprints", [as_input("image", np.array([b"hello"], object), "BYTES", True)])
    with pytest.raises(InferenceServerException, match="no model of that name"):
        client.infer("other", [as_input("image", np.array([b"hello"], object), "BYTES", True)])
