"""``make study``, encoders: every mapper, five seeds, several simulated subjects, all controls.

Each cell of the study (one fit or one control, of one subject and seed) is a small file of its own.
A study that was killed goes on after its last finished cell; the summary reads the cells.
"""
