"""Download data sets, or the part of them that is needed; ``make nsd-download``.

Nothing is fetched before the user has confirmed the dataset's terms (:mod:`.consent`). Whole files
are resumed and checked (:mod:`.transfer`); betas can be fetched for single areas, out of the files
on the server (:mod:`.area_betas`); stimuli can be cropped from COCO's photographs (:mod:`.coco`).
``make bold5000-download`` brings BOLD5000 by the same means (:mod:`.bold5000`).
"""
