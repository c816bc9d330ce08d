"""Configurations under the common tests of Transformers."""

import unittest

from common_tests import ConfigTester
from model_adapters import TEXT, VISION, ModelTester, joint_config

from farl_hf import FaRLConfig, FaRLTextConfig, FaRLVisionConfig, RetinaFaceConfig
from farl_hf.modeling.configuration_face_transformer import FaceTransformerConfig


class ConfigurationTest(unittest.TestCase):
    def setUp(self):
        self.model_tester = ModelTester(joint_config, dict)

    def check(self, config_class, common_properties=None, has_text_modality=False, **settings):
        tester = ConfigTester(self, config_class, has_text_modality, common_properties, **settings)
        tester.run_common_tests()

    def test_vision(self):
        self.check(FaRLVisionConfig, **VISION)

    def test_text(self):
        self.check(FaRLTextConfig, has_text_modality=True, **TEXT)

    def test_joint(self):
        self.check(FaRLConfig, ["projection_dim", "logit_scale_init_value"], projection_dim=16)

    def test_retinaface(self):
        self.check(RetinaFaceConfig, ["pyramid_channels", "width_multiplier"], pyramid_channels=16)

    def test_face_transformer(self):
        self.check(FaceTransformerConfig, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
