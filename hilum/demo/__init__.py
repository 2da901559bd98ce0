"""The demo: invented persons with imaging studies of phantoms, made in seconds, never downloaded. This room writes
files and knows nothing of servers or databases; the command `hilum demo` imports what it made."""

from hilum.demo.make import DemoManifest, make, real_files

__all__ = ["DemoManifest", "make", "real_files"]
