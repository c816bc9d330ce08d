"""Names and texts of users: not UTF-8, rich markup, escape codes, too long; and files of face indexes."""

import functools
import json
import os
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.commands import toy_command
from benchmarks.faults.judging import Outcome, command, equals, gives, gives_or_refused, half_written, refused
from benchmarks.faults.materials import encoded, noise, written
from farl_hf.retrieval import FaceIndex

NAMES = (
    "caf\udce9",
    "\udcff\udcfe",
    "[bold]x",
    "[x]",
    "a\x1b[31mred",
    "bell\x07",
    "tab\there",
    "new\nline",
    "süß 100%#?",
    "%E9",
    "a:b",
    "back\\slash",
    "x" * 200,
    "é" * 100,
    "-dash",
    " space ",
    "\u202eright",
    "\u2028line",
    "a'b\"c",
    "emoji \U0001f600",
    "null",
    "{}",
    "..dots..",
    ":smile:",
    "[link=a]y",
)
TEXTS = (
    "[bold]a face[/bold]",
    "[/x]",
    "a\x1b[31m face",
    "ä \U0001f600",
    "a" * 3000,
    "[red",
    "a\nface",
    ":smile:",
    "\u202eface",
    "caf\udce9",
    "a [link=x]face[/link]",
    "%s {}",
    "\x00",
    "-t",
    "  a  ",
)


def terminal_is_safe(outcome: Outcome) -> str:
    """No control character of a user reaches the terminal, and everything can be printed."""
    words = outcome.out + outcome.err
    bad = next((sign for sign in words if ord(sign) < 32 and sign not in "\n\t\r"), None)
    if bad is not None:
        return f"{bad!r} reaches the terminal: {words[max(0, words.index(bad) - 30) :][:60]!r}"
    return "" if "\udce9" not in words and "\udcff" not in words else "a name that is not UTF-8 is printed raw"


def of_uri(uri: str) -> bytes:
    """The path that a photo's URI names."""
    return urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(uri).path)


@kind("names", count=25, seconds=120)
def odd_name_of_a_photo_to_annotate(draw: Draw) -> Case:
    name, folder, output = draw.each(NAMES), draw.folder / "in", draw.folder / "out"
    folder.mkdir()
    pixels = noise(draw.rng, 24, 40)
    for one in ("a.png", f"{name}.png", "z.png"):
        written(folder / one, encoded(pixels, "PNG"))
    given = draw.any([[folder], [folder / "a.png", folder / f"{name}.png", folder / "z.png"]])

    def check(outcome: Outcome) -> str:
        records = json.loads((output / "faces.json").read_text(encoding="utf-8"))
        found, wanted = (
            {of_uri(record["photo_uri"]) for record in records},
            # In a folder, names that begin with a dot are hidden and passed over, as everywhere; they can be named.
            {os.fsencode(path) for path in folder.iterdir() if len(given) > 1 or not path.name.startswith(".")},
        )
        files = [output / file for record in records for file in record["files"].values()]
        missing = [file.name for file in files if not file.is_file()]
        return (
            f"{found}, expected {wanted}"
            if found != wanted
            else f"{missing} missing"
            if missing
            else terminal_is_safe(outcome)
        )

    return Case(
        ascii(name[:30]),
        lambda: toy_command("annotate", *given, "-t", "detection,parsing", "-o", output),
        gives(check),
        lambda: half_written(output),
    )


