"""The rows of image_occurrence, one a series."""
