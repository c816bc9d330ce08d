"""`farl-hf demo`: all tasks on two photographs, as files or as a web page; without network."""

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from farl_hf.cli.annotate import DONE_FILE, RECORDS_FILE
from farl_hf.cli.options import (
    DETECTION,
    TASKS,
    DeviceOption,
    UserConsole,
    output_folder,
    parse_names,
    plain_console,
    plain_errors,
    refuse_unused,
)
from farl_hf.errors import FaRLError, InvalidArgumentError, InvalidTextError, MissingExtraError

# Layouts of overviews. Photos are equally wide, however much stands under them; wide ones are small in two columns.
_ONE_COLUMN: dict[str, Any] = {"columns": 1, "cell_size_wh": (1280, 10_000)}
_TWO_COLUMNS: dict[str, Any] = {"columns": 2, "cell_size_wh": (480, 10_000)}
GROUP_PHOTO = Path(__file__).parent / "demo_photographs" / "group.jpg"  # README.md beside it tells its origin


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and faces.json.")] = Path(
        "farl_demo"
    ),
    device: DeviceOption = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve a web page for your own photos, instead of files. Extra: web.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(help="Of --web. 0.0.0.0 lets other machines in. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of --web. Default: the first free one from 7860.")
    ] = None,
) -> None:
    """Show all four tasks on two photographs: of an astronaut, and of a group of people who take an oath.

    Writes a picture per task, an overview of each photo, the label maps and [bold]faces.json[/bold], and lists them.
    Files that are there already stay; names are then numbered.

    With [bold]--web[/bold], a page for the browser takes photos from files or a camera, and shows one task at a time,
    also heat maps of texts. Nothing leaves the machine; the page needs no network.
    """
    with plain_errors():
        refuse_unused(host, "--host", web, "with --web")
        refuse_unused(port, "--port", web, "with --web")
        if web:
            serve_page(device, host, port)
            return
        with output_folder(output):
            _show(_run(output, device), output)


def _run(output: Path, device: str | None) -> list[tuple[dict[str, Any], dict[str, Path]]]:
    """Annotate the demo photos; per photo its record and its pictures."""
    from farl_hf.cli.face_annotator import FaceAnnotator
    from farl_hf.cli.model_loading import load_pipelines
    from farl_hf.drawing import contact_sheet
    from farl_hf.photos import load_photo
    from farl_hf.whole_files import write_json, write_picture

    records = _earlier_records(output)
    with Console().status("Loading the models …"):
        annotator = FaceAnnotator(load_pipelines(dict.fromkeys(TASKS), device), TASKS, output)
    done = []
    for name, photo in demo_photos():
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        stem = next(one for one in names if not any(output.glob(f"{one}.*")))
        photo_path = output / f"{stem}.png"
        write_picture(photo_path, photo)
        with Console().status(f"Looking at {stem} …"):
            record, pictures = annotator.annotate(photo, str(photo_path), stem)
        captioned = [(task.replace("-", " "), load_photo(path)) for task, path in pictures.items()]
        pictures = {"overview": output / f"{stem}.overview.jpg", **pictures}
        layout = _ONE_COLUMN if photo.width > 2 * photo.height else _TWO_COLUMNS
        write_picture(pictures["overview"], contact_sheet(captioned, **layout), quality=92)
        record |= {"photo": photo_path.name}
        records[record["photo_uri"]] = record
        done.append((record, pictures))
    write_json(output / RECORDS_FILE, list(records.values()))
    return done


def _earlier_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of the `faces.json` of earlier demos, by the URI of their photo."""
    from farl_hf.whole_files import read_or_set_aside

    records = read_or_set_aside(folder / RECORDS_FILE, object) or []
    ours = isinstance(records, list) and all(isinstance(one, dict) and "photo_uri" in one for one in records)
    if not ours or (folder / DONE_FILE).exists():
        raise InvalidArgumentError(f"{folder / RECORDS_FILE} is not of farl-hf demo; choose another --output.")
    return {record["photo_uri"]: record for record in records}


def demo_photos() -> Iterator[tuple[str, Any]]:
    """Name and PIL image of scikit-image's photograph of an astronaut and of the group photograph of this package."""
    from PIL import Image
    from skimage import data

    from farl_hf.photos import load_photo

    yield "astronaut", Image.fromarray(data.astronaut())
    yield "group", load_photo(GROUP_PHOTO)


def _show(done: list[tuple[dict[str, Any], dict[str, Path]]], output: Path) -> None:
    table = Table("photo", "faces", "shows", "file", title=f"Written to {output}")
    for record, pictures in done:
        for task, path in pictures.items():
            table.add_row(record["photo"], str(len(record["faces"])), task, path.name)
        table.add_section()
    maps = sum("segmentation" in face for record, _ in done for face in record["faces"])
    table.add_row("all", "", f"{maps} label maps", "*.segmentation.png")
    table.add_row("all", "", "everything found", "faces.json")
    UserConsole().print(table)


# The web page

_ON_PAGE = {  # what is shown -> its name on the page
    "parsing": "Parts",
    "landmarks": "Landmarks",
    "attributes": "Attributes",
    "detection": "Boxes",
    "texts": "Texts (heat maps)",
}
_FIRST_TEXTS = "a smile, eyeglasses, black hair"
_ABOUT = """# Faces in a photo

Choose a photo, or take one, and what to show. The photo stays on the machine that serves this page, and is deleted
there within two hours. The models are small ones that learned from rendered faces, the detector excepted.
"""
_LARGEST_FILE = "50mb"
_KEPT_SECONDS = 3600
_FONTS: dict[str, Any] = {
    "font": ["system-ui", "sans-serif"],
    "font_mono": ["ui-monospace", "monospace"],
}  # nothing to fetch


