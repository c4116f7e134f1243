"""Tools that know nothing of the method.

errors      errors that end a script with one sentence, and plain warnings
files       atomic writes of files, tables, pictures and folders; checksums
figures     curves, confusion matrices and pages of pictures
machine     device, processors and threads
processes   ranks under torchrun
randomness  seeded random generators
"""
