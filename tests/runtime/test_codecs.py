"""Codecs: what is recorded is what they made, for each call that takes one, live as on replay."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

import stepwell
from stepwell import ExecutionError, Kernel, ResourceLimits, blocking, blueprint, current_step, run_step, step
from stepwell.store import StoreSource

SECRET = "open sesame"


@dataclass
class Word:
    text: str


class Sealed:
    """Nobody reads it in the record. It restores types by itself, as it was told which."""

    def encode(self, value: Any) -> Any:
        plain = value.text if isinstance(value, Word) else value
        return {"sealed": json.dumps(plain).encode().hex()}

    def decode(self, value: Any, type: Any) -> Any:
        plain = json.loads(bytes.fromhex(value["sealed"]))
        return Word(plain) if type is Word and isinstance(plain, str) else plain


CODEC = Sealed()


@step(codec=CODEC)
async def told(word: Word) -> Word:
    return word


async def same(word: Any) -> Any:
    return word


@blueprint(name="codecs.child")
async def child(word: str) -> str:
    return f"{word}"


@blueprint(name="codecs.word child")
async def words(word: Word) -> Word:
    return word


async def _step() -> Any:
    return (await told(Word(SECRET))).text


async def _run_step() -> Any:
    return await run_step(same, SECRET, codec=CODEC)


async def _scope() -> Any:
    return await stepwell.scope(same, SECRET, codec=CODEC)


async def _map() -> Any:
    return (await stepwell.map(step(same), [SECRET], codec=CODEC))[0]


async def _parallel() -> Any:
    async def branch() -> str:
        return SECRET

    return (await stepwell.parallel([branch], codec=CODEC))[0]


async def _checkpoint() -> Any:
    return await stepwell.checkpoint(SECRET, codec=CODEC)


async def _wait_until() -> Any:
    return await stepwell.wait_until(lambda state: (True, state), SECRET, codec=CODEC)


async def _wait_for() -> Any:
    return await stepwell.wait_for("word", codec=CODEC)


CALLS = [_step, _run_step, _scope, _map, _parallel, _checkpoint, _wait_until, _wait_for]


async def record_of(kernel: Kernel, id: str) -> bytes:
    return (await (await kernel.get(id)).execution()).to_json()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_call_has_its_own(anywhere: StoreSource, call: Any) -> None:
    lives: list[int] = []

    @blueprint(name=f"codecs.{call.__name__}")
    async def work() -> int:
        assert await call() == SECRET
        lives.append(1)
        await stepwell.wait_for("end")
        return len(lives)

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(work)
            await handle.signal("word", SECRET)
            while not lives:
                await asyncio.sleep(0)
        async with Kernel(anywhere, tenant="acme") as kernel:
            await (await kernel.get(handle.id)).signal("end")
            assert await (await kernel.get(handle.id)).result(timeout="20s") == 2
            data = await record_of(kernel, handle.id)
            assert SECRET.encode() not in data
            assert json.dumps(SECRET).encode().hex().encode() in data

    asyncio.run(main())


@pytest.mark.parametrize("sealed", [False, True])
def test_a_childs_own_record_is_its_kernels_business(anywhere: StoreSource, sealed: bool) -> None:
    """The codec of the call seals what the parent records; the child knows nothing of it."""

    @blueprint(name="codecs.parent")
    async def parent() -> list[str]:
        first = await stepwell.child(child, SECRET, codec=CODEC)
        second = await stepwell.child(words, Word(SECRET), codec=CODEC)
        return [first == SECRET, second == Word(SECRET)]

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme", codec=CODEC if sealed else None) as kernel:
            handle = await kernel.start(parent)
            assert await handle.result(timeout="20s") == [True, True]
            assert SECRET.encode() not in await record_of(kernel, handle.id)
            others = [row.id for row in await kernel.list() if row.id != handle.id]
            for id in others:
                assert (SECRET.encode() in await record_of(kernel, id)) == (not sealed)

    asyncio.run(main())


def test_a_callback_has_its_own(anywhere: StoreSource) -> None:
    ids: list[str] = []

    @blueprint(name="codecs.callback")
    async def work() -> bool:
        opened = await stepwell.callback(type=Word, codec=CODEC)
        ids.append(opened.id)
        first = await opened.result()
        second = await stepwell.wait_for_callback(ids.append, codec=CODEC)
        return (first, second) == (Word(SECRET), SECRET)

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme") as kernel:
            handle = await kernel.start(work)
            for number in (1, 2):
                while len(ids) < number:
                    await asyncio.sleep(0)
                assert await kernel.complete_callback(ids[-1], Word(SECRET) if number == 1 else SECRET)
            assert await handle.result(timeout="20s") is True
            assert SECRET.encode() not in await record_of(kernel, handle.id)

    asyncio.run(main())


def test_the_kernels_is_everybodys(anywhere: StoreSource) -> None:
    @step
    def plain(word: Word) -> Word:
        assert current_step().attempt == 1
        return word

    @blueprint(name="codecs.kernel")
    def work(word: Word) -> Word:
        assert plain(word) == word
        assert blocking.wait_for("word", type=Word) == word
        return word

    async def main() -> None:
        async with Kernel(anywhere, tenant="acme", codec=CODEC) as kernel:
            handle = await kernel.start(work, Word(SECRET))
            await handle.signal("word", Word(SECRET))
            assert await handle.result(timeout="20s") == Word(SECRET)
            assert SECRET.encode() not in await record_of(kernel, handle.id)

    asyncio.run(main())


class Failing(Sealed):
    def encode(self, value: Any) -> Any:
        raise OSError("no key")


@pytest.mark.parametrize("which", ["codec", "limit"])
def test_what_cannot_be_recorded_ends_the_wait(anywhere: StoreSource, which: str) -> None:
    """A signal that is larger than the tenant may record, or that its codec refuses, fails the wait, not the kernel."""

    @blueprint(name="codecs.refused")
    async def work() -> Any:
        try:
            await stepwell.wait_for("word", codec=Failing() if which == "codec" else None)
        except ExecutionError as error:
            first = str(error.category)
        return [first, await stepwell.wait_for("after")]

    async def main() -> None:
        limits = ResourceLimits(max_payload_bytes=1000)
        async with Kernel(anywhere, tenant="acme", limits=limits) as kernel:
            handle = await kernel.start(work)
            await handle.signal("word", "x" * 2000)
            await handle.signal("after", "well")
            expected = "tool" if which == "codec" else "quota_exceeded"
            assert await handle.result(timeout="20s") == [expected, "well"]

    asyncio.run(main())
