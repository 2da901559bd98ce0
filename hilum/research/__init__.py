"""Research: what leaves the archive for research, and what reads it there. It stands on the rooms of clinic and
imaging."""
