"""What the adapters of the models share: small configurations, inputs, labels."""

import copy

import torch

from farl_hf import FaRLConfig, FaRLTextConfig, FaRLVisionConfig

LABELS, VISUAL_TOKENS = 5, 11
BATCH = 7  # the mixins fill smaller batches up with random integers, which a mask cannot hold
VISION = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 12,
    "pad_token_id": 98,
    "bos_token_id": 97,
    "eos_token_id": 98,
}
PATCHES, TOKENS = (VISION["image_size"] // VISION["patch_size"]) ** 2, 7


def vision_config(**settings):
    return FaRLVisionConfig(**VISION | settings)


def text_config():
    return FaRLTextConfig(**TEXT)


def joint_config():
    sizes = {"projection_dim": 16, "head_channels": 16, "num_labels": LABELS, "mim_vocab_size": VISUAL_TOKENS}
    return FaRLConfig(text_config=TEXT, vision_config=VISION, **sizes)


def images(side=VISION["image_size"]):
    return {"pixel_values": torch.rand(BATCH, 3, side, side)}


def texts():
    input_ids = torch.randint(5, TEXT["vocab_size"] - 2, (BATCH, TOKENS))
    input_ids[:, 0], input_ids[:, -1] = TEXT["bos_token_id"], TEXT["eos_token_id"]
    return {"input_ids": input_ids, "attention_mask": torch.ones(BATCH, TOKENS, dtype=torch.long)}


class ModelTester:
    """The interface that the mixins of Transformers ask for configurations and inputs."""

    def __init__(self, config, inputs, labels=None, seq_length=PATCHES + 1, **sizes):
        self.config, self.inputs = config, inputs
        self.labels = labels and labels()  # the same ones in every call: tests compare losses
        self.batch_size, self.seq_length, self.is_training = BATCH, seq_length, labels is not None
        self.num_masks, self.mask_length = PATCHES // 2, PATCHES  # of the masks that the mixin makes itself
        for name, value in {**VISION, **sizes}.items():
            setattr(self, name, value)

    def prepare_config_and_inputs_for_common(self):
        return self.config(), self.inputs()

    def get_config(self):
        return self.config()


class Labelled:
    """Adds labels to the inputs where a test asks for them; the mixin knows those of Transformers' own classes."""

    test_can_init_all_missing_weights_before_2023 = True  # the year of a model is read from a copyright line

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        labels = self.model_tester.labels if return_labels else None
        return copy.deepcopy(inputs_dict) | copy.deepcopy(labels or {})
