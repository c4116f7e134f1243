"""The data root, and the code that fills it.

prepare   the command line
sources   archives and lists of the paper's datasets
folder    a dataset out of the user's own images
splits    drawing of lists
checking  comparison of lists and files
"""
