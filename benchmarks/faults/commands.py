"""The command line: options of every command, outputs that cannot be, a disk that fills up, earlier results."""

import functools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import Outcome, command, gives, gives_or_refused, half_written, kept, refused, snapshot
from benchmarks.faults.materials import encoded, written


@functools.cache
def all_commands() -> dict[tuple[str, ...], Any]:
    """Words of each command -> its description by Click."""
    import typer

    from farl_hf.cli import app

    found: dict[tuple[str, ...], Any] = {}

    def walk(words: tuple[str, ...], one: Any) -> None:
        if hasattr(one, "commands"):
            for name, below in one.commands.items():
                walk((*words, name), below)
        else:
            found[words] = one

    walk((), typer.main.get_command(app))
    return found


@contextmanager
def limited_files(num_bytes: int) -> Iterator[None]:
    """Inside, no file can grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def toy_command(*words: Any) -> Outcome:
    """A command whose default models are toys."""
    with materials.toy_defaults():
        return command(*words)


@functools.cache
def toy_shards() -> Path:
    """A folder of two small webdataset shards."""
    shards, folder = materials.test_module("laion_shards"), materials.shared_folder() / "laion"
    for shard in range(2):
        shards.write_shard(folder, shard, count=3)
    return folder


@functools.cache
def toy_metadata() -> tuple[Path, Path]:
    """LAION-400M's metadata of one part, and the list of LAION-Face's numbers."""
    import torch

    metadata, folder = materials.test_module("laion_face_metadata"), materials.shared_folder() / "metadata"
    metadata.write_part(folder, 0, 50)
    torch.save(torch.tensor(metadata.sample_ids(0, 50)[:20]), folder / "ids.pth")
    return folder, folder / "ids.pth"


@functools.cache
def toy_lapa() -> Path:
    """LaPa's layout with five photos."""
    folder = materials.shared_folder() / "LaPa"
    materials.test_module("raw_layouts").write_lapa(folder)
    return folder


def good_commands(folder: Path) -> dict[str, list[Any]]:
    """Words of commands that write; the output comes after them."""
    photo = folder / "photo.png"
    if not photo.exists():
        written(photo, encoded(np.random.default_rng(1).integers(0, 256, (48, 40, 3), dtype=np.uint8), "PNG"))
    both, (metadata, ids) = materials.image_text_folder(), toy_metadata()
    return {
        "annotate": ["annotate", photo, "-t", "detection,parsing", "-o"],
        "crop": ["crop", photo, "-o"],
        "anonymize": ["anonymize", photo, "-o"],
        "match": ["match", photo, "--aligned", "-t", "a face", "-m", both, "-o"],
        "index": ["index", photo, "--aligned", "-m", both, "-o"],
        "explain": ["explain", photo, "a face", "--aligned", "-m", both, "-o"],
        "evaluate": [
            "evaluate",
            materials.checkpoints()["face-parsing"],
            materials.rows_folder(),
            "--split",
            "validation",
            "-o",
        ],
        "export": ["export", materials.checkpoints()["face-attributes"], "-f", "torch-export", "-o"],
        "detect": ["laion-face", "detect", toy_shards(), "-m", materials.checkpoints()["face-detection"], "-o"],
        "prepare": ["laion-face", "prepare", metadata, "--ids", ids, "--parts", "0", "-o"],
        "data convert": ["data", "convert", "lapa", toy_lapa(), "-o"],
    }


FILES = {"match": "out.json", "index": "out.safetensors"}  # the other commands write folders


@kind("commands", count=24)
def misspelt_option(draw: Draw) -> Case:
    words = draw.each(list(all_commands()))
    options = [name for one in all_commands()[words].params for name in one.opts if name.startswith("--")] or [
        "--help"
    ]
    option = draw.any(options)
    place = draw.whole(3, len(option) - 1)
    wrong = option[:place] + draw.any(["", "x", "-"]) + option[place + 1 :]
    wrong = "--nonsense" if wrong in options or any(one.startswith(wrong) for one in options) else wrong
    return Case(f"{' '.join(words)} {wrong}", lambda: command(*words, wrong, "1"), refused())


