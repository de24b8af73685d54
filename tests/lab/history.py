"""The week before: a world of `portreeve simulate`, moved in time so that it ended this morning.

A live sensor learns for days; a test cannot. So the sensor learns beforehand from a generated history with the
addresses, accounts and recipients of the lab. All stamps of it (logs, pcap, pcapng) are moved by one span, which makes
the present moment half past ten on the first morning after it, in a zone of the lab's own.
"""

import datetime
import gzip
import json
import os
import re
import struct
import subprocess
import time
from collections import defaultdict
from pathlib import Path

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
STAMP = re.compile(r"^([A-Z][a-z]{2}) ([ \d]\d) (\d\d):(\d\d):(\d\d)")
RFC3339 = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d)")


class History:
    """What was written, and what the lab needs to know about it."""

    def __init__(self, program, at, seed=7, days=8, accounts=16):
        self.world, self.at = at / "world", at / "history"
        subprocess.run([program, "simulate", self.world, "--scenario", "quiet", "--days", str(days),
                        "--accounts", str(accounts), "--seed", str(seed)], check=True, capture_output=True)
        truth = json.loads((self.world / "truth.json").read_text())
        self.offset = -(truth["start"] // 10**6) % 86400  # zone of the world, seconds east
        self.year = datetime.datetime.fromtimestamp(truth["start"] / 1e6, datetime.timezone.utc).year
        now = time.time()
        self.hours = max(-11, min(12, 10 - int(now % 86400 // 3600)))  # of our zone, east
        self.zone = "Etc/GMT%+d" % -self.hours if self.hours else "UTC"
        self.span = int(now - (truth["end"] / 1e6 + 10.5 * 3600))
        self.config = (self.world / "portreeve.toml").read_text()
        self.domain = re.search(r'domains = \["([^"]+)"', self.config).group(1)
        self.mails = defaultdict(list)  # account or program → lists of recipients
        self.relay_of, self.office_of, self.places = {}, {}, {}
        self.users = set()
        self.files = []

    def write(self):
        """Writes the moved history; gives its files."""
        self.at.mkdir()
        for log in sorted(self.world.glob("logs/*/*")):
            self.move_log(log)
        for capture in sorted(self.world.glob("captures/*")):
            self.move_capture(capture)
        return self.files

    def move_log(self, path):
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
        ours = datetime.timezone(datetime.timedelta(hours=self.hours))
        theirs = datetime.timezone(datetime.timedelta(seconds=self.offset))
        out, last, queue = [], time.time(), {}
        for line in lines:
            self.learn(path.parent.name, line, queue)
            if match := RFC3339.match(line):
                at = datetime.datetime.fromisoformat(match.group(1)) + datetime.timedelta(seconds=self.span)
                stamp = at.astimezone(ours).isoformat(timespec="microseconds")
            else:
                match = STAMP.match(line)
                month, day, hour, minute, second = match.groups()
                at = datetime.datetime(self.year, MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second),
                                       tzinfo=theirs) + datetime.timedelta(seconds=self.span)
                moved = at.astimezone(ours)
                stamp = "%s %2d %s" % (MONTHS[moved.month - 1], moved.day, moved.strftime("%H:%M:%S"))
            last = at.timestamp()
            out.append(stamp + line[match.end():])
        name = self.at / ("%s-%s.log" % (path.parent.name, path.name.replace(".gz", "")))
        name.write_text("\n".join(out) + "\n")
        os.utime(name, (last, last))  # the year of a classic stamp is told from it
        self.files.append(name)

    def learn(self, relay, line, queue):
        """Who wrote to whom, from where, through which relay."""
        if match := re.search(r": ([0-9A-Za-z]+): client=[^\[]*\[([0-9.]+)\](?:.*sasl_username=(\S+))?", line):
            identity, client, account = match.groups()
            queue[identity] = (account or client, [])
            if account:
                self.relay_of[account] = relay
                if client.startswith("10.20."):
                    self.office_of[account] = client
            else:
                self.relay_of.setdefault(client, relay)
        elif match := re.search(r": ([0-9A-Za-z]+): to=<([^>]+)>, relay=([^\[]+)\[([0-9.]+)\]:25,.*status=sent", line):
            identity, recipient, name, address = match.groups()
            self.users.add(recipient.lower())
            self.places[recipient.rpartition("@")[2]] = (name, address)
            if identity in queue:
                sender, recipients = queue[identity]
                if not recipients:
                    self.mails[sender].append(recipients)
                recipients.append(recipient)

    def move_capture(self, path):
        raw = bytearray(path.read_bytes())
        move = self.move_pcapng if raw[:4] == b"\x0a\x0d\x0d\x0a" else self.move_pcap
        move(raw)
        name = self.at / path.name
        name.write_bytes(raw)
        self.files.append(name)

    def move_pcap(self, raw):
        place = 24
        while place + 16 <= len(raw):
            seconds, _, length = struct.unpack_from("<III", raw, place)
            struct.pack_into("<I", raw, place, seconds + self.span)
            self.application(raw, place + 16, length)
            place += 16 + length

    def move_pcapng(self, raw):
        place, units = 0, 10**6
        while place + 12 <= len(raw):
            kind, length = struct.unpack_from("<II", raw, place)
            if kind == 1:  # interface: its option 9 is the resolution
                option = place + 16
                while option + 4 <= place + length - 4:
                    code, size = struct.unpack_from("<HH", raw, option)
                    if code == 9:
                        units = 10 ** raw[option + 4]
                    if code == 0:
                        break
                    option += 4 + (size + 3) // 4 * 4
            elif kind == 6:  # packet
                high, low, captured = struct.unpack_from("<III", raw, place + 12)
                moved = (high << 32 | low) + self.span * units
                struct.pack_into("<II", raw, place + 12, moved >> 32, moved & 0xFFFFFFFF)
                self.application(raw, place + 28, captured)
            place += length

    def application(self, raw, place, length):
        """The application server has no log in the world: whom it writes to is told by the packets."""
        if raw[place + 12 : place + 14] == b"\x08\x00" and raw[place + 26 : place + 30] == bytes((203, 0, 113, 20)):
            address = ".".join(map(str, raw[place + 30 : place + 34]))
            for recipient in re.findall(rb"RCPT TO:<([^>]+)>", bytes(raw[place : place + length])):
                recipient = recipient.decode("latin-1")
                self.users.add(recipient.lower())
                domain = recipient.rpartition("@")[2]
                self.places.setdefault(domain, ("mx." + domain, address))
                self.mails["203.0.113.20"].append([recipient])
