"""Damaged and made-up journals: both backends refuse the same in the same words, and never with another exception."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from kernel.drive import EXEC, PAIR, T0, bodies_of, forged, outcome, outcomes, raised, shown, step_id
from kernel.test_twins import sample
from stepwell import Action

SAMPLE = sample(PAIR[-1])
BODIES = bodies_of(sample(PAIR[-1]).drain())
JSON: bytes = SAMPLE.to_json()
ACTIONS = [b"{" + body.split(b",", 2)[2] for body in BODIES[1:]]
REFUSALS = {
    "stepwell.errors." + name
    for name in ("ReplayError", "UnsupportedFormat", "SchemaMismatch", "ValidationError", "InvalidId")
}


def state(ex: Any) -> bytes:
    """What an execution is, in few bytes; and that it can be read to the end and be written again."""
    shown(ex)
    return bytes(ex.to_json())


def replayed(records: Iterable[object], **more: Any) -> tuple[object, object]:
    found = [*records]
    return outcomes(lambda module: state(module.Execution.replay(EXEC, found, **more)))


def loaded(data: object) -> tuple[object, object]:
    return outcomes(lambda module: state(module.Execution.from_json(data)))


def same(found: tuple[object, object], context: object = None) -> object:
    """Both had this outcome, and it is a result or one of the refusals."""
    assert found[0] == found[1], context
    assert raised(found[0]) in {None, *REFUSALS}, (found[0], context)
    return found[0]


# --- every small damage -------------------------------------------------------------------------------------------


def test_the_undamaged_is_read() -> None:
    assert raised(same(replayed(BODIES))) is None
    assert raised(same(loaded(JSON))) is None


@pytest.mark.parametrize("index", range(len(BODIES)))
def test_every_flipped_bit_of_a_journal_is_found(index: int) -> None:
    body = BODIES[index]
    for position in range(len(body)):
        for bit in (0, 1, 5, 7):
            damaged = bytearray(body)
            damaged[position] ^= 1 << bit
            found = same(replayed([*BODIES[:index], bytes(damaged), *BODIES[index + 1 :]]), (position, bit))
            # The last record has none after it that would carry its digest.
            assert raised(found) is not None or index == len(BODIES) - 1


@pytest.mark.parametrize("index", range(len(BODIES)))
def test_every_cut_of_a_journal_is_found(index: int) -> None:
    body = BODIES[index]
    for end in range(len(body)):
        assert raised(same(replayed([*BODIES[:index], body[:end]]), end)) == "stepwell.errors.ReplayError"
        assert (
            raised(same(replayed([*BODIES[:index], body[end:] if end else body + b" "]), end))
            == "stepwell.errors.ReplayError"
        )
    cut = replayed(BODIES[:index], version=len(BODIES) - 1)
    assert raised(same(cut)) == "stepwell.errors.ReplayError"


def test_every_lost_repeated_or_moved_record_is_found() -> None:
    for index in range(len(BODIES)):
        for other in range(len(BODIES)):
            if index == other:
                continue
            swapped = [*BODIES]
            swapped[index], swapped[other] = swapped[other], swapped[index]
            assert raised(same(replayed(swapped))) is not None
        lost = [*BODIES[:index], *BODIES[index + 1 :]]
        assert raised(same(replayed(lost, version=len(BODIES) - 1))) is not None
        assert raised(same(replayed([*BODIES[: index + 1], *BODIES[index:]]))) is not None


def test_chained_anew_only_the_table_decides() -> None:
    """What somebody who can compute digests may write is at least a journal that could have been."""
    for index in range(len(BODIES)):
        same(replayed(forged([*BODIES[:index], *BODIES[index + 1 :]])))
        same(replayed(forged([*BODIES[: index + 1], *BODIES[index:]])))
        for other in range(index):
            swapped = [*BODIES]
            swapped[index], swapped[other] = swapped[other], swapped[index]
            same(replayed(forged(swapped)))


@pytest.mark.parametrize("part", range(8))
def test_every_flipped_bit_of_an_execution(part: int) -> None:
    for position in range(part, len(JSON), 8):
        for bit in (0, 2, 5, 7):
            damaged = bytearray(JSON)
            damaged[position] ^= 1 << bit
            same(loaded(bytes(damaged)), (position, bit))


def test_every_cut_of_an_execution_is_found() -> None:
    for end in range(len(JSON)):
        assert raised(same(loaded(JSON[:end]), end)) == "stepwell.errors.ValidationError"
        assert raised(same(loaded(JSON[end + 1 :]), end)) == "stepwell.errors.ValidationError"


def test_every_flipped_bit_of_an_action() -> None:
    for text in ACTIONS:
        for position in range(len(text)):
            for bit in (0, 1, 5, 7):
                damaged = bytearray(text)
                damaged[position] ^= 1 << bit
                found = outcome(lambda: Action.from_json(bytes(damaged)))  # noqa: B023
                assert raised(found) in {None, *REFUSALS}


# --- made-up text -------------------------------------------------------------------------------------------------

TOKENS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"0", b"-0", b"-1", b"1e400", b"1e5",
    b"01", b"1.5", b"NaN", b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809",
    b"4294967296", b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\\u0041", b"\\/", b"\x00", b"\x7f", b"\xff",
    b"\xc3\xa9", b"\xed\xa0\x80", b" ", b"\n", b"[" * 200, b'{"a":' * 130, b"\xe2\x80\xa8",
    b'"type":"function",', b'"input":null,', b'"format":2', b'"format":0', b'"kind":"plan"',
    b'"kind":"created"', b"running", b"paused", b'"reason":"', b'"at":-1,', b'"at":5,', b'"usage":[["a",1]]',
    b'"usage":[]', b'"attempts":[]', b'"steps":[]', b'"steps":[["', b"\\t", b'"parent_type":"system"',
    b'"names":["a"]', b'"name":"a"', b'"attempt":0', b'"attempt":4294967295', b'{"a":1,"\\u0061":2}', b"{}",
    step_id(1).encode(), EXEC.encode(), b"step_" + b"z" * 26, b'"tenant":"\\u0007"', b'"tried_at":1',
    b'"retry_at":-1', b'"head":"x"',
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: bytes) -> bytes:
    """The text with a few pieces replaced, put in, or taken out."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        if draw(st.booleans()):  # where something begins or ends
            marks = [at for at, byte in enumerate(text) if byte in b'{}[],:"']
            start = draw(st.sampled_from(marks)) + draw(st.integers(0, 1)) if marks else start
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=3) | st.just(text[start:end] * 2))
        text = text[:start] + piece + text[draw(st.sampled_from([start, end])) :]
    return text


