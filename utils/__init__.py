"""The code that the scripts share, in the order of the method. A package imports only from itself and those above it.

base          errors, files, figures, processes
data          datasets, lists, images, file names (`models` comes before it)
running       how a script starts, ends and resumes
training      classifiers, SimCLR, linear probes
explanations  counterfactual explanations of a list
teaching      courses and machine students
people        the page for people, their answers, and labels
"""

import sys

if sys.version_info < (3, 11, 4):
    sys.exit(f"Python 3.11.4 or newer is required, but this is {sys.version.split()[0]}. Use another environment.")
