"""A package with an optimizer of its own making; a script beside it makes another."""
