"""The human half: the course page, the server that collects answers, and labels made of them."""
