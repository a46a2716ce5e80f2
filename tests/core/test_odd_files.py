"""Files and arrays outside the documented form: read rightly, or refused by a message that names file, value and
expectation.
"""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aps_core import data
from aps_core.checks import real
from aps_core.data import celeba, era5, unpacking
from aps_core.data._pictures import read_picture
from aps_core.data.temperature import from_kelvin, to_kelvin
from aps_core.geometry import projection, sphere
from aps_core.geometry.mesh import TriangleMesh
from aps_core.metrics import quality
from aps_core.operators import AveragePool, FixedMask, Identity, Measurement
from aps_core.posterior import gaussian_posterior
from aps_core.priors.gaussian import fit_gaussian
from aps_core.priors.mixture import gaussian_mixture
from aps_core.tasks.problem import Task

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (218, 178), dtype=np.uint8)


def packed(picture, form="PNG", **options):
    """The bytes of a PIL picture."""
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def pixels_of(picture, form="PNG", **options):
    return np.asarray(read_picture(packed(picture, form, **options), "a.png"))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_not_white(form):
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels_of(deep, form), np.repeat(GREY[..., None], 3, axis=2))
    halves = Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))
    assert pixels_of(halves, form)[0, :, 0].tolist() == [0, 128, 255]


def tiff(samples, bits, *more, width=None, bands=1):
    """A TIFF in one strip of the bytes ``samples``, one row of ``width`` pixels; ``more`` tags as (number, value)."""
    width = width or len(samples) * 8 // bits // bands
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: 1, 273: 0, 277: bands, 278: 1, 279: len(samples), **dict(more)}
    tags[273] = 10 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + samples


def first_row(content):
    return np.asarray(read_picture(content, "a.png"))[0, :, 0].tolist()


def test_grey_of_a_tiff_is_what_it_shows():
    twelve = bytes([0x00, 0x08, 0x00, 0xBB, 0x8F, 0xFF])  # 0, 2048, 3000, 4095
    assert first_row(tiff(twelve, 12)) == [0, 128, 187, 255]
    sixteen = struct.pack("<4H", 0, 32768, 40000, 65535)
    assert first_row(tiff(sixteen, 16)) == [0, 128, 156, 255]
    assert first_row(tiff(sixteen, 16, (262, 0))) == [255, 127, 99, 0]  # its 0 is white
    assert first_row(tiff(bytes([0, 128, 200, 255]), 8, (262, 0))) == [255, 127, 55, 0]
    assert first_row(tiff(bytes([0x1F]), 4, (262, 0))) == [238, 0]


def png(row, bits, colour, key=()):
    """A PNG of one row, of the bytes ``row`` or its 16-bit samples, with the transparent colour ``key``."""
    row = row if isinstance(row, bytes) else struct.pack(f">{len(row)}H", *row)
    bands = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    head = struct.pack(">II5B", len(row) * 8 // bits // bands, 1, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", zlib.compress(b"\0" + row))]
    chunks = [(kind, body) for kind, body in [*chunks, (b"IEND", b"")] if kind != b"tRNS" or key]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize(
    ("hides", "shows", "expected"),
    [
        (png([5, 300], 16, 0, [300]), png([5, 300], 16, 0, [301]), [0, 1]),
        (png(b"\x1b", 2, 0, [2]), png(b"\x14", 2, 0, [2]), [0, 85, 85, 0]),
        (png(b"\x1f", 4, 0, [15]), png(b"\x1f", 4, 0, [3]), [17, 255]),
        (png(b"\x80", 1, 0, [1]), png(b"\xff", 1, 0, [0]), [255] * 8),
        (png(b"\x05\x06", 8, 0, [6]), png(b"\x05\x06", 8, 0, [7]), [5, 6]),
        (png([500, 600, 700], 16, 2, [500, 600, 700]), png([500, 600, 700], 16, 2, [500, 600, 701]), [2]),
        (png(b"\x05\x06\x07", 8, 2, [5, 6, 7]), png(b"\x05\x06\x07", 8, 2, [5, 6, 8]), [5]),
        (png([40000, 65500], 16, 4), png([40000, 65535], 16, 4), [156]),
        (png([40000, 0, 9, 65300], 16, 6), png([40000, 0, 9, 65535], 16, 6), [156]),
    ],
    ids=["16 grey", "2 grey", "4 grey", "1 grey", "8 grey", "16 rgb", "8 rgb", "16 la", "16 rgba"],
)
def test_transparent_pixels_are_seen_in_all_their_bits(hides, shows, expected):
    with pytest.raises(ValueError, match=r"a.png has \d transparent pixels"):
        read_picture(hides, "a.png")
    assert first_row(shows) == expected


def test_16_bit_colour_with_alpha_is_read_pixel_by_pixel():
    samples = RNG.integers(0, 65536, (5, 4), dtype=np.uint16)
    for alpha in (65535, 65300):
        samples[:, 3] = alpha
        content = png(samples.ravel().tolist(), 16, 6)
        if alpha == 65535:
            read = np.asarray(read_picture(content, "a.png"))[0]
            np.testing.assert_array_equal(read, np.rint(samples[:, :3] / 257))
        else:
            with pytest.raises(ValueError, match="5 transparent pixels"):
                read_picture(content, "a.png")


def test_grey_palette_and_opaque_alpha_are_what_they_show():
    colour = Image.fromarray(RNG.integers(0, 8, (8, 8, 3), dtype=np.uint8) * 36)
    rgb = np.asarray(colour)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(GREY)), np.repeat(GREY[..., None], 3, axis=2))
    np.testing.assert_array_equal(pixels_of(colour.convert("RGBA")), rgb)
    few = colour.quantize(256)
    np.testing.assert_array_equal(pixels_of(few), np.asarray(few.convert("RGB")))
    np.testing.assert_array_equal(pixels_of(Image.fromarray(GREY > 99))[..., 1], 255 * (GREY > 99))


