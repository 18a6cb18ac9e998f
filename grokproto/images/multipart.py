"""A multipart/form-data body with one file in it."""

from __future__ import annotations


def encode_file(field: str, filename: str, media_type: str, data: bytes) -> tuple[str, bytes]:
    """Encode one file.

    Args:
        field: Name of the form field.
        filename: Plain, without quotes.
        media_type: Such as `image/png`.
        data: The file.

    Returns:
        The content type, which names the boundary, and the body. The boundary is the hash of the
        file, so it needs no randomness; a file that holds its own hash has yet to be found.
    """
    from hashlib import sha256  # noqa: PLC0415  # it takes milliseconds to load

    boundary = sha256(data).hexdigest()
    head = (
        f"--{boundary}\r\n"
        f'content-disposition: form-data; name="{field}"; filename="{filename}"\r\n'
        f"content-type: {media_type}\r\n\r\n"
    )
    body = b"".join((head.encode(), data, f"\r\n--{boundary}--\r\n".encode()))
    return f"multipart/form-data; boundary={boundary}", body
