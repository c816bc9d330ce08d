"""What belongs to a repository, and which folders are refused."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from skimage import data
from stranger import plain
from transformers import AutoTokenizer, pipeline

from farl_hf import modeling, processing
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, UnknownNameError
from farl_hf.hub import plan_repository
from farl_hf.hub.flat_code import flat_code
from farl_hf.pipelines import PIPELINES, face_tasks

TOWERS = "zero-shot-image-classification"


def content_of(plan, path):
    content = next(file.content for file in plan.files if file.path == path)
    return content if isinstance(content, bytes) else content.read_bytes()


def write(plan, folder):
    """The repository as a folder."""
    for file in plan.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(content_of(plan, file.path))
    return folder


@pytest.fixture
def copy_of(checkpoints, tmp_path):
    return lambda task: shutil.copytree(checkpoints[task], tmp_path / "copy")


@pytest.mark.parametrize("task", [*DEFAULT_CHECKPOINTS, TOWERS])
def test_every_class_that_the_settings_name_is_in_the_code(checkpoints, task):
    plan = plan_repository(checkpoints[task])
    settings = [json.loads(content_of(plan, file.path)) for file in plan.files if file.path.endswith("config.json")]
    named = [reference for values in settings for reference in _references(values)]
    assert len(named) >= 4
    for module, class_name in named:
        tree = ast.parse(content_of(plan, f"{module}.py"))
        assert class_name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def _references(values):
    """(module, class) of every reference in settings, however deep."""
    if isinstance(values, dict):
        return [found for value in values.values() for found in _references(value)]
    if isinstance(values, list):
        return [found for value in values for found in _references(value)]
    return [tuple(values.split("."))] if isinstance(values, str) and re.fullmatch(r"\w+_\w+\.\w+", values) else []


@pytest.fixture(scope="module")
def all_code():
    """Whatever any repository may hold."""
    modules = {PIPELINES[task].pipeline_class.__module__ for task in DEFAULT_CHECKPOINTS}
    modules |= {getattr(modeling, name).__module__ for name in modeling.__all__}
    modules |= {getattr(processing, name).__module__ for name in ("FaRLProcessor", "FaRLTokenizer")}
    return flat_code(sorted(modules))


def test_flat_code_needs_only_what_transformers_vision_users_have(all_code):
    needed = set()
    for source in all_code.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                needed |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                needed.add(node.module.split(".")[0])
    # ftfy is optional; timm comes with models that have a timm backbone
    assert needed - sys.stdlib_module_names <= {
        *("torch", "torchvision", "transformers", "tokenizers", "numpy", "PIL"),
        *("ftfy", "timm"),
    }


def test_flat_code_imports_siblings_only_and_looks_so_to_a_regular_expression(all_code):
    for name, source in all_code.items():
        siblings = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("farl_hf")], name
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, name
                assert not (node.module or "").startswith("farl_hf"), name
                siblings |= {node.module} if node.level else set()
        looks = set(re.findall(r"^\s*from\s+\.(\S+)\s+import", source, flags=re.MULTILINE))
        assert looks == siblings, name
        assert {f"{sibling}.py" for sibling in siblings} <= set(all_code), name


def test_code_differs_from_the_library_in_its_imports_only():
    flat = flat_code(["farl_hf.pipelines.face_tasks"])["face_tasks.py"]
    assert _without_own_imports(flat) == _without_own_imports(Path(face_tasks.__file__).read_text(encoding="utf-8"))
    # a name that a package re-exports comes from the module that defines it
    assert {("errors", "InvalidArgumentError"), ("landmarks", "FIVE_FROM_LANDMARKS")} <= {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(flat))
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def _without_own_imports(source):
    """The code without its imports from this library and without comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith("farl_hf")):
            node.module, node.names, node.level = "farl_hf", [], 0
    lines = [line for line in ast.unparse(tree).splitlines() if not line.strip().startswith("from farl_hf import")]
    return "\n".join(lines)


def test_only_what_belongs_there_is_uploaded(copy_of):
    folder = copy_of("face-parsing")
    (folder / "checkpoint-500").mkdir()
    for name in ("optimizer.pt", "training_args.bin", "checkpoint-500/model.safetensors", "notes.py"):
        (folder / name).write_bytes(b"state")
    (folder / "README.md").write_text("# Mine")
    plan = plan_repository(folder)
    assert plan.skipped == ("checkpoint-500/", "notes.py", "optimizer.pt", "training_args.bin")
    assert content_of(plan, "README.md") == b"# Mine"
    assert plan.num_bytes == sum(len(content_of(plan, file.path)) for file in plan.files)


def test_recipe_and_results_are_uploaded_without_the_paths_of_the_machine(copy_of):
    folder = copy_of("face-parsing")
    (folder / "recipe.yaml").write_text(
        "# farl-hf train /home/me/runs/recipe.yaml\ndata_dir: /home/me/LaPa\ndataset_name: [lapa, /home/me/rows]\n"
        "output_dir: ~/runs\nseed: 3\nmodel_name_or_path: me/encoder\ncache_dir: private/cache\n"
        "eval_dataset_name: ../private/rows\n"
    )
    (folder / "results.json").write_text("{}")
    plan = plan_repository(folder)
    assert content_of(plan, "results.json") == b"{}"
    assert yaml.safe_load(content_of(plan, "recipe.yaml")) == {
        **{"data_dir": "LaPa", "dataset_name": ["lapa", "rows"], "output_dir": "runs", "seed": 3},
        **{"model_name_or_path": "me/encoder", "cache_dir": "cache", "eval_dataset_name": "rows"},
    }
    assert b"/home/me" not in content_of(plan, "recipe.yaml")


