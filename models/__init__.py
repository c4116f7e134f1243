"""The networks. `resnet` and `simclr` import nothing else of this repository, so they can be reused without it.

resnet   residual networks that return logits, features and feature maps
simclr   SimCLR's network and loss
weights  loading and saving of checkpoints
"""
