"""Pre-train both towers of FaRL by image-text contrast and masked image modelling.

The paper's run, on LAION-Face with ViT-B/16 (5,120 pairs per step; docs/pretraining.md says what is known of it):

    accelerate launch --config_file examples/accelerate/ddp.yaml --num_processes 32 examples/pretrain_farl.py \
        --data_dir laion_face/ --output_dir farl-base --bf16 --gradient_checkpointing --do_train

The same negatives on few devices (8 x 80 x 8 = 5,120):

    accelerate launch --config_file examples/accelerate/zero2.yaml examples/pretrain_farl.py \
        --data_dir laion_face/ --output_dir farl-base --bf16 --gradient_checkpointing --do_train \
        --per_device_train_batch_size 80 --gradient_accumulation_steps 8 --cached_contrast

A laptop, on rendered faces:

    python examples/pretrain_farl.py --config_name tiny --dataset_name synthetic_faces --max_train_samples 20000 \
        --tokenizer_name captions --visual_tokenizer kmeans --image_size 112 --face_template lapa \
        --output_dir my-tiny-farl --do_train --do_eval --per_device_train_batch_size 128

The rivals of supplement Table 2, on the same tower, data and schedule: `--objective swav` and `--objective simclr`,
with `pip install "farl-hf[self-supervision]"`. `--objective itc` is the contrast alone (supplement Table 1).

A run that was stopped goes on where it was when the same command is given again.
"""

import sys

from transformers import HfArgumentParser

from farl_hf.errors import FaRLError
from farl_hf.training.pretraining.arguments import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)
from farl_hf.training.pretraining.run import run_pretraining


def main() -> int:
    parser = HfArgumentParser(
        (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments), description=__doc__
    )
    try:
        run_pretraining(*parser.parse_args_into_dataclasses())
    except FaRLError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
