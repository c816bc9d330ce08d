"""Checkpoints: hostile configurations, damaged weights, processors and tokenizers, other tasks, odd names."""

import copy
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import farl_hf
from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import command, gives, gives_or_refused, refused, refused_or_unjudged, same
from benchmarks.faults.materials import encoded, noise, written
from benchmarks.faults.photos import numbers_of

FACE_TASKS = ("face-parsing", "face-landmarks", "face-attributes")
TASKS = ("face-detection", *FACE_TASKS)
MODEL_OPTIONS = {"face-detection": "--detector", **{task: f"--{task.split('-')[1]}-model" for task in FACE_TASKS}}
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
# Sizes of encoders, and values that no size has.
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "patch_size", "image_size", "num_hidden_layers")
NO_SIZES: tuple[Any, ...] = (
    "big",
    -4,
    1.5,
    float("nan"),
    float("inf"),
    10**12,
    [],
    {},
    [1],
    {"a": 1},
    "",
    None,
    [None],
)
HOSTILE_SETTINGS: list[dict[str, Any]] = [
    {"vision_config": {"num_attention_heads": 0}},
    {"vision_config": {"hidden_size": 0}},
    {"vision_config": {"patch_size": 0}},
    {"vision_config": {"out_indices": [99]}},
    {"vision_config": {"out_features": ["block99"]}},
    {"vision_config": {"hidden_act": "softest"}},
    {"vision_config": "x"},
    {"text_config": 3},
    {"text_config": {"vocab_size": -1}},
    {"backbone_config": "vit"},
    {"backbone_config": {"model_type": 3}},
    {"backbone_config": {"model_type": "face_transformer", "patch_size": 0}},
    {"feature_levels": "abc"},
    {"feature_levels": []},
    {"feature_levels": [99] * 4},
    {"label_weights": [1.0, float("nan")]},
    {"attribute_thresholds": [1]},
    {"attribute_thresholds": {"LABEL_0": "high"}},
    {"id2label": {"x": "nose"}},
    {"id2label": {"0": 1}},
    {"id2label": 7},
    {"head_channels": -16},
    {"head_channels": "x"},
    {"output_stride": 0},
    {"projection_dim": -1},
    {"vision_config": [1, 2]},
    {"vision_config": {"layer_norm_eps": "x"}},
    {"vision_config": {"num_channels": 0}},
]


@kind("checkpoints", count=40)
def hostile_settings_of_a_constructor(draw: Draw) -> Case:
    if draw.number % 2:
        part, settings = draw.any(["vision_config", "text_config"]), {draw.any(SIZES[:3]): draw.each(NO_SIZES)}
        settings = {part: settings}
    else:
        settings = draw.each(HOSTILE_SETTINGS)
    return Case(str(settings)[:80], lambda: farl_hf.FaRLConfig(**copy.deepcopy(settings)), refused())


@kind("checkpoints", count=12)
def hostile_settings_of_the_detector(draw: Draw) -> Case:
    settings: list[dict[str, Any]] = [
        {"body": "vgg"},
        {"body": 3},
        {"pyramid_channels": 0},
        {"pyramid_channels": "x"},
        {"pyramid_channels": -16},
        {"batch_norm_eps": "x"},
        {"pyramid_channels": 10**12},
        {"pyramid_channels": 1.5},
        {"id2label": 3},
        {"body": None},
        {"body": []},
        {"pyramid_channels": float("nan")},
    ]
    chosen = draw.each(settings)
    return Case(str(chosen), lambda: farl_hf.RetinaFaceConfig(**copy.deepcopy(chosen)), refused())


def copied(draw: Draw, task: str) -> Path:
    """A toy checkpoint of one's own."""
    folder = draw.folder / "checkpoint"
    shutil.copytree(
        materials.image_text_folder() if task == "images and texts" else materials.checkpoints()[task], folder
    )
    return folder


