"""Face attributes with the Trainer of Transformers: one file to read and to change.

    python examples/finetune_attributes.py --output-dir runs/my-attributes
    python examples/finetune_attributes.py --model farl --dataset celeba --data-dir data/CelebA \
        --output-dir runs/celeba --bf16
    torchrun --nproc_per_node 8 examples/finetune_attributes.py --output-dir runs/my-attributes
    torchrun --nproc_per_node 8 examples/finetune_attributes.py --output-dir runs/my-attributes \
        --deepspeed examples/deepspeed/zero3.json

All options of `transformers.TrainingArguments` work. The paper's whole recipes are behind `farl-hf train`.
"""

from dataclasses import dataclass, field

import evaluate
from transformers import Trainer, TrainingArguments, set_seed

import farl_hf
from farl_hf.checkpoints.checked_loading import load_image_processor, load_with_new_parts, read_config
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.training.arguments import ScriptParser, errors_as_sentences
from farl_hf.training.finetuning import NEW_PARTS
from farl_hf.training.runs import start_stock_training
from farl_hf.training.trainer import FiniteWeightsCallback, SampleEpochCallback, errors_of_training

NUM_RENDERED = {"train": 2000, "test": 200}


@dataclass
class Settings:
    """What is trained, and on what."""

    model: str = field(
        default="farl-tiny-attributes", metadata={"help": "Checkpoint to start from; where it has no head, a new one."}
    )
    dataset: str = field(default="synthetic_faces", metadata={"help": "A data set with CelebA's 40 attributes."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of a published data set."})
    num_train_photos: int | None = field(
        default=None, metadata={"help": "Photos to train with; all by default, 2,000 rendered ones."}
    )
    num_test_photos: int | None = field(
        default=None, metadata={"help": "Photos to evaluate with; all by default, 200 rendered ones."}
    )
    augmentation: str = field(
        default="celeba_attributes", metadata={"help": "Random changes to the faces, or `none`."}
    )


@dataclass
class Arguments(TrainingArguments):
    """Other defaults of some of the Trainer's options."""

    learning_rate: float = field(default=3e-4, metadata={"help": "Highest learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Faces per device and step."})
    eval_accumulation_steps: int | None = field(default=8, metadata={"help": "Batches before predictions leave it."})


def main():
    settings, args = ScriptParser((Settings, Arguments), description=__doc__).parse_args_into_dataclasses()
    start_stock_training(args)
    set_seed(args.seed)

    given = {"train": settings.num_train_photos, "test": settings.num_test_photos}
    usual = NUM_RENDERED if settings.dataset == "synthetic_faces" else {}
    num_photos = usual | {split: count for split, count in given.items() if count is not None}
    with args.main_process_first(desc="preparing the data set"):
        rows = {
            split: farl_hf.load_face_dataset(
                settings.dataset, data_dir=settings.data_dir, split=split, num_photos=num_photos
            )
            for split in given
        }
    # The attributes that the checkpoint knows, or all for a new head.
    known = read_config(settings.model, farl_hf.FaRLConfig).id2label.values()
    names = [name for name in known if name in CELEBA_ATTRIBUTES] or list(CELEBA_ATTRIBUTES)
    columns = [CELEBA_ATTRIBUTES.index(name) for name in names]
    processor = load_image_processor(farl_hf.FaRLImageProcessor, settings.model)
    # Pyramid and head may be new; whatever else the checkpoint lacks is an error.
    model, _ = load_with_new_parts(
        farl_hf.FaRLForAttributes,
        settings.model,
        NEW_PARTS,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        attribute_thresholds=None,  # those of the checkpoint belong to its scores, which the training changes
        dtype="float32",
    )

    accuracy = evaluate.load(farl_hf.metric("face_attribute_accuracy"))

    def scores(prediction):
        return accuracy.compute(
            predictions=prediction.predictions > 0,
            references=prediction.label_ids,
            label_names=names,
        )

    trainer = Trainer(
        model,
        args,
        train_dataset=FaceSamples(
            rows["train"], processor, "attributes", settings.augmentation, attribute_columns=columns, seed=args.seed
        ),
        eval_dataset=FaceSamples(rows["test"], processor, "attributes", attribute_columns=columns),
        data_collator=collate_face_samples,
        processing_class=processor,
        compute_metrics=scores,
        callbacks=[FiniteWeightsCallback(), SampleEpochCallback()],
    )
    with errors_of_training(args):
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()  # the folder loads as pipeline("face-attributes", model=...)
    trainer.log_metrics("eval", trainer.evaluate())
    if args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    with errors_as_sentences():
        main()
