"""Reading pictures: what the tar holds, bit for bit, in any order, and nothing else."""

import io
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from small import Key, bake, pixels, stored

from mixbake.data.demo import draw_demo
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.opened import Bake
from mixbake.storage.shelf import LocalShelf
from mixbake.stream.gather import mirror, normalise
from mixbake.stream.maps import map_file
from mixbake.stream.reader import Reader

CODECS = ["png", "jpeg", "webp", "raw"]
SIDE = 24
Bytes = NDArray[np.uint8]


def opened(out: Path, threads: int = 1) -> Reader:
    return Reader(Bake.open(LocalShelf(out)), threads=threads)


def read(reader: Reader, view: str, number: int, positions: NDArray[np.int64]) -> Bytes:
    size = reader.bake.plan.size
    out = np.zeros((len(positions), size, size, 3), np.uint8)
    assert reader.read(view, number, positions, out, np.arange(len(positions))) == []
    return out


def pictures(out: Path) -> dict[Key, Bytes]:
    return {key: pixels(members) for key, members in stored(out).items()}


def compare(out: Path, threads: int = 1) -> None:
    """Every picture of a bake, in a shuffled order, with what the tars hold."""
    reader, expected = opened(out, threads), pictures(out)
    positions = np.random.default_rng(1).permutation(len(reader.bake.images))
    views = ["mix"] if reader.bake.plan.views == "mix" else ["mix", "clean"]
    compared = 0
    for view in views:
        for number in range(reader.bake.numbers(view)):
            got = read(reader, view, number, positions)
            for picture, image in zip(got, reader.bake.images[positions].tolist(), strict=True):
                assert np.array_equal(picture, expected[view, number, image]), (view, number, image)
                compared += 1
    assert compared == len(expected)
    reader.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_encoded_pictures_are_those_of_the_tar(encoded: Callable[[str], Path], codec: str, threads: int) -> None:
    compare(encoded(codec), threads)


def test_small_pictures_are_those_of_the_tar(wide_bake: Path, jsd_bake: Path) -> None:
    compare(wide_bake)
    compare(jsd_bake)


@pytest.mark.parametrize("size", [8, 31, 48, 64, 65])
def test_any_side(tmp_path: Path, image_folder: Path, picture_folder: Path, size: int) -> None:
    bake(image_folder, tmp_path / "out", picture_folder, size=size, codec="png", crop="fit", views="jsd", limit=12)
    compare(tmp_path / "out")


def test_a_range_that_was_added_later_is_read_too(tmp_path: Path, image_folder: Path, picture_folder: Path) -> None:
    for epochs in (1, 2, 5):
        bake(image_folder, tmp_path / "out", picture_folder, epochs_worth=epochs, views="jsd", limit=10)
    compare(tmp_path / "out")


def test_skipped_images_leave_no_gap(tmp_path: Path, own_images: Path, picture_folder: Path) -> None:
    for path in sorted(own_images.rglob("*.png"))[::4]:
        path.write_bytes(b"no picture")
    bake(own_images, tmp_path / "out", picture_folder, size=32, max_skip=0.5, epochs_worth=2)
    assert 0 < len(opened(tmp_path / "out").bake.images) < 40
    compare(tmp_path / "out")


