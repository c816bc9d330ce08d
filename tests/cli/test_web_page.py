"""The page of `farl-hf demo --web`, asked through Gradio's own client."""

import socket
import sys

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline
from typer.testing import CliRunner

from farl_hf import outputs
from farl_hf.cli import app
from farl_hf.cli.demo import GROUP_PHOTO, web_page

VIEWS = ("parsing", "landmarks", "attributes", "detection")


def test_without_gradio_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    done = CliRunner().invoke(app, ["demo", "--web"])
    assert done.exit_code == 2
    assert 'pip install "farl-hf[web]"' in done.output


@pytest.fixture(scope="module")
def gradio():
    return pytest.importorskip("gradio", reason="the extra `web` (gradio) is not installed")


@pytest.fixture(scope="module")
def reached():
    """Hosts that this process has looked up or connected to."""
    hosts = set()
    with pytest.MonkeyPatch.context() as patches:
        connect, look_up = socket.socket.connect, socket.getaddrinfo
        patches.setattr(socket.socket, "connect", lambda self, to: (hosts.add(to[0]), connect(self, to))[1])
        patches.setattr(
            socket, "getaddrinfo", lambda to, *more, **named: (hosts.add(to), look_up(to, *more, **named))[1]
        )
        yield hosts


@pytest.fixture(scope="module")
def address(gradio, reached, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page, settings = web_page("cpu")
        yield page.launch(prevent_thread_lock=True, **settings)[1]
        page.close()


@pytest.fixture(scope="module")
def show(address, tmp_path_factory):
    """A function: photo, view, texts -> picture and sentences of the page."""
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))
    return lambda photo, view, texts="": client.predict(
        photo and handle_file(str(photo)), view, texts, api_name="/show"
    )


def asked_plainly(address, path):
    """What the page answers to a bare request for a photo that lies on its machine."""
    import httpx

    call = {"data": [{"path": str(path), "meta": {"_type": "gradio.FileData"}}, "detection", ""]}
    event = httpx.post(f"{address}gradio_api/call/show", json=call, trust_env=False).json()["event_id"]
    return httpx.get(f"{address}gradio_api/call/show/{event}", trust_env=False, timeout=60).text


def test_only_this_machine_is_reached(address, reached):
    """When the page starts and answers; Gradio's client, which other tests use, asks the Hub."""
    import httpx

    with GROUP_PHOTO.open("rb") as photo:
        (uploaded,) = httpx.post(f"{address}gradio_api/upload", files={"files": photo}, trust_env=False).json()
    assert "8 faces were found" in asked_plainly(address, uploaded)
    assert reached <= {"127.0.0.1", "localhost"}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_what_the_pipeline_and_draw_give(show, view):
    path, words = show(GROUP_PHOTO, view)
    faces = pipeline(f"face-{view}", device="cpu")(str(GROUP_PHOTO))
    drawn = outputs.draw(GROUP_PHOTO, faces, view)
    with Image.open(path) as shown:  # as JPEG, whose noise a smaller picture does not show
        difference = np.abs(np.asarray(shown.reduce(8), int) - np.asarray(drawn.reduce(8), int))
    assert difference.mean() < 1
    count, *lines = words.splitlines()
    assert count == f"{len(faces)} faces were found."
    assert [f"score {face['score']:.2f}" in line for face, line in zip(faces, lines, strict=True)]
    if view == "attributes":
        assert all(one["label"] in lines[0] for one in faces[0]["attributes"] if one["present"])


def test_texts_become_heat_maps_in_a_row_per_face(show):
    path, words = show(GROUP_PHOTO, "texts", "a smile, black hair")
    assert words.count("a smile") == words.count("black hair") == words.count("Face ") > 1
    with Image.open(path) as sheet:
        assert sheet.height > sheet.width  # three pictures a row, more than three rows


@pytest.mark.parametrize(
    ("content", "view", "texts", "said"),
    [
        (b"no picture", "parsing", "", "notes.jpg cannot be decoded"),
        (b"", "parsing", "", "notes.jpg"),
        (None, "parsing", "", "Choose a photo"),
        (GROUP_PHOTO.read_bytes(), "texts", " , ", "at least one text"),
    ],
    ids=["no picture", "empty", "nothing", "no text"],
)
def test_what_cannot_be_shown_is_a_sentence_of_the_page(show, tmp_path, content, view, texts, said):
    (tmp_path / "notes.jpg").write_bytes(content or b"")
    picture, words = show(None if content is None else tmp_path / "notes.jpg", view, texts)
    assert picture is None
    assert said in words
    assert "gradio" not in words  # nor where the page keeps its files


def test_a_photo_without_a_face_is_shown_and_said(show, tmp_path):
    Image.new("RGB", (80, 60), (120, 130, 140)).save(tmp_path / "wall.png")
    for view in (*VIEWS, "texts"):
        path, words = show(tmp_path / "wall.png", view, "a smile")
        assert "No face was found" in words
        with Image.open(path) as shown:
            assert shown.width >= 80


def test_files_of_the_server_are_not_read(address, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(GROUP_PHOTO.read_bytes())
    answer = asked_plainly(address, tmp_path / "secret.jpg")
    assert answer.startswith("event: error")
    assert "found" not in answer


def test_a_port_in_use_is_a_sentence(gradio, monkeypatch):
    with gradio.Blocks(analytics_enabled=False) as blank:
        pass
    monkeypatch.setattr(sys.modules["farl_hf.cli.demo"], "web_page", lambda device: (blank, {}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["demo", "--web", "--port", port])
    assert done.exit_code == 2
    assert "cannot be served" in done.output
    assert port in done.output
