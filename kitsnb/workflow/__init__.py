"""What runs, why, and where: a profile comes in; executed notebooks and a paper come out.

Jobs follow from the profile, stamps say which are out of date, and nothing finished is done twice.
"""
