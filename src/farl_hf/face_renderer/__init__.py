"""A procedural renderer of faces with exact ground truth; NumPy and OpenCV only."""

from .scene import DEFAULT_SIZES_HW, FacePhoto, render_face_photo, render_group_photo

__all__ = ["DEFAULT_SIZES_HW", "FacePhoto", "render_face_photo", "render_group_photo"]
