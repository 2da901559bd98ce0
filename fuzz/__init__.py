"""Coverage-guided fuzzing of what reads foreign bytes, run by hand (``scripts/fuzz``); nothing else needs it."""