def test_the_path_that_transformers_writes_into_a_config_is_stripped(copy_of):
    folder = copy_of("face-parsing")
    config = json.loads((folder / "config.json").read_text())
    leak = {"face-parsing": {"impl": "x.Y", "default": {"model": ["/home/me/secret", "main"]}}}
    (folder / "config.json").write_text(json.dumps(config | {"custom_pipelines": leak, "_name_or_path": "/home/me"}))
    assert b"/home/me" not in content_of(plan_repository(folder), "config.json")


def test_the_detector_beside_the_model_can_be_chosen(checkpoints):
    plan = plan_repository(checkpoints["face-parsing"], detector=checkpoints["face-detection"])
    expected = (checkpoints["face-detection"] / "model.safetensors").read_bytes()
    assert content_of(plan, "face-detector/model.safetensors") == expected
    with pytest.raises(NotACheckpointError, match="is no face detector, but serves face-landmarks"):
        plan_repository(checkpoints["face-parsing"], detector=checkpoints["face-landmarks"])
    with pytest.raises(UnknownNameError, match="no checkpoint 'nobody'"):
        plan_repository(checkpoints["face-parsing"], detector="nobody")
    with pytest.raises(InvalidArgumentError, match="leave the detector out"):
        plan_repository(checkpoints["face-detection"], detector=checkpoints["face-detection"])


def test_the_detector_of_a_folder_stays_with_it(checkpoints, copy_of):
    folder = copy_of("face-parsing")
    shutil.copytree(checkpoints["face-detection"], folder / "face-detector")
    expected = (checkpoints["face-detection"] / "model.safetensors").read_bytes()
    assert content_of(plan_repository(folder), "face-detector/model.safetensors") == expected


def test_a_downloaded_repository_is_a_checkpoint_folder_again(checkpoints, tmp_path):
    parser, detector = checkpoints["face-parsing"], checkpoints["face-detection"]
    folder = write(plan_repository(parser, detector), tmp_path / "parser")
    assert plan_repository(folder).skipped == ()
    photo = Image.fromarray(data.astronaut()).resize((256, 256))
    local = pipeline("face-parsing", model=str(parser), detector=str(detector))
    expected = plain(local(photo))
    assert expected
    for trust in ({"trust_remote_code": True}, {"pipeline_class": PIPELINES["face-parsing"].pipeline_class}):
        pipe = pipeline("face-parsing", model=str(folder), **trust)
        assert pipe.find_faces.detector.image_processor.max_faces == 2  # the toy detector's, not the default one's
        assert plain(pipe(photo)) == expected
    folder = write(plan_repository(checkpoints[TOWERS]), tmp_path / "towers")
    assert AutoTokenizer.from_pretrained(folder)("a face")["input_ids"] == [49406, 320, 1710, 49407]


def test_a_repository_without_its_detector_says_what_to_do(checkpoints, tmp_path):
    folder = write(plan_repository(checkpoints["face-landmarks"]), tmp_path / "landmarks")
    shutil.rmtree(folder / "face-detector")
    pipe = pipeline("face-landmarks", model=str(folder), trust_remote_code=True)
    photo = Image.new("RGB", (64, 64))
    assert len(pipe(photo, aligned=True)) == 1
    with pytest.raises(OSError, match=r"no face detector that can be loaded .* give `detector=` a RetinaFace"):
        pipe(photo)
    assert pipe(photo, detector=lambda photo: []) == []


DAMAGES = {
    "no config": ("face-parsing", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "config cut short": (
        "face-parsing",
        lambda folder: (folder / "config.json").write_text("{"),
        "cannot be read",
    ),
    "another model": (
        "face-parsing",
        lambda folder: (folder / "config.json").write_text('{"architectures": ["BertModel"]}'),
        "is of the model BertModel; expected one of",
    ),
    "no weights": ("face-parsing", lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
    "weights cut short": (
        "face-parsing",
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
        "is damaged or cut short",
    ),
    "a shard is missing": (
        "face-parsing",
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
        r"lacks b\.safetensors",
    ),
    "no processor": (
        "face-parsing",
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "lacks preprocessor_config.json; save the processor of FaRLForFaceParsing",
    ),
    "settings that build no model": (
        "face-parsing",
        lambda folder: (folder / "config.json").write_text(
            json.dumps(json.loads((folder / "config.json").read_text()) | {"vision_config": {"hidden_size": "big"}})
        ),
        "hidden_size",
    ),
    "no vocabulary": (TOWERS, lambda folder: (folder / "tokenizer.json").unlink(), "lacks tokenizer.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_incomplete_folders_are_refused(copy_of, damage):
    task, break_it, message = DAMAGES[damage]
    folder = copy_of(task)
    plan_repository(folder)
    break_it(folder)
    with pytest.raises(NotACheckpointError, match=message):
        plan_repository(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="nowhere"):
        plan_repository(tmp_path / "nowhere")


def test_a_checkpoint_can_be_named():
    assert plan_repository("retinaface-tiny").task == "face-detection"
