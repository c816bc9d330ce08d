"""Transformers' own Trainer on every class that returns a loss: training, evaluation, prediction, best model, LoRA."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import EvalPrediction

from farl_hf import (
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLForMaskedImageModeling,
    FaRLForPreTraining,
    FaRLModel,
    RetinaFaceConfig,
    RetinaFaceForFaceDetection,
)
from farl_hf.data.samples.detection_samples import collate_face_detection_samples

NUM_SAMPLES, BATCH_SIZE = 5, 2  # the last batch is smaller
MIM_VOCABULARY = 11


def image_sample(index):
    return {"pixel_values": torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))}


def parsing_sample(index):
    generator = torch.Generator().manual_seed(index)
    return image_sample(index) | {"labels": torch.randint(0, 5, (32, 32), generator=generator)}


def landmark_sample(index):
    return image_sample(index) | {"labels": torch.rand(5, 2, generator=torch.Generator().manual_seed(index))}


def attribute_sample(index):
    return image_sample(index) | {"labels": torch.arange(5) % (index + 2) % 2}


def pair_sample(index):
    tokens = torch.tensor([97, index + 1, index + 2, 98])
    return image_sample(index) | {"input_ids": tokens, "attention_mask": torch.ones(4, dtype=torch.int64)}


def masked_sample(index, labels="labels"):
    mask = torch.arange(4) < 1 + index % 3  # as many as differ from image to image
    return image_sample(index) | {"bool_masked_pos": mask, labels: torch.arange(4) + index}


def pretraining_sample(index):
    return pair_sample(index) | masked_sample(index, "mim_labels")


def detection_sample(index):
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.9]])[: 1 + index % 2]
    points = boxes.new_full((len(boxes), 5, 2), 0.5)
    return {
        "pixel_values": 50 * torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(index)),
        "labels": {"boxes_xyxy": boxes, "keypoints_xy": points},
    }


def stack(samples, **more):
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]} | more


def stack_for_loss(samples):
    return stack(samples, return_loss=True)


CASES = {
    "parsing": (FaRLForFaceParsing, parsing_sample, stack),
    "landmarks": (FaRLForLandmarks, landmark_sample, stack),
    "attributes": (FaRLForAttributes, attribute_sample, stack),
    "contrast": (FaRLModel, pair_sample, stack_for_loss),
    "pretraining": (FaRLForPreTraining, pretraining_sample, stack),
    "masked_images": (FaRLForMaskedImageModeling, masked_sample, stack),
    "detection": (RetinaFaceForFaceDetection, detection_sample, collate_face_detection_samples),
}
LABELS = {"labels", "mim_labels", "bool_masked_pos"}


def without_labels(samples):
    """Batches with nothing but the inputs of a prediction; the whole loss of pre-training is switched off."""
    names = [name for name in samples[0] if name not in LABELS]
    more = {"return_loss": False} if "input_ids" in names else {}
    return stack([{name: sample[name] for name in names} for sample in samples], **more)


def build(model_class, toy_config):
    torch.manual_seed(0)
    if model_class is RetinaFaceForFaceDetection:
        return model_class(RetinaFaceConfig(width_multiplier=0.125, pyramid_channels=16))
    return model_class(toy_config(mim_vocab_size=MIM_VOCABULARY + 4))


def make_trainer(name, toy_config, folder, model=None, **settings):
    model_class, sample, collate = CASES[name]
    samples = [sample(index) for index in range(NUM_SAMPLES)]
    # The number of faces, and of masked patches, differs between pictures: their batches stay apart.
    apart = name in ("detection", "masked_images")
    arguments = {
        "max_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "save_only_model": True,
        "load_best_model_at_end": True,
        "per_device_train_batch_size": BATCH_SIZE,
        "per_device_eval_batch_size": BATCH_SIZE,
        "eval_do_concat_batches": not apart,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
    }
    return Trainer(
        model=model or build(model_class, toy_config),
        args=TrainingArguments(str(folder), **(arguments | settings)),
        data_collator=collate,
        train_dataset=samples,
        eval_dataset=samples,
    )


@torch.no_grad()
def outputs_of_batches(trainer):
    """What the model answers to the evaluation's batches, without the Trainer."""
    model, samples = trainer.model.eval(), trainer.eval_dataset
    batches = [samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE)]
    return [model(**trainer.data_collator(batch)) for batch in batches], [len(batch) for batch in batches]


