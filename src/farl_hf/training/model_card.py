"""Model cards of trainings: data and licence, start, command, versions, scores, use and limits.

[`write_training_card`] writes the card of a run; every Trainer of this library calls it as `create_model_card`.
[`write_card_scores`] adds later measurements. A score in a card is replaced by a newer one of the same data set,
split and name; all others stay.
"""

import importlib.metadata
import json
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from torch import nn

from farl_hf.checkpoints import KNOWN_NAMES
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.labels.model_cards import (
    LIMITS,
    NOT_FOR,
    PIPELINE_TAGS,
    TASK_TAGS,
    USES,
    citation_of,
    name_in_public,
    usage_example,
)
from farl_hf.training.arguments import RESOLVED_NAME, SCRIPTS_OF_TASKS, read_yaml
from farl_hf.training.evaluation.results import scores_in
from farl_hf.whole_files import write_whole

# The Hub's names of tasks and, by the first word of a score, of metrics; the scores that a card shows.
TASK_TYPES = {**PIPELINE_TAGS, "pretraining": PIPELINE_TAGS["two_towers"]}
METRIC_TYPES = {
    **{"f1": "f1", "nme": "nme", "auc": "auc", "failure": "failure_rate", "mean": "accuracy"},
    **{"average": "average_precision", "image": "recall", "text": "recall"},
}
SHOWN = (
    *("f1_mean", "nme", "auc", "failure_rate", "mean_accuracy", "average_precision"),
    *("image_to_text_recall_at_1", "text_to_image_recall_at_1"),
)
KIND_OF_CLASS = {
    "FaRLForFaceParsing": "parsing",
    "FaRLForLandmarks": "landmarks",
    "FaRLForAttributes": "attributes",
    "FaRLForPreTraining": "two_towers",
    "FaRLForSelfSupervision": "encoder",
    "RetinaFaceForFaceDetection": "detection",
}
SYNTHETIC_DATA = "synthetic_faces"
NO_PERCENTAGE = re.compile("loss$|^num_|gallery_size$")
VERSIONS_OF = ("farl_hf", "transformers", "torch", "datasets", "tokenizers")
# As long as a card has this line, it is written anew; without it only scores change.
WRITTEN_BY_TRAINING = "<!-- Written by the training. Remove this line to keep your changes to the text. -->"


@dataclass(frozen=True)
class TrainingFacts:
    """What a card says of a run and cannot be seen from its model.

    Args:
        task (`str`): `"parsing"`, `"landmarks"`, `"attributes"`, `"detection"` or `"pretraining"`; `""` if not known.
        dataset_names (`tuple[str, ...]`): As the training's arguments name them.
        started_from (`str`, *optional*): Name or folder of the checkpoint that the weights started from.
        command (`str`): Starts the same training.
        scores (`dict[str, dict[str, Any]]`): Split -> `{"epoch", "step", "scores"}` of the saved weights.
        named_settings (`str`): File in the folder with all arguments, or `""`.
        evaluated_on (`str`, *optional*): Data set of the scores, if it is another one.
    """

    task: str = ""
    dataset_names: tuple[str, ...] = ()
    started_from: str | None = None
    command: str = ""
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    named_settings: str = ""
    evaluated_on: str | None = None

    @property
    def measured_on(self) -> str:
        """Names of the data sets of the scores."""
        names = self.dataset_names if self.evaluated_on is None else (self.evaluated_on,)
        return ", ".join(map(name_in_public, names))


def facts_in(folder: str | Path) -> TrainingFacts:
    """The facts that a training has left in its folder: `recipe.yaml`, `results.json`, `eval_results.json`."""
    folder = Path(folder)
    recipe = read_yaml(folder / RESOLVED_NAME) if (folder / RESOLVED_NAME).is_file() else {}
    names = recipe.get("dataset_name") or ()
    task = recipe.get("task", "")
    return TrainingFacts(
        task=task,
        dataset_names=(names,) if isinstance(names, str) else tuple(names),
        started_from=recipe.get("model_name_or_path") or recipe.get("backbone"),
        command=f"farl-hf train {RESOLVED_NAME}" if task and task not in SCRIPTS_OF_TASKS else command_without_paths(),
        scores=scores_in_folder(folder, str(recipe.get("eval_split", ""))),
        named_settings=RESOLVED_NAME if recipe else "",
        evaluated_on=recipe.get("eval_dataset_name"),
    )


def scores_in_folder(folder: Path, split: str) -> dict[str, dict[str, Any]]:
    """Scores of the weights that the folder holds, by split; empty without an evaluation of them."""
    written = max((path.stat().st_mtime_ns for path in folder.glob("*.safetensors")), default=0)
    if is_newer(folder / "results.json", written):
        results = json.loads((folder / "results.json").read_text())
        saved = results[results["saved_weights"]]
        return {results["split"]: saved} if saved else {}
    if is_newer(folder / "eval_results.json", written) and split:
        values = json.loads((folder / "eval_results.json").read_text())
        return {split: {"epoch": values.get("epoch"), "step": None, "scores": scores_in(values, "eval_")}}
    return {}


