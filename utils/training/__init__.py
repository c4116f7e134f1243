"""Training and evaluation of networks.

epochs         order of an epoch, parts of a batch, resuming
classifier     training of a classifier by SGD
simclr         pre-training by SimCLR
probe          linear probe on frozen features
self_training  confident answers as labels
features       feature maps of a list
evaluation     accuracy and confusions
reports        tables and figures of a training run
"""
