"""Image processors under the common tests of Transformers."""

import unittest

import torch
from common_tests import ImageProcessingTester, ImageProcessingTestMixin, PostProcessSemanticSegmentationTestMixin

from farl_hf import FaRLImageProcessor, RetinaFaceImageProcessor


class FaRLTester(ImageProcessingTester):
    num_labels = 5

    def __init__(self, parent):
        super().__init__(parent, size={"height": 20, "width": 18}, image_mean=[0.5] * 3, image_std=[0.5] * 3)

    def _get_image_processing_classes(self):
        return {"torchvision": FaRLImageProcessor}


class FaRLImageProcessorTest(PostProcessSemanticSegmentationTestMixin, ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = FaRLTester


class RetinaFaceTester(ImageProcessingTester):
    def __init__(self, parent):
        super().__init__(parent, max_long_side=60, image_mean=[104.0, 117.0, 123.0])

    def _get_image_processing_classes(self):
        return {"torchvision": RetinaFaceImageProcessor}

    def expected_output_image_shape(self, images):
        processor = RetinaFaceImageProcessor(**self.prepare_image_processor_dict())
        sizes_hw = [self._size_hw(image) for image in images]
        inputs_hw = torch.tensor([processor.input_size(size_hw) for size_hw in sizes_hw])
        return self.num_channels, *inputs_hw.amax(dim=0).tolist()

    def _size_hw(self, image):
        if hasattr(image, "height"):
            return image.height, image.width
        return tuple(image.shape[-2:] if isinstance(image, torch.Tensor) else image.shape[:2])


class RetinaFaceImageProcessorTest(ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = RetinaFaceTester
