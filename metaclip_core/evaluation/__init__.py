"""Measures of a trained model, as functions over embeddings."""
