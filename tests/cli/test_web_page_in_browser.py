"""The page of `farl-hf demo --web` in Chromium: by mouse, by keyboard, on a phone, with a camera.

    SCREENSHOTS=docs/images pytest -n 0 -m nightly tests/cli/test_web_page_in_browser.py

draws the pictures of docs/web_page.md anew.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from farl_hf.cli.demo import GROUP_PHOTO

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]
WHILE_LOADING = 60_000  # milliseconds, also for a first answer
SAID = "document.querySelector('textarea:disabled').value"
RESULT = "img[alt='The photo with what was found']"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the command serves the page; Ctrl+C ends it."""
    pytest.importorskip("gradio", reason="the extra `web` (gradio) is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    program = ["-c", "from farl_hf.cli import main; main()", "demo", "--web", "--port", port, "--device", "cpu"]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("gradio"))}
    server = subprocess.Popen([sys.executable, *program], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = server.stdout.readline()
        assert line == f"Open http://127.0.0.1:{port}/ in a browser. Ctrl+C ends it.\n"
        yield line.split()[1]
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()


@pytest.fixture(scope="module")
def camera_film(tmp_path_factory):
    """An MJPEG film of a face, which Chromium takes for its camera."""
    frame = io.BytesIO()
    Image.fromarray(data.astronaut()).crop((0, 0, 512, 384)).resize((640, 480)).save(frame, "JPEG", quality=90)
    film = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    film.write_bytes(frame.getvalue() * 10)
    return film


@pytest.fixture(scope="module")
def browser(camera_film):
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright (of the extra `dev`) is not installed")
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", *camera, f"--use-file-for-fake-video-capture={camera_film}"],
        )


@pytest.fixture
def visit(browser, address):
    """A function that opens the page. At the end, every request of the browser has gone to this machine."""
    contexts, requests = [], []

    def opened(**settings):
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 600}} | settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(WHILE_LOADING)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.get_by_role("button", name="group").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert requests
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


def answer(page, words):
    """Wait until the page has said these words; return all that it says, and the address of the picture."""
    page.wait_for_function(f"words => {SAID}.includes(words)", arg=words)
    picture = page.locator(RESULT)
    page.wait_for_function(f'document.querySelector("{RESULT}")?.naturalWidth > 100')
    return page.evaluate(SAID), picture.get_attribute("src")


def next_answer(page, before, words):
    """Likewise, once the picture is another one."""
    page.wait_for_function(f'before => document.querySelector("{RESULT}")?.src.endsWith(before) === false', arg=before)
    return answer(page, words)


def screenshot(page, name, tmp_path):
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # for what fades
    content = page.screenshot(full_page=True, animations="disabled")
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture.thumbnail((900, 1200), Image.Resampling.LANCZOS)
    picture.save(Path(os.environ.get("SCREENSHOTS", tmp_path)) / name, quality=82, optimize=True, progressive=True)


def test_a_photo_is_uploaded_and_every_view_shown(visit, tmp_path):
    page = visit()
    page.set_input_files("input[type=file]", GROUP_PHOTO)
    said, shown = answer(page, "8 faces were found")
    screenshot(page, "web_page.jpg", tmp_path)
    for view, words in (
        ("Landmarks", "8 faces"),
        ("Attributes", "smiling"),
        ("Boxes", "8 faces"),
        ("Texts", "a smile"),
    ):
        page.get_by_role("radio", name=view).check()
        said, shown = next_answer(page, shown, words)
    assert said.count("black hair") == 8


def test_own_texts_are_compared(visit, tmp_path):
    page = visit()
    page.get_by_role("button", name="astronaut").click()
    _, shown = answer(page, "1 face was found")
    page.get_by_role("radio", name="Texts").check()
    _, shown = next_answer(page, shown, "eyeglasses")
    page.get_by_label("Texts, with commas between").fill("a smiling woman, a beard")
    page.get_by_role("button", name="Compare").click()
    said, _ = next_answer(page, shown, "a smiling woman")
    assert "a beard" in said
    screenshot(page, "web_page_texts.jpg", tmp_path)


def test_the_camera_takes_a_photo(visit):
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('video')].some(video => video.videoWidth > 0)")
    page.get_by_role("button", name="capture photo").click()
    answer(page, "1 face was found")


def test_on_a_phone_nothing_is_cut_off(visit, tmp_path):
    page = visit(viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)
    page.get_by_role("button", name="astronaut").tap()
    _, shown = answer(page, "1 face was found")
    page.get_by_text("Landmarks", exact=True).tap()
    next_answer(page, shown, "1 face was found")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    screenshot(page, "web_page_phone.jpg", tmp_path)


def test_the_keyboard_alone_will_do(visit):
    page = visit()
    focused = "(({innerText, value}) => innerText || value)(document.activeElement)"

    def tab_to(wanted):
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == wanted:
                return
        raise AssertionError(f"Tab does not lead to {wanted}")

    tab_to("astronaut")
    page.keyboard.press("Enter")
    _, shown = answer(page, "1 face was found")
    tab_to("landmarks")
    page.keyboard.press("Space")
    _, shown = next_answer(page, shown, "1 face was found")
    tab_to("texts")
    page.keyboard.press("Space")
    _, shown = next_answer(page, shown, "a smile")
    tab_to("a smile, eyeglasses, black hair")
    page.keyboard.type("red hair")  # in place of the texts, which Tab selects
    page.keyboard.press("Enter")
    next_answer(page, shown, "red hair")


def test_a_file_that_is_no_photo_is_named_on_the_page(visit, tmp_path):
    (tmp_path / "notes.png").write_bytes(b"no picture")
    page = visit()
    page.set_input_files("input[type=file]", tmp_path / "notes.png")
    page.wait_for_function(f"{SAID}.includes('notes.png cannot be decoded')")
