"""Results drawn on photos: (photo, result) -> a new picture. Nothing here changes the photo it is given."""

from farl_hf.drawing.antialiased_canvas import PAPER
from farl_hf.drawing.boxes_and_landmarks import draw_face_landmarks, draw_faces
from farl_hf.drawing.captions import contact_sheet, draw_face_attributes, text_panel
from farl_hf.drawing.overlays import colour_bar, draw_face_parsing, draw_heat_map

__all__ = [
    "PAPER",
    "colour_bar",
    "contact_sheet",
    "draw_face_attributes",
    "draw_face_landmarks",
    "draw_face_parsing",
    "draw_faces",
    "draw_heat_map",
    "text_panel",
]
