"""Pre-training from end to end: exact contrast over accumulated batches, exact resuming, what it logs and leaves."""

import json
import math
import shutil

import datasets
import numpy as np
import pytest
import torch
from face_rows import make_face_row
from laion_shards import write_detections, write_shard
from pretraining_runs import log_of, pretrain, weights_of, write_pairs
from transformers import AutoModel, AutoProcessor, HfArgumentParser

from farl_hf import FaRLForFaceParsing, FaRLModel, FaRLProcessor
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, NotACheckpointError, UnknownNameError
from farl_hf.processing.face_geometry_farl import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE
from farl_hf.training.pretraining.trainer import PretrainingArguments, PretrainingTrainer, decays_in_pretraining


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_grad_cache_over_four_batches_equals_one_large_batch(faces, tmp_path, gradient_checkpointing):
    """One step of plain gradient descent at rate 1: the change of the weights is the gradient."""
    same = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, "weight_decay": 0.0}
    pretrain(faces, tmp_path / "start", max_steps=1, optim="sgd", learning_rate=0.0)
    pretrain(faces, tmp_path / "whole", per_device_train_batch_size=16, **same)
    cached = {"gradient_accumulation_steps": 4, "grad_cache": True}
    pretrain(faces, tmp_path / "parts", gradient_checkpointing=gradient_checkpointing, **cached, **same)
    pretrain(faces, tmp_path / "apart", gradient_accumulation_steps=4, **same)
    start, whole, parts, apart = (weights_of(tmp_path / name) for name in ("start", "whole", "parts", "apart"))
    largest = max((whole[name] - start[name]).abs().max() for name in start)
    assert largest > 1e-3
    for name in start:
        torch.testing.assert_close(
            parts[name] - start[name], whole[name] - start[name], rtol=1e-4, atol=1e-5 * largest
        )
    # Without the cache the negatives of other batches are missing.
    assert max((apart[name] - whole[name]).abs().max() for name in start) > 1e-2 * largest


def test_both_passes_of_grad_cache_train_after_an_evaluation(faces, tmp_path, monkeypatch):
    """With dropout, in the step after an evaluation and in the first one from a checkpoint: the four second passes of
    a step see the same loss of all pairs only if the first one dropped the same units."""
    seen = []

    def remembered(self, model, batch, cache):
        outputs = with_cache(self, model, batch, cache)
        seen.append(float(outputs.itc_loss.detach()))
        return outputs

    with_cache = PretrainingTrainer.outputs_with_cache
    monkeypatch.setattr(PretrainingTrainer, "outputs_with_cache", remembered)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {
        "vision_config": vision | {"patch_size": 8, "drop_path_rate": 0.9},
        "text_config": vision | {"num_hidden_layers": 1},
        "projection_dim": 16,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    changes = {
        "mim_weight": 0.0, "max_steps": 2, "gradient_accumulation_steps": 4, "grad_cache": True, "do_eval": True,
        "eval_strategy": "steps", "eval_steps": 1, "gallery_size": 4,
    }  # fmt: skip
    pretrain(faces, tmp_path / "first", config_name=tmp_path / "config.json", **changes)
    start = {"config_name": None, "model_name_or_path": tmp_path / "first", "tokenizer_name": None}
    pretrain(faces, tmp_path / "second", **start, **(changes | {"max_text_tokens": None}))
    np.testing.assert_allclose(np.reshape(seen, (4, 4)), np.reshape(seen, (4, 4))[:, :1].repeat(4, 1), rtol=1e-4)


@pytest.mark.parametrize("stopped_after", [3, 6])  # of four steps per epoch: within the first one, and a later one
def test_a_stopped_run_ends_where_an_uninterrupted_one_does(faces, tmp_path, stopped_after):
    changes = {"max_steps": 8, "save_strategy": "steps", "save_steps": 3, "ema_decay": 0.5}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    pretrain(faces, whole, **changes)
    shutil.copytree(whole / "visual_tokenizer", stopped / "visual_tokenizer")
    shutil.copytree(whole / f"checkpoint-{stopped_after}", stopped / f"checkpoint-{stopped_after}")
    pretrain(faces, stopped, **changes)
    for name, values in weights_of(whole).items():
        torch.testing.assert_close(weights_of(stopped)[name], values, rtol=0, atol=0)
    losses = [[entry["loss"] for entry in log_of(folder) if "loss" in entry] for folder in (whole, stopped)]
    assert losses[0] == losses[1]


def test_the_run_leaves_both_encoders_from_which_heads_start(faces, tmp_path):
    scores = pretrain(faces, tmp_path, do_eval=True, gallery_size=4)
    assert scores["eval_gallery_size"] == 4
    assert 0 <= scores["eval_text_to_image_recall_at_1"] <= 1
    assert "eval_zero_shot_accuracy_smiling" in scores
    model, loading = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model) is FaRLModel
    assert not loading["missing_keys"]
    processor = AutoProcessor.from_pretrained(tmp_path)
    inputs = processor(images=make_face_row(0)["image"], text=["a red face"], return_tensors="pt")
    assert inputs["pixel_values"].shape[-1] == 32
    head, loading = FaRLForFaceParsing.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
    assert all(name.startswith(("pyramid.", "head.")) for name in loading["missing_keys"])
    torch.testing.assert_close(
        head.vision_model.encoder.layers[0].mlp.fc1.weight, model.vision_model.encoder.layers[0].mlp.fc1.weight
    )
    assert not any("centres" in name or "codebook" in name for name in weights_of(tmp_path))
    assert (tmp_path / "visual_tokenizer" / "visual_tokenizer.safetensors").is_file()


