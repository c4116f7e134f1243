"""The human half: the course page, the answers of people, labels made of them, and simulated people.

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
participants     what is one answer, and which participants of several files are one person?
answers          what did people answer, in whichever file it comes?
tables           how are texts and tables of any country read?
turk             who handed in what on Mechanical Turk, and what was rejected?
aggregation      which label do many answers make, and how far do people agree?
labelling        who is believed, and what becomes of their labels?
report           what is said of people and their labels?
simulated        what would people answer?
study            what does a classifier learn from people of an accuracy, and without any?
break_even       how good must people be?
"""
