"""Tools that know nothing of the method: errors, files, figures, devices, ranks, random generators."""
