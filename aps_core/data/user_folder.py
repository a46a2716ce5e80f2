"""The folder of the user's own data, APS_DATA_DIR: what may lie in it, and what is done where a data set does not."""

import os
import warnings
from pathlib import Path

# data set -> files and folders that belong to it, of which one is enough to say that the user meant to bring it
LAYOUTS = {
    "celeba": (
        *("index.csv", "celeba32", "img_align_celeba", "img_align_celeba.zip", "list_eval_partition.txt"),
        *("celeba/img_align_celeba", "celeba/img_align_celeba.zip", "celeba/list_eval_partition.txt"),
    ),
    "lfw": ("lfw32",),
    "era5-frames": ("era5_real_5frames_46x90.npz", "temperature/era5_real_5frames_46x90.npz"),
    "bunny": tuple(f"{below}bun_zipper_res3.ply" for below in ("", "bunny/", "bunny/reconstruction/")),
    "mnist": (
        "mnist",
        *(f"{part}-{kind}-ubyte*" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")),
    ),
    "cifar10": ("cifar10", "data_batch_[1-5].png", "test_batch.png"),
    "inception": ("inception", "default_1.pt"),
    "lpips": ("lpips", "alexnet.ckpt"),
}


def user_folder():
    """APS_DATA_DIR as a Path, None where it is not set. Raises FileNotFoundError where it names no folder."""
    named = os.environ.get("APS_DATA_DIR")
    if not named:
        return None
    if not Path(named).is_dir():
        raise FileNotFoundError(
            f"APS_DATA_DIR is {named!r}, which is no folder; set it to one that exists, or unset it"
        )
    return Path(named)


def brought(folder):
    """Names of the data sets of which something lies in ``folder``."""
    return [name for name, parts in LAYOUTS.items() if any(any(folder.glob(part)) for part in parts)]


def may_fall_back(name, instead, error):
    """Let ``instead`` stand in for data set ``name``, which was not found (``error`` says how it was looked for).

    Without APS_DATA_DIR nothing is said. Where it is set for other data sets alone, a warning says what was looked for
    and what is used. Raises FileNotFoundError where the folder holds a part of ``name``, or nothing of any data set:
    then the user meant it to be read.
    """
    folder = user_folder()
    if folder is None:
        return
    found = brought(folder)
    if name in found:
        raise FileNotFoundError(f"{folder} (APS_DATA_DIR) holds a part of {name} only. {error}")
    if not found:
        raise FileNotFoundError(
            f"APS_DATA_DIR is {str(folder)!r}, which holds no data set in a known layout. {error}. "
            f"Unset APS_DATA_DIR to use {instead}"
        )
    warnings.warn(
        f"{instead} is used: APS_DATA_DIR is {str(folder)!r} and holds {', '.join(found)}, but not {name}. {error}",
        stacklevel=3,
    )


def warn_if_useless(name):
    """Warn where APS_DATA_DIR is set but nothing of it can be used, when a data set is read that comes with the package."""
    folder = Path(os.environ.get("APS_DATA_DIR") or ".")
    if os.environ.get("APS_DATA_DIR") and not (folder.is_dir() and brought(folder)):
        state = "holds no data set in a known layout" if folder.is_dir() else "is no folder"
        warnings.warn(
            f"APS_DATA_DIR is {str(folder)!r}, which {state}; nothing of it is used. {name} comes with the package",
            stacklevel=3,
        )
