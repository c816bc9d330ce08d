"""Trains a landmark model ([`FaRLForLandmarks`]).

On rendered faces, from the vision encoder of the tiny parsing model; `--config-name tiny` starts from scratch:

    python examples/train_landmarks.py --model-name-or-path runs/tiny-parsing --dataset-name synthetic_faces \
        --max-train-samples 20000 --max-eval-samples 500 --do-train --do-eval --output-dir runs/tiny-landmarks --bf16 \
        --per-device-train-batch-size 32 --num-train-epochs 12 --backbone-learning-rate 1e-3 \
        --lr-scheduler-type cosine --warmup-steps 200 --max-grad-norm 1 --ema-warmup

From a pretrained FaRL checkpoint (folder or name), with the official recipe:

    torchrun --nproc_per_node 8 examples/train_landmarks.py --recipe w300_448_finetuned --data-dir data/300W \
        --output-dir runs/farl-landmarks

All arguments: `--help`. A single JSON file with the same names is accepted too. A run that was stopped goes on where
it stopped.
"""

from farl_hf.training.arguments import errors_as_sentences, parse_script_arguments
from farl_hf.training.finetuning import run_face_training


def main():
    with errors_as_sentences():
        run_face_training("landmarks", *parse_script_arguments(task="landmarks"))


if __name__ == "__main__":
    main()
