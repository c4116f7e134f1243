"""How fast the pipeline is, against the released procedure and against the limits of the machine."""
