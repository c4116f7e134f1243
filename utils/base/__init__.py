"""What is needed everywhere, and knows nothing of the method.

errors       how does a script stop by itself, and how are names and texts put into its sentence?
files        how is a file written so that nobody ever sees half of it, and what is its checksum?
figures      how do curves, confusion matrices and pages of pictures look?
machine      what does a run compute on?
processes    one process or many: who is this one, and what do they tell each other?
randomness   where does every random number come from?
"""