def is_newer(path: Path, time_ns: int) -> bool:
    """Whether there is such a file, written at that time or later."""
    return path.is_file() and path.stat().st_mtime_ns >= time_ns


def command_without_paths() -> str:
    """The command of this process; of a path only its last part is kept."""
    words = ["=".join(map(name_in_public, word.split("=", 1))) for word in sys.argv]
    return shlex.join(["python", *words] if words and words[0].endswith(".py") else words)


def write_training_card(
    model: nn.Module, folder: str | Path, facts: TrainingFacts, *, new_weights: bool = False, **given: Any
) -> None:
    """Writes `README.md` of a training, or new scores into one that people have changed.

    Args:
        model (`nn.Module`): The trained model.
        folder (`str` or `Path`): The output folder.
        facts ([`TrainingFacts`]): The run.
        new_weights (`bool`, *optional*, defaults to `False`): Whether earlier scores are of other weights.
        **given: Arguments of [`~transformers.Trainer.create_model_card`] that are not None; they win.
    """
    path = Path(folder) / "README.md"
    earlier = ModelCard.load(path, ignore_metadata_errors=True) if path.is_file() else None
    name = given.get("model_name") or Path(folder).resolve().name
    facts = replace(facts, scores={}) if new_weights else facts
    measured = [
        result
        for split, entry in facts.scores.items()
        for result in eval_results(facts.task, facts.measured_on, split, entry["scores"])
    ]
    former: Any = None if earlier is None else earlier.data
    kept = [] if former is None or new_weights else former.eval_results or []
    data = card_data(model, facts, name, given)
    data.eval_results = merged_results(kept, measured) or None
    if earlier is not None and WRITTEN_BY_TRAINING not in earlier.content:
        former.eval_results, former.model_name = data.eval_results, former.model_name or name
        text = str(earlier)
    else:
        text = f"---\n{data.to_yaml()}\n---\n\n{card_text(model, facts, name)}"
    write_whole(path, text.encode())


def card_data(model: nn.Module, facts: TrainingFacts, name: str, given: dict[str, Any]) -> ModelCardData:
    """The metadata that the Hub reads."""
    kind = KIND_OF_CLASS.get(type(model).__name__)
    tags = ["face", "retinaface" if kind == "detection" else "farl", *([TASK_TAGS[kind]] if kind else [])]
    more = given.get("tags") or []
    licence: Any = {"license": given["license"]} if given.get("license") else licence_data(facts.dataset_names)
    return ModelCardData(
        language=given.get("language"),
        library_name="transformers",
        model_name=name,
        pipeline_tag=PIPELINE_TAGS[kind] if kind else None,
        base_model=given.get("finetuned_from") or public_name(facts.started_from),
        datasets=given.get("dataset_tags") or [one for one in facts.dataset_names if public_name(one)] or None,
        tags=list(dict.fromkeys([*tags, *([more] if isinstance(more, str) else more)])),
        **licence,
    )


def public_name(name: str | None) -> str | None:
    """A name that others can look up: of this library, of a published data set, or `user/name`; else None."""
    if name is None or Path(name).exists() or name.startswith(("/", ".", "~")):
        return None
    known = name in KNOWN_NAMES or name in PUBLISHED_DATASETS or name == SYNTHETIC_DATA
    return name if known or name.count("/") == 1 else None


def licence_data(dataset_names: Sequence[str]) -> dict[str, str]:
    """The licence of weights that learned from these data: the terms of the data hold for them too."""
    published = [name for name in dataset_names if name in PUBLISHED_DATASETS]
    if published:
        terms = " and ".join(PUBLISHED_DATASETS[name].title for name in published)
        link = PUBLISHED_DATASETS[published[0]].url.split()[0]
        return {"license": "other", "license_name": f"terms of {terms}", "license_link": link}
    return {"license": "mit" if set(dataset_names) == {SYNTHETIC_DATA} else "unknown"}


