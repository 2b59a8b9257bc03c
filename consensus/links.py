"""The sockets between members: one link per direction, each used one way only.

Both sides dial, so a restarted node is reached as soon as either side notices. A link begins with a hello from the
dialler and the acceptor's hello in answer; strangers, other clusters and misdirected calls are refused. A link that
carries anything malformed is dropped, and so is one whose peer stopped reading; Raft finds out what was lost.

Plain TCP, therefore loopback only.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass

import trio

from consensus import wire
from consensus.config import ReplicaConfig
from consensus.errors import Fatal
from consensus.transport import Peer, Transport
from consensus.wire import Hello, MalformedFrame

log = logging.getLogger(__name__)

REDIAL_S = 0.1
HELLO_S = 2.0  # how long a caller may take to introduce itself
STRANGERS_MAX = 32  # callers that have not introduced themselves; one more is hung up on
STUCK_S = 2.0  # a link that took nothing of what waits for so long is dropped and dialled again
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_PAUSE_S = 0.05
_READ_BYTES = 256 * 1024  # of the one buffer of a link: a fresh one for each read would cost as much as the read


@dataclass(slots=True)
class _Incoming:
    """The link that a peer dialled last."""

    socket: socket.socket
    incarnation: int
    link: int


class Links:
    """All links of one node. Everything but the listening socket is opened in `run`."""

    def __init__(
        self, config: ReplicaConfig, transport: Transport, rng: random.Random, drained: Callable[[], None]
    ) -> None:
        self._config = config
        self._transport = transport
        self._drained = drained
        self._incarnation = rng.getrandbits(63)
        self._outgoing: dict[str, _Outgoing] = {}
        self._incoming: dict[str, _Incoming] = {}
        self._strangers = 0

    async def run(self, listener: socket.socket) -> None:
        """Accept and dial until cancelled."""
        async with trio.open_nursery() as nursery:
            for peer in self._transport.peers.values():
                nursery.start_soon(self._dial, peer)
            await self._accept(listener, nursery)

    def flush(self) -> None:
        """Write what waits in the outboxes, as far as the kernel takes it."""
        for link in self._outgoing.values():
            link.flush()

    # Outgoing.

    async def _dial(self, peer: Peer) -> None:
        number = 0
        while True:
            number += 1
            try:
                with trio.fail_after(HELLO_S):
                    sock = await self._connect(peer, number)
            except (OSError, MalformedFrame, trio.TooSlowError) as error:
                log.debug("no link to %s: %s", peer.member.name, error)
            else:
                await self._serve_outgoing(peer, sock)
            await trio.sleep(REDIAL_S)

    async def _connect(self, peer: Peer, number: int) -> socket.socket:
        address = loopback_address(peer.member.host, peer.member.port)
        sock = _socket(address)
        try:
            try:
                sock.connect(address)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise OSError(error, f"connecting to {address}") from None
            hello = Hello(self._config.cluster, self._config.node, peer.member.name, self._incarnation, number)
            sock.sendall(wire.encode_hello(hello))  # a few dozen bytes into an empty buffer
            answer = await _receive_hello(sock)
            if (answer.cluster, answer.sender) != (self._config.cluster, peer.member.name):
                raise MalformedFrame(f"{address} is {answer.cluster}/{answer.sender}, not {peer.member.name}")
        except BaseException:
            sock.close()
            raise
        return sock

    async def _serve_outgoing(self, peer: Peer, sock: socket.socket) -> None:
        link = _Outgoing(peer, sock, self._transport, self._drained)
        self._outgoing[peer.member.name] = link
        self._transport.link_changed(peer, outgoing=True)
        log.info("linked to %s", peer.member.name)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.write_rest)
                # The peer never sends on this link: readable means closed.
                await trio.lowlevel.wait_readable(sock)
                nursery.cancel_scope.cancel()
        except* (OSError, trio.ClosedResourceError):
            pass  # closed here, by `_Outgoing.close`
        finally:
            del self._outgoing[peer.member.name]
            link.close()
            self._transport.link_changed(peer, outgoing=False)
            log.info("lost the link to %s", peer.member.name)

    # Incoming.

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        exhausted = False
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:  # the caller left already
                    await trio.lowlevel.checkpoint()
                    continue
                if not exhausted:
                    reason = error.strerror
                    log.error("cannot accept the calls of other members: %s; raise `ulimit -n`", reason)  # noqa: TRY400
                exhausted = True
                await trio.sleep(_EXHAUSTED_PAUSE_S)  # the caller still waits, and the listener stays readable
                continue
            exhausted = False
            if self._strangers >= STRANGERS_MAX:
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            nursery.start_soon(self._serve_incoming, sock)

    async def _serve_incoming(self, sock: socket.socket) -> None:
        self._strangers += 1
        try:
            with trio.fail_after(HELLO_S):
                hello = await _receive_hello(sock)
                peer = self._admit(hello, sock)
        except (OSError, MalformedFrame, trio.TooSlowError) as error:
            log.warning("refused a caller: %s", error)
            sock.close()
            return
        finally:
            self._strangers -= 1
        self._transport.link_changed(peer, incoming=True)
        try:
            await self._receive(peer, sock)
        except MalformedFrame as error:
            log.warning("dropping the link from %s: %s", peer.member.name, error)
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            # A newer link of the same peer may have taken the place already, and closed this socket.
            current = self._incoming.get(peer.member.name)
            if current is not None and current.socket is sock:
                sock.close()
                del self._incoming[peer.member.name]
                self._transport.link_changed(peer, incoming=False)

    def _admit(self, hello: Hello, sock: socket.socket) -> Peer:
        """Check who calls, and answer. The newest link of a peer replaces the one before, so that frames never
        overtake; a caller that cannot be answered replaces nothing."""
        peer = self._transport.peers.get(hello.sender)
        if hello.cluster != self._config.cluster or hello.receiver != self._config.node or peer is None:
            raise MalformedFrame(
                f"{hello.cluster}/{hello.sender} called {hello.receiver}; this is {self._config.cluster}/"
                f"{self._config.node} and its members are {', '.join(sorted(self._transport.peers))}"
            )
        old = self._incoming.get(hello.sender)
        if old is not None and old.incarnation == hello.incarnation and old.link >= hello.link:
            raise MalformedFrame(f"link {hello.link} of {hello.sender} is older than link {old.link}")
        answer = Hello(self._config.cluster, self._config.node, hello.sender, self._incarnation, hello.link)
        sock.sendall(wire.encode_hello(answer))
        if old is not None:
            trio.lowlevel.notify_closing(old.socket)
            old.socket.close()
        self._incoming[hello.sender] = _Incoming(sock, hello.incarnation, hello.link)
        return peer

    async def _receive(self, peer: Peer, sock: socket.socket) -> None:
        buffer = bytearray()
        chunk = memoryview(bytearray(_READ_BYTES))
        while True:
            try:
                count = sock.recv_into(chunk)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            if not count:
                return
            buffer += chunk[:count]
            offset, size = 0, len(buffer)
            while size - offset >= wire.LENGTH.size:
                (length,) = wire.LENGTH.unpack_from(buffer, offset)
                if length > wire.FRAME_BYTES_MAX:
                    raise MalformedFrame(f"a frame of {length} bytes; the limit is {wire.FRAME_BYTES_MAX}")
                start = offset + wire.LENGTH.size
                if size - start < length:
                    break
                self._transport.receive(peer, bytes(buffer[start : start + length]))
                offset = start + length
            del buffer[:offset]
            if count == _READ_BYTES:
                await trio.lowlevel.checkpoint()  # a peer that sends without end does not hold the loop


class _Outgoing:
    """One link that we dialled. `flush` writes without waiting; what the kernel does not take, `write_rest` does."""

    def __init__(self, peer: Peer, sock: socket.socket, transport: Transport, drained: Callable[[], None]) -> None:
        self._peer = peer
        self._socket = sock
        self._transport = transport
        self._drained = drained
        self._rest = b""  # at most what one `take` of the outbox gave
        self._stuck = trio.Event()
        self._closed = False

    def flush(self) -> None:
        if self._rest or self._closed:
            return
        if self._peer.outbox.overfull:
            log.error("%s does not read; dropping the link to it", self._peer.member.name)
            self.close()
        elif self._peer.outbox:
            self._write(self._peer.outbox.take())

    def _write(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._rest = data[sent:]
        if self._rest:
            self._stuck.set()
        else:
            self._transport.drained(self._peer)

    async def write_rest(self) -> None:
        while True:
            await self._stuck.wait()
            if self._closed:  # while this task was on its way
                return
            with trio.move_on_after(STUCK_S) as patience:
                await trio.lowlevel.wait_writable(self._socket)
            if patience.cancelled_caught:
                log.error("%s does not read; dropping the link to it", self._peer.member.name)
                self.close()
                return
            if self._closed:
                return
            self._write(self._rest)
            if self._closed:
                return
            if not self._rest:
                self._stuck = trio.Event()
                self.flush()
                self._drained()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


async def _receive_hello(sock: socket.socket) -> Hello:
    head = await _receive_exactly(sock, wire.HELLO_HEAD_BYTES)
    return wire.decode_hello(head, await _receive_exactly(sock, wire.hello_names_bytes(head)))


async def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        await trio.lowlevel.wait_readable(sock)
        try:
            piece = sock.recv(count - len(data))
        except BlockingIOError:
            continue
        if not piece:
            raise ConnectionError("the peer closed the link before its hello was complete")
        data += piece
    return data


def _socket(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere `write_rest` alone notices
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK_S * 1000))
    return sock


def loopback_address(host: str, port: int) -> tuple[str, int]:
    """The address to bind or to dial. Raises Fatal for anything but loopback."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise Fatal(f"{host!r}: members are named by IP address (or localhost), not by DNS") from None
    if not address.is_loopback:
        raise Fatal(
            f"{host} is not a loopback address, and the links of this version are plain TCP: whoever reaches the port "
            "could take part in the cluster. Use 127.0.0.1; TLS links come with the consensus issue"
        )
    return str(address), port


def listen(host: str, port: int) -> socket.socket:
    """A listening socket for the calls of other members. Raises Fatal."""
    address = loopback_address(host, port)
    sock = _socket(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(16)
    except OSError as error:
        sock.close()
        raise Fatal(f"cannot listen on {host}:{port} for the other members: {error.strerror}") from error
    return sock
