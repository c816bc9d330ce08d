"""Checkpoints of another task, or that are not whole, are refused by pipelines, command line and training."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_checkpoints import save_toy_checkpoints
from transformers import pipeline

from farl_hf import FaRLForLandmarks, FaRLImageProcessor, FaRLModel, NotACheckpointError
from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole
from farl_hf.cli.model_loading import load_model_and_processor, load_pipelines
from farl_hf.errors import FaRLError, InvalidArgumentError
from farl_hf.training.arguments import ModelArguments
from farl_hf.training.finetuning import FACE_TASK_SETTINGS, make_processor, model_from_checkpoint, settings_of_start

TASKS = ("face-detection", "face-parsing", "face-landmarks", "face-attributes")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_toy_checkpoints(tmp_path_factory.mktemp("whole"))


def changed(folder, tmp_path, change):
    """A copy of a checkpoint whose tensors went through a function."""
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def without(name):
    return lambda tensors: tensors.pop(name)


def with_extra(tensors):
    tensors["another.weight"] = torch.zeros(2)


def with_other_shape(name):
    def change(tensors):
        tensors[name] = tensors[name][:1].clone()

    return change


def with_nan(name):
    def change(tensors):
        tensors[name].view(-1)[0] = torch.nan

    return change


LAST = {
    "face-detection": "box_head.convolutions.0.weight",
    "face-parsing": "head.classifier.weight",
    "face-landmarks": "head.classifier.weight",
    "face-attributes": "head.classifier.weight",
}
FAULTS = {
    "missing": without,
    "of another shape": with_other_shape,
    "not finite": with_nan,
    "unknown": lambda _: with_extra,
}


@pytest.mark.parametrize("task", TASKS[1:])
def test_a_pipeline_refuses_the_checkpoint_of_another_task(task, folders):
    other = next(one for one in TASKS[1:] if one != task)
    with pytest.raises(NotACheckpointError) as caught:
        pipeline(task, model=str(folders[other]), device="cpu")
    assert all(word in str(caught.value) for word in (str(folders[other]), other, task))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_pipeline_refuses_a_checkpoint_that_is_not_whole(task, fault, folders, tmp_path):
    folder = changed(folders[task], tmp_path, FAULTS[fault](LAST[task]))
    with pytest.raises(NotACheckpointError) as caught:
        pipeline(task, model=str(folder), device="cpu")
    tensor = "another.weight" if fault == "unknown" else LAST[task]
    assert all(word in str(caught.value) for word in (str(folder), f"1 tensor {fault}: {tensor}"))


@pytest.mark.parametrize("task", TASKS[:3])
def test_values_that_do_not_fit_float16_are_no_damage(task, folders, tmp_path):
    def widen(tensors):
        name = next(name for name in tensors if name.endswith("running_var"))
        tensors[name].view(-1)[0] = 1e6

    folder = str(changed(folders[task], tmp_path, widen))
    said = r"float16, in 1 tensor: \S+running_var\. Load it with dtype='bfloat16'"
    model_class = type(pipeline(task, model=folder, dtype="bfloat16", device="cpu").model)
    with pytest.raises(InvalidArgumentError, match=said):
        pipeline(task, model=folder, dtype="float16", device="cpu")
    with pytest.raises(InvalidArgumentError, match=said):
        load_whole(model_class, folder, dtype=torch.float16)
    damaged = str(changed(folders[task], tmp_path / "nan", with_nan(LAST[task])))
    with pytest.raises(NotACheckpointError, match="not finite"):
        pipeline(task, model=damaged, dtype="float16", device="cpu")


def test_a_whole_checkpoint_and_a_model_of_a_user_are_taken(folders, toy_model):
    for task in TASKS:
        assert pipeline(task, model=str(folders[task]), device="cpu").model.loading_parts is not None
    model = toy_model(FaRLForLandmarks)  # no weights of a checkpoint at all
    processor = str(folders["face-landmarks"])
    assert pipeline("face-landmarks", model=model, image_processor=processor, device="cpu").model is model
    with pytest.raises(NotACheckpointError, match=r"FaRLForLandmarks .*expected FaRLForFaceParsing"):
        pipeline("face-parsing", model=model, image_processor=processor, device="cpu")


def test_the_detector_of_a_pipeline_is_checked(folders, tmp_path):
    find = pipeline(
        "face-landmarks", model=str(folders["face-landmarks"]), device="cpu", detector=folders["face-parsing"]
    )
    with pytest.raises(NotACheckpointError, match=r"face-parsing.*expected RetinaFaceForFaceDetection"):
        find(torch.zeros(40, 40, 3, dtype=torch.uint8).numpy())


def test_the_command_line_names_what_it_found(folders, tmp_path):
    for task, given in (("face-detection", "face-parsing"), ("face-attributes", "face-detection")):
        with pytest.raises(NotACheckpointError, match=f"{given}.*expected.*{task}"):
            load_pipelines({task: str(folders[given])}, "cpu")
    folder = changed(folders["face-parsing"], tmp_path, without(LAST["face-parsing"]))
    with pytest.raises(NotACheckpointError, match="1 tensor missing"):
        load_pipelines({"face-parsing": str(folder)}, "cpu")
    with pytest.raises(NotACheckpointError, match="1 tensor missing"):
        load_model_and_processor(str(folder), "cpu")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(NotACheckpointError, match="no weights that can be read"):
        load_pipelines({"face-parsing": str(folder)}, "cpu")


def test_many_missing_tensors_are_counted(folders, tmp_path):
    def change(tensors):
        for name in [name for name in tensors if name.startswith("pyramid")]:
            tensors.pop(name)

    folder = changed(folders["face-parsing"], tmp_path, change)
    with pytest.raises(NotACheckpointError, match=r"tensors missing: pyramid.* and \d+ more"):
        pipeline("face-parsing", model=str(folder), device="cpu")


def test_training_may_start_a_new_head_but_no_new_encoder(folders, tmp_path, caplog):
    task, names = FACE_TASK_SETTINGS["parsing"], [f"class_{index}" for index in range(4)]

    def start(folder):
        arguments = ModelArguments(model_name_or_path=str(folder))
        settings = settings_of_start(task, arguments, make_processor(task, arguments), names)
        return model_from_checkpoint(task, str(folder), "eager", settings)

    with caplog.at_level(logging.WARNING):
        model = start(folders["face-landmarks"])
    assert "head (2 tensors)" in caplog.text  # the classifier; all other layers of the head fit
    source = load_file(folders["face-landmarks"] / "model.safetensors")
    assert model.state_dict()["pyramid.levels.0.0.weight"].equal(source["pyramid.levels.0.0.weight"])

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        start(folders["face-attributes"])
    assert "pyramid (" in caplog.text
    patches = "vision_model.embeddings.patch_embedding.weight"
    for fault in (without, with_nan, with_other_shape):
        with pytest.raises(NotACheckpointError, match=patches):
            start(changed(folders["face-landmarks"], tmp_path / fault.__name__, fault(patches)))


def test_a_detector_lends_no_encoder(folders):
    task, arguments = FACE_TASK_SETTINGS["parsing"], ModelArguments(model_name_or_path=str(folders["face-detection"]))
    settings = settings_of_start(task, arguments, make_processor(task, arguments), ["a"])
    with pytest.raises(
        NotACheckpointError, match=r"RetinaFaceForFaceDetection \(face-detection\); expected FaRLForFace"
    ):
        model_from_checkpoint(task, str(folders["face-detection"]), "eager", settings)


def test_a_class_of_a_user_is_taken_for_what_it_was_derived_from(folders, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(folders["face-parsing"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["MyParsing"]}))
    assert pipeline("face-parsing", model=str(folder), device="cpu")


def test_a_checkpoint_of_both_encoders_is_loaded_whole(toy_model, tmp_path):
    toy_model(FaRLModel).save_pretrained(tmp_path)
    assert load_whole(FaRLModel, tmp_path)
    with pytest.raises(NotACheckpointError, match="images and texts"):
        load_whole(FaRLForLandmarks, tmp_path)


def test_a_detector_is_no_model_of_faces_and_the_other_way_round(folders):
    for task in TASKS[1:]:
        for wanted, given in (("face-detection", task), (task, "face-detection")):
            with pytest.raises(FaRLError, match=rf"\({given}\); expected \w+ \({wanted}\)") as caught:
                pipeline(wanted, model=str(folders[given]), device="cpu")
            assert str(folders[given]) in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names", [{}, [], {"weight_map": 3}, {"weight_map": {"a": "../up.safetensors"}, "metadata": {}}]
)
def test_a_list_of_weight_files_that_lies(names, folders, tmp_path):
    folder = tmp_path / "listed"
    shutil.copytree(folders["face-landmarks"], folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))
    with pytest.raises(FaRLError, match=r"index\.json"):
        pipeline("face-landmarks", model=str(folder), device="cpu")


@pytest.mark.parametrize("content", ["null", "3", "[]", "{"])
def test_an_image_processor_that_is_no_object(content, folders, tmp_path):
    folder = tmp_path / "settings"
    shutil.copytree(folders["face-parsing"], folder)
    (folder / "preprocessor_config.json").write_text(content)
    with pytest.raises(NotACheckpointError, match="preprocessor_config"):
        load_image_processor(FaRLImageProcessor, folder)
