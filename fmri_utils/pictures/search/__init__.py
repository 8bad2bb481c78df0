"""The noise vector: which of the pictures that LAFITE can draw for an embedding is meant?

The embedding leaves open what the noise vector z and the noise images decide. Here both are
searched for, so that the CLIP embedding of the picture comes close to the one that was predicted
from brain activity, and on request its colours to a blurred picture predicted from V1 to V3.

* :func:`best_of_n`: draw many, keep the one that agrees best;
* :func:`optimise_z`: follow the gradient with respect to z, kept where a normal z would be;
* :func:`optimise_noise`: the same with respect to the noise images, kept white.

The network that a picture was optimised for cannot score it: every score here is an objective. Use
scores that the search did not see (:mod:`fmri_utils.metrics.judge`, pixels). Costs are counted in
*generator passes* per picture: drawing is one, a gradient step three (one forward, and about two
for the way back).
"""

from .low_level import Blurred, enlarge, read_blurred
from .methods import best_of_n, optimise_noise, optimise_z
from .priors import typical_range
from .problem import steps_within
from .search_goal import Objective, clip_encoder, make_target
