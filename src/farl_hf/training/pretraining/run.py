"""The pre-training, from parsed arguments to a checkpoint of both encoders.

[`run_pretraining`] loads the pairs, makes tokenizer, image processor, model and samples, trains and evaluates;
`examples/pretrain_farl.py` calls it. All task models can be fine-tuned from the result.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import set_seed
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils import logging

from farl_hf.checkpoints.checked_loading import load_image_processor, load_with_new_parts, read_config
from farl_hf.data.augmentation import get_augmentation_recipe
from farl_hf.data.laion_face.shards import FaceFilter, Shard, find_shards, num_listed_samples
from farl_hf.data.laion_face.stream import PretrainingStream
from farl_hf.data.samples.pretraining_samples import (
    PretrainingPairs,
    PretrainingTransform,
    TwoViewTransform,
    pretraining_collate,
    require_captions,
)
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, check_name
from farl_hf.modeling.configuration_checks import check_patches
from farl_hf.modeling.configuration_farl import FaRLConfig
from farl_hf.modeling.modeling_farl_pretraining import FaRLForPreTraining
from farl_hf.processing.face_geometry_farl import ATTRIBUTE_TEMPLATE, LAPA_TEMPLATE
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.processing.processing_farl import FaRLProcessor
from farl_hf.processing.tokenization_farl import FaRLTokenizer, clean_text, word_splitter
from farl_hf.training.arguments import (
    given_settings,
    output_folder,
    read_settings,
    save_resolved_recipe,
    settings_refused,
)
from farl_hf.training.evaluation.retrieval import RetrievalEvaluation
from farl_hf.training.pretraining.self_supervised import (
    SELF_SUPERVISED_OBJECTIVES,
    SelfSupervisedTrainer,
    make_self_supervised_trainer,
)
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
    PretrainingTrainer,
)
from farl_hf.training.pretraining.visual_tokens import (
    KMEANS_CONFIG,
    PatchKMeansTokenizer,
    VisualTokenizer,
    load_visual_tokenizer,
)
from farl_hf.training.runs import (
    SCRATCH_IMAGE_SIZE,
    attention_of,
    check_same_run,
    check_weights_to_evaluate,
    evaluate_and_save,
    held_output_folder,
    last_finished_checkpoint,
    load_splits,
    model_from_scratch,
    start_deepspeed,
    train_to_end,
    with_checked_start,
)
from farl_hf.whole_files import files_written_whole

logger = logging.get_logger(__name__)

OBJECTIVES = ("itc_mim", "itc", *SELF_SUPERVISED_OBJECTIVES)
FACE_TEMPLATES = {"attribute": ATTRIBUTE_TEMPLATE, "lapa": LAPA_TEMPLATE}
# Parts that a checkpoint may lack (of other vocabulary or depth), or have (of a self-supervised run).
NEW_PARTS = ("mask_token", "mim_encoder.", "mim_layer_norm.", "mim_head.", "self_supervision.")
VISUAL_TOKENIZER_FOLDER = "visual_tokenizer"
KMEANS_STRIDE = 8  # as DALL-E's encoder (openai/DALL-E `dall_e/encoder.py`, lines 63-78: three poolings)
SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
END_OF_WORD = "</w>"
OFFICIAL_TOKENIZER = "openai/clip-vit-base-patch16"  # FaRL's weights are used with it (FaRL's README, line 48)


def run_pretraining(
    model_args: PretrainingModelArguments, data_args: PretrainingDataArguments, training_args: PretrainingArguments
) -> dict[str, float]:
    """Pre-trains and evaluates. An unfinished run in the output folder is resumed.

    Args:
        model_args ([`PretrainingModelArguments`]): Encoders, tokenizers and crop.
        data_args ([`PretrainingDataArguments`]): Pairs.
        training_args ([`PretrainingArguments`]): Recipe.

    Returns:
        `dict[str, float]`: Scores of the last evaluation; empty without `do_eval`.

    Raises:
        InvalidArgumentError: Settings that contradict each other; or another training is writing to the output folder.
        UnknownNameError: There is no such objective, face template or split.
        NotACheckpointError: There is no such tokenizer.
    """
    with held_output_folder(training_args):
        return _run_pretraining(model_args, data_args, training_args)


def _run_pretraining(
    model_args: PretrainingModelArguments, data_args: PretrainingDataArguments, training_args: PretrainingArguments
) -> dict[str, float]:
    check_objective(model_args, training_args)
    if training_args.do_train:
        check_same_run(training_args, model_args, data_args, training_args, task="pretraining")
    transformers.utils.logging.set_verbosity(training_args.get_process_log_level())
    set_seed(training_args.seed)
    given_model_args, model_args = model_args, with_checked_start(model_args, "tokenizer_name")
    is_new = last_finished_checkpoint(output_folder(training_args)) is None  # else the run has all files that it needs
    if training_args.do_train and is_new:
        with training_args.main_process_first(desc="checking the settings"):
            check_before_data(model_args, data_args)
    if training_args.do_train and training_args.should_save:
        save_resolved_recipe(output_folder(training_args), "pretraining", given_model_args, data_args, training_args)
    start_deepspeed(training_args)
    with training_args.main_process_first(desc="preparing the data set"):
        sources = load_sources(data_args, training_args)
    if model_args.objective in SELF_SUPERVISED_OBJECTIVES:
        train_to_end(trainer_without_texts(model_args, data_args, training_args, sources))
        return {}
    with training_args.main_process_first(desc="preparing the tokenizer"):
        processor = make_processor(model_args, training_args, sources)
    model = make_model(model_args, training_args, processor)
    visual_tokenizer = None
    if model.config.mim_weight and training_args.do_train:
        with training_args.main_process_first(desc="preparing the visual tokenizer"):
            visual_tokenizer = make_visual_tokenizer(model, model_args, training_args, processor, sources)
    train_pairs, eval_pairs = make_pairs(model, visual_tokenizer, processor, sources, data_args, training_args)
    trainer = PretrainingTrainer(
        model=model,
        args=training_args,
        visual_tokenizer=visual_tokenizer,
        evaluation=RetrievalEvaluation(processor.tokenizer, data_args.gallery_size),
        train_dataset=train_pairs,
        eval_dataset=eval_pairs,
        data_collator=pretraining_collate,
        processing_class=processor,
    )
    if training_args.do_train:
        train_to_end(trainer)
    return evaluate_and_save(trainer) if training_args.do_eval else {}


def check_objective(model_args: PretrainingModelArguments, training_args: PretrainingArguments) -> None:
    """Refuses what an objective cannot do, before anything is prepared."""
    check_name("objective", model_args.objective, OBJECTIVES)
    if model_args.objective in SELF_SUPERVISED_OBJECTIVES:
        if training_args.grad_cache:
            raise InvalidArgumentError(f"{model_args.objective} contrasts no texts; leave --grad-cache out.")
        if model_args.model_name_or_path:
            raise InvalidArgumentError(
                f"{model_args.objective} starts from random weights; leave --model-name-or-path out."
            )
        if training_args.do_eval or not training_args.do_train:
            raise InvalidArgumentError(
                f"{model_args.objective} uses no texts, so retrieval cannot be measured; pass --do-train without "
                "--do-eval, and train heads from the result."
            )
    check_weights_to_evaluate(training_args, model_args.model_name_or_path)


def check_before_data(model_args: PretrainingModelArguments, data_args: PretrainingDataArguments) -> None:
    """Refuses what needs no data to be refused.

    Raises:
        InvalidArgumentError: Settings that do not fit one another, or the start.
        UnknownNameError: There is no such augmentation or face template.
        NotACheckpointError: There is no such tokenizer.
    """
    get_augmentation_recipe(data_args.augmentation)
    image_processor, start = make_image_processor(model_args), model_args.model_name_or_path
    if model_args.objective in SELF_SUPERVISED_OBJECTIVES:
        scratch_config(model_args, image_processor, None, {})
        return
    tokenizer = make_tokenizer(model_args, PairSources())  # one of no captions stands for that of the captions
    if start:
        if model_args.tokenizer_name != "captions":
            check_tokenizer(tokenizer, start)
        with settings_refused():
            config = FaRLConfig(**(read_config(start, FaRLConfig).to_dict() | branch_settings(model_args)))
            check_patches(image_processor.size_hw[0], config.vision_config.patch_size)
    else:
        config = scratch_config(model_args, image_processor, tokenizer, branch_settings(model_args))
    if config.mim_weight and model_args.visual_tokenizer != "kmeans":
        check_visual_vocabulary(load_visual_tokenizer(model_args.visual_tokenizer), config, model_args)


def trainer_without_texts(
    model_args: PretrainingModelArguments,
    data_args: PretrainingDataArguments,
    training_args: PretrainingArguments,
    sources: "PairSources",
) -> SelfSupervisedTrainer:
    """The trainer of the vision encoder alone."""
    image_processor = make_image_processor(model_args)
    # Two views of a face must differ more than the augmentation of pairs makes them.
    changes = "self_supervision" if data_args.augmentation == "pretraining" else data_args.augmentation
    transform = TwoViewTransform(image_processor, changes, seed=training_args.seed)
    return make_self_supervised_trainer(
        model_args,
        scratch_config(model_args, image_processor, None, {}),
        image_processor,
        training_pairs(sources, transform, data_args, training_args),
        training_args,
    )


@dataclass(frozen=True)
class PairSources:
    """Where pairs come from: rows or shards. Photos in `other_shards` need not show a face."""

    train_rows: Any = None
    eval_rows: Any = None
    shards: list[Shard] = field(default_factory=list)
    other_shards: list[Shard] = field(default_factory=list)


def load_sources(data_args: PretrainingDataArguments, training_args: PretrainingArguments) -> PairSources:
    """The rows or shards that the arguments name."""
    if data_args.dataset_name != "laion_face":
        for name in ("other_data_dir", "face_ratio"):
            if getattr(data_args, name) is not None:
                option = f"--{name.replace('_', '-')}"
                raise InvalidArgumentError(f"{option} is used only with --dataset-name laion_face; leave it out.")
        eval_name = data_args.eval_dataset_name or data_args.dataset_name
        do_train, do_eval = training_args.do_train, training_args.do_eval
        apart = eval_name != data_args.dataset_name
        splits: dict[str, Any] = {}
        if do_train or not apart:
            splits = load_splits([data_args.dataset_name], data_args, do_train=do_train, do_eval=do_eval and not apart)
        eval_splits = splits
        if do_eval and apart:  # the configuration is that of the training data
            eval_args = replace(data_args, dataset_config_name=None)
            eval_splits = load_splits([eval_name], eval_args, do_train=False, do_eval=True)
        sources = PairSources(
            splits["train"] if do_train else None, eval_splits[data_args.eval_split] if do_eval else None
        )
        for rows in (sources.train_rows, sources.eval_rows):
            if rows is not None:
                require_captions(rows)
        return sources
    if data_args.max_train_samples is not None:
        raise InvalidArgumentError("--max-train-samples cuts no shards; leave it out, or set --max-steps.")
    if data_args.other_data_dir is not None and data_args.face_ratio is None:
        raise InvalidArgumentError("--other-data-dir is used only with --face-ratio; give both, or leave it out.")
    if data_args.data_dir is None:
        raise InvalidArgumentError(
            "laion_face is read from a folder; pass it as --data-dir (see docs/pretraining.md)."
        )
    if training_args.do_eval and data_args.eval_dataset_name is None:
        raise InvalidArgumentError("LAION-Face has no split for evaluation; name a data set by --eval-dataset-name.")
    eval_rows = None
    if data_args.eval_dataset_name is not None and training_args.do_eval:
        splits = load_splits([data_args.eval_dataset_name], data_args, do_train=False, do_eval=True)
        eval_rows = splits[data_args.eval_split]
    others = find_shards(data_args.other_data_dir, False, data_args.cache_dir) if data_args.other_data_dir else []
    shards = find_shards(data_args.data_dir, cache_dir=data_args.cache_dir) if training_args.do_train else []
    return PairSources(eval_rows=eval_rows, shards=shards, other_shards=others)


def make_pairs(
    model: FaRLForPreTraining,
    visual_tokenizer: VisualTokenizer | None,
    processor: FaRLProcessor,
    sources: PairSources,
    data_args: PretrainingDataArguments,
    training_args: PretrainingArguments,
) -> tuple[Any, PretrainingPairs | None]:
    """Training samples, a stream or a data set, and evaluation samples."""
    train_pairs = eval_pairs = None
    crop_and_text = (processor.image_processor, processor.tokenizer)
    if training_args.do_train:
        masked: dict[str, Any] = {}
        if visual_tokenizer is not None:
            grid = patch_grid(model, processor)
            masked = {"codebook_size": grid[0] * visual_tokenizer.stride, "mask_grid_hw": grid}
        transform = PretrainingTransform(
            *crop_and_text, augmentation=data_args.augmentation, seed=training_args.seed, **masked
        )
        train_pairs = training_pairs(sources, transform, data_args, training_args)
    if training_args.do_eval:
        transform = PretrainingTransform(*crop_and_text, augmentation="none")
        eval_pairs = PretrainingPairs(sources.eval_rows, transform, with_attributes=True)
    return train_pairs, eval_pairs


def training_pairs(
    sources: PairSources,
    transform: PretrainingTransform,
    data_args: PretrainingDataArguments,
    training_args: PretrainingArguments,
) -> PretrainingPairs | PretrainingStream:
    """Samples of rows, or this process's endless stream from shards."""
    if sources.train_rows is not None:
        pairs = PretrainingPairs(sources.train_rows, transform)
        batch_size = training_args.train_batch_size * training_args.world_size
        if len(pairs) < batch_size:  # the last batch is dropped where it is not whole
            raise InvalidArgumentError(
                f"The training split has {len(pairs)} photos, fewer than a batch of {batch_size}; lower "
                "--per-device-train-batch-size, or choose more data."
            )
        return pairs
    if training_args.max_steps <= 0:  # so many that all processes together see the samples of all epochs
        batch_size = training_args.train_batch_size * training_args.gradient_accumulation_steps
        num_samples = training_args.num_train_epochs * num_listed_samples(sources.shards)
        training_args.max_steps = max(1, round(num_samples / (batch_size * training_args.world_size)))
    return PretrainingStream(
        sources.shards,
        transform,
        other_shards=sources.other_shards,
        face_ratio=data_args.face_ratio,
        face_filter=FaceFilter(data_args.min_face_score, data_args.min_face_px),
        window_size=data_args.shuffle_window_size,
        batch_size=training_args.train_batch_size,
        rank=training_args.process_index,
        world_size=training_args.world_size,
    )


