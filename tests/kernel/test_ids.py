"""Ids: the specification of TypeIDs (0.3), and new ids that sort by creation."""

import itertools
import os
import re
import subprocess
import sys
import threading
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from backends import BACKENDS
from kernel.support import Ids, made_id, refused, running, seed
from stepwell import Action, InvalidId, typeid

# The specification's own valid and invalid lists (spec/valid.yml and spec/invalid.yml of version 0.3).
VALID = {
    "00000000000000000000000000": ("", "00000000-0000-0000-0000-000000000000"),
    "00000000000000000000000001": ("", "00000000-0000-0000-0000-000000000001"),
    "0000000000000000000000000a": ("", "00000000-0000-0000-0000-00000000000a"),
    "0000000000000000000000000g": ("", "00000000-0000-0000-0000-000000000010"),
    "00000000000000000000000010": ("", "00000000-0000-0000-0000-000000000020"),
    "7zzzzzzzzzzzzzzzzzzzzzzzzz": ("", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "prefix_0123456789abcdefghjkmnpqrs": ("prefix", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
    "prefix_01h455vb4pex5vsknk084sn02q": ("prefix", "01890a5d-ac96-774b-bcce-b302099a8057"),
    "pre_fix_00000000000000000000000000": ("pre_fix", "00000000-0000-0000-0000-000000000000"),
    "a__b_00000000000000000000000000": ("a__b", "00000000-0000-0000-0000-000000000000"),
}
SUFFIX = "00000000000000000000000000"
PREFIX_MESSAGE = (
    "the prefix of a TypeID is at most 63 letters a to z and underscores, with a letter first and last"
)
SUFFIX_MESSAGE = "a TypeID ends with 26 characters of 0123456789abcdefghjkmnpqrstvwxyz, the first at most 7"
SEPARATOR_MESSAGE = "a TypeID without a prefix has no underscore either"
INVALID = {
    "prefix-uppercase": (f"PREFIX_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-numeric": (f"12345_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-period": (f"pre.fix_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-non-ascii": (f"préfix_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-spaces": (f"  prefix_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-64-chars": (f"{'abcdefghij' * 6}abcd_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-underscore-start": (f"_prefix_{SUFFIX}", PREFIX_MESSAGE),
    "prefix-underscore-end": (f"prefix__{SUFFIX}", PREFIX_MESSAGE),
    "prefix-surrogate": (f"pre\ud800fix_{SUFFIX}", PREFIX_MESSAGE),
    "separator-empty-prefix": (f"_{SUFFIX}", SEPARATOR_MESSAGE),
    "separator-empty": ("_", SEPARATOR_MESSAGE),
    "empty": ("", SUFFIX_MESSAGE),
    "prefix-empty": ("prefix_", SUFFIX_MESSAGE),
    "suffix-short": ("prefix_1234567890123456789012345", SUFFIX_MESSAGE),
    "suffix-long": ("prefix_123456789012345678901234567", SUFFIX_MESSAGE),
    "suffix-spaces": ("prefix_1234567890123456789012345 ", SUFFIX_MESSAGE),
    "suffix-newline": ("prefix_1234567890123456789012345\n", SUFFIX_MESSAGE),
    "suffix-uppercase": ("prefix_0123456789ABCDEFGHJKMNPQRS", SUFFIX_MESSAGE),
    "suffix-hyphens": ("prefix_123456789-123456789-123456", SUFFIX_MESSAGE),
    "suffix-wrong-alphabet": ("prefix_ooooooiiiiiiuuuuuuulllllll"[:33], SUFFIX_MESSAGE),
    "suffix-ambiguous-crockford": ("prefix_i23456789ol23456789oi23456", SUFFIX_MESSAGE),
    "suffix-hyphens-crockford": ("prefix_123456789-0123456789-0123456", SUFFIX_MESSAGE),
    "suffix-overflow": ("prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz", SUFFIX_MESSAGE),
    "suffix-arabic-digits": ("prefix_\u0661" + "0" * 25, SUFFIX_MESSAGE),
}


# --- the specification --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", VALID)
def test_valid_ids_are_read_and_written(text):
    prefix, uuid = VALID[text]
    assert typeid.decode(text) == (prefix, UUID(uuid))
    assert typeid.encode(prefix, UUID(uuid)) == text


@pytest.mark.parametrize("name", INVALID)
def test_invalid_ids_are_refused(name):
    text, message = INVALID[name]
    with refused(None, InvalidId, message):
        typeid.decode(text)


@pytest.mark.parametrize(
    "prefix", ["PREFIX", "1", "a.b", "é", " a", "a-b", "_a", "a_", "_", "a" * 64, "a\n", "\ud800"]
)
def test_invalid_prefixes_are_refused(prefix):
    with refused(None, InvalidId, PREFIX_MESSAGE):
        typeid.encode(prefix, UUID(int=0))


def test_what_is_no_text_is_refused():
    with refused(None, InvalidId, "a TypeID is text, got bytes"):
        typeid.decode(b"exec")
    with refused(None, InvalidId, "the prefix of a TypeID is text, got NoneType"):
        typeid.encode(None, UUID(int=0))


@given(st.uuids(), st.from_regex(r"(?:[a-z](?:[a-z_]{0,61}[a-z])?)?", fullmatch=True))
def test_every_uuid_goes_there_and_back(uuid, prefix):
    text = typeid.encode(prefix, uuid)
    assert typeid.decode(text) == (prefix, uuid)
    assert len(text) == 26 + (len(prefix) + 1 if prefix else 0)


@given(st.uuids(), st.uuids())
def test_text_sorts_like_the_uuid(one, other):
    assert (typeid.encode("a", one) < typeid.encode("a", other)) == (one < other)


# --- ids that are given -------------------------------------------------------------------------------------------

NO_ID = {
    "foreign prefix": f"step_{SUFFIX}",
    "no prefix": SUFFIX,
    "capital prefix": f"EXEC_{SUFFIX}",
    "capitals": "exec_01KDVDNA00E008000000000001",
    "overflow": "exec_8" + "z" * 25,
    "short": f"exec_{SUFFIX[1:]}",
    "long": f"exec_{SUFFIX}0",
    "wrong alphabet": "exec_" + "u" * 26,
    "surrogate": "exec_\ud800" + "0" * 25,
    "not ascii": "exec_é" + "0" * 25,
    "NUL": "exec_" + "0" * 25 + "\0",
    "space": f" exec_{SUFFIX}"[:31],
    "no separator": f"exec-{SUFFIX}",
    "empty": "",
}


def wrong(value, prefix):
    got = ascii(value) if isinstance(value, str) else type(value).__name__
    return (
        f"expected an id like {prefix}_01h455vb4pex5vsknk084sn02q ({prefix}_ and 26 characters of the TypeID "
        f"alphabet, the first at most 7), got {got}"
    )


@pytest.mark.parametrize("name", NO_ID)
def test_an_execution_takes_its_own_kind_of_id_only(backend, name):
    text = NO_ID[name]
    with refused(None, InvalidId, wrong(text, "exec")):
        backend.Execution(id=text)
    with refused(None, InvalidId, wrong(text, "exec")):
        backend.Execution.with_id(text)
    with refused(None, InvalidId, wrong(text, "exec")):
        backend.Execution.replay(text, [])


@pytest.mark.parametrize("name", NO_ID)
def test_a_step_takes_its_own_kind_of_id_only(backend, name):
    text = NO_ID[name].replace("step", "EXEC").replace("exec", "step")
    ex = running(backend)
    for call in (
        ex.complete_step,
        ex.skip_step,
        lambda text: ex.start_step("a", step_id=text),
        ex.input_received,
    ):
        with refused(ex, InvalidId, wrong(text, "step")):
            call(text)
    with refused(ex, InvalidId, wrong(text, "step")):
        ex.start_step("a", parent_step_id=text)
    assert ex.get_step(text) is None
    assert text not in ex.steps


@pytest.mark.parametrize("value", [5, b"exec", 1.5, object()])
def test_what_is_no_text_is_no_id(backend, value):
    with refused(None, InvalidId, wrong(value, "exec")):
        backend.Execution(id=value)
    ex = running(backend)
    with refused(ex, InvalidId, wrong(value, "step")):
        ex.complete_step(value)
    assert value not in ex.steps


def test_a_refused_id_is_cut_and_escaped_in_the_message(backend):
    text = "\x1b[31m" + "x" * 200
    with refused(None, InvalidId) as caught:
        backend.Execution(id=text)
    assert "\\x1b[31m" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_any_uuid_makes_an_id(backend):
    """Ids of other makers are taken: the version of the UUID is not looked at."""
    for number in (0, 2**128 - 1):
        assert backend.Execution(id=typeid.encode("exec", UUID(int=number))).id[5:] == typeid.suffix_of(
            number
        )
    ex = running(backend)
    last = typeid.encode("step", UUID(int=2**128 - 1))
    steps = ex.start_steps("a", steps=[last, typeid.encode("step", UUID(int=0))])
    assert steps.ids() == ex.step_order
    assert backend.Execution.replay(ex.id, ex.drain()) == ex


# --- new ids ------------------------------------------------------------------------------------------------------


def test_new_ids_are_uuids_of_version_7_with_the_time(backend):
    import time

    before = time.time_ns() // 1_000_000
    prefix, uuid = typeid.decode(backend.new_id("exec"))
    after = time.time_ns() // 1_000_000
    assert prefix == "exec"
    assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
    assert before - 1000 <= uuid.int >> 80 <= after + 1000
    assert repr(backend.new_id) == "IdSource()"


def test_new_ids_ascend_within_a_millisecond(backend):
    for source in (backend.new_id, backend.IdSource()):
        ids = [source("step") for _ in range(20_000)]
        assert all(one < other for one, other in itertools.pairwise(ids))


def test_new_ids_ascend_across_threads(backend):
    """Within each thread, and in the order in which a lock lets them be made."""
    source, made, lock, barrier = backend.IdSource(), [], threading.Lock(), threading.Barrier(8)
    own = [[] for _ in range(8)]

    def make(mine):
        barrier.wait()
        for number in range(500):
            if number % 2:
                with lock:
                    made.append(source("step"))
            else:
                mine.append(source("step"))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == sorted(made)
    assert all(mine == sorted(mine) for mine in own)
    everything = made + [step_id for mine in own for step_id in mine]
    assert len(set(everything)) == len(everything) == 4000


def test_steps_and_executions_sort_by_creation(backend):
    executions = [backend.Execution() for _ in range(100)]
    assert sorted(ex.id for ex in executions) == [ex.id for ex in executions]
    ex = backend.Execution()
    ex.start()
    for _ in range(50):
        ex.start_step("a")
        ex.start_steps("b", count=3)
        ex.schedule_steps(["c", "d"])
    assert sorted(ex.step_order) == ex.step_order
    assert len(set(ex.step_order)) == 300


def test_reserved_ids_are_consecutive_and_ascend(backend):
    source = backend.IdSource()
    before = source("step")
    first = source.reserve("step", 1000)
    after = source("step")
    number = typeid.decode(first)[1].int
    assert before < first < typeid.encode("step", UUID(int=number + 999)) < after
    numbers = [typeid.decode(source.reserve("step", 4_000_000))[1].int for _ in range(50)]
    assert all(other - one >= 4_000_000 for one, other in itertools.pairwise(numbers))
    assert {UUID(int=number).version for number in numbers} == {7}


FORK = """
import os, sys
from stepwell import _{backend} as backend

own = backend.IdSource()
# So many that both sources are ahead of the clock: they count on within their millisecond after the fork too.
for _ in range(20_000):
    backend.new_id.reserve("step", 2**32 - 1), own.reserve("step", 2**32 - 1)
backend.new_id("step"), own("step")
reading, writing = os.pipe()
child = os.fork()
made = [backend.new_id("step") for _ in range(100)] + [backend.new_id.reserve("step", 10)]
made += [own("step") for _ in range(100)]
ex = backend.Execution()
ex.start()
made += ex.start_steps("a", count=5).ids()
if child == 0:
    os.write(writing, "\\n".join(made).encode())
    os._exit(0)
os.close(writing)
with os.fdopen(reading) as pipe:
    other = pipe.read().splitlines()
assert os.waitpid(child, 0)[1] == 0
print(len(made), len(other), len(set(made) | set(other)))
"""


if hasattr(os, "fork"):

    @pytest.mark.parametrize("name", BACKENDS)
    def test_a_forked_child_makes_other_ids(name):
        command = [sys.executable, "-W", "error", "-c", FORK.format(backend=name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["206", "206", "412"]
        assert done.stderr == ""


# --- ids of the user's own making ---------------------------------------------------------------------------------


def test_a_source_of_ones_own_makes_every_id(backend):
    asked = []

    class Own(Ids):
        def __call__(self, prefix):
            asked.append(prefix)
            return super().__call__(prefix)

    ex = seed(backend, ids=Own())
    ex.start()
    ex.start_step("a")
    ex.start_steps("b", count=2)
    child = ex.child()
    child.start()
    child.schedule_step("c")
    assert asked == ["exec", "step", "step", "step", "exec", "step"]
    assert (ex.id, child.id) == (made_id(1, "exec"), made_id(5, "exec"))
    again = backend.Execution.replay(ex.id, ex.drain(), ids=Own())
    assert again.start_steps("d", steps=[made_id(9)]).ids() == [made_id(9)]


def test_a_source_may_reserve_runs(backend):
    class Reserving(Ids):
        def reserve(self, prefix, count):
            first = self(prefix)
            self.count += count - 1
            return first

    ex = seed(backend, ids=Reserving())
    ex.start()
    assert ex.start_steps("a", count=4).ids() == [made_id(number) for number in (2, 3, 4, 5)]
    assert ex.start_step("b").id == made_id(6)


@pytest.mark.parametrize("made", [None, 5, "", "step_x", f"user_{SUFFIX}", b"step"])
def test_a_source_that_makes_no_ids_is_refused(backend, made):
    with refused(None, InvalidId, wrong(made, "exec")):
        backend.Execution(ids=lambda prefix: made)
    ex = running(backend, id=made_id(1, "exec"), ids=lambda prefix: made)
    for call in (
        lambda: ex.start_step("a"),
        lambda: ex.start_steps("a", count=2),
        lambda: ex.schedule_steps(["a", "b"]),
        lambda: ex.apply(Action("step_started", name="a")),
        lambda: ex.apply_many([Action("steps_started", names=["a", "b"])]),
    ):
        with refused(ex, InvalidId, wrong(made, "step")):
            call()


def test_what_a_source_raises_comes_through(backend):
    def broken(prefix):
        raise OSError("no ids today")

    ex = running(backend, id=made_id(1, "exec"), ids=broken)
    with refused(ex, OSError, "no ids today"):
        ex.start_step("a")
    with refused(ex, OSError, "no ids today"):
        ex.start_steps(["a", "b"])


def test_ids_are_plain_text(backend):
    ex = running(backend)
    step = ex.start_step("a")
    assert type(ex.id) is type(step.id) is str
    assert re.fullmatch(r"exec_[0-7][0-9a-hjkmnp-tv-z]{25}", ex.id)
    assert all(type(step_id) is str for step_id in ex.step_order)