def users(task: str, folder: Path, draw: Draw) -> dict[str, Callable[[], Any]]:
    """The ways by which a checkpoint is used."""
    from transformers import pipeline

    photo = written(draw.folder / "photo.png", encoded(PHOTO, "PNG"))
    if task == "images and texts":
        return {
            "match": lambda: command(
                "match", photo, "--aligned", "-t", "a face", "--model", folder, "--device", "cpu"
            ),
            "index": lambda: command(
                "index", photo, "--aligned", "--model", folder, "-o", draw.folder / "a.safetensors"
            ),
            "explain": lambda: command(
                "explain", photo, "a face", "--aligned", "--model", folder, "-o", draw.folder / "out"
            ),
        }
    annotate = ("annotate", photo, "-t", task, "-o", draw.folder / "out", MODEL_OPTIONS[task], folder)
    ways: dict[str, Callable[[], Any]] = {
        "pipeline": lambda: pipeline(task, model=str(folder), device="cpu"),
        "annotate": lambda: command(*annotate, *([] if task == "face-detection" else ["--aligned"])),
        "export": lambda: command("export", folder, "-o", draw.folder / "graph"),
        "push": lambda: command("push", folder, "me/model", "--dry-run"),
    }
    if task != "face-detection":
        ways["evaluate"] = lambda: command(
            "evaluate", folder, materials.rows_folder(), "--split", "validation", "-o", draw.folder / "out"
        )
        ways["train"] = lambda: start_training(task, folder, draw.folder / "run")
    else:
        ways["detector of a pipeline"] = lambda: pipeline(
            "face-attributes",
            model=str(materials.checkpoints()["face-attributes"]),
            detector=str(folder),
            device="cpu",
        )(PHOTO)
    return ways


def start_training(task: str, folder: Path, output: Path) -> Any:
    """A training of two steps from a checkpoint."""
    from farl_hf.training.arguments import DataArguments, FaRLTrainingArguments, ModelArguments
    from farl_hf.training.finetuning import run_face_training

    data = DataArguments(dataset_name=[str(materials.rows_folder())], min_face_px=1)
    arguments = FaRLTrainingArguments(
        output_dir=str(output),
        do_train=True,
        max_steps=1,
        per_device_train_batch_size=4,
        dataloader_num_workers=0,
        disable_tqdm=True,
        save_strategy="no",
        report_to="none",
    )
    return run_face_training(
        task.removeprefix("face-"), ModelArguments(model_name_or_path=str(folder)), data, arguments
    )


def chosen_user(draw: Draw, task: str, folder: Path, without: tuple[str, ...] = ()) -> tuple[str, Callable[[], Any]]:
    """One of the ways, by chance."""
    ways = {name: use for name, use in users(task, folder, draw).items() if name not in without}
    name = draw.any(list(ways))
    return name, ways[name]


@kind("checkpoints", count=30, seconds=120)
def hostile_config_in_a_folder(draw: Draw) -> Case:
    task = draw.any(TASKS)
    folder = copied(draw, task)
    config = json.loads((folder / "config.json").read_text())
    part = config if task == "face-detection" else config["vision_config"]
    name = draw.any(["pyramid_channels", "body"] if task == "face-detection" else SIZES)
    part[name] = draw.each([value for value in NO_SIZES if value is not None])
    (folder / "config.json").write_text(json.dumps(config))
    # `push` copies the files and `export` asks no processor.
    user, use = chosen_user(draw, task, folder)
    return Case(f"{name}={part[name]!r} of {task} in {user}", use, refused())


NO_OBJECTS = (
    "null",
    "3",
    "[]",
    '"x"',
    "",
    "{",
    "[" * 100_000,
    "\xff",
    "{}",
    '{"model_type": 3}',
    '{"model_type": "bert"}',
    '{"a": NaN',
    '{"model_type": null}',
    '{"architectures": 3, "model_type": "farl"}',
    '{"model_type": ["farl"]}',
)


@kind("checkpoints", count=15, seconds=120)
def config_that_is_no_object(draw: Draw) -> Case:
    task, content = draw.any(TASKS), draw.each(NO_OBJECTS)
    folder = copied(draw, task)
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    user, use = chosen_user(draw, task, folder)
    return Case(f"{content[:30]!r} in {user} of {task}", use, refused())


def damage(path: Path, way: str, draw: Draw) -> None:
    """Changes the weights of a checkpoint."""
    content = path.read_bytes()
    header = struct.unpack("<Q", content[:8])[0]
    if way == "cut":
        path.write_bytes(content[: draw.whole(1, len(content) - 1)])
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "garbage":
        path.write_bytes(draw.rng.bytes(1000))
    elif way == "missing":
        path.unlink()
    elif way == "a folder":
        path.unlink()
        path.mkdir()
    elif way == "huge header":
        path.write_bytes(struct.pack("<Q", 1 << 62) + content[8:])
    elif way == "header is no JSON":
        path.write_bytes(content[:8] + b"{" * header + content[8 + header :])
    elif way == "a pickle":
        torch.save({"a": torch.zeros(1)}, path)
    elif way == "more at the end":
        path.write_bytes(content + bytes(100))
    else:
        tensors = load_file(path)
        name = sorted(tensors)[draw.whole(0, len(tensors) - 1)]
        floats = [one for one in sorted(tensors) if tensors[one].is_floating_point() and tensors[one].numel()]
        if way == "a tensor missing":
            del tensors[name]
        elif way == "another shape":
            tensors[name] = torch.zeros(7, 5, 3)
        elif way == "NaN":
            tensors[draw.any(floats)].view(-1)[0] = torch.nan
        elif way == "infinity":
            tensors[draw.any(floats)].view(-1)[0] = -torch.inf
        elif way == "an unknown tensor":
            tensors["another.weight"] = torch.zeros(2)
        elif way == "no tensors":
            tensors = {}
        save_file(tensors, path, metadata={"format": "pt"})