def patch_grid(model: FaRLForPreTraining, processor: FaRLProcessor) -> tuple[int, int]:
    """Rows and columns of patches of a crop."""
    height, width = processor.image_processor.size_hw
    patch_size = model.config.vision_config.patch_size
    return height // patch_size, width // patch_size


def make_visual_tokenizer(
    model: FaRLForPreTraining,
    model_args: PretrainingModelArguments,
    training_args: PretrainingArguments,
    processor: FaRLProcessor,
    sources: PairSources,
) -> VisualTokenizer:
    """The tokenizer that was named, or one learned from the first samples and saved with the run."""
    folder = output_folder(training_args) / VISUAL_TOKENIZER_FOLDER
    if model_args.visual_tokenizer != "kmeans":
        tokenizer = load_visual_tokenizer(model_args.visual_tokenizer)
    elif goes_on(training_args) and (folder / KMEANS_CONFIG).is_file():
        tokenizer = load_visual_tokenizer(folder)
    else:
        size = patch_grid(model, processor)[0] * KMEANS_STRIDE
        transform = PretrainingTransform(
            processor.image_processor, processor.tokenizer, codebook_size=size, augmentation="none"
        )
        samples = islice(sample_source(sources, transform), training_args.visual_tokenizer_samples)
        pixels = torch.stack([sample["codebook_pixel_values"] for sample in samples])
        tokenizer = PatchKMeansTokenizer.train(pixels, model.config.mim_vocab_size, KMEANS_STRIDE, training_args.seed)
        tokenizer.save_pretrained(folder)
    check_visual_vocabulary(tokenizer, model.config, model_args)
    return tokenizer


