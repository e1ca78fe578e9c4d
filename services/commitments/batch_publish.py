"""Many messages to a JetStream stream, each in its place or none: what nats-py 2.16 has no call for.

Messages are written to the connection by hand, which takes two private members of the client (`_send_command` and
`_flush_pending`): this is the only file that knows them, and the pinned version is tested.

The stream must be exactly where we believe it is. A few messages go one by one, each with the sequence that it expects;
more go as one atomic batch (ADR-50, nats-server 2.12), which is stored as a whole or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

MOST_IN_A_BATCH: Final = 1_000
FEWEST_IN_A_BATCH: Final = 4
ACKNOWLEDGED_WITHIN_S: Final = 5.0
WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})


class NotStored(Exception):
    """It is not known to be stored where it belongs; `elsewhere` when the stream is not where we believed it is."""

    def __init__(self, why: str, *, elsewhere: bool = False) -> None:
        super().__init__(why)
        self.elsewhere = elsewhere


class Message(NamedTuple):
    """A message: its subject, its header lines (each with its end), its payload."""

    subject: str
    headers: str
    payload: bytes


class _Fault(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _Fault | None = None


_ACK: Final = msgspec.json.Decoder(_Ack)


class Publisher:
    """Publishes to one stream over a connection, one call at a time. `atomic`: the stream takes atomic batches."""

    def __init__(self, client: Client, *, atomic: bool) -> None:
        self._client = client
        self._atomic = atomic
        self._inbox = client.new_inbox()
        self._calls = 0
        self._waiting: dict[str, asyncio.Future[_Ack]] = {}
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listen for acknowledgements."""
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    async def close(self) -> None:
        """Listen no longer."""
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    def lost(self) -> None:
        """The connection is lost: nobody will be answered over it."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(_Ack(error=_Fault(description="the connection was lost")))

    async def publish(self, messages: Sequence[Message], last: int) -> None:
        """Store messages right after sequence `last`, in order, and see that they are.

        Raises NotStored; then some may be stored all the same, and only the stream can say how many.
        """
        if not self._client.is_connected:
            raise NotStored("NATS is not connected")
        if FEWEST_IN_A_BATCH <= len(messages) <= MOST_IN_A_BATCH and self._atomic:
            await self._batch(messages, last)
        else:
            await self._each(messages, last)

    async def _batch(self, messages: Sequence[Message], last: int) -> None:
        """Only the first says what it expects, only the last is acknowledged."""
        token = self._token()
        batch = f"Nats-Batch-Id: {self._inbox[-22:]}-{token}\r\nNats-Batch-Sequence: "
        written: list[bytes] = []
        for number, message in enumerate(messages, 1):
            lines = f"{batch}{number}\r\n"
            if number == 1:
                lines += f"Nats-Expected-Last-Sequence: {last}\r\n"
            reply = ""
            if number == len(messages):
                lines += "Nats-Batch-Commit: 1\r\n"
                reply = f"{self._inbox}.{token} "
            written += _command(message, lines, reply)
        await self._send(b"".join(written), {token: last + len(messages)})

    async def _each(self, messages: Sequence[Message], last: int) -> None:
        """Each says what it expects and is acknowledged; none waits for the one before it."""
        written: list[bytes] = []
        expected: dict[str, int] = {}
        for sequence, message in enumerate(messages, last + 1):
            token = self._token()
            lines = f"Nats-Expected-Last-Sequence: {sequence - 1}\r\n"
            written += _command(message, lines, f"{self._inbox}.{token} ")
            expected[token] = sequence
        await self._send(b"".join(written), expected)

    async def _send(self, commands: bytes, expected: dict[str, int]) -> None:
        """Send commands and wait for the acknowledgements, by token; each must name its sequence."""
        loop = asyncio.get_running_loop()
        answers = {token: loop.create_future() for token in expected}
        self._waiting |= answers
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN_S):
                await self._client._send_command(commands)  # noqa: SLF001  # see above
                await self._client._flush_pending()  # noqa: SLF001  # see above
                for token, sequence in expected.items():
                    _check(await answers[token], sequence)
        except TimeoutError:
            raise NotStored(f"no acknowledgement within {ACKNOWLEDGED_WITHIN_S} s") from None
        finally:
            for token in expected:
                self._waiting.pop(token, None)

    def _token(self) -> str:
        self._calls += 1
        return str(self._calls)

    async def _acknowledged(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.done():
            return
        try:
            ack = _ACK.decode(message.data)
        except msgspec.DecodeError:  # nobody listens on the subject: the stream is gone
            ack = _Ack(error=_Fault(description="no stream takes this subject"))
        waiting.set_result(ack)


def _command(message: Message, lines: str, reply: str) -> tuple[bytes, bytes, bytes]:
    headers = f"NATS/1.0\r\n{message.headers}{lines}\r\n".encode()
    size = len(headers)
    return (
        f"HPUB {message.subject} {reply}{size} {size + len(message.payload)}\r\n".encode() + headers,
        message.payload,
        b"\r\n",
    )


def _check(ack: _Ack, sequence: int) -> None:
    """See that a message is stored at its sequence. Raises NotStored; a duplicate is not stored, whatever it says."""
    if ack.error is not None:
        raise NotStored(
            f"{ack.error.description} ({ack.error.err_code})", elsewhere=ack.error.err_code in WRONG_LAST_SEQUENCE
        )
    if ack.duplicate or ack.seq != sequence:
        raise NotStored(f"stored at {ack.seq}{' before' * ack.duplicate}, not at {sequence}", elsewhere=True)
