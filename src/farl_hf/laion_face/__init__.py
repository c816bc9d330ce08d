"""LAION-Face before a training: its metadata filtered from LAION-400M's, faces detected in shards; local or on Ray.

Here data meets pipelines: `farl_hf.data` reads what is written here and knows no detector.
"""