def test_a_picture_that_says_it_lies_on_its_side_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = read_picture(packed(Image.fromarray(GREY.T), exif=exif), "a.png", size=(218, 178)[::-1])
    np.testing.assert_array_equal(np.asarray(turned)[..., 0], GREY[:, ::-1])


LAID = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}  # how a picture lies in a file of each EXIF orientation


@pytest.mark.parametrize("orientation", LAID)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_upright_in_every_orientation(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif, **({"lossless": True} if form == "WEBP" else {})}
    for grey in (GREY, GREY.astype(np.uint16) * 257) if form != "WEBP" else (GREY,):
        upright, sideways = (
            packed(Image.fromarray(np.ascontiguousarray(LAID[orientation](a))), form, **options) for a in (grey, grey.T)
        )
        np.testing.assert_array_equal(np.asarray(read_picture(upright, "a.png", (178, 218)))[..., 0], GREY)
        with pytest.raises(ValueError, match="a.png has 218 x 178 pixels, expected 178 x 218"):
            read_picture(sideways, "a.png", (178, 218))


RGBA = np.dstack([np.full((8, 8, 3), 90, np.uint8), np.where(np.eye(8), 128, 255).astype(np.uint8)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(Image.fromarray(RGBA)), "a.png has 8 transparent pixels"),
        (packed(Image.fromarray(GREY).convert("P"), transparency=7), "transparent pixels"),
        (
            packed(Image.fromarray(RGBA[..., :3]).convert("CMYK"), "JPEG"),
            "a.png is a picture of mode CMYK, expected 8-bit RGB",
        ),
        (packed(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "mode F"),
        (packed(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "mode I,"),
        (tiff(bytes([128, 0, 5, 127]), 8, (339, 2)), "a.png has signed samples, expected numbers from 0 up"),
        (tiff(bytes(6), 16, (262, 2), (284, 2), bands=3), "more than 8 bits in separate planes"),
        (packed(Image.fromarray(GREY), "JPEG")[:-2000], "a.png cannot be read as a picture: .*truncated"),
        (packed(Image.fromarray(GREY))[:-2000], "a.png cannot be read as a picture"),
        (packed(Image.fromarray(GREY))[:60], "a.png cannot be read as a picture"),
        (packed(Image.fromarray(GREY), "WEBP", lossless=True)[:-2000], "a.png cannot be read as a picture"),
        (
            packed(Image.fromarray(GREY), "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
            "has 2 frames",
        ),
        (b"", "its format is not known"),
        (b"\xff\xd8\xff", "cannot be read as a picture"),
    ],
)
def test_pictures_that_would_be_guessed_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        read_picture(content, "a.png")


def test_a_small_file_that_claims_a_huge_picture_is_refused():
    for side, message in ((8300, "8300 x 8300 pixels, more than the limit of 67,108,864"), (20_000, "exceeds limit")):
        claims = packed(Image.new("1", (side, side)))
        assert len(claims) < 100_000
        with pytest.raises(ValueError, match=f"a.png .*{message}"):
            read_picture(claims, "a.png")


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """A folder of three aligned images of one grey level each, 10 in train, 20 in val, 30 in test."""
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", celeba.ALIGNED, (10 * number,) * 3).save(folder / f"{number:06d}.png")
    (tmp_path / "list_eval_partition.txt").write_text("000001.png 0\n000002.png 1\n000003.png 2\n")
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    return tmp_path


def test_partitions_with_byte_order_mark_and_windows_lines(faces):
    (faces / "list_eval_partition.txt").write_bytes("\ufeff000003.png 0\r\n\r\n000001.png 2\r\n".encode())
    assert data.load("celeba", "test").index["image"].tolist() == [1]
    np.testing.assert_allclose(data.load("celeba", "train").values, 30 / 255, atol=1e-6)


@pytest.mark.parametrize("bad", ["-1", "3", "test", "0 7", "1.0", ""])
def test_partitions_that_do_not_exist_are_named(faces, bad):
    (faces / "list_eval_partition.txt").write_text(f"000001.png 0\n000002.png {bad}\n000003.png 2\n")
    with pytest.raises(
        ValueError, match=rf"list_eval_partition.txt, line 2: '000002.png ?{bad}', expected .* 2 \(test\)"
    ):
        data.load("celeba", "test")


@pytest.mark.parametrize("size", [(256, 256), (178, 217), (1024, 1024), (140, 140)])
def test_faces_of_another_size_are_not_cut(faces, size):
    Image.new("RGB", size).save(faces / "img_align_celeba" / "000003.png")
    with pytest.raises(ValueError, match=rf"000003.png has {size[0]} x {size[1]} pixels, expected 178 x 218"):
        data.load("celeba", "test")


def test_a_missing_or_damaged_face_is_named(faces):
    picture = faces / "img_align_celeba" / "000003.png"
    picture.write_bytes(packed(Image.fromarray(RNG.integers(0, 256, (218, 178, 3), dtype=np.uint8)))[:-5000])
    with pytest.raises(ValueError, match=r"000003.png cannot be read as a picture"):
        data.load("celeba", "test")
    picture.unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*000003.png"):
        data.load("celeba", "test")
    with pytest.raises(ValueError, match=r"limit must be at least 1, got -1"):
        data.pixels("celeba", "test", -1)


def zip_faces(faces):
    with zipfile.ZipFile(faces / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (faces / "img_align_celeba").iterdir():
            archive.write(path, f"img_align_celeba/{path.name}")
            path.unlink()
    (faces / "img_align_celeba").rmdir()
    return faces / "img_align_celeba.zip"


def test_damaged_zips_are_named(faces):
    path = zip_faces(faces)
    assert data.load("celeba", "val").index["image"].tolist() == [2]
    content = bytearray(path.read_bytes())
    for at in range(60, 200):
        content[at] ^= 0x55
    for damaged in (bytes(content), path.read_bytes()[:-30], b"PK"):
        path.write_bytes(damaged)
        with pytest.raises((ValueError, FileNotFoundError), match=r"img_align_celeba.zip"):
            data.load("celeba", "train")
            data.load("celeba", "val")
            data.load("celeba", "test")


def write_index(folder, rows, head="atlas,tile,image_id,identity,split", end="\n", mark=""):
    tiles = RNG.integers(0, 256, (32, 3200, 3), dtype=np.uint8)
    Image.fromarray(tiles).save(folder / "a.webp", lossless=True)
    (folder / "index.csv").write_bytes((mark + end.join([head, *rows]) + end).encode())
    return tiles


def test_index_of_atlases_with_byte_order_mark_and_windows_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    tiles = write_index(tmp_path, ["a.webp,3,7,1,test", "a.webp,0,8,1,train"], end="\r\n", mark="\ufeff")
    found, sha = data.pixels("celeba", "test")
    np.testing.assert_array_equal(found, tiles[None, :, 96:128])
    assert data.load("celeba", "test").index["image"].tolist() == [7] and len(sha) == 64


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.webp,-1,7,1,test", "line 3: .*tile '-1'"),
        ("a.webp,100,7,1,test", "names tile 100 of .*a.webp, expected 0 to 99"),
        ("a.webp,1,x,1,test", "line 3: .*image_id 'x'"),
        ("a.webp,1,7,1,Test", "line 3: .*split 'Test'; expected .*'test'"),
        ("../a.webp,1,7,1,test", "line 3: atlas '../a.webp'"),
        ("a.webp,1", "line 3"),
        ("b.webp,1,7,1,test", "no atlas .*b.webp"),
    ],
)
def test_index_rows_that_name_nothing_are_refused(tmp_path, monkeypatch, row, message):
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    write_index(tmp_path, ["a.webp,3,7,1,test", row])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        data.load("celeba", "test")


def test_index_of_another_form_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    write_index(tmp_path, ["a.webp;3;7;1;test"], head="atlas;tile;image_id;identity;split")
    with pytest.raises(ValueError, match=r"index.csv has the columns .* without \['atlas'"):
        data.load("celeba", "test")
    (tmp_path / "index.csv").write_bytes("atlas,tile".encode("utf-16"))
    with pytest.raises(ValueError, match=r"index.csv is no text in UTF-8"):
        data.load("celeba", "test")
    write_index(tmp_path, ["a.webp,3,7,1,test"])
    with pytest.raises(ValueError, match=r"index.csv has no image of split 'val'"):
        data.load("celeba", "val")


FIELDS = {
    "temperature": np.full((3, 46, 90), 280.0),
    "latitude": sphere.LATITUDE,
    "longitude": sphere.LONGITUDE,
    "test_index": np.arange(3),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_index": np.arange(2)}, r"test_index in .* has shape \(2,\) of int64, expected \(3,\) whole numbers"),
        ({"test_index": np.arange(3.0)}, "of float64"),
        ({"test_index": np.zeros((3, 1), int)}, r"shape \(3, 1\)"),
        (
            {"temperature": np.full((3, 46, 90), 280 + 1j)},
            "temperature in .* holds complex128, expected floating-point",
        ),
        ({"temperature": np.full((3, 46, 90), 280)}, "holds int64"),
        ({"temperature": np.full((3, 46, 90), "280")}, "holds <U3"),
        ({"temperature": np.full((0, 46, 90), 280.0)}, r"shape \(0, 46, 90\), expected \(n, 46, 90\) of at least one"),
        ({"temperature": np.where(np.arange(90) == 5, np.nan, FIELDS["temperature"])}, "expected kelvin"),
        ({"latitude": sphere.LATITUDE.astype(str)}, "latitude in .* expected degrees"),
        ({"latitude": sphere.LATITUDE + 1j}, "latitude in .* holds complex128"),
        (
            {"temperature": np.array([None] * 4140 * 3, object).reshape(3, 46, 90)},
            "cannot be read as .npz.*temperature",
        ),
    ],
)
def test_fields_of_another_form_are_refused(tmp_path, monkeypatch, changes, message):
    np.savez(tmp_path / era5.FILE, **{**FIELDS, **changes})
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        data.load("era5-frames", "test")


