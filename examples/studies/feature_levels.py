"""One level of the backbone against several (supplement section 3, figure 3).

The head gets one level four times, or the levels that it uses otherwise; the backbone does not learn. In the paper,
parsing reads best from level 5 and attributes from level 9 of 12, and several levels together beat each single one.

    python examples/studies/feature_levels.py --output-dir runs/feature_levels
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from study_report import TASK_SCORES, StudyReport
from study_runs import StudyRecipe, StudyVariant
from study_script import StudyArguments, run_study_script

from farl_hf.checkpoints.checked_loading import read_config
from farl_hf.errors import InvalidArgumentError
from farl_hf.modeling import FaRLConfig
from farl_hf.modeling.vision_backbones_farl import make_vision_backbone
from farl_hf.training.arguments import read_recipe

REAL_COMMAND = """\
torchrun --nproc_per_node 8 examples/studies/feature_levels.py --output-dir runs/feature_levels \\
    --recipes lapa_224_frozen celeba_224_frozen --data-dirs data/LaPa data/CelebA"""


@dataclass
class LevelArguments(StudyArguments):
    """Which levels."""

    levels: list[int] = field(
        default_factory=list, metadata={"help": "Single levels, counted from 1. Default: all of the backbone."}
    )


def depth_of_backbone(recipes: list[StudyRecipe]) -> int:
    """Blocks of the vision encoder from which all recipes start."""
    starts = {(read_recipe(recipe.name).arguments | recipe.overrides).get("model_name_or_path") for recipe in recipes}
    if len(starts) != 1 or None in starts:
        raise InvalidArgumentError(
            f"Levels are compared on one pretrained backbone, but the recipes start from {starts}; choose one with "
            "--set model_name_or_path=NAME."
        )
    config = read_config(starts.pop(), FaRLConfig)
    with torch.device("meta"):  # only a backbone knows its depth: timm's configurations have none
        return make_vision_backbone(config).depth


def make_report(arguments: LevelArguments, recipes: list[StudyRecipe]) -> StudyReport:
    """A row per level, and one for several levels."""
    depth = depth_of_backbone(recipes)
    wrong = [level for level in arguments.levels if not 1 <= level <= depth]
    if wrong:
        raise InvalidArgumentError(f"--levels {wrong[0]}: the backbone has levels 1 to {depth}.")
    levels = arguments.levels or range(1, depth + 1)
    frozen = {"freeze_backbone": True}
    single = [StudyVariant(str(level), frozen | {"feature_levels": [level - 1] * 4}, place=level) for level in levels]
    return StudyReport(
        title="Features of single backbone levels, and of several",
        source="Supplement figure 3: one level repeated four times, backbone frozen.",
        axis="Backbone level",
        variants=[*single, StudyVariant("several levels", frozen)],
        scores=TASK_SCORES,
        real_command=REAL_COMMAND,
    )


def main(words: Sequence[str] | None = None) -> int:
    return run_study_script(LevelArguments, make_report, __doc__, REAL_COMMAND, ["parsing", "attributes"], words)


if __name__ == "__main__":
    sys.exit(main())
