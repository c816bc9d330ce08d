"""Whatever a config.json holds, a constructor answers with one sentence."""

import copy
import inspect
import json

import numpy as np
import pytest

import farl_hf
from farl_hf.checkpoints.checked_loading import read_config
from farl_hf.checkpoints.checkpoint_names import checkpoint
from farl_hf.errors import NotACheckpointError, UnknownNameError
from farl_hf.modeling.configuration_face_decoder import FaceDecoderConfig
from farl_hf.modeling.configuration_face_transformer import FaceTransformerConfig

CLASSES = (
    farl_hf.FaRLConfig,
    farl_hf.FaRLVisionConfig,
    farl_hf.FaRLTextConfig,
    farl_hf.RetinaFaceConfig,
    FaceTransformerConfig,
    FaceDecoderConfig,
)
HOSTILE = (None, "x", "", 0, -4, 1.5, float("nan"), float("inf"), 10**12, [], {}, [1], {"a": 1}, True, [None])
SHARED = ("id2label", "label2id", "num_labels", "architectures", "dtype", "attribute_map")


@pytest.mark.parametrize("config_class", CLASSES, ids=lambda one: one.__name__)
def test_any_value_of_any_setting_passes_or_is_one_sentence(config_class):
    names = [name for name in inspect.signature(config_class).parameters if name != "kwargs"]
    refused = []
    for name in (*names, *SHARED):
        for value in HOSTILE:
            try:
                config_class(**{name: copy.deepcopy(value)})
            except ValueError as error:
                refused.append((name, str(error)))
    assert len(refused) > 6 * len(names)
    assert not [(name, sentence) for name, sentence in refused if name.split("_")[0] not in sentence]
    assert max(len(sentence) for _, sentence in refused) < 900


@pytest.mark.parametrize(
    "settings",
    [
        {"vision_config": {"num_attention_heads": 0}},
        {"vision_config": {"num_attention_heads": -4}},
        {"vision_config": {"hidden_size": "big"}},
        {"vision_config": {"hidden_size": -768}},
        {"vision_config": {"num_hidden_layers": 10**9}},
        {"vision_config": {"patch_size": 0}},
        {"vision_config": {"out_indices": [99]}},
        {"vision_config": {"out_features": ["block99"]}},
        {"vision_config": {"hidden_act": "softest"}},
        {"vision_config": "x"},
        {"text_config": {"hidden_size": 0}},
        {"text_config": 3},
        {"backbone_config": "vit"},
        {"backbone_config": {"model_type": 3}},
        {"backbone_config": {"model_type": "face_transformer", "patch_size": 0}},
        {"feature_levels": "abc"},
        {"feature_levels": []},
        {"label_weights": [1.0, float("nan")]},
        {"attribute_thresholds": [1]},
        {"attribute_thresholds": {"LABEL_0": "high"}},
        {"id2label": {"x": "nose"}},
        {"id2label": {"0": 1}},
    ],
)
def test_hostile_configurations(settings, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]{10,900}$"):
        farl_hf.FaRLConfig(**copy.deepcopy(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "farl"} | settings))
    with pytest.raises(NotACheckpointError, match=tmp_path.name):
        read_config(tmp_path)


def test_published_sizes_pass():
    farl_hf.FaRLConfig(id2label={0: "a", 1: "b"}, label_weights=(1, 2.5), attribute_thresholds={"a": 0.3})
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    farl_hf.FaRLConfig(vision_config=large, text_config={"pad_token_id": None}, mim_num_hidden_layers=0)
    farl_hf.RetinaFaceConfig(body="resnet", id2label=None, batch_norm_eps=0)


@pytest.mark.parametrize("content", ["null", "3", "[]", '"x"', "", "{", "[" * 100_000, "\xff"])
def test_a_config_that_is_no_object(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    for read in (checkpoint, read_config):
        with pytest.raises(NotACheckpointError, match=r"config\.json"):
            read(str(tmp_path))


@pytest.mark.parametrize("name", ["x" * 300, "ä" * 200, "a/" + "b" * 5000, "nul\0byte"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(UnknownNameError):
        checkpoint(name)


@pytest.mark.parametrize(
    ("config_class", "plain"),
    [
        (
            farl_hf.FaRLConfig,
            {"num_labels": 2, "projection_dim": 16, "label_weights": [1.0, 2.0], "head_dropout": 0.5},
        ),
        (farl_hf.FaRLVisionConfig, {"hidden_size": 64, "num_attention_heads": 4, "layer_norm_eps": 0.25}),
        (farl_hf.RetinaFaceConfig, {"variances": [0.5, 0.25], "min_sizes": [[16, 32], [64, 128], [256, 512]]}),
    ],
)
def test_numbers_of_numpy_are_stored_as_pythons(config_class, plain):
    given = {name: np.array(value)[()] for name, value in plain.items()}
    assert config_class(**given).to_json_string() == config_class(**plain).to_json_string()
