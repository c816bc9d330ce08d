"""Train a small generator of face pictures, which `examples/edit_faces_with_text.py` edits by sentences.

The built-in one, on rendered faces, in an hour on two cores:

    python examples/face_generator/train_face_generator.py --dataset-name synthetic_faces --max-train-samples 48000 \
        --max-eval-samples 500 --output-dir runs/generator --do-train --do-eval --bf16

A variational autoencoder is trained; its decoder, in `runs/generator/decoder`, is the generator. While it learns,
`runs/generator/pictures` shows crops, their reconstructions and samples. `--torch-compile True` pays on accelerators.
A run that was stopped goes on where it was when the same command is given again.
"""

import sys

from generator_arguments import (
    GeneratorDataArguments,
    GeneratorModelArguments,
    GeneratorTrainingArguments,
)
from generator_training import run_generator_training

from farl_hf.errors import FaRLError
from farl_hf.training.arguments import ScriptParser


def main() -> int:
    groups = (GeneratorModelArguments, GeneratorDataArguments, GeneratorTrainingArguments)
    parser = ScriptParser(groups, description=__doc__)
    try:
        run_generator_training(*parser.parse_args_into_dataclasses())
    except FaRLError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
