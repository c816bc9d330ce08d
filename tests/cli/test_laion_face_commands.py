"""`farl-hf laion-face prepare | detect`, as one types them: here, and on a Ray cluster of two machines."""

import json
import shlex

import pyarrow.parquet as pq
import pytest
from laion_face_metadata import ROWS, face_ids, write_ids, write_part
from laion_shards import sample_id, write_shard
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.data.laion_face.shards import find_shards


def farl_hf(*words):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["laion-face", *map(str, words)])


@pytest.fixture
def metadata(tmp_path):
    for part in (0, 2, 5):
        write_part(tmp_path / "meta", part)
    write_ids(tmp_path / "ids.pth", 32)
    return [tmp_path / "meta", "--ids", tmp_path / "ids.pth"]


def tables(folder, pattern):
    paths = sorted(folder.rglob(pattern))
    return {str(path.relative_to(folder)): (pq.read_table(path), pq.read_metadata(path).metadata) for path in paths}


def test_prepare_writes_parts_and_a_manifest_and_says_how_to_download(metadata, tmp_path):
    done = farl_hf("prepare", *metadata, "-o", tmp_path / "out", "--parts", "2,5")
    assert done.exit_code == 0, done.output
    written = tables(tmp_path / "out", "*.parquet")
    assert sorted(written) == ["laion_face_part_00002.parquet", "laion_face_part_00005.parquet"]
    assert sorted(written["laion_face_part_00005.parquet"][0]["SAMPLE_ID"].to_pylist()) == face_ids(5)
    assert "200 of 600 rows" in done.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["total"]["written"] == 2 * ROWS // 3
    assert manifest["parts"]["laion_face_part_00002.parquet"]["origin"]["source"].startswith("part-00002-")
    commands = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("img2dataset ")]
    options = dict(zip(commands[0][1::2], commands[0][2::2], strict=True))
    assert options == {
        "--url_list": str(tmp_path / "out" / "laion_face_part_00002.parquet"),
        "--input_format": "parquet",
        "--url_col": "URL",
        "--caption_col": "TEXT",
        "--output_format": "webdataset",
        "--output_folder": "laion_face/split_00002",
        "--processes_count": "16",
        "--thread_count": "128",
        "--resize_mode": "no",
        "--save_additional_columns": '["NSFW", "similarity", "LICENSE", "SAMPLE_ID"]',
    }
    assert len(commands) == 2


def test_prepare_again_keeps_finished_parts_and_lists_them_all(metadata, tmp_path):
    assert farl_hf("prepare", *metadata, "-o", tmp_path / "out", "--parts", "0").exit_code == 0
    made = (tmp_path / "out" / "laion_face_part_00000.parquet").stat()
    left_over = tmp_path / "out" / ".manifest.json.abcd1234.partial"  # of a run that was killed
    left_over.mkdir()
    done = farl_hf("prepare", *metadata, "-o", tmp_path / "out", "--parts", "0,2")
    assert done.exit_code == 0, done.output
    assert "kept" in done.output
    assert not left_over.exists()
    assert (tmp_path / "out" / "laion_face_part_00000.parquet").stat() == made
    assert farl_hf("prepare", *metadata, "-o", tmp_path / "out", "--parts", "5").exit_code == 0
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["parts"]) == 3


