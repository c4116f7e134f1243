"""Teaching-set selection: which images and explanations make a course, and how a machine student learns from it.

choice           what does a selector see, and what does it say?
pairing          how does a score become a pair?
maxgrad          what are margin risk and psi, and how does MaxGrad choose?
cmaxgrad         how does CMaxGrad choose?
kmaxgrad         how does a course look through the student's own kernel?
maxherding       which images cover their class best?
balanced         how are random images drawn so that classes stay even?
random_pairs     how is a random pair drawn?
student          what does the loop ask of a student, and how does a student see images and explanations?
frozen           what have students in common that keep their features?
optimal          how does a student learn its head to the end?
sgd              how does the student as released learn?
registry         which selections and students are there?
pool             what can a course be made of?
loop             what happens in a lesson?
draws            how much of a course is the luck of its pool?
course           what is a course on disk?
saved_students   which students of a course are kept?
compare_courses  which course teaches better? (a command)
"""
