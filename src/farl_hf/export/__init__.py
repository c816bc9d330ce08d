"""Checkpoints as graphs: written for ONNX Runtime or `torch.export`, and run in a pipeline."""

from farl_hf.export.graph_export import EXPORT_FORMATS, ExportReport, OnnxModel, export_checkpoint, load_onnx_model

__all__ = ["EXPORT_FORMATS", "ExportReport", "OnnxModel", "export_checkpoint", "load_onnx_model"]
