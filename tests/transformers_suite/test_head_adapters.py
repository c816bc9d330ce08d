"""Task heads and pre-training under the common tests of Transformers."""

import unittest

import torch
from common_tests import ModelTesterMixin
from model_adapters import (
    BATCH,
    LABELS,
    PATCHES,
    VISION,
    VISUAL_TOKENS,
    Labelled,
    ModelTester,
    images,
    joint_config,
    texts,
)

from farl_hf import (
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLForMaskedImageModeling,
    FaRLForPreTraining,
)


def label_maps():
    side = VISION["image_size"]
    return {"labels": torch.randint(0, LABELS, (BATCH, side, side))}


def points():
    return {"labels": torch.rand(BATCH, LABELS, 2)}


def attributes():
    return {"labels": torch.randint(0, 2, (BATCH, LABELS))}


def mask():
    """Half of the patches of every image, the same ones in each: their number is the same for every picture."""
    return {"bool_masked_pos": (torch.arange(PATCHES) % 2 == 0).expand(BATCH, -1).clone()}


def visual_tokens(name):
    return {name: torch.randint(0, VISUAL_TOKENS, (BATCH, PATCHES))}


def masked_images():
    return images() | mask()


def pairs():
    return texts() | masked_images() | visual_tokens("mim_labels")


class FaRLForFaceParsingTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLForFaceParsing,)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester(joint_config, images, label_maps)


class FaRLForLandmarksTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLForLandmarks,)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester(joint_config, images, points)


class FaRLForAttributesTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLForAttributes,)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester(joint_config, images, attributes)


class FaRLForMaskedImageModelingTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLForMaskedImageModeling,)
    additional_model_inputs = ("bool_masked_pos",)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester(joint_config, masked_images, lambda: visual_tokens("labels"))


class FaRLForPreTrainingTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLForPreTraining,)
    additional_model_inputs = ("pixel_values", "bool_masked_pos", "mim_labels")
    _is_composite = True

    def setUp(self):
        self.model_tester = ModelTester(joint_config, pairs, lambda: {"return_loss": True})
