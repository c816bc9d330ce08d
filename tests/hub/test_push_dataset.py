"""`farl-hf data convert --push`: a data set as one private commit."""

import pytest
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.errors import UploadError
from farl_hf.hub.pushing import push_dataset


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    for folder in ("train", "val"):
        (tmp_path / "raw" / folder / "images" / "0--Parade").mkdir(parents=True)
        picture = bytes.fromhex(  # one red pixel, PNG
            "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101"
            "00c9fe92ef0000000049454e44ae426082"
        )
        (tmp_path / "raw" / folder / "images" / "0--Parade" / "a.png").write_bytes(picture)
        (tmp_path / "raw" / folder / "label.txt").write_text("# 0--Parade/a.png\n0 0 1 1\n")
    return tmp_path / "raw"


def convert(raw, *options):
    arguments = ["data", "convert", "widerface", str(raw), "-o", str(raw.parent / "out"), *options]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(("option", "private"), [((), True), (("--public",), False)])
def test_a_converted_data_set_is_uploaded(here, raw, option, private):
    name = f"me/faces-{private}"
    done = convert(raw, "--push", name, *option)
    assert done.exit_code == 0, done.output
    repository = here.repositories[name]
    commit, files = repository.files("main")
    assert repository.private is private
    assert commit in done.output
    written = {path.relative_to(raw.parent / "out").as_posix(): path.read_bytes() for path in files_of(raw)}
    assert files == written
    assert set(files) == {
        "README.md",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
    }


def files_of(raw):
    return [path for path in (raw.parent / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("part", ["/api/repos/create", "/preupload/", "/commit/"])
def test_a_refused_upload_keeps_the_folder_and_says_so(here, raw, part):
    here.refusals[part] = 403
    done = convert(raw, "--push", "me/refused")
    assert done.exit_code == 2
    assert "the upload alone can be repeated" in done.output
    assert "hf auth login" in done.output
    assert files_of(raw)
    here.refusals.clear()
    with pytest.raises(UploadError, match="not/a/name"):
        push_dataset(raw.parent / "out", "not/a/name")
    assert push_dataset(raw.parent / "out", "me/repeated").endswith(here.repositories["me/repeated"].files("main")[0])