@given(
    positions=st.lists(st.integers(0, 449), min_size=1, max_size=40), number=st.integers(0, 1), seed=st.integers(0, 99)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_pictures_go_where_they_are_wanted(wide_bake: Path, positions: list[int], number: int, seed: int) -> None:
    reader, wanted = opened(wide_bake), np.array(positions)
    straight = read(reader, "mix", number, wanted)
    out = np.full((len(positions) + 5, 16, 16, 3), 77, np.uint8)
    targets = np.random.default_rng(seed).permutation(len(out))[: len(positions)]
    assert reader.read("mix", number, wanted, out, targets) == []
    assert np.array_equal(out[targets], straight)
    assert (np.delete(out, targets, axis=0) == 77).all()


@pytest.mark.parametrize("view", ["mix", "clean"])
def test_index_rows_are_in_the_order_asked_for(wide_bake: Path, view: str) -> None:
    reader = opened(wide_bake)
    positions = np.random.default_rng(2).permutation(450)[:100]
    table, faults = reader.rows(view, 1, positions)
    assert faults == []
    assert table["image"].to_pylist() == reader.bake.images[positions].tolist()
    assert table["label"].to_pylist() == reader.bake.labels[positions].tolist()
    assert set(table["number"].to_pylist()) == {1}
    assert set(table["view"].to_pylist()) == {view}
    shards = {f"{view}/v001/{block:06d}.tar" for block in (0, 1)}
    assert set(table["shard"].to_pylist()) == shards


def test_what_was_handed_out_stays_when_the_reader_is_closed(wide_bake: Path) -> None:
    reader = opened(wide_bake)
    got = read(reader, "mix", 0, np.arange(450))
    before = got.copy()
    reader.close()
    assert np.array_equal(got, before)


class TestMaps:
    @given(st.binary(max_size=9000))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
    def test_a_map_shows_the_file(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(data)
        mapped = map_file(path)
        assert mapped.tobytes() == data
        assert not mapped.flags.writeable or not data
        path.unlink()
        assert mapped.tobytes() == data

    def test_a_part_keeps_the_whole(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"abcd" * 5000)
        part = map_file(tmp_path / "file")[10_000:].reshape(-1, 4)
        assert (part == np.frombuffer(b"abcd", np.uint8)).all()


class TestLoops:
    @given(st.integers(1, 5), st.integers(1, 70), st.integers(1, 6), st.integers(0, 9))
    @settings(max_examples=40, deadline=None)
    def test_mirroring_is_reversing_lines(self, count: int, width: int, height: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        before = draw.integers(0, 256, (count, height, width, 3), np.uint8)
        chosen, after = draw.random(count) < 0.5, before.copy()
        mirror(after, chosen)
        assert np.array_equal(after[chosen], before[chosen][:, :, ::-1])
        assert np.array_equal(after[~chosen], before[~chosen])

    def test_normalising_is_the_formula(self) -> None:
        draw = np.random.default_rng(3)
        before = draw.integers(0, 256, (5, 32, 32, 3), np.uint8)
        mean, std = np.array([0.49, 0.48, 0.45]), np.array([0.25, 0.24, 0.26])
        after = np.empty(before.shape, np.float32)
        normalise(before, np.tile(1 / (255 * std), 32).astype("f4"), np.tile(-mean / std, 32).astype("f4"), after)
        assert np.abs(after - (before / 255 - mean) / std).max() <= 1e-6


def encode_png(picture: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_webp(picture: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", lossless=True)
    return buffer.getvalue()


def encode_raw(picture: Bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, picture)
    return buffer.getvalue()


def encode_jpeg(picture: Bytes) -> bytes:
    return bytes(simplejpeg.encode_jpeg(picture, quality=95))


ENCODERS: dict[str, Callable[[Bytes], bytes]] = {
    "png": encode_png,
    "webp": encode_webp,
    "raw": encode_raw,
    "jpeg": encode_jpeg,
}
PICTURE = draw_demo(3, size=SIDE, split="train")


def decode(codec: str, data: bytes) -> Bytes:
    out = np.zeros((SIDE, SIDE, 3), np.uint8)
    DECODERS[codec](np.frombuffer(data, np.uint8), out)
    return out


def npy(header: str, body: bytes = bytes(SIDE * SIDE * 3), version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + body


def chunk_edit(png: bytes, width: int, height: int) -> bytes:
    """A PNG whose IHDR claims another size, its checksum mended."""
    import zlib

    head = struct.pack(">II", width, height) + png[24:29]
    return png[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + png[33:]


def claims(jpeg: bytes, height: int, width: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


class TestDecoders:
    @pytest.mark.parametrize("place", [33, -12])
    def test_pngs_with_a_damaged_profile_are_refused(self, place: int) -> None:
        import zlib

        png = encode_png(np.zeros((SIDE, SIDE, 3), np.uint8))
        profile = struct.pack(">I", 0) + b"iCCP" + struct.pack(">I", zlib.crc32(b"iCCP"))
        forged = np.frombuffer(png[:place] + profile + png[place:], np.uint8)
        with pytest.raises(UNREADABLE):
            DECODERS["png"](forged, np.empty((SIDE, SIDE, 3), np.uint8))

    @pytest.mark.parametrize("codec", ["png", "webp", "raw"])
    def test_lossless_ones_give_the_picture(self, codec: str) -> None:
        assert np.array_equal(decode(codec, ENCODERS[codec](PICTURE)), PICTURE)

    def test_jpeg_gives_what_simplejpeg_gives(self) -> None:
        data = encode_jpeg(PICTURE)
        expected = simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False)
        assert np.array_equal(decode("jpeg", data), expected)

    @pytest.mark.parametrize("codec", CODECS)
    @pytest.mark.parametrize("side", [1, SIDE - 1, SIDE + 1, 3 * SIDE])
    def test_another_size_is_refused(self, codec: str, side: int) -> None:
        with pytest.raises(UNREADABLE):
            decode(codec, ENCODERS[codec](draw_demo(3, size=side, split="train")))

    @pytest.mark.parametrize("codec", CODECS)
    @given(data=st.data())
    @settings(max_examples=150, deadline=None)
    def test_altered_bytes_give_pixels_or_the_refusal(self, codec: str, data: st.DataObject) -> None:
        picture = bytearray(ENCODERS[codec](PICTURE))
        places = st.one_of(st.integers(0, min(len(picture), 140) - 1), st.integers(0, len(picture) - 1))
        for _ in range(data.draw(st.integers(1, 6))):
            picture[data.draw(places)] = data.draw(st.integers(0, 255))
        kept = bytes(picture[: data.draw(st.one_of(st.just(len(picture)), st.integers(0, len(picture))))])
        try:
            decode(codec, kept)
        except UNREADABLE:
            return

    @pytest.mark.parametrize(
        "data",
        [
            npy("{'descr': '|O', 'fortran_order': False, 'shape': (24, 24, 3), }", b"\x80\x04cos\nsystem\n."),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 99999999, 3), }"),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24), }"),
            npy("{'descr': '|u1', 'fortran_order': True, 'shape': (24, 24, 3), }"),
            npy("{'descr': '|i1', 'fortran_order': False, 'shape': (24, 24, 3), }"),
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (24, 24, 3), }", bytes(24 * 24 * 3 * 8)),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3), }", bytes(100)),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3), }", bytes(24 * 24 * 3 + 1)),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3L), }"),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3"),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': ('24', 24, 3), }"),
            npy("{'descr': ['|u1'], 'fortran_order': False, 'shape': (24, 24, 3), }"),
            npy("{'descr': '''"),
            npy("(" * 3000),
            npy("-" * 9000 + "1"),
            npy("__import__('os').system('true')"),
            npy("[]"),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3), }", version=(2, 0)),
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (24, 24, 3), }", version=(9, 9)),
            b"\x80\x04cos\nsystem\n.",
            b"",
        ],
    )
    def test_arrays_that_are_none_are_refused(self, data: bytes) -> None:
        with pytest.raises(UNREADABLE):
            decode("raw", data)

    @pytest.mark.parametrize(
        ("codec", "data"),
        [
            ("jpeg", claims(encode_jpeg(PICTURE), 65500, 65500)),
            ("png", chunk_edit(encode_png(PICTURE), 60_000, 60_000)),
            ("png", chunk_edit(encode_png(PICTURE), 12_000, 12_000)),
            ("png", chunk_edit(encode_png(PICTURE), 2**31 - 1, 2**31 - 1)),
            ("png", chunk_edit(encode_png(PICTURE), 0, 0)),
        ],
    )
    def test_claims_of_a_huge_size_cost_nothing(self, codec: str, data: bytes) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UNREADABLE):
            decode(codec, data)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; 12 GiB were claimed

    @pytest.mark.parametrize("codec", ["png", "webp"])
    def test_another_format_is_refused(self, codec: str) -> None:
        buffer = io.BytesIO()
        Image.fromarray(PICTURE).save(buffer, format="TIFF")
        with pytest.raises(UNREADABLE):
            decode(codec, buffer.getvalue())
