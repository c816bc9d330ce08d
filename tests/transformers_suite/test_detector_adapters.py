"""RetinaFace under the common tests of Transformers."""

import unittest

import torch
from common_tests import ModelTesterMixin
from model_adapters import BATCH, Labelled, ModelTester, images

from farl_hf import RetinaFaceConfig, RetinaFaceForFaceDetection
from farl_hf.modeling.modeling_retinaface import RetinaFaceModel

SIDE = 64


def config():
    return RetinaFaceConfig(pyramid_channels=16, width_multiplier=0.125)


def photos():
    return images(SIDE)


def faces():
    face = {"boxes_xyxy": torch.tensor([[0.1, 0.1, 0.6, 0.6]]), "keypoints_xy": torch.rand(1, 5, 2)}
    return {"labels": [face] * BATCH}


class RetinaFaceModelTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (RetinaFaceModel,)
    test_resize_embeddings = False
    has_attentions = False

    def setUp(self):
        self.model_tester = ModelTester(config, photos)


class RetinaFaceForFaceDetectionTest(Labelled, ModelTesterMixin, unittest.TestCase):
    all_model_classes = (RetinaFaceForFaceDetection,)
    test_resize_embeddings = False
    has_attentions = False

    def setUp(self):
        self.model_tester = ModelTester(config, photos, faces)
