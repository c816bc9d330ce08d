"""Filtering one part: against pandas, with whatever type the numbers have; damage, kills, restarts."""

import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from laion_face_metadata import ROWS, columns_of_part, face_ids, sample_ids, write_part

from farl_hf.errors import DatasetWriteError, InvalidDatasetError
from farl_hf.laion_face import metadata_filtering
from farl_hf.laion_face.metadata_filtering import PartFilter, filter_metadata


@pytest.fixture(autouse=True)
def _batches_are_small(monkeypatch):
    monkeypatch.setattr(metadata_filtering, "ROWS_PER_BATCH", 50)


@pytest.fixture
def ids(tmp_path):
    path = tmp_path / "ids-0" / "part_00000.npy"
    path.parent.mkdir()
    np.save(path, np.array(face_ids(0), np.int64))
    return path


def filtered(source, ids, tmp_path):
    counts = filter_metadata(source, ids, tmp_path / "out.parquet")
    return counts, pq.read_table(tmp_path / "out.parquet")


def expected_rows(part=0):
    frame = pd.DataFrame({name: pa.array(column).to_pylist() for name, column in columns_of_part(part).items()})
    return frame[frame.SAMPLE_ID.isin(face_ids(part))].to_dict("records")


def test_rows_are_those_that_pandas_finds_in_their_order(tmp_path, ids):
    counts, table = filtered(write_part(tmp_path, 0), ids, tmp_path)
    assert table.to_pylist() == expected_rows()
    assert table.schema.field("SAMPLE_ID").type == pa.int64()
    assert table.schema.field("WIDTH").type == pa.int32()
    assert {name: count for name, count in counts.items() if count} == {"rows": ROWS, "written": ROWS // 3}


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.uint64(), pa.float64(), pa.string(), pa.large_string(), pa.decimal128(20, 0)),
        *(pa.dictionary(pa.int32(), pa.int64()), pa.dictionary(pa.int32(), pa.string())),
    ],
    ids=str,
)
def test_numbers_of_every_type_are_the_same_numbers(tmp_path, ids, kind):
    numbers = pa.array(sample_ids(0))
    of_rows = numbers.cast(getattr(kind, "value_type", kind))
    numbers = of_rows.dictionary_encode() if pa.types.is_dictionary(kind) else of_rows
    counts, table = filtered(write_part(tmp_path, 0, SAMPLE_ID=numbers), ids, tmp_path)
    assert table.to_pylist() == expected_rows()
    assert counts["without_number"] == 0


def test_text_as_pandas_writes_floats(tmp_path, ids):
    words = [f" {number}.0 " for number in sample_ids(0)]
    words[:4] = ["nan", "", "12e3", "9" * 30]
    counts, table = filtered(write_part(tmp_path, 0, SAMPLE_ID=words), ids, tmp_path)
    kept = set(sample_ids(0)[4:]) & set(face_ids(0))
    assert set(table["SAMPLE_ID"].to_pylist()) == kept
    assert counts["without_number"] == 4
    assert counts["missing_ids"] == ROWS // 3 - len(kept)


def test_floats_that_are_no_exact_numbers(tmp_path, ids):
    numbers = [float(number) for number in sample_ids(0)]
    numbers[:5] = [float("nan"), float("inf"), None, 3.5, 2.0**60]
    counts, table = filtered(write_part(tmp_path, 0, SAMPLE_ID=pa.array(numbers)), ids, tmp_path)
    assert counts["without_number"] == 5
    assert counts["written"] == len(table) == len(set(sample_ids(0)[5:]) & set(face_ids(0)))


def test_a_type_in_which_numbers_coincide_is_refused(tmp_path, ids):
    source = write_part(tmp_path, 0, SAMPLE_ID=pa.array([float(n) for n in sample_ids(0)], pa.float32()))
    with pytest.raises(InvalidDatasetError, match="SAMPLE_ID as float"):
        filtered(source, ids, tmp_path)
    assert not (tmp_path / "out.parquet").exists()


