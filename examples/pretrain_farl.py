"""Pre-train both encoders of FaRL by image-text contrast and masked image modelling.

The paper's run, on LAION-Face with ViT-B/16 (5,120 pairs per step; docs/pretraining.md says what is known of it):

    accelerate launch --config_file examples/accelerate/ddp.yaml --num_processes 32 examples/pretrain_farl.py \
        --data-dir laion_face/ --output-dir farl-base --bf16 --gradient-checkpointing --do-train

The same negatives on few devices (8 x 80 x 8 = 5,120):

    accelerate launch --config_file examples/accelerate/zero2.yaml examples/pretrain_farl.py \
        --data-dir laion_face/ --output-dir farl-base-zero2 --bf16 --gradient-checkpointing --do-train \
        --per-device-train-batch-size 80 --gradient-accumulation-steps 8 --grad-cache

A laptop, on rendered faces:

    python examples/pretrain_farl.py --config-name tiny --dataset-name synthetic_faces --max-train-samples 20000 \
        --tokenizer-name captions --visual-tokenizer kmeans --visual-vocab-size 512 --image-size 112 \
        --face-template lapa --output-dir my-tiny-farl --do-train --do-eval --per-device-train-batch-size 128

The rivals of supplement Table 2, on the same vision encoder, data and schedule: `--objective swav` and
`--objective simclr`, with `pip install "farl-hf[self-supervision]"`. `--objective itc` is the contrast
alone (supplement Table 1).

A run that was stopped goes on where it was when the same command is given again.
"""

import sys

from farl_hf.errors import FaRLError
from farl_hf.training.arguments import ScriptParser
from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)


def main() -> int:
    parser = ScriptParser(
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
