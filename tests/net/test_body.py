"""A body is taken when it is whole and not too long, however it is cut into chunks, and never otherwise."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracket_async._http.streams import CompressedBody, PlainBody, body_for
from tracket_async.errors import ResponseError, ResponseTooLargeError, TruncatedResponseError, UnreadableResponseError

TEXT = b'{"worklogs": [' + b", ".join(b'{"worklogId": "%d"}' % number for number in range(50)) + b"]}"


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    " GZIP ": gzip.compress(TEXT, mtime=0),
    "": TEXT,
    "identity": TEXT,
}


def collect(encoding, *chunks, cap=10_000):
    body = body_for(encoding, "", cap=cap)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


@pytest.mark.parametrize("encoding", PACKED)
def test_a_whole_body_comes_out_as_it_was(encoding):
    assert collect(encoding, PACKED[encoding]) == TEXT


@given(st.sampled_from(sorted(PACKED)), st.lists(st.integers(0, 2_000)))
def test_it_does_not_matter_how_it_is_cut_into_chunks(encoding, cuts):
    packed = PACKED[encoding]
    ends = sorted({min(cut, len(packed)) for cut in cuts} | {len(packed)})
    assert collect(encoding, *[packed[a:b] for a, b in zip([0, *ends], ends, strict=False)]) == TEXT


def test_deflate_without_its_header_is_read_too():
    assert collect("deflate", raw_deflate(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("pack", [None, raw_deflate])
def test_a_body_that_is_cut_anywhere_is_not_taken(encoding, pack):
    packed = PACKED[encoding] if pack is None or encoding == "gzip" else pack(TEXT)
    for end in range(1, len(packed)):
        with pytest.raises((TruncatedResponseError, UnreadableResponseError)):
            collect(encoding, packed[:end])


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_no_body_at_all_is_an_empty_one(encoding):
    assert collect(encoding) == b""
    assert collect(encoding, b"") == b""


def test_gzip_of_several_members_is_one_body():
    assert collect("gzip", gzip.compress(b"ab") + gzip.compress(b"") + gzip.compress(b"c")) == b"abc"
    with pytest.raises(TruncatedResponseError):
        collect("gzip", gzip.compress(b"ab") + gzip.compress(b"c")[:-1])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("rest", [b"\0", b"rubbish", b"\x1f"])
def test_what_follows_its_end_is_refused(encoding, rest):
    with pytest.raises((UnreadableResponseError, TruncatedResponseError)):
        collect(encoding, PACKED[encoding] + rest)
    with pytest.raises((UnreadableResponseError, TruncatedResponseError)):
        collect(encoding, PACKED[encoding], rest)


def test_deflate_has_no_members():
    with pytest.raises(UnreadableResponseError):
        collect("deflate", zlib.compress(b"ab") + zlib.compress(b"c"))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_is_refused(encoding):
    with pytest.raises(UnreadableResponseError, match=f"not valid {encoding}") as caught:
        collect(encoding, b"<html>")
    assert caught.value.__context__ is None


def test_a_flipped_bit_is_refused():
    packed = bytearray(PACKED["gzip"])
    packed[-6] ^= 1  # in the checksum
    with pytest.raises(UnreadableResponseError):
        collect("gzip", bytes(packed))


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_a_body_may_be_as_long_as_the_cap_and_no_byte_longer(encoding):
    assert collect(encoding, PACKED[encoding], cap=len(TEXT)) == TEXT
    with pytest.raises(ResponseTooLargeError) as caught:
        collect(encoding, PACKED[encoding], cap=len(TEXT) - 1)
    assert f"{len(TEXT) - 1:,} bytes" in str(caught.value)
    assert "Limits.max_response_bytes" in str(caught.value)


def test_a_bomb_is_not_inflated_further_than_the_cap():
    bomb = gzip.compress(bytes(20_000_000))
    body = CompressedBody(50_000, "gzip")
    with pytest.raises(ResponseTooLargeError):
        body.feed(bomb)
    assert body._room == -1


def test_compressed_bytes_count_towards_the_cap_as_well():
    nothing = gzip.compress(b"")
    assert collect("gzip", *[nothing] * 5, cap=5 * len(nothing)) == b""
    with pytest.raises(ResponseTooLargeError):
        collect("gzip", *[nothing] * 5, cap=5 * len(nothing) - 1)


def test_an_announced_length_above_the_cap_is_refused_before_a_byte_is_read():
    assert isinstance(body_for("", "1000", cap=1_000), PlainBody)
    for length in ("1001", "9" * 5_000):
        with pytest.raises(ResponseTooLargeError):
            body_for("", length, cap=1_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "x" * 500])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding):
    with pytest.raises(ResponseError, match="was not asked for") as caught:
        body_for(encoding, "", cap=1)
    assert len(str(caught.value)) < 200
