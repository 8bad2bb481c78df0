"""Is the mapper reading the brain? Controls that tell decoding from guessing and from leaking.

Every control is a set of predicted embeddings of the same test images, so that all of them stand in
one table (:func:`validity_table`) and one figure:

* a *pairing oracle*: the true embeddings must retrieve everything, and shifted by one image
  nothing;
* *shuffled pairing*: the whole fit repeated with embeddings of other images must be at chance;
* *leave-cluster-out*: tested on a kind of image that was never trained on (Shirakawa et al. 2024,
  "Spurious reconstruction", arXiv 2405.10078);
* *classifier plus prototype*: what is left if only the category is read;
* *bottleneck*: how few dimensions of brain information reach the score (BrainBits, Mayo et al.
  2024, arXiv 2411.02783).
"""

from .baselines import bottleneck, fit_prototypes
from .control_table import SCORES, chance_levels, scores_per_image, validity_table
from .pairing_controls import Fit, fitter, leave_clusters_out, pairing_oracle, shuffle_pairing
