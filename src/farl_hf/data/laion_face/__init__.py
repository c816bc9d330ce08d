"""LAION-Face: its shards, the faces found in them, and the stream of pairs that training reads."""
