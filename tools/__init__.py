"""Programs for working on the project; nothing of it is part of the product."""
