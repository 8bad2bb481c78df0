"""A simulated subject, from drawn pictures to the files of the Natural Scenes Dataset.

Written in NSD's layout, for any of its eight subjects: the design (``nsd_expdesign.mat``, the table
of stimuli, responses, design matrices), stimuli, captions of both COCO splits, betas in both
formats and three versions with their ``meanbeta``, ``R2`` and ``ncsnr`` maps, brain mask, mean and
T1 volumes, ``valid_sessionNN``, pRF maps, t values of the localizer, and the atlases nsdgeneral,
prf-visualrois, prf-eccrois, floc-*, streams, Kastner2015 and HCP_MMP1 with their tables of names
(the subject's and fsaverage's).

Not simulated: the 1 mm space, surfaces, time series, anatomical volumes and transforms, HRF maps,
the atlases corticalsulc, visualsulc, MTL and thalamus (there is no hippocampus or thalamus), and
COCO's instances and key points.
"""