def values() -> st.SearchStrategy[Any]:
    """Values of JSON that a field may be given."""
    odd = [
        -1, 0, 1, 2, T0, 2**63 - 1, 2**63, 2**64, 1.5, "", "a", "x" * 256, "wait", "paused", None, True,
        step_id(1), EXEC,
    ]  # fmt: skip
    return st.recursive(
        st.sampled_from(odd),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    )


@st.composite
def altered(draw: st.DrawFn, text: bytes) -> bytes:
    """The JSON with a few of its values replaced or taken away, still in the order and the notation of the journal."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        inside = value
        while True:
            keys = [*(inside if isinstance(inside, dict) else range(len(inside)))]
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], dict | list) and draw(st.integers(0, 3)):
                inside = inside[key]
                continue
            change = draw(st.integers(0, 4))
            if change == 0:
                del inside[key]
            elif change == 1 and isinstance(inside, list):
                inside.insert(key, draw(st.sampled_from(inside)))
            else:
                inside[key] = draw(values())
            break
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


EXAMPLES = int(os.environ.get("STEPWELL_LOCKSTEP_EXAMPLES", "300"))

many = settings(
    max_examples=EXAMPLES, derandomize=EXAMPLES <= 300, suppress_health_check=list(HealthCheck), deadline=None
)


@many
@given(st.sampled_from([mutated, altered]).flatmap(lambda change: change(JSON)))
def test_mutated_executions(data: bytes) -> None:
    same(loaded(data), data)


@many
@given(st.integers(0, len(BODIES) - 1), st.sampled_from([mutated, altered]), st.booleans(), st.data())
def test_mutated_journals(
    index: int, change: Callable[[bytes], Any], chain: bool, data: st.DataObject
) -> None:
    body = data.draw(change(BODIES[index]))
    bodies = [*BODIES[:index], body, *BODIES[index + 1 :]]
    found = same(replayed(forged(bodies) if chain else bodies), body)
    if not chain and body != BODIES[index] and index < len(BODIES) - 1:
        assert raised(found) is not None


@many
@given(st.sampled_from(ACTIONS), st.sampled_from([mutated, altered]), st.data())
def test_mutated_actions(text: bytes, change: Callable[[bytes], Any], data: st.DataObject) -> None:
    body = data.draw(change(text))
    found = outcome(lambda: Action.from_json(body))
    assert raised(found) in {None, *REFUSALS}, body
    if raised(found) is None:
        assert Action.from_json(body).to_json() == body  # one text is the only form
        results = outcomes(lambda module: sample(module).apply(Action.from_json(body)))
        assert results[0] == results[1], body


@many
@given(
    st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.lists(st.sampled_from(TOKENS), max_size=8).map(b"".join)
)
@example(b"")
@example(b"\xef\xbb\xbf" + JSON)
@example(b"[" * 100_000)
@example(b'{"seq":' + b"9" * 5000 + b"}")
@example(b'{"format":' + b"1" * 5000 + b"}")
def test_arbitrary_bytes(data: bytes) -> None:
    assert raised(same(replayed([data]))) is not None
    assert raised(same(replayed([BODIES[0], data]))) is not None
    assert raised(same(replayed([data, *BODIES]))) is not None
    assert raised(same(loaded(data))) is not None
    assert raised(outcome(lambda: Action.from_json(data))) in REFUSALS


@pytest.mark.parametrize(
    "data",
    [None, 5, -1, 10**15, 1.5, "x", JSON.decode(), [1], {}, (), object, bytearray(JSON), memoryview(JSON)],
)
def test_what_is_no_text(data: object) -> None:
    assert raised(same(loaded(data))) == "stepwell.errors.ValidationError" or isinstance(
        data, bytearray | memoryview
    )
    assert raised(same(replayed([data]))) == "stepwell.errors.ReplayError"
    assert raised(same(replayed([(0, T0, "created", data)]))) == "stepwell.errors.ReplayError"
    assert raised(outcome(lambda: Action.from_json(data))) == "stepwell.errors.ValidationError"  # type: ignore[arg-type]


# --- payloads -----------------------------------------------------------------------------------------------------

PAYLOADS = [
    "1", "-0", "-0.0", "0.0", "1.5e-7", "1E5", "1e+5", "18446744073709551615", "18446744073709551616",
    "-9223372036854775808", "-9223372036854775809", "1e308", "1e309", "-1e309", "1" * 400, "1" * 400 + ".0",
    "0." + "1" * 400, "01", "1.", ".5", "+1", "-", "1e", "1e+", "NaN", "Infinity", "-Infinity", "null",
    "true", "false", "tru", "True", "[]", "[ ]", "[1,]", "[,1]", "[1 , 2]", "[1\t,\n2\r]", "[1\f]", "{}",
    '{"a":1}', '{ "a" : 1 }', '{"a":1,}', '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', "{a:1}", "{1:1}", '{"a"}',
    '{"a":}', '{"é":1,"\\u00e9":1}', '{"\\ud83d\\ude00":1,"😀":2}', '"\\ud83d\\ude00"', '"\\ud83d"',
    '"\\ude00"', '"\\ude00\\ud83d"', '"\\ud83dx"', '"\\\\ud83d"', '"\\ud83d\\\\ude00"', '"\\uD83D\\uDE00"',
    '"\\u12"', '"\\u12g4"', '"\\u+123"', '"\\u 123"', '"\\x41"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"\t"',
    '"\x7f"', '"\x00"', '"\u2028"', '"\uffff"', '"\\u0000"', "'a'", '"', '""', '"a', "[" * 128 + "]" * 128,
    "[" * 129 + "]" * 129, '{"a":' * 128 + "1" + "}" * 128, '{"a":' * 129 + "1" + "}" * 129,
    '["' + "[" * 200 + '"]', "[" * 64 + '{"a":[' * 32 + "]}" * 32 + "]" * 64, "[" * 5000, '{"a":' * 5000,
    "1 ", " 1", "//", "[1]]", "[null]", '{"":null}', "1_000", "１", "0x10", "1" * 19, "-" + "1" * 19, "1" * 20,
    "[" + "1," * 200 + "1]", '"\\u0061"', "{" + ",".join(f'"{i}":1' for i in range(40)) + "}",
    "{" + ",".join(f'"{i % 39}":1' for i in range(40)) + "}",
]  # fmt: skip


@pytest.mark.parametrize("text", PAYLOADS)
def test_payloads_are_read_alike(text: str) -> None:
    """Whatever stands where a payload is: taken as it is, or refused."""
    journal = forged([BODIES[0].replace(b'"input":{"n":[1,2.5]}', b'"input":' + text.encode())])
    found = same(replayed(journal))
    assert same(loaded(JSON.replace(b'"input":{"n":[1,2.5]}', b'"input":' + text.encode(), 1))) is not None
    if raised(found) is None:
        ex = PAIR[0].Execution.replay(EXEC, journal)
        again = PAIR[1].Execution(id=EXEC, input=ex.input)
        assert repr(again.input) == repr(ex.input)
        assert b'"input":' + text.encode() in ex.to_json()
    for line in (f'["step_{"0" * 26}",{text}]', f'["step_{"0" * 26}",1],{text}'):
        body = b'{"seq":2,"prev":"","at":%d,"kind":"steps_completed","steps":[%s]}' % (T0, line.encode())
        same(replayed(forged([*BODIES[:2], body])))


RUNS = [
    [], [[step_id(1), 1]], [[step_id(1), 0]], [[step_id(1), -1]], [[step_id(1), 4_194_304]],
    [[step_id(1), 4_194_305]], [[step_id(1), 2**32 - 1]], [[step_id(1), 2**32]],
    [[step_id((1 << 62) - 1), 1]], [["step_7" + "z" * 25, 1]], [["step_7" + "z" * 25, 2]],
    [["step_8" + "0" * 25, 1]], [["exec_" + "0" * 26, 1]], [[step_id(1), 2], [step_id(2), 1]],
    [[step_id(5), 1], [step_id(1), 2]], [[step_id(1), 1], [step_id(2), 1]], [[step_id(1)]], [step_id(1)],
    [[step_id(1), 1, 1]], [[1, step_id(1)]], [[step_id(1), 1.0]], [[step_id(1), True]],
]  # fmt: skip


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize(
    "kind", ["steps_started", "steps_completed", "steps_failed", "steps_scheduled", "steps_cancelled"]
)
def test_runs_are_read_alike(kind: str, runs: object) -> None:
    text = json.dumps(runs, separators=(",", ":")).encode()
    for rest in (
        b"",
        b',"name":"a"',
        b',"names":["a","b","c"]',
        b',"outputs":[1,null]',
        b',"error":{"category":"tool"}',
        b',"errors":[1,2]',
    ):
        if b"4194304" in text and kind in ("steps_started", "steps_scheduled") and rest == b',"name":"a"':
            continue  # four million steps are well and good, but not here
        body = b'{"seq":2,"prev":"","at":%d,"kind":"%s","steps":%s%s}' % (T0, kind.encode(), text, rest)
        same(replayed(forged([*BODIES[:2], body])))
