"""``make sweep``: subjects x areas x seeds, each run by itself, on this machine or on a cluster.

A run is what ``make all`` does with a subject, an area and a seed, in folders of its own. The
engine does all of them by the same rules; here are the list of runs (:mod:`.runs`), the table over
subjects (:mod:`.gather`), and an atlas in blocks (:mod:`.atlas`). What is up to date is not run
again, so the same command after a failure repeats only what failed.
"""
