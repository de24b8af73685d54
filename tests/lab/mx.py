"""Receivers of the lab: one SMTP server for every domain there is. Accepts users it knows, refuses others, greylists,
offers STARTTLS, and blocks who sends too many wrong names.

In: a JSON file {"users": [...], "tls_every": n, "grey_every": n, "grey_seconds": s}. Out: one JSON line a recipient.
"""

import asyncio
import json
import ssl
import sys
import time
import zlib


class Receivers:
    def __init__(self, settings, certificate, out):
        self.users = set(settings["users"])
        self.tls_every = settings.get("tls_every", 3)
        self.grey_every = settings.get("grey_every", 5)
        self.grey_seconds = settings.get("grey_seconds", 5)
        self.manners = settings.get("manners", {})
        self.first_seen = {}
        self.wrong = {}
        self.out = out
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)

    def offers_tls(self, address):
        return self.tls_every and zlib.crc32(address.encode()) % self.tls_every == 0

    def greylists(self, address):
        return self.grey_every and zlib.crc32(b"grey" + address.encode()) % self.grey_every == 0

    def verdict(self, client, local, sender, recipient):
        """The reply to one RCPT."""
        tried, wrong = self.wrong.get(client, (0, 0))
        known = recipient.lower() in self.users or recipient.lower().startswith("postmaster@")
        self.wrong[client] = (tried + 1, wrong + (not known))
        if wrong >= 25 and wrong * 5 > tried:
            return "554 5.7.1 Service unavailable; client [%s] blocked for spam, see http://bl.example/" % client
        if self.greylists(local):
            key = (client.rpartition(".")[0], sender, recipient)
            since = self.first_seen.setdefault(key, time.monotonic())
            if time.monotonic() - since < self.grey_seconds:
                return "451 4.7.1 Greylisted, please try again later"
        if not known:
            return "550 5.1.1 <%s>: Recipient address rejected: User unknown" % recipient
        return "250 2.1.5 Ok"

    def note(self, **fields):
        print(json.dumps({"at": time.time(), **fields}), file=self.out, flush=True)

    async def serve(self, reader, writer):
        try:
            await asyncio.wait_for(Session(self, reader, writer).run(), 300)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ssl.SSLError):
            pass
        finally:
            writer.close()


def path_of(argument):
    start, end = argument.find("<"), argument.find(">")
    return argument[start + 1 : end] if 0 <= start < end else argument.split(":", 1)[-1].strip()


class Session:
    def __init__(self, world, reader, writer):
        self.world, self.reader, self.writer = world, reader, writer
        self.client = writer.get_extra_info("peername")[0]
        self.local = writer.get_extra_info("sockname")[0]
        self.name = "mx-%s.example" % self.local.replace(".", "-")
        self.manner = world.manners.get(self.local)
        self.sender, self.recipients, self.helo, self.tls = None, [], None, False

    async def say(self, text):
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    async def run(self):
        if self.manner == "silent":
            await asyncio.sleep(20)
            return
        if self.manner == "busy":
            return await self.say("421 4.3.2 %s Too many connections, try later" % self.name)
        if self.manner == "slow":
            for letter in "220-%s ESMTP\r\n220-we are slow\r\n" % self.name:
                self.writer.write(letter.encode())
                await self.writer.drain()
                await asyncio.sleep(0.01)
        await self.say("220 %s ESMTP" % self.name)
        while line := await self.reader.readline():
            command = line.decode("latin-1").strip()
            verb = command[:4].upper()
            if verb == "QUIT":
                return await self.say("221 2.0.0 Bye")
            if await getattr(self, "on_" + verb.lower(), self.unknown)(command):
                return

    async def unknown(self, _command):
        await self.say("502 5.5.2 Error: command not recognized")

    async def on_ehlo(self, command):
        self.helo = command[5:]
        offers = [self.name, "PIPELINING", "SIZE 35000000", "8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.world.offers_tls(self.local) and not self.tls:
            offers.append("STARTTLS")
        if self.manner == "chunking":
            offers.append("CHUNKING")
        lines = ["250-" + offer for offer in offers[:-1]] + ["250 " + offers[-1]]
        await self.say("\r\n".join(lines))

    async def on_helo(self, command):
        self.helo = command[5:]
        await self.say("250 " + self.name)

    async def on_star(self, _command):
        if not self.world.offers_tls(self.local):
            return await self.say("502 5.5.1 Not offered")
        await self.say("220 2.0.0 Ready to start TLS")
        await self.writer.start_tls(self.world.context)
        self.tls = True

    async def on_rset(self, _command):
        self.sender, self.recipients = None, []
        await self.say("250 2.0.0 Ok")

    async def on_noop(self, _command):
        await self.say("250 2.0.0 Ok")

    async def on_mail(self, command):
        self.sender, self.recipients = path_of(command), []
        await self.say("250 2.1.0 Ok")

    async def on_rcpt(self, command):
        recipient = path_of(command)
        reply = self.world.verdict(self.client, self.local, self.sender, recipient)
        if reply.startswith("2"):
            self.recipients.append(recipient)
        cut = self.manner == "cut" and not reply.startswith("2")
        await self.say("421-4.7.0 Go away\r\n421 4.7.0 Closing" if cut else reply)
        # Only an answer that was written counts: a client may have hung up.
        self.world.note(client=self.client, mx=self.local, helo=self.helo, sender=self.sender,
                        recipient=recipient, reply=reply[:3], tls=self.tls)
        return cut

    async def on_data(self, _command):
        if not self.recipients:
            return await self.say("503 5.5.1 Error: need RCPT command")
        await self.say("354 End data with <CR><LF>.<CR><LF>")
        size = 0
        while (line := await self.reader.readline()) not in (b".\r\n", b""):
            size += len(line)
        await self.accepted(size)

    async def on_bdat(self, command):
        parts = command.split()
        await self.reader.readexactly(int(parts[1]))
        if len(parts) > 2:
            await self.accepted(int(parts[1]))
        else:
            await self.say("250 2.0.0 Ok")

    async def accepted(self, size):
        self.world.note(client=self.client, mx=self.local, accepted=len(self.recipients), size=size, tls=self.tls)
        self.sender = None
        await self.say("250 2.0.0 Ok: queued as %08X" % zlib.crc32(b"%f" % time.time()))


async def main():
    settings, cert, key, out = sys.argv[1:5]
    with open(settings) as file, open(out, "a") as notes:
        world = Receivers(json.load(file), (cert, key), notes)
        server = await asyncio.start_server(world.serve, "0.0.0.0", 25, limit=1 << 20, backlog=512)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
