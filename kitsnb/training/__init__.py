"""One run: preprocessed volumes and settings come in; checkpoints and a history of epochs go out.

Patches are drawn on the device, an interrupted run goes on where it was, and one run can use several devices.
"""