@kind("names", count=12, seconds=120)
def odd_name_of_a_bad_photo(draw: Draw) -> Case:
    name, output = draw.each(NAMES), draw.folder / "out"
    written(draw.folder / f"{name}.png", b"no picture")
    good = written(draw.folder / "good.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    state: list[Outcome] = []

    def run() -> Any:
        state.append(toy_command("annotate", draw.folder / f"{name}.png", good, "-t", "detection", "-o", output))
        return (
            state[0]
            if state[0].escaped is not None
            else (state[0].status, len(json.loads((output / "faces.json").read_text())))
        )

    return Case(
        ascii(name[:30]), run, gives(lambda answer: terminal_is_safe(state[0]) if answer == (1, 1) else str(answer))
    )


@kind("names", count=25, seconds=120)
def odd_name_of_a_photo_to_index(draw: Draw) -> Case:
    """A file of an index leads back to the photo."""
    name, both = draw.each(NAMES), materials.image_text_folder()
    photo = written(draw.folder / f"{name}.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    output = draw.folder / draw.any(["out.safetensors", "out.parquet"])

    def check(outcome: Outcome) -> str:
        (found,) = FaceIndex.load(output).photos
        same = os.path.realpath(os.fsencode(found)) == os.path.realpath(os.fsencode(photo))
        return terminal_is_safe(outcome) if same else f"{found!r}, expected {str(photo)!r}"

    return Case(
        f"{name[:30]!a} in {output.name}",
        lambda: command("index", photo, "--aligned", "-m", both, "-o", output),
        gives(check),
    )


@kind("names", count=12, seconds=120)
def odd_name_of_a_photo_to_match_or_explain(draw: Draw) -> Case:
    name, both = draw.each(NAMES), materials.image_text_folder()
    photo = written(draw.folder / f"{name}.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    output = draw.folder / "out"
    output.mkdir()
    words = draw.any(
        [
            ["match", photo, "--aligned", "-t", "a face", "-m", both, "-o", output / "m.json"],
            ["explain", photo, "a face", "--aligned", "-m", both, "-o", output],
        ]
    )

    def check(outcome: Outcome) -> str:
        written_files = [path for path in output.iterdir() if path.is_file()]
        return terminal_is_safe(outcome) if written_files and not half_written(output) else "nothing was written"

    return Case(f"{words[0]} {name[:30]!a}", lambda: command(*words), gives(check))


@kind("names", count=15, seconds=120)
def odd_text(draw: Draw) -> Case:
    """Texts are shown and stored as they are."""
    text, both, output = draw.each(TEXTS), materials.image_text_folder(), draw.folder / "m.json"
    photo = written(draw.folder / "photo.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    words = ["match", photo, "--aligned", f"--text={text}", "-m", both, "-o", output]

    def check(outcome: Outcome) -> str:
        shown = json.loads(output.read_text())["faces_of_text"][0]["text"]
        if shown.strip() != text.strip() and "\udce9" not in text:
            return f"{shown!r}, expected {text!r}"
        visible = text.isprintable() and len(text) < 100 and text.strip() not in outcome.out
        return "the text is not shown as it is" if visible else terminal_is_safe(outcome)

    return Case(ascii(text[:30]), lambda: command(*words), gives_or_refused(check))


@kind("names", count=12, seconds=120)
def odd_text_to_explain(draw: Draw) -> Case:
    text, both, output = (
        draw.each([one for one in TEXTS if not one.startswith("-")]),
        materials.image_text_folder(),
        draw.folder / "out",
    )
    photo = written(draw.folder / "photo.png", encoded(noise(draw.rng, 24, 40), "PNG"))

    def check(outcome: Outcome) -> str:
        arrays = sorted(output.glob("*.npz"))
        return terminal_is_safe(outcome) if arrays and not half_written(output) else "no arrays"

    return Case(
        ascii(text[:30]),
        lambda: command("explain", photo, text, "--aligned", "-m", both, "-o", output),
        gives_or_refused(check),
    )


@kind("names", count=15, seconds=120)
def odd_output_name(draw: Draw) -> Case:
    name = draw.each([one for one in NAMES if not one.startswith("-")])
    photo = written(draw.folder / "photo.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    if draw.number % 3 == 0:  # a closing tag of markup is a folder in a folder
        name = f"{name[:60]}[/x]"
        (draw.folder / name).parent.mkdir()
    both = materials.image_text_folder()
    commands: dict[str, tuple[list[Any], str]] = {
        "annotate": (["annotate", photo, "-t", "detection", "-o", name], f"{name}/faces.json"),
        "explain": (["explain", photo, "a face", "--aligned", "-m", both, "-o", name], name),
        "match": (["match", photo, "--aligned", "-t", "a", "-m", both, "-o", f"{name}.json"], f"{name}.json"),
        "index": (["index", photo, "--aligned", "-m", both, "-o", f"{name}.safetensors"], f"{name}.safetensors"),
        "convert": (["convert", _source(), "-o", name], f"{name}/model.safetensors"),
    }
    way = draw.any(list(commands))
    words, made = commands[way]

    def check(outcome: Outcome) -> str:
        return terminal_is_safe(outcome) if (draw.folder / made).exists() else "nothing was written there"

    no_weights = way in ("index", "convert") and not _is_utf8(name)  # safetensors takes no other path
    expected = refused() if no_weights else gives(check)
    return Case(f"{way} -o {name[:30]!a}", lambda: toy_command(*words), expected)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _source() -> Path:
    from benchmarks.faults.sources import good_sources

    return good_sources()["detector"]


@kind("names", count=12, seconds=120)
def odd_label(draw: Draw) -> Case:
    """Labels of a checkpoint are shown and looked up as they are."""
    import shutil

    label = draw.each([one for one in TEXTS if one not in ("-t", "\x00", "caf\udce9", "  a  ")])
    folder = Path(shutil.copytree(materials.checkpoints()["face-attributes"], draw.folder / "checkpoint"))
    config = json.loads((folder / "config.json").read_text())
    first = config["id2label"]["0"]
    config["id2label"]["0"], config["label2id"] = (
        label,
        {label if name == first else name: place for name, place in config["label2id"].items()},
    )
    (folder / "config.json").write_text(json.dumps(config))
    photo = written(draw.folder / "photo.png", encoded(noise(draw.rng, 24, 40), "PNG"))
    output = draw.folder / "out"

    def check(outcome: Outcome) -> str:
        answers = json.loads((output / "faces.json").read_text())[0]["faces"][0]["attributes"]
        return (
            terminal_is_safe(outcome) if label in {answer["label"] for answer in answers} else "the label is not there"
        )

    def run():
        return toy_command(
            "annotate", photo, "--aligned", "-t", "attributes", "--attributes-model", folder, "-o", output
        )

    return Case(ascii(label[:30]), run, gives_or_refused(check))


# Indexes


@functools.cache
def good_index() -> FaceIndex:
    """Twelve unit vectors of a toy model's size."""
    from farl_hf.retrieval.face_index import model_fingerprint

    model, _ = materials.image_text_toy()
    vectors = np.random.default_rng(0).normal(size=(12, model.config.projection_dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return FaceIndex(
        vectors,
        tuple(f"{number}.jpg" for number in range(12)),
        np.zeros((12, 4), np.float32),
        model_fingerprint(model),
    )


@kind("indexes", count=24)
def damaged_index(draw: Draw) -> Case:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file, save_file

    index, suffix = good_index(), draw.any([".safetensors", ".parquet"])
    path = draw.folder / f"index{suffix}"
    index.save(path)
    content = path.read_bytes()
    way = draw.each(
        [
            "missing",
            "empty",
            "cut",
            "garbage",
            "a folder",
            "no kind",
            "NaN",
            "long vectors",
            "other number",
            "another column",
            "names are no JSON",
            "half precision",
        ]
    )
    facts = {"kind": "farl_hf face index 1", "fingerprint": index.fingerprint}
    if way == "missing":
        path.unlink()
    elif way in ("empty", "cut", "garbage"):
        path.write_bytes(
            {"empty": b"", "cut": content[: draw.whole(1, len(content) - 9)], "garbage": draw.rng.bytes(400)}[way]
        )
    elif way == "a folder":
        path.unlink()
        path.mkdir()
    elif suffix == ".safetensors":
        tensors = load_file(path)
        if way == "NaN":
            tensors["embeddings"][3, 2] = np.nan
        elif way == "long vectors":
            tensors["embeddings"] *= 3
        elif way == "other number":
            tensors["boxes_xyxy"] = tensors["boxes_xyxy"][:5]
        elif way == "another column":
            tensors["a"] = tensors.pop("embeddings")
        elif way == "names are no JSON":
            tensors["photos"] = np.frombuffer(b"[3", np.uint8)
        elif way == "half precision":
            tensors["embeddings"] = (tensors["embeddings"] * 100).astype(np.int32)
        save_file(tensors, path, metadata={} if way == "no kind" else facts)
    else:
        table = pq.read_table(path)
        rows = index.embeddings.copy()
        if way == "NaN":
            rows[3, 2] = np.nan
        column = pa.array((rows * 3 if way == "long vectors" else rows).tolist())
        changed = {
            "NaN": column,
            "long vectors": column,
            "other number": pa.array([[1.0]] * 12),
            "another column": None,
            "names are no JSON": pa.array(["x"] * 12),
            "half precision": pa.array([[1, 2]] * 12),
        }.get(way, column)
        place = table.column_names.index("embedding")
        table = table.remove_column(place)
        if changed is not None:
            table = table.add_column(place, "embedding", changed)
        pq.write_table(table.replace_schema_metadata({} if way == "no kind" else facts), path)
    use = draw.any(
        [
            lambda: FaceIndex.load(path),
            lambda: command("match", "-i", path, "-t", "a face", "-m", materials.image_text_folder()),
        ]
    )
    return Case(f"{way} {suffix}", use, refused())


@kind("indexes", count=14)
def parts_of_an_index_that_do_not_fit(draw: Draw) -> Case:
    good, names, boxes = good_index().embeddings, good_index().photos, good_index().boxes_xyxy
    ways: dict[str, Any] = {
        "fewer names": (good, names[:3], boxes),
        "fewer boxes": (good, names, boxes[:3]),
        "three sides": (good, names, boxes[:, :3]),
        "one axis": (good[0], names[:1], boxes[:1]),
        "three axes": (good[None], names, boxes),
        "NaN": (good * np.nan, names, boxes),
        "zeros": (good * 0, names, boxes),
        "texts": (np.array([["a"]]), names[:1], boxes[:1]),
        "None": (None, names, boxes),
        "objects": (np.array([[object()]]), names[:1], boxes[:1]),
        "names of numbers": (good, 3, boxes),
        "boxes of text": (good, names, "x"),
        "infinity": (good + np.inf, names, boxes),
        "complex": (good * 1j, names, boxes),
    }
    way = draw.each(list(ways))
    return Case(way, lambda: FaceIndex(*ways[way]), refused())


@kind("indexes", count=14)
def odd_search(draw: Draw) -> Case:
    index, query = good_index(), good_index().embeddings[:2]
    expected = np.argsort(-(query @ index.embeddings.T), axis=1, kind="stable")
    ways: dict[str, tuple[Any, Any, bool]] = {
        "as it is": (query, 5, True),
        "float64": (query.astype(np.float64), 5, True),
        "Fortran": (np.asfortranarray(query), 5, True),
        "more than there are": (query, 99, True),
        "of another size": (query[:, :3], 5, False),
        "one axis": (query[0], 5, False),
        "NaN": (query * np.nan, 5, False),
        "text": ("x", 5, False),
        "None": (None, 5, False),
        "none of them": (query, 0, True),
        "-1 of them": (query, -1, False),
        "half of them": (query, 1.5, False),
        "no texts": (query[:0], 5, True),
        "infinity": (query + np.inf, 5, False),
    }
    way = draw.each(list(ways))
    given, count, is_good = ways[way]
    right = gives(equals(expected[: len(given), :count])) if is_good else refused()
    return Case(way, lambda: index.search(given, count)[0], right)


@kind("indexes")
def index_through_a_file(draw: Draw) -> Case:
    """What is saved is read again, whatever the names are."""
    index = good_index()
    names = tuple(draw.any(NAMES) for _ in index.photos)
    path = draw.folder / f"a{draw.each(['.safetensors', '.parquet'])}"

    def run() -> Any:
        FaceIndex(index.embeddings, names, index.boxes_xyxy, index.fingerprint).save(path)
        return FaceIndex.load(path)

    def check(loaded: Any) -> str:
        apart = [
            pair
            for pair in zip(loaded.photos, names, strict=True)
            if os.path.realpath(os.fsencode(pair[0])) != os.path.realpath(os.fsencode(pair[1]))
        ]
        return str(ascii(apart[:2])) if apart else equals(index.embeddings)(loaded.embeddings)

    return Case(path.name, run, gives(check))
