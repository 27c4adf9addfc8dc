"""Journals that nobody wrote by mistake: their chain is intact, and what they say is not."""

import hashlib
import importlib.util
import subprocess
import sys

import pytest

from backends import BACKENDS
from kernel.support import made_id, refused, running
from stepwell import Action, ReplayError, UnsupportedFormat, ValidationError
from stepwell._spec import MAX_BULK_STEPS

ZEROS = "0" * 32


def chained(*actions):
    """Records with a true chain around these actions' JSON."""
    prev, made = ZEROS, []
    for seq, action in enumerate(actions):
        body = b'{"seq":%d,"prev":"%s",%s' % (seq, prev.encode(), action[1:])
        made.append(body)
        prev = hashlib.sha256(body).hexdigest()[:32]
    return made


HEADER = b'{"at":5,"kind":"created","format":1,"id":"%s","tenant":"acme"}' % made_id(1, "exec").encode()
STEP = made_id(2).encode()
START = b'{"at":5,"kind":"start"}'


def replayed(backend, *actions):
    return backend.Execution.replay(made_id(1, "exec"), chained(*actions))


# --- what they say --------------------------------------------------------------------------------------------------


def step_started(number, more=b""):
    return b'{"at":5,"kind":"step_started","step_id":"%s","name":"a"%s}' % (made_id(number).encode(), more)


def test_a_forged_journal_replays_if_it_is_legal(backend):
    """Nothing here is wrong but what the tests make wrong."""
    assert replayed(backend, HEADER, START, step_started(2)).version == 2