def serve_page(device: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """Serve the page until it is interrupted.

    Args:
        device (`str`, *optional*): Of the models; by default the first accelerator, else the CPU.
        host (`str`, *optional*): Address to listen on; `GRADIO_SERVER_NAME` or 127.0.0.1 if not given.
        port (`int`, *optional*): `GRADIO_SERVER_PORT` or the first free one from 7860 if not given.

    Raises:
        MissingExtraError: Gradio is not installed.
        InvalidArgumentError: The port or the host cannot be used.
    """
    page, settings = web_page(device)
    try:
        address = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **settings)[1]
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"The page cannot be served at this host and port: {error}") from error
    plain_console().print(f"Open {address} in a browser. Ctrl+C ends it.")
    page.block_thread()


def web_page(device: str | None = None) -> tuple[Any, dict[str, Any]]:
    """The page as `gradio.Blocks`, and the arguments of its `launch`.

    Args:
        device (`str`, *optional*): Of the models; by default the first accelerator, else the CPU.

    Raises:
        MissingExtraError: Gradio is not installed.
        UnknownNameError: There is no such device.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at the import too
    try:
        import gradio
    except ImportError as error:
        raise MissingExtraError('The web page needs the `gradio` package: pip install "farl-hf[web]".') from error
    with gradio.Blocks(title="farl_hf", analytics_enabled=False, delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS)) as page:
        gradio.Markdown(_ABOUT)
        with gradio.Row():
            with gradio.Column(min_width=300):
                photo: Any = gradio.Image(label="Photo", type="filepath", sources=["upload", "webcam", "clipboard"])
                # Gradio would open the file with Pillow; `load_photo` reads more kinds and has sentences for the rest.
                photo.preprocess = lambda given: given and given.path
            with gradio.Column(min_width=300):
                names, examples = zip(*demo_photos(), strict=True)
                gradio.Examples([[one] for one in examples], photo, label="Example photos", example_labels=[*names])
                choices = [(name, shown) for shown, name in _ON_PAGE.items()]
                show = gradio.Radio(choices, value="parsing", label="Show")
                texts = gradio.Textbox(
                    _FIRST_TEXTS, label="Texts, with commas between", submit_btn="Compare", visible=False
                )
        with gradio.Row():
            with gradio.Column(scale=2, min_width=300):
                picture = gradio.Image(
                    label="Result",
                    show_label=False,
                    format="jpeg",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    alt_text="The photo with what was found",
                )
            with gradio.Column(min_width=300):
                said = gradio.Textbox(label="Found", interactive=False, lines=2)
        show.change(lambda shown: gradio.Textbox(visible=shown == "texts"), show, texts, api_visibility="private")
        gradio.on(
            [photo.change, show.change, texts.submit],
            _answers(device),
            [photo, show, texts],
            [picture, said],
            api_name="show",
            trigger_mode="always_last",
        )
    settings = {"max_file_size": _LARGEST_FILE, "theme": gradio.themes.Default(**_FONTS), "footer_links": []}
    return page, settings | {"share": False, "ssr_mode": False, "quiet": True}


def _answers(device: str | None) -> Any:
    """The function of the page: photo, what to show, texts -> picture and sentences. It loads the models."""
    from farl_hf.cli.face_annotator import analysis_of
    from farl_hf.cli.model_loading import load_model_and_processor, load_pipelines

    pipelines = load_pipelines(dict.fromkeys(TASKS), device)
    analyses = {
        task.removeprefix("face-"): analysis_of({DETECTION: pipelines[DETECTION], task: one}, 8)
        for task, one in pipelines.items()
    }
    image_text = load_model_and_processor(None, device)
    looks = {shown: partial(_analyzed, shown, analyze) for shown, analyze in analyses.items()}
    looks["texts"] = partial(_explained, *image_text, pipelines[DETECTION])

    def answer(path: str | None, shown: str, texts: str) -> tuple[Any, str]:
        from farl_hf.photos import load_photo

        if path is None:
            return None, "Choose a photo, or take one."
        try:
            return looks[shown](load_photo(Path(path).read_bytes(), Path(path).name), texts)
        except FaRLError as error:
            return None, str(error)

    return answer


def _analyzed(shown: str, analyze: Any, photo: Any, texts: str) -> tuple[Any, str]:
    from farl_hf.outputs import draw

    faces = analyze(photo)
    return draw(photo, faces, shown), _in_words(
        [
            f"score {face['score']:.2f}"
            + "".join(f", {one['label']}" for one in face.get("attributes", ()) if one["present"])
            for face in faces
        ]
    )


def _explained(model: Any, processor: Any, detector: Any, photo: Any, texts: str) -> tuple[Any, str]:
    from farl_hf.cli.pictures import explanation_sheet
    from farl_hf.explanation import explain

    names = parse_names([texts])
    if not names:
        raise InvalidTextError("Heat maps need at least one text, such as: a smile.")
    faces = explain(model, processor, photo, names, detector=detector)
    return explanation_sheet(photo, faces) if faces else photo, _in_words(
        [
            ", ".join(f"{name} {score:.2f}" for name, score in zip(face.names, face.scores, strict=True))
            for face in faces
        ]
    )


def _in_words(faces: list[str]) -> str:
    if not faces:
        return "No face was found. Faces of at least 20 pixels that look into the camera are found best."
    count = "1 face was found." if len(faces) == 1 else f"{len(faces)} faces were found."
    return "\n".join([count, *(f"Face {number}: {words}" for number, words in enumerate(faces, start=1))])
