"""Training arguments that cannot work are refused when they are read."""

import pytest

from farl_hf.errors import InvalidArgumentError
from farl_hf.training.arguments import FaRLTrainingArguments, SharedTrainingArguments
from farl_hf.training.pretraining.trainer import PretrainingArguments

CLASSES = (SharedTrainingArguments, FaRLTrainingArguments, PretrainingArguments)


@pytest.mark.parametrize("arguments_class", CLASSES)
def test_half_precision_needs_an_accelerator(arguments_class, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"--fp16 needs an accelerator.*--bf16"):
        arguments_class(output_dir=str(tmp_path), fp16=True, use_cpu=True)
    assert arguments_class(output_dir=str(tmp_path), bf16=True, use_cpu=True).bf16