def test_missing_repeated_and_empty_values_are_counted(tmp_path, ids):
    """Of the first six faces: two without a URL, one without a number, two without a text; one comes twice."""
    numbers, columns = sample_ids(0), columns_of_part(0)
    urls, texts = list(columns["URL"]), list(columns["TEXT"])
    faces = [row for row, number in enumerate(numbers) if number in set(face_ids(0))]
    urls[faces[0]], urls[faces[1]], texts[faces[2]], texts[faces[3]] = None, " ", None, ""
    numbers[faces[4]] = None
    other = next(row for row in range(ROWS) if row not in faces)
    numbers[other] = numbers[faces[5]]
    source = write_part(tmp_path, 0, SAMPLE_ID=pa.array(numbers), URL=urls, TEXT=texts)
    counts, table = filtered(source, ids, tmp_path)
    wanted = {"rows": ROWS, "written": ROWS // 3 - 3 + 1, "missing_ids": 3, "repeated": 1}
    assert counts == wanted | {"without_number": 1, "without_url": 2, "without_text": 2}
    assert len(table) == counts["written"]
    assert table["TEXT"].null_count == 1


def test_a_column_of_nothing_but_null(tmp_path, ids):
    counts, _ = filtered(write_part(tmp_path, 0, TEXT=pa.nulls(ROWS)), ids, tmp_path)
    assert counts["without_text"] == counts["written"] == ROWS // 3


def test_no_numbers_and_no_rows(tmp_path, ids):
    counts, table = filtered(write_part(tmp_path, 0, count=0, URL=[], TEXT=[]), ids, tmp_path)
    assert (len(table), counts["missing_ids"]) == (0, ROWS // 3)
    np.save(ids, np.zeros(0, np.int64))
    counts, table = filtered(write_part(tmp_path, 1), ids, tmp_path)
    assert (len(table), counts["rows"]) == (0, ROWS)


def test_a_missing_column_is_named(tmp_path, ids):
    with pytest.raises(InvalidDatasetError, match=r"lacks URL; expected .* found SAMPLE_ID, TEXT, HEIGHT"):
        filtered(write_part(tmp_path, 0, URL=None), ids, tmp_path)


def test_damage_is_an_error_of_the_source_and_leaves_nothing(tmp_path, ids):
    source = write_part(tmp_path, 0)
    content = bytearray(source.read_bytes())
    content[1000:3000] = b"\xff" * 2000
    for damaged in (b"", bytes(content[:500]), bytes(content)):
        source.write_bytes(damaged)
        with pytest.raises(InvalidDatasetError, match=r"part-00000.*(Parquet|damaged)"):
            filtered(source, ids, tmp_path)
    assert not list(tmp_path.glob("*out.parquet*"))


def job_of(source, ids, output):
    return {"source": str(source), "ids": str(ids), "output": str(output)}


def test_finished_parts_are_kept_until_source_or_list_change(tmp_path, ids):
    job = job_of(write_part(tmp_path, 0), ids, tmp_path / "out.parquet")
    work = PartFilter()
    first, second = work(job), work(job)
    assert (first["kept"], second["kept"]) == (False, True)
    assert first["counts"] == second["counts"]
    write_part(tmp_path, 0, LICENSE=["another licence"] * ROWS)
    assert not work(job)["kept"]
    ids.parent.rename(tmp_path / "ids-1")
    job["ids"] = str(tmp_path / "ids-1" / ids.name)
    assert not work(job)["kept"]
    assert work(job)["kept"]


@pytest.mark.parametrize("content", [b"mine", b""])
def test_files_of_others_are_never_replaced(tmp_path, ids, content):
    output = tmp_path / "out.parquet"
    output.write_bytes(content)
    with pytest.raises(DatasetWriteError, match="did not write it"):
        PartFilter()(job_of(write_part(tmp_path, 0), ids, output))
    assert output.read_bytes() == content


KILLED_IN_THE_MIDDLE = """
import sys, time
from farl_hf.laion_face import metadata_filtering

def first_batches(opened, source):
    batches = opened.iter_batches(50)
    yield next(batches)
    yield next(batches)
    print("half", flush=True)
    time.sleep(60)

metadata_filtering.record_batches = first_batches
metadata_filtering.filter_metadata(*sys.argv[1:])
"""


@pytest.mark.nightly
def test_a_killed_run_leaves_nothing_that_looks_finished_and_can_be_started_again(tmp_path, ids):
    source, output = write_part(tmp_path, 0), tmp_path / "out.parquet"
    words = [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(source), str(ids), str(output)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not output.exists()
    assert len(list(tmp_path.glob(".out.parquet*"))) == 1
    assert not PartFilter()(job_of(source, ids, output))["kept"]
    assert pq.read_table(output).to_pylist() == expected_rows()
    assert not list(tmp_path.glob(".out.parquet*"))


def test_a_place_that_cannot_be_written(tmp_path, ids):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetWriteError, match="could not be written"):
        filter_metadata(write_part(tmp_path, 0), ids, tmp_path / "file" / "out.parquet")
