"""Forwarding: rules that send arriving instances, or completed studies, on to other archives by STOW-RS or C-STORE.

What arrives is told by events; what is to be sent waits in a table and is sent by the workers. What is stored, and how
an instance is converted, is the archive's."""
