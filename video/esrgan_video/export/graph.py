"""A small writer of ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esrgan.errors import MissingExtraError

INPUT, OUTPUT = "input", "output"
"""Names of the graph's one input and one output."""

type Dimension = int | str
"""A size, or the name of one that is not fixed."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph that is being written."""

    name: str
    half: bool = False
    """float16, else float32."""


def require_onnx() -> Any:
    """The package `onnx`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("writing ONNX", "onnx") from None
    return onnx


class GraphWriter:
    """Nodes and constants in the order in which they are added."""

    def __init__(self) -> None:
        self._onnx = require_onnx()
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self.input = Value(INPUT)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant once; its name."""
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node of one output; the name of both."""
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def cast(self, value: Value, *, half: bool) -> Value:
        """`value` in float16 or float32."""
        if value.half == half:
            return value
        types = self._onnx.TensorProto
        to = types.FLOAT16 if half else types.FLOAT
        return Value(self.node("Cast", [value.name], f"{value.name}/cast", to=to), half)

    def convolution(self, name: str, value: Value, weight: Tensor, bias: Tensor | None) -> Value:
        """A convolution with stride 1 that keeps the size, in the precision of its weights."""
        half = weight.dtype == torch.float16
        inputs = [self.cast(value, half=half).name, self.constant(f"{name}.weight", array(weight))]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", array(bias)))
        sides = [weight.shape[2] // 2, weight.shape[3] // 2]
        return Value(
            self.node("Conv", inputs, name, kernel_shape=list(weight.shape[2:]), pads=sides + sides, strides=[1, 1]),
            half,
        )

    def leaky_relu(self, name: str, value: Value, slope: float) -> Value:
        """max(x, slope * x), for a slope of 0 to 1."""
        return Value(self.node("LeakyRelu", [value.name], name, alpha=slope), value.half)

    def add(self, name: str, first: Value, second: Value) -> Value:
        """The sum, in float32 unless both are in float16."""
        half = first.half and second.half
        inputs = [self.cast(first, half=half).name, self.cast(second, half=half).name]
        return Value(self.node("Add", inputs, name), half)

    def scaled(self, name: str, value: Value, factor: float) -> Value:
        """`value` times a number."""
        kind = np.float16 if value.half else np.float32
        label = f"{factor:g}{'/half' if value.half else ''}"
        return Value(self.node("Mul", [value.name, self.constant(label, np.asarray(factor, kind))], name), value.half)

    def concatenate(self, name: str, values: Sequence[Value]) -> Value:
        """`values`, all of one precision, one behind the other along the channels."""
        return Value(self.node("Concat", [value.name for value in values], name, axis=1), values[0].half)

    def nearest(self, name: str, value: Value, factor: int) -> Value:
        """Each pixel repeated `factor` times in both directions."""
        if factor == 1:
            return value
        # Scales, not sizes: nothing in the graph has to compute with shapes.
        scales = self.constant(f"nearest x{factor}", np.asarray([1, 1, factor, factor], np.float32))
        return Value(
            self.node(
                "Resize",
                [value.name, "", scales],
                name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            value.half,
        )

    def finish(
        self, output: Value, *, input_shape: Sequence[Dimension], output_shape: Sequence[Dimension], opset: int
    ) -> Any:
        """The model (`onnx.ModelProto`), checked.

        The oldest file format that has the operators is declared, so that older programs take it.
        """
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        result = self.cast(output, half=False)
        self._nodes.append(helper.make_node("Identity", [result.name], [OUTPUT], name=OUTPUT))
        graph = helper.make_graph(
            self._nodes,
            "esrgan",
            [helper.make_tensor_value_info(INPUT, float32, list(input_shape))],
            [helper.make_tensor_value_info(OUTPUT, float32, list(output_shape))],
            list(self._constants.values()),
        )
        operators = [helper.make_opsetid("", opset)]
        model = helper.make_model(
            graph, opset_imports=operators, ir_version=helper.find_min_ir_version_for(operators), producer_name="esrgan"
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model


def array(tensor: Tensor) -> NDArray[Any]:
    """The values of a parameter."""
    return tensor.detach().cpu().numpy()
