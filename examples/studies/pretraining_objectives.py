"""What a backbone learns from: faces alone, or faces with their captions (supplement section 5, Table 2).

Every objective pre-trains the same encoder on the same aligned faces with the same schedule; heads are then trained on
the frozen encoder. In the paper, image-text contrast with masked image modelling beats SwAV and SimCLR on all tasks.

    python examples/studies/pretraining_objectives.py --output-dir runs/pretraining_objectives
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from pretrained_backbones import TINY_PRETRAINING, mixed_pairs, pretrained_backbone, probe_overrides
from study_report import TASK_SCORES, StudyReport
from study_runs import StudyRecipe, StudyVariant
from study_script import StudyArguments, run_study_script

from farl_hf.errors import check_name
from farl_hf.training.arguments import parse_overrides

REAL_COMMAND = """\
for objective in swav simclr itc_mim; do
    torchrun --nproc_per_node 8 examples/pretrain_farl.py --objective $objective --do-train \\
        --data-dir data/LAION-Face --bf16 --gradient-checkpointing --output-dir runs/pretraining/$objective
done
torchrun --nproc_per_node 8 examples/studies/backbones.py --output-dir runs/pretraining_objectives \\
    --recipes lapa_224_frozen aflw19_224_frozen celeba_224_frozen --data-dirs data/LaPa data/AFLW-19 data/CelebA \\
    --backbones runs/pretraining/swav runs/pretraining/simclr runs/pretraining/itc_mim"""

TITLES = {
    "random": "no pre-training",
    "swav": "SwAV+ALIGN",
    "simclr": "SimCLR+ALIGN",
    "itc": "ITC+ALIGN",
    "itc_mim": "ITC+MIM1+ALIGN (FaRL)",
}


@dataclass
class ObjectiveArguments(StudyArguments):
    """Which objectives."""

    objectives: list[str] = field(
        default_factory=lambda: ["random", "swav", "simclr", "itc_mim"],
        metadata={"help": f"Rows: {', '.join(TITLES)}."},
    )
    pretraining_set: list[str] = field(
        default_factory=list, metadata={"help": "KEY=VALUE ...: arguments replaced in every pre-training."}
    )


def make_report(arguments: ObjectiveArguments, recipes: list[StudyRecipe]) -> StudyReport:
    """A row per objective, after the pre-trainings that are missing."""
    for name in arguments.objectives:
        check_name("objective", name, TITLES)
    pretraining = TINY_PRETRAINING | parse_overrides(arguments.pretraining_set)
    pretraining["dataset_name"] = mixed_pairs(pretraining, 1.0, arguments.output_dir)
    starts = {
        name: name
        if name == "random"
        else pretrained_backbone(name, pretraining | {"objective": name}, arguments.output_dir)
        for name in arguments.objectives
    }
    return StudyReport(
        title="Pre-training objectives",
        source="Supplement Table 2: the same encoder, faces and schedule; heads on the frozen encoder.",
        axis="Pre-training",
        variants=[StudyVariant(TITLES[name], probe_overrides(start, pretraining)) for name, start in starts.items()],
        scores=TASK_SCORES,
        real_command=REAL_COMMAND,
    )


def main(words: Sequence[str] | None = None) -> int:
    return run_study_script(
        ObjectiveArguments, make_report, __doc__, REAL_COMMAND, ["parsing", "landmarks", "attributes"], words
    )


if __name__ == "__main__":
    sys.exit(main())