DAMAGES = (
    "cut",
    "empty",
    "garbage",
    "missing",
    "a folder",
    "huge header",
    "header is no JSON",
    "a pickle",
    "more at the end",
    "a tensor missing",
    "another shape",
    "NaN",
    "infinity",
    "an unknown tensor",
    "no tensors",
)


@kind("checkpoints", count=45, seconds=120)
def damaged_weights(draw: Draw) -> Case:
    task, way = draw.any((*TASKS, "images and texts")), draw.each(DAMAGES)
    folder = copied(draw, task)
    damage(folder / "model.safetensors", way, draw)
    # A push copies what is there; a training may start the head anew, and says so.
    user, use = chosen_user(draw, task, folder, ("push", "train"))
    return Case(f"{way} of {task} in {user}", use, refused())


@kind("checkpoints", seconds=120)
def damaged_weights_at_the_start_of_a_training(draw: Draw) -> Case:
    task, way = draw.any(FACE_TASKS), draw.each(DAMAGES[:9])
    folder = copied(draw, task)
    damage(folder / "model.safetensors", way, draw)
    return Case(f"{way} of {task}", lambda: start_training(task, folder, draw.folder / "run"), refused())


@kind("checkpoints", count=12, seconds=120)
def list_of_weight_files_that_lies(draw: Draw) -> Case:
    task = draw.any(TASKS)
    folder = copied(draw, task)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = sorted(load_file(folder / "model-00001-of-00002.safetensors"))
    index: Any = draw.each(
        [
            {"weight_map": dict.fromkeys(names, "missing.safetensors")},
            {"weight_map": dict.fromkeys(names, "../../up.safetensors")},
            {},
            [],
            {"weight_map": 3},
            {"weight_map": {}},
            {"weight_map": dict.fromkeys(names, 7)},
            "x",
            {"weight_map": dict.fromkeys(names, "/etc/passwd")},
            {"weight_map": {names[0]: "model-00001-of-00002.safetensors"}, "metadata": 3},
            None,
            {"metadata": {}},
        ]
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    user, use = chosen_user(draw, task, folder, ("push", "train"))
    right = (
        refused_or_unjudged()
        if isinstance(index, dict) and "metadata" in index and "weight_map" in index
        else refused()
    )
    return Case(f"{str(index)[:40]} of {task} in {user}", use, right)


@kind("checkpoints", count=24, seconds=120)
def damaged_image_processor(draw: Draw) -> Case:
    task = draw.any(TASKS)
    folder, file = copied(draw, task), "preprocessor_config.json"
    settings = json.loads((folder / file).read_text())
    changes: dict[str, Any] = {
        "null": "null",
        "a number": "3",
        "a list": "[]",
        "cut": json.dumps(settings)[:40],
        "empty": "",
        "deep": "[" * 100_000,
        "bytes": "\xff\xfe",
        "no type": json.dumps({"a": 1}),
        "another type": json.dumps(settings | {"image_processor_type": "CLIPSegProcessor"}),
        "a type that is none": json.dumps(settings | {"image_processor_type": 7}),
        "size": json.dumps(settings | {"size": {"height": -3}}),
        "std 0": json.dumps(settings | {"image_std": [0, 0, 0]}),
        "std text": json.dumps(settings | {"image_std": "x"}),
        "template": json.dumps(settings | {"face_template": [[0]], "variances": ["x"]}),
        "mean of two": json.dumps(settings | {"image_mean": [1, 2]}),
        "missing": None,
    }
    way = draw.each(list(changes))
    (folder / file).unlink()
    if changes[way] is not None:
        (folder / file).write_bytes(changes[way].encode("latin-1"))
    user, use = chosen_user(draw, task, folder, ("push", "train", "export"))
    # `evaluate` knows the class; the settings are right.
    known = way == "another type" and user == "evaluate"
    return Case(f"{way} of {task} in {user}", use, refused_or_unjudged() if known else refused())


@kind("checkpoints", count=14, seconds=120)
def damaged_tokenizer(draw: Draw) -> Case:
    folder = copied(draw, "images and texts")
    name = draw.any([path.name for path in folder.glob("*.json") if "token" in path.name])
    content = (folder / name).read_bytes()
    ways = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "null": b"null",
        "a list": b"[]",
        "garbage": draw.rng.bytes(300),
        "an object": b"{}",
        "a number": b"3",
    }
    way = draw.each(list(ways))
    (folder / name).write_bytes(ways[way])
    user, use = chosen_user(draw, "images and texts", folder, ("index",))
    # Settings of a tokenizer may be few: then it is as before.
    right = (
        gives_or_refused(lambda answer: "") if name == "tokenizer_config.json" and way == "an object" else refused()
    )
    return Case(f"{way} {name} in {user}", use, right)


