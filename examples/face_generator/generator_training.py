"""The whole training of a face generator, from parsed arguments to a decoder that draws faces.

`train_face_generator.py` is a few lines around [`run_generator_training`].
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from face_autoencoder import AutoencoderLosses, FaceAutoencoder
from face_crops import FaceCrops, crop_of
from generator_arguments import (
    GeneratorDataArguments,
    GeneratorModelArguments,
    GeneratorTrainingArguments,
)
from latent_basis import latent_moments, rebased_decoder
from PIL import Image
from torch.utils.data import DataLoader, Subset
from transformers import TrainerCallback, set_seed

from farl_hf.checkpoints.checked_loading import load_whole
from farl_hf.data.samples.pretraining_samples import pretraining_collate
from farl_hf.errors import check_name
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.modeling.configuration_face_decoder import FaceDecoderConfig
from farl_hf.training.arguments import output_folder, save_resolved_recipe
from farl_hf.training.pretraining.run import FACE_TEMPLATES
from farl_hf.training.runs import (
    check_same_run,
    check_weights_to_evaluate,
    evaluate_and_save,
    held_output_folder,
    load_splits,
    train_to_end,
)
from farl_hf.training.trainer import AveragedWeightsTrainer
from farl_hf.whole_files import written_whole

__all__ = ["DECODER_FOLDER", "run_generator_training"]

TASK = "generation"
DECODER_FOLDER = "decoder"
PICTURE_FOLDER = "pictures"
_COLUMNS_SHOWN = 12
_FACES_OF_THE_BASIS = 4096  # enough for a covariance of 64 numbers
_FACES_OF_A_SKETCH = 512  # the same, on the way


def run_generator_training(
    model_args: GeneratorModelArguments,
    data_args: GeneratorDataArguments,
    training_args: GeneratorTrainingArguments,
) -> dict[str, float]:
    """Trains. An unfinished run in the output folder is resumed.

    The output folder holds the whole autoencoder, its folder `decoder` the decoder alone, and `pictures` what was
    drawn on the way.

    Returns:
        `dict[str, float]`: Losses of the last evaluation; empty without `do_eval`.

    Raises:
        UnknownNameError: There is no such template, data set or split.
        InvalidDatasetError: The data set has no single faces with five points.
        InvalidArgumentError: Arguments of the unfinished run have changed, or there are no weights to evaluate.
    """
    with held_output_folder(training_args):
        return _run_generator_training(model_args, data_args, training_args)


def _run_generator_training(
    model_args: GeneratorModelArguments,
    data_args: GeneratorDataArguments,
    training_args: GeneratorTrainingArguments,
) -> dict[str, float]:
    if training_args.do_train:
        check_same_run(training_args, model_args, data_args, training_args, task=TASK)
    check_weights_to_evaluate(training_args, model_args.model_name_or_path)
    transformers.utils.logging.set_verbosity(training_args.get_process_log_level())
    set_seed(training_args.seed)
    model = make_autoencoder(model_args, training_args)
    if training_args.do_train and training_args.should_save:
        save_resolved_recipe(output_folder(training_args), TASK, model_args, data_args, training_args)
    image_processor = crop_of(model.config)
    with training_args.main_process_first(desc="preparing the data set"):
        rows = load_splits(
            [data_args.dataset_name], data_args, do_train=training_args.do_train, do_eval=training_args.do_eval
        )
    splits = (("train", training_args.do_train, True), (data_args.eval_split, training_args.do_eval, False))
    train_crops, eval_crops = (
        FaceCrops(rows[name], image_processor, augment, training_args.seed) if wanted else None
        for name, wanted, augment in splits
    )
    trainer = AveragedWeightsTrainer(
        model=model,
        args=training_args,
        train_dataset=train_crops,
        eval_dataset=eval_crops,
        data_collator=pretraining_collate,
    )
    if training_args.picture_steps:
        trainer.add_callback(PictureCallback(trainer, eval_crops or train_crops))
    if training_args.do_train:
        train_to_end(trainer)
        if trainer.is_world_process_zero():
            save_decoder(Path(training_args.output_dir), train_crops)
    return evaluate_and_save(trainer) if training_args.do_eval else {}


def make_autoencoder(
    model_args: GeneratorModelArguments, training_args: GeneratorTrainingArguments
) -> FaceAutoencoder:
    """The autoencoder, loaded from a folder or with random weights."""
    losses = AutoencoderLosses(
        training_args.gradient_weight,
        training_args.kl_weight,
        training_args.attribute_weight,
        training_args.centre_weight,
    )
    settings = {"num_attributes": len(CELEBA_ATTRIBUTES), "losses": losses}
    if model_args.model_name_or_path is not None:
        return load_whole(FaceAutoencoder, model_args.model_name_or_path, **settings)
    check_name("face template", model_args.face_template, FACE_TEMPLATES)
    config = FaceDecoderConfig(
        latent_size=model_args.latent_size,
        grid_size=model_args.grid_size,
        stage_channels=model_args.stage_channels,
        face_template=FACE_TEMPLATES[model_args.face_template],
    )
    return FaceAutoencoder(config, **settings)


def save_decoder(output_dir: Path, crops: FaceCrops) -> None:
    """Saves the decoder in a folder of its own, with the averaged weights and re-based latents."""
    model = FaceAutoencoder.from_pretrained(output_dir).eval()
    subset = Subset(crops, range(min(_FACES_OF_THE_BASIS, len(crops))))
    batches = (batch["pixel_values"] for batch in DataLoader(subset, batch_size=64, collate_fn=pretraining_collate))
    rebased_decoder(model.decoder, *latent_moments(model, batches)).save_pretrained(output_dir / DECODER_FOLDER)


class PictureCallback(TrainerCallback):
    """Draws a sheet every so many steps: crops, their reconstructions, and samples of the re-based decoder.

    Args:
        trainer ([`AveragedWeightsTrainer`]): Whose averaged weights draw.
        crops ([`FaceCrops`]): The first ones are shown, and give the basis of the samples.
    """

    def __init__(self, trainer: AveragedWeightsTrainer, crops: FaceCrops) -> None:
        self.trainer = trainer
        self.batch = pretraining_collate([crops[index] for index in range(min(_FACES_OF_A_SKETCH, len(crops)))])
        self.count = min(_COLUMNS_SHOWN, len(crops))

    def on_step_end(self, args: GeneratorTrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw, when it is time."""
        if state.is_world_process_zero and state.global_step % args.picture_steps == 0:
            path = Path(args.output_dir, PICTURE_FOLDER, f"step_{state.global_step:06d}.png")
            sheet = self.trainer.with_averaged_weights(self.draw, kwargs["model"], args.device)
            with written_whole(path) as unfinished:
                sheet.save(unfinished)

    @torch.no_grad()
    def draw(self, model: FaceAutoencoder, device: torch.device) -> Image.Image:
        """Rows of crops, reconstructions and three rows of samples, all as large as a crop."""
        was_training = model.training
        model.eval()
        crops = self.batch["pixel_values"][: self.count].to(device)
        reconstructions = model(crops, self.batch["inside"][: self.count].to(device)).images
        decoder = rebased_decoder(model.decoder, *latent_moments(model, self.batch["pixel_values"].split(64)))
        samples = decoder.images_from_latents(decoder.sample_latents(3 * self.count, truncation=1.0)).split(self.count)
        model.train(was_training)
        rows = [torch.cat(list(row), dim=-1) for row in (crops, reconstructions, *samples)]
        sheet_CHW = torch.cat(rows, dim=-2).cpu().float()
        return Image.fromarray((sheet_CHW.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
