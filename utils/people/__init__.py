"""The course page, people's answers to it, their labels, and simulated people."""
