"""`perpixel serve` under load, on the loopback: three times more pictures than it can answer, slow clients, hostile bodies.

    python benchmarks/serve.py RUN PICTURES [--seconds 20] [--slow 200] [--bodies 10000]

The server is a process of its own, `perpixel serve RUN`, with its usual limits. Clients are in this process and share its cores.

- Peak: as many clients as keep it busy, each asks again when it is answered. The most answers a second of 2, 4 and 8 clients.
- Overload: requests come at three times the peak, whether or not others are answered. Goodput is the answers of status 200 a
  second; the rest must be refused with 429.
- Slow clients: seconds of one healthy client's answers, alone, and beside clients that send a head and then a byte a second.
- Hostile bodies: random bytes, pictures that are cut short, pictures with wrong bytes, and headers of huge pictures. No answer
  may have a status of 500 or above, and the server must answer a picture after them."""

import argparse
import asyncio
import contextlib
import random
import signal
import statistics
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

from measure import machine, report

HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
PNG_START, PIXELS = b"\x89PNG\r\n\x1a\n\0\0\0\r", b"\0\0\0\x64IDAT"


async def ask(port: int, body: bytes) -> int:
    """The status of an answer that was read to its end; 0 where the connection broke."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.format(len(body)).encode() + body)
        answer = await reader.read(-1)
        return int(answer.split(b" ", 2)[1]) if answer else 0
    except OSError:
        return 0
    finally:
        if writer is not None:
            writer.close()


async def again_and_again(port: int, bodies: list[bytes], until: float, seconds: list[float]) -> None:
    """A healthy client: asks until a time, and keeps the seconds of each answer."""
    place = 0
    while time.perf_counter() < until:
        began = time.perf_counter()
        status = await ask(port, bodies[place % len(bodies)])
        assert status == 200, status
        seconds.append(time.perf_counter() - began)
        place += 1


async def rate_of(port: int, bodies: list[bytes], clients: int, seconds: float) -> float:
    """Answers a second of so many clients."""
    answers: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(again_and_again(port, bodies, began + seconds, answers) for _ in range(clients)))
    return len(answers) / (time.perf_counter() - began)


async def overload(port: int, bodies: list[bytes], rate: float, seconds: float) -> dict[str, object]:
    """Requests at a rate, for seconds. Answers that come later do not count."""
    statuses, in_time = Counter[int](), 0
    began = time.perf_counter()

    async def one(body: bytes) -> None:
        nonlocal in_time
        status = await ask(port, body)
        statuses[status] += 1
        in_time += status == 200 and time.perf_counter() - began <= seconds

    tasks, number = [], 0
    while (now := time.perf_counter() - began) < seconds:
        while number <= now * rate:
            tasks.append(asyncio.ensure_future(one(bodies[number % len(bodies)])))
            number += 1
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    return {"sent": number, "goodput": in_time / seconds, "statuses": {str(status): count for status, count in statuses.items()}}


async def slow_client(port: int) -> None:
    """Sends a head and then a byte a second, and comes again when it is closed."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD.format(100_000).encode())
            while not reader.at_eof() and not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 1)
        await asyncio.sleep(0.1)


async def beside_slow_clients(port: int, bodies: list[bytes], count: int, seconds: float) -> dict[str, float]:
    """The median and the 99th percentile of seconds of a healthy client, alone and beside slow clients."""
    told = {}
    for name, number in (("alone", 0), ("beside", count)):
        slow = [asyncio.ensure_future(slow_client(port)) for _ in range(number)]
        await asyncio.sleep(1)
        answers: list[float] = []
        await again_and_again(port, bodies, time.perf_counter() + seconds, answers)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        told[f"{name} median"] = statistics.median(answers)
        told[f"{name} p99"] = sorted(answers)[int(0.99 * len(answers))]
    return told | {"p99 ratio": told["beside p99"] / told["alone p99"]}


def hostile(pictures: list[bytes], count: int) -> list[bytes]:
    """Bodies that are no sound pictures; a few with wrong bytes still are."""
    chance, bodies = random.Random(0), []
    for number in range(count):
        picture = chance.choice(pictures)[:20_000]
        kind = number % 4
        if kind == 0:
            bodies.append(chance.randbytes(chance.randrange(1, 2000)))
        elif kind == 1:
            bodies.append(picture[: chance.randrange(1, len(picture))])
        elif kind == 2:
            wrong = bytearray(picture)
            for _ in range(chance.randrange(1, 10)):
                wrong[chance.randrange(len(wrong))] = chance.randrange(256)
            bodies.append(bytes(wrong))
        else:
            width, height = (chance.randrange(20_000, 2**31).to_bytes(4) for _ in range(2))
            header = b"IHDR" + width + height + b"\x08\x02\0\0\0"
            bodies.append(PNG_START + header + zlib.crc32(header).to_bytes(4) + PIXELS + chance.randbytes(100))
    return bodies


async def ask_all(port: int, bodies: list[bytes]) -> Counter[int]:
    """The statuses of many bodies, asked by four clients."""
    statuses, left = Counter[int](), list(bodies)

    async def client() -> None:
        while left:
            statuses[await ask(port, left.pop())] += 1

    await asyncio.gather(*(client() for _ in range(4)))
    return statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--out", default="serve", help="name of the file of results")
    flags = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(flags.pictures.iterdir()) if path.is_file()][:16]
    words = [sys.executable, "-m", "perpixel", "serve", str(flags.run), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        port = int(server.stdout.readline().split()[0].rpartition(":")[2])
        asyncio.run(rate_of(port, pictures, 1, 2))
        by_clients = {count: asyncio.run(rate_of(port, pictures, count, flags.seconds)) for count in (2, 4, 8)}
        peak = max(by_clients.values())
        result: dict[str, object] = {**machine("torch", "granian", "fastapi"), "pictures": len(pictures), "peak": peak,
                                     "answers a second by clients": by_clients}  # fmt: skip
        loaded = asyncio.run(overload(port, pictures, 3 * peak, flags.seconds))
        result["overload"] = {**loaded, "of the peak": loaded["goodput"] / peak}  # type: ignore[operator]
        asyncio.run(ask_all(port, pictures[:1] * 4))
        result["slow clients"] = {"count": flags.slow,
                                  **asyncio.run(beside_slow_clients(port, pictures, flags.slow, flags.seconds))}  # fmt: skip
        statuses = asyncio.run(ask_all(port, hostile(pictures, flags.bodies)))
        result["hostile bodies"] = {str(status): count for status, count in sorted(statuses.items())}
        assert asyncio.run(ask(port, pictures[0])) == 200, "it answers no more"
        assert not any(status >= 500 or status == 0 for status in statuses), statuses
        server.send_signal(signal.SIGTERM)
        result["exit code"] = server.wait(60)
    finally:
        server.kill()
    report(flags.out, result)


if __name__ == "__main__":
    main()
