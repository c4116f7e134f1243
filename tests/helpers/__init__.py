"""What tests call.

axe           what does a checker of accessibility find wrong with a page?
drawn_course  what is a course without any network?
forker        how are scripts run, and killed, without importing torch each time? (a program)
ranks         how are they run as several processes? (a program)
narrow        how does a network become small, so that a test is fast?
"""
