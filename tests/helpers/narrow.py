"""Makes ResNet-18 NARROWER (environment variable, 8 by default) times narrower, so that states are small and passes fast.

Must be imported before anything that uses the network.
"""

import os

from torchvision.models.resnet import ResNet

NARROWER = int(os.environ.get("NARROWER", 8))
original = ResNet._make_layer
ResNet._make_layer = lambda self, block, planes, *args, **named: original(
    self, block, planes // NARROWER, *args, **named
)
