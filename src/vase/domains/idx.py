"""The idx format of the MNIST family: a strict reader and a writer for unsigned bytes.

A file is 0 0 TYPE NDIM, then NDIM big-endian 32-bit sizes, then the values in C order. TYPE is 8
(unsigned byte) here. Files may be compressed with gzip; decompression stops at MAX_BYTES, so a
small file cannot fill the memory. Whatever the bytes are, only DataError is raised.
"""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vase.errors import DataError

MAX_BYTES = 64 * 2**20  # the largest file known here, 60,000 images of 28 x 28, has 47 MB
GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTE = 8
MAX_DIMENSIONS = 4


def encode(array: NDArray[np.uint8]) -> bytes:
    """Return `array` (1 to 4 dimensions, none empty) as the bytes of an idx file."""
    sizes = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def parse(content: bytes, where: str) -> NDArray[np.uint8]:
    """Return the array in the bytes of a decompressed idx file; it is writable and owns its data.

    `where` names the file in the error. Raises DataError if one byte is missing or too many.
    """
    shape = _shape(content, where)
    start = 4 + 4 * len(shape)
    have, need = len(content) - start, math.prod(shape)
    if have != need:
        raise DataError(
            f"{where} is not a whole idx file: its header announces {need} values of shape "
            f"{shape}, but {have} bytes follow. Get the file again."
        )
    # A copy, because torch warns about arrays that lie in read-only bytes.
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def _shape(content: bytes, where: str) -> tuple[int, ...]:
    """Return the sizes announced by the header."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(
            f"{where} is not an idx file: it starts with {content[:4].hex(' ') or 'nothing'}, "
            "not with 00 00. Get the file again."
        )
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise DataError(
            f"{where} holds values of idx type 0x{kind:02x}; only unsigned bytes (0x08) can be "
            "read. Convert the file."
        )
    if not 1 <= dimensions <= MAX_DIMENSIONS or len(content) < 4 + 4 * dimensions:
        raise DataError(
            f"{where} has a broken idx header: {dimensions} dimensions in {len(content)} bytes, "
            f"where 1 to {MAX_DIMENSIONS} are allowed. Get the file again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    if 0 in shape:
        raise DataError(f"{where} is empty: its shape is {shape}. Get the file again.")
    return shape


def decompress(content: bytes, where: str) -> bytes:
    """Return `content` unpacked if it is gzip, else as it is; at most MAX_BYTES.

    Raises DataError if the gzip data are broken, cut short, or larger than MAX_BYTES.
    """
    if content[:2] == GZIP_MAGIC:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
                content = stream.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{where} cannot be unpacked: {str(error).rstrip('.')}. Get the file again."
            ) from error
    if len(content) > MAX_BYTES:
        raise DataError(
            f"{where} is too large: more than {MAX_BYTES // 2**20} MiB, which no idx file "
            "known here has. It is another file; put the right one in its place."
        )
    return content


def read(path: Path) -> bytes:
    """Return the decompressed content of a raw or gzip file, at most MAX_BYTES, else DataError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    return decompress(content, str(path))
