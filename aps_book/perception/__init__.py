"""How real pictures look to networks that were trained on photographs: FID, KID and LPIPS.

The two distances between sets of features need NumPy and SciPy alone, LPIPS its weights (`aps data fetch
lpips`), the features of Inception their network (`fetch inception`) and torch (the optional extra `perception`, or `pip
install torch`).
"""

from aps_book.perception.alexnet import lpips
from aps_book.perception.distances import KernelDistance, Moments, frechet_distance, frechet_without, kernel_distance
from aps_book.perception.inception import inception_features

__all__ = [
    "KernelDistance",
    "Moments",
    "frechet_distance",
    "frechet_without",
    "inception_features",
    "kernel_distance",
    "lpips",
]