def check_visual_vocabulary(tokenizer: VisualTokenizer, config: Any, model_args: PretrainingModelArguments) -> None:
    """Refuses a visual tokenizer that has other tokens than the model predicts."""
    if tokenizer.vocab_size != config.mim_vocab_size:
        raise InvalidArgumentError(
            f"The visual tokenizer {model_args.visual_tokenizer} has {tokenizer.vocab_size} tokens, but the model "
            f"predicts {config.mim_vocab_size}; pass --visual-vocab-size {tokenizer.vocab_size}."
        )


def sample_source(sources: PairSources, transform: PretrainingTransform) -> Iterator[dict[str, torch.Tensor]]:
    """All samples once, in order."""
    if sources.train_rows is not None:
        pairs = PretrainingPairs(sources.train_rows, transform)
        return (pairs[item] for item in range(len(pairs)))
    return iter(PretrainingStream(sources.shards, transform, window_size=0, num_epochs=1))


def captions_of(sources: PairSources) -> Iterator[str]:
    """All captions, to learn a vocabulary from."""
    if not sources.shards and sources.train_rows is None:
        return iter(())
    if sources.train_rows is not None:
        return iter(sources.train_rows["caption"])
    stream = PretrainingStream(sources.shards, transform=None)  # type: ignore[arg-type]  # captions need no transform
    return stream.captions()


