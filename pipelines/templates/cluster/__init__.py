"""Definitions of clusters, filled in by `pipelines/definitions.py`."""
