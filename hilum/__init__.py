"""Hilum: the gate through which medical imaging enters clinical research."""

__version__ = "0.1.0"
