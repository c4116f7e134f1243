"""Datasets, from their lists to batches of pictures, and the names of all that is written.

catalog    which datasets are known by name, and what are their classes?
toy_moths  how is the toy dataset drawn?
names      which names can folders have that lists express?
lists      what stands in a list of images or of explanations?
absent     why can a file that a list names not be opened?
decoding   what does a picture file say about its pixels?
images     which part of an image, and of what size, does a network see?
augment    which random views does it train on?
loading    how do lists become batches?
outputs    what is everything called that the scripts write?
"""
