"""Pretrained backbones side by side, under one recipe.

The paper's comparison: the head, the data and the schedule stay, only the backbone changes. `random` is a backbone
that has learned nothing; with a frozen backbone it shows what the head alone can do. Folders of the paper's other
encoders come from `farl-hf convert` (docs/backbones.md).

    python examples/studies/backbones.py --output-dir runs/backbones
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from study_report import TASK_SCORES, StudyReport
from study_runs import StudyRecipe, StudyVariant
from study_script import StudyArguments, backbone_overrides, run_study_script

REAL_COMMAND = """\
torchrun --nproc_per_node 8 examples/studies/backbones.py --output-dir runs/backbones \\
    --recipes lapa_224_frozen aflw19_224_frozen celeba_224_frozen --data-dirs data/LaPa data/AFLW-19 data/CelebA \\
    --backbones farl-ep16 clip vit deit mocov3 beit face_transformer random --random-config base"""


@dataclass
class BackboneArguments(StudyArguments):
    """Which backbones."""

    backbones: list[str] = field(
        default_factory=lambda: ["farl-tiny", "random"],
        metadata={"help": "Names or folders of checkpoints, or `random`; each is a row."},
    )
    random_config: str = field(
        default="tiny", metadata={"help": "Architecture of `random`: tiny, base, or a JSON file (see --config-name)."}
    )


def make_report(arguments: BackboneArguments, recipes: list[StudyRecipe]) -> StudyReport:
    """A row per backbone."""
    return StudyReport(
        title="Backbones under one recipe",
        source="The paper's Table 2: pretrained backbones under the same heads and schedules.",
        axis="Backbone",
        variants=[
            StudyVariant(name, backbone_overrides(name, arguments.random_config)) for name in arguments.backbones
        ],
        scores=TASK_SCORES,
        real_command=REAL_COMMAND,
    )


def main(words: Sequence[str] | None = None) -> int:
    return run_study_script(BackboneArguments, make_report, __doc__, REAL_COMMAND, ["parsing", "attributes"], words)


if __name__ == "__main__":
    sys.exit(main())
