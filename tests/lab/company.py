"""The lab's company, built and running: networks, mail servers, receivers, the sensor, and where its alerts arrive."""

import collections
import datetime
import ipaddress
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mta
from history import History

HERE = Path(os.environ["LAB_HERE"])
LAB = mta.LAB
PROGRAM = os.environ["PORTREEVE"]
PASSWORD = "correct horse"
REAL_DOMAIN = "partner.example"
REAL_USERS = ["anna", "bernd", "carla"]


def until(what, done, seconds=20):
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while not (result := done()):
        if time.monotonic() > end:
            raise RuntimeError("waited in vain for " + what)
        time.sleep(0.05)
    return result


class Crowd:
    """A namespace's mail programs: jobs in, answers out."""

    def __init__(self, space, threads=8):
        self.process = mta.in_space(space, sys.executable, "-B", HERE / "client.py", threads,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers, self.asked = {}, 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            answer = json.loads(line)
            self.answers[answer["id"]] = answer

    def send(self, **job):
        job["id"], self.asked = self.asked, self.asked + 1
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return job["id"]

    def done(self, seconds=150):
        """Waits until every job has its answer."""
        until("%d answers" % self.asked, lambda: len(self.answers) == self.asked, seconds)
        return self.answers


class Unit:
    """The installed service, run by the systemd of this machine in the sensor's network."""

    NAME = "portreeve.service"

    def start(self, logs, state):
        for log in logs:
            # As Debian's rsyslog makes them.
            shutil.chown(log, group="adm")
            log.chmod(0o640)
        subprocess.run(["chown", "-R", "portreeve:", state], check=True)
        # What is in /sys/class/net depends on who mounted it.
        devices = Path("/run/lab-sys")
        devices.mkdir()
        subprocess.run(["nsenter", "--net=/run/netns/sensor", "mount", "-t", "sysfs", "sysfs", devices], check=True)
        place = Path("/run/systemd/system/portreeve.service.d")
        place.mkdir(parents=True)
        (place / "lab.conf").write_text("[Service]\nNetworkNamespacePath=/run/netns/sensor\nBindReadOnlyPaths=%s:/sys\n" % devices)
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        if subprocess.run(["systemctl", "start", self.NAME]).returncode:
            raise RuntimeError("the unit did not start: " + self.says())
        print("lab: systemd started the unit; it says: " + next(
            (line for line in self.says().splitlines() if "sandbox:" in line), "nothing of its sandbox"))

    def says(self):
        return subprocess.run(["journalctl", "--no-pager", "-o", "cat", "-u", self.NAME], capture_output=True, text=True).stdout

    def reload(self):
        subprocess.run(["systemctl", "reload", self.NAME], check=True)
        until("the reload", lambda: "configuration taken over" in self.says())
        return True

    def stop(self):
        """Gives its exit code."""
        subprocess.run(["systemctl", "stop", self.NAME], check=True)
        code = subprocess.run(["systemctl", "show", "--property", "ExecMainStatus", "--value", self.NAME],
                              capture_output=True, text=True, check=True)
        return int(code.stdout)


class Company:
    def __init__(self, seed=1):
        self.random = random.Random(seed)
        subprocess.run(["sh", HERE / "net.sh"], check=True)
        os.environ["HOME"] = str(LAB)
        self.history = History(PROGRAM, LAB)
        self.files = self.history.write()
        self.people = sorted(self.history.office_of)
        self.config = LAB / "portreeve.toml"
        self.state = LAB / "state"
        self.alerts = LAB / "alerts.txt"
        self.sensor = None
        self.unit = Unit() if os.environ.get("LAB_PACKAGE") else None
        if self.unit:
            self.config, self.state = Path("/etc/portreeve/portreeve.toml"), Path("/var/lib/portreeve")
            self.alerts = Path("/var/log/portreeve/alerts.txt")

    # Mail.

    def start_mail(self):
        history = self.history
        places = dict(history.places)
        places[REAL_DOMAIN] = ("mx." + REAL_DOMAIN, "198.51.100.25")
        mta.dns(places)
        cert, key = mta.certificate()
        (LAB / "mx.json").write_text(json.dumps({"users": sorted(history.users), "grey_seconds": 4,
                                                 "manners": self.manners()}))
        mta.in_space("inet", sys.executable, "-B", HERE / "mx.py", LAB / "mx.json", cert, key, LAB / "mx.out",
                     stderr=open(LAB / "mx.err", "w"))
        # Machines without accounts may relay; mail to colleagues, and bounces, end in boxes that nobody reads.
        usual = {"networks": "127.0.0.0/8 10.20.1.0/24 10.20.9.0/24", "more": (
            "virtual_mailbox_domains = %s\nvirtual_transport = discard:\nvirtual_mailbox_maps = static:x\n" % history.domain)}
        self.relays = [mta.Postfix("mx-out1", history.domain, history.zone, **usual),
                       mta.Postfix("mx-out2", history.domain, history.zone, syslog=True, **usual)]
        for relay in self.relays:
            relay.accounts(self.people, PASSWORD)
            relay.start()
        users = " ".join("%s@%s" % (user, REAL_DOMAIN) for user in REAL_USERS)
        real = mta.Postfix("mxreal", REAL_DOMAIN, history.zone, more=(
            "virtual_mailbox_domains = %s\nvirtual_transport = discard:\nvirtual_mailbox_maps = inline:{ %s }\n"
            "smtpd_tls_chain_files = %s, %s\nsmtpd_tls_security_level = may\n"
            % (REAL_DOMAIN, " ".join("{%s = x}" % user for user in users.split()), key, cert)))
        real.start()
        self.exim = mta.Exim("app1", history.domain, history.zone)
        if self.exim.there:
            self.exim.start()

    def manners(self):
        """A few receivers have bad manners; which, is told by their address."""
        addresses = sorted({address for _, address in self.history.places.values()}, key=ipaddress.ip_address)
        kinds = ["slow", "busy", "cut", "chunking"]
        return {address: kinds[number % len(kinds)] for number, address in enumerate(addresses[5::11])}

    # The sensor.

    def write_config(self, more=""):
        history = self.history
        text = history.config.replace('"Europe/Berlin"', '"%s"' % history.zone)
        text += '\n[state]\ndirectory = "%s"\n\n[[source.capture]]\ninterface = "span0"\n' % self.state
        for relay in self.relays:
            text += '\n[[source.log]]\npath = "%s"\ndialect = "postfix"\n' % relay.log
        if self.exim.there:
            text += '\n[[source.log]]\npath = "%s"\ndialect = "exim"\n' % self.exim.log
            # Exim's lines name no host: the log's path stands for it.
            text += '\n[[host]]\nname = "%s"\naddress = "203.0.113.20"\nrole = "application"\n' % self.exim.log
        text += '\n[[sink]]\ntype = "syslog"\naddress = "10.99.0.2:514"\nformat = "ndjson"\n'
        text += '\n[[sink]]\ntype = "webhook"\nurl = "http://10.99.0.2:8080/"\nallow_networks = ["10.99.0.0/30"]\n'
        text += '\n[[sink]]\ntype = "file"\npath = "%s"\nformat = "text"\n' % self.alerts
        self.config.write_text(text + more)

    def learn(self):
        began = time.monotonic()
        done = subprocess.run([PROGRAM, "replay", "--learn", "-c", self.config, "--state", self.state, *self.files,
                               "-o", LAB / "learning.ndjson"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError("learning failed: " + done.stderr)
        return time.monotonic() - began

    def start_sensor(self):
        if not (LAB / "siem").exists():
            mta.siem_syslog()
            mta.in_space("siem", sys.executable, "-B", HERE / "webhook.py", 8080, LAB / "webhook.out")
            until("rsyslog", lambda: "LISTEN" in mta.chosen("siem", "ss", "-ltn", "sport = :514"))
        if self.unit:
            self.unit.start([relay.log for relay in self.relays] + [self.exim.log] * self.exim.there, self.state)
            return
        self.sensor_says = LAB / "sensor.err"
        self.sensor = mta.in_space("sensor", PROGRAM, "watch", "-c", self.config,
                                   stdout=open(LAB / "sensor.out", "a"), stderr=open(self.sensor_says, "a"))
        until("the sensor", lambda: "following" in self.sensor_says.read_text() or self.sensor.poll() is not None)
        time.sleep(0.3)
        if self.sensor.poll() is not None:
            raise RuntimeError("the sensor ended: " + self.sensor_says.read_text())

    def reload_sensor(self):
        """Has it take its configuration anew, in the midst of traffic; gives whether it says that it did."""
        if self.unit:
            return self.unit.reload()
        self.sensor.send_signal(signal.SIGHUP)
        until("the reload", lambda: "configuration taken over" in self.sensor_says.read_text())
        return True

    def stop_sensor(self):
        """Ends the sensor as systemd would; gives the seconds it took and its exit code."""
        began = time.monotonic()
        if self.unit:
            code = self.unit.stop()
            return time.monotonic() - began, code
        self.sensor.send_signal(signal.SIGTERM)
        try:
            code = self.sensor.wait(timeout=30)
        except subprocess.TimeoutExpired:
            for task in sorted(Path("/proc/%d/task" % self.sensor.pid).iterdir()):
                says = [(task / name).read_text().strip().splitlines()[:6] for name in ("comm", "wchan", "syscall", "stack")]
                print("lab: the sensor hangs: thread %s %s" % (task.name, says))
            raise
        return time.monotonic() - began, code

    # A second witness of the wire.

    def record(self):
        """Records the mirror from now on."""
        self.recording = mta.in_space("sensor", sys.executable, "-B", HERE / "record.py", "span0", LAB / "mirror.pcap")
        until("the recorder", lambda: (LAB / "mirror.pcap").exists())

    def disagreements(self):
        """What the wire road counted in the recorded mirror, against what the receivers say they answered in the clear."""
        # Nobody may speak while the two are compared: queues would be tried again.
        for relay in self.relays:
            relay.stop()
        if self.exim.there:
            self.exim.process.terminate()
        time.sleep(1)
        self.recording.terminate()
        self.recording.wait()
        done = subprocess.run([PROGRAM, "replay", LAB / "mirror.pcap", "-c", self.config, "--state", LAB / "witness",
                               "-o", LAB / "witness.ndjson"], capture_output=True, text=True)
        found = re.search(r"recipients: ([\d,]+) offered, ([\d,]+) accepted, ([\d,]+) refused, ([\d,]+) unanswered", done.stderr)
        if not found:
            return ["the recorded mirror could not be replayed: " + done.stderr]
        seen = [int(number.replace(",", "")) for number in found.groups()]
        plain = [note for note in self.mx_notes() if "reply" in note and not note["tls"]]
        accepted = sum(1 for note in plain if note["reply"] == "250")
        said = [len(plain), accepted, len(plain) - accepted, 0]
        print("lab: recipients in the clear: the receivers answered %d, accepted %d; the wire road saw %d, %d" % (*said[:2], *seen[:2]))
        return [] if seen == said else ["the wire road counted %s, the receivers say %s" % (seen, said)]

    # Where alerts arrive.

    def webhook(self):
        """[(when it came, alert)], in the order of arrival."""
        path = LAB / "webhook.out"
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines]
        return [(record["at"], json.loads(record["body"])) for record in records]

    def syslog(self):
        path = LAB / "siem/syslog"
        lines = path.read_text().splitlines() if path.exists() else []
        arrived = []
        for line in lines:
            stamp, name, message = line.split(" ", 2)
            if name == "portreeve":
                arrived.append((_seconds(stamp), json.loads(message[message.index("{"):])))
        return arrived

    # What people do.

    def relay_for(self, account):
        return {"mx-out1": "203.0.113.10", "mx-out2": "203.0.113.11"}[self.history.relay_of.get(account, "mx-out1")]

    def ordinary(self, mails, seconds):
        """So many of the mails that people and programs usually write, spread over the seconds."""
        office, app = Crowd("office"), Crowd("app1")
        choices = [(sender, recipients) for sender, list_ in sorted(self.history.mails.items()) for recipients in list_]
        self.random.shuffle(choices)
        choices = [choice for choice in choices if self.exim.there or choice[0] != "203.0.113.20"]
        count = collections.Counter()
        for sender, recipients in choices[:mails]:
            time.sleep(seconds / mails)
            mail = {"helo": "pc.%s" % self.history.domain, "recipients": recipients, "size": self.random.randint(300, 9000)}
            if "@" in sender:
                if sender not in self.history.office_of:
                    continue
                count["people"] += 1
                office.send(from_ip=self.history.office_of[sender], to=[self.relay_for(sender), 587],
                            auth=[sender, PASSWORD], sender=sender, **mail)
            elif sender == "203.0.113.20":
                count["application"] += 1
                app.send(from_ip="127.0.0.1", to=["127.0.0.1", 25], sender="shop@" + self.history.domain, **mail)
            elif sender.startswith("10.20."):
                count["machines"] += 1
                office.send(from_ip=sender, to=[self.relay_for(sender), 25], sender="noreply@" + self.history.domain, **mail)
        for number in range(3):
            person = self.people[number]
            count["people"] += 1
            office.send(from_ip=self.history.office_of[person], to=[self.relay_for(person), 587], auth=[person, PASSWORD],
                        sender=person, helo="pc.%s" % self.history.domain,
                        recipients=["%s@%s" % (REAL_USERS[number], REAL_DOMAIN)], size=900)
        answers = {**{("office", k): v for k, v in office.done().items()}, **{("app", k): v for k, v in app.done().items()}}
        return count, answers

    def mx_notes(self):
        path = LAB / "mx.out"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _seconds(stamp):
    return datetime.datetime.fromisoformat(stamp).timestamp()
