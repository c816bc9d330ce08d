"""How much of what surrounds the face the network sees (supplement section 6, Table 3).

The tanh warp with factor α keeps the centre of the crop as it is and squeezes the surroundings into its rim; 0 cuts
them off. In the paper the hair gains: F1 87.74 at α = 0, 94.53 at α = 0.8, the default.

    python examples/studies/warp_factor.py --output-dir runs/warp_factor
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from study_report import StudyReport, StudyScore
from study_runs import StudyRecipe, StudyVariant
from study_script import StudyArguments, run_study_script

from farl_hf.errors import InvalidArgumentError
from farl_hf.labels import LAPA_LABELS

REAL_COMMAND = """\
torchrun --nproc_per_node 8 examples/studies/warp_factor.py --output-dir runs/warp_factor \\
    --recipes lapa_224_frozen --data-dirs data/LaPa"""

SCORES = (
    StudyScore("F1 mean", ("f1_mean",)),
    StudyScore("F1 mean without hair", tuple(f"f1_{name}" for name in LAPA_LABELS[1:] if name != "hair")),
    StudyScore("F1 hair", ("f1_hair",)),
)


@dataclass
class WarpArguments(StudyArguments):
    """Which factors."""

    warp_factors: list[float] = field(
        default_factory=lambda: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], metadata={"help": "Values of alpha, from 0 to 1."}
    )


def make_report(arguments: WarpArguments, recipes: list[StudyRecipe]) -> StudyReport:
    """A row per factor."""
    if [recipe.task for recipe in recipes] != ["parsing"]:
        raise InvalidArgumentError("The warp is studied on parsing; give one recipe, of a parser.")
    wrong = [factor for factor in arguments.warp_factors if not 0 <= factor <= 1]
    if wrong:
        raise InvalidArgumentError(f"--warp-factors {wrong[0]}: alpha lies between 0 and 1.")
    return StudyReport(
        title="Parsing under different warp factors",
        source="Supplement Table 3. F1 is measured in the photo, where hair reaches beyond the crop.",
        axis="Warp factor",
        variants=[
            StudyVariant(str(float(factor)), {"warp_factor": factor}, place=factor)
            for factor in arguments.warp_factors
        ],
        scores={"parsing": SCORES},
        real_command=REAL_COMMAND,
    )


def main(words: Sequence[str] | None = None) -> int:
    return run_study_script(WarpArguments, make_report, __doc__, REAL_COMMAND, ["parsing"], words)


if __name__ == "__main__":
    sys.exit(main())
