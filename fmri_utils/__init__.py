"""Reconstruct what a person saw from fMRI, and ask what each voxel contributed.

What the notebooks import. The rooms: ``project`` (what a run is, what it leaves), ``nsd`` (reading
the Natural Scenes Dataset), ``clip`` and ``encoders`` (fMRI to CLIP space), ``lafite`` and
``pictures`` (CLIP space to picture), ``perturbation`` (leave one voxel out), ``visual_areas``
(groups of voxels), ``dino`` (student and teacher), ``metrics``, ``plots`` and ``explorer``.
"""

__version__ = "0.1.0"
