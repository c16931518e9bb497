"""What runs, why, and where: a profile comes in; executed notebooks and a paper come out.

Jobs follow from the profile, receipts say which are out of date, and nothing finished is done twice. A notebook opens
the study of a profile by ``open_study``, whoever executes it.
"""

import lazy_loader

#: Imported when it is asked for: the command line stays fast.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"opened": ["open_study"]})