def goes_on(training_args: PretrainingArguments) -> bool:
    """Whether what is in the output folder is of this run, and not of a start with other arguments.

    A process that writes nothing reads what the first one has just written.
    """
    writes = training_args.do_train and training_args.should_save
    return not writes or last_finished_checkpoint(output_folder(training_args)) is not None


def make_processor(
    model_args: PretrainingModelArguments, training_args: PretrainingArguments, sources: PairSources
) -> FaRLProcessor:
    """The processor of an interrupted run, else of the checkpoint, else as the arguments say."""
    folder = output_folder(training_args)
    if goes_on(training_args) and (folder / "processor_config.json").is_file():
        return FaRLProcessor.from_pretrained(folder)
    processor = FaRLProcessor(make_image_processor(model_args), make_tokenizer(model_args, sources))
    if training_args.do_train and training_args.should_save:
        with files_written_whole(folder) as unfinished:  # the other processes, and a resumed run, read them
            processor.save_pretrained(unfinished)
    return processor


def make_image_processor(model_args: PretrainingModelArguments) -> FaRLImageProcessor:
    """The image processor, which crops faces: of the checkpoint, if there is one. Options replace its settings."""
    template = model_args.face_template
    if template is not None:
        check_name("face template", template, FACE_TEMPLATES)
    settings: dict[str, Any] = {
        "size": model_args.image_size,
        "face_scale": model_args.face_scale,
        "face_template": None if template is None else FACE_TEMPLATES[template],
    }
    given = {name: value for name, value in settings.items() if value is not None}
    with settings_refused():
        if model_args.model_name_or_path:
            return load_image_processor(FaRLImageProcessor, model_args.model_name_or_path, **given)
        usual = {"size": SCRATCH_IMAGE_SIZE, "face_template": ATTRIBUTE_TEMPLATE, "warp_factor": 0.0}
        return FaRLImageProcessor(**(usual | given))