def test_the_log_tells_both_losses_temperature_and_retrieval(faces, tmp_path):
    pretrain(faces, tmp_path)
    first = log_of(tmp_path)[0]
    assert first["loss"] == pytest.approx(first["itc_loss"] + first["mim_loss"], rel=1e-3)
    assert first["mim_loss"] == pytest.approx(math.log(8), abs=0.3)  # eight tokens, untrained
    assert first["logit_scale"] == pytest.approx(14.28, abs=0.2)
    assert 0 <= first["image_to_text_accuracy"] <= 1
    assert first["samples_per_second"] > 0


def test_laion_face_is_read_from_its_shards(faces, tmp_path):
    for shard in range(3):
        write_shard(tmp_path / "data", shard, 6, changes={shard: {"txt": None}})
    write_detections(tmp_path / "data", range(3), 6)
    changes = {"dataset_name": "laion_face", "data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    pretrain(faces, tmp_path / "run", num_train_epochs=2, max_steps=None, **changes)
    last = [entry for entry in log_of(tmp_path / "run") if "loss" in entry][-1]
    assert last["step"] == round(2 * 18 / 4)
    assert last["skipped/missing_caption"] >= 3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset_name": "laion_face"}, InvalidArgumentError, "--data-dir"),
        ({"face_template": "round"}, UnknownNameError, "attribute, lapa"),
        ({"eval_split": "holdout", "do_eval": True}, UnknownNameError, "holdout"),
        ({"grad_cache": True}, InvalidArgumentError, "gradient_accumulation_steps"),
        ({"per_device_train_batch_size": 500}, InvalidArgumentError, "fewer than a batch of 500"),
        ({"other_data_dir": "elsewhere"}, InvalidArgumentError, "--other-data-dir is used only with"),
        ({"face_ratio": 0.5}, InvalidArgumentError, "--face-ratio is used only with"),
        (
            {"dataset_name": "laion_face", "other_data_dir": "elsewhere"},
            InvalidArgumentError,
            "--other-data-dir is used only with --face-ratio",
        ),
        ({"tokenizer_name": "farl-tiny"}, InvalidArgumentError, "--max-text-tokens is used only with"),
        ({"do_train": None, "do_eval": True}, InvalidArgumentError, "needs --model-name-or-path"),
        ({"dataset_name": "laion_face", "max_train_samples": 9}, InvalidArgumentError, "cuts no shards"),
        (
            {"eval_split": "train", "do_eval": True, "max_eval_samples": 2},
            InvalidArgumentError,
            "evaluates the training photos",
        ),
        ({"visual_vocab_size": None}, InvalidArgumentError, "patches cannot give 8192"),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(faces, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        pretrain(faces, tmp_path, **changes)


def test_rows_without_captions_are_refused(tmp_path):
    rows = datasets.Dataset.from_list([make_face_row(0)]).remove_columns("caption")
    datasets.DatasetDict(train=rows).save_to_disk(str(tmp_path / "rows"))
    with pytest.raises(InvalidDatasetError, match="caption"):
        pretrain(tmp_path / "rows", tmp_path / "run")


def test_a_tokenizer_that_is_not_there_is_told_with_what_to_do(faces, tmp_path):
    with pytest.raises(NotACheckpointError, match="--tokenizer-name"):
        pretrain(faces, tmp_path / "run", tokenizer_name=tmp_path / "nowhere", max_text_tokens=None)


def test_only_the_tokenizer_of_the_checkpoint_goes_on_with_it(faces, tmp_path):
    pretrain(faces, tmp_path / "first", max_steps=1, tokenizer_vocab_size=520)
    start = {"config_name": None, "model_name_or_path": tmp_path / "first", "tokenizer_vocab_size": 520}
    refused = {
        "has 530 entries, but": {"tokenizer_vocab_size": 530},
        "has 77 tokens at most, but": {"max_text_tokens": None},
        "has 744 entries, but": {"tokenizer_name": "farl-tiny", "max_text_tokens": None},
    }
    for number, (message, changes) in enumerate(refused.items()):
        with pytest.raises(InvalidArgumentError, match=message):
            pretrain(faces, tmp_path / f"run-{number}", **(start | changes))
    others = datasets.load_from_disk(str(faces))["train"]
    others = others.remove_columns("caption").add_column("caption", [f"photograph {i} of people" for i in range(16)])
    datasets.DatasetDict(train=others).save_to_disk(str(tmp_path / "others"))
    with pytest.raises(InvalidArgumentError, match="gives other ids to texts"):
        pretrain(tmp_path / "others", tmp_path / "run", **start)


def test_weight_decay_spares_norms_biases_positions_tokens_and_temperature(toy_model):
    from farl_hf import FaRLForPreTraining

    model = toy_model(FaRLForPreTraining, mim_vocab_size=8)
    spared = {name for name, parameter in model.named_parameters() if not decays_in_pretraining(name, parameter)}
    decayed = {name for name, _ in model.named_parameters()} - spared
    assert all(name.endswith(".weight") for name in decayed)
    assert not any("norm" in name or "position" in name for name in decayed)
    assert {"logit_scale", "mask_token", "vision_model.embeddings.class_embedding"} <= spared
    assert "vision_model.embeddings.patch_embedding.weight" in decayed
    assert "text_model.embeddings.token_embedding.weight" in decayed


@pytest.mark.parametrize("flag", ["--grad_cache", "--grad-cache", "--cached_contrast", "--cached-contrast"])
def test_grad_cache_is_known_by_its_names(flag, tmp_path):
    words = [flag, "--gradient-accumulation-steps", "2", "--output-dir", str(tmp_path)]
    (args,) = HfArgumentParser(PretrainingArguments).parse_args_into_dataclasses(words)
    assert args.grad_cache is True


def test_what_a_start_without_a_checkpoint_left_is_not_used_again(faces, tmp_path):
    pretrain(faces, tmp_path, max_steps=1, face_scale=1.0)
    pretrain(faces, tmp_path, max_steps=1, face_scale=1.3)
    assert FaRLProcessor.from_pretrained(tmp_path).image_processor.face_scale == 1.3


@pytest.mark.parametrize("named", [False, True])
def test_crops_are_those_of_the_checkpoint_but_for_what_is_given(faces, tmp_path, named):
    texts = {"tokenizer_name": tmp_path / "first" if named else None, "max_text_tokens": None}
    pretrain(faces, tmp_path / "first", max_steps=1, face_template=None, face_scale=1.3)
    start = {"model_name_or_path": tmp_path / "first", "config_name": None, "image_size": None}
    pretrain(faces, tmp_path / "second", max_steps=1, face_template="lapa", **start, **texts)
    first = FaRLProcessor.from_pretrained(tmp_path / "first").image_processor
    second = FaRLProcessor.from_pretrained(tmp_path / "second").image_processor
    assert (second.face_scale, second.size, second.warp_factor) == (1.3, first.size, first.warp_factor)
    np.testing.assert_allclose(first.face_template, ATTRIBUTE_TEMPLATE)
    np.testing.assert_allclose(second.face_template, LAPA_TEMPLATE)


def test_retrieval_is_measured_on_the_data_set_that_is_named(faces, tmp_path):
    others = datasets.Dataset.from_list([make_face_row(i) | {"caption": f"face {i}"} for i in range(3)])
    datasets.DatasetDict(train=others).save_to_disk(str(tmp_path / "others"))
    changes = {"do_eval": True, "eval_split": "train", "eval_dataset_name": tmp_path / "others"}
    scores = pretrain(faces, tmp_path / "run", max_steps=5, **changes)
    assert scores["eval_gallery_size"] == 3
    steps = [entry for entry in log_of(tmp_path / "run") if "loss" in entry]
    assert steps[3]["epoch"] == 1.0  # sixteen photos by four, not three
