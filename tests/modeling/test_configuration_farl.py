"""Configurations: defaults of the paper, round trips, and refusal of what cannot work."""

import inspect
import json
import re

import pytest

from farl_hf import FaRLConfig, FaRLTextConfig, FaRLVisionConfig


def test_default_sizes_are_those_of_vit_b_16():
    config = FaRLConfig()
    assert (config.vision_config.hidden_size, config.vision_config.num_hidden_layers) == (768, 12)
    assert (config.text_config.hidden_size, config.text_config.num_attention_heads) == (512, 8)
    assert config.projection_dim == 512


@pytest.mark.parametrize(
    ("depth", "levels"),
    [(12, [3, 5, 7, 11]), (24, [7, 11, 15, 23]), (32, [8, 14, 20, 31]), (6, [1, 2, 3, 5]), (2, [0, 1]), (1, [0])],
)
def test_default_levels_follow_the_depth(depth, levels):
    assert list(FaRLVisionConfig(num_hidden_layers=depth).out_indices) == levels


def test_feature_levels_default_to_four_levels_of_the_tower(toy_config):
    assert FaRLConfig().feature_levels == [3, 5, 7, 11]
    assert toy_config(vision={"num_hidden_layers": 2}).feature_levels == [0, 1, 1, 1]
    assert toy_config(feature_levels=[3, 3, 3, 3]).feature_levels == [3, 3, 3, 3]


def test_out_features_and_out_indices_agree():
    config = FaRLVisionConfig(out_features=["block2", "block4"])
    assert list(config.out_indices) == [2, 4]
    assert list(FaRLVisionConfig(out_indices=[2, 4]).out_features) == ["block2", "block4"]


def test_every_setting_survives_a_round_trip(tmp_path):
    settings = {
        "projection_dim": 8,
        "logit_scale_init_value": 1.5,
        "initializer_factor": 0.5,
        "feature_levels": [0, 1, 1, 2],
        "head_channels": 24,
        "head_dropout": 0.3,
        "heatmap_size": 64,
        "heatmap_radius": 3.0,
        "point_loss_weight": 4.0,
        "output_stride": 2,
        "id2label": {0: "background", 1: "face"},
        "attribute_thresholds": {"face": 0.7},
    }
    vision = {"num_hidden_layers": 3, "drop_path_rate": 0.1, "out_indices": [0, 2], "patch_size": 8, "image_size": 64}
    FaRLConfig(vision_config=vision, text_config={"vocab_size": 50}, **settings).save_pretrained(tmp_path)
    loaded = FaRLConfig.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in settings} == settings
    assert {name: getattr(loaded.vision_config, name) for name in vision} == vision
    assert loaded.text_config.vocab_size == 50


def test_a_tower_configuration_loads_from_a_two_tower_folder(tmp_path):
    FaRLConfig(vision_config={"hidden_size": 96}, text_config={"hidden_size": 64}).save_pretrained(tmp_path)
    assert FaRLVisionConfig.from_pretrained(tmp_path).hidden_size == 96
    assert FaRLTextConfig.from_pretrained(tmp_path).hidden_size == 64


def test_sub_configurations_may_be_objects():
    vision = FaRLVisionConfig(hidden_size=96)
    assert FaRLConfig(vision_config=vision).vision_config is vision


@pytest.mark.parametrize("config_class", [FaRLVisionConfig, FaRLTextConfig])
def test_heads_must_divide_the_width(config_class):
    with pytest.raises(ValueError, match=r"hidden_size=100 is not a multiple of num_attention_heads=12"):
        config_class(hidden_size=100, num_attention_heads=12)


def test_the_patch_must_divide_the_image():
    with pytest.raises(ValueError, match=r"image_size=225 is not a multiple of patch_size=16"):
        FaRLVisionConfig(image_size=225)


@pytest.mark.parametrize("levels", [[0, 1, 2, 12], [-1, 0, 1, 2]])
def test_feature_levels_must_exist(levels):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.11"):
        FaRLConfig(feature_levels=levels)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0, -1.0, 1.0]])
def test_label_weights_are_one_per_class_and_not_negative(weights):
    with pytest.raises(ValueError, match=r"label_weights=.*list of 3, each a number from 0"):
        FaRLConfig(num_labels=3, label_weights=weights)


CONSTANT_FIELDS = {
    "logit_scale_max": 4.605170185988092,
    "itc_weight": 1.0,
    "head_pool_scales": [1, 2, 3, 6],
    "heatmap_loss_weight": 1.0,
    "attribute_dropout": 0.0,
}


def save_settings(folder, **settings):
    """A config.json as version 0.1 wrote it."""
    FaRLConfig().save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | settings))
    return folder


def test_former_fields_at_their_defaults_are_dropped(tmp_path):
    config = FaRLConfig.from_pretrained(save_settings(tmp_path, **CONSTANT_FIELDS))
    assert not CONSTANT_FIELDS.keys() & config.to_dict().keys()
    FaRLConfig(head_pool_scales=(1, 2, 3, 6))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logit_scale_max", 5.0),
        ("itc_weight", 0.5),
        ("head_pool_scales", [1, 2]),
        ("heatmap_loss_weight", 0.25),
        ("attribute_dropout", 0.2),
    ],
)
def test_former_fields_with_another_value_are_refused_by_name(name, value, tmp_path):
    folder = save_settings(tmp_path, **{name: value})
    with pytest.raises(ValueError, match=re.escape(f"{name}={value}") + ".*" + re.escape(str(CONSTANT_FIELDS[name]))):
        FaRLConfig.from_pretrained(folder)


