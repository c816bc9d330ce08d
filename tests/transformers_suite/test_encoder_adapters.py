"""Encoders and backbone under the common tests of Transformers."""

import unittest

from common_tests import BackboneTesterMixin, ModelTesterMixin
from model_adapters import (
    PATCHES,
    TEXT,
    TOKENS,
    VISION,
    Labelled,
    ModelTester,
    images,
    joint_config,
    text_config,
    texts,
    vision_config,
)

from farl_hf import FaRLBackbone, FaRLModel, FaRLTextModel, FaRLVisionConfig, FaRLVisionModel
from farl_hf.modeling.configuration_face_transformer import FaceTransformerConfig
from farl_hf.modeling.modeling_face_transformer import FaceTransformerModel


class FaRLVisionModelTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLVisionModel,)
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = ModelTester(vision_config, images)


class FaRLTextModelTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLTextModel,)

    def setUp(self):
        self.model_tester = ModelTester(text_config, texts, seq_length=TOKENS, **TEXT)


class FaRLModelTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLModel,)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True

    def setUp(self):
        self.model_tester = ModelTester(
            joint_config,
            lambda: texts() | images(),
            labels=lambda: {"return_loss": True},
            text_config=TEXT,
            vision_config=VISION,
        )


class FaRLBackboneTest(Labelled, BackboneTesterMixin, unittest.TestCase):
    all_model_classes = (FaRLBackbone,)
    config_class = FaRLVisionConfig

    def setUp(self):
        self.model_tester = ModelTester(lambda: vision_config(out_indices=[0, 1]), images)


class FaceTransformerModelTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (FaceTransformerModel,)
    test_resize_embeddings = False

    def setUp(self):
        config = {**VISION, "head_dim": 8}
        self.model_tester = ModelTester(lambda: FaceTransformerConfig(**config), images, seq_length=PATCHES + 1)
