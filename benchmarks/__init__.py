"""How fast the pipeline is, against the released procedure and against the limits of the machine.

bench         what is measured, and on what? (a command)
timing        how are pieces of work timed in turn?
explanations  how fast is a list explained?
course        how fast is a course of the optimal student?
lesson        how fast is one iteration of a course?
baseline      what did everybody do before?
pools         what does one choice cost, by the size of the pool? (a command)
limits        what can no implementation avoid?
report        how is it told?
results       what can it do? The tables of docs/results.md, from one command (a package)
"""