def test_a_damaged_part_is_named_and_the_others_are_finished(metadata, tmp_path):
    next((tmp_path / "meta").glob("part-00002-*")).write_bytes(b"PAR1 damaged")
    done = farl_hf("prepare", *metadata, "-o", tmp_path / "out", "--parts", "0,2,5")
    assert done.exit_code == 1
    assert "c000.snappy.parquet failed: " in done.stderr
    assert len(tables(tmp_path / "out", "*.parquet")) == 2
    assert done.stdout.count("img2dataset ") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "20m"], "lacks part 8, 13, 15, 17, 18, 21, 22, 24, 25, 28; expected files named part-00008-"),
        (["--parts", "40"], "has no part 40; it has 0, 1, 2"),
        (["--parts", "half"], "There are no parts 'half'"),
        (["--parts", "0", "--engine", "spark"], "There is no engine 'spark'. Known: local, ray."),
        (["--parts", "0", "--address", "auto"], "add --engine ray"),
        (["--parts", "0", "--workers", "8"], "--workers is used only with --engine ray"),
        (["--parts", "0", "--ids", "nowhere.pth"], "nowhere.pth cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(metadata, tmp_path, words, said):
    done = farl_hf("prepare", *metadata, "-o", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(tmp_path.rglob("laion_face_part*"))


def test_a_folder_without_metadata(metadata, tmp_path):
    done = farl_hf("prepare", tmp_path, *metadata[1:], "-o", tmp_path / "out")
    assert (done.exit_code, "holds no files named part-00000-" in done.stderr) == (2, True)


@pytest.mark.usefixtures("toy_defaults")
def test_detect_sums_up_all_shards(tmp_path):
    for shard, jpg in enumerate((None, b"damaged")):
        write_shard(tmp_path / "lf", shard, count=3, changes={1: {"jpg": jpg}})
    words = ("detect", tmp_path / "lf", "-o", tmp_path / "lf" / "detections", "--device", "cpu", "-b", 2)
    done = farl_hf(*words)
    assert done.exit_code == 0, done.output
    assert "4 photos, 4 with faces, 8 faces." in done.output
    assert "Skipped: incomplete_sample 1, unreadable_image 1." in done.output
    assert all(shard.detections for shard in find_shards(tmp_path / "lf"))
    assert "2 of them finished before" in farl_hf(*words).output


@pytest.mark.usefixtures("toy_defaults")
def test_a_shard_that_is_a_file_of_others_fails_alone(tmp_path):
    for shard in (0, 1):
        write_shard(tmp_path / "lf", shard, count=1)
    mine = tmp_path / "out" / "split_00000" / "detections-00000.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = farl_hf("detect", tmp_path / "lf", "-o", tmp_path / "out", "--device", "cpu")
    assert (done.exit_code, mine.read_text()) == (1, "mine")
    assert "this command did not write it" in done.stderr
    assert "1 shards in" in done.stdout


def test_detect_without_shards_or_detector(tmp_path):
    write_shard(tmp_path / "lf", count=1)
    for words, said in (
        ((tmp_path / "nowhere",), "does not exist"),
        ((tmp_path / "lf", "--model", "farl-tiny-parsing"), "finds no faces"),
    ):
        done = farl_hf("detect", *words, "-o", tmp_path / "out")
        assert (done.exit_code, said in done.stderr) == (2, True), done.output


@pytest.mark.nightly
def test_on_a_cluster_of_two_the_files_are_the_same(cluster, metadata, toy_checkpoint_folder, tmp_path):
    for shard in (0, 1, 2):
        write_shard(tmp_path / "lf", shard, count=2, changes={1: {"jpg": b"damaged"}})
    next((tmp_path / "meta").glob("part-00005-*")).write_bytes(b"PAR1 damaged")
    detector = ["--model", toy_checkpoint_folder / "retinaface-mobilenet-wider", "--device", "cpu"]
    for engine in (["local"], ["ray", "--address", cluster.address]):
        place = tmp_path / engine[0]
        prepared = farl_hf("prepare", *metadata, "-o", place, "--parts", "0,2,5", "--engine", *engine)
        assert prepared.exit_code == 1, prepared.output  # the damaged part
        assert "failed: " in prepared.stderr
        found = farl_hf("detect", tmp_path / "lf", "-o", place / "found", *detector, "--engine", *engine)
        assert found.exit_code == 0, found.output
        assert "3 photos, 3 with faces, 6 faces." in found.stdout
        assert "unreadable_image 3" in found.stdout
    here, there = (tables(tmp_path / engine, "*.parquet") for engine in ("local", "ray"))
    assert here == there
    assert len(here) == 5
    (first,) = here["found/split_00000/detections-00001.parquet"][0]["sample_id"].to_pylist()
    assert first == sample_id(0, 1)


def test_an_address_where_no_cluster_is(metadata, tmp_path):
    pytest.importorskip("ray")
    words = ("--parts", "0", "--engine", "ray", "--address", "127.0.0.1:1")
    done = farl_hf("prepare", *metadata, "-o", tmp_path / "out", *words)
    assert (done.exit_code, "no Ray cluster at 127.0.0.1:1" in done.stderr) == (2, True), done.output
