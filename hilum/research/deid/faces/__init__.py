"""Faces are taken off volumes of heads: the volume of a series (``volume``), where the template's head lies in it
(``registration``, ``template``), what of each frame goes (``step``), and a file without it (``removal``)."""
