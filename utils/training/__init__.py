"""Networks that learn, and how right they are.

epochs         what does every training do epoch by epoch?
classifier     how is a classifier trained?
simclr         how is SimCLR pre-trained?
probe          how does a head learn on features that stay?
self_training  which of its own answers does a classifier learn from?
features       how does a network see a list?
evaluation     how right is a classifier?
reports        what does a training run leave to look at?
"""
