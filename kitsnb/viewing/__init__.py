"""Looking at cases: pictures that stand still, a widget for JupyterLab, and pages for any browser.

In flow NIfTI files, as they are, and what a build holds. Out flow figures, the widget, and folders of static files;
nothing here changes a result.
"""
