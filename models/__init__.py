"""The networks. `resnet` and `simclr` import nothing of this repository: they can be read, and taken elsewhere, alone.

resnet         what is a residual network that shows its features and feature maps?
simclr         what are SimCLR's network and its loss?
weights        how do networks come from files, whoever wrote them?
"""
