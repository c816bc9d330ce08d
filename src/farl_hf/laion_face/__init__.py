"""LAION-Face before a training: its metadata filtered from LAION-400M's, faces detected in shards; local or on Ray.

This package uses data sets and pipelines. `farl_hf.data` reads its files and needs no detector.
"""
