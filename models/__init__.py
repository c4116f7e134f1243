"""The networks: residual networks that show their features and feature maps, and SimCLR around them."""
