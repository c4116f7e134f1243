"""Divides the width of ResNet-18 by the environment variable NARROWER (default 8): small states, fast passes.

Must be imported before anything that uses the network.
"""

import os

from torchvision.models.resnet import ResNet

NARROWER = int(os.environ.get("NARROWER", 8))
original = ResNet._make_layer
ResNet._make_layer = lambda self, block, planes, *args, **named: original(
    self, block, planes // NARROWER, *args, **named
)
