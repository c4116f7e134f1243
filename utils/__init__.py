"""The machinery that the scripts share, in the method's order: a package imports from itself and from those above it.

base          what is needed everywhere, and knows nothing of the method: files, figures, processes, errors
data          what are the datasets, their lists, their images, and the names of what is written? (`models` comes before it)
running       how does a script start, end, and go on where it was stopped?
training      how does a network learn, and how right is it?
explanations  where does an image show that it is class a and not class b?
teaching      which images and explanations make a course, and how does a student learn from it?
people        how do people take the course, and what do their answers say?
"""
