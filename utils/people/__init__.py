"""The human half: the course page, the answers of people, labels made of them, and simulated people."""
