"""Looking at cases: pictures that stand still, and pages for any browser; widgets for JupyterLab are built upon it.

In flow NIfTI files, as they are, and what a build holds. Out flow figures and folders of static files; nothing here
changes a result.
"""