@kind("commands", count=24)
def missing_arguments(draw: Draw) -> Case:
    needing = [words for words, one in all_commands().items() if any(param.required for param in one.params)]
    words = draw.each([*needing, ("match",), ("index",), ("train",)])
    more = draw.any([[], [""], ["--"]]) if words in needing and len(all_commands()[words].params) else []
    few = [] if sum(param.required for param in all_commands()[words].params) < 2 else more
    return Case(" ".join((*words, *few)), lambda: command(*words, *few), refused())


@kind("commands", count=30)
def number_that_is_none(draw: Draw) -> Case:
    numbers = [
        (words, param.opts[0])
        for words, one in all_commands().items()
        for param in one.params
        if param.opts[0].startswith("-") and getattr(param.type_descriptor, "annotation", None) in (int, float)
    ]
    words, option = draw.each(numbers)
    value = draw.any(["x", "", "-1", "1e999", "nan", "0x10", "1,5", "--", "9" * 400, "½"])
    required = [str(draw.folder)] * sum(
        param.required and not param.opts[0].startswith("-") for param in all_commands()[words].params
    )
    given = [
        word
        for param in all_commands()[words].params
        if param.required and param.opts[0].startswith("-")
        for word in (param.opts[0], "x")
    ]
    return Case(
        f"{' '.join(words)} {option} {value[:20]}",
        lambda: toy_command(*words, *required, *given, f"{option}={value}"),
        refused(),
    )


@kind("commands", count=40, seconds=120)
def name_that_is_none(draw: Draw) -> Case:
    photo, both = good_commands(draw.folder)["annotate"][1], materials.image_text_folder()
    lapa, checkpoint = toy_lapa(), materials.checkpoints()["face-parsing"]
    metadata, ids = toy_metadata()
    word = draw.any(["nonsense", "", "[bold]x", "a" * 300, "\x1b[31mred", "caf\udce9", "../x", "lapaa"])
    table: list[tuple[str, list[Any]]] = [
        ("task", ["annotate", photo, "-t", word or "x"]),
        ("device", ["annotate", photo, "--device", word or "x"]),
        ("cuda number", ["annotate", photo, "--device", "cuda:99"]),
        ("device", ["match", photo, "-t", "a", "-m", both, "--device", "tpu:x"]),
        ("runtime", ["annotate", photo, "--runtime", word]),
        ("onnx without models", ["annotate", photo, "--runtime", "onnx"]),
        ("method", ["explain", photo, "a", "-m", both, "--method", word]),
        ("layer", ["explain", photo, "a", "--aligned", "-m", both, "--layer", word or "x"]),
        ("texts of a rollout", ["explain", photo, "a", "--aligned", "-m", both, "--method", "attention-rollout"]),
        ("no texts", ["explain", photo, "--aligned", "-m", both]),
        ("empty text", ["explain", photo, "", "--aligned", "-m", both]),
        ("label", ["explain", photo, word or "x", "--aligned", "-m", checkpoint]),
        ("no texts", ["match", photo, "-m", both]),
        ("empty text", ["match", photo, "-t", " ", "-m", both]),
        ("photos and index", ["match", photo, "-t", "a", "-i", "x.safetensors"]),
        ("index", ["match", "-t", "a", "-m", both, "-i", word]),
        ("kind of index", ["index", photo, "-m", both, "-o", "out.txt"]),
        ("photos and data", ["index", photo, "--dataset", "lapa", "-m", both]),
        ("data set", ["index", "--dataset", word, "-m", both]),
        ("data set", ["evaluate", checkpoint, word or "x"]),
        ("split", ["evaluate", checkpoint, materials.rows_folder(), "--split", word]),
        ("configuration", ["evaluate", checkpoint, "lapa", "--data-dir", lapa, "--config", word or "x"]),
        ("folder of data", ["evaluate", checkpoint, "lapa", "--data-dir", word or "x"]),
        ("format", ["export", checkpoint, "-o", "out", "-f", word]),
        ("data set", ["data", "check", word, lapa]),
        ("folder", ["data", "check", "lapa", word or "x"]),
        ("configuration", ["data", "check", "lapa", lapa, "--config", word or "x"]),
        ("data set", ["data", "convert", word, lapa, "-o", "out"]),
        ("bad photos", ["data", "convert", "lapa", lapa, "-o", "out", "--bad-photos", word]),
        ("recipe", ["train", word or "x"]),
        ("setting", ["train", "lapa_448_frozen", "--set", f"{word.replace('=', '')}=1"]),
        ("setting", ["train", "lapa_448_frozen", "--set", word.replace("=", "")]),
        ("value", ["train", "lapa_448_frozen", "--data-dir", lapa, "--set", f"num_train_epochs={word or 'x'}"]),
        ("backbone", ["train", "lapa_448_frozen", "--data-dir", lapa, "--backbone", word or "x"]),
        ("data", ["train", "lapa_448_frozen", "--data-dir", word or "x"]),
        ("name", ["download", word]),
        ("file", ["download", "farl", "--from", word or "x"]),
        ("released name", ["convert", photo, "-o", "out", "--name", word]),
        ("parts", ["laion-face", "prepare", metadata, "--ids", ids, "-o", "out", "--parts", word]),
        ("engine", ["laion-face", "detect", toy_shards(), "-o", "out", "--engine", word]),
        ("list of numbers", ["laion-face", "prepare", metadata, "--ids", word, "-o", "out"]),
        ("folder", ["laion-face", "prepare", word or "x", "--ids", ids, "-o", "out"]),
        ("shards", ["laion-face", "detect", word or "x", "-o", "out"]),
        ("model", ["laion-face", "detect", toy_shards(), "-o", "out", "-m", word]),
        ("address", ["laion-face", "detect", toy_shards(), "-o", "out", "--address", "x"]),
        ("repository", ["push", word, "me/x", "--dry-run"]),
    ]
    what, words = draw.each(table)
    return Case(
        f"{words[0]}: {what} {word[:20]!a}",
        lambda: toy_command(*words),
        refused(),
        lambda: half_written(draw.folder / "out"),
    )


