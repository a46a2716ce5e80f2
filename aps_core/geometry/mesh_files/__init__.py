"""Readers of mesh files, one file each: bytes to vertices and polygons in the order of the file.

Readers of meshes for rendering split a vertex that has two materials, normals or texture coordinates, and reorder; a
signal has one number for each vertex of the file, so these do neither. Each has ``read(content)`` -> vertices (n, 3)
float64, the vertex numbers of all polygons one after the other, counted from 0, and how many corners each has; it
raises ValueError that says where the content departs from its format.
"""

from aps_core.geometry.mesh_files import obj, off, ply, stl

READERS = {".obj": obj.read, ".ply": ply.read, ".off": off.read, ".stl": stl.read}
