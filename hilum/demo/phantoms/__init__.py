"""Anatomy in millimetres: a drawing surface for volumes and one for projections, and a module for each part of the body
or machine. Arrays come out; what DICOM says about them is decided in ``hilum.demo.exams``."""
