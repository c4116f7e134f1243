"""Selection of a course, and how a machine student learns from it.

selector         base class of selections, what they see (Survey) and return (Choice)
maxgrad          MaxGrad
cmaxgrad         CMaxGrad
kmaxgrad         KMaxGrad
maxherding       MaxHerding
random_pairs     random pairs, and random images with classes in turn
student          base class of students, margin risk
optimal          student that trains its head to convergence
sgd              published student
registry         names of selections and students
pool             images and explanations that a course is chosen from
loop             the teaching loop
draws            extra courses on random subsets of the pool
course           files of a course
compare_courses  learning curves of several selections (a command)
"""
