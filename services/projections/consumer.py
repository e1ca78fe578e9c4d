"""The ledger's stream as the read side takes it: in order, without gaps, from any position on.

An ephemeral pull consumer without acknowledgements stands just after what was read last; one pull request is always
waiting there, so an event is here as soon as it is stored. Whatever is in doubt (a lost connection, silence, a hole) is
settled by making the consumer anew at the place that is known to be right.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import unquote

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo

from shared.cloudevent import from_attributes
from shared.recorded import Recorded
from shared.subjects import EPOCH, applied_hint, stream_name

REQUEST_S: Final = 1.0
"""How long one pull request waits at the server."""

HEARTBEAT_S: Final = 0.4
SILENCE_S: Final = 1.5
"""Neither event, heartbeat nor end of request for so long: something is wrong."""

FORGOTTEN_S: Final = 60.0
"""The server forgets a consumer that asks nothing for so long."""

CONNECT_S: Final = 3.0
ANSWER_S: Final = 5.0
REQUEST_BYTES: Final = 8 * 1024 * 1024

HEARTBEAT: Final = "100"
NOTHING_CAME: Final = frozenset({"404", "408"})
ENOUGH_CAME: Final = frozenset({"Batch Completed", "Message Size Exceeds MaxBytes"})

logger: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class CannotRead(Exception):
    """The next event cannot be had now; says why. It is worth trying again."""


class AnotherLog(CannotRead):
    """The stream holds other events than were applied. Trying again helps only if what was applied is taken out."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands: everything up to `position` is done; `event_id` is the event there, if it is known."""

    position: int
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message at `position` that is no event we know."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The next events in order, without a gap; then, perhaps, a message that cannot be read.

    `head` is the stream's last position as far as it is known, `next_at` the moment the first event after this batch
    was recorded, if that is here already; `epoch` is of the log that the stream holds, empty where it does not say.
    """

    events: tuple[Recorded, ...] = ()
    unreadable: Unreadable | None = None
    head: int = 0
    next_at: datetime | None = None
    epoch: str = ""


class RawHeaders(Client):
    """A client that leaves the headers of events as the bytes they are, under RAW: reading them all is half the work.

    It overrides a private method of nats-py, which is pinned to one minor version for that.
    """

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | dict[str, bytes] | None:  # type: ignore[override]  # see RAW
        if headers is not None and MARK in headers:
            return {RAW: headers}
        return await super()._process_headers(headers)


RAW: Final = ""
MARK: Final = b"\r\nce-"


def attributes(headers: bytes) -> dict[str, str]:
    """Read the CloudEvents attributes out of a block of headers as it was sent."""
    block = headers.decode()
    found = {}
    for line in block.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.startswith("ce-"):
            found[name[3:]] = value.strip()
    return {name: unquote(value) for name, value in found.items()} if "%" in block else found


def event_of(sequence: int, headers: bytes, data: bytes) -> Recorded | Unreadable:
    """Read the event at a sequence of the stream."""
    try:
        event = from_attributes(attributes(headers), data)
    except (LookupError, ValueError, msgspec.MsgspecError) as error:
        return Unreadable(sequence, f"{type(error).__name__}: {error}")
    if event.position != sequence:
        return Unreadable(sequence, f"it says it is position {event.position}")
    return event


class Message(NamedTuple):
    """A message of the stream, read as it came: the worker does that while it waits for the database."""

    sequence: int
    pending: int  # how many came after it, when it was sent
    read: Recorded | Unreadable


def message_of(msg: Msg) -> Message:
    """Read a message; where it stands is in the subject to which it could be acknowledged."""
    tokens = msg.reply.split(".")  # ...<stream sequence>.<consumer sequence>.<time>.<pending>, in both lengths
    at, pending = (tokens[5], tokens[8]) if len(tokens) < TOKENS_WITH_DOMAIN else (tokens[7], tokens[10])
    sequence = int(at)
    return Message(sequence, int(pending), event_of(sequence, raw_headers(msg), msg.data))


def raw_headers(msg: Msg) -> bytes:
    """Give the headers of an event as they were sent; nothing for what is no event."""
    headers: Mapping[str, object] = msg.headers or {}
    raw = headers.get(RAW, b"")
    return raw if isinstance(raw, bytes) else b""


TOKENS_WITH_DOMAIN: Final = 11


class Stream:
    """The stream of one ledger, read by one reader."""

    def __init__(self, url: str, ledger: str, *, most: int = 1_000) -> None:
        """Name the server and the ledger; `most` is how many events are asked for, and held, at once."""
        self._url = url
        self._name = stream_name(ledger)
        self._applied = applied_hint(ledger)
        self._most = most
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._next_subject = self._inbox = self._request = ""
        self._requests = 0  # each is answered under a name of its own
        self._position = 0  # everything up to here was given out
        self._waiting: deque[Message] = deque()
        self._asked = 0  # what of the running pull request has not come yet
        self._heard = 0.0  # when anything came from the consumer
        self._doubt: str | None = "it was not opened yet"
        self._holes = 0  # how often the same hole was found
        self._behind = 0  # how often the stream had more than came
        self._stirred = asyncio.Event()
        self.head = 0
        self.epoch = ""
        self.last_error: str | None = None

    async def read(self, after: Place, most: int) -> Batch:
        """Give the events after a place, at most so many; waits for the first, and gives none if none came in time.

        Raises:
            CannotRead: NATS or the stream is away, a position is missing, or the stream holds another log.
        """
        try:
            await self._stand_at(after)
            await self._wait()
            batch = self._take(min(most, self._most))
            await self._ask()  # the next come while these are applied
        except (nats.errors.Error, OSError) as error:  # a TimeoutError is an OSError
            self._doubt = str(error) or type(error).__name__
            raise CannotRead(f"NATS does not answer: {self._doubt}") from error
        return batch

    async def goes_on_from(self, place: Place) -> bool:
        """Say whether what was applied up to a place is what the stream holds. Raises CannotRead."""
        try:
            if self._client is None:
                self._client = await self._connected()
            await self._info(JetStreamContext(self._client, timeout=ANSWER_S))
            if place.position and place.position <= self.head and place.event_id is not None:
                await self._same_event(place)
        except AnotherLog:
            return False
        except (nats.errors.Error, OSError) as error:
            raise CannotRead(f"NATS does not answer: {str(error) or type(error).__name__}") from error
        return place.position <= self.head

    async def tell_applied(self, position: int) -> None:
        """Say to whoever listens that a position is applied; it may be lost."""
        if self._client is not None and self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._client.publish(self._applied, str(position).encode())

    async def close(self) -> None:
        """Leave the consumer and the server."""
        await self._leave()
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()

    # ------------------------------------------------------------------------------------------- where we stand

    async def _stand_at(self, after: Place) -> None:
        if self._client is None:
            self._client = await self._connected()
        if not self._client.is_connected:
            self._doubt = "the connection was lost"
            raise CannotRead(f"NATS is away: {self.last_error or self._doubt}")
        if self._doubt is not None or after.position < self._position:
            await self._open(after, JetStreamContext(self._client, timeout=ANSWER_S))
        while self._waiting and self._waiting[0].sequence <= after.position:
            self._waiting.popleft()  # done already, by us or by another worker
        self._position = after.position

    async def _connected(self) -> Client:
        client = RawHeaders()

        async def lost() -> None:
            self._doubt = "the connection was lost"
            self._stirred.set()

        async def complain(error: Exception) -> None:
            self.last_error = str(error) or type(error).__name__

        try:
            async with asyncio.timeout(CONNECT_S):
                await client.connect(
                    self._url,
                    name="muster projections worker",
                    error_cb=complain,
                    disconnected_cb=lost,
                    reconnected_cb=lost,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.1,  # type: ignore[arg-type]  # it sleeps so long, whatever its annotation says
                    connect_timeout=2,
                    ping_interval=5,
                    max_outstanding_pings=2,
                )
        except (nats.errors.Error, OSError) as error:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()
            raise CannotRead(f"NATS is away: {self.last_error or str(error) or type(error).__name__}") from error
        return client

    async def _open(self, after: Place, js: JetStreamContext) -> None:
        """Make a consumer that starts just after a place, once the stream was seen to go on from there."""
        why, self._doubt = self._doubt, "it could not be opened"
        await self._leave()
        info = await self._info(js)
        check(info, self._name, after)
        if after.position and after.event_id is not None:
            await self._same_event(after)
        assert self._client is not None  # noqa: S101  # whoever calls has connected
        self._inbox = self._client.new_inbox()
        self._stirred.clear()
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)
        consumer = await js.add_consumer(
            self._name,
            ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after.position + 1,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=FORGOTTEN_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._name}.{consumer.name}"
        self._position = after.position
        self._doubt = None
        logger.info("reading", stream=self._name, after=after.position, head=self.head, because=why)

    async def _info(self, js: JetStreamContext) -> StreamInfo:
        try:
            info = await js.stream_info(self._name)
        except nats.js.errors.NotFoundError as error:
            raise CannotRead(f"the stream {self._name} is not there yet") from error
        self.head = info.state.last_seq
        self.epoch = (info.config.metadata or {}).get(EPOCH, "")
        return info

    async def _same_event(self, after: Place) -> None:
        """See that the stream holds the event that was applied last: a restored log may have put another one there."""
        assert self._client is not None  # noqa: S101  # whoever calls has connected
        asked = msgspec.json.encode({"seq": after.position})
        found = await self._client.request(f"$JS.API.DIRECT.GET.{self._name}", asked, timeout=ANSWER_S)
        held = attributes(raw_headers(found)).get("id")
        if held != after.event_id:
            raise AnotherLog(
                f"the stream {self._name} holds {held or 'nothing'} at position {after.position}, but the event "
                f"{after.event_id} was applied: the log was restored, and what it lost must be taken out by a rebuild"
            )

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        self._waiting.clear()
        self._asked = self._behind = 0
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    # -------------------------------------------------------------------------------------------------- what comes

    async def _receive(self, msg: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        status = (msg.headers or {}).get("Status")
        if status is None:
            self._waiting.append(message_of(msg))
            self._asked -= 1
        elif status == HEARTBEAT or msg.subject != self._request:
            return  # it lives; or it says that an earlier request has ended
        else:
            self._asked = 0
            said = (msg.headers or {}).get("Description", "")
            if status not in NOTHING_CAME and said not in ENOUGH_CAME:
                self._doubt = f"the consumer said: {status} {said}"
        self._stirred.set()

    async def _ask(self) -> None:
        """See that a pull request is waiting at the server, unless enough is here."""
        if self._asked > 0 or len(self._waiting) >= self._most or self._doubt is not None:
            return
        assert self._client is not None  # noqa: S101  # only asked where we stand somewhere
        self._asked = self._most
        self._requests += 1
        self._request = f"{self._inbox}.{self._requests}"
        self._heard = asyncio.get_running_loop().time()
        request = {
            "batch": self._most,
            "max_bytes": REQUEST_BYTES,
            "expires": int(REQUEST_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        await self._client.publish(self._next_subject, msgspec.json.encode(request), reply=self._request)

    async def _wait(self) -> None:
        """Wait until an event is here, about as long as a request waits at the server."""
        loop = asyncio.get_running_loop()
        until = loop.time() + REQUEST_S
        while True:
            await self._ask()
            if self._waiting:
                return
            self._stirred.clear()
            left = until - loop.time()
            if self._doubt is not None or left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._stirred.wait()
        await self._watch()

    async def _watch(self) -> None:
        """When nothing came: see whether the stream has more, or less, than it gave us."""
        if self._doubt is not None or self._client is None or not self._client.is_connected:
            return
        if asyncio.get_running_loop().time() - self._heard > SILENCE_S:
            self._doubt = "the consumer fell silent"
            return
        await self._info(JetStreamContext(self._client, timeout=ANSWER_S))
        if self.head < self._position:
            self._doubt = f"the stream ends at {self.head}, before {self._position}"
        elif self.head > self._position and not self._waiting:
            self._behind += 1  # once may be chance: it came this very moment
            if self._behind > 1:
                self._doubt = f"the stream is at {self.head}, and nothing came after {self._position}"
        else:
            self._behind = 0

    def _take(self, most: int) -> Batch:
        """Give out what is here and follows on. Raises CannotRead before a hole."""
        events: list[Recorded] = []
        unreadable: Unreadable | None = None
        while self._waiting and len(events) < most and unreadable is None:
            message = self._waiting[0]
            expected = self._position + 1
            if message.sequence > expected:
                if not events:
                    self._found_hole(expected, message.sequence)
                break
            self._waiting.popleft()
            if message.sequence < expected:
                continue
            if isinstance(message.read, Unreadable):
                unreadable = message.read
            else:
                events.append(message.read)
            self.head = max(self.head, message.sequence + message.pending)
            self._position = message.sequence
            self._holes = 0
        return Batch(
            events=tuple(events),
            unreadable=unreadable,
            head=self.head,
            next_at=self._next_at(),
            epoch=self.epoch,
        )

    def _found_hole(self, expected: int, found: int) -> None:
        self._doubt = f"position {expected} did not come, {found} did"
        self._holes += 1
        if self._holes > 1:  # the first may be a message lost on its way: read again
            raise CannotRead(f"the stream {self._name} has a gap: {expected} to {found - 1} are missing")

    def _next_at(self) -> datetime | None:
        following = self._waiting[0].read if self._waiting else None
        return following.recorded_at if isinstance(following, Recorded) else None


def check(info: StreamInfo, name: str, after: Place) -> None:
    """See that the stream can be read from just after a place on.

    The server would not say: below its first position it silently begins there, above its last it silently waits.

    Raises:
        CannotRead: It cannot; says what is there.
    """
    first, last = info.state.first_seq, info.state.last_seq
    if after.position > last:
        raise CannotRead(
            f"the stream {name} ends at {last}, but {after.position} is applied already: waiting for the rest"
        )
    if last and first > after.position + 1:
        raise CannotRead(
            f"the stream {name} begins at {first}, but {after.position + 1} is needed: waiting for the rest"
        )
