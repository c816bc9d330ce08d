"""The detection training script learns a toy task, resumes, and writes a folder that loads."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from farl_hf.data.samples.detection_samples import FaceDetectionSamples
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, UnknownNameError
from farl_hf.modeling import RetinaFaceConfig, RetinaFaceForFaceDetection, RetinaFaceModel
from farl_hf.processing.image_processing_retinaface import RetinaFaceImageProcessor
from farl_hf.training.evaluation.detection import evaluate_face_detection

datasets = pytest.importorskip("datasets")
SCRIPT = Path(__file__).parents[2] / "examples" / "train_face_detection.py"


def load_script():
    spec = importlib.util.spec_from_file_location("train_face_detection", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # checkpoints pickle its arguments
    spec.loader.exec_module(module)
    return module


def photo_row(index):
    """A grey photo with one bright square 'face' of 16 to 32 pixels and five points in it."""
    rng = np.random.default_rng(index)
    image = rng.integers(90, 130, (64, 64, 3), dtype=np.uint8)
    side = int(rng.integers(16, 33))
    x, y = rng.integers(0, 64 - side, 2)
    image[y : y + side, x : x + side] = (250, 60, 60)
    places = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.3, 0.7], [0.7, 0.7]])
    return {
        "image": Image.fromarray(image),
        "boxes_xyxy": [[float(x), float(y), float(x + side), float(y + side)]],
        "points5_xy": [(places * side + [x, y]).tolist()],
    }


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "boxes_xyxy": datasets.List(datasets.List(datasets.Value("float32"))),
            "points5_xy": datasets.List(datasets.List(datasets.List(datasets.Value("float32")))),
        }
    )
    splits = {
        "train": datasets.Dataset.from_list([photo_row(i) for i in range(48)], features=features),
        "validation": datasets.Dataset.from_list([photo_row(1000 + i) for i in range(8)], features=features),
    }
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return folder


def arguments(data_folder, output_dir, **changes):
    options = {
        "dataset_name": data_folder,
        "output_dir": output_dir,
        "image_size": 64,
        "width": 0.125,
        "pyramid_channels": 16,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "warmup_steps": 0,
        "dataloader_num_workers": 0,
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def best_face_errors_px(model, processor, row):
    """Largest deviation of the best face's box and points from the truth."""
    inputs = processor(row["image"], return_tensors="pt")
    with torch.no_grad():
        outputs = model(inputs["pixel_values"])
    sizes = inputs["original_sizes"], inputs["input_scales"]
    faces = processor.post_process_face_detection(outputs, *sizes, threshold=0.1)[0]
    box_error = (faces["boxes_xyxy"][0] - torch.tensor(row["boxes_xyxy"][0])).abs().max()
    point_error = (faces["keypoints_xy"][0] - torch.tensor(row["points5_xy"][0])).abs().max()
    return [float(box_error), float(point_error)]


def test_learns_toy_squares_and_writes_a_whole_checkpoint(data_folder, tmp_path):
    flags = ["--do_train", "--do_eval"]
    evaluated = {"eval_strategy": "steps", "eval_steps": 120}
    options = arguments(data_folder, tmp_path, num_train_epochs=40, save_strategy="no", **evaluated)
    scores = load_script().main(options + flags)
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [120, 240]
    assert scores["num_photos"] == scores["num_faces"] == 8
    assert scores["average_precision"] > 0.8
    assert json.loads((tmp_path / "eval_results.json").read_text()) == scores
    model = RetinaFaceForFaceDetection.from_pretrained(tmp_path).eval()
    processor = RetinaFaceImageProcessor.from_pretrained(tmp_path)
    validation = [photo_row(1000 + index) for index in range(8)]
    reloaded = evaluate_face_detection(model, processor, validation)
    assert reloaded["average_precision"] == pytest.approx(scores["average_precision"], abs=1e-3)
    # The median: such a small network may miss a single unseen photo, and which one depends on the number of threads.
    errors_px = np.array([best_face_errors_px(model, processor, photo_row(2000 + index)) for index in range(16)])
    assert np.median(errors_px, axis=0).max() < 6


def test_the_scores_are_those_of_the_averaged_weights_that_are_saved(data_folder, tmp_path):
    options = arguments(data_folder, tmp_path, max_steps=4, ema_decay=0.9, learning_rate=5e-2, save_strategy="no")
    scores = load_script().main([*options, "--do_train", "--do_eval"])
    model = RetinaFaceForFaceDetection.from_pretrained(tmp_path).eval()
    validation = [photo_row(1000 + index) for index in range(8)]
    assert evaluate_face_detection(model, RetinaFaceImageProcessor.from_pretrained(tmp_path), validation) == scores


