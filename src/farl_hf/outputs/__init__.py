"""What can be made of the answers of the pipelines: pictures, tables and files of other tools."""

from farl_hf.outputs.face_pictures import METHODS, REGIONS, anonymize, crop, cutout, draw
from farl_hf.outputs.face_tables import to_coco, to_json, to_rows

__all__ = ["METHODS", "REGIONS", "anonymize", "crop", "cutout", "draw", "to_coco", "to_json", "to_rows"]