def card_text(model: nn.Module, facts: TrainingFacts, name: str) -> str:
    """The card below its metadata."""
    kind = KIND_OF_CLASS.get(type(model).__name__)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    sections = [
        f"# {name}",
        WRITTEN_BY_TRAINING,
        f"`{type(model).__name__}` of {millions:.1f} million parameters, trained with `farl_hf`, "
        "[FaRL](https://arxiv.org/abs/2112.03109) for Hugging Face Transformers.",
        *([f"## Use\n\n```python\nimport farl_hf\n{usage_example(kind, name)}\n```"] if kind else []),
        f"## Training\n\n{training_text(facts)}",
        scores_text(facts),
        *([f"## Intended use\n\n{USES[kind]} {NOT_FOR}"] if kind else []),
        *([f"## Limits\n\n{LIMITS[kind]} Nothing was measured per group of people."] if kind else []),
        *([f"## Citation\n\n```bibtex\n{citation_of(kind)}\n```"] if kind else []),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def training_text(facts: TrainingFacts) -> str:
    """Data and their terms, the start, the command and the versions."""
    lines = [f"- Data: {dataset_text(name)}." for name in facts.dataset_names]
    start = name_in_public(facts.started_from) if facts.started_from else None
    lines.append(f"- Start: `{start}`." if start else "- Start: random weights.")
    if facts.command:
        lines.append(f"- Command: `{facts.command}`.")
    if facts.named_settings:
        lines.append(f"- All arguments: `{facts.named_settings}`.")
    return "\n".join([*lines, f"- Versions: {', '.join(installed_versions())}."])


def dataset_text(name: str) -> str:
    """A data set with its licence."""
    if name == SYNTHETIC_DATA:
        return "SyntheticFaces, rendered by `farl_hf.face_renderer`; licence: MIT. There are no photographs in it"
    published = PUBLISHED_DATASETS.get(name)
    if published is None:
        return f"`{name_in_public(name)}`"
    return f"{published.title} ({published.url.split()[0]}); licence: {published.licence}"


def installed_versions() -> list[str]:
    """Names and versions of the libraries that a training rests on."""
    return [f"{name} {importlib.metadata.version(name)}" for name in VERSIONS_OF]


def scores_text(facts: TrainingFacts) -> str:
    """A table of all scores, in percent."""
    tables = []
    for split, entry in facts.scores.items():
        when = [f"{word} {entry[word]:g}" for word in ("epoch", "step") if entry.get(word) is not None]
        rows = [f"| {label} | {shown} |" for label, shown in score_rows(entry["scores"])]
        of_weights = f" ({', '.join(when)})" if when else ""
        heading = f"{facts.measured_on}, split {split}{of_weights}, in percent:"
        tables.append("\n".join([heading, "", "| score | value |", "|---|---|", *rows]))
    return "## Scores\n\n" + "\n\n".join(tables) if tables else ""


def score_rows(scores: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Names and percentages; losses and counts are none and are left out, and so is what was not measured."""
    for name, value in scores.items():
        if isinstance(value, int | float) and not NO_PERCENTAGE.search(name):
            yield name, f"{100 * value:.2f}"


# Scores in the metadata


def write_card_scores(folder: str | Path, report: dict[str, Any]) -> list[str]:
    """Writes the main scores of a report into `README.md`; they replace older ones of the same data set and split.

    Args:
        folder (`str` or `Path`): Checkpoint folder; a card is made if it has none.
        report (`dict[str, Any]`): From [`CheckpointEvaluation.report`].

    Returns:
        `list[str]`: One line per score that was written.
    """
    path = Path(folder) / "README.md"
    card = ModelCard.load(path) if path.is_file() else new_card(Path(folder).name)
    measured = [
        result
        for split, entry in report["splits"].items()
        for result in eval_results(report["task"], report["dataset"], split, entry["scores"])
    ]
    data: Any = card.data  # of a model card
    data.eval_results = merged_results(data.eval_results or [], measured)
    data.model_name = data.model_name or Path(folder).resolve().name
    write_whole(path, str(card).encode())
    return [f"{one.metric_name} on {one.dataset_name} {one.dataset_split}: {one.metric_value}" for one in measured]


def new_card(name: str) -> ModelCard:
    """A card with the library and the name only."""
    data = ModelCardData(library_name="transformers", model_name=name)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {name}\n")


def eval_results(task: str, dataset: str, split: str, scores: dict[str, Any]) -> list[EvalResult]:
    """The main scores of one split, as percentages with two decimals."""
    name = name_in_public(dataset)
    return [
        EvalResult(
            task_type=TASK_TYPES[task],
            dataset_type=name,
            dataset_name=name,
            dataset_split=split,
            metric_type=METRIC_TYPES[score.split("_")[0]],
            metric_name=f"{score} (%)",
            metric_value=round(100 * scores[score], 2),
        )
        for score in SHOWN
        if task in TASK_TYPES and scores.get(score) is not None
    ]


def merged_results(present: Sequence[EvalResult], measured: Sequence[EvalResult]) -> list[EvalResult]:
    """Results in the card that the measured ones do not replace, and these."""
    replaced = {(one.unique_identifier, one.metric_name) for one in measured}
    return [*(one for one in present if (one.unique_identifier, one.metric_name) not in replaced), *measured]
