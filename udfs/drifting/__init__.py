"""When what models see, what they promise and what comes of it is no more what it was."""
