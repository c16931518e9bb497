"""What notebook 06 needs: each module compares one part of kitsnb with its peers, which only tests and ``make bench``
install.
"""