def make_tokenizer(model_args: PretrainingModelArguments, sources: PairSources) -> FaRLTokenizer:
    """The tokenizer that was named, else of the checkpoint, else CLIP's; `captions` is learned from the captions."""
    if model_args.tokenizer_name == "captions":
        return train_caption_tokenizer(
            captions_of(sources), model_args.tokenizer_vocab_size, model_args.max_text_tokens or 77
        )
    if model_args.max_text_tokens is not None:
        raise InvalidArgumentError(
            "--max-text-tokens is used only with --tokenizer-name captions; another tokenizer has its own length."
        )
    name = model_args.tokenizer_name or model_args.model_name_or_path or OFFICIAL_TOKENIZER
    try:
        return FaRLTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise NotACheckpointError(
            f"{name!r} could not be loaded as a tokenizer ({error}); pass --tokenizer-name with a folder or a name, "
            "such as `farl` after `farl-hf download farl`, or `captions` to learn one from the data."
        ) from error


def make_model(
    model_args: PretrainingModelArguments, training_args: PretrainingArguments, processor: FaRLProcessor
) -> FaRLForPreTraining:
    """Both encoders, from a checkpoint or from random weights."""
    attention = attention_of(model_args, training_args)
    branch = branch_settings(model_args)
    if model_args.model_name_or_path:
        name = model_args.model_name_or_path
        check_tokenizer(processor.tokenizer, name)
        model, new = load_with_new_parts(
            FaRLForPreTraining, name, NEW_PARTS, dtype="float32", attn_implementation=attention, **branch
        )
        if new:
            logger.warning(f"{name} has no weights for {', '.join(new)}; they start at random.")
        return model
    config = scratch_config(model_args, processor.image_processor, processor.tokenizer, branch)
    return model_from_scratch(FaRLForPreTraining, config, attention, training_args)