@kind("checkpoints", count=20, seconds=120)
def checkpoint_of_another_task(draw: Draw) -> Case:
    """Among them: a FaRL folder as a detector."""
    from transformers import pipeline

    task, other = draw.each([(one, two) for one in TASKS for two in (*TASKS, "images and texts") if one != two])
    folder = materials.image_text_folder() if other == "images and texts" else materials.checkpoints()[other]
    ways: dict[str, Callable[[], Any]] = {
        "pipeline": lambda: pipeline(task, model=str(folder), device="cpu"),
        "annotate": lambda: users(task, folder, draw)["annotate"](),
    }
    if task == "face-detection":
        ways["detector"] = users(task, folder, draw)["detector of a pipeline"]
    way = draw.any(list(ways))
    return Case(f"{other} as {task} in {way}", ways[way], refused())


@kind("checkpoints", count=15, seconds=120)
def checkpoint_that_is_none(draw: Draw) -> Case:
    (draw.folder / "empty").mkdir()
    written(draw.folder / "file", b"x")
    name = draw.each(
        [
            "farl-tinny-parsing",
            "nowhere/at/all",
            "empty",
            "file",
            "",
            " ",
            "x" * 300,
            "ä" * 200,
            "a/" + "b" * 5000,
            "nul\0byte",
            "../../..",
            "me/my-model",
            "http://127.0.0.1:9/x",
            "[bold]x[/bold]",
            "\x1b[31mred",
            "/dev/null",
            "caf\udce9",
            "-x",
            "~",
        ]
    )
    task = draw.any(TASKS)
    ways = users(task, name, draw)  # type: ignore[arg-type]
    way = draw.any(
        [one for one in ways if one not in ("pipeline", "train") and not (name.startswith("-") or "\0" in name)]
        or ["pipeline"]
    )
    return Case(f"{name[:30]!r} in {way}", ways[way], refused())


@kind("checkpoints", seconds=120)
def odd_but_good_folder(draw: Draw) -> Case:
    """A checkpoint in a folder of any name gives what it gives elsewhere."""
    from transformers import pipeline

    task = draw.any(TASKS)
    name = draw.each(
        [
            "with space",
            "süß",
            "[bold]",
            "a'b",
            "%41",
            "per%cent",
            "dots.in.name",
            "-dash",
            "x" * 200,
            "\x1b[31m",
            "new\nline",
        ]
    )
    folder = draw.folder / name
    shutil.copytree(materials.checkpoints()[task], folder)
    expected = numbers_of(materials.toy_pipeline(task)({"image": PHOTO, "boxes": [[0, 0, 30, 30]]}))

    def run() -> Any:
        find = pipeline(task, model=str(folder), device="cpu")
        return numbers_of(find({"image": PHOTO, "boxes": [[0, 0, 30, 30]]}))

    return Case(f"{name[:20]!r} of {task}", run, gives(same(expected)))


@kind("checkpoints", seconds=120)
def photo_noise_in_float16_checkpoint(draw: Draw) -> Case:
    """Weights of another precision give the same faces but for their rounding."""
    from transformers import pipeline

    task = draw.each(FACE_TASKS[1:])
    folder = copied(draw, task)
    tensors = load_file(folder / "model.safetensors")
    half = draw.any([torch.bfloat16, torch.float16])
    save_file(
        {name: value.to(half) if value.is_floating_point() else value for name, value in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    photo = {"image": noise(draw.rng, 40, 60), "boxes": [[0, 0, 30, 30]]}
    expected = np.array(numbers_of(materials.toy_pipeline(task)(photo)))

    def check(answer: Any) -> str:
        return "" if np.allclose(numbers_of(answer), expected, atol=0.5) else "far from the weights of full precision"

    return Case(f"{half} of {task}", lambda: pipeline(task, model=str(folder), device="cpu")(photo), gives(check))
