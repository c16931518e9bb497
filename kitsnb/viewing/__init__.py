"""Looking at cases and runs: pictures that stand still, widgets for JupyterLab, and a page for any browser.

In flow NIfTI files, as they are, and what a build holds: predictions, scores, histories. Out flow figures, widgets, and
folders of static files; nothing here changes a result.
"""
