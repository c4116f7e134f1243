"""People: the course page, their answers, labels from answers, and simulated people.

page_key         which file is each picture of a page?
course_page      what does a course page hold, and how is it built?
course_pictures  how do people see the pictures?
page             what is the same for every course? (HTML, script, style)
built_page       which files of a page that was built may be served?
trials           what is one answer, and can one that was sent be taken?
schema           what must always be true of the answers that are kept?
database         in which bad states can the file of the answers be, and what is to be done?
store            who labels what, and is every acknowledged answer kept, once?
server           how is the page given out, and how do answers come in?
export           how do the answers get out?
salvage          what can still be read of a damaged database?
answers          reads people's answers from files of all formats
aggregation      one label per image from many answers, and agreement
labelling        filters people, and writes the labelled list
report           report on people and their labels
simulated        simulated people
study            the paper's study of annotators
"""
