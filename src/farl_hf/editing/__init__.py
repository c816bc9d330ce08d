"""Faces that follow a sentence: latents of any face generator, moved until its pictures fit a text."""

from farl_hf.editing.face_generators import FaceGenerator, StyleGAN2Generator
from farl_hf.editing.latent_editing import EditedFaces, edit_latents

__all__ = ["EditedFaces", "FaceGenerator", "StyleGAN2Generator", "edit_latents"]
