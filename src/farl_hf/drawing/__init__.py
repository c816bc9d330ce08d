"""Results drawn on photos: (photo, result) -> a new picture. Nothing here changes the photo it is given."""

from farl_hf.drawing.attribute_captions import draw_face_attributes
from farl_hf.drawing.contact_sheet import contact_sheet
from farl_hf.drawing.face_boxes import draw_faces
from farl_hf.drawing.heat_map_overlay import draw_heat_map
from farl_hf.drawing.landmark_lines import draw_face_landmarks
from farl_hf.drawing.parsing_overlay import draw_face_parsing
from farl_hf.drawing.text_panel import text_panel

__all__ = [
    "contact_sheet",
    "draw_face_attributes",
    "draw_face_landmarks",
    "draw_face_parsing",
    "draw_faces",
    "draw_heat_map",
    "text_panel",
]
