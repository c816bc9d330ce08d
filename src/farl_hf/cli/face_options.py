"""Options that commands share which find faces and compare them with texts."""

from typing import Annotated

import typer

__all__ = ["DetectorOption", "DeviceOption", "ThresholdOption"]

ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a face; the detector's own by default.")
]
DetectorOption = Annotated[str | None, typer.Option(help="Checkpoint, name or folder, of face-detection.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; the first accelerator by default.")]
