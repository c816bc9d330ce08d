"""`farl-hf check official FILE`: the report of a file in a released format, with random weights."""

import conversion_sources as sources
import pytest
import torch
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.conversion import original_networks


@pytest.fixture(scope="module")
def parsing_file(tmp_path_factory):
    """As facer's LaPa model, with a small encoder; not under the name of the released file, nor with `jit` in it."""
    network = sources.make_parsing_network(11, 448)
    return sources.write_parsing(tmp_path_factory.mktemp("official") / "lapa.pt", network, out_size=(512, 512))


def check(*arguments):
    done = CliRunner().invoke(app, ["check", "official", *map(str, arguments)])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    return done, {row[0]: row[1:] for row in rows}


def test_a_sound_file_gives_a_report_of_equal_rows(parsing_file):
    done, rows = check(parsing_file, "--name", "farl-lapa-448")
    assert done.exit_code == 0, done.output
    assert rows["file"] == [f"lapa.pt, {parsing_file.stat().st_size:,} bytes"]
    assert "FaRLForFaceParsing" in rows["read as"][0]
    assert "farl-lapa-448" in rows["read as"][0]
    assert "pyfacer" in rows["versions"][0]
    verdicts = {what: cells[2] for what, cells in rows.items() if len(cells) == 3 and what not in ("compared", "---")}
    assert {"logits", "photo: pixels of another class"} < set(verdicts)
    assert set(verdicts.values()) == {"equal"}
    assert f"0 of {len(verdicts)} rows differ" in done.stdout


def test_another_photo_result_is_said_and_ends_with_1(parsing_file, monkeypatch):
    def turned(self, outputs, matrices, sizes_hw):
        return [torch.full(tuple(size_hw), 3) for size_hw in sizes_hw]

    monkeypatch.setattr("farl_hf.processing.FaRLImageProcessor.post_process_face_parsing", turned)
    done, rows = check(parsing_file)
    assert done.exit_code == 1
    assert rows["photo: pixels of another class"][2] == "**different**"
    assert rows["logits"][2] == "equal"
    assert "1 of " in done.stdout


@pytest.mark.parametrize("body", ["mobilenet_v1"])
def test_a_detector_is_compared_on_the_photo_too(tmp_path, body):
    done, rows = check(sources.write_plain(tmp_path / "mobilenet0.25_Final.pth", sources.make_detector(body)))
    assert done.exit_code == 0, done.output
    assert rows["photo: number of detections"][2] == "equal"
    assert "retinaface-mobilenet" in rows["read as"][0]  # by the name of the file


def test_a_graph_is_known_by_its_content_and_has_no_photo_rows(tmp_path):
    onnx, detectors = pytest.importorskip("onnx"), pytest.importorskip("onnx_detectors")
    onnx.save(detectors.make_detector_graph(), tmp_path / "detector")
    done, rows = check(tmp_path / "detector")
    assert done.exit_code == 0, done.output
    assert rows["box offsets"][2] == "equal"
    assert not [what for what in rows if what.startswith("photo: ")]


def test_a_backbone_has_no_photo_rows(tmp_path):
    sources.write_two_towers(tmp_path / "backbone.pth", sources.make_two_towers())
    done, rows = check(tmp_path / "backbone.pth")
    assert done.exit_code == 0, done.output
    assert rows["similarities"][2] == "equal"
    assert not [what for what in rows if what.startswith("photo")]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["landmarks", "attributes"])
def test_files_with_the_full_encoder(tmp_path, kind):
    """facer knows these models with the encoder of the release only."""
    encoder = {"width": 768, "depth": 12, "projection": 512}
    if kind == "landmarks":
        source = sources.write_landmarks(tmp_path / "landmarks.pt", sources.make_landmark_network(98, 448, encoder))
    else:
        visual = original_networks.make_visual_transformer(224, **encoder)
        network = sources.randomise(original_networks.make_attribute_network(visual, [11], 40))
        source = sources.write_plain(tmp_path / "attributes.pt", network)
    done, rows = check(source)
    assert done.exit_code == 0, done.output
    (row,) = (cells for what, cells in rows.items() if what.startswith("photo"))
    assert row[2] == "equal"


def test_a_file_of_another_kind_than_its_name_is_refused(parsing_file):
    done, _ = check(parsing_file, "--name", "farl-wflw-448")
    assert done.exit_code == 2
    assert "Traceback" not in done.output
