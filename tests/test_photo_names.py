"""Names of photos in JSON and tables are UTF-8, and lead back to the file."""

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from farl_hf.photo_names import name_of_photo, photo_uri, readable_name, same_uri


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("photo.jpg", "photo.jpg"),
        ("süß 100%#?.jpg", "süß 100%#?.jpg"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("%E9.jpg", "%E9.jpg"),
        ("a\ud800", "a\\ud800"),
    ],
)
def test_names_are_readable(name, readable):
    assert readable_name(name) == readable
    readable_name(name).encode()


@pytest.mark.parametrize("name", ["photo.jpg", "süß 100%#?.jpg", "caf\udce9.jpg", "%E9.jpg", "a:b.jpg", "back\\slash"])
def test_a_file_is_found_by_its_uri(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("")
    uri = photo_uri(name)
    assert uri.startswith("file:///")
    assert uri.isascii()
    assert os.fsdecode(unquote_to_bytes(urlsplit(uri).path)) == str(tmp_path / name)
    assert Path(name_of_photo(readable_name(name), uri)).resolve() == tmp_path / name
    if "\udce9" not in name:
        assert name_of_photo(readable_name(name), uri) == name


def test_a_file_has_one_uri_however_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/a.jpg").write_text("")
    (tmp_path / "link").symlink_to("in/deep")
    monkeypatch.chdir(tmp_path / "in/deep")
    expected = (tmp_path / "in/a.jpg").as_uri()
    assert photo_uri("../a.jpg") == photo_uri(str(tmp_path / "in/a.jpg")) == expected
    assert same_uri((tmp_path / "in/deep/../a.jpg").as_uri()) == same_uri(expected) == expected
    through_link = tmp_path / "link/../a.jpg"  # in/a.jpg, and not a.jpg
    assert unquote_to_bytes(urlsplit(photo_uri(str(through_link))).path) == os.fsencode(through_link)
    for uri in ("https://example.org/../a.jpg", "lapa/../17", (tmp_path / "in/../gone.jpg").as_uri()):
        assert same_uri(uri) == uri


def test_urls_and_names_of_no_file():
    for name in ("https://example.org/a%E9 b.jpg?x=1", "lapa/test/17", "100 %"):
        assert name_of_photo(readable_name(name), photo_uri(name)) == name
    assert photo_uri("https://example.org/a%E9.jpg") == "https://example.org/a%E9.jpg"
    assert photo_uri("lapa/test/17") == "lapa/test/17"