def test_the_former_name_of_the_output_stride_is_accepted(tmp_path):
    config = FaRLConfig.from_pretrained(save_settings(tmp_path, score_stride=2))
    assert (config.output_stride, config.score_stride) == (2, 2)
    assert "score_stride" not in config.to_dict()
    assert FaRLConfig(score_stride=2).output_stride == 2
    config.save_pretrained(tmp_path / "again")
    assert FaRLConfig.from_pretrained(tmp_path / "again").output_stride == 2


def test_the_model_has_at_most_18_settings_of_its_own():
    parameters = inspect.signature(FaRLConfig.__init__).parameters
    assert len(parameters.keys() - {"self", "kwargs"}) <= 18


@pytest.mark.parametrize("thresholds", [{"smile": 0.5}, {"smiling": 0.0}, {"smiling": 1.0}])
def test_thresholds_of_unknown_attributes_or_out_of_range_are_refused(thresholds):
    name = next(iter(thresholds))
    with pytest.raises(ValueError, match=f"attribute_thresholds.*{name}"):
        FaRLConfig(id2label={0: "smiling"}, attribute_thresholds=thresholds)


def renamed(config):
    config.id2label = {0: "lächelnd", 1: "beard"}


def counted_anew(config):
    config.num_labels = 3


@pytest.mark.parametrize(("change", "left"), [(renamed, {"beard": 0.4}), (counted_anew, None)])
def test_a_configuration_whose_labels_were_changed_can_be_saved_and_read(change, left, tmp_path, caplog):
    config = FaRLConfig(id2label={0: "smiling", 1: "beard"}, attribute_thresholds={"smiling": 0.3, "beard": 0.4})
    change(config)
    config.save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        read = FaRLConfig.from_pretrained(tmp_path)
    assert (read.id2label, read.attribute_thresholds) == (config.id2label, left)
    assert "attribute_thresholds of" in caplog.text
    assert "'smiling'" in caplog.text
    assert "no such labels" in caplog.text


def test_loss_weights_of_other_labels_are_left_out(tmp_path, caplog):
    config = FaRLConfig(num_labels=3, label_weights=[1.0, 2.0, 3.0])
    config.num_labels = 4
    config.save_pretrained(tmp_path)
    with caplog.at_level("WARNING"):
        assert FaRLConfig.from_pretrained(tmp_path).label_weights is None
    assert "label_weights of 3 classes are left out: the model has 4 labels." in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"attribute_thresholds": {"smile": 0.5}},
        {"attribute_thresholds": 3},
        {"label_weights": [1.0]},
        {"output_stride": -1},
        {"head_channels": "x"},
    ],
)
def test_settings_given_at_loading_are_checked(settings, tmp_path):
    FaRLConfig(id2label={0: "smiling", 1: "beard"}).save_pretrained(tmp_path)
    for unused in (False, True):
        with pytest.raises(ValueError, match=next(iter(settings))):
            FaRLConfig.from_pretrained(tmp_path, return_unused_kwargs=unused, **settings)


@pytest.mark.parametrize("labels", [{0: "a", 2: "b"}, {0: ["a"]}, ["a", "b"]])
def test_damaged_labels_given_at_loading_are_named(labels):
    with pytest.raises(ValueError, match=r"id2label.* must map the numbers from 0 on to names"):
        FaRLConfig.from_dict({}, id2label=labels)


@pytest.mark.parametrize(
    "extra", [{"image_size": [448, 448]}, {"pad_token_id": -1}, {"vocab_size": None}, {"hidden_act": "custom"}]
)
def test_settings_of_others_that_are_saved_load_again(extra, tmp_path):
    FaRLConfig(**extra).save_pretrained(tmp_path)
    read = FaRLConfig.from_pretrained(tmp_path)
    assert {name: getattr(read, name) for name in extra} == extra


def test_labels_without_a_threshold_may_be_listed(tmp_path):
    FaRLConfig(id2label={0: "a"}, attribute_thresholds={"a": None}).save_pretrained(tmp_path)
    assert FaRLConfig.from_pretrained(tmp_path).attribute_thresholds == {"a": None}


def test_weights_fit_the_number_of_labels_that_a_file_gives(caplog):
    stored = {"num_labels": 3, "label_weights": [1.0, 2.0, 3.0]}
    assert FaRLConfig.from_dict(dict(stored)).label_weights == [1.0, 2.0, 3.0]
    assert FaRLConfig.from_dict(dict(stored), num_labels=3).label_weights == [1.0, 2.0, 3.0]
    assert FaRLConfig.from_dict(dict(stored), num_labels=4).label_weights is None
    given = FaRLConfig.from_dict(stored | {"label_weights": [1.0]}, label_weights=[3.0, 2.0, 1.0])
    assert given.label_weights == [3.0, 2.0, 1.0]
    assert "left out" not in caplog.text
    assert FaRLConfig.from_dict({"id2label": {"0": "a"}, "attribute_thresholds": {"a": 0.5}}, id2label=None)


@pytest.mark.parametrize("labels", [{"0": ["b"]}, ["a", "b"], {"x": "a"}])
def test_damaged_labels_are_named_beside_thresholds(labels):
    with pytest.raises(ValueError, match=r"id2label=.* must map the numbers from 0 on to names"):
        FaRLConfig.from_dict({"id2label": labels, "attribute_thresholds": {"a": 0.5}})


def test_labels_are_in_the_order_of_the_outputs_whatever_the_order_of_the_file():
    names = {str(index): f"label {index}" for index in range(12)}
    config = FaRLConfig.from_dict({"id2label": dict(sorted(names.items()))})
    assert list(config.id2label.items()) == [(int(index), name) for index, name in names.items()]
