"""People: the course page, their answers, labels from answers, and simulated people.

page_key         key of a course page: which file each picture is
course_page      builds the course page
course_pictures  pictures of the course page
page             HTML, script and style of all course pages
store            database of answers
server           serves the page and collects answers
export           exports the answers
answers          reads people's answers from files of all formats
aggregation      one label per image from many answers, and agreement
labelling        filters people and writes the labeled list
report           report on people and their labels
simulated        simulated people
study            the paper's study of annotators
"""
