"""Rearranged graphs: the same function with fewer multiplications, for graphs that are compiled for a processor.

Here: convolutions over enlarged input. Not here: loading (runtime.py), training's own network (training/network.py).

A U-Net's decoder enlarges by repeating every pixel (2 x 2) and convolves that with 3 x 3 weights: of the nine products
of each result, several take the same pixel. A transposed convolution of 4 x 4 weights, stride 2, over the pixels as
they were is the same function with four products: its weights are sums of the others'. What comes in beside the
enlarged pixels, an encoder's own, is convolved as before and added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import openvino as ov

PLAIN = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1]}
REPEATED = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def rearrange(model: ov.Model) -> int:
    """Rearrange a graph of fixed sizes in place; how many convolutions there were. Others are left as they are."""
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    count = 0
    for node in found:
        parts = _enlarged(node)
        weights = _weights(node)
        if parts is None or weights is None or weights.shape[2:] != (3, 3):
            continue
        node.output(0).replace(_instead(*parts, weights))
        count += 1
    if count:
        model.validate_nodes_and_infer_types()
    return count


def transposed_weights(weights: np.ndarray) -> np.ndarray:
    """float32 (in, out, 4, 4) of a transposed convolution from (out, in, 3, 3) over pixels that are repeated 2 x 2."""
    turned = np.ascontiguousarray(weights[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), np.float32)
    summed = np.zeros((*turned.shape[:2], 4, 4), np.float32)
    for row in range(2):
        for col in range(2):
            summed[:, :, row : row + 3, col : col + 3] += turned
    return summed


def _enlarged(node: Any) -> tuple[Any, Any] | None:
    """The pixels before they are repeated and what lies beside them (None for nothing), if a convolution takes such."""
    if not _has(node, PLAIN) or node.get_attributes().get("auto_pad") != "explicit":
        return None
    given = node.input_value(0).get_node()
    beside = None
    if given.get_type_name() == "Concat" and given.get_input_size() == 2 and given.get_attributes()["axis"] in (1, -3):
        beside, given = given.input_value(1), given.input_value(0).get_node()
    if given.get_type_name() != "Interpolate" or not _has(given, REPEATED):
        return None
    before, after = (list(port.get_partial_shape().to_shape()) for port in (given.input_value(0), given.output(0)))
    if after != [*before[:2], 2 * before[2], 2 * before[3]]:
        return None
    return given.input_value(0), beside


def _has(node: Any, wanted: dict[str, Any]) -> bool:
    stated = node.get_attributes()
    return all(list(v) == list(stated[k]) if isinstance(v, list) else v == stated.get(k) for k, v in wanted.items())


def _weights(node: Any) -> np.ndarray | None:
    """A convolution's weights, float32, where they are constant; in a file they may be halves that are widened."""
    given = node.input_value(1).get_node()
    if given.get_type_name() == "Convert":
        given = given.input_value(0).get_node()
    return np.asarray(given.data, np.float32) if given.get_type_name() == "Constant" else None


def _instead(pixels: Any, beside: Any, weights: np.ndarray) -> Any:
    """What stands for the convolution."""
    from openvino import opset13 as ops

    own = pixels.get_partial_shape()[1].get_length()
    filters = ops.constant(transposed_weights(weights[:, :own]))
    enlarged = ops.convolution_backprop_data(pixels, filters, [2, 2], pads_begin=[1, 1], pads_end=[1, 1])
    if beside is None:
        return enlarged.output(0)
    rest = ops.constant(np.ascontiguousarray(weights[:, own:]))
    plain = ops.convolution(beside, rest, [1, 1], [1, 1], [1, 1], [1, 1])
    return ops.add(enlarged, plain).output(0)
