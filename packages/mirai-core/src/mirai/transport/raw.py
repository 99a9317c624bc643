"""Where buffers are in memory, for what Python has no words for."""

from __future__ import annotations

import ctypes
from typing import Any


class _Buffer(ctypes.Structure):
    """`Py_buffer`, as it is since Python 3.11 (PEP 688, the stable ABI)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get, _release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
_get.argtypes = [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int]
_release.argtypes = [ctypes.POINTER(_Buffer)]
_release.restype = None


def address_of(buffer: Any) -> int:
    """Of the first byte of what is contiguous; for as long as the caller keeps it alive, and does not resize it."""
    found = _Buffer()
    _get(buffer, found, 0)  # PyBUF_SIMPLE; raises what the object does
    address: int = found.buf or 0
    _release(found)
    return address
