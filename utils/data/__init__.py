"""Datasets: lists, decoding, views, batches, and all file names."""
