"""A trained run on any CT: overlapping patches, blended, brought back to native geometry.

A checkpoint and a CT come in; labels in the CT's geometry go out, with scores where there is a reference.
"""