@kind("commands", count=36, seconds=120)
def output_that_cannot_be(draw: Draw) -> Case:
    name = draw.each(list(good_commands(draw.folder)))
    suffix = Path(FILES.get(name, "")).suffix
    written(draw.folder / f"file{suffix}", b"kept")
    (draw.folder / f"folder{suffix}").mkdir()
    written(draw.folder / f"folder{suffix}" / "mine.txt", b"kept")
    places = [
        f"file/below{suffix}",
        "x" * 300 + suffix,
        f"/dev/null/x{suffix}",
        f"/proc/x{suffix}",
        "a" * 255 + "/" + "b" * 300 + suffix,
    ]
    places += ["folder" + suffix, "nowhere/x" + suffix] if name in FILES else ["file"]
    places += ["folder"] if name in ("export", "data convert") else []
    place = draw.any(places).replace("file/", f"file{suffix}/")
    before = snapshot(draw.folder)
    words = good_commands(draw.folder)[name]
    return Case(f"{name} -o {place[:30]}", lambda: toy_command(*words, place), refused(), kept(before, draw.folder))


@kind("commands", count=36, seconds=180)
def disk_that_fills_up(draw: Draw) -> Case:
    """Results of an earlier run stay; nothing half-written has a final name."""
    name = draw.each(list(good_commands(draw.folder)))
    words = [*good_commands(draw.folder)[name], draw.folder / "out" / FILES.get(name, "")]
    words += ["--overwrite"] if name == "export" else []
    (draw.folder / "out").mkdir() if name in FILES else None
    earlier = bool(draw.whole(0, 1)) and name not in ("data convert", "prepare", "detect")  # which keep finished parts
    if earlier:
        toy_command(*words)
    before, room = snapshot(draw.folder / "out"), draw.any([0, 20, 100, 400])

    def run() -> Outcome:
        with limited_files(room):
            return toy_command(*words)

    return Case(f"{name}, {room} bytes, earlier run: {earlier}", run, refused(), kept(before, draw.folder))


