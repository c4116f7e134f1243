"""Datasets: from lists to batches of images, and all file names.

catalog    datasets by name and their classes
lists      example lists and explanation lists
images     decoding, and the views that networks see
augment    random views for training
loading    lists as batches
outputs    names of all written files
toy_moths  the toy dataset
"""