def test_damaged_fields_are_named(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / era5.FILE, **{**FIELDS, "temperature": RNG.uniform(250, 300, (3, 46, 90))})
    content = bytearray((tmp_path / era5.FILE).read_bytes())
    for at in range(2000, 2100):
        content[at] ^= 0xFF
    (tmp_path / era5.FILE).write_bytes(bytes(content))
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=f"{era5.FILE} .*cannot be read as .npz|{era5.FILE} cannot be read as .npz"):
        data.load("era5-frames", "test")


# Decompression: what is small outside and large inside.
BIG = 50_000_000


def test_unpacking_stops_at_the_limit(tmp_path):
    zeros = bytes(BIG)
    (tmp_path / "a.gz").write_bytes(gzip.compress(zeros))
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(BIG // 8), b=np.zeros(BIG // 8))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", zeros)
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        entry = tarfile.TarInfo("other")
        entry.size = BIG
        tar.addfile(entry, io.BytesIO(zeros))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 150_000
    limit = BIG - 1
    for unpack in (
        lambda: unpacking.gunzip(tmp_path / "a.gz", limit),
        lambda: unpacking.read_npz(tmp_path / "a.npz", limit=limit),
        lambda: unpacking.unzip_member(zipfile.ZipFile(tmp_path / "a.zip"), "a", limit),
        lambda: unpacking.tar_members(tmp_path / "a.tgz", lambda name: name == "a", limit),
    ):
        with pytest.raises(ValueError, match=r"a\.(gz|npz|zip|tgz).* unpacks to more than 49,999,999 bytes, the limit"):
            unpack()
    assert len(unpacking.gunzip(tmp_path / "a.gz", BIG)) == BIG


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue())
    with pytest.raises(ValueError, match=r"a.npz cannot be read as .npz: array x.npy"):
        unpacking.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("names", [("y.npy", "y.npy"), ("y.npy", "y")])
