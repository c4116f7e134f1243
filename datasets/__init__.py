"""The data root, and the code that fills it. (A package, so that no installed package called `datasets` is imported instead.)"""
