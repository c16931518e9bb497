"""What runs, why, and where: a profile comes in; executed notebooks and a paper come out.

Jobs follow from the profile, receipts say which are out of date, and nothing finished is done twice. A notebook opens
the study of a profile by ``opened.open_study``, whoever executes it.
"""
