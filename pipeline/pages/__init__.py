"""The executed collection as pages that can be read without Python and without a network."""
