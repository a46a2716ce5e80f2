"""Shapes that signals live on: the sphere, triangle meshes, and images projected on them."""
