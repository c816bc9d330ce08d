"""Trains a landmark model ([`FaRLForLandmarks`]).

On rendered faces, from the vision tower of the tiny parser; `--config_name tiny` starts from scratch:

    python examples/train_landmarks.py --model_name_or_path runs/tiny-parsing --dataset_name synthetic_faces \
        --max_train_samples 20000 --max_eval_samples 500 --do_train --do_eval --output_dir runs/tiny-landmarks --bf16 \
        --per_device_train_batch_size 32 --num_train_epochs 12 --backbone_learning_rate 1e-3 \
        --lr_scheduler_type cosine --warmup_steps 200 --max_grad_norm 1 --ema_warmup

From a pretrained FaRL checkpoint (folder or name), with the official recipe:

    torchrun --nproc_per_node 8 examples/train_landmarks.py --model_name_or_path PATH --dataset_name DATA \
        --do_train --do_eval --output_dir runs/farl-landmarks --image_size 448 \
        --num_train_epochs 250 --milestone_epochs 200 \
        --head_learning_rate 1e-2

All arguments: `--help`. A single JSON file with the same names is accepted too. A run that was stopped goes on where
it stopped.
"""

from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training


def main():
    run_face_training("landmarks", *parse_script_arguments(task="landmarks"))


if __name__ == "__main__":
    main()
