"""The networks, SimCLR and their checkpoints."""
