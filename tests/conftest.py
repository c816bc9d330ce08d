"""Toy models that the tests share: two blocks, 32 channels, 32 pixels."""

import os

# Toy arrays gain nothing from threads, and the processes of pytest-xdist would wait for each other's.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported, also for launched processes

import pytest
import torch
from image_text_toys import make_clip, make_farl

from farl_hf import FaRLConfig

TOY_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}
TOY_TEXT = {
    "vocab_size": 99,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 12,
    "pad_token_id": 98,
    "bos_token_id": 97,
    "eos_token_id": 98,
}


def make_toy_config(vision=None, text=None, **settings):
    """A configuration small enough for a forward pass in milliseconds; arguments change single settings."""
    settings = {"projection_dim": 16, "head_channels": 16, "num_labels": 5, **settings}
    return FaRLConfig(text_config=TOY_TEXT | (text or {}), vision_config=TOY_VISION | (vision or {}), **settings)


@pytest.fixture
def toy_config():
    """The function that makes toy configurations."""
    return make_toy_config


@pytest.fixture
def toy_model(toy_config):
    """A function that builds a seeded toy model of a class, in evaluation mode."""

    def build(model_class, config=None, seed=0, **settings):
        torch.manual_seed(seed)
        return model_class(config or toy_config(**settings)).eval()

    return build


@pytest.fixture(scope="session")
def farl():
    """FaRL's model of images and texts."""
    return make_farl()


@pytest.fixture(scope="session", params=["clip", "farl"])
def image_text_model(request):
    """FaRL's model of images and texts, and CLIP's."""
    return {"clip": make_clip, "farl": make_farl}[request.param]()


# Files whose tests launch processes, train or take longest; `make test-fast` leaves them out.
SLOW_FILES = {
    *("test_autoload", "test_bare_names", "test_embedded_entries", "test_embedded_models", "test_hub_client"),
    *("test_push_command", "test_push_to_hub", "test_pushed_repositories", "test_hub_roundtrip", "test_registration"),
    *("test_deepspeed_training", "test_distributed", "test_launchers", "test_named_checkpoints"),
    *("test_process_groups", "test_trainer", "test_pretraining", "test_pretraining_processes"),
    *("test_pretraining_script", "test_self_supervised_trainer", "test_stock_trainer", "test_stock_pipelines"),
    *("test_examples", "test_studies", "test_train_face_detection", "test_face_editing", "test_script_options"),
    *("test_demo_and_env", "test_laion_face_commands", "test_train", "test_evaluate", "test_version_0_1"),
    *("test_encoder_adapters", "test_head_adapters", "test_detector_adapters", "test_processor_adapters"),
    *("test_compiled_and_bfloat16", "test_graph_export", "test_optimized_inference", "test_converted_models"),
    *("test_fast_inference_farl", "test_pretraining_stream", "test_stream_training", "test_detector_on_photographs"),
    *("test_plain_install", "test_face_tracker", "test_published_data", "test_synthetic_faces", "test_match"),
    *("test_tokenization_farl", "test_finetune_scripts", "test_tiny_models", "test_document_blocks", "test_faults"),
    *("test_web_page", "test_check_official", "test_push_space"),
    *("test_released_optimization", "test_released_augmentation", "test_face_analysis_pipeline"),
}


def pytest_collection_modifyitems(items):
    """Mark the tests of slow files, and run those files first: a long file at the end leaves the other cores idle."""
    items.sort(key=lambda item: item.path.stem not in SLOW_FILES)
    for item in items:
        if item.path.stem in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
