"""The networks: ResNet-18 that shows its features and last feature map, and SimCLR around it."""
