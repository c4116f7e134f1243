"""Selections of a course, students, the teaching loop and the files of a course."""
