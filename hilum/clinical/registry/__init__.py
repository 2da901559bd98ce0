"""CHoRUS's image_registry: a row a file."""