@pytest.mark.parametrize("name", CASES)
def test_train_evaluate_and_predict(name, toy_config, tmp_path):
    trainer = make_trainer(name, toy_config, tmp_path)
    assert not trainer.model_accepts_loss_kwargs  # else gradients would grow with their accumulation
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    scores = trainer.evaluate()
    assert scores["eval_loss"] == pytest.approx(min(losses))  # the best model was loaded
    outputs, sizes = outputs_of_batches(trainer)
    # The Trainer counts a batch's loss as often as a whole batch has samples, cut to the number of samples.
    expected = np.repeat([float(output.loss) for output in outputs], BATCH_SIZE)[:NUM_SAMPLES].mean()
    assert scores["eval_loss"] == pytest.approx(expected, rel=1e-5)

    labelled = trainer.predict(trainer.eval_dataset)
    assert labelled.metrics["test_loss"] == pytest.approx(scores["eval_loss"])
    predictions = labelled.predictions
    ignored = ("loss", *trainer.model.config.keys_to_ignore_at_inference)
    first_kept = next(value for key, value in outputs[0].items() if key not in ignored)
    if trainer.args.eval_do_concat_batches:
        rows = predictions[0] if isinstance(predictions, tuple) else predictions
        assert len(rows) == sum(sizes)
        np.testing.assert_allclose(rows[:BATCH_SIZE], first_kept, atol=1e-5)
    else:
        assert len(predictions) == len(outputs)
        first = predictions[0][0] if isinstance(predictions[0], tuple) else predictions[0]
        np.testing.assert_allclose(first, first_kept, atol=1e-5)

    if name != "masked_images":  # it needs masks, which are half of its labels
        trainer.data_collator = without_labels
        answer = trainer.predict(trainer.eval_dataset)
        assert "test_loss" not in answer.metrics
        assert answer.label_ids is None
        assert answer.predictions is not None


def test_scores_of_a_user_are_computed_from_logits_and_labels(toy_config, tmp_path):
    trainer = make_trainer("attributes", toy_config, tmp_path)

    def accuracy(prediction: EvalPrediction):
        return {"accuracy": ((prediction.predictions > 0) == prediction.label_ids).mean()}

    trainer.compute_metrics = accuracy
    outputs, _ = outputs_of_batches(trainer)
    labels = torch.stack([sample["labels"] for sample in trainer.eval_dataset])
    expected = ((torch.cat([output.logits for output in outputs]) > 0) == labels).float().mean()
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(float(expected))


@pytest.mark.parametrize("name", CASES)
def test_with_an_adapter(name, toy_config, tmp_path):
    peft = pytest.importorskip("peft")
    targets = r".*(q_proj|v_proj)" if name != "detection" else r".*laterals\.\d\.convolution"
    # Training changes the statistics of the batch norms, frozen or not; they are saved with these parts only.
    parts = {"parsing": ["pyramid", "head"], "landmarks": ["pyramid", "head"], "attributes": ["head"]}.get(name)
    settings = peft.LoraConfig(r=2, target_modules=targets, lora_alpha=4, modules_to_save=parts)
    build(CASES[name][0], toy_config).save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(CASES[name][0].from_pretrained(tmp_path / "base"), settings)
    before = {key: value.clone() for key, value in model.named_parameters()}
    trainer = make_trainer(name, toy_config, tmp_path, model, learning_rate=1e-2)
    trainer.train()
    changed = {key for key, value in model.named_parameters() if not value.equal(before[key])}
    assert changed
    assert all("lora_" in key or "modules_to_save" in key for key in changed)
    assert not trainer.model_accepts_loss_kwargs
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses))
    assert trainer.predict(trainer.eval_dataset).predictions is not None
    if name == "detection":  # batch norms everywhere: an adapter alone does not hold what was learned
        return
    model.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(CASES[name][0].from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    for key, value in again.eval().state_dict().items():
        if "original_module" not in key:  # the base's own copy, which is not used
            torch.testing.assert_close(value, model.state_dict()[key], msg=key)
    batch = trainer.data_collator(trainer.eval_dataset)
    torch.testing.assert_close(again(**batch).loss, model.eval()(**batch).loss)
