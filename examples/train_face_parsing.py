"""Trains a face-parsing model ([`FaRLForFaceParsing`]).

From scratch on rendered faces, small enough for a processor:

    python examples/train_face_parsing.py --config-name tiny --dataset-name synthetic_faces \
        --max-train-samples 20000 --max-eval-samples 500 --do-train --do-eval --output-dir runs/tiny-parsing --bf16 \
        --per-device-train-batch-size 32 --num-train-epochs 12 --backbone-learning-rate 1e-3 \
        --lr-scheduler-type cosine --warmup-steps 200 --max-grad-norm 1 --ema-warmup

From a pretrained FaRL checkpoint (folder or name), with the official recipe:

    torchrun --nproc_per_node 8 examples/train_face_parsing.py --recipe lapa_448_finetuned --data-dir data/LaPa \
        --output-dir runs/farl-parsing

All arguments: `--help`. A single JSON file with the same names is accepted too. A run that was stopped goes on where
it stopped.
"""

from farl_hf.training.arguments import errors_as_sentences, parse_script_arguments
from farl_hf.training.finetuning import run_face_training


def main():
    with errors_as_sentences():
        run_face_training("parsing", *parse_script_arguments(task="parsing"))


if __name__ == "__main__":
    main()
