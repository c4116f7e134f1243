"""What is needed everywhere, and knows nothing of the method.

errors       how does a script stop by itself, and how are names and texts put into its sentence?
files        how is a file written so that nobody ever sees half of it, and what is its checksum?
checkpoints  how are weights written, and read from any tool's file?
png          how is a picture written, and is one on disk whole?
figures      how do curves, confusion matrices and pages of pictures look?
fonts        which font can draw a name?
warned       how do warnings of libraries, and names in any script, read?
machine      what does a run compute on?
memory       how much memory may a run still take, and which errors say that it is full?
processes    one process or many: who is this one, and what do they tell each other?
randomness   where does every random number come from?
"""
