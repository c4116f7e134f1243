"""The human half: the course page, the answers of people, labels made of them, and simulated people.

- page_key: which file each picture of a page is; the one place that knows this file's format
- course_page, course_pictures, page/: the page, how it is built, its pictures, and what is the same for every course
- built_page: the page as it stands on disk, for those who serve it
- trials: what one answer is, and whether one that was sent can be taken
- database, store: the answers' database, its bad states; who labels what, and that no answer is lost
- server: gives out the page, takes answers, shows the researcher how far it is
- export, salvage: the answers as files, also from a damaged database
- answers, tables, turk: what people answered, read from files of every kind
- aggregation: one label of many, and how far people agree
- labelling, report: who is believed, the labelled list; what is said of people and their labels
- simulated, study: people who are simulated, and a study that is planned with them
"""
