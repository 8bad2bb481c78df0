"""Reconstruct what a person saw from fMRI, and ask what each voxel contributed.

The rooms: ``profiles`` and ``artifacts`` (what a run is, what it leaves), ``nsd`` (reading the
Natural Scenes Dataset), ``simulation`` (a simulated subject in NSD's own layout), ``clip_space``
and ``encoders`` (fMRI to CLIP), ``lafite`` (CLIP to picture), ``perturbation`` (leave one voxel
out), ``metrics``, ``plots``, and ``runner`` (the notebooks, headlessly).
"""

__version__ = "0.1.0"
