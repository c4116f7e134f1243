"""What tests call.

answering     what is a page's key, and a file of answers to it?
archives      what do the published archives look like when small, and who serves them?
axe           what does a checker of accessibility find wrong with a page?
code          what are the repository's scripts and modules, as syntax trees?
collecting    what is a built page without pictures, and what does it send to the collecting server?
docs          what do the documents link to, command, name and quote?
drawn_course  what is a course without any network?
forker        runs scripts as forked processes and kills them, without importing torch each time (a program)
many_classes  what is a course of as many classes as wanted?
narrow        how does a network become small, so that a test is fast?
noise         what is a pool of pictures that mean nothing, and a student's settings for it?
own_images    what is a folder of images as people have them?
person        what does someone in front of a browser do?
runs          how are scripts run, one by one and as a family, on the small dataset?
"""
