"""Trains an attribute model ([`FaRLForAttributes`]).

On rendered faces, from the vision tower of the tiny parser (`--config_name tiny` starts from scratch):

    python examples/train_attributes.py --model_name_or_path runs/tiny-parsing --dataset_name synthetic_faces \
        --max_train_samples 20000 --max_eval_samples 500 --do_train --do_eval --bf16 \
        --output_dir runs/tiny-attributes \
        --per_device_train_batch_size 32 --num_train_epochs 12 --backbone_learning_rate 1e-3 \
        --lr_scheduler_type cosine --warmup_steps 200 --max_grad_norm 1 --ema_warmup

From a pretrained FaRL checkpoint (folder or name), with the augmentation of the paper (its schedule is not published):

    torchrun --nproc_per_node 8 examples/train_attributes.py --model_name_or_path PATH --dataset_name DATA \
        --do_train --do_eval --output_dir runs/farl-attributes --image_size 224 \
        --num_train_epochs 30

All arguments: `--help`. A single JSON file with the same names is accepted too. A run that was stopped goes on where
it stopped.
"""

from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training


def main():
    run_face_training("attributes", *parse_script_arguments(task="attributes"))


if __name__ == "__main__":
    main()
