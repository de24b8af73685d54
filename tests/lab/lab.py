"""Plays an ordinary day and three hijacks through a real company's worth of mail servers, and prints when the alerts came.

Exit: 0 when every alert arrived, valid, at the syslog server and at the webhook, and the ordinary day raised none; 1 else.
"""

import collections
import os
import subprocess
import sys
import time

import mta
from company import LAB, PASSWORD, Company, Crowd, until

WAIT_SECONDS = 25


def spam_recipients(company, count, wrong):
    """A bought list: names that do not exist, and people whom the company never wrote to."""
    domains = sorted({user.rpartition("@")[2] for user in company.history.users})
    known = sorted(company.history.users)
    pick = company.random
    return [pick.choice(known) if pick.random() > wrong else "%s%d@%s" % (pick.choice("abcdefgh") * 3, pick.randint(1, 10**6),
            pick.choice(domains)) for _ in range(count)]


class Attack:
    """One hijack: what is accused, and how it is played. `play` gives [(time, accepted, tried)] for each message."""

    def __init__(self, name, accused, crowd, jobs, pause):
        self.name, self.accused, self.crowd, self.jobs, self.pause = name, accused, crowd, jobs, pause
        self.began = self.ended = None

    def play(self):
        self.began = time.time()
        for job in self.jobs:
            self.crowd.send(**job)
            time.sleep(self.pause)
        self.crowd.done()
        self.ended = time.time()

    def accuses(self, alert):
        names = {(alert["sender"]["kind"], alert["sender"]["name"])}
        return any(self.accused(kind, name) for kind, name in names)

    def first(self, arrived):
        for at, alert in arrived:
            if alert["change"] == "opened" and at >= self.began and self.accuses(alert):
                return at, alert
        return None


def direct(company, address, recipient, helo):
    """Malware speaks to a receiver itself; it looks up no MX but has its address."""
    _, place = company.history.places[recipient.rpartition("@")[2]]
    return {"from_ip": address, "to": [place, 25], "helo": helo, "sender": "win%d@lottery.example" % company.random.randint(1, 99),
            "recipients": [recipient], "subject": "You have won", "size": 700}


def attacks(company):
    office, block, world = Crowd("office"), Crowd("block", 16), Crowd("inet")
    workstation = company.history.office_of[company.people[3]]
    yield Attack("workstation blast", lambda kind, name: name == workstation, office,
                 [direct(company, workstation, recipient, "user-pc") for recipient in spam_recipients(company, 60, 0.4)], 0.2)
    victim = company.people[1]
    thieves = ["198.19.%d.%d" % (200 + number, 7 + number) for number in range(6)]
    lists = spam_recipients(company, 120, 0.4)
    yield Attack("account takeover", lambda kind, name: kind == "account" and name == victim, world,
                 [{"from_ip": thieves[number % 6], "to": [company.relay_for(victim), 587], "helo": "[192.168.1.7]",
                   "auth": [victim, PASSWORD], "sender": victim, "recipients": lists[3 * number:3 * number + 3],
                   "subject": "Invoice", "size": 900} for number in range(40)], 0.3)
    addresses = ["192.0.2.%d" % number for number in company.random.sample(range(1, 255), 64)]
    yield Attack("block blast", lambda kind, name: name.startswith("192.0.2."), block,
                 [direct(company, address, recipient, "mail%d.fresh.example" % number)
                  for number, (address, recipient) in enumerate(zip(addresses * 2, spam_recipients(company, 128, 0.3)))], 0.1)


def row(*cells):
    print("%-18s %-34s %9s %10s %10s %9s" % cells)


def table(company, played, quiet_alerts):
    """Prints what came of each attack; gives what is missing."""
    missing = []
    row("attack", "first alert", "messages", "syslog s", "webhook s", "evidence")
    for attack in played:
        by_hook, by_log = attack.first(company.webhook()), attack.first(company.syslog())
        if not by_hook or not by_log:
            missing.append("%s: no alert at the %s" % (attack.name, "webhook" if not by_hook else "syslog server"))
            row(attack.name, "none", "", "", "", "")
            continue
        alert = by_hook[1]
        began = [answer["began"] for answer in attack.crowd.answers.values() if answer["began"] >= attack.began - 0.01]
        sent = sum(1 for at in began if at <= by_hook[0])
        row(attack.name, "%s %s" % (alert["sender"]["kind"], alert["sender"]["name"]), "%d/%d" % (sent, len(began)),
            "%.2f" % (by_log[0] - attack.began), "%.2f" % (by_hook[0] - attack.began), len(alert["evidence"]))
    for alert in quiet_alerts:
        missing.append("false alarm on the ordinary day: " + alert["headline"])
    return missing


def story(company):
    print("lab: a week of history learned in %.1f s; now is half past ten on the eighth day" % company.learn())
    company.start_sensor()
    company.record()
    mails, seconds = int(os.environ.get("LAB_MAILS", "160")), float(os.environ.get("LAB_DAY_SECONDS", "30"))
    count, answers = company.ordinary(mails, seconds)
    failed = [answer for answer in answers.values() if answer.get("error")]
    time.sleep(10)  # greylisted mail is tried again
    company.quiet_until = time.time()
    print("lab: an ordinary day of %s in %.0f s; %d could not be handed over"
          % (", ".join("%d mails of %s" % (number, who) for who, number in sorted(count.items())), seconds, len(failed)))
    verdicts = collections.Counter(note["reply"] for note in company.mx_notes() if "reply" in note)
    print("lab: the receivers answered %s; %d recipients under TLS" % (
        dict(sorted(verdicts.items())), sum(1 for note in company.mx_notes() if note.get("tls") and "reply" in note)))
    quiet = [alert for at, alert in company.webhook() if alert["change"] == "opened"]
    played = []
    for attack in attacks(company):
        attack.play()
        played.append(attack)
        if len(played) == 1:
            company.reload_sensor()
            print("lab: the sensor took its configuration anew")
        deadline = time.time() + WAIT_SECONDS
        while time.time() < deadline and not (attack.first(company.webhook()) and attack.first(company.syslog())):
            time.sleep(0.1)
    took, code = company.stop_sensor()
    print("lab: the sensor drained in %.2f s and ended with %d" % (took, code))
    missing = table(company, played, quiet)
    missing += company.disagreements()
    if code != 0:
        missing.append("the sensor ended with %d" % code)
    hooks, logs = company.webhook(), company.syslog()
    if {alert["id"] for _, alert in hooks} != {alert["id"] for _, alert in logs}:
        missing.append("the syslog server and the webhook got different alerts")
    print("lab: %d alerts at the syslog server, %d at the webhook, all valid JSON" % (len(logs), len(hooks)))
    return missing


def main():
    arguments = sys.argv[1:]
    company = Company()
    company.start_mail()
    company.write_config()
    if arguments[:1] == ["shell"]:
        company.learn()
        company.start_sensor()
        print("lab: namespaces: %s; files: %s; 'exit' ends everything"
              % (" ".join(sorted(os.listdir("/run/netns"))), LAB))
        return subprocess.call(["bash"])
    if arguments[:1] == ["play"]:
        exec(compile(open(arguments[1]).read(), arguments[1], "exec"), {"company": company, "mta": mta, "until": until, "Crowd": Crowd})
        return 0
    missing = story(company)
    for text in missing:
        print("lab: FAILED: " + text)
    print("lab: %s" % ("every alert arrived" if not missing else "%d things went wrong" % len(missing)))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
