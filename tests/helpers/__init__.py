"""What tests call.

answering     what is a page's key, and a file of answers to it?
archives      what do the published archives look like when small, and who serves them?
axe           what does a checker of accessibility find wrong with a page?
collecting    what is a built page without pictures, and what does it send to the collecting server?
drawn_course  what is a course without any network?
forker        how are scripts run, and killed, without importing torch each time? (a program)
narrow        how does a network become small, so that a test is fast?
own_images    what is a folder of images as people have them?
person        what does someone in front of a browser do?
ranks         how are scripts run as several processes? (a program)
runs          how are scripts run, one by one and as a family, on the small dataset?
"""
