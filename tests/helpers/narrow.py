"""Imported before all else that knows the network, this makes ResNet-18 NARROWER times narrower (an environment variable, 8 by default).

For tests of what happens around the network: its states are then megabytes smaller, and its passes faster.
"""

import os

from torchvision.models.resnet import ResNet

NARROWER = int(os.environ.get("NARROWER", 8))
make_layer = ResNet._make_layer
ResNet._make_layer = lambda self, block, planes, *rest, **named: make_layer(
    self, block, planes // NARROWER, *rest, **named
)
