"""Data sets that are shared. ``definition`` says what belongs to one, ``selection`` finds it, ``plan`` freezes it as a
version, ``make`` de-identifies its instances, ``assemble`` writes the tables around them and the manifest,
``checklist`` looks at the whole. People look at pixels in ``review``, and their ``decisions`` are part of the next
version; ``viewing`` shows a version over DICOMweb, ``crosswalk`` tells who is who to those who may know. A version is
made by a job that may be killed anywhere; the same definition and data come to the same bytes. How an attribute is
treated is for ``hilum.research.deid``."""
