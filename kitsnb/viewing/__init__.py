"""Looking at cases: a page for any browser (``show``, ``site``), and pictures of a run's worst, median and best case.

In flow NIfTI files, as they are, and what a build holds. Out flow figures and folders of static files; nothing here
changes a result.
"""
