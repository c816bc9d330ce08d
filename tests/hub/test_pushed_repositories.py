"""What is pushed loads where farl_hf cannot be imported, and computes the same bit for bit."""

import json

import pytest
import torch
from PIL import Image
from skimage import data
from stranger import use

TOWERS = "zero-shot-image-classification"
BY_METHOD = "me/by-method"
AUTO_CLASSES = {
    "face-parsing": "AutoModelForSemanticSegmentation",
    "face-landmarks": "AutoModelForKeypointDetection",
    "face-attributes": "AutoModelForImageClassification",
    "face-detection": "AutoModelForObjectDetection",
}

PUSH_ALL = """
import json, sys
from farl_hf import FaRLImageProcessor, FaRLModel, FaRLTokenizer
from farl_hf.hub import plan_repository, push_repository

folders = json.loads(sys.argv[1])
for folder, repo in folders.items():
    print(push_repository(plan_repository(folder), repo, public=repo.endswith("detection")))

for owner in (FaRLModel, FaRLTokenizer, FaRLImageProcessor):
    owner.from_pretrained(sys.argv[2]).push_to_hub(sys.argv[3])
import transformers
transformers.AutoProcessor.from_pretrained(sys.argv[2]).push_to_hub(sys.argv[3])
for folder, (repo, auto_name) in json.loads(sys.argv[4]).items():
    for owner in (getattr(transformers, auto_name), transformers.AutoImageProcessor):
        owner.from_pretrained(folder).push_to_hub(repo)
assert FaRLModel._auto_class is FaRLTokenizer._auto_class is None  # later checkpoints carry no code
"""


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(data.astronaut()).resize((256, 256))


@pytest.fixture(scope="module")
def repositories(hub, checkpoints, run_on_hub):
    """Task -> repository that was pushed."""
    names = {task: f"me/toy-{task}" for task in checkpoints}
    folders = json.dumps({str(checkpoints[task]): repo for task, repo in names.items()})
    by_method = {str(checkpoints[task]): (f"{BY_METHOD}-{task}", name) for task, name in AUTO_CLASSES.items()}
    run_on_hub("-c", PUSH_ALL, folders, checkpoints[TOWERS], BY_METHOD, json.dumps(by_method))
    return names


def assert_same(actual, expected, where=""):
    assert type(actual) is type(expected), where
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(actual[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(actual[index], value, f"{where}/{index}")
    else:
        assert torch.equal(actual, expected) if isinstance(expected, torch.Tensor) else actual == expected, where


def test_a_stranger_gets_the_same_results_bit_for_bit(
    hub, checkpoints, repositories, photo, run_on_hub, stranger, tmp_path
):
    photo.save(tmp_path / "photo.png")
    sources = {repo: (task, checkpoints[task]) for task, repo in repositories.items()}
    sources[BY_METHOD] = TOWERS, checkpoints[TOWERS]
    sources |= {f"{BY_METHOD}-{task}": (name, checkpoints[task]) for task, name in AUTO_CLASSES.items()}
    jobs = {repo: task for repo, (task, _) in sources.items()}
    run_on_hub(stranger, json.dumps(jobs), tmp_path / "photo.png", tmp_path / "results.pt")
    actual = torch.load(tmp_path / "results.pt")
    assert set(actual) == set(jobs)
    for repo, (task, folder) in sources.items():
        expected = use(str(folder), task, photo)
        assert_same(actual[repo], expected, repo)
        if task.startswith("face"):
            assert len(expected["photo"][0]) >= 1  # a face was found, so that something was compared
    assert [request for request in hub.unknown if "/me/" in request] == []


def test_repositories_are_private_unless_told_otherwise(hub, repositories):
    private = {task: hub.repositories[repo].private for task, repo in repositories.items()}
    assert private == {task: task != "face-detection" for task in repositories}


def test_a_repository_holds_one_commit_with_everything_and_no_path_of_this_machine(hub, checkpoints, repositories):
    repository = hub.repositories[repositories["face-parsing"]]
    assert len(repository.commits) == 2  # the empty first one, and ours
    _, files = repository.files("main")
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "face_tasks.py"} < set(files)
    assert {"face-detector/config.json", "face-detector/model.safetensors"} < set(files)
    home = str(checkpoints["face-parsing"].parent).encode()
    assert not [path for path, content in files.items() if home in content or b"/checkpoints/retinaface" in content]


def test_the_task_of_a_repository_is_in_its_config(hub, repositories):
    _, files = hub.repositories[repositories["face-landmarks"]].files("main")
    config = json.loads(files["config.json"])
    assert config["custom_pipelines"] == {
        "face-landmarks": {
            "impl": "face_tasks.FaceLandmarksPipeline",
            "pt": ["AutoModelForKeypointDetection"],
            "type": "image",
        }
    }
