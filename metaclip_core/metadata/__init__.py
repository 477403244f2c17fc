"""Metadata: the entries whose mentions balance a pool, made from sources or imported, and kept in a folder."""
