"""Helpers of the tests.

answering     a page's key and answers to it
archives      small published archives and a server for them
axe           accessibility checks
code          the repository's scripts and modules as syntax trees
collecting    a page without pictures, and its requests to the server
drawn_course  a course without a network
forker        runs scripts as forked processes and kills them, without importing torch each time (a program)
many_classes  a course of many classes
narrow        makes networks narrow, so that tests are fast
noise         a pool of random pictures
own_images    a folder of images as users have it
person        a participant in a browser
runs          runs scripts, one by one or as a family, on a small dataset
"""
