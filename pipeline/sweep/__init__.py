"""``make sweep``: subjects x areas x seeds, each run by itself, on this machine or through Slurm.

A run is what ``make all`` does with a subject, an area and a seed, in folders of its own. Dask
hands runs to workers; here are the two places where workers come from (:mod:`.engines`), what a
worker does (:mod:`.tasks`), who waits for what (:mod:`.fanout`), and the table over subjects
(:mod:`.gather`). What is up to date is not run again, so the same command after a failure repeats
only what failed.
"""
