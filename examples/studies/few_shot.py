"""How little labelled data a backbone needs: scores over the part of the data that is trained on.

The official rule: the faces are shuffled with one seed, the first part is kept and repeated to the full length, so
that the number of steps stays the same.

    python examples/studies/few_shot.py --output-dir runs/few_shot
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from study_report import TASK_SCORES, StudyReport
from study_runs import StudyRecipe, StudyVariant
from study_script import StudyArguments, backbone_overrides, run_study_script

from farl_hf.errors import InvalidArgumentError

REAL_COMMAND = """\
torchrun --nproc_per_node 8 examples/studies/few_shot.py --output-dir runs/few_shot \\
    --recipes lapa_224_frozen aflw19_224_frozen celeba_224_frozen --data-dirs data/LaPa data/AFLW-19 data/CelebA \\
    --backbones farl-ep16 random --random-config base"""


@dataclass
class FewShotArguments(StudyArguments):
    """Which backbones, on how much."""

    ratios: list[float] = field(
        default_factory=lambda: [0.01, 0.1, 1.0], metadata={"help": "Parts of the training faces, in (0, 1]."}
    )
    backbones: list[str] = field(
        default_factory=lambda: ["farl-tiny", "random"],
        metadata={"help": "Names or folders of checkpoints, or `random`; each is a curve."},
    )
    random_config: str = field(
        default="tiny", metadata={"help": "Architecture of `random`: tiny, base, or a JSON file (see --config-name)."}
    )


def make_report(arguments: FewShotArguments, recipes: list[StudyRecipe]) -> StudyReport:
    """A row per backbone and ratio."""
    wrong = [ratio for ratio in arguments.ratios if not 0 < ratio <= 1]
    if wrong:
        raise InvalidArgumentError(f"--ratios {wrong[0]}: a part of the data lies in (0, 1].")
    variants = [
        StudyVariant(
            f"{name}, {100 * ratio:g} %",
            backbone_overrides(name, arguments.random_config) | {"train_data_ratio": ratio},
            place=100 * ratio,
            series=name,
        )
        for name in arguments.backbones
        for ratio in arguments.ratios
    ]
    return StudyReport(
        title="Few shots",
        source="Part of the training data, by the official rule (seed 123, repeated to the full length).",
        axis="Training data (%)",
        variants=variants,
        scores=TASK_SCORES,
        real_command=REAL_COMMAND,
        log_axis=True,
        row_heading="Backbone, training data",
    )


def main(words: Sequence[str] | None = None) -> int:
    return run_study_script(FewShotArguments, make_report, __doc__, REAL_COMMAND, ["parsing", "attributes"], words)


if __name__ == "__main__":
    sys.exit(main())
