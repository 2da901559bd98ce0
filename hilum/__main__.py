"""``python -m hilum``."""

from hilum.cli import main

main()