def written_at(folder):
    return (folder / "trainer_state.json").stat().st_mtime_ns


def test_a_stopped_run_goes_on_with_the_original_recipe(data_folder, tmp_path):
    script = load_script()
    common = {"recipe": "sgd_steps", "max_steps": 4, "save_steps": 2, "save_strategy": "steps"}
    options = [*arguments(data_folder, tmp_path, **common), "--do_train"]
    script.main(options)
    straight = RetinaFaceForFaceDetection.from_pretrained(tmp_path).state_dict()
    state = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["global_step"] == 4
    first = written_at(tmp_path / "checkpoint-2")
    shutil.rmtree(tmp_path / "checkpoint-4")
    (tmp_path / "model.safetensors").unlink()
    script.main(options)
    again = RetinaFaceForFaceDetection.from_pretrained(tmp_path).state_dict()
    for name, value in straight.items():
        torch.testing.assert_close(again[name], value)
    assert written_at(tmp_path / "checkpoint-2") == first  # the second start ran the last two steps alone


def test_a_run_does_not_go_on_with_other_arguments(data_folder, tmp_path):
    script = load_script()
    common = {"max_steps": 2, "save_steps": 2, "save_strategy": "steps"}
    script.main([*arguments(data_folder, tmp_path, **common), "--do_train"])
    for change in ({"crop_scales": "wide"}, {"learning_rate": 1e-4}):
        with pytest.raises(InvalidArgumentError, match=f"{next(iter(change))}: "):
            script.main([*arguments(data_folder, tmp_path, **common, **change), "--do_train"])


def test_gradients_are_clipped_only_by_our_own_recipe(data_folder, tmp_path):
    arguments_class = load_script().FaceDetectionTrainingArguments
    lengths = [
        arguments_class(output_dir=str(tmp_path), **changes).max_grad_norm
        for changes in ({}, {"recipe": "sgd_steps"}, {"recipe": "sgd_steps", "max_grad_norm": 5.0})
    ]
    assert lengths == [1.0, 0.0, 5.0]


def test_options_that_would_change_nothing_are_refused(data_folder, tmp_path):
    script = load_script()
    with pytest.raises(InvalidArgumentError, match=r"--width 0\.125 is for random weights"):
        script.main([*arguments(data_folder, tmp_path, model_name_or_path=tmp_path), "--do_train"])
    with pytest.raises(InvalidArgumentError, match="needs --model-name-or-path"):
        script.main([*arguments(data_folder, tmp_path), "--do_eval"])


def test_starts_from_a_body_that_was_trained_before(tmp_path):
    script = load_script()
    config = RetinaFaceConfig()
    body = RetinaFaceModel(config).body
    state = {f"body.{name}": value for name, value in body.state_dict().items()}
    RetinaFaceConfig(architectures=["RetinaFaceModel"]).save_pretrained(tmp_path)
    RetinaFaceImageProcessor().save_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, _ = script.make_model(script.ModelArguments(model_name_or_path=str(tmp_path)), script.DataArguments())
    for name, value in model.model.body.state_dict().items():
        assert torch.equal(value, body.state_dict()[name]), name
    save_file(dict(list(state.items())[:-1]), tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotACheckpointError, match="1 tensor missing"):
        script.make_model(script.ModelArguments(model_name_or_path=str(tmp_path)), script.DataArguments())


def test_a_wrong_start_is_said_before_the_data_set_is_read(tmp_path):
    words = ["--dataset_name", str(tmp_path / "no-data"), "--output_dir", str(tmp_path / "run"), "--do_train"]
    with pytest.raises(NotACheckpointError, match="no-such-folder"):
        load_script().main([*words, "--model_name_or_path", "no-such-folder"])
    RetinaFaceConfig().save_pretrained(tmp_path)  # without the settings of its image processor
    with pytest.raises(NotACheckpointError, match=r"preprocessor_config\.json"):
        load_script().main([*words, "--model_name_or_path", str(tmp_path)])


def test_unknown_choices_are_refused(data_folder, tmp_path):
    with pytest.raises(UnknownNameError, match="--recipe 'adam'"):
        load_script().main([*arguments(data_folder, tmp_path, recipe="adam"), "--do_train"])


def test_samples_read_rows_of_a_dataset(data_folder):
    rows = datasets.load_from_disk(str(data_folder))["train"]
    samples = FaceDetectionSamples(rows, RetinaFaceImageProcessor(), 64, augment=False)
    expected = torch.tensor(photo_row(3)["boxes_xyxy"]) / 64
    torch.testing.assert_close(samples[3]["labels"]["boxes_xyxy"], expected)
