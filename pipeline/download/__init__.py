"""Download the Natural Scenes Dataset, or the part of it that is needed; ``make nsd-download``.

Nothing is fetched before the user has confirmed the dataset's terms (:mod:`.consent`). Whole files
are resumed and checked (:mod:`.transfer`); betas can be fetched for single areas, out of the files
on the server (:mod:`.area_betas`); stimuli can be cropped from COCO's photographs (:mod:`.coco`).
"""