@kind("commands", count=10, seconds=120)
def rename_that_fails(draw: Draw) -> Case:
    """The last step of writing a file fails."""
    name = draw.each(list(good_commands(draw.folder)))
    words = [*good_commands(draw.folder)[name], draw.folder / "out" / FILES.get(name, "")]
    (draw.folder / "out").mkdir() if name in FILES else None
    error = draw.any(
        [
            OSError(30, "Read-only file system"),
            PermissionError(13, "Permission denied"),
            OSError(5, "Input/output error"),
        ]
    )

    def fail(*_: Any, **__: Any) -> None:
        raise error

    def run() -> Outcome:
        with patch("os.replace", fail):
            return toy_command(*words)

    return Case(f"{name}: {error.strerror}", run, refused(), lambda: half_written(draw.folder))


@kind("commands", count=12, seconds=120)
def two_runs_into_one_folder(draw: Draw) -> Case:
    """A folder that another run holds is refused, or its results stay."""
    from farl_hf.whole_files import held_folder

    name = draw.each(["annotate", "explain", "evaluate"])
    output = draw.folder / "out"
    output.mkdir()
    words = [*good_commands(draw.folder)[name], output]

    def run() -> Outcome:
        with held_folder(output):
            return toy_command(*words)

    return Case(name, run, refused(), lambda: "".join(path.name for path in output.iterdir()))


@kind("commands", count=12, seconds=120)
def rerun_over_earlier_results(draw: Draw) -> Case:
    """A second run with fewer or bad photos does not shrink the first one's results."""
    import json

    annotate, output = good_commands(draw.folder)["annotate"], draw.folder / "out"
    toy_command(*annotate, output)
    before = snapshot(output)
    bad = written(draw.folder / "bad.png", b"no picture")
    second = written(draw.folder / "second.png", encoded(np.zeros((30, 40, 3), np.uint8), "PNG"))
    ways: dict[str, list[Any]] = {
        "a bad photo": [bad],
        "a missing one": ["missing.png"],
        "another photo": [second],
        "both": [bad, second],
        "the same": [annotate[1]],
        "the same with fewer tasks": [annotate[1], "-t", "detection"],
        "an empty folder": [draw.folder / "empty"],
    }
    (draw.folder / "empty").mkdir()
    way = draw.each(list(ways))
    words = ["annotate", *ways[way], *([] if "-t" in ways[way] else ["-t", "detection,parsing"]), "-o", output]

    def check(outcome: Outcome) -> str:
        photos = {Path(record["photo"]).name for record in json.loads((output / "faces.json").read_text())}
        wanted = {"photo.png"} | ({"second.png"} if second in ways[way] else set())
        return "" if photos == wanted else f"{photos}, expected {wanted}"

    right = gives(check) if way in ("another photo", "the same") else refused()

    def lost() -> str:
        records = [record["photo"] for record in json.loads((output / "faces.json").read_text())]
        return kept(before, output)() or (
            "" if any("photo.png" in one for one in records) else f"only {records} are left"
        )

    return Case(way, lambda: toy_command(*words), right, lost)


@kind("commands", count=10, seconds=120)
def broken_results_of_an_earlier_run(draw: Draw) -> Case:
    """What an earlier run left is broken or of something else: it is set aside or refused, never lost."""
    name, file = draw.any([("annotate", "faces.json"), ("evaluate", "results.json")])
    output = draw.folder / "out"
    output.mkdir()
    content = draw.each(
        [
            b"",
            b"{",
            b"null",
            b"[3]",
            b'[{"photo": 3}]',
            b'{"splits": 3}',
            b"\xff\xfe",
            b"{}",
            b'[{"photo_uri": "x"}]',
            b'"x"',
        ]
    )
    written(output / file, content)
    words = [*good_commands(draw.folder)[name], output]

    def lost() -> str:
        somewhere = [path for path in output.iterdir() if path.read_bytes() == content]
        return "" if somewhere or content in (b"", b"{}", b"null") else f"{content!r} is gone"

    def check(outcome: Outcome) -> str:
        return half_written(output)

    return Case(f"{content!r} as {file}", lambda: toy_command(*words), gives_or_refused(check), lost)


@kind("commands", count=10)
def help_of_a_command(draw: Draw) -> Case:
    words = draw.each(list(all_commands()))
    return Case(
        " ".join(words),
        lambda: command(*words, "--help"),
        gives(lambda outcome: "" if "Usage" in outcome.out else "no usage"),
    )
