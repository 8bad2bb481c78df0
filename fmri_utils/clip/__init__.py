"""CLIP space: the networks that open it, and how a joint embedding is learned."""
