"""`farl-hf train`: an experiment of the paper, by the name of its recipe."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from farl_hf.cli.options import DataDirOption, UserConsole, plain_console, plain_errors


def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe (see --list), or a YAML file.")] = None,
    data_dir: DataDirOption = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Default: the recipe's, else runs/<recipe>.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", help="Encoder in place of FaRL's: the folder that farl-hf convert made of its weights."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace an argument of the recipe; can be repeated."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the recipes and stop.")] = False,
) -> None:
    """Train a parsing, landmark or attribute model by a recipe.

    The same command resumes a stopped run from its last checkpoint. The output folder
    holds the model, all arguments as [bold]recipe.yaml[/bold], and [bold]results.json[/bold] with the best and the
    last evaluation. On several GPUs: [bold]torchrun --nproc_per_node 8 --no-python farl-hf train …[/bold] or
    [bold]accelerate launch --no_python farl-hf train …[/bold]

    Examples:

    [dim]$[/dim] farl-hf train --list

    [dim]$[/dim] farl-hf train lapa_448_finetuned --data-dir data/LaPa

    [dim]$[/dim] farl-hf train wflw_224_frozen --data-dir data/WFLW --set train_data_ratio=0.1 --set seed=1

    [dim]$[/dim] farl-hf train lapa_224_frozen --data-dir data/LaPa --backbone mocov3 --output-dir runs/lapa-mocov3
    """
    if list_all:
        with plain_errors():
            _show_recipes()
        return
    if recipe is None:
        raise typer.BadParameter("give the name of a recipe, or --list to see them.", param_hint="RECIPE")
    with plain_errors():
        from farl_hf.training.arguments import output_folder, parse_overrides, parse_recipe_arguments, read_recipe
        from farl_hf.training.finetuning import run_face_training

        usual = None if "output_dir" in read_recipe(recipe).arguments else Path("runs") / Path(recipe).stem
        given = {
            "output_dir": output_dir or usual,
            "data_dir": data_dir,
            "backbone": backbone,
        }
        overrides: dict[str, Any] = {name: str(value) for name, value in given.items() if value is not None}
        arguments = parse_recipe_arguments(recipe, overrides | parse_overrides(settings or []))
        run_face_training(*arguments)
    _show_results(output_folder(arguments[-1]) / "results.json")


def _show_recipes() -> None:
    from farl_hf.training.arguments import RECIPE_NAMES, read_recipe

    table = Table("recipe", "what", "epochs", box=box.SIMPLE_HEAD, title="Recipes of farl-hf train")
    for name in RECIPE_NAMES:
        recipe = read_recipe(name)
        table.add_row(name, recipe.title, str(recipe.arguments["num_train_epochs"]))
    UserConsole().print(table)


def _show_results(path: Path) -> None:
    """Print the best and the last evaluation, in the process that wrote them."""
    if not path.is_file() or os.environ.get("RANK", "0") != "0":
        return
    results = json.loads(path.read_text(encoding="utf-8"))
    console, name = plain_console(), results["main_score"]
    for which in ("best", "last"):
        if results[which]:
            score = results[which]["scores"][name]
            console.print(f"{which}: {name} {100 * score:.2f} % at epoch {results[which]['epoch']:g}")
    console.print(f"'best' is {results['best_is']}; the saved weights are the {results['saved_weights']}. See {path}")