def test_an_array_that_stands_twice_is_refused(tmp_path, names):
    content = io.BytesIO()
    np.save(content, np.zeros(2))
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in names:
            archive.writestr(name, content.getvalue())
    with pytest.raises(ValueError, match="a.npz cannot be read as .npz: array 'y' stands twice"):
        unpacking.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["cut", "changed", "other", "empty"])
def test_damaged_archives_are_value_errors(tmp_path, damage):
    content = gzip.compress(RNG.bytes(5000) + bytes(5000))
    changed = content[:3000] + bytes([content[3000] ^ 1]) + content[3001:]
    bad = {"cut": content[:-100], "changed": changed, "other": zlib.compress(b"x" * 100), "empty": b""}[damage]
    (tmp_path / "a.gz").write_bytes(bad)
    if damage != "empty":  # an empty gzip file unpacks to nothing
        with pytest.raises(ValueError, match=r"a\.gz cannot be read as gzip"):
            unpacking.gunzip(tmp_path / "a.gz")
    with pytest.raises(ValueError, match=r"a\.gz cannot be read as tar"):
        unpacking.tar_members(tmp_path / "a.gz", bool)


SMALL = Image.fromarray(GREY[:24, :20])
WHOLE = {form: packed(SMALL, form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")}
np.savez_compressed(ARRAYS := io.BytesIO(), a=np.arange(100.0), b=np.ones((3, 4)))
WHOLE["npz"] = ARRAYS.getvalue()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_bytes_are_read_or_a_value_error_that_names_the_file(form, data):
    content = WHOLE[form]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content = content[:at] + data.draw(st.binary(max_size=4)) + content[at + data.draw(st.integers(0, 4)) :]
    try:
        unpacking.read_npz(content, "a.file") if form == "npz" else read_picture(content, "a.file")
    except ValueError as error:
        assert "a.file" in str(error)


# Arrays


def hides(*shape):
    """A masked array of fill values that hides its first entry."""
    values = np.ma.masked_array(np.full(shape, 0.5), np.zeros(shape, bool))
    values[(0,) * len(shape)] = np.ma.masked
    values.data[(0,) * len(shape)] = -32767
    return values


@pytest.fixture(scope="module")
def task():
    draws = RNG.uniform(size=(40, 4, 4))
    return Task(Identity((4, 4)), 0.1, fit_gaussian(draws, 16, diagonal=0.01), draws)


def test_masked_arrays_are_refused_wherever_they_come_in(task):
    plain, posterior = np.full((4, 4), 0.5), gaussian_posterior(task)
    seen = Measurement(plain, None)
    for name, call in {
        "y": lambda: Measurement(hides(4, 4), None),
        "mask": lambda: Measurement(plain, hides(4, 4)),
        "signals": lambda: Task(task.operator, 0.1, task.prior, hides(3, 4, 4)),
        r"signals\('test'\)": lambda: Task(task.operator, 0.1, task.prior, lambda split: hides(3, 4, 4)).signals(
            "test"
        ),
        "x0": lambda: task.measure(jax.random.key(0), hides(4, 4)),
        "x": lambda: posterior.log_prob(hides(2, 4, 4), seen),
        "^x": lambda: AveragePool((4, 4), 2)(hides(4, 4)),
        "signals ": lambda: fit_gaussian(hides(9, 4), 2),
        "means": lambda: gaussian_mixture([1.0], hides(1, 2), np.eye(2)[None]),
        "samples": lambda: quality.energy_score(hides(3, 4), np.zeros(4)),
        "kelvin": lambda: from_kelvin(hides(46, 90)),
        "vertices": lambda: TriangleMesh(hides(3, 3), np.array([[0, 1, 2]])),
        "images": lambda: projection.project(hides(1, 28, 28), np.zeros((2, 2))),
        "y ": lambda: sphere.check_orientation(hides(46, 90), None, np.zeros((12, 46, 90))),
    }.items():
        with pytest.raises(ValueError, match=f"{name}.*is a masked array that hides 1 of"):
            call()
    with pytest.raises(ValueError, match="is a masked array"):
        FixedMask(hides(4, 4))
    assert real("y", np.ma.masked_array([1.0, 2.0])).tolist() == [1, 2]  # hides nothing


def test_complex_and_missing_numbers_are_refused(task):
    posterior, seen = gaussian_posterior(task), Measurement(np.full((4, 4), 0.5), None)
    with pytest.raises(TypeError, match=r"x holds complex numbers \(complex128\), expected real ones"):
        posterior.log_prob(np.full((2, 4, 4), 1j), seen)
    with pytest.raises(TypeError, match="signals holds complex numbers"):
        Task(task.operator, 0.1, task.prior, np.full((3, 4, 4), 1j))
    with pytest.raises(ValueError, match="signals hold 1 of 3 signals that are not finite"):
        Task(task.operator, 0.1, task.prior, np.where(np.arange(48).reshape(3, 4, 4) == 5, np.nan, 0.5))
    with pytest.raises(ValueError, match="signals hold 4 entries that are not finite"):
        fit_gaussian(np.where(np.eye(4), np.inf, 0.5), 2)
    for convert in (from_kelvin, to_kelvin):
        with pytest.raises(TypeError, match="holds complex numbers"):
            convert(np.array([280 + 0j]))


# APS_DATA_DIR

STAND_INS = [("faces", "prior-faces", "celeba"), ("photos", "prior-cifar10", "cifar10")]


@pytest.mark.parametrize(("name", "instead", "wanted"), STAND_INS)
def test_a_folder_that_is_set_is_never_passed_over_without_a_word(tmp_path, monkeypatch, name, instead, wanted):
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("APS_DATA_DIR", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.load(name, "test").name == instead
    own = tmp_path / "own"
    monkeypatch.setenv("APS_DATA_DIR", str(own))
    with pytest.raises(FileNotFoundError, match=r"APS_DATA_DIR is '.*own', which is no folder"):
        data.load(name, "test")
    own.mkdir()
    (own / "holiday.jpg").touch()
    with pytest.raises(
        FileNotFoundError, match=f"holds no data set in a known layout.*looked for.*Unset .* to use {instead}"
    ):
        data.load(name, "test")
    np.savez(own / era5.FILE, **FIELDS)
    with pytest.warns(
        UserWarning, match=f"{instead} is used: APS_DATA_DIR .* holds era5-frames, but not {wanted}.*looked for"
    ):
        assert data.load(name, "test").name == instead
    part = {"celeba": "img_align_celeba.zip", "cifar10": "data_batch_1.png"}[wanted]
    (own / part).touch()
    with pytest.raises(FileNotFoundError, match=f"holds a part of {wanted} only.*looked for"):
        data.load(name, "test")


@pytest.mark.parametrize("name", ["mnist", "ncep-temperature"])
def test_what_comes_with_the_package_is_read_but_a_useless_folder_is_told(tmp_path, monkeypatch, name):
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match=f"nowhere', which is no folder; nothing of it is used. {name} comes"):
        data.load(name, "test")
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.warns(UserWarning, match=f"holds no data set in a known layout; nothing of it is used. {name} comes"):
        data.load(name, "test")


@pytest.mark.parametrize(
    ("name", "split"), [("era5-frames", "test"), ("celeba", "test"), ("lfw", "test"), ("mnist", "train")]
)
def test_what_must_be_brought_says_where_it_looked(tmp_path, monkeypatch, name, split):
    monkeypatch.setenv("APS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"APS_DATA_DIR is '.*nowhere', which is no folder"):
        data.load(name, split)
    monkeypatch.setenv("APS_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="looked for"):
        data.load(name, split)
