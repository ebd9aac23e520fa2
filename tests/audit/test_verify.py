"""Every way to tamper with a bake is found and named; an intact bake is said to be intact; nothing is written."""

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import copied, sign
from tampering import SHARD, key, members_forged, sources, swap_pictures
from tampering_cases import CASES, DECODED, Case

from mixbake.audit.faults import Verified
from mixbake.audit.verify import Checks, verify
from mixbake.errors import PlanDiffers, UsageError

Bakes = Callable[[str], Path]


def each(cases: dict[str, Case]) -> list[Any]:
    return [pytest.param(case, kind, id=f"{name}, {kind}") for name, case in cases.items() for kind in case.kinds]


def state(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def assert_names(found: Verified, case: Case, wanted: str) -> None:
    said = [fault for fault in found.faults if fault.shard.startswith(case.file) and re.search(case.says, fault.fault)]
    assert said, [str(fault) for fault in found.faults]
    assert not case.keyed or wanted in {fault.key for fault in said}, [str(fault) for fault in said]


class TestTampering:
    @pytest.mark.parametrize(("case", "kind"), each(CASES))
    def test_is_found_and_named(self, bakes: Bakes, tmp_path: Path, case: Case, kind: str) -> None:
        own, wanted = copied(bakes(kind), tmp_path / "own"), key(bakes(kind))
        case.change(own)
        before = state(tmp_path)
        assert_names(verify(own, Checks(full=True)), case, wanted)
        assert not case.quick or not verify(own, Checks()).intact
        assert state(tmp_path) == before
        assert not Path("exploded").exists()

    @pytest.mark.parametrize(("case", "kind"), each(DECODED))
    def test_of_pictures_is_found_by_decoding(self, bakes: Bakes, tmp_path: Path, case: Case, kind: str) -> None:
        own, wanted = copied(bakes(kind), tmp_path / "own"), key(bakes(kind))
        case.change(own)
        assert_names(verify(own, Checks(decode=True)), case, wanted)
        assert not Path("exploded").exists()

    @pytest.mark.parametrize("kind", ["fixed", "jpeg"])
    def test_pictures_that_are_another_samples_are_found_by_rendering(
        self, bakes: Bakes, tmp_path: Path, kind: str
    ) -> None:
        own = copied(bakes(kind), tmp_path / "own")
        members_forged(swap_pictures)(own)
        found = verify(own, Checks(replay=2_400))
        assert {fault.key for fault in found.faults if fault.shard == SHARD} >= {key(own), key(own, 4)}

    def test_every_fault_is_named_not_the_first(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        for name in ("a name", "an index lost", "a mixing picture"):
            CASES[name].change(own)
        files = {fault.shard.partition("/")[0] for fault in verify(own, Checks(full=True)).faults}
        assert files == {"mix", "index", "mixing"}

    def test_a_shard_of_which_all_is_wrong_is_named_briefly(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        CASES["forged: a shard doubled"].change(own)
        assert len(verify(own, Checks(full=True)).faults) < 50


class TestIntact:
    @pytest.mark.parametrize("kind", ["fixed", "jpeg", "png", "webp", "raw"])
    def test_bakes_are_intact(self, bakes: Bakes, kind: str) -> None:
        out = bakes(kind)
        document = json.loads((out / "bake.json").read_bytes())
        found = verify(out, Checks(decode=True, replay=9, source=str(sources(out))))
        assert found.intact, [str(fault) for fault in found.faults]
        assert (found.notes, found.differing) == ((), ())
        assert found.samples == found.decoded == document["samples"]
        assert (found.read, found.replayed, found.compared) == (document["bytes"], 9, document["images"])
        assert verify(out, Checks(digest=str(found.digest))).intact

    def test_a_forgery_that_is_right_is_intact(self, bakes: Bakes, tmp_path: Path) -> None:
        """What is found above is what was changed, not that it was signed anew."""
        own = copied(bakes("fixed"), tmp_path / "own")
        sign(own)
        assert verify(own, Checks(full=True)).intact
        assert not verify(own, Checks(digest=str(verify(bakes("fixed"), Checks()).digest))).intact

    def test_what_is_not_listed_is_noted_and_no_fault(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        (own / "mix/v002").mkdir()
        (own / "mix/v002/000000.tar").write_bytes((own / SHARD).read_bytes())
        (own / "virus\x1b[2J.exe").touch()
        found = verify(own, Checks(full=True))
        assert found.intact
        assert [note.partition(" ")[0] for note in found.notes] == ["mix/v002/000000.tar", "virus?[2J.exe"]

    def test_no_more_memory_for_a_longer_tar(self, bakes: Bakes, tmp_path: Path) -> None:
        own = copied(bakes("fixed"), tmp_path / "own")
        verify(own, Checks(full=True))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with (own / SHARD).open("r+b") as file:
            file.truncate(1 << 29)
        assert not verify(own, Checks(full=True)).intact
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


class TestSource:
    def test_that_changed_is_told_apart_from_damage(self, bakes: Bakes, tmp_path: Path) -> None:
        out = bakes("fixed")
        own = copied(sources(out), tmp_path / "images")
        first = min(path for path in own.rglob("*.png"))
        data = bytearray(first.read_bytes())
        data[-15] ^= 1
        first.write_bytes(bytes(data))
        found = verify(out, Checks(source=str(own)))
        assert found.intact
        assert found.differing == (f"{first.relative_to(own).as_posix()} is not the image that was baked",)

    def test_of_other_images_is_named(self, bakes: Bakes) -> None:
        found = verify(bakes("fixed"), Checks(source=str(sources(bakes("jpeg")))))
        assert "is not the source that was baked" in found.differing[0]

    def test_that_is_absent_is_refused(self, bakes: Bakes, tmp_path: Path) -> None:
        with pytest.raises(PlanDiffers, match="nowhere"):
            verify(bakes("fixed"), Checks(source=str(tmp_path / "nowhere")))


class TestRefusals:
    def test_no_bake(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no finished bake"):
            verify(tmp_path, Checks())

    @pytest.mark.parametrize("given", [{"digest": "abc"}, {"replay": -1}])
    def test_values_without_meaning(self, given: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            Checks(**given)


@pytest.mark.slow
class TestCommand:
    def test_exit_codes_and_documents(self, bakes: Bakes, tmp_path: Path, mixbake: Callable[..., Any]) -> None:
        done = mixbake("verify", bakes("fixed"), "--full", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["intact"] is True
        own = copied(bakes("fixed"), tmp_path / "own")
        CASES["forged: hostile name"].change(own)
        done = mixbake("verify", own, "--full")
        assert done.code == 6
        assert f"{SHARD}, {key(bakes('fixed'))}: " in done.out
        assert "\x1b" not in done.out + done.err
        assert mixbake("verify", bakes("fixed"), "--source", sources(bakes("jpeg"))).code == 5

    def test_quick_and_full_do_not_go_together(self, bakes: Bakes, mixbake: Callable[..., Any]) -> None:
        assert mixbake("verify", bakes("fixed"), "--quick", "--full").code == 2


def test_links_out_of_the_bake_change_nothing(bakes: Bakes, tmp_path: Path) -> None:
    """A bake whose shards lie on another disk is the same bake."""
    own = copied(bakes("fixed"), tmp_path / "own")
    (own / "mix").rename(tmp_path / "elsewhere")
    (own / "mix").symlink_to(tmp_path / "elsewhere")
    assert verify(own, Checks(full=True)).intact