FORGED = {
    "illegal": ([START, START], 2, "start is not allowed while the execution is running; it needs created or planning"),
    "step before the start": (
        [step_started(2)],
        1, "step_started is not allowed while the execution is created; it needs planning or running",
    ),
    "a step twice": (
        [START, step_started(2), step_started(2)],
        3, f"step_started is not allowed while step {made_id(2)} is running; it needs pending",
    ),
    "a header in the middle": ([HEADER], 1, "a header is the first record, and only that"),
    "backwards": (
        [b'{"at":4,"kind":"start"}'],
        1, "at_ns 4 is before the last action at 5; leave it out to take the clock's time",
    ),
    "control character": (
        [START, step_started(2).replace(b'"a"', b'"a\\u0007"')],
        2, "name must be 1 to 255 characters without control characters or lone surrogates",
    ),
    "unknown parent": (
        [START, step_started(2, b',"parent_step_id":"%s"' % made_id(9).encode())],
        2, f"this execution has no step {made_id(9)}",
    ),
    "due too late": (
        [START, step_started(2),
         b'{"at":5,"kind":"step_retrying","step_id":"%s","error":{},"retry_at":-1}' % STEP],
        3, "retry_at must be between the years 1970 and 2262",
    ),
    "names too few": (
        [START, b'{"at":5,"kind":"steps_started","steps":[["%s",2]],"names":["a"]}' % STEP],
        2, "names must have one entry per step: expected 2, got 1",
    ),
    "bulk failures for nothing": (
        [START, b'{"at":5,"kind":"steps_started","steps":[["%s",2]],"name":"a"}' % STEP,
         b'{"at":5,"kind":"steps_failed","steps":[["%s",2]],"errors":[{},null]}' % STEP],
        3, "step_failed needs error",
    ),
    "bulk too large": (
        [START, b'{"at":5,"kind":"steps_started","steps":[["%s",%d]],"name":"a"}' % (STEP, MAX_BULK_STEPS + 1)],
        2, f"a bulk action is about at most {MAX_BULK_STEPS} steps, got {MAX_BULK_STEPS + 1}: make several",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_an_illegal_record_is_refused_with_its_index(backend, name):
    actions, index, words = FORGED[name]
    with refused(None, ReplayError, f"record {index}: {words}") as caught:
        replayed(backend, HEADER, *actions)
    assert caught.value.index == index


BAD_FORM = {
    "unknown kind": b'{"at":5,"kind":"lunch"}',
    "unknown field": b'{"at":5,"kind":"start","why":"x"}',
    "order": b'{"kind":"start","at":5}',
    "no time": b'{"kind":"start"}',
    "negative time": b'{"at":-1,"kind":"start"}',
    "time of 65 bits": b'{"at":9223372036854775808,"kind":"start"}',
    "time as a float": b'{"at":5.0,"kind":"start"}',
    "time with a zero": b'{"at":05,"kind":"start"}',
    "white space": b'{"at":5, "kind":"start"}',
    "null": b'{"at":5,"kind":"complete","output":null}',
    "default said": step_started(2, b',"type":"function"'),
    "missing field": b'{"at":5,"kind":"wait"}',
    "needless escape": b'{"at":5,"kind":"pause","reason":"\\u0061"}',
    "not UTF-8": b'{"at":5,"kind":"pause","reason":"\xff"}',
    "surrogate in a reason": b'{"at":5,"kind":"pause","reason":"\\ud800"}',
    "surrogate in a payload": b'{"at":5,"kind":"complete","output":"\\ud800"}',
    "NaN": b'{"at":5,"kind":"complete","output":NaN}',
    "infinity": b'{"at":5,"kind":"complete","output":1e400}',
    "integer of 65 bits": b'{"at":5,"kind":"complete","output":18446744073709551616}',
    "integer of 5000 digits": b'{"at":5,"kind":"complete","output":%s}' % (b"1" * 5000),
    "duplicate keys": b'{"at":5,"kind":"complete","output":{"a":1,"a":2}}',
    "too deep": b'{"at":5,"kind":"complete","output":%s1%s}' % (b"[" * 129, b"]" * 129),
    "very deep": b'{"at":5,"kind":"complete","output":%s' % (b"[" * 100_000),
    "very deep objects": b'{"at":5,"kind":"complete","output":%s' % (b'{"a":' * 100_000),
    "trailing comma": b'{"at":5,"kind":"complete","output":[1,]}',
    "failed without an error": b'{"at":5,"kind":"step_failed","step_id":"%s"}' % STEP,
    "failed for nothing": b'{"at":5,"kind":"step_failed","step_id":"%s","error":null}' % STEP,
    "run of none": b'{"at":5,"kind":"steps_cancelled","steps":[["%s",0]]}' % STEP,
    "run of less": b'{"at":5,"kind":"steps_cancelled","steps":[["%s",-1]]}' % STEP,
    "run beyond 32 bits": b'{"at":5,"kind":"steps_cancelled","steps":[["%s",4294967296]]}' % STEP,
    "run beyond its id": b'{"at":5,"kind":"steps_cancelled","steps":[["step_7%s",2]]}' % (b"z" * 25),
    "step of an execution": b'{"at":5,"kind":"steps_cancelled","steps":[["%s",1]]}'
    % made_id(2, "exec").encode(),
}


@pytest.mark.parametrize("name", BAD_FORM)
def test_what_is_not_of_the_format_is_refused(backend, name):
    with refused(None, ReplayError, "record 2: not a record of this journal's format") as caught:
        replayed(backend, HEADER, START, BAD_FORM[name])
    assert caught.value.index == 2


def test_nesting_up_to_the_limit_is_taken(backend):
    deep = b'{"at":5,"kind":"complete","output":%s1%s}' % (b"[" * 128, b"]" * 128)
    ex = replayed(backend, HEADER, START, deep)
    value, depth = ex.output, 0
    while value != 1:
        (value,), depth = value, depth + 1
    assert depth == 128


CLAIMS = """
import resource, sys
from stepwell import ReplayError, _{backend} as backend

scale = 1 if sys.platform == "darwin" else 1024
records = [line for line in sys.stdin.buffer.read().split(b"\\n")]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    backend.Execution.replay("{id}", records)
except ReplayError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * scale < 20_000_000)
"""

if importlib.util.find_spec("resource"):

    @pytest.mark.parametrize(
        "kind", ["steps_started", "steps_completed", "steps_cancelled", "steps_scheduled"]
    )
    @pytest.mark.parametrize("name", BACKENDS)
    def test_huge_counts_allocate_nothing(name, kind):
        """A short record may not cost memory by what it claims."""
        run = b'["%s",%d]' % (STEP, MAX_BULK_STEPS)
        more = b',"name":"a"' if kind in ("steps_started", "steps_scheduled") else b""
        script = CLAIMS.format(backend=name, id=made_id(1, "exec"))
        for steps in (b",".join([run] * 1000), run.replace(b"%d" % MAX_BULK_STEPS, b"4294967295")):
            action = b'{"at":5,"kind":"%s","steps":[%s]%s}' % (kind.encode(), steps, more)
            journal = b"\n".join(chained(HEADER, START, action))
            done = subprocess.run(
                [sys.executable, "-c", script], input=journal, capture_output=True, check=True
            )
            said, modest = done.stdout.decode().splitlines()
            assert said.startswith(f"record 2: a bulk action is about at most {MAX_BULK_STEPS} steps")
            assert modest == "True"


# --- newer formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b',"new_field":[1,{"x":2}]'])
def test_a_newer_journal_says_so(backend, more):
    header = HEADER.replace(b'"format":1', b'"format":2' + more)
    message = "record 0: journal format 2, this stepwell reads up to 1: upgrade stepwell"
    with refused(None, UnsupportedFormat, message) as caught:
        replayed(backend, header, b'{"at":5,"kind":"unheard_of"}')
    assert caught.value.index == 0
    with refused(None, ReplayError, "record 0: not a record of this journal's format"):
        replayed(backend, HEADER.replace(b'"format":1', b'"format":0'))


def test_a_newer_execution_says_so(backend):
    data = running(backend).to_json().replace(b'"format":1', b'"format":9,"new":true')
    with refused(
        None, UnsupportedFormat, "this execution has format 9, this stepwell reads up to 1: upgrade stepwell"
    ):
        backend.Execution.from_json(data)


def test_a_journal_without_a_tenant_is_none(backend):
    with refused(None, ReplayError, "record 0: not a record of this journal's format"):
        replayed(backend, HEADER.replace(b',"tenant":"acme"', b""))


# --- executions ---------------------------------------------------------------------------------------------------

BAD_SNAPSHOTS = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b" ",
    "text": lambda data: data.decode(),
    "none": lambda data: None,
    "a number": lambda data: 10**12,
    "an array": lambda data: b"[]",
    "unknown state": lambda data: data.replace(b'"state":"running"', b'"state":"lunch"'),
    "unknown field": lambda data: data.replace(b'"state"', b'"more":1,"state"'),
    "field lost": lambda data: data.replace(b'"version":3,', b""),
    "version of another": lambda data: data.replace(b'"version":3', b'"version":4'),
    "negative version": lambda data: data.replace(b'"version":3', b'"version":-3'),
    "id of a step": lambda data: data.replace(b'"id":"exec_', b'"id":"step_', 1),
    "tenant with a bell": lambda data: data.replace(b"acme", b"ac\\u0007e"),
    "time before 1970": lambda data: data.replace(b'"created_at":', b'"created_at":-'),
    "a step twice": lambda data: data.replace(made_id(3).encode(), STEP),
    "attempt of none": lambda data: data.replace(b'"attempt":1', b'"attempt":0', 1),
    "attempts without a history": lambda data: data.replace(b'"attempt":1', b'"attempt":5', 1),
    "tried before it started": lambda data: data.replace(b'"tried_at":1', b'"tried_at":', 1),
    "pending header": lambda data: data.replace(b'"kind":"start"}', b'"kind":"created","format":1}'),
    "pending without a time": lambda data: data.replace(
        b'{"at":1767225600000000000,"kind":"start"}', b'{"kind":"start"}'
    ),
    "an output of what runs": lambda data: data.replace(b'"input":1', b'"input":1,"output":7', 1),
    "an error of what runs": lambda data: data.replace(b'"input":1', b'"input":1,"error":{}', 1),
    "a reason of what runs": lambda data: data.replace(b'"input":1', b'"input":1,"reason":"r"', 1),
    "an end of what runs": lambda data: data.replace(
        b',"input":1', b',"ended_at":1767225600000000000,"input":1', 1
    ),
    "no end of what ended": lambda data: data.replace(
        b'"state":"running","attempt"', b'"state":"failed","attempt"', 1
    ),
    "a next try of what runs": lambda data: data.replace(b',"input":1', b',"retry_at":5,"input":1', 1),
    "digest of other length": lambda data: data.replace(b'"id":', b'"head":"00","id":', 1),
    "very deep": lambda data: data.replace(b'"input":1', b'"input":' + b"[" * 100_000, 1),
}


@pytest.mark.parametrize("name", BAD_SNAPSHOTS)
def test_what_is_no_execution_is_refused(backend, name):
    ex = running(backend)
    ex.start_step("a", input=1)
    ex.start_step("b")
    data = BAD_SNAPSHOTS[name](ex.to_json())
    assert data != ex.to_json()
    with refused(
        ex, ValidationError, "not an execution: expected the JSON object that Execution.to_json writes"
    ):
        backend.Execution.from_json(data)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[", b'{"kind":"created"}', b'{"kind":"lunch"}', "text", None, 10**12, STEP]
)
def test_what_is_no_action_is_refused(data):
    with refused(None, ValidationError, "not an action: expected the JSON object that Action.to_json writes"):
        Action.from_json(data)


def test_an_execution_cut_anywhere_is_refused(backend):
    ex = running(backend)
    ex.start_step("a", input=["…"])
    data = ex.to_json()
    for length in range(len(data)):
        with pytest.raises(ValidationError):
            backend.Execution.from_json(data[:length])