def branch_settings(model_args: PretrainingModelArguments) -> dict[str, Any]:
    """Settings of masked image modelling that replace those of the configuration."""
    branch = given_settings(model_args, ("mim_weight", "mim_num_hidden_layers"))
    if model_args.objective == "itc":
        branch["mim_weight"] = 0.0
    if model_args.visual_vocab_size:
        branch["mim_vocab_size"] = model_args.visual_vocab_size
    return branch


def check_tokenizer(tokenizer: FaRLTokenizer, checkpoint: str) -> None:
    """Refuses a tokenizer whose ids are not those that the checkpoint was trained with.

    Raises:
        InvalidArgumentError: It has another number of entries, end token, length or vocabulary.
    """
    text = read_config(checkpoint, FaRLConfig).text_config
    compared = {
        "entries": (len(tokenizer), text.vocab_size),
        "as id of the end token": (tokenizer.eos_token_id, text.eos_token_id),
    }
    if tokenizer.model_max_length > text.max_position_embeddings:
        compared["tokens at most"] = (tokenizer.model_max_length, text.max_position_embeddings)
    for what, (here, expected) in compared.items():
        if here != expected:
            raise InvalidArgumentError(
                f"The tokenizer has {here} {what}, but {checkpoint} was trained with {expected}; leave "
                "--tokenizer-name out, or start from --config-name."
            )
    try:
        own = FaRLTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError):
        return  # a checkpoint without a tokenizer: the numbers above are all that is known
    if own.get_vocab() != tokenizer.get_vocab():
        raise InvalidArgumentError(
            f"The tokenizer gives other ids to texts than the one of {checkpoint}; leave --tokenizer-name out, or "
            "start from --config-name."
        )


def scratch_config(
    model_args: PretrainingModelArguments,
    image_processor: FaRLImageProcessor,
    tokenizer: FaRLTokenizer | None,
    branch: dict[str, Any],
) -> FaRLConfig:
    """Configuration of encoders with random weights, for this size of crop and this vocabulary, if there is one."""
    settings, side = read_settings(model_args.config_name), image_processor.size["height"]
    text: dict[str, Any] = {}
    if tokenizer is not None:
        text = {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": tokenizer.model_max_length,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
    sizes = {
        "vision_config": settings.get("vision_config", {}) | {"image_size": side},
        "text_config": settings.get("text_config", {}) | text,
    }
    with settings_refused():
        return FaRLConfig(**(settings | branch | sizes))


# A small vocabulary, for text encoders too small for CLIP's 49,408 entries


def train_caption_tokenizer(captions: Iterable[str], vocab_size: int, model_max_length: int = 77) -> FaRLTokenizer:
    """A tokenizer like CLIP's whose merges were learned from these captions.

    Entries are in CLIP's order: 256 byte symbols, the same as ends of words, the merges, then the start and the end
    token. Any text can be encoded; words that no caption contained take more tokens.

    Args:
        captions (`Iterable[str]`): Texts to learn from.
        vocab_size (`int`): Entries at most; fewer when the captions hold fewer pairs worth merging.
        model_max_length (`int`, *optional*, defaults to 77): Longest text in tokens.

    Raises:
        InvalidArgumentError: `vocab_size` leaves no room for a merge.
    """
    symbols = list(bytes_to_unicode().values())
    symbols += [symbol + END_OF_WORD for symbol in symbols]
    num_merges = vocab_size - len(symbols) - len(SPECIAL_TOKENS)
    if num_merges < 1:
        raise InvalidArgumentError(
            f"A vocabulary of {vocab_size} entries leaves no room for merges; "
            f"choose more than {vocab_size - num_merges}."
        )
    merges = learned_merges(captions, len(symbols) + num_merges)[:num_merges]
    tokens = [*symbols, *("".join(pair) for pair in merges), *SPECIAL_TOKENS]
    vocab = {token: index for index, token in enumerate(tokens)}
    return FaRLTokenizer(vocab=vocab, merges=merges, model_max_length=model_max_length)


def learned_merges(captions: Iterable[str], vocab_size: int) -> list[tuple[str, str]]:
    """Pairs of symbols in the order in which they were merged."""
    engine = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [word_splitter(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        end_of_word_suffix=END_OF_WORD,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator((clean_text(caption) for caption in captions), trainer)
    merges = json.loads(engine.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]
